//! `redpoll bench`: loads a server, and checks what comes back.

mod churn;
mod connect;
mod echo;
mod fanout;
mod idle;
mod latency;
mod link;
mod options;
mod payload;
mod plot;
mod process;
mod protocol;
mod receiver;
mod report;
mod run;
mod swarm;
mod timeline;

use std::io;
use std::path::PathBuf;

pub(super) use options::parse;

use self::connect::{explain, raise_descriptor_limit};
use self::protocol::{Protocol, Script};
use self::report::Report;
use self::run::Tally;
use self::swarm::Swarm;
use super::Error;
use super::http::connect;
use super::url::Endpoint;

/// What `redpoll bench` is to do.
pub(crate) struct Bench {
    scenario: Scenario,
    url: Endpoint,
    /// Where fan-out is published, if not there.
    publish: Option<Endpoint>,
    transport: Protocol,
    connections: usize,
    size: usize,
    /// Messages in flight on each connection.
    depth: u32,
    pace: Pace,
    count: Option<u64>,
    duration_ms: Option<u64>,
    /// Offer compressed messages.
    deflate: bool,
    /// The server's process.
    pid: Option<String>,
    subscribe: Option<String>,
    json: bool,
    plot: Option<PathBuf>,
    /// For masking keys; not 0.
    seed: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Idle,
    Echo,
    Fanout,
    Churn,
    LongPoll,
}

impl Scenario {
    /// As the command line names them.
    const NAMES: [(&'static str, Scenario); 5] = [
        ("idle", Scenario::Idle),
        ("echo", Scenario::Echo),
        ("fanout", Scenario::Fanout),
        ("churn", Scenario::Churn),
        ("long-poll", Scenario::LongPoll),
    ];

    fn name(self) -> &'static str {
        Scenario::NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// When the next message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// So many a second, whatever becomes of them.
    Rate(u64),
    /// When fewer than so many have not come to everyone.
    InFlight(u64),
}

/// Loads the server, and prints what came of it.
///
/// # Errors
/// The server cannot be reached, or has lost, repeated, changed or refused something.
pub(crate) fn bench(options: &Bench) -> Result<(), Error> {
    raise_descriptor_limit(options.connections);
    let failed = |error: io::Error| format!("cannot load {}: {}", options.url.authority, explain(&error));
    let mut swarm = Swarm::new(scripts(options).map_err(failed)?, buffer_bytes(options)).map_err(failed)?;
    let mut tally = run(options, &mut swarm).map_err(failed)?;
    tally.faults.closed = swarm.closed;
    if tally.opened == 0 {
        let why = swarm.trouble.unwrap_or_default();
        return Err(Error::Failed(format!("no connection to {}: {why}", options.url.authority)));
    }
    let report = Report { options, tally: &tally, trouble: swarm.trouble.as_deref() };
    let text = if options.json { format!("{}\n", report.json()) } else { report.text() };
    super::print(&text);
    if let Some(path) = &options.plot {
        std::fs::write(path, report.plot())
            .map_err(|error| format!("cannot write {}: {error}", path.to_string_lossy()))?;
    }
    match report.fault() {
        Some(fault) => Err(Error::Failed(fault)),
        None => Ok(()),
    }
}

fn run(options: &Bench, swarm: &mut Swarm) -> io::Result<Tally> {
    match options.scenario {
        Scenario::Idle => idle::run(options, swarm),
        Scenario::Echo => echo::run(options, swarm),
        Scenario::Fanout | Scenario::LongPoll => fanout::run(options, swarm),
        Scenario::Churn => churn::run(options, swarm),
    }
}

/// What the connections say, and the publisher behind them.
fn scripts(options: &Bench) -> io::Result<Vec<Script>> {
    let script = |protocol, url: &Endpoint| {
        let address = connect(&url.host, url.port)?.peer_addr()?;
        Ok(Script::new(protocol, url, address, options.deflate, options.subscribe.clone()))
    };
    let publish = options.publish.as_ref().unwrap_or(&options.url);
    let publisher = if publish.is_websocket { Protocol::WebSocket } else { Protocol::Post };
    [(options.transport, &options.url), (publisher, publish)]
        .into_iter()
        .map(|(protocol, url)| script(protocol, url))
        .collect()
}

/// Room for what may be on its way to one connection, wrapped into something.
fn buffer_bytes(options: &Bench) -> usize {
    let in_flight = match options.pace {
        Pace::Rate(_) => IN_FLIGHT_MAX,
        Pace::InFlight(in_flight) => in_flight.max(options.depth.into()).min(IN_FLIGHT_MAX),
    };
    BUFFER_BYTES_MIN.max(options.size * 2 * in_flight as usize)
}

const SCRIPT_OF_CONNECTIONS: usize = 0;
const SCRIPT_OF_PUBLISHER: usize = 1;

const BUFFER_BYTES_MIN: usize = 256 << 10;
const IN_FLIGHT_MAX: u64 = 64;

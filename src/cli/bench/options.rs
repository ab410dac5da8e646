//! The command line of `redpoll bench`.

use lexopt::{Arg, Parser};

use super::payload::HEADER_BYTES;
use super::protocol::Protocol;
use super::{Bench, Pace, Scenario};
use crate::cli::Error;
use crate::cli::args::{Command, bad_value, text, unexpected, unknown, value_of};
use crate::cli::retry::nonce;
use crate::cli::url::Endpoint;
use crate::cli::values::{TIME_MS_MAX, number, size, time};

/// One flag, and the scenarios that it belongs to.
struct Flag {
    /// Without the dashes.
    name: &'static str,
    /// What stands for its value; empty where it takes none.
    value: &'static str,
    scenarios: &'static [Scenario],
    help: &'static str,
    /// Takes a value over, or says what is accepted.
    set: fn(&mut Bench, &str) -> Result<(), String>,
}

/// Reads what comes behind `bench`.
pub(crate) fn parse(mut parser: Parser) -> Result<Command, Error> {
    let (mut scenario, mut url, mut given) = (None, None, Vec::new());
    while let Some(arg) = parser.next().map_err(unexpected)? {
        let name = match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Print(help())),
            Arg::Value(value) if scenario.is_none() => {
                scenario = Some(parse_scenario(&text("scenario", value)?)?);
                continue;
            }
            Arg::Value(value) if url.is_none() => {
                let value = text("URL", value)?;
                url = Some(Endpoint::parse(&value).map_err(|accepted| bad_value("URL", &value, &accepted))?);
                continue;
            }
            Arg::Short('c' | 'n') => "connections".to_owned(),
            Arg::Long(name) => name.to_owned(),
            other => return Err(unknown(&other, &names())),
        };
        let flag = FLAGS.iter().find(|flag| flag.name == name).ok_or_else(|| unknown(&Arg::Long(&name), &names()))?;
        given.push((flag, value_of(&mut parser, flag.name, flag.value)?));
    }
    let (Some(scenario), Some(url)) = (scenario, url) else {
        return Err(Error::Usage(format!("bench needs what to measure and a URL: redpoll bench {SCENARIOS} URL")));
    };
    let mut bench = Bench::new(scenario, url);
    for (flag, value) in &given {
        if !flag.scenarios.contains(&scenario) {
            return Err(Error::Usage(format!("--{} has no meaning for {}", flag.name, scenario.name())));
        }
        let flag_name = format!("--{}", flag.name);
        (flag.set)(&mut bench, value).map_err(|accepted| bad_value(&flag_name, value, &accepted))?;
    }
    Ok(Command::Bench(Box::new(bench)))
}

impl Bench {
    fn new(scenario: Scenario, url: Endpoint) -> Bench {
        let transport = if scenario == Scenario::LongPoll { Protocol::LongPoll } else { Protocol::WebSocket };
        let connections = if matches!(scenario, Scenario::Echo | Scenario::Churn) { 64 } else { 1_000 };
        let [a, b, c, d, e, f, g, h, ..] = nonce();
        Bench {
            scenario,
            url,
            publish: None,
            transport,
            connections,
            size: 128,
            depth: 1,
            pace: Pace::InFlight(1),
            count: None,
            duration_ms: None,
            deflate: false,
            pid: None,
            subscribe: None,
            json: false,
            plot: None,
            seed: u64::from_ne_bytes([a, b, c, d, e, f, g, h]) | 1,
        }
    }
}

fn parse_scenario(name: &str) -> Result<Scenario, Error> {
    let known = Scenario::NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, scenario)| *scenario).ok_or_else(|| bad_value("scenario", name, &format!("accepted is {SCENARIOS}")))
}

fn names() -> Vec<&'static str> {
    FLAGS.iter().map(|flag| flag.name).chain(["help"]).collect()
}

/// In 80 columns.
fn help() -> String {
    let mut text = HELP.to_owned();
    for flag in FLAGS {
        let short = if flag.name == "connections" { "-c, -n, " } else { "" };
        let spelling = format!("{short}--{} {}", flag.name, flag.value);
        text.push_str(&format!("  {spelling:<26} {}\n", flag.help));
    }
    text.push_str(HELP_END);
    text
}

const SCENARIOS: &str = "idle|echo|fanout|churn|long-poll";

const HELP: &str = "\
Loads a server, checks that every message comes once, whole and in order, and
says how long it took and what it cost. Load only what is yours.

Usage:
  redpoll bench SCENARIO URL [OPTIONS]

Scenarios:
  idle        open connections and hold them: memory, and who is dropped
  echo        a WebSocket server sends back what it gets
  fanout      publish to subscribers
  churn       connect, be accepted, disconnect
  long-poll   fanout to long polls

URL is http://HOST[:PORT]/PATH or ws://HOST[:PORT]/PATH. What fanout publishes
goes there too: by POST to http, as a WebSocket message to ws.

Options:
";

const HELP_END: &str = "  --help                     this

What is sent on a schedule is timed from when it was due. Ctrl-C ends a run
early, and what it has seen so far is told. The exit status is 1
if anything was lost, repeated, out of order, changed, closed or refused.
";

const ALL: &[Scenario] = &[Scenario::Idle, Scenario::Echo, Scenario::Fanout, Scenario::Churn, Scenario::LongPoll];
const PUBLISHING: &[Scenario] = &[Scenario::Fanout, Scenario::LongPoll];

const FLAGS: &[Flag] = &[
    Flag {
        name: "connections",
        value: "N",
        scenarios: ALL,
        help: "how many [64; idle, fanout: 1000]",
        set: |bench, text| {
            bench.connections = number(text, 1..=CONNECTIONS_MAX)? as usize;
            Ok(())
        },
    },
    Flag {
        name: "transport",
        value: "T",
        scenarios: &[Scenario::Idle, Scenario::Fanout, Scenario::Churn],
        help: "ws, sse or long-poll [ws]",
        set: |bench, text| {
            let known = Protocol::NAMES.iter().find(|(name, _)| *name == text);
            bench.transport = known.ok_or("accepted is ws, sse or long-poll")?.1;
            Ok(())
        },
    },
    Flag {
        name: "size",
        value: "BYTES",
        scenarios: &[Scenario::Echo, Scenario::Fanout, Scenario::LongPoll],
        help: "of each message, 16 to 8M [128]",
        set: |bench, text| {
            bench.size = size(text, HEADER_BYTES as u64..=SIZE_MAX)?;
            Ok(())
        },
    },
    Flag {
        name: "depth",
        value: "N",
        scenarios: &[Scenario::Echo],
        help: "messages in flight on each connection [1]",
        set: |bench, text| {
            bench.depth = number(text, 1..=IN_FLIGHT_MAX)? as u32;
            Ok(())
        },
    },
    Flag {
        name: "inflight",
        value: "N",
        scenarios: PUBLISHING,
        help: "publish when fewer are on their way [1]",
        set: |bench, text| {
            bench.pace = Pace::InFlight(number(text, 1..=IN_FLIGHT_MAX)?);
            Ok(())
        },
    },
    Flag {
        name: "rate",
        value: "N",
        scenarios: PUBLISHING,
        help: "publish so many a second instead",
        set: |bench, text| {
            bench.pace = Pace::Rate(number(text, 1..=RATE_MAX)?);
            Ok(())
        },
    },
    Flag {
        name: "publish",
        value: "URL",
        scenarios: PUBLISHING,
        help: "where to publish [the same URL]",
        set: |bench, text| {
            bench.publish = Some(Endpoint::parse(text)?);
            Ok(())
        },
    },
    Flag {
        name: "subscribe",
        value: "TEXT",
        scenarios: &[Scenario::Idle, Scenario::Echo, Scenario::Fanout],
        help: "say this first on each WebSocket",
        set: |bench, text| {
            bench.subscribe = Some(text.to_owned());
            Ok(())
        },
    },
    Flag {
        name: "deflate",
        value: "",
        scenarios: &[Scenario::Idle, Scenario::Echo, Scenario::Fanout, Scenario::Churn],
        help: "offer compression on each WebSocket",
        set: |bench, _| {
            bench.deflate = true;
            Ok(())
        },
    },
    Flag {
        name: "count",
        value: "N",
        scenarios: &[Scenario::Echo, Scenario::Fanout, Scenario::Churn, Scenario::LongPoll],
        help: "end after N are sent, or N connections",
        set: |bench, text| {
            bench.count = Some(number(text, 1..=COUNT_MAX)?);
            Ok(())
        },
    },
    Flag {
        name: "duration",
        value: "TIME",
        scenarios: ALL,
        help: "end after this [10s]",
        set: |bench, text| {
            bench.duration_ms = Some(time(text, 1..=TIME_MS_MAX)?);
            Ok(())
        },
    },
    Flag {
        name: "pid",
        value: "PID",
        scenarios: ALL,
        help: "the server's process, to see what it uses",
        set: |bench, text| {
            bench.pid = Some(number(text, 1..=u32::MAX.into())?.to_string());
            Ok(())
        },
    },
    Flag {
        name: "json",
        value: "",
        scenarios: ALL,
        help: "the result as one line of JSON",
        set: |bench, _| {
            bench.json = true;
            Ok(())
        },
    },
    Flag {
        name: "plot",
        value: "FILE.svg",
        scenarios: ALL,
        help: "draw the result",
        set: |bench, text| {
            bench.plot = Some(text.into());
            Ok(())
        },
    },
];

const CONNECTIONS_MAX: u64 = 1_000_000;
const SIZE_MAX: u64 = 8 << 20;
const IN_FLIGHT_MAX: u64 = 100_000;
const RATE_MAX: u64 = 1_000_000;

/// As far as sequence numbers reach.
const COUNT_MAX: u64 = 1 << 30;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn options(line: &str) -> Result<Bench, String> {
        match parse(Parser::from_args(line.split(' ').map(OsString::from))) {
            Ok(Command::Bench(bench)) => Ok(*bench),
            Ok(_) => panic!("{line} is no bench"),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    #[test]
    fn a_scenario_has_its_own_defaults() {
        let echo = options("echo ws://a/echo").unwrap();
        assert_eq!((echo.connections, echo.size, echo.pace), (64, 128, Pace::InFlight(1)));
        let polls = options("long-poll http://a/channel/a -n 5 --rate 7").unwrap();
        assert_eq!((polls.connections, polls.transport, polls.pace), (5, Protocol::LongPoll, Pace::Rate(7)));
    }

    #[test]
    fn a_slip_is_told_with_what_is_accepted() {
        for (line, told) in [
            ("echo", "redpoll bench idle|echo"),
            ("ecko ws://a/", "accepted is idle|echo"),
            ("echo wss://a/", "accepted is http://"),
            ("echo ws://a/ --rate 5", "--rate has no meaning for echo"),
            ("echo ws://a/ --size 15", "16 to 8M"),
            ("idle ws://a/ --connection 5", "--connections meant"),
            ("idle ws://a/ --transport udp", "ws, sse or long-poll"),
            ("idle ws://a/ b", "unexpected argument"),
            ("idle ws://a/ -x", "unknown flag"),
        ] {
            let error = options(line).err().unwrap();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn the_help_is_80_columns_wide() {
        assert!(help().lines().all(|line| line.chars().count() <= 80), "{}", help());
    }
}

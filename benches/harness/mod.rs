//! Redpoll and the floor in turn, each under the same load, and what the one costs in terms of the other.
//!
//! The server has one core and the load another, so that neither is moved about. What counts is the server's processor
//! time for each message, which a busy machine disturbs less than the time that passes; and the ratio of two runs that
//! come right after one another, which it disturbs least.

mod process;
mod table;

use std::process::Command;

use crate::floor;
use process::Server;
use table::Table;

/// One line of the table: a load, and where the floor is loaded otherwise, that too.
pub(crate) struct Case {
    /// What the line is called.
    pub(crate) name: &'static str,
    /// What Redpoll gets.
    pub(crate) load: Load,
    /// What the floor gets.
    pub(crate) floor: Load,
}

/// What `redpoll bench` is told.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// `echo`, `fanout`, `churn`.
    pub(crate) scenario: &'static str,
    /// The path on the server.
    pub(crate) path: &'static str,
    /// How many connections.
    pub(crate) connections: u64,
    /// How many messages are sent in all.
    pub(crate) count: u64,
    /// Everything else.
    pub(crate) options: &'static [&'static str],
}

/// Runs `cases` as the command line says, and prints the table. As a child called `floor` it is the floor.
pub(crate) fn main(cases: &[Case]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "floor") {
        floor::run();
    }
    let settings = Settings::parse(&arguments);
    let cases = cases.iter().filter(|case| settings.only.as_ref().is_none_or(|only| case.name.contains(only.as_str())));
    let mut table = Table::new(settings.rounds);
    for case in cases {
        for _ in 0..settings.rounds {
            let redpoll = run(Server::redpoll(), &settings.of(case.load));
            let floor = run(floor_server(), &settings.of(case.floor));
            table.add(redpoll, floor);
        }
        table.end_case(case.name);
    }
}

/// The processor time of one server for each message, in microseconds.
fn run(server: Server, load: &Load) -> f64 {
    let [connections, count] = [load.connections, load.count].map(|number| number.to_string());
    let options = [&["-n", &connections, "--count", &count], load.options].concat();
    let outcome = server.load(load.scenario, load.path, &options);
    let number = |key: &str| outcome[key].as_f64().unwrap_or_else(|| panic!("{key} is in {outcome}"));
    for wrong in ["lost", "repeated", "disordered", "corrupted"] {
        assert!(number(wrong) == 0.0, "{wrong} messages: {outcome}");
    }
    assert!(number("messages") > 0.0, "the load has run: {outcome}");
    number("server_cpu_seconds") * 1e6 / number("messages")
}

/// This very executable, as a child.
fn floor_server() -> Server {
    let mut command = Command::new(std::env::current_exe().expect("it knows where it is"));
    command.arg("floor");
    Server::start(command)
}

/// The command line.
struct Settings {
    rounds: usize,
    quick: bool,
    /// Part of the name of the cases to run.
    only: Option<String>,
}

impl Settings {
    fn parse(arguments: &[String]) -> Settings {
        let mut settings = Settings { rounds: 5, quick: false, only: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says it to every bench.
                "--bench" => {}
                "--quick" => (settings.quick, settings.rounds) = (true, 1),
                "--rounds" => {
                    let rounds = arguments.next().and_then(|number| number.parse().ok());
                    settings.rounds = rounds.filter(|rounds| *rounds > 0).expect("--rounds N, 1 or more");
                }
                name if !name.starts_with('-') => settings.only = Some(name.to_owned()),
                other => panic!("{other}: it takes --rounds N, --quick and part of a case's name"),
            }
        }
        settings
    }

    /// A load as it is, or only as much as shows that it works.
    fn of(&self, load: Load) -> Load {
        match self.quick {
            true => Load { connections: load.connections.min(50), count: (load.count / 100).clamp(50, 1_000), ..load },
            false => load,
        }
    }
}

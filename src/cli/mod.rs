//! The command line: which subcommand, and how it ends.

mod args;
mod bench;
mod dns;
mod draft;
mod figures;
mod flags;
mod help;
mod http;
mod logger;
mod nameserver;
mod progress;
mod publish;
mod resolve;
mod retry;
mod secret;
mod serve;
mod subscribe;
mod token;
mod url;
mod user;
mod values;

use std::io::Write;
use std::process::ExitCode;

use args::Command;

/// How a command fails.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A wrong command line: exit status 2.
    Usage(String),
    /// What went wrong while running: exit status 1.
    Failed(String),
}

impl From<String> for Error {
    fn from(sentence: String) -> Error {
        Error::Failed(sentence)
    }
}

/// Runs what the command line says.
pub(crate) fn main() -> ExitCode {
    let command = args::parse(std::env::args_os().skip(1), |name| std::env::var_os(name));
    let result = command.and_then(|command| match command {
        Command::Serve(options) => serve::serve(*options),
        Command::Publish(options) => publish::publish(&options),
        Command::Subscribe(options) => subscribe::subscribe(*options),
        Command::Bench(options) => bench::bench(&options),
        Command::Mint(options) => {
            print(&format!("{}\n", options.token()));
            Ok(())
        }
        Command::Print(text) => {
            print(&text);
            Ok(())
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Usage(sentence)) => {
            tell(&sentence);
            ExitCode::from(2)
        }
        Err(Error::Failed(sentence)) => {
            tell(&sentence);
            ExitCode::FAILURE
        }
    }
}

/// Whoever closes the pipe early has read enough.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A line for the person at the terminal. If no one listens there, nothing is lost.
fn tell(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "redpoll: {sentence}");
}

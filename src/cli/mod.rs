//! The command line: which subcommand, and how it ends.

mod args;
mod serve;

use std::process::ExitCode;

use args::Command;

/// Runs what the command line says. 0 is success, 1 a failure while running, 2 a wrong command line.
pub(crate) fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("redpoll: {error}");
            return ExitCode::from(2);
        }
    };
    let result = match command {
        Command::Serve(options) => serve::serve(*options),
        Command::Print(text) => {
            print!("{text}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redpoll: {error}");
            ExitCode::FAILURE
        }
    }
}

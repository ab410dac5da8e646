//! The flags and environment variables of `serve`, and the choice of subcommand.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use redpoll::Config;

/// What the command line asks for.
pub(crate) enum Command {
    Serve(Box<Serve>),
    /// `--help` or `--version`.
    Print(String),
}

/// What `redpoll serve` is to do.
pub(crate) struct Serve {
    pub(crate) listen: Vec<String>,
    pub(crate) open: bool,
    pub(crate) html: Option<PathBuf>,
    pub(crate) config: Config,
    pub(crate) echo: bool,
    pub(crate) log: log::LevelFilter,
}

pub(crate) fn parse(arguments: impl Iterator<Item = OsString>, _env: impl Fn(&str) -> Option<String>) -> Result<Command, String> {
    let mut serve = Serve { listen: Vec::new(), open: false, html: None, config: Config::default(), echo: false, log: log::LevelFilter::Info };
    let mut parser = Parser::from_args(arguments);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Arg::Value(v) if v == "serve" => {}
            Arg::Long("version") => return Ok(Command::Print("redpoll 0.1.0\n".into())),
            Arg::Long("listen") => serve.listen.push(parser.value().and_then(|v| v.string()).map_err(|e| e.to_string())?),
            Arg::Long("open") => serve.open = true,
            Arg::Long("echo") => serve.echo = true,
            Arg::Long("html") => serve.html = Some(parser.value().map_err(|e| e.to_string())?.into()),
            Arg::Long("log") => serve.log = parser.value().and_then(|v| v.parse()).map_err(|e| e.to_string())?,
            other => return Err(other.unexpected().to_string()),
        }
    }
    if serve.listen.is_empty() {
        serve.listen.push("127.0.0.1:8080".into());
    }
    Ok(Command::Serve(Box::new(serve)))
}

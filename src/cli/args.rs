//! Reads the command line and the environment: which command, with which options.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use redpoll::wire::form::{check_event_name, check_member_name};
use redpoll::{Config, Since};

use super::bench::{self, Bench};
use super::draft::Draft;
use super::flags::{Flag, Repeats, find, flags};
use super::publish::Publish;
use super::secret::Secrets;
use super::subscribe::{Output, Subscribe, Transport};
use super::token::{self, Mint};
use super::url::Url;
use super::user::User;
use super::values::number;
use super::{Error, help};

/// What the command line asks for.
pub(crate) enum Command {
    Serve(Box<Serve>),
    Publish(Box<Publish>),
    Subscribe(Box<Subscribe>),
    Bench(Box<Bench>),
    Mint(Box<Mint>),
    /// `--help` or `--version`.
    Print(String),
}

/// What `redpoll serve` is to do.
pub(crate) struct Serve {
    pub(crate) listen: Vec<String>,
    pub(crate) open: bool,
    pub(crate) secrets: Secrets,
    pub(crate) html: Option<PathBuf>,
    pub(crate) config: Config,
    pub(crate) echo: bool,
    pub(crate) status: bool,
    pub(crate) log: log::LevelFilter,
    pub(crate) user: Option<User>,
    pub(crate) chroot: Option<PathBuf>,
}

impl Default for Serve {
    fn default() -> Serve {
        Serve {
            listen: Vec::new(),
            open: false,
            secrets: Secrets::default(),
            html: None,
            config: Config::default(),
            echo: false,
            status: false,
            log: log::LevelFilter::Info,
            user: None,
            chroot: None,
        }
    }
}

/// Reads the arguments behind the program's name. `env` looks an environment variable up.
pub(crate) fn parse(
    arguments: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Error> {
    let mut arguments = arguments.peekable();
    let is_command = arguments.peek().is_some_and(|first| !first.as_encoded_bytes().starts_with(b"-"));
    let command = if is_command { arguments.next() } else { None };
    let command = command.unwrap_or_else(|| "serve".into());
    let parser = Parser::from_args(arguments);
    match command.to_str() {
        Some("serve") => serve(parser, env),
        Some("pub") => publish(parser, env),
        Some("sub") => subscribe(parser, env),
        Some("bench") => bench::parse(parser),
        Some("token") => token::parse(parser, env),
        _ => Err(Error::Usage(format!("unknown command {command:?}: there are serve, pub, sub, bench and token"))),
    }
}

fn serve(mut parser: Parser, env: impl Fn(&str) -> Option<OsString>) -> Result<Command, Error> {
    let mut draft = Draft::new(Serve::default());
    let mut given: Vec<&str> = Vec::new();
    while let Some(arg) = parser.next().map_err(unexpected)? {
        let name = match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Print(help::serve())),
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Print(version())),
            Arg::Long(name) => name.to_owned(),
            other => return Err(unknown(&other, &flags().map(|flag| flag.name).collect::<Vec<_>>())),
        };
        let Some(flag) = find(&name) else {
            return Err(unknown(&Arg::Long(&name), &flags().map(|flag| flag.name).collect::<Vec<_>>()));
        };
        let value = value_of(&mut parser, flag.name, flag.value)?;
        set(&mut draft, flag, &format!("--{name}"), &value)?;
        given.push(flag.name);
    }
    for flag in flags().filter(|flag| !given.contains(&flag.name)) {
        set_from_environment(&mut draft, flag, &env)?;
    }
    Ok(Command::Serve(Box::new(draft.finish())))
}

fn publish(mut parser: Parser, env: impl Fn(&str) -> Option<OsString>) -> Result<Command, Error> {
    let (mut url, mut message, mut event, mut binary, mut token) = (None, None, None, false, None);
    while let Some(arg) = parser.next().map_err(unexpected)? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Print(help::PUBLISH.to_owned())),
            Arg::Long("event") => {
                let name = value_of(&mut parser, "event", "NAME")?;
                check_event_name(&name).map_err(|status| bad_value("--event", &name, status.explanation()))?;
                event = Some(name);
            }
            Arg::Long("binary") => {
                value_of(&mut parser, "binary", "")?;
                binary = true;
            }
            Arg::Long("token") => token = Some(value_of(&mut parser, "token", "TOKEN")?),
            Arg::Value(value) if url.is_none() => url = Some(parse_url(value)?),
            // On Unix these are the bytes as the shell gave them.
            Arg::Value(value) if message.is_none() => message = Some(value.into_encoded_bytes()),
            other => return Err(unknown(&other, &["event", "binary", "token", "help"])),
        }
    }
    let url = url.ok_or_else(|| Error::Usage("pub needs a URL: redpoll pub URL [MESSAGE]".to_owned()))?;
    let authorization = authorization(token, env)?;
    Ok(Command::Publish(Box::new(Publish { url, message, event, binary, authorization })))
}

fn subscribe(mut parser: Parser, env: impl Fn(&str) -> Option<OsString>) -> Result<Command, Error> {
    let (mut url, mut transport, mut since, mut json, mut count) = (None, Transport::Auto, None, false, None);
    let (mut token, mut output, mut presence, mut name) = (None, Output::Print, false, None);
    while let Some(arg) = parser.next().map_err(unexpected)? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Print(help::SUBSCRIBE.to_owned())),
            Arg::Long("transport") => transport = parse_transport(&value_of(&mut parser, "transport", "T")?)?,
            Arg::Long("since") => since = Some(value_of(&mut parser, "since", "WHERE")?),
            Arg::Long("json") => {
                value_of(&mut parser, "json", "")?;
                json = true;
            }
            Arg::Long("count") => {
                let text = value_of(&mut parser, "count", "N")?;
                count = Some(number(&text, 1..=u64::MAX).map_err(|accepted| bad_value("--count", &text, &accepted))?);
            }
            Arg::Long("token") => token = Some(value_of(&mut parser, "token", "TOKEN")?),
            Arg::Long("exec") => output = Output::Run(value_of(&mut parser, "exec", "COMMAND")?),
            Arg::Long("presence") => {
                value_of(&mut parser, "presence", "")?;
                presence = true;
            }
            Arg::Long("name") => {
                let text = value_of(&mut parser, "name", "NAME")?;
                check_member_name(&text).map_err(|status| bad_value("--name", &text, status.explanation()))?;
                name = Some(text);
            }
            Arg::Value(value) if url.is_none() => url = Some(parse_url(value)?),
            other => return Err(unknown(&other, &SUBSCRIBE_FLAGS)),
        }
    }
    let url: Url = url.ok_or_else(|| Error::Usage("sub needs a URL: redpoll sub URL [OPTIONS]".to_owned()))?;
    let since = since.unwrap_or_else(|| "latest".to_owned());
    Since::parse_vector(&since, url.channels.len())
        .map_err(|status| bad_value("--since", &since, status.explanation()))?;
    let authorization = authorization(token, env)?;
    let options = Subscribe { url, transport, since, json, output, presence, name, count, authorization };
    Ok(Command::Subscribe(Box::new(options)))
}

const SUBSCRIBE_FLAGS: [&str; 9] = ["transport", "since", "json", "count", "exec", "presence", "name", "token", "help"];

/// The value of `Authorization` for a token, given or in the environment, where other users do not see it.
fn authorization(token: Option<String>, env: impl Fn(&str) -> Option<OsString>) -> Result<Option<String>, Error> {
    let (source, token) = match token {
        Some(token) => ("--token", token),
        None => match env(TOKEN).filter(|value| !value.is_empty()) {
            Some(value) => (TOKEN, text(TOKEN, value)?),
            None => return Ok(None),
        },
    };
    // It goes into a request as it is.
    match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(format!("Bearer {token}"))),
        false => Err(bad_value(source, &token, "accepted is a token, such as redpoll token makes them")),
    }
}

const TOKEN: &str = "REDPOLL_TOKEN";

fn parse_url(value: OsString) -> Result<Url, Error> {
    let value = text("URL", value)?;
    Url::parse(&value).map_err(|accepted| bad_value("URL", &value, &accepted))
}

fn parse_transport(text: &str) -> Result<Transport, Error> {
    let known = Transport::NAMES.iter().find(|(name, _)| *name == text);
    let accepted = "accepted is auto, ws, sse, long-poll or poll";
    known.map(|(_, transport)| *transport).ok_or_else(|| bad_value("--transport", text, accepted))
}

/// An empty variable counts as none: that is how container files unset one.
fn set_from_environment(draft: &mut Draft, flag: &Flag, env: impl Fn(&str) -> Option<OsString>) -> Result<(), Error> {
    let variable = flag.variable();
    let Some(value) = env(&variable).filter(|value| !value.is_empty()) else { return Ok(()) };
    let value = text(&variable, value)?;
    match flag.repeats {
        Repeats::Commas => value.split(',').try_for_each(|part| set(draft, flag, &variable, part.trim())),
        Repeats::Never | Repeats::FlagAlone => set(draft, flag, &variable, &value),
    }
}

fn set(draft: &mut Draft, flag: &Flag, source: &str, value: &str) -> Result<(), Error> {
    (flag.set)(draft, value).map_err(|accepted| bad_value(source, value, &accepted))
}

/// The value that follows a flag; `on` for one that takes none.
pub(super) fn value_of(parser: &mut Parser, name: &str, kind: &str) -> Result<String, Error> {
    if kind.is_empty() {
        return match parser.optional_value() {
            Some(value) => Err(bad_value(&format!("--{name}"), &value.to_string_lossy(), "it takes no value")),
            None => Ok("on".to_owned()),
        };
    }
    match parser.value() {
        Ok(value) => text(&format!("--{name}"), value),
        Err(_) => Err(Error::Usage(format!("--{name} needs a value: --{name} {kind}"))),
    }
}

pub(super) fn text(source: &str, value: OsString) -> Result<String, Error> {
    value.into_string().map_err(|value| bad_value(source, &value.to_string_lossy(), "accepted is UTF-8"))
}

/// The value is shown with its line ends escaped, so that the error is one line whatever it holds. Secrets and tokens
/// are not for a terminal or a log.
pub(super) fn bad_value(source: &str, value: &str, accepted: &str) -> Error {
    let value = if ["--secret", "REDPOLL_SECRET", "--token", TOKEN].contains(&source) { "***" } else { value };
    Error::Usage(format!("{source} {value:?}: {accepted}"))
}

/// A flag that does not exist, with the one that may have been meant, or an argument where none belongs.
pub(super) fn unknown(arg: &Arg, known: &[&str]) -> Error {
    let name = match arg {
        Arg::Long(name) => *name,
        Arg::Short(letter) => {
            return Error::Usage(format!("unknown flag {:?}: --help lists all", format!("-{letter}")));
        }
        Arg::Value(value) => {
            return Error::Usage(format!("unexpected argument {value:?}: --help says what is accepted"));
        }
    };
    let nearest = known.iter().map(|known| (distance(known, name), *known)).min();
    Error::Usage(match nearest.filter(|(distance, _)| *distance <= 2) {
        Some((_, nearest)) => format!("unknown flag {:?}: is --{nearest} meant? --help lists all", format!("--{name}")),
        None => format!("unknown flag {:?}: --help lists all", format!("--{name}")),
    })
}

pub(super) fn unexpected(error: lexopt::Error) -> Error {
    Error::Usage(error.to_string().replace(['\n', '\r'], " "))
}

/// How many letters to put in, take out or change (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in to.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.chars().count()]
}

fn version() -> String {
    format!("redpoll {}\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redpoll::History;

    use super::*;

    fn options(line: &str, env: &[(&str, &str)]) -> Result<Serve, Error> {
        let lookup = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        match parse(line.split_whitespace().map(OsString::from), lookup)? {
            Command::Serve(serve) => Ok(*serve),
            _ => panic!("{line} is no serve"),
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let listen = ("REDPOLL_LISTEN", "[::]:1, localhost:2");
        let env = [("REDPOLL_PING", "7s"), listen, ("REDPOLL_OPEN", "1"), ("REDPOLL_DRAIN", "")];
        let serve = options("", &env).ok().unwrap();
        assert_eq!((serve.listen, serve.config.ping_interval_ms), (vec!["[::]:1".into(), "localhost:2".into()], 7_000));
        assert!(serve.open && serve.config.drain_ms == 5_000);
        let serve = options("serve --ping 9s --listen 0.0.0.0:3", &env).ok().unwrap();
        assert_eq!((serve.listen, serve.config.ping_interval_ms), (vec!["0.0.0.0:3".into()], 9_000));
        assert_eq!(options("--ping=1s", &[]).ok().unwrap().listen, ["127.0.0.1:8080"]);
    }

    #[test]
    fn a_prefix_takes_what_it_does_not_say_from_all() {
        let history = |line: &str| {
            let config = options(line, &[]).ok().unwrap().config;
            (config.history_of("chat-1"), config.history_of("x"))
        };
        let (of_chat, of_all) = (
            History { entries: 5, bytes: 2_048, age_ms: 60_000 },
            History { entries: 7, bytes: 2_048, age_ms: 60_000 },
        );
        let flags = ["--history chat*=5", "--history 7", "--history-bytes 2K", "--history-age 1m"];
        assert_eq!(history(&flags.join(" ")), (of_chat, of_all));
        let backwards: Vec<&str> = flags.into_iter().rev().collect();
        assert_eq!(history(&backwards.join(" ")), (of_chat, of_all));
        let of_chat = History { age_ms: 1_000, ..of_chat };
        assert_eq!(history(&format!("{} --history-age chat*=1s", flags.join(" "))), (of_chat, of_all));
    }

    #[test]
    fn a_slip_is_told_what_may_have_been_meant() {
        let told = |line| options(line, &[]).err().map(|error| format!("{error:?}")).unwrap();
        assert!(told("--max-mesage 5").contains("--max-message meant"));
        assert!(!told("--zzz").contains("meant"));
        assert_eq!(
            (distance("ping", "ping"), distance("ping", "pong"), distance("", "ab"), distance("ab", "b")),
            (0, 1, 2, 1)
        );
    }
}

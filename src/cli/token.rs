//! `redpoll token`: mints a token from the secret.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lexopt::{Arg, Parser};
use redpoll::wire::token::{Claims, Pattern, Secret, mint};

use super::args::{Command, bad_value, text, unexpected, unknown, value_of};
use super::secret::Secrets;
use super::values::{TIME_MS_MAX, time};
use super::{Error, help};

/// What `redpoll token` is to do.
pub(crate) struct Mint {
    secret: Secret,
    /// All but when it expires.
    claims: Claims,
    /// How long it is good; `None` is forever.
    lifetime: Option<Duration>,
}

impl Mint {
    /// The token, good from now on.
    pub(crate) fn token(self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Whole seconds are what every reader of tokens knows; none is taken away.
        let end_ms = |lifetime: Duration| (now + lifetime).as_millis().div_ceil(1000) as u64 * 1000;
        mint(&Claims { expires_ms: self.lifetime.map(end_ms), ..self.claims }, &self.secret)
    }
}

/// What the flags have said so far.
#[derive(Default)]
struct Draft {
    secrets: Secrets,
    subscribe: Vec<Pattern>,
    publish: Vec<Pattern>,
    claims: Claims,
    lifetime_ms: Option<u64>,
    forever: bool,
}

/// Reads the arguments behind `token`. `env` looks an environment variable up.
pub(super) fn parse(mut parser: Parser, env: impl Fn(&str) -> Option<OsString>) -> Result<Command, Error> {
    let mut draft = Draft::default();
    while let Some(arg) = parser.next().map_err(unexpected)? {
        let name = match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Print(help::TOKEN.to_owned())),
            Arg::Long(name) => name.to_owned(),
            other => return Err(unknown(&other, &names())),
        };
        let kind = FLAGS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let value = value_of(&mut parser, &name, kind.ok_or_else(|| unknown(&Arg::Long(&name), &names()))?)?;
        draft.set(&name, &value).map_err(|accepted| bad_value(&format!("--{name}"), &value, &accepted))?;
    }
    draft.add_secrets(env)?;
    Ok(Command::Mint(Box::new(draft.finish()?)))
}

impl Draft {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "secret" => self.secrets.push(value.as_bytes())?,
            "secret-file" => self.secrets.push_file(value)?,
            "subscribe" => self.subscribe.extend(patterns(value)?),
            "publish" => self.publish.extend(patterns(value)?),
            "sub" => self.claims.subject = Some(value.into()),
            "status" => self.claims.status = true,
            "forever" => self.forever = true,
            _ => self.lifetime_ms = Some(time(value, 1_000..=TIME_MS_MAX)?),
        }
        Ok(())
    }

    /// Takes the server's variables where no flag names a secret.
    fn add_secrets(&mut self, env: impl Fn(&str) -> Option<OsString>) -> Result<(), Error> {
        if !self.secrets.all.is_empty() {
            return Ok(());
        }
        let value = |name: &str| env(name).filter(|value| !value.is_empty()).map(|value| text(name, value)).transpose();
        if let Some(secret) = value("REDPOLL_SECRET")? {
            let pushed = self.secrets.push(secret.as_bytes());
            pushed.map_err(|accepted| bad_value("REDPOLL_SECRET", &secret, &accepted))?;
        }
        for file in value("REDPOLL_SECRET_FILE")?.iter().flat_map(|files| files.split(',')).map(str::trim) {
            self.secrets.push_file(file).map_err(|accepted| bad_value("REDPOLL_SECRET_FILE", file, &accepted))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Mint, Error> {
        let usage = |sentence: &str| Error::Usage(sentence.to_owned());
        let Some(secret) = self.secrets.all.into_iter().next() else {
            return Err(usage("token needs the server's secret: give --secret or --secret-file"));
        };
        if self.forever && self.lifetime_ms.is_some() {
            return Err(usage("--expires and --forever exclude each other"));
        }
        let claims = Claims { subscribe: self.subscribe.into(), publish: self.publish.into(), ..self.claims };
        if claims.subscribe.is_empty() && claims.publish.is_empty() && !claims.status {
            return Err(usage("a token needs a right: give --subscribe, --publish or --status"));
        }
        let lifetime = Duration::from_millis(self.lifetime_ms.unwrap_or(LIFETIME_MS));
        Ok(Mint { secret, claims, lifetime: (!self.forever).then_some(lifetime) })
    }
}

fn patterns(text: &str) -> Result<Vec<Pattern>, String> {
    let all: Option<Vec<Pattern>> = text.split(',').map(Pattern::parse).collect();
    all.ok_or_else(|| "accepted are channels, joined by commas: each is a name, or a prefix and a *".to_owned())
}

fn names() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _)| *name).chain(["help"]).collect()
}

/// Each flag with what stands for its value.
const FLAGS: [(&str, &str); 8] = [
    ("secret", "TEXT"),
    ("secret-file", "FILE"),
    ("subscribe", "CHANNELS"),
    ("publish", "CHANNELS"),
    ("status", ""),
    ("sub", "NAME"),
    ("expires", "TIME"),
    ("forever", ""),
];

/// Long enough for a visit, short enough for one that was lost.
const LIFETIME_MS: u64 = 3_600_000;

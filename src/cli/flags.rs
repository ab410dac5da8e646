//! The flags of `serve`: one table for the command line, the environment and the help.

use std::path::PathBuf;

use redpoll::Address;
use redpoll::wire::origin::check_origin_flag;

use super::draft::Draft;
use super::user::User;
use super::values::{TIME_MS_MAX, number, size, time};

/// One flag. Its environment variable is its name in capitals, behind `REDPOLL_`.
pub(super) struct Flag {
    /// Without the dashes.
    pub(super) name: &'static str,
    /// What stands for its value in the help; empty where it takes none.
    pub(super) value: &'static str,
    pub(super) repeats: Repeats,
    /// For people, with the default.
    pub(super) help: &'static str,
    /// Takes a value over, or says what is accepted.
    pub(super) set: Set,
}

/// Whether a flag may be given several times: in the environment, the values are then joined by commas, or there is
/// only one, whatever is in it.
#[derive(PartialEq, Eq)]
pub(super) enum Repeats {
    Never,
    Commas,
    FlagAlone,
}

type Set = fn(&mut Draft, &str) -> Result<(), String>;

impl Flag {
    /// `REDPOLL_MAX_MESSAGE` for `max-message`.
    pub(super) fn variable(&self) -> String {
        format!("REDPOLL_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }
}

/// Looks a flag up, by its name without dashes.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    flags().find(|flag| flag.name == name)
}

/// All flags, in the order of the help.
pub(super) fn flags() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|(_, flags)| flags.iter())
}

/// The flags in the groups of the help.
pub(super) const GROUPS: [(&str, &[Flag]); 4] =
    [("Where and for whom", WHERE), ("What channels keep", KEEP), ("Limits", LIMITS), ("Times", TIMES)];

const WHERE: &[Flag] = &[
    Flag {
        name: "listen",
        value: "ADDR",
        repeats: Repeats::Commas,
        help: "IP:PORT or unix:PATH [127.0.0.1:8080]",
        set: set_listen,
    },
    Flag {
        name: "open",
        value: "",
        repeats: Repeats::Never,
        help: "anyone may publish and subscribe",
        set: |draft, text| {
            draft.serve.open = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "secret",
        value: "TEXT",
        // It may have a comma: what is before it alone would be a weaker one.
        repeats: Repeats::FlagAlone,
        help: "ask for tokens, checked with this",
        set: |draft, text| draft.serve.secrets.push(text.as_bytes()),
    },
    Flag {
        name: "secret-file",
        value: "FILE",
        repeats: Repeats::Commas,
        help: "the same, out of a file",
        set: |draft, text| draft.serve.secrets.push_file(text),
    },
    Flag {
        name: "origin",
        value: "ORIGIN",
        repeats: Repeats::Commas,
        help: "other sites that may; * is any [same origin]",
        set: |draft, text| {
            let origins = &mut draft.serve.config.origins;
            origins.push(check_origin_flag(text)?);
            if origins.len() <= 255 { Ok(()) } else { Err("accepted are up to 255 origins, or * for any".to_owned()) }
        },
    },
    Flag {
        name: "behind-proxy",
        value: "N",
        repeats: Repeats::Never,
        help: "believe N proxies whom they serve [0]",
        set: |draft, text| {
            draft.serve.config.trusted_hops = number(text, 0..=u64::from(u8::MAX))? as u8;
            Ok(())
        },
    },
    Flag {
        name: "html",
        value: "DIR",
        repeats: Repeats::Never,
        help: "serve files from DIR [built-in pages]",
        set: |draft, text| {
            draft.serve.html = Some(folder(text)?);
            Ok(())
        },
    },
    Flag {
        name: "user",
        value: "NAME",
        repeats: Repeats::Never,
        help: "become this user once it is bound",
        set: |draft, text| {
            draft.serve.user = Some(User::find(text)?);
            Ok(())
        },
    },
    Flag {
        name: "chroot",
        value: "DIR",
        repeats: Repeats::Never,
        help: "then see nothing but DIR",
        set: |draft, text| {
            draft.serve.chroot = Some(folder(text)?);
            Ok(())
        },
    },
    Flag {
        name: "status",
        value: "",
        repeats: Repeats::Never,
        help: "everyone may see /status [this machine alone]",
        set: |draft, text| {
            draft.serve.status = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "echo",
        value: "",
        repeats: Repeats::Never,
        help: "add /echo, a WebSocket that sends back",
        set: |draft, text| {
            draft.serve.echo = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "log",
        value: "LEVEL",
        repeats: Repeats::Never,
        help: "error, warn, info, debug, trace [info]",
        set: set_log,
    },
];

const KEEP: &[Flag] = &[
    Flag {
        name: "history",
        value: "[PREFIX*=]N",
        repeats: Repeats::Commas,
        help: "messages [100]",
        set: |draft, text| {
            draft.set_history(text, |history, text| {
                history.entries = Some(number(text, 0..=u64::from(u32::MAX))? as u32);
                Ok(())
            })
        },
    },
    Flag {
        name: "history-bytes",
        value: "[PREFIX*=]SIZE",
        repeats: Repeats::Commas,
        help: "bytes of payload [64K]",
        set: |draft, text| {
            draft.set_history(text, |history, text| {
                history.bytes = Some(size(text, 1..=SIZE_MAX)?);
                Ok(())
            })
        },
    },
    Flag {
        name: "history-age",
        value: "[PREFIX*=]TIME",
        repeats: Repeats::Commas,
        help: "age of a message [1h]",
        set: |draft, text| {
            draft.set_history(text, |history, text| {
                history.age_ms = Some(time(text, 1..=TIME_MS_MAX)?);
                Ok(())
            })
        },
    },
];

const LIMITS: &[Flag] = &[
    Flag {
        name: "max-connections",
        value: "N",
        repeats: Repeats::Never,
        help: "further ones get 503 [descriptor limit]",
        set: |draft, text| {
            draft.serve.config.connections_max = number(text, 1..=u64::from(u32::MAX))? as usize;
            Ok(())
        },
    },
    Flag {
        name: "max-per-address",
        value: "N",
        repeats: Repeats::Never,
        help: "connections from one, else 503 [none]",
        set: |draft, text| {
            draft.serve.config.address_connections_max = Some(number(text, 1..=u64::from(u32::MAX))? as u32);
            Ok(())
        },
    },
    Flag {
        name: "publish-rate",
        value: "N",
        repeats: Repeats::Never,
        help: "a second from one client, else 429 [none]",
        set: |draft, text| {
            draft.serve.config.publications_a_second = Some(number(text, 1..=1_000_000)? as u32);
            Ok(())
        },
    },
    Flag {
        name: "max-channels",
        value: "N",
        repeats: Repeats::Never,
        help: "further ones get 503 [65536]",
        set: |draft, text| {
            draft.serve.config.channels_max = number(text, 1..=u64::from(u32::MAX))? as usize;
            Ok(())
        },
    },
    Flag {
        name: "max-message",
        value: "SIZE",
        repeats: Repeats::Never,
        help: "larger ones get 413 or close 1009 [64K]",
        set: |draft, text| {
            draft.serve.config.message_bytes_max = size(text, 1..=SIZE_MAX)?;
            Ok(())
        },
    },
    Flag {
        name: "memory",
        value: "SIZE",
        repeats: Repeats::Never,
        help: "for all clients and channels together [none]",
        set: |draft, text| {
            draft.serve.config.memory_bytes_max = size(text, 1 << 20..=SIZE_MAX)?;
            Ok(())
        },
    },
    #[cfg(feature = "deflate")]
    Flag {
        name: "deflate",
        value: "on|off",
        repeats: Repeats::Never,
        help: "compress for WebSockets that offer it [on]",
        set: |draft, text| {
            draft.serve.config.deflate = switch(text)?;
            Ok(())
        },
    },
    #[cfg(feature = "deflate")]
    Flag {
        name: "deflate-from",
        value: "SIZE",
        repeats: Repeats::Never,
        help: "smaller messages are not compressed [256]",
        set: |draft, text| {
            draft.serve.config.deflate_from_bytes = size(text, 0..=SIZE_MAX)?;
            Ok(())
        },
    },
    Flag {
        name: "max-head",
        value: "SIZE",
        repeats: Repeats::Never,
        help: "longer request heads get 431 [8K]",
        set: |draft, text| {
            draft.serve.config.head_bytes_max = size(text, 256..=1 << 20)?;
            Ok(())
        },
    },
];

const TIMES: &[Flag] = &[
    Flag {
        name: "ping",
        value: "TIME",
        repeats: Repeats::Never,
        help: "signs of life to silent clients [25s]",
        set: |draft, text| {
            draft.serve.config.ping_interval_ms = time(text, 1..=TIME_MS_MAX)?;
            Ok(())
        },
    },
    Flag {
        name: "head-timeout",
        value: "TIME",
        repeats: Repeats::Never,
        help: "for a request's head to arrive [10s]",
        set: |draft, text| {
            draft.serve.config.head_timeout_ms = time(text, 1..=TIME_MS_MAX)?;
            Ok(())
        },
    },
    Flag {
        name: "keep-alive",
        value: "TIME",
        repeats: Repeats::Never,
        help: "for an idle HTTP connection [60s]",
        set: |draft, text| {
            draft.serve.config.keep_alive_ms = time(text, 1..=TIME_MS_MAX)?;
            Ok(())
        },
    },
    Flag {
        name: "drain",
        value: "TIME",
        repeats: Repeats::Never,
        help: "for connections to end at SIGTERM [5s]",
        set: |draft, text| {
            draft.serve.config.drain_ms = time(text, 0..=TIME_MS_MAX)?;
            Ok(())
        },
    },
];

/// What a flag without a value may be in the environment; on the command line it is `on`.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "1" | "true" | "yes" => Ok(true),
        "off" | "0" | "false" | "no" => Ok(false),
        _ => Err("accepted is on or off".to_owned()),
    }
}

/// Whether the address can be had is known only when it is bound; whether it is one can be said now.
fn set_listen(draft: &mut Draft, text: &str) -> Result<(), String> {
    Address::parse(text)?;
    draft.serve.listen.push(text.to_owned());
    Ok(())
}

fn folder(text: &str) -> Result<PathBuf, String> {
    Some(PathBuf::from(text)).filter(|path| path.is_dir()).ok_or_else(|| "accepted is a folder that exists".to_owned())
}

fn set_log(draft: &mut Draft, text: &str) -> Result<(), String> {
    draft.serve.log = match text {
        "error" => log::LevelFilter::Error,
        "warn" => log::LevelFilter::Warn,
        "info" => log::LevelFilter::Info,
        "debug" => log::LevelFilter::Debug,
        "trace" => log::LevelFilter::Trace,
        _ => return Err("accepted is error, warn, info, debug or trace".to_owned()),
    };
    Ok(())
}

/// Far above any use, and far below where sums of sizes would overflow.
const SIZE_MAX: u64 = if usize::BITS == 64 { 1 << 40 } else { 1 << 30 };

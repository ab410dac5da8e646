//! What the flags say, while they are read one after the other.

use redpoll::History;
use redpoll::wire::form::check_channel_name;

use super::args::Serve;

/// What the flags have said so far.
pub(super) struct Draft {
    pub(super) serve: Serve,
    /// The histories of prefixes, each as far as it is given.
    prefixes: Vec<(String, PartialHistory)>,
}

/// What is given of a history.
#[derive(Clone, Copy, Default)]
pub(super) struct PartialHistory {
    pub(super) entries: Option<u32>,
    pub(super) bytes: Option<usize>,
    pub(super) age_ms: Option<u64>,
}

impl Draft {
    pub(super) fn new(serve: Serve) -> Draft {
        Draft { serve, prefixes: Vec::new() }
    }

    /// Only now all flags are known, and so what a prefix takes from the histories of the others.
    pub(super) fn finish(mut self) -> Serve {
        let global = self.serve.config.history;
        let complete = |(prefix, partial): (String, PartialHistory)| {
            let entries = partial.entries.unwrap_or(global.entries);
            let (bytes, age_ms) = (partial.bytes.unwrap_or(global.bytes), partial.age_ms.unwrap_or(global.age_ms));
            (prefix, History { entries, bytes, age_ms })
        };
        self.serve.config.history_prefixes = self.prefixes.into_iter().map(complete).collect();
        if self.serve.listen.is_empty() {
            self.serve.listen.push("127.0.0.1:8080".to_owned());
        }
        self.serve
    }

    /// Takes `VALUE` for all channels, or `PREFIX*=VALUE` for some.
    pub(super) fn set_history(
        &mut self,
        text: &str,
        set: impl Fn(&mut PartialHistory, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        if let Some((prefix, value)) = text.split_once("*=") {
            if !prefix.is_empty() {
                check_channel_name(prefix).map_err(|status| status.explanation().to_owned())?;
            }
            let index = self.prefixes.iter().position(|(known, _)| known == prefix).unwrap_or_else(|| {
                self.prefixes.push((prefix.to_owned(), PartialHistory::default()));
                self.prefixes.len() - 1
            });
            return set(&mut self.prefixes[index].1, value);
        }
        let mut given = PartialHistory::default();
        set(&mut given, text)
            .map_err(|accepted| format!("{accepted}, and PREFIX*= before it for some channels alone"))?;
        let global = &mut self.serve.config.history;
        global.entries = given.entries.unwrap_or(global.entries);
        global.bytes = given.bytes.unwrap_or(global.bytes);
        global.age_ms = given.age_ms.unwrap_or(global.age_ms);
        Ok(())
    }
}

//! What outlives a connection: where each channel is, what is printed, how the server wants to be treated.

use std::time::Duration;

use redpoll::Position;
use redpoll::wire::command::{self, Command, Data};
use redpoll::wire::envelope::{Payload, push_envelope};
use serde_json::Value;

use super::{Ending, Subscribe, Url};
use crate::cli::figures::seconds;

/// A subscription over all its connections.
pub(super) struct Session {
    options: Subscribe,
    /// For each channel of the URL, once the server has said where it is.
    positions: Vec<Option<Position>>,
    printed: u64,
    /// The wait that an event stream asked for.
    retry: Option<Duration>,
    /// Whether the last connection was lost.
    is_lost: bool,
}

impl Session {
    pub(super) fn new(options: Subscribe) -> Session {
        let positions = vec![None; options.url.channels.len()];
        Session { options, positions, printed: 0, retry: None, is_lost: false }
    }

    pub(super) fn url(&self) -> &Url {
        &self.options.url
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.options.authorization.as_deref()
    }

    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    pub(super) fn is_done(&self) -> bool {
        self.options.count.is_some_and(|count| self.printed >= count)
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    pub(super) fn set_retry(&mut self, retry: Duration) {
        self.retry = Some(retry);
    }

    /// Whether every channel has its position.
    pub(super) fn knows_positions(&self) -> bool {
        self.positions.iter().all(Option::is_some)
    }

    /// What to ask for as `since`. Positions go together: with one still missing, nothing has been delivered.
    pub(super) fn since(&self) -> String {
        let known: Option<Vec<String>> =
            self.positions.iter().map(|position| position.map(|known| known.to_string())).collect();
        known.map_or_else(|| self.options.since.clone(), |known| known.join(","))
    }

    /// The path and query that ask for envelopes from where this is.
    pub(super) fn target(&self) -> String {
        format!("{}?form=json&since={}", self.options.url.path, self.since())
    }

    pub(super) fn lost(&mut self, why: &str, wait: Duration) {
        self.is_lost = true;
        crate::cli::tell(&format!("{why}; connecting again in {}", seconds(wait)));
    }

    pub(super) fn connected(&mut self) {
        if std::mem::take(&mut self.is_lost) {
            crate::cli::tell("connected again");
        }
    }

    /// Sets the positions that are still unknown from a list of all, as event streams and polls give it.
    pub(super) fn begin_at(&mut self, joined: &str) {
        for (position, text) in self.positions.iter_mut().zip(joined.split(',')) {
            *position = position.or_else(|| Position::parse(text).ok());
        }
    }

    /// Sets all positions, after a poll.
    pub(super) fn move_to(&mut self, joined: &str) {
        for (position, text) in self.positions.iter_mut().zip(joined.split(',')) {
            *position = Position::parse(text).ok().or(*position);
        }
    }

    /// A poll's gap, which does not say its end. The position it has is of no use to tell what is new.
    pub(super) fn lose(&mut self, channel: &str) {
        let Some(index) = self.index(channel) else { return };
        let from = self.positions[index].take().map_or(String::new(), |from| format!(" after {from}"));
        crate::cli::tell(&format!("gap in {channel:?}: messages{from} are lost"));
    }

    /// Takes what the server says in JSON: an envelope, a gap, an answer. What it does not know it leaves alone, since
    /// servers learn to say more.
    pub(super) fn take(&mut self, value: &Value) -> Result<(), Ending> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if let Some(error) = value.get("error") {
            let detail = error.get("detail").and_then(Value::as_str).unwrap_or("the server reports an error");
            return Err(Ending::Refused(detail.chars().filter(|letter| !letter.is_control()).collect()));
        }
        if let (Some(channel), Some(cursor)) = (text("subscribed"), text("cursor")) {
            if let Some(index) = self.index(channel) {
                self.positions[index] = self.positions[index].or_else(|| Position::parse(cursor).ok());
            }
            return Ok(());
        }
        let Some(index) = text("channel").and_then(|channel| self.index(channel)) else { return Ok(()) };
        if let Some(gap) = value.get("gap") {
            self.skip(index, gap);
            return Ok(());
        }
        match text("id").and_then(|id| Position::parse(id).ok()) {
            Some(id) => self.print(index, id, value),
            None => Ok(()),
        }
    }

    fn index(&self, channel: &str) -> Option<usize> {
        self.options.url.channels.iter().position(|known| known == channel)
    }

    /// Goes on behind a gap.
    fn skip(&mut self, index: usize, gap: &Value) {
        let end = |name: &str| gap.get(name).and_then(Value::as_str).and_then(|text| Position::parse(text).ok());
        let from = end("from").map_or(String::new(), |from| format!(" after {from}"));
        if let Some(to) = end("to") {
            self.positions[index] = Some(to);
            crate::cli::tell(&format!(
                "gap in {:?}: messages{from} up to {to} are lost",
                self.options.url.channels[index]
            ));
        }
    }

    /// Prints a message, or runs its command, unless that has been done before: offsets only grow within an epoch.
    fn print(&mut self, index: usize, id: Position, envelope: &Value) -> Result<(), Ending> {
        if self.positions[index].is_some_and(|seen| seen.epoch == id.epoch && seen.offset >= id.offset) {
            return Ok(());
        }
        let (channel, event) = (&self.options.url.channels[index], envelope.get("event").and_then(Value::as_str));
        let mut content = payload(envelope);
        if self.options.json {
            content = encode(channel, id, event, envelope.get("base64").is_some(), &content);
        }
        self.options.output.take(channel, id, event, content)?;
        self.positions[index] = Some(id);
        self.printed += 1;
        if self.is_done() { Err(Ending::Done) } else { Ok(()) }
    }
}

/// The envelope, with its keys in the order of the documentation whatever transport it came over.
fn encode(channel: &str, id: Position, event: Option<&str>, is_binary: bool, payload: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    let payload = match std::str::from_utf8(payload) {
        Ok(text) if !is_binary => Payload::Text(text),
        _ => Payload::Binary(payload),
    };
    push_envelope(&mut line, channel, id, event, payload);
    line
}

/// The bytes of a message.
fn payload(envelope: &Value) -> Vec<u8> {
    let Some(encoded) = envelope.get("base64") else {
        return envelope.get("data").and_then(Value::as_str).unwrap_or_default().into();
    };
    // The library reads Base64 where clients publish it: a command around it saves a second decoder.
    let publish = serde_json::json!({ "publish": "a", "base64": encoded }).to_string();
    match command::parse(&publish) {
        Ok((Command::Publish { data: Data::Binary(bytes), .. }, _)) => bytes,
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Output, Transport};
    use super::*;

    fn session() -> Session {
        let url = Url::parse("http://a/channel/a,b").unwrap();
        let (transport, since) = (Transport::Auto, "latest".into());
        Session::new(Subscribe {
            url,
            transport,
            since,
            json: false,
            output: Output::Print,
            count: None,
            authorization: None,
        })
    }

    fn take(session: &mut Session, json: &str) {
        assert!(session.take(&serde_json::from_str(json).unwrap()).is_ok());
    }

    #[test]
    fn positions_are_asked_for_once_all_are_known() {
        let mut session = session();
        take(&mut session, r#"{"subscribed":"a","cursor":"00000001-5"}"#);
        assert_eq!(session.since(), "latest");
        take(&mut session, r#"{"subscribed":"b","cursor":"00000001-7"}"#);
        assert_eq!(session.since(), "00000001-5,00000001-7");
        take(&mut session, r#"{"channel":"b","id":"00000001-8","data":""}"#);
        assert_eq!((session.since().as_str(), session.printed()), ("00000001-5,00000001-8", 1));
        assert_eq!(session.target(), "/channel/a,b?form=json&since=00000001-5,00000001-8");
    }

    #[test]
    fn a_message_that_comes_twice_is_printed_once() {
        let mut session = session();
        for id in ["00000001-5", "00000001-5", "00000001-4", "00000001-6"] {
            take(&mut session, &format!(r#"{{"channel":"a","id":"{id}","data":""}}"#));
        }
        assert_eq!(session.printed(), 2);
        take(&mut session, r#"{"channel":"a","gap":{"from":"00000001-6","to":"00000002-0"}}"#);
        take(&mut session, r#"{"channel":"a","id":"00000002-1","data":""}"#);
        assert_eq!(session.printed(), 3);
    }

    #[test]
    fn a_binary_payload_is_its_bytes() {
        assert_eq!(payload(&serde_json::json!({"base64": "AP/+Pg=="})), b"\0\xff\xfe>");
        assert_eq!(payload(&serde_json::json!({"data": "é"})), "é".as_bytes());
    }
}

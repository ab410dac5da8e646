//! What outlives a connection: where each channel is, what is printed, how the server wants to be treated.

use std::time::Duration;

use redpoll::Position;
use redpoll::wire::command::{self, Command, Data};
use redpoll::wire::envelope::{Payload, push_envelope};
use serde_json::Value;

use super::{Ending, Output, Subscribe, Url, output};
use crate::cli::figures::{grouped, seconds};
use crate::cli::url::encode_parameter;

/// A subscription over all its connections.
pub(super) struct Session {
    options: Subscribe,
    /// For each channel of the URL, where it is.
    places: Vec<Place>,
    printed: u64,
    /// The wait that an event stream asked for.
    retry: Option<Duration>,
    /// Whether the last connection was lost.
    is_lost: bool,
}

/// How far one channel is.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Once the server has said so.
    position: Option<Position>,
    /// Among joins and leaves, which have offsets of their own.
    of_presence: Option<u64>,
}

impl Place {
    /// What the server is to be asked for: `EPOCH-OFFSET`, with `~OFFSET` behind it for who observes.
    fn since(self) -> Option<String> {
        let of_presence = self.of_presence.map_or(String::new(), |offset| format!("~{offset}"));
        self.position.map(|position| format!("{position}{of_presence}"))
    }

    /// Takes the part behind the `~`, which is the client's own whatever has come.
    fn observe(&mut self, text: &str) {
        if let Some((_, place)) = text.split_once('~') {
            self.of_presence = place.parse().ok();
        }
    }
}

impl Session {
    pub(super) fn new(options: Subscribe) -> Session {
        let places = vec![Place::default(); options.url.channels.len()];
        Session { options, places, printed: 0, retry: None, is_lost: false }
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
        self.places.iter().all(|place| place.position.is_some())
    }

    /// What to ask for as `since`. Positions go together: with one still missing, nothing has been delivered.
    pub(super) fn since(&self) -> String {
        let known: Option<Vec<String>> = self.places.iter().map(|place| place.since()).collect();
        known.map_or_else(|| self.options.since.clone(), |known| known.join(","))
    }

    /// The path and query that ask for envelopes from where this is.
    pub(super) fn target(&self) -> String {
        let Subscribe { url, presence, name, .. } = &self.options;
        let presence = if *presence { "&presence=1" } else { "" };
        let name = name.as_ref().map_or(String::new(), |name| format!("&name={}", encode_parameter(name)));
        format!("{}?form=json{presence}{name}&since={}", url.path, self.since())
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
        for (place, text) in self.places.iter_mut().zip(joined.split(',')) {
            place.position = place.position.or_else(|| Position::parse(text).ok());
            place.observe(text);
        }
    }

    /// Sets all positions, after a poll.
    pub(super) fn move_to(&mut self, joined: &str) {
        for (place, text) in self.places.iter_mut().zip(joined.split(',')) {
            place.position = Position::parse(text).ok().or(place.position);
            place.observe(text);
        }
    }

    /// A poll's gap, which does not say its end. The position it has is of no use to tell what is new.
    pub(super) fn lose(&mut self, channel: &str) {
        let Some(index) = self.index(channel) else { return };
        let from = self.places[index].position.take().map_or(String::new(), |from| format!(" after {from}"));
        crate::cli::tell(&format!("gap in {channel:?}: messages{from} are lost"));
    }

    /// Takes what the server says in JSON: an envelope, a gap, an answer. What it does not know it leaves alone, since
    /// servers learn to say more.
    pub(super) fn take(&mut self, value: &Value) -> Result<(), Ending> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if let Some(error) = value.get("error") {
            let detail = error.get("detail").and_then(Value::as_str).unwrap_or("the server reports an error");
            return Err(Ending::Refused(printable(detail)));
        }
        if let (Some(channel), Some(cursor)) = (text("subscribed"), text("cursor")) {
            if let Some(index) = self.index(channel) {
                let place = &mut self.places[index];
                place.position = place.position.or_else(|| Position::parse(cursor).ok());
                place.observe(cursor);
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
            None => self.tell_presence(index, value),
        }
    }

    /// Tells who has come or gone, or how many are there.
    fn tell_presence(&mut self, index: usize, envelope: &Value) -> Result<(), Ending> {
        let Some(change) = presence(envelope) else { return Ok(()) };
        // Over a WebSocket they come without positions, but one by one. Behind a number nothing is known, and an offset
        // as old as 0 has the server say how many are there when the connection is taken up again.
        let place = &mut self.places[index];
        place.of_presence = match place.of_presence {
            Some(offset) if envelope.get("members").is_none() => Some(offset.saturating_add(1)),
            _ => Some(0),
        };
        if self.options.json && matches!(self.options.output, Output::Print) {
            return output::print(envelope.to_string().into_bytes());
        }
        match &self.options.url.channels[..] {
            [_] => crate::cli::tell(&change),
            channels => crate::cli::tell(&format!("{:?}: {change}", channels[index])),
        }
        Ok(())
    }

    fn index(&self, channel: &str) -> Option<usize> {
        self.options.url.channels.iter().position(|known| known == channel)
    }

    /// Goes on behind a gap.
    fn skip(&mut self, index: usize, gap: &Value) {
        let end = |name: &str| gap.get(name).and_then(Value::as_str).and_then(|text| Position::parse(text).ok());
        let from = end("from").map_or(String::new(), |from| format!(" after {from}"));
        if let Some(to) = end("to") {
            self.places[index].position = Some(to);
            crate::cli::tell(&format!(
                "gap in {:?}: messages{from} up to {to} are lost",
                self.options.url.channels[index]
            ));
        }
    }

    /// Prints a message, or runs its command, unless that has been done before: offsets only grow within an epoch.
    fn print(&mut self, index: usize, id: Position, envelope: &Value) -> Result<(), Ending> {
        if self.places[index].position.is_some_and(|seen| seen.epoch == id.epoch && seen.offset >= id.offset) {
            return Ok(());
        }
        let (channel, event) = (&self.options.url.channels[index], envelope.get("event").and_then(Value::as_str));
        let mut content = payload(envelope);
        if self.options.json {
            content = encode(channel, id, event, envelope.get("base64").is_some(), &content);
        }
        self.options.output.take(channel, id, event, content)?;
        self.places[index].position = Some(id);
        self.printed += 1;
        if self.is_done() { Err(Ending::Done) } else { Ok(()) }
    }
}

/// Who has come or gone, or how many are there, in words.
fn presence(envelope: &Value) -> Option<String> {
    if let Some(count) = envelope.pointer("/members/count").and_then(Value::as_u64) {
        let verb = if count == 1 { "is" } else { "are" };
        return Some(format!("{} {verb} here now", grouped(count)));
    }
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(printable);
    if let Some(join) = envelope.get("join") {
        return Some(format!("{} joined ({})", text(join, "name")?, text(join, "transport")?));
    }
    Some(format!("{} left", text(envelope.get("leave")?, "name")?))
}

/// What comes from outside does not move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
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
    use super::super::Transport;
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
            presence: false,
            name: None,
            count: None,
            authorization: None,
        })
    }

    #[test]
    fn who_comes_and_goes_has_a_place_of_its_own() {
        let mut session = session();
        session.options.presence = true;
        session.options.name = Some("a b".into());
        take(&mut session, r#"{"subscribed":"a","cursor":"00000001-5~7"}"#);
        take(&mut session, r#"{"subscribed":"b","cursor":"00000001-7~0"}"#);
        take(&mut session, r#"{"channel":"a","join":{"name":"ann","transport":"ws"}}"#);
        take(&mut session, r#"{"channel":"a","id":"00000001-6","data":""}"#);
        take(&mut session, r#"{"channel":"a","leave":{"name":"ann","transport":"ws"}}"#);
        let target = "/channel/a,b?form=json&presence=1&name=a%20b&since=00000001-6~9,00000001-7~0";
        assert_eq!((session.target().as_str(), session.printed()), (target, 1));
        take(&mut session, r#"{"channel":"a","members":{"count":5000}}"#);
        assert_eq!(session.since(), "00000001-6~0,00000001-7~0");
        session.begin_at("00000001-6~12,00000001-7~1");
        assert_eq!(session.since(), "00000001-6~12,00000001-7~1");
    }

    #[test]
    fn presence_is_told_in_words() {
        for (json, words) in [
            (r#"{"join":{"name":"ann","transport":"sse"}}"#, Some("ann joined (sse)")),
            (r#"{"leave":{"name":"\u001b[2Jann","transport":"sse"}}"#, Some("[2Jann left")),
            (r#"{"members":{"count":1}}"#, Some("1 is here now")),
            (r#"{"members":{"count":5000}}"#, Some("5,000 are here now")),
            (r#"{"members":{}}"#, None),
            (r#"{"join":{"name":1}}"#, None),
            (r#"{"waves":{"name":"ann"}}"#, None),
        ] {
            assert_eq!(presence(&serde_json::from_str(json).unwrap()).as_deref(), words, "{json}");
        }
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

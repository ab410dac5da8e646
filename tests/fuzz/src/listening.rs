//! What a client makes of everything that it got: answers to its requests, then perhaps events or messages. All of it is
//! to be read without a doubt, and of what was published nothing may be missing that is not told.

use std::collections::{BTreeMap, BTreeSet};

use crate::contents::{self, End};
use crate::frames::{self, Rules, Said};
use crate::handshakes::Head;
use crate::heads::{self, Framing, Heard, Progress};
use crate::json::{self, Value};
use crate::ledger::{Entry, Ledger, Members};
use crate::positions::{self, Since};
use crate::{base64, forms, inflate};

/// The epoch of all positions.
pub const EPOCH: u32 = 0x5f3a;

/// How far a client has come.
#[derive(Default)]
pub struct Listener {
    /// Where it is on the channels that it is subscribed to for longer than a request.
    pub places: BTreeMap<String, Place>,
    /// The channels of which something has come.
    heard: BTreeSet<String>,
    /// What came from one channel without positions.
    raw: Option<(String, Vec<Entry>)>,
    /// Who has come, and by which transport, or gone, by channel, as far as that was told.
    present: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// The channels of which it may know less than what was listed when it came, and what it was told after that.
    unlisted: BTreeSet<String>,
    /// How often a loss was told after something had come.
    pub gaps: usize,
    /// The next request that is not answered, if that one does not wait for something.
    pub unanswered: Option<String>,
    /// The server has said its last.
    pub ended: bool,
    /// The bytes end between two things.
    pub complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was not told.
    Unknown,
    /// At a position of another server, so that a gap has to come.
    Foreign,
    At(u64),
}

/// Reads everything.
pub fn listen(sent: &[u8], received: &[u8], ledger: &Ledger) -> Listener {
    let mut listener = Listener::default();
    let (mut requests, mut at) = (requests(sent).into_iter().peekable(), 0);
    while at < received.len() {
        assert!(!listener.ended, "more after the last answer: {:?}", received[at..].escape_ascii().to_string());
        let Some(head) = Head::parse(&received[at..]) else { return listener };
        let code = code(&head);
        at += head.bytes;
        if code == 100 {
            continue;
        }
        let request = requests.next();
        assert!(request.is_some() || code >= 400, "{code} answers nothing");
        listener.ended = head.values("connection").any(|value| value == "close");
        let (asked, _) = request.unwrap_or_default();
        if code == 101 {
            listener.messages(&asked, &head, &received[at..], ledger);
            return listener;
        }
        if head.only("content-type") == Some("text/event-stream") {
            if asked.method != "HEAD" {
                listener.ended = false;
                listener.events(&asked, &received[at..], ledger);
            }
            return listener;
        }
        let body_bytes = head.only("content-length").map_or(0, |length| length.parse().expect("a length"));
        assert!(head.only("content-length").is_some() != (code == 204), "a length, or 204");
        // Of a request that cannot be read nobody knows whether it is HEAD.
        if asked.method == "HEAD" && (asked.faults.is_empty() || received.len() == at) {
            continue;
        }
        let Some(body) = received.get(at..at + body_bytes) else { return listener };
        at += body_bytes;
        answer(&asked, &head, body, ledger);
    }
    listener.complete = true;
    let waits = |asked: &Heard| asked.path == "/get" || parameter(asked, "wait").is_some();
    let next = requests.peek().filter(|(asked, answerable)| *answerable && !waits(asked));
    listener.unanswered = next.map(|(asked, _)| asked.path.clone());
    listener
}

/// The requests that were sent, up to the first that has not ended or is wrong, and whether each can be answered.
fn requests(sent: &[u8]) -> Vec<(Heard, bool)> {
    let (mut found, mut at) = (Vec::new(), 0);
    let rules = contents::Rules { content_bytes_max: None, overhead_bytes_max: usize::MAX };
    while at < sent.len() {
        let length = match heads::progress(&sent[at..]) {
            Progress::Ended(length) => length,
            Progress::NoHead(_) | Progress::Begun => break,
        };
        let heard = heads::read(&sent[at..at + length]);
        at += length;
        let content = match heard.framing() {
            Ok(Framing::None) => End::Complete(0),
            Ok(Framing::Length(length)) => contents::of_length(&sent[at..], length, &rules).end,
            Ok(Framing::Chunked) => contents::of_chunks(&sent[at..], &rules).end,
            Err(_) => End::Refused(0, 400),
        };
        let understood = heard.faults.is_empty() && !heard.unsure;
        found.push((heard, !understood || content != End::OfBytes));
        match content {
            End::Complete(length) if understood => at += length,
            _ => break,
        }
    }
    found
}

fn code(head: &Head) -> u16 {
    let rest = head.first_line.strip_prefix("HTTP/1.1 ").expect("a status line");
    let code = rest.split(' ').next().and_then(|code| code.parse().ok()).expect("a status");
    let known = [100, 101, 200, 201, 202, 204, 400, 403, 404, 405, 408, 409, 413, 414, 415, 417, 426, 429, 431];
    assert!(known.contains(&code) || [501, 503, 505].contains(&code), "{}", head.first_line);
    code
}

/// One whole answer.
fn answer(asked: &Heard, head: &Head, body: &[u8], ledger: &Ledger) {
    if head.only("content-type").is_none_or(|media_type| !media_type.contains("json")) {
        return;
    }
    let json = json::parse(std::str::from_utf8(body).expect("JSON is text")).expect("JSON");
    if let (Some(cursor), Some(names)) = (json.member("cursor").and_then(Value::string), names(asked)) {
        poll(asked, &names, cursor, &json, ledger);
    }
}

/// An answer to a poll: between where it was asked to begin and its cursor nothing is missing, unless it says so.
fn poll(asked: &Heard, names: &[String], cursor: &str, json: &Value, ledger: &Ledger) {
    let cursors = positions::vector(cursor, names.len()).expect("a cursor for each channel");
    let Some(Value::Array(messages)) = json.member("messages") else { panic!("messages") };
    let gap = json.member("gap") == Some(&Value::Word("true"));
    let since = forms::parameters(&asked.query).into_iter().find(|(name, _)| name == "since");
    let elsewhere = ["last-event-id", "if-none-match"].iter().any(|name| !asked.values(name).is_empty());
    let asked_since = since.filter(|_| !gap && !elsewhere).and_then(|(_, text)| positions::vector(&text, names.len()));
    for (index, name) in names.iter().enumerate() {
        let place = match asked_since.as_ref().map(|all| all[index]) {
            Some(Since::After(epoch, offset)) => {
                assert_eq!(epoch, EPOCH, "a gap is told");
                Place::At(offset)
            }
            _ => Place::Unknown,
        };
        let mut follower = Follower { name, place, ledger };
        let of_channel = |json: &&Value| json.member("channel").and_then(Value::string) == Some(name);
        // Without an id it is somebody who has come or gone.
        for message in messages.iter().filter(of_channel).filter(|json| json.member("id").is_some()) {
            follower.envelope(message);
        }
        let Since::After(EPOCH, cursor) = cursors[index] else { panic!("a cursor of another server") };
        follower.advance(cursor);
    }
}

/// The channels in the path, where a subscription to them is asked for.
fn names(asked: &Heard) -> Option<Vec<String>> {
    forms::channels(asked.path.strip_prefix("/channel/")?)
}

fn parameter(asked: &Heard, name: &str) -> Option<String> {
    forms::parameters(&asked.query).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn wants_json(asked: &Heard) -> bool {
    parameter(asked, "form").as_deref() == Some("json") || parameter(asked, "presence").as_deref() == Some("1")
}

/// The position of this server, or that it is of another.
fn place(text: &str) -> Place {
    match positions::position(text).unwrap_or_else(|| panic!("{text:?} is no position")) {
        (EPOCH, offset) => Place::At(offset),
        _ => Place::Foreign,
    }
}

/// One channel.
struct Follower<'a> {
    name: &'a str,
    place: Place,
    ledger: &'a Ledger,
}

impl Follower<'_> {
    /// Everything up to `offset` has come.
    fn advance(&mut self, offset: u64) {
        if let Place::At(at) = self.place {
            assert!(offset >= at, "{} goes back from {at} to {offset}", self.name);
            let lost = self.ledger.between(self.name, at, offset + 1);
            assert_eq!(lost, None, "lost without a word on {}, after {at} up to {offset}", self.name);
        }
        self.place = Place::At(offset);
    }

    /// A message has come.
    fn message(&mut self, offset: u64) {
        match self.place {
            Place::At(at) => {
                assert!(offset > at, "{} {offset} after {at}", self.name);
                let lost = self.ledger.between(self.name, at, offset);
                assert_eq!(lost, None, "lost without a word on {}, after {at} before {offset}", self.name);
            }
            Place::Foreign => panic!("a message instead of a gap"),
            Place::Unknown => {}
        }
        self.place = Place::At(offset);
    }

    /// A message with everything that belongs to it.
    fn envelope(&mut self, message: &Value) {
        let Place::At(offset) = place(message.member("id").and_then(Value::string).expect("an id")) else {
            panic!("an id of another server")
        };
        let entry = self.ledger.entry(self.name, offset);
        let (name, expected) = match entry.binary {
            true => ("base64", base64::pad(base64::encode(&entry.data, base64::STANDARD))),
            false => ("data", String::from_utf8(entry.data.clone()).expect("text")),
        };
        assert_eq!(message.member(name).and_then(Value::string), Some(expected.as_str()), "{} {offset}", self.name);
        self.message(offset);
    }
}

impl Listener {
    /// An event stream.
    fn events(&mut self, asked: &Heard, bytes: &[u8], ledger: &Ledger) {
        let mut blocks = Vec::from_iter(bytes.split_inclusive(|byte| *byte == b'\n'));
        let end = blocks.iter().rposition(|line| *line == b"\n").map_or(0, |last| last + 1);
        // Between two events there may be comments.
        self.complete = blocks[end..].iter().all(|line| *line == b":\n");
        blocks.truncate(end);
        let names = names(asked).unwrap_or_default();
        let json = names.len() > 1 || wants_json(asked);
        for block in blocks.split(|line| *line == b"\n").filter(|block| !block.is_empty()) {
            let text = String::from_utf8(block.concat()).expect("an event stream is UTF-8");
            let mut event = Event::default();
            text.lines().for_each(|line| event.line(line));
            self.event(&names, &event, json, ledger);
        }
    }

    fn event(&mut self, names: &[String], event: &Event, json: bool, ledger: &Ledger) {
        if event.name.as_deref() == Some("expired") {
            self.ended = true;
            return;
        }
        let id = event.id.as_ref().expect("an event has an id");
        let id = Vec::from_iter(id.split(',').map(place));
        assert_eq!(id.len(), names.len(), "a position for each channel");
        let data = event.data.as_ref().map(|lines| lines.join("\n"));
        if let (Some("join" | "leave" | "members"), Some(data)) = (event.name.as_deref(), &data) {
            let here = names.iter().map(|name| self.places.get(name).copied());
            assert!(here.eq(id.into_iter().map(Some)), "who comes or goes moves the position");
            return self.presence(&json::parse(data).expect("JSON"));
        }
        for (name, new) in names.iter().zip(id) {
            let old = self.places.insert(name.clone(), new);
            let (Some(old), Some(data)) = (old, &data) else { continue };
            let Place::At(offset) = new else {
                assert_eq!(new, old, "a position of another server comes from nowhere");
                continue;
            };
            if old == new {
                continue;
            }
            if event.name.as_deref() == Some("gap") {
                self.gaps += usize::from(self.heard.contains(name));
                continue;
            }
            self.heard.insert(name.clone());
            let mut follower = Follower { name, place: old, ledger };
            if json {
                follower.envelope(&json::parse(data).expect("JSON"));
            } else {
                follower.message(offset);
                check_lines(ledger.entry(name, offset), event, data);
            }
        }
    }

    /// A WebSocket.
    fn messages(&mut self, asked: &Heard, head: &Head, bytes: &[u8], ledger: &Ledger) {
        let deflate = head.values("sec-websocket-extensions").next().is_some();
        let story = frames::story(bytes, &Rules { masked: false, deflate, message_bytes_max: usize::MAX });
        self.complete = story.complete && story.said.last().map_or(0, |(at, _)| *at) == bytes.len();
        let commands = head.only("sec-websocket-protocol") == Some("redpoll.v1");
        let names = names(asked);
        let json = commands || wants_json(asked);
        if let (Some([name]), false) = (names.as_deref(), json) {
            self.raw = Some((name.clone(), Vec::new()));
        }
        for (_, what) in story.said {
            match what {
                Said::Message { text, deflated, data } => {
                    let data = if deflated { inflated(&data) } else { data };
                    match &mut self.raw {
                        Some((_, messages)) => messages.push(Entry { data, binary: !text }),
                        None if names.is_some() && json => self.told(&data, ledger),
                        None => {}
                    }
                }
                Said::Violation(code) => panic!("the server does what is answered with {code}"),
                Said::Close(_) => self.ended = true,
                Said::Ping(_) | Said::Pong(_) => {}
            }
        }
        if let Some((name, messages)) = &self.raw {
            assert!(ledger.run(name, messages).0, "lost, or not in order, on {name}: {messages:?}");
        }
    }

    /// A message in JSON.
    fn told(&mut self, data: &[u8], ledger: &Ledger) {
        let json = json::parse(std::str::from_utf8(data).expect("JSON is text")).expect("JSON");
        let string = |name: &str| json.member(name).and_then(Value::string);
        if let Some(name) = string("subscribed") {
            self.places.insert(name.to_owned(), place(string("cursor").expect("a cursor")));
            self.present.remove(name);
        } else if let Some(name) = string("unsubscribed") {
            self.places.remove(name);
            self.heard.remove(name);
            self.unlisted.insert(name.to_owned());
        } else if let Some(name) = string("channel") {
            match json.member("gap") {
                None if json.member("id").is_none() => self.presence(&json),
                Some(gap) => {
                    self.gaps += usize::from(self.heard.contains(name));
                    self.places.insert(name.to_owned(), place(gap.member("to").and_then(Value::string).expect("to")));
                }
                None => {
                    let place = self.places.get(name).copied().unwrap_or(Place::Unknown);
                    let mut follower = Follower { name, place, ledger };
                    follower.envelope(&json);
                    self.places.insert(name.to_owned(), follower.place);
                    self.heard.insert(name.to_owned());
                }
            }
        }
    }

    /// Somebody has come or gone, or is there by another transport, or so many that only their number is told.
    fn presence(&mut self, json: &Value) {
        let channel = json.member("channel").and_then(Value::string).expect("a channel");
        let present = self.present.entry(channel.to_owned()).or_default();
        let string = |change: &Value, key| change.member(key).and_then(Value::string).expect("a string").to_owned();
        match (json.member("join"), json.member("leave"), json.member("members")) {
            (Some(join), None, None) => {
                let transport = Some(string(join, "transport"));
                let before = present.insert(string(join, "name"), transport.clone());
                assert_ne!(before, Some(transport), "who is there by a transport comes by it");
            }
            (None, Some(leave), None) => {
                assert_ne!(present.insert(string(leave, "name"), None), Some(None), "who is not there goes");
            }
            (None, None, Some(_)) => {
                present.clear();
                self.unlisted.insert(channel.to_owned());
            }
            _ => panic!("{json:?}"),
        }
    }

    /// Whether the connection is an event stream or a WebSocket.
    pub fn is_subscribed(&self) -> bool {
        self.raw.is_some() || !self.places.is_empty()
    }

    /// What this client was told of who is present is as in the list; with the list from when it began, if there was one,
    /// it is all of it.
    pub fn check_present(&self, listed: &Members, begun: Option<&Members>) {
        let nobody = BTreeSet::new();
        for (channel, present) in self.present.iter().filter(|(channel, _)| self.places.contains_key(*channel)) {
            let listed = listed.get(channel).unwrap_or(&nobody);
            for (name, transport) in present {
                assert_eq!(listed.contains(name), transport.is_some(), "{name} in {channel}");
            }
        }
        let whole = |channel: &String| self.places.contains_key(channel) && !self.unlisted.contains(channel);
        for (channel, first) in begun.into_iter().flatten().filter(|(channel, _)| whole(channel)) {
            let mut known = first.clone();
            for (name, transport) in self.present.get(channel).into_iter().flatten() {
                if transport.is_some() {
                    known.insert(name.clone())
                } else {
                    known.remove(name)
                };
            }
            assert_eq!(&known, listed.get(channel).unwrap_or(&nobody), "in {channel}");
        }
    }

    /// Everything that was published has come to this client, which reads and is still there.
    pub fn check_up_to_date(&self, ledger: &Ledger) {
        for (name, place) in &self.places {
            match place {
                Place::At(at) => assert_eq!(ledger.between(name, *at, u64::MAX), None, "{name} after {at} never came"),
                Place::Foreign => panic!("a position of another server is never answered on {name}"),
                Place::Unknown => {}
            }
        }
        if let Some((name, messages)) = &self.raw {
            assert!(ledger.run(name, messages).1, "the newest of {name} never came after {messages:?}");
        }
    }
}

#[derive(Default)]
struct Event {
    id: Option<String>,
    name: Option<String>,
    data: Option<Vec<String>>,
}

impl Event {
    fn line(&mut self, line: &str) {
        match line.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
            Some(("", "")) => {}
            Some(("id", value)) => self.id = Some(value.to_owned()),
            Some(("event", value)) => self.name = Some(value.to_owned()),
            Some(("data", value)) => self.data.get_or_insert_default().push(value.to_owned()),
            Some(("retry", value)) => assert!(value.parse::<u64>().is_ok_and(|ms| (1_000..3_000).contains(&ms))),
            _ => panic!("{line:?} in an event stream"),
        }
    }
}

/// An event stream knows one kind of line end.
fn check_lines(entry: &Entry, event: &Event, data: &str) {
    if entry.binary {
        assert_eq!(event.name.as_deref().unwrap_or("binary"), event.name.as_deref().unwrap_or_default());
        return assert_eq!(data, base64::pad(base64::encode(&entry.data, base64::STANDARD)));
    }
    let text = String::from_utf8(entry.data.clone()).expect("text");
    assert_eq!(data, text.replace("\r\n", "\n").replace('\r', "\n"));
}

fn inflated(data: &[u8]) -> Vec<u8> {
    let unpacked = inflate::inflate(data, usize::MAX);
    assert_eq!(unpacked.end, inflate::End::Complete);
    unpacked.data
}

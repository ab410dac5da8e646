//! One who follows a channel, by any transport.

use serde_json::Value;

use super::{CLOSE, Client, EVENT_STREAM, REDPOLL_V1, Rig, get};

/// How a subscriber gets what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    RawSocket,
    JsonSocket,
    RawEvents,
    JsonEvents,
    LongPoll,
    ShortPoll,
}

impl Way {
    pub(crate) const ALL: [Way; 6] =
        [Way::RawSocket, Way::JsonSocket, Way::RawEvents, Way::JsonEvents, Way::LongPoll, Way::ShortPoll];
    /// Those to which a message comes when it is published.
    pub(crate) const PUSHED: [Way; 5] =
        [Way::RawSocket, Way::JsonSocket, Way::RawEvents, Way::JsonEvents, Way::LongPoll];

    pub(crate) fn is_poll(self) -> bool {
        matches!(self, Way::LongPoll | Way::ShortPoll)
    }

    pub(crate) fn is_socket(self) -> bool {
        matches!(self, Way::RawSocket | Way::JsonSocket)
    }
}

/// What a subscriber has got so far.
pub(crate) struct Subscriber {
    pub(crate) way: Way,
    pub(crate) client: Client,
    path: String,
    /// Its position, as far as its transport says it. A raw WebSocket never does.
    pub(crate) cursor: Option<String>,
    /// The payloads, in the order in which they came.
    pub(crate) messages: Vec<String>,
    /// Their positions, where the transport says them.
    pub(crate) ids: Vec<String>,
    /// How often it was told that it has missed something.
    pub(crate) gaps: usize,
    /// The code of a close frame, or what stands for it on an event stream.
    pub(crate) closed_with: Option<u16>,
    /// Answers to polls that it has got.
    pub(crate) answers: usize,
}

impl Subscriber {
    /// Takes what has arrived. A poll that was answered asks again, from where it is.
    pub(crate) fn collect(&mut self, rig: &mut Rig) {
        while self.take() && self.way == Way::LongPoll {
            self.poll(rig);
        }
    }

    /// Takes what has arrived. Returns whether a poll was answered.
    pub(crate) fn take(&mut self) -> bool {
        match self.way {
            Way::RawSocket | Way::JsonSocket => self.take_frames(),
            Way::RawEvents | Way::JsonEvents => self.take_events(),
            Way::LongPoll | Way::ShortPoll => return self.take_answer(),
        }
        false
    }

    /// Asks for what comes after its position.
    pub(crate) fn poll(&mut self, rig: &mut Rig) {
        let wait = if self.way == Way::LongPoll { 25 } else { 0 };
        let since = self.cursor.as_ref().map_or(String::new(), |cursor| format!("&since={cursor}"));
        rig.send(&self.client, get(&format!("{}?wait={wait}{since}", self.path), ""));
    }

    fn take_frames(&mut self) {
        for frame in self.client.frames() {
            match (frame.opcode, self.way) {
                (CLOSE, _) => self.closed_with = Some(frame.code()),
                (_, Way::RawSocket) => self.messages.push(frame.text()),
                _ => self.take_envelope(&frame.json()),
            }
        }
    }

    fn take_events(&mut self) {
        for event in self.client.events() {
            let cursor = event.id.clone().or(self.cursor.clone());
            match (event.event.as_deref(), event.data, self.way) {
                (Some("gap"), _, _) => self.gaps += 1,
                (Some("expired"), _, _) => self.closed_with = Some(4_001),
                (_, Some(data), Way::JsonEvents) => self.take_envelope(&json(&data)),
                (_, Some(data), _) => {
                    self.messages.push(data);
                    self.ids.extend(event.id);
                }
                (_, None, _) => {}
            }
            // On several channels it is not the envelope's.
            self.cursor = cursor;
        }
    }

    fn take_answer(&mut self) -> bool {
        let Some(answer) = self.client.answer() else { return false };
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body = answer.json();
        self.answers += 1;
        self.gaps += usize::from(body["gap"] == true);
        for envelope in body["messages"].as_array().expect("an array") {
            self.take_envelope(envelope);
        }
        self.cursor = body["cursor"].as_str().map(str::to_owned);
        true
    }

    fn take_envelope(&mut self, envelope: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(data) = text(&envelope["data"]) {
            self.messages.push(data);
            self.cursor = text(&envelope["id"]);
            self.ids.extend(self.cursor.clone());
        } else if envelope["gap"].is_object() {
            self.gaps += 1;
            self.cursor = text(&envelope["gap"]["to"]);
        } else {
            assert!(envelope["error"].is_null(), "{envelope}");
            self.cursor = text(&envelope["cursor"]).or(self.cursor.take());
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Rig {
    /// Subscribes to a channel, or to several, from `since` on: only what is new if `None`.
    pub(crate) fn subscribe(&mut self, way: Way, channel: &str, since: Option<&str>) -> Subscriber {
        self.subscribe_with(way, channel, since, usize::MAX)
    }

    /// The same with a send buffer of `capacity` bytes, once it is subscribed.
    pub(crate) fn subscribe_with(
        &mut self,
        way: Way,
        channel: &str,
        since: Option<&str>,
        capacity: usize,
    ) -> Subscriber {
        let client = self.connect();
        let path = format!("/channel/{channel}");
        let query = since.map_or(String::new(), |since| format!("&since={since}"));
        let cursor = since.map(str::to_owned);
        let mut subscriber = Subscriber {
            way,
            client,
            path,
            cursor,
            messages: Vec::new(),
            ids: Vec::new(),
            gaps: 0,
            closed_with: None,
            answers: 0,
        };
        let client = &subscriber.client;
        match way {
            Way::RawSocket => self.upgrade(client, &format!("/channel/{channel}?form=raw{query}"), None),
            Way::JsonSocket => self.upgrade(client, &format!("/channel/{channel}?form=json{query}"), REDPOLL_V1),
            Way::RawEvents | Way::JsonEvents => {
                let form = if way == Way::RawEvents { "raw" } else { "json" };
                self.send(client, get(&format!("/channel/{channel}?form={form}{query}"), EVENT_STREAM));
                assert_eq!(client.answer().map(|answer| answer.status), Some(200));
            }
            Way::LongPoll | Way::ShortPoll => subscriber.poll(self),
        }
        subscriber.client.set_capacity(capacity);
        subscriber
    }
}

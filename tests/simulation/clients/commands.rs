//! `redpoll.v1`: commands, and their answers in the same order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Scene;
use super::requests::since;
use super::subscriber::{Line, Subscriber};
use super::token::Token;
use crate::oracle::Payload;

/// A command that waits for its answer.
pub(super) struct Command {
    ack: u64,
    wants: Wants,
}

enum Wants {
    Subscribed(usize),
    Unsubscribed(usize),
    /// To the channel of that tracker.
    Published(usize, Payload),
    /// That the client may stay for as long.
    Renewed(Token),
    Error(u16),
}

impl Subscriber {
    /// Sends one or a few commands.
    pub(super) fn command(&mut self, line: &mut Line, scene: &mut Scene) {
        let count = if scene.network.random.one_in(40) { 200 } else { 1 + scene.network.random.below(3) };
        let mut bytes = Vec::new();
        for _ in 0..count {
            let json = self.next_command(line, count > 3, scene);
            let message = Payload { data: json.to_string().into_bytes(), binary: false };
            if let Some(socket) = line.socket() {
                socket.push_message(&mut bytes, &message, &mut scene.network.random);
            }
        }
        line.send_frames(&bytes, scene);
    }

    fn next_command(&mut self, line: &mut Line, small: bool, scene: &mut Scene) -> Value {
        let ack = scene.network.random.below(1 << 50);
        let index = scene.network.random.index(self.trackers.len());
        let name = scene.oracle.channels[self.trackers[index].channel].name.clone();
        // What is under way for this channel is waited for.
        let settled = line.commands.iter().all(|command| !command.concerns(index));
        let (json, wants) = match scene.network.random.below(10) {
            0 if line.joined[index] && settled => {
                (json!({"unsubscribe": name, "ack": ack}), Wants::Unsubscribed(index))
            }
            1 => (json!({"publish": name, "ack": ack}), Wants::Error(400)),
            2 if scene.oracle.troubles.tokens => {
                let lasts_ms = scene.network.random.pick(&[500, 30_000]);
                let token = Token::new(lasts_ms, scene);
                (json!({"token": token.lasts_ms.to_string(), "ack": ack}), Wants::Renewed(token))
            }
            2 if line.joined[index] && settled => (json!({"subscribe": name, "ack": ack}), Wants::Error(409)),
            3.. if !line.joined[index] && settled => {
                let since = since(&mut self.trackers[index..=index], scene);
                let mut json = json!({"subscribe": name, "ack": ack});
                let mut suffix = String::new();
                if line.observes {
                    json["presence"] = true.into();
                    suffix = self.views[index].ask(since.as_ref().is_some_and(|since| since.contains('-')));
                }
                if let Some(since) = since {
                    json["since"] = format!("{since}{suffix}").into();
                }
                (json, Wants::Subscribed(index))
            }
            _ => {
                let payload = scene.oracle.payload(&mut scene.network.random, if small { 60 } else { usize::MAX });
                let json = match payload.binary {
                    true => json!({"publish": name, "base64": STANDARD.encode(&payload.data), "ack": ack}),
                    false => json!({"publish": name, "data": text_of(&payload), "event": "said", "ack": ack}),
                };
                (json, Wants::Published(index, payload))
            }
        };
        line.commands.push_back(Command { ack, wants });
        json
    }

    /// An answer, to the oldest command that waits; or the confirmation of a channel of the URL.
    pub(super) fn receive_reply(&mut self, line: &mut Line, json: &Value, scene: &mut Scene) {
        if json["ack"].is_null() {
            let name = json["subscribed"].as_str().unwrap_or_else(|| panic!("{json}"));
            let index = self.index_of(name, scene);
            return self.begin_at(index, json["cursor"].as_str().expect("a cursor"), line, scene);
        }
        let command = line.commands.pop_front().unwrap_or_else(|| panic!("an answer to nothing: {json}"));
        assert_eq!(json["ack"], command.ack, "another ack: {json}");
        if json["error"]["status"] == 503 {
            return scene.oracle.note("503 to a command");
        }
        if json["error"]["status"] == 429 && scene.oracle.config.publications_a_second.is_some() {
            return scene.oracle.note("429 to a command");
        }
        match command.wants {
            Wants::Subscribed(index) => {
                assert!(json["subscribed"].is_string(), "{json}");
                line.joined[index] = true;
                // What came before may be lost, the client was not subscribed.
                line.away_until = scene.network.now;
                self.begin_at(index, json["cursor"].as_str().expect("a cursor"), line, scene);
            }
            Wants::Unsubscribed(index) => {
                assert!(json["unsubscribed"].is_string(), "{json}");
                line.joined[index] = false;
            }
            Wants::Published(index, payload) => {
                let offset = scene.oracle.offset(json["id"].as_str().unwrap_or_else(|| panic!("{json}")));
                let entry = scene.oracle.entry(self.trackers[index].channel, offset);
                assert!(entry.data == payload.data && entry.binary == payload.binary, "{offset} is something else");
            }
            Wants::Renewed(token) => {
                assert!(json["error"].is_null(), "{json}");
                line.token = Some(token);
                line.note_token_seen(scene);
            }
            Wants::Error(status) => assert_eq!(json["error"]["status"], status, "{json}"),
        }
    }

    /// A connection's own replies come before deliveries: its own message never before the ack.
    pub(super) fn check_acknowledged(&self, line: &Line, json: &Value, scene: &Scene) {
        let offset = scene.oracle.offset(json["id"].as_str().expect("an id"));
        for command in &line.commands {
            if let Wants::Published(index, payload) = &command.wants
                && !payload.data.is_empty()
            {
                let own = scene.oracle.offset_of_payload(self.trackers[*index].channel, &payload.data);
                assert!(own != Some(offset) || json["channel"] != self.name(*index, scene), "a copy before its ack");
            }
        }
    }

    fn name<'a>(&self, index: usize, scene: &'a Scene) -> &'a str {
        &scene.oracle.channels[self.trackers[index].channel].name
    }
}

impl Command {
    /// Whether it subscribes to or unsubscribes from the channel of that tracker.
    fn concerns(&self, index: usize) -> bool {
        matches!(self.wants, Wants::Subscribed(other) | Wants::Unsubscribed(other) if other == index)
    }
}

fn text_of(payload: &Payload) -> &str {
    std::str::from_utf8(&payload.data).expect("text is UTF-8")
}

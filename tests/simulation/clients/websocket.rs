//! WebSocket: frames in both directions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Scene;
use super::frames::{ACCEPT, BINARY, CLOSE, PING, PONG, TEXT};
use super::http::Response;
use super::presence::View;
use super::socket::Socket;
use super::subscriber::{Line, Session, Subscriber, Transport};
use crate::oracle::Oracle;

/// What an envelope must have.
pub(super) struct Envelope<'a> {
    pub(super) channel: &'a str,
    pub(super) id: &'a str,
}

impl Envelope<'_> {
    pub(super) fn of(json: &Value) -> Envelope<'_> {
        match (json["channel"].as_str(), json["id"].as_str()) {
            (Some(channel), Some(id)) => Envelope { channel, id },
            _ => panic!("an envelope without channel or id: {json}"),
        }
    }
}

/// The payload of an envelope, whose form and event must be those of what was published.
pub(super) fn payload_of(json: &Value, channel: usize, offset: u64, oracle: &Oracle) -> Vec<u8> {
    let entry = oracle.entry(channel, offset);
    assert_eq!(json["event"].as_str(), entry.event.as_deref(), "the event's name");
    match (json["data"].as_str(), json["base64"].as_str()) {
        (Some(text), None) if !entry.binary => text.as_bytes().to_vec(),
        (None, Some(text)) if entry.binary => STANDARD.decode(text).expect("binary is base64"),
        _ => panic!("{offset} is binary: {}; came {json}", entry.binary),
    }
}

impl Subscriber {
    pub(super) fn open_websocket(&mut self, line: &mut Line, response: &Response, scene: &mut Scene) {
        assert_eq!(response.field("sec-websocket-accept"), Some(ACCEPT));
        let answer = response.field("sec-websocket-extensions");
        let agreed = match &line.offer {
            Some(offer) => offer.agree(answer, scene.oracle, &mut scene.network.random),
            None => {
                assert_eq!(answer, None, "an extension that was not offered");
                None
            }
        };
        let mut socket = Socket::new(agreed, self.nature.diligent, line.came_at, scene);
        socket.frames.push(&line.responses.take_rest());
        line.session = Session::WebSocket(socket.into());
        line.away_until = scene.network.now;
        line.note_token_seen(scene);
        if line.transport != Transport::Commands {
            let placeless = self.trackers.iter_mut().filter(|tracker| !tracker.is_placed());
            placeless.for_each(|tracker| tracker.open_without_position(scene.oracle));
            for index in 0..self.trackers.len() {
                self.begin_presence(index, None, line, scene);
            }
        }
    }

    pub(super) fn receive_frames(&mut self, line: &mut Line, scene: &mut Scene) -> bool {
        loop {
            let Some((opcode, payload)) = line.socket().and_then(|socket| socket.frames.next()) else { return true };
            assert!(!line.server_closes, "opcode {opcode} after Close");
            match opcode {
                TEXT | BINARY if line.transport == Transport::RawSocket => {
                    self.trackers[0].payload(&payload, opcode == BINARY, scene.oracle);
                }
                TEXT => {
                    let json: Value = serde_json::from_slice(&payload).expect("JSON");
                    self.receive_json_message(line, &json, scene);
                }
                PING => line.receive_ping(&payload, scene),
                PONG => line.receive_pong(&payload),
                CLOSE => self.receive_close(line, &payload, scene),
                _ => panic!("a binary message to a client of JSON"),
            }
        }
    }

    fn receive_json_message(&mut self, line: &mut Line, json: &Value, scene: &mut Scene) {
        if json["gap"].is_object() {
            self.receive_gap(line, json, scene);
        } else if View::is_presence(json) {
            self.receive_presence(line, json, None, scene);
        } else if json["channel"].is_string() {
            self.check_acknowledged(line, json, scene);
            self.receive_envelope(line, json, scene);
        } else {
            assert_eq!(line.transport, Transport::Commands, "an answer to no command: {json}");
            self.receive_reply(line, json, scene);
        }
    }

    /// Sends what comes to mind.
    pub(super) fn talk(&mut self, scene: &mut Scene) {
        if !self.nature.talks {
            return;
        }
        let Some(mut line) = self.line.take() else { return };
        if let Session::WebSocket(_) = line.session
            && !line.server_closes
            && !line.is_quiet()
        {
            match line.transport {
                Transport::Commands => self.command(&mut line, scene),
                _ => {
                    let count = match scene.network.random.below(1_000) {
                        0 => 3_000,
                        1..10 => scene.network.random.range(100, 600),
                        _ => 1,
                    };
                    line.send_messages(count, scene);
                }
            }
        }
        self.line = Some(line);
    }
}

impl Line {
    /// Sends raw messages; many are small.
    pub(super) fn send_messages(&mut self, count: u64, scene: &mut Scene) {
        let bytes_max = if count > 1 { 30 } else { usize::MAX };
        let mut bytes = Vec::new();
        for _ in 0..count {
            let payload = scene.oracle.payload(&mut scene.network.random, bytes_max);
            if let Some(socket) = self.socket() {
                socket.push_message(&mut bytes, &payload, &mut scene.network.random);
            }
            self.note_sent(payload);
        }
        self.send_frames(&bytes, scene);
    }
}

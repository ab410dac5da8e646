//! WebSocket: frames in both directions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Scene;
use super::frames::{self, BINARY, CLOSE, Frames, PING, PONG, TEXT};
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
    pub(super) fn open_websocket(&mut self, line: &mut Line, frames: Frames, scene: &mut Scene) {
        line.session = Session::WebSocket(frames);
        line.away_until = scene.network.now;
        if line.transport != Transport::Commands {
            let placeless = self.trackers.iter_mut().filter(|tracker| !tracker.is_placed());
            placeless.for_each(|tracker| tracker.open_without_position(scene.oracle));
        }
    }

    pub(super) fn receive_frames(&mut self, line: &mut Line, scene: &mut Scene) -> bool {
        loop {
            let Session::WebSocket(frames) = &mut line.session else { return true };
            let Some((opcode, payload)) = frames.next() else { return true };
            assert!(!line.server_closes, "opcode {opcode} after Close");
            match opcode {
                TEXT | BINARY if line.transport == Transport::RawSocket => {
                    self.trackers[0].payload(&payload, opcode == BINARY, scene.oracle);
                }
                TEXT => {
                    let json: Value = serde_json::from_slice(&payload).expect("JSON");
                    self.receive_json_message(line, &json, scene);
                }
                PING => send_frame(line, PONG, &payload, scene),
                PONG => assert_eq!(payload, b"between"),
                CLOSE => self.receive_close(line, &payload, scene),
                _ => panic!("a binary message to a client of JSON"),
            }
        }
    }

    fn receive_json_message(&mut self, line: &mut Line, json: &Value, scene: &mut Scene) {
        if json["gap"].is_object() {
            self.receive_gap(line, json, scene);
        } else if json["channel"].is_string() {
            self.check_acknowledged(line, json, scene);
            self.receive_envelope(line, json, scene);
        } else {
            assert_eq!(line.transport, Transport::Commands, "an answer to no command: {json}");
            self.receive_reply(line, json, scene);
        }
    }

    fn receive_close(&mut self, line: &mut Line, payload: &[u8], scene: &mut Scene) {
        let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
        line.server_closes = true;
        let goes = line.going_until.is_some();
        match code {
            1000 if goes => return self.check_all_published(line, scene),
            1001 => assert!(scene.oracle.draining, "1001 before the end"),
            1013 => scene.oracle.note("1013"),
            4008 => {
                assert_eq!(line.transport, Transport::RawSocket, "4008 to one who can be told a gap");
                let excuse = self.excuse(line);
                self.trackers[0].closed_for_gap(excuse, scene.oracle);
            }
            _ => panic!("closed with {code}: {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default())),
        }
        send_frame(line, CLOSE, payload, scene);
        line.going_until.get_or_insert(scene.network.now + 5_000);
    }

    /// The server answers a Close when it has served everything before it.
    fn check_all_published(&self, line: &Line, scene: &mut Scene) {
        scene.oracle.note("closing handshake");
        for data in &line.sent {
            for tracker in &self.trackers {
                let published = scene.oracle.offset_of_payload(tracker.channel, data).is_some();
                assert!(published, "{} bytes were sent before Close and not published", data.len());
            }
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
        {
            match line.transport {
                Transport::Commands => self.command(&mut line, scene),
                _ => send_messages(&mut line, scene),
            }
        }
        self.line = Some(line);
    }
}

/// Sends one message, now and then hundreds at once.
fn send_messages(line: &mut Line, scene: &mut Scene) {
    let count = match scene.network.random.below(1_000) {
        0 => 3_000,
        1..10 => scene.network.random.range(100, 600),
        _ => 1,
    };
    let bytes_max = if count > 1 { 30 } else { usize::MAX };
    let mut bytes = Vec::new();
    for _ in 0..count {
        let payload = scene.oracle.payload(&mut scene.network.random, bytes_max);
        let opcode = if payload.binary { BINARY } else { TEXT };
        frames::push_message(&mut bytes, opcode, &payload.data, &mut scene.network.random);
        if !payload.data.is_empty() {
            line.sent.push(payload.data);
        }
    }
    scene.network.send(line.link, &bytes);
}

pub(super) fn send_frame(line: &Line, opcode: u8, payload: &[u8], scene: &mut Scene) {
    if !line.half_closed {
        let mut bytes = Vec::new();
        frames::push_frame(&mut bytes, true, opcode, payload, &mut scene.network.random);
        scene.network.send(line.link, &bytes);
    }
}

//! Event streams: what the blocks mean.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Scene;
use super::events::Block;
use super::presence::{View, split};
use super::subscriber::{Line, Session, Subscriber, Transport};
use super::websocket::{Envelope, payload_of};
use crate::tracker::Tracker;

impl Subscriber {
    pub(super) fn receive_events(&mut self, line: &mut Line, scene: &mut Scene) -> bool {
        loop {
            let Session::EventStream(events) = &mut line.session else { return true };
            let Some(block) = events.next() else { return true };
            self.receive_block(line, block, scene);
        }
    }

    fn receive_block(&mut self, line: &mut Line, block: Block, scene: &mut Scene) {
        if block.event.as_deref() == Some("expired") {
            return line.receive_expiry(scene);
        }
        let id = block.id.unwrap_or_else(|| panic!("a block without an id"));
        let Some(data) = block.data else {
            return self.begin(&id, line, scene);
        };
        let single = self.trackers.len() == 1;
        match (line.transport, block.event.as_deref()) {
            (_, Some("gap")) => {
                let json: Value = serde_json::from_str(&data).expect("a gap is JSON");
                self.receive_gap(line, &json, scene);
            }
            (Transport::RawStream, event) => {
                assert!(single, "raw is for one channel");
                self.receive_raw_event(&id, event, &data, scene);
            }
            (_, Some(event @ ("join" | "leave" | "members"))) => {
                let json: Value = serde_json::from_str(&data).expect("presence is JSON");
                assert!(json[event].is_object(), "{event}: {json}");
                let index = self.index_of(json["channel"].as_str().expect("a channel"), scene);
                let place = id.split(',').nth(index).and_then(|part| split(part).1);
                self.receive_presence(line, &json, place, scene);
            }
            (_, event) => {
                let json: Value = serde_json::from_str(&data).expect("an envelope is JSON");
                assert_eq!(json["event"].as_str(), event, "the event's name");
                self.receive_envelope(line, &json, scene);
            }
        }
        let suffix = |view: &View| if line.observes { view.suffix() } else { String::new() };
        let text = |(tracker, view): (&Tracker, &View)| format!("{}{}", tracker.text(scene.oracle), suffix(view));
        let vector: Vec<String> = self.trackers.iter().zip(&self.views).map(text).collect();
        assert_eq!(id, vector.join(","), "the id is the client's position after the event");
    }

    /// The first block: where delivery begins.
    fn begin(&mut self, id: &str, line: &Line, scene: &mut Scene) {
        let positions: Vec<&str> = id.split(',').collect();
        assert_eq!(positions.len(), self.trackers.len(), "a position for each channel");
        for (index, position) in positions.into_iter().enumerate() {
            self.begin_at(index, position, line, scene);
        }
    }

    /// The server says where delivery begins on one channel.
    pub(super) fn begin_at(&mut self, index: usize, text: &str, line: &Line, scene: &mut Scene) {
        let (position, place) = split(text);
        self.trackers[index].begin(position, scene.oracle);
        self.begin_presence(index, place, line, scene);
    }

    fn receive_raw_event(&mut self, id: &str, event: Option<&str>, data: &str, scene: &mut Scene) {
        let offset = scene.oracle.offset(id);
        let tracker = &mut self.trackers[0];
        let entry = scene.oracle.entry(tracker.channel, offset);
        let name = if entry.binary { Some("binary") } else { entry.event.as_deref() };
        assert_eq!(event, name, "the event's name");
        let data = match entry.binary {
            true => STANDARD.decode(data).expect("binary is base64"),
            false => data.as_bytes().to_vec(),
        };
        tracker.message(offset, &data, true, scene.oracle);
    }

    /// A message in its envelope.
    pub(super) fn receive_envelope(&mut self, line: &Line, json: &Value, scene: &mut Scene) {
        let envelope = Envelope::of(json);
        let (offset, index) = (scene.oracle.offset(envelope.id), self.index_of(envelope.channel, scene));
        assert!(line.joined[index], "a message of a channel that is not subscribed to");
        let tracker = &mut self.trackers[index];
        let data = payload_of(json, tracker.channel, offset, scene.oracle);
        tracker.message(offset, &data, false, scene.oracle);
    }

    pub(super) fn receive_gap(&mut self, line: &Line, json: &Value, scene: &mut Scene) {
        let excuse = self.excuse(line);
        let index = self.index_of(json["channel"].as_str().expect("a channel"), scene);
        assert!(line.joined[index], "a gap of a channel that is not subscribed to");
        let (from, to) = (json["gap"]["from"].as_str().expect("from"), json["gap"]["to"].as_str().expect("to"));
        let to = scene.oracle.offset(to);
        self.trackers[index].gap(Some(from), to, excuse, scene.oracle);
    }

    pub(super) fn index_of(&self, name: &str, scene: &Scene) -> usize {
        let channel = scene.oracle.index(name);
        let index = self.trackers.iter().position(|tracker| tracker.channel == channel);
        index.unwrap_or_else(|| panic!("{name}: nobody asked for it"))
    }
}

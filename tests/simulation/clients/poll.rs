//! The answers of polls.

use serde_json::Value;

use super::http::Response;
use super::presence::{View, split};
use super::subscriber::{Line, Session, Subscriber, Transport};
use super::websocket::payload_of;
use super::{Phase, Scene};
use crate::oracle::Excuse;
use crate::tracker::Tracker;

impl Subscriber {
    /// Takes in an answer. Returns whether the connection goes on.
    pub(super) fn receive_answer(&mut self, line: &mut Line, response: &Response, scene: &mut Scene) -> bool {
        // Who left nothing behind and comes back soon is waited for: it was not away.
        let in_time = line.complete_at.is_some_and(|complete_at| line.asked_at <= complete_at + SOON_MS);
        if !in_time || !POLLERS_ARE_WAITED_FOR_ON_EMPTY_CHANNELS {
            // Nor is anybody there who waits to be accepted, or whose server sleeps.
            let accepted_at = scene.network.links[line.link].accepted_at.unwrap_or(0);
            line.away_until = line.asked_at.max(accepted_at).max(scene.oracle.slept_at) + ON_THE_WAY_MS;
        }
        line.complete_at = None;
        log::debug!("{}: client {} is answered, there since {}", scene.network.now, self.id, line.away_until);
        line.session = Session::Answered;
        let tag = response.field("etag").unwrap_or_else(|| panic!("no ETag"));
        let cursor = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or_else(|| panic!("{tag}"));
        match line.transport {
            Transport::RawPoll => self.receive_raw(line, response, cursor, scene),
            _ => self.receive_json(line, response, cursor, scene),
        }
        if line.responses.next().is_some() {
            panic!("an answer that nobody asked for");
        }
        if response.closes() {
            line.server_closes = true;
            return false;
        }
        let pause = if scene.phase == Phase::Quiet { 20 } else { self.nature.pace_ms.min(900) };
        let delay = scene.network.random.below(pause);
        self.act_in(delay, scene);
        true
    }

    fn receive_raw(&mut self, line: &Line, response: &Response, cursor: &str, scene: &mut Scene) {
        let excuse = self.excuse(line);
        let tracker = &mut self.trackers[0];
        let cursor = scene.oracle.offset(cursor);
        let has_payload = response.status == 200;
        if response.field("redpoll-gap") == Some("1") {
            let to = if has_payload { cursor - 1 } else { cursor };
            tracker.gap(None, to, excuse, scene.oracle);
        }
        if has_payload {
            let binary = response.field("content-type") == Some("application/octet-stream");
            assert_eq!(scene.oracle.entry(tracker.channel, cursor).binary, binary, "the kind of {cursor}");
            tracker.message(cursor, &response.body, false, scene.oracle);
        }
        tracker.advance(cursor, scene.oracle);
    }

    fn receive_json(&mut self, line: &mut Line, response: &Response, cursor: &str, scene: &mut Scene) {
        let body: Value = serde_json::from_slice(&response.body).expect("an answer is JSON");
        assert_eq!(body["cursor"], cursor, "the ETag is the cursor");
        let excuse = self.excuse(line);
        let (cursors, places): (Vec<u64>, Vec<Option<u64>>) =
            cursor.split(',').map(split).map(|(cursor, place)| (scene.oracle.offset(cursor), place)).unzip();
        let messages = body["messages"].as_array().expect("messages are an array");
        assert_eq!(cursors.len(), self.trackers.len());
        let several = cursors.len() > 1;
        assert_eq!(several, body["gaps"].is_array(), "only several channels have gaps");
        let (mut taken, mut complete) = (0, true);
        for (index, (cursor, place)) in cursors.into_iter().zip(places).enumerate() {
            let name = scene.oracle.channels[self.trackers[index].channel].name.clone();
            let has_gap = match several {
                true => body["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(|gap| *gap == name.as_str())),
                false => body["gap"] == true,
            };
            assert!(!has_gap || body["gap"] == true);
            // Channel by channel, in the order of the URL.
            let own: Vec<&Value> =
                messages[taken..].iter().take_while(|message| message["channel"] == name.as_str()).collect();
            taken += own.len();
            // Who comes and goes stands behind what is said.
            let (own, changes) = own.split_at(own.iter().take_while(|json| !View::is_presence(json)).count());
            assert!(own.len() <= line.limit, "more than was asked for");
            complete &= own.len() < line.limit;
            receive_share(&mut self.trackers[index], own, cursor, has_gap, excuse, scene);
            self.receive_changes(index, changes, place, line, scene);
        }
        assert_eq!(taken, messages.len(), "messages of other channels, or in another order");
        line.complete_at = complete.then_some(scene.network.now);
    }
}

impl Subscriber {
    /// Takes in who has come and gone in one channel.
    fn receive_changes(
        &mut self,
        index: usize,
        changes: &[&Value],
        place: Option<u64>,
        line: &Line,
        scene: &mut Scene,
    ) {
        let told = changes.iter().filter(|json| json["members"].is_object()).count();
        assert!(told <= 1 && changes.len() - told <= line.limit, "more than was asked for");
        if line.observes {
            self.begin_presence_of_answer(index, changes.len() as u64, told > 0, place, scene);
        } else {
            assert_eq!(place, None, "a place for one who did not ask");
        }
        changes.iter().for_each(|json| self.receive_presence(line, json, None, scene));
        if line.observes {
            self.views[index].end_answer(place);
        }
    }
}

/// Takes in what an answer has of one channel.
fn receive_share(
    tracker: &mut Tracker,
    messages: &[&Value],
    cursor: u64,
    has_gap: bool,
    excuse: Excuse,
    scene: &mut Scene,
) {
    let offset_of = |message: &Value, scene: &Scene| scene.oracle.offset(message["id"].as_str().expect("an id"));
    if has_gap {
        let to = messages.first().map_or(cursor, |message| offset_of(message, scene) - 1);
        tracker.gap(None, to, excuse, scene.oracle);
    }
    for message in messages {
        let offset = offset_of(message, scene);
        let data = payload_of(message, tracker.channel, offset, scene.oracle);
        tracker.message(offset, &data, false, scene.oracle);
    }
    tracker.advance(cursor, scene.oracle);
}

/// Known failure: a channel that is empty when its last poll is answered is forgotten, and with it that somebody is coming
/// back. What is published then is kept only as its history says.
const POLLERS_ARE_WAITED_FOR_ON_EMPTY_CHANNELS: bool = false;
/// How long the server waits for one who has been answered, less the time on the way.
const SOON_MS: u64 = 700;
/// How long a request of somebody fast may take to be served.
const ON_THE_WAY_MS: u64 = 200;

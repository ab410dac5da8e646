//! Presence: by which name a client is there, and what it knows of the others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Scene;
use super::subscriber::{Line, Subscriber, Transport};
use crate::oracle::Oracle;

/// Who is listed in a channel; `None` where that is not known.
type Listed = Option<BTreeSet<String>>;

/// Who is in one channel, as far as a client has been told.
#[derive(Default)]
pub(super) struct View {
    /// Its place among joins and leaves, where it knows it.
    place: Option<u64>,
    /// Whom it knows to be there; `None` once it was told that it would have to ask.
    who: Option<BTreeSet<String>>,
    /// It has asked to be told what is new, and not from its place on.
    is_fresh: bool,
}

/// A position without the place behind it, and that.
pub(super) fn split(text: &str) -> (&str, Option<u64>) {
    match text.split_once('~') {
        Some((position, place)) => (position, Some(place.parse().unwrap_or_else(|_| panic!("place {place:?}")))),
        None => (text, None),
    }
}

impl View {
    /// What stands behind the client's position when it asks to be told from its place on.
    pub(super) fn ask(&mut self, has_position: bool) -> String {
        self.is_fresh = !has_position || self.place.is_none();
        if self.is_fresh {
            *self = View { is_fresh: true, ..View::default() };
        }
        self.suffix()
    }

    pub(super) fn suffix(&self) -> String {
        self.place.map_or(String::new(), |place| format!("~{place}"))
    }

    /// Delivery begins, where the server says so at `place`.
    pub(super) fn begin(&mut self, place: Option<u64>, listed: Option<&BTreeSet<String>>) {
        if std::mem::take(&mut self.is_fresh) {
            self.who = listed.cloned();
        } else {
            assert!(place.is_none() || place == self.place, "presence begins at {place:?}, not {:?}", self.place);
        }
        self.place = place.or(self.place);
    }

    /// Somebody has come or gone, or it is said how many are there. `place` is where the server says the client is then.
    pub(super) fn take(&mut self, json: &Value, place: Option<u64>, oracle: &mut Oracle) {
        if json["members"].is_object() {
            oracle.note("told how many members there are");
            assert!(json["members"]["count"].is_u64(), "{json}");
            self.who = None;
            self.place = place;
            return;
        }
        let (is_join, member) = if json["join"].is_object() { (true, &json["join"]) } else { (false, &json["leave"]) };
        let (Some(name), Some(transport)) = (member["name"].as_str(), member["transport"].as_str()) else {
            panic!("no member in {json}");
        };
        assert!(["ws", "sse", "poll"].contains(&transport), "{json}");
        oracle.note(if is_join { "told of a join" } else { "told of a leave" });
        if let Some(who) = &mut self.who {
            // Who began with what is new may have listed it already.
            let _ = if is_join { who.insert(name.to_owned()) } else { who.remove(name) };
        }
        let next = self.place.map(|place| place + 1);
        assert!(place.is_none() || next.is_none() || place == next, "after {:?} comes {place:?}", self.place);
        self.place = next;
    }

    /// An answer to a poll ends at `place`.
    pub(super) fn end_answer(&mut self, place: Option<u64>) {
        assert!(self.place.is_none() || self.place == place, "the answer ends at {place:?}, not {:?}", self.place);
        self.place = place;
    }

    pub(super) fn is_presence(json: &Value) -> bool {
        ["join", "leave", "members"].iter().any(|key| json[*key].is_object())
    }
}

impl Subscriber {
    /// Puts the places behind the positions, where the client is to be told of presence; now and then also where not.
    pub(super) fn with_places(&mut self, since: Option<String>, observes: bool, scene: &mut Scene) -> Option<String> {
        let says = observes || scene.network.random.one_in(4);
        let has_positions = since.as_ref().is_some_and(|since| since.contains('-'));
        let parts: Vec<&str> = since.as_deref().unwrap_or_default().split(',').collect();
        let suffixes: Vec<String> = self
            .views
            .iter_mut()
            .enumerate()
            .map(|(index, view)| {
                let has_position = has_positions && index < parts.len();
                if observes { view.ask(has_position) } else { view.suffix() }
            })
            .collect();
        match has_positions && says {
            true => {
                let joined: Vec<String> =
                    parts.iter().zip(&suffixes).map(|(part, suffix)| format!("{part}{suffix}")).collect();
                Some(joined.join(","))
            }
            false => since,
        }
    }

    pub(super) fn begin_presence(&mut self, index: usize, place: Option<u64>, line: &Line, scene: &Scene) {
        assert_eq!(place.is_some(), line.observes && line.transport != Transport::JsonSocket, "who gets a place");
        if line.observes {
            let listed = scene.oracle.listed.get(&(Some(self.id), self.trackers[index].channel));
            self.views[index].begin(place, listed);
        }
    }

    /// An answer to a poll says only where it ends.
    pub(super) fn begin_presence_of_answer(
        &mut self,
        index: usize,
        changes: u64,
        is_cut: bool,
        end: Option<u64>,
        scene: &Scene,
    ) {
        let end = end.expect("an observer gets its place");
        let listed = scene.oracle.listed.get(&(Some(self.id), self.trackers[index].channel));
        let view = &mut self.views[index];
        if is_cut {
            view.begin(None, listed);
        } else {
            view.begin(Some(end - changes), listed);
        }
    }

    pub(super) fn receive_presence(&mut self, line: &Line, json: &Value, place: Option<u64>, scene: &mut Scene) {
        assert!(line.observes, "presence to one who did not ask: {json}");
        let index = self.index_of(json["channel"].as_str().expect("a channel"), scene);
        assert!(line.joined[index], "presence in a channel that is not subscribed to");
        self.views[index].take(json, place, scene.oracle);
    }

    /// Whether it knows who is there, if it observes and has not been told to ask: everybody who was there `always` of
    /// late, and nobody who never was.
    pub(crate) fn knows(&self, always: &[Listed], ever: &[Listed], oracle: &mut Oracle) -> bool {
        let Some(line) = self.settled_line(oracle).filter(|line| line.observes) else { return true };
        let mut joined = self.views.iter().zip(&self.trackers).zip(&line.joined).filter(|(_, joined)| **joined);
        joined.all(|((view, tracker), _)| match (&view.who, &always[tracker.channel], &ever[tracker.channel]) {
            (Some(who), Some(always), Some(ever)) => {
                oracle.note(if ever.is_empty() { "knows that nobody is there" } else { "knows who is there" });
                log::debug!("client {} by {:?} knows {who:?}: {always:?} to {ever:?}", self.id, line.transport);
                always.is_subset(who) && who.is_subset(ever)
            }
            _ => true,
        })
    }
}

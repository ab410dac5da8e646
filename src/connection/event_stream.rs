//! EventStream: Server-Sent Events (WHATWG HTML §9.2), until one side ends the connection.

use super::respond::Terms;
use super::subscribe::Unknown;
use super::{State, Visit};
use crate::consumer::Reason;
use crate::hub::{Form, SubscriptionId};
use crate::wire::command::{Ack, push_error};
use crate::wire::envelope::push_gap;
use crate::wire::event_stream::{push_comment, push_event, push_id, push_position, push_retry};
use crate::wire::position::Position;
use crate::wire::response;
use crate::wire::status::Status;

/// A client that gets events.
#[derive(Clone, Copy)]
pub(crate) struct EventStream {
    pub(super) form: Form,
    /// The `id:` is the client's own position: of several channels, or with its place among joins and leaves.
    pub(super) own_ids: bool,
    discarded: u32,
}

impl EventStream {
    pub(super) fn new(form: Form, own_ids: bool) -> EventStream {
        EventStream { form, own_ids, discarded: 0 }
    }
}

/// How long a browser waits before it reconnects, at least and at most: spread, so that a restart is not followed
/// by everyone at once.
const RETRY_MS: std::ops::Range<u64> = 1_000..3_000;

impl Visit<'_> {
    pub(super) fn begin_event_stream(&mut self, stream: EventStream, terms: Terms, unknown: &[Unknown]) {
        response::push_status_line(&mut self.world.output, 200);
        self.push_common_fields(terms);
        let retry_ms = RETRY_MS.start + self.world.jitter(RETRY_MS.end - RETRY_MS.start);
        let output = &mut self.world.output;
        response::push_field(output, "Content-Type", "text/event-stream");
        // nginx and those who follow it would hold events back.
        response::push_field(output, "X-Accel-Buffering", "no");
        response::push_connection(output, false, terms.http10());
        response::push_end(output);
        push_retry(output, retry_ms);
        // Before its gaps, then after one after the other.
        let at = |told: usize| self.world.joined(self.world.hub.subscriptions_of(self.id), &unknown[told..]);
        let ids: Vec<String> = (0..=unknown.len()).map(at).collect();
        push_position(&mut self.world.output, &ids[0]);
        self.connection.state = State::EventStream(stream);
        for (unknown, id) in unknown.iter().zip(&ids[1..]) {
            self.push_gap_event(unknown.subscription, unknown.from, unknown.to, id);
        }
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
        self.world.note_behind(self.id);
    }

    /// `event: gap` with the envelope, and as `id:` the client's position after it. For joins and leaves it is
    /// `event: members`.
    pub(super) fn push_gap_event(&mut self, subscription: SubscriptionId, from: Position, to: Position, id: &str) {
        if self.world.hub.observed_by(subscription).is_some() {
            return self.push_members_event(subscription, id);
        }
        let name = self.world.hub.channel_name(self.world.hub.subscription(subscription).channel);
        let mut json = Vec::new();
        push_gap(&mut json, name, from, to);
        push_id(&mut self.world.output, id);
        push_event(&mut self.world.output, Some("gap"), &String::from_utf8_lossy(&json));
        self.world.counters.gaps += 1;
    }

    /// The client's position on all its channels, as its last `id:` says it.
    pub(super) fn id_of_all(&self) -> String {
        self.world.joined(self.world.hub.subscriptions_of(self.id), &[])
    }

    /// Appends one event of one of several channels: the client's own id, then the lines that all share.
    pub(super) fn push_shared_event(&mut self, event: &[u8]) {
        let lines = memchr::memchr(b'\n', event).map_or(event, |end| &event[end + 1..]);
        let id = self.id_of_all();
        push_id(&mut self.world.output, id);
        self.world.output.extend_from_slice(lines);
    }

    /// A client of an event stream has nothing to say.
    pub(super) fn receive_on_event_stream(&mut self, bytes: &[u8]) -> usize {
        let State::EventStream(stream) = &mut self.connection.state else { return bytes.len() };
        stream.discarded = stream.discarded.saturating_add(bytes.len() as u32);
        if stream.discarded as usize > self.world.config.discard_bytes_max {
            self.drop_for(Reason::PeerGone);
        }
        bytes.len()
    }

    pub(super) fn expire_event_stream(&mut self) {
        push_comment(&mut self.world.output);
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
    }

    /// `event: expired`, with what a WebSocket of `redpoll.v1` would be told: a browser dispatches no event without
    /// data.
    pub(super) fn end_for_expiry(&mut self, refusal: &Status) {
        let mut json = Vec::new();
        push_error(&mut json, refusal, &Ack::default());
        push_event(&mut self.world.output, Some("expired"), &String::from_utf8_lossy(&json));
        self.end_event_stream(Reason::Expired);
    }

    pub(super) fn end_event_stream(&mut self, reason: Reason) {
        self.end_consumer(reason);
        self.drain_then_go(false);
    }
}

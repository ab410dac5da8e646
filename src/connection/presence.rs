//! Presence: who is in a channel by name, and who is told of it.

use super::subscribe::Unknown;
use super::{Visit, World};
use crate::consumer::Context;
use crate::hub::{MemberInfo, SubscriptionId};
use crate::router::Request;
use crate::wire::envelope::{push_formatted, push_members};
use crate::wire::event_stream::{push_event, push_id};
use crate::wire::position::{PRESENCE, Position};
use crate::wire::status::Status;

impl Context<'_> {
    /// Has this client be present by a name in every channel that it subscribes to, until its connection ends; if it
    /// polls, until it has not polled for twice [`Config::ping_interval_ms`](crate::Config::ping_interval_ms). Each
    /// name is one member of a channel, however many clients have it.
    ///
    /// To be called in [`connect`](crate::Consumer::connect); on POST, PUT and HEAD, by which nobody is present, it
    /// means nothing. A name that is not 1 to 128 bytes of text without control characters refuses the request.
    pub fn present_as(&mut self, name: &str) {
        if self.call.connecting {
            self.call.name = Some(name.to_owned());
        }
    }

    /// Up to `limit` members of a channel whose names come after `after`, in the order of their names. Where somebody
    /// asks to be told of joins and leaves (`presence=1`), who has just come or gone is listed as if it were not so
    /// until that is told: then this list and what is told after it are everything.
    pub fn list_members(&self, channel: &str, after: &str, limit: usize) -> Vec<MemberInfo> {
        self.world.hub.list_members(channel, after, limit)
    }

    /// How many members a channel has, as [`Context::list_members`] lists them.
    pub fn count_members(&self, channel: &str) -> usize {
        self.world.hub.count_members(channel)
    }
}

impl Visit<'_> {
    /// Tells an observer on a WebSocket that it has missed who came and went.
    pub(super) fn push_members_frame(&mut self, subscription: SubscriptionId) {
        let mut members = Vec::new();
        self.world.push_members(&mut members, subscription);
        self.push_json(|json| json.append(&mut members));
    }

    /// The same on an event stream, with the client's position after it.
    pub(super) fn push_members_event(&mut self, subscription: SubscriptionId, id: &str) {
        let mut json = Vec::new();
        self.world.push_members(&mut json, subscription);
        push_id(&mut self.world.output, id);
        push_event(&mut self.world.output, Some("members"), &String::from_utf8_lossy(&json));
    }
}

impl World {
    /// Appends how many are present where an observer's subscription is to.
    pub(super) fn push_members(&self, out: &mut Vec<u8>, subscription: SubscriptionId) {
        let channel = self.hub.channel_name(self.hub.subscription(subscription).channel);
        push_members(out, channel, self.hub.count_members(channel));
    }

    /// The positions of subscriptions as a client is given them: their cursors, but before a gap in `unknown` that is
    /// still to be told.
    pub(super) fn joined(&self, subscriptions: impl Iterator<Item = SubscriptionId>, unknown: &[Unknown]) -> String {
        let mut joined = Vec::new();
        for (index, subscription) in subscriptions.enumerate() {
            let at_cursor = || self.hub.position(self.hub.subscription(subscription).cursor);
            let gap = unknown.iter().find(|unknown| unknown.subscription == subscription);
            let position = gap.map_or_else(at_cursor, |gap| gap.from);
            self.push_place(&mut joined, subscription, position, index == 0);
        }
        String::from_utf8_lossy(&joined).into_owned()
    }

    /// Appends one position of several: among joins and leaves it is an offset, behind the channel's own.
    pub(super) fn push_place(&self, out: &mut Vec<u8>, of: SubscriptionId, position: Position, is_first: bool) {
        match (self.hub.observed_by(of), is_first) {
            (Some(_), _) => push_formatted(out, format_args!("{PRESENCE}{}", position.offset)),
            (None, true) => push_formatted(out, format_args!("{position}")),
            (None, false) => push_formatted(out, format_args!(",{position}")),
        }
    }
}

/// Whether a request asks to be told who comes and goes.
///
/// # Errors
/// 400 for anything but 1 and 0.
pub(super) fn observes(request: &Request) -> Result<bool, Status> {
    match request.query("presence").as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(Status::new(400).detail(format!("presence={other:?}: presence is 1 or 0"))),
    }
}

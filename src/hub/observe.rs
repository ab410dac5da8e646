//! Observing: who is told of joins and leaves, and when.
//!
//! They are publications in a channel of their own, the observed one's sibling, which no name leads to. An observer
//! subscribes to it right behind the channel itself: so cursors, gaps, encoding once and back-pressure are what they
//! are for messages. A gap in it is not told as one: what was missed is in the list of members.

use std::rc::Rc;

use super::channel::Channel;
use super::presence::{Change, ROOM_BYTES};
use super::publication::Publication;
use super::subscription::{ChannelId, ConnectionId, SubscriptionId, Transport};
use super::{Beginning, Hub, Start};
use crate::config::{Config, Limit};
use crate::time::Now;
use crate::wire::envelope::push_change;
use crate::wire::position::Since;
use crate::wire::status::Status;

impl Hub {
    /// Whether a channel may be observed that somebody asks for: as many may be as there may be channels.
    pub(super) fn admit_observer(&self, wanted: &Beginning, config: &Config) -> Result<(), Status> {
        let sibling = || self.find(&wanted.name)?.room.as_ref()?.sibling;
        if wanted.presence.is_none() || sibling().is_some() {
            return Ok(());
        }
        self.memory.admit(Channel::cost(&wanted.name) + ROOM_BYTES)?;
        match self.presence.siblings < config.channels_max {
            true => Ok(()),
            false => {
                let detail = format!("--max-channels allows {} to be observed and no more", config.channels_max);
                Err(Status::new(503).detail(detail).limit(Limit::Channels))
            }
        }
    }

    /// Subscribes a connection to a channel's joins and leaves.
    pub(super) fn observe(
        &mut self,
        connection: ConnectionId,
        id: ChannelId,
        since: Since,
        transport: Transport,
        config: &Config,
    ) -> (SubscriptionId, Start) {
        let sibling = self.open_room(id).sibling.unwrap_or_else(|| self.make_sibling(id, config));
        let start = self.start_between(self.channels[sibling.0].evicted_through, self.newest_of(sibling), since);
        self.presence.observers += 1;
        (self.add_member(connection, sibling, start, transport), start)
    }

    fn make_sibling(&mut self, id: ChannelId, config: &Config) -> ChannelId {
        let name = Rc::clone(&self.channels[id.0].name);
        self.memory.channel_bytes += Channel::cost(&name);
        let mut sibling = Channel::new(name, config.presence_history(), self.presence.floor);
        sibling.of = Some(id);
        let sibling = ChannelId(self.channels.insert(sibling));
        self.presence.siblings += 1;
        self.open_room(id).sibling = Some(sibling);
        sibling
    }

    /// The channel whose joins and leaves a subscription is to; `None` for one to messages.
    pub(crate) fn observed_by(&self, id: SubscriptionId) -> Option<ChannelId> {
        self.channels[self.subscriptions.at(id).channel.0].of
    }

    /// An observer has gone. It may come back, by a poll or after its connection was lost, and is then told what it has
    /// missed meanwhile.
    pub(super) fn stop_observing(&mut self, id: ChannelId, now: Now, config: &Config) {
        self.presence.observers -= 1;
        let until_ms = now.monotonic_ms + config.presence_linger_ms();
        if let Some(room) = self.room_mut(id) {
            room.observed_ms = Some(until_ms);
            self.look_at(id, until_ms, now);
        }
    }

    /// Nobody has gone for a while who observed.
    pub(super) fn end_observing(&mut self, id: ChannelId) {
        let Some(room) = self.room_mut(id) else { return };
        room.observed_ms = None;
        if let Some(sibling) = room.sibling {
            self.end_sibling_if_unobserved(sibling, id);
        }
    }

    /// Tells nobody any more who comes and goes, once nobody is left to be told. Whoever comes back has missed
    /// something: the next sibling begins one offset further on.
    pub(super) fn end_sibling_if_unobserved(&mut self, sibling: ChannelId, id: ChannelId) {
        let channel = &self.channels[sibling.0];
        let is_idle = channel.members.is_empty() && !channel.dirty;
        if !is_idle || self.room_mut(id).is_some_and(|room| room.observed_ms.is_some()) {
            return;
        }
        self.memory.channel_bytes -= self.change(sibling, Channel::clear);
        if let Some(channel) = self.remove(sibling) {
            self.presence.siblings -= 1;
            self.presence.floor = self.presence.floor.max(channel.newest() + 1);
        }
        if let Some(room) = self.room_mut(id) {
            room.sibling = None;
        }
        self.end_window(id);
        self.forget_room_if_empty(id);
    }

    /// Ends a window: publishes who has come and gone, or has observers told how many are there if that is shorter.
    pub(super) fn tell(&mut self, id: ChannelId, now: Now, config: &Config) {
        let Some(sibling) = self.room_mut(id).and_then(|room| room.sibling) else { return };
        let changes = self.end_window(id);
        if changes.is_empty() {
            return;
        }
        let deliveries = changes.len().saturating_mul(self.channels[sibling.0].members.len());
        if changes.len() <= config.presence_changes_max && deliveries <= config.presence_deliveries_max {
            changes.iter().for_each(|change| self.publish_change(sibling, change, now));
        } else {
            self.memory.channel_bytes -= self.change(sibling, Channel::skip);
        }
        self.mark_dirty(sibling, now, config);
    }

    /// Appends to a sibling's log, whatever the memory budget says: it is short, and who finds it shed is told.
    fn publish_change(&mut self, sibling: ChannelId, change: &Change, now: Now) {
        let event = if change.is_present { "join" } else { "leave" };
        let mut json = Vec::new();
        push_change(&mut json, &self.channels[sibling.0].name, event, &change.name, change.transport.word());
        let publication = Publication::of_envelope(&json, event, now.monotonic_ms);
        self.memory.channel_bytes += publication.held_bytes();
        self.change(sibling, |channel, _| channel.append(publication));
    }
}

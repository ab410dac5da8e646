//! Delivery: who is due, and the bytes for them.

use std::rc::Rc;

use super::publication::Form;
use super::subscription::{ChannelId, ConnectionId, SubscriptionId};
use super::{Hub, Publication};
use crate::config::{Config, OUTPUT_BYTES};
use crate::time::Now;
use crate::wire::position::Position;

/// Several publications in one form, end to end: made once for all subscribers at the same cursor.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// What `bytes` are: channel, form, cursor, newest offset of the channel at that time.
    of: Option<(ChannelId, Form, u64, u64)>,
    /// The last offset in `bytes`.
    through: u64,
    bytes: Vec<u8>,
}

/// What a subscriber at some cursor is to get next.
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    /// The cursor once all of it is written.
    pub(crate) through: u64,
}

/// Where a write that came up short leaves a subscriber.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The last offset that was written whole.
    pub(crate) cursor: u64,
    /// The publication that was written in part, and how many of its bytes were.
    pub(crate) partial: Option<(Rc<[u8]>, usize)>,
}

impl Hub {
    /// The next member to visit: of the first dirty channel, from its last member to its first. A channel whose
    /// members have all been visited is clean, or walked again if something was published meanwhile.
    pub(crate) fn next_due(&mut self, now: Now, config: &Config) -> Option<SubscriptionId> {
        loop {
            let id = *self.dirty.front()?;
            let channel = &mut self.channels[id.0];
            if channel.pass.is_none() {
                channel.begin_pass();
            }
            if let Some(pass) = &mut channel.pass
                && pass.next > 0
            {
                pass.next -= 1;
                return Some(channel.members[pass.next]);
            }
            channel.end_pass();
            self.dirty.pop_front();
            match channel.has_unoffered() {
                true => self.dirty.push_back(id),
                false => {
                    channel.dirty = false;
                    self.trim(id, now, config);
                }
            }
        }
    }

    /// Whether some channel has something to deliver.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether one channel alone is dirty: then no other can come before it in anyone's order.
    pub(crate) fn is_alone(&self) -> bool {
        self.dirty.len() == 1
    }

    /// Notes that a member of the channel could not take everything: what it lacks is kept a little longer.
    pub(crate) fn note_lag(&mut self, channel: ChannelId, now: Now, config: &Config) {
        self.channels[channel.0].note_lag(now.monotonic_ms + config.lag_grace_ms);
    }

    /// Whether it is its connection's only subscription.
    pub(crate) fn is_only(&self, id: SubscriptionId) -> bool {
        self.subscriptions.first(self.subscriptions.at(id).connection) == Some(id)
            && self.subscriptions.after(id).is_none()
    }

    /// Whether a connection lacks something, or has missed something, on any of its channels.
    pub(crate) fn lacks(&self, connection: ConnectionId) -> bool {
        self.subscriptions_of(connection).any(|id| self.is_behind(id))
    }

    pub(crate) fn newest_of(&self, channel: ChannelId) -> u64 {
        self.channels[channel.0].newest()
    }

    /// Whether the subscriber lacks something. A gap is included: what was missed came before the newest.
    pub(crate) fn is_behind(&self, id: SubscriptionId) -> bool {
        let subscription = self.subscriptions.at(id);
        subscription.cursor < self.channels[subscription.channel.0].newest()
    }

    /// What the subscriber has missed: from its position to the last one that is not kept any more.
    pub(crate) fn gap(&self, id: SubscriptionId) -> Option<(Position, Position)> {
        let subscription = self.subscriptions.at(id);
        let to = self.channels[subscription.channel.0].evicted_through;
        (subscription.cursor < to).then(|| (self.position(subscription.cursor), self.position(to)))
    }

    /// Moves a subscription's cursor. Nothing happens if the subscription has ended.
    pub(crate) fn set_cursor(&mut self, id: SubscriptionId, cursor: u64) {
        if self.subscriptions.get(id).is_some() {
            self.subscriptions.at_mut(id).cursor = cursor;
        }
    }

    /// Everything after the subscription's cursor in one form, up to [`OUTPUT_BYTES`] and one publication more. One
    /// publication is its own encoded bytes; several are joined once for all who are at the same cursor.
    pub(crate) fn batch(&mut self, id: SubscriptionId, form: Form) -> Option<Batch<'_>> {
        let (channel, cursor) = (self.subscriptions.at(id).channel, self.subscriptions.at(id).cursor);
        let newest = self.channels[channel.0].newest();
        if cursor + 1 == newest {
            return self.encode(channel, newest, form).map(|bytes| Batch { bytes, through: newest });
        }
        if self.joined.of != Some((channel, form, cursor, newest)) {
            self.join(channel, cursor, newest, form);
        }
        Some(Batch { bytes: &self.joined.bytes, through: self.joined.through })
    }

    fn join(&mut self, channel: ChannelId, cursor: u64, newest: u64, form: Form) {
        let mut joined = std::mem::take(&mut self.joined);
        joined.bytes.clear();
        joined.of = Some((channel, form, cursor, newest));
        joined.through = cursor;
        while joined.through < newest && joined.bytes.len() < OUTPUT_BYTES {
            let Some(bytes) = self.encode(channel, joined.through + 1, form) else { break };
            joined.bytes.extend_from_slice(bytes);
            joined.through += 1;
        }
        self.joined = joined;
    }

    /// The publication at `offset` in one form.
    pub(crate) fn encode(&mut self, channel: ChannelId, offset: u64, form: Form) -> Option<&Rc<[u8]>> {
        let id = Position { epoch: self.epoch, offset };
        let (bytes, held) = self.channels[channel.0].encoded(id, form, &mut self.deflater)?;
        self.held_bytes += held;
        self.encodings += u64::from(held > 0);
        Some(bytes)
    }

    /// Finds what was being written when a write of a batch from `cursor` on ended after `written` bytes.
    pub(crate) fn cut(&mut self, channel: ChannelId, mut cursor: u64, form: Form, mut written: usize) -> Cut {
        while let Some(bytes) = self.encode(channel, cursor + 1, form) {
            if written < bytes.len() {
                let partial = (written > 0).then(|| (Rc::clone(bytes), written));
                return Cut { cursor, partial };
            }
            written -= bytes.len();
            cursor += 1;
        }
        Cut { cursor, partial: None }
    }

    /// What `name` keeps after `cursor`, oldest first.
    pub(crate) fn publications_after(&self, name: &str, cursor: u64) -> impl Iterator<Item = &Publication> {
        self.find(name).into_iter().flat_map(move |channel| channel.after(cursor))
    }
}

//! Delivery: who is due, and the bytes for them.

use std::rc::Rc;

use super::publication::Form;
use super::subscription::{ChannelId, ConnectionId, Subscription, SubscriptionId};
use super::{Hub, Publication};
use crate::config::{Config, OUTPUT_BYTES};
use crate::time::Now;
use crate::wire::position::Position;

/// What every subscriber to a channel at the same cursor and in the same form is to get next: made once for all.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) channel: ChannelId,
    pub(crate) form: Form,
    pub(crate) cursor: u64,
    /// One publication, or several end to end.
    pub(crate) bytes: Rc<[u8]>,
    /// The cursor once all of it is written.
    pub(crate) through: u64,
    /// The channel's newest offset when it was made.
    newest: u64,
}

impl Batch {
    /// Whether nothing comes after it.
    pub(super) fn is_all(&self) -> bool {
        self.through == self.newest
    }
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
    /// The next members to visit, as many as `run` takes: of the first dirty channel, from its last member to its
    /// first. A channel whose members have all been visited is clean, or walked again if something was published
    /// meanwhile. None where no channel is dirty.
    pub(crate) fn next_run(&mut self, run: &mut Vec<SubscriptionId>, most: usize, now: Now, config: &Config) {
        run.clear();
        while let Some(id) = self.dirty.front().copied() {
            let channel = &mut self.channels[id.0];
            if channel.pass.is_none() {
                channel.begin_pass();
            }
            if let Some(pass) = &mut channel.pass
                && pass.next > 0
            {
                let first = pass.next.saturating_sub(most);
                run.extend(channel.members[first..pass.next].iter().rev());
                pass.next = first;
                return;
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
        self.subscriptions.at(id).is_only(id)
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
    /// publication is its own encoded bytes; several are joined. The last batch is kept for who comes next.
    pub(crate) fn batch(&mut self, id: SubscriptionId, form: Form) -> Option<Batch> {
        let (channel, cursor) = (self.subscriptions.at(id).channel, self.subscriptions.at(id).cursor);
        let newest = self.channels[channel.0].newest();
        let fits =
            |batch: &Batch| (batch.channel, batch.form, batch.cursor, batch.newest) == (channel, form, cursor, newest);
        if !self.batch.as_ref().is_some_and(fits) {
            let (bytes, through) = match cursor + 1 == newest {
                true => (self.encode(channel, newest, form)?, newest),
                false => self.join(channel, cursor, newest, form),
            };
            self.batch = Some(Batch { channel, form, cursor, bytes, through, newest });
        }
        self.batch.clone()
    }

    /// What was delivered last, if nothing has been published after it.
    pub(crate) fn last_batch(&self) -> Option<Batch> {
        let batch = self.batch.as_ref()?;
        (batch.newest == self.newest_of(batch.channel)).then(|| batch.clone())
    }

    fn join(&mut self, channel: ChannelId, cursor: u64, newest: u64, form: Form) -> (Rc<[u8]>, u64) {
        let (mut joined, mut through) = (Vec::new(), cursor);
        while through < newest && joined.len() < OUTPUT_BYTES {
            let Some(bytes) = self.encode(channel, through + 1, form) else { break };
            joined.extend_from_slice(&bytes);
            through += 1;
        }
        (joined.into(), through)
    }

    /// Lets go of the last batch: what it holds would outlive the history.
    pub(crate) fn release_batch(&mut self) {
        self.batch = None;
    }

    /// A subscription, if it has not ended.
    pub(crate) fn member_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(id)
    }

    /// The publication at `offset` in one form. While memory is short it is made for this once.
    pub(crate) fn encode(&mut self, channel: ChannelId, offset: u64, form: Form) -> Option<Rc<[u8]>> {
        self.encode_within(channel, offset, form, self.memory.room_bytes())
    }

    fn encode_within(&mut self, channel: ChannelId, offset: u64, form: Form, room_bytes: usize) -> Option<Rc<[u8]>> {
        let id = Position { epoch: self.epoch, offset };
        let encoded = self.channels[channel.0].encoded(id, form, &mut self.deflater, room_bytes)?;
        self.memory.channel_bytes += encoded.held_bytes;
        self.encodings += u64::from(encoded.made);
        Some(encoded.bytes)
    }

    /// Finds what was being written when a write of a batch ended after `written` bytes.
    pub(crate) fn cut(&mut self, batch: &Batch, mut written: usize) -> Cut {
        let mut cursor = batch.cursor;
        // Kept, since what is held for the rest of it is counted there.
        while let Some(bytes) = self.encode_within(batch.channel, cursor + 1, batch.form, usize::MAX) {
            if written < bytes.len() {
                let partial = (written > 0).then_some((bytes, written));
                return Cut { cursor, partial };
            }
            written -= bytes.len();
            cursor += 1;
        }
        Cut { cursor, partial: None }
    }

    /// The offset of the last publication that belongs to an answer of up to `limit` after `from` and about `bytes_max`
    /// of payload: one at least, if there is one.
    pub(crate) fn last_within(&self, channel: ChannelId, from: u64, limit: u16, bytes_max: usize) -> u64 {
        let mut bytes = 0;
        let fits = |publication: &&Publication| {
            bytes += publication.data().len();
            bytes - publication.data().len() < bytes_max
        };
        from + self.channels[channel.0].after(from).take(usize::from(limit)).take_while(fits).count() as u64
    }

    /// How many subscriptions a connection has.
    pub(crate) fn count_of(&self, connection: ConnectionId) -> usize {
        self.subscriptions.count(connection)
    }

    /// What `name` keeps after `cursor`, oldest first.
    pub(crate) fn publications_after(&self, name: &str, cursor: u64) -> impl Iterator<Item = &Publication> {
        self.find(name).into_iter().flat_map(move |channel| channel.after(cursor))
    }
}

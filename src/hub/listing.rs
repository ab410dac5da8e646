//! Listing: what the hub says of itself and its channels.

use std::cmp::Reverse;
use std::ops::Bound;

use super::channel::Channel;
use super::{Hub, OWN};
use crate::wire::position::Position;

/// What `/channels` says of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// The channel's name.
    pub name: String,
    /// Subscriptions by transport, in the order of [`Transport::ALL`](crate::Transport::ALL).
    pub subscribers: [u32; 3],
    /// How many messages are kept.
    pub messages: usize,
    /// The bytes of their payloads.
    pub bytes: usize,
    /// The position of the oldest message that is kept, or of the newest there was.
    pub oldest: Position,
    /// The position of the newest message.
    pub newest: Position,
}

/// By what channels are listed, the largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Subscriptions.
    Subscribers,
    /// Messages that are kept.
    Messages,
    /// Bytes of their payloads.
    Bytes,
}

/// A channel with its name, behind its size.
type Sized<'h> = (Reverse<usize>, &'h str, &'h Channel);

/// What the hub holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) channels: usize,
    pub(crate) subscriptions: usize,
    pub(crate) published: u64,
    pub(crate) encodings: u64,
    /// Idempotency keys forgotten before their time.
    pub(crate) crowded_out: u64,
    pub(crate) members: usize,
    pub(crate) observers: usize,
}

impl Hub {
    /// Up to `limit` channels whose names begin with `prefix` and come after `after`, in name order.
    pub(crate) fn list(&self, prefix: &str, after: &str, limit: usize) -> Vec<ChannelInfo> {
        self.named(prefix, after).take(limit).map(|(_, channel)| self.info(channel)).collect()
    }

    /// Up to `limit` channels whose names begin with `prefix`, the largest first, those of one size in name order.
    pub(crate) fn list_largest(&self, prefix: &str, order: Order, limit: usize) -> Vec<ChannelInfo> {
        let size_of = |channel: &Channel| match order {
            Order::Subscribers => channel.members.len(),
            Order::Messages => channel.kept(),
            Order::Bytes => channel.payload_bytes(),
        };
        let mut largest: Vec<Sized> = Vec::new();
        let keep = |largest: &mut Vec<Sized>| {
            largest.sort_unstable_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
            largest.truncate(limit);
        };
        for (name, channel) in self.named(prefix, "") {
            largest.push((Reverse(size_of(channel)), name, channel));
            // Not all of them at once: there may be a hundred thousand, of which twenty are wanted.
            if largest.len() > 2 * limit + ROOM {
                keep(&mut largest);
            }
        }
        keep(&mut largest);
        largest.into_iter().map(|(_, _, channel)| self.info(channel)).collect()
    }

    fn named(&self, prefix: &str, after: &str) -> impl Iterator<Item = (&str, &Channel)> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let named = self.names.range::<str, _>((from, Bound::Unbounded)).map(|(name, id)| (&**name, *id));
        let fitting = named.take_while(move |(name, _)| name.starts_with(prefix));
        fitting.filter(|(name, _)| !name.starts_with(OWN)).map(|(name, id)| (name, &self.channels[id.0]))
    }

    /// Whether somebody subscribes to a channel.
    pub(crate) fn has_subscribers(&self, name: &str) -> bool {
        self.find(name).is_some_and(|channel| !channel.members.is_empty())
    }

    /// How many channels there are that clients have named.
    pub(super) fn count(&self) -> usize {
        let own = self.names.range::<str, _>((Bound::Included(OWN), Bound::Unbounded));
        self.names.len() - own.take_while(|(name, _)| name.starts_with(OWN)).count()
    }

    fn info(&self, channel: &Channel) -> ChannelInfo {
        ChannelInfo {
            name: channel.name.to_string(),
            subscribers: channel.transports,
            messages: channel.kept(),
            bytes: channel.payload_bytes(),
            oldest: self.position(channel.newest().min(channel.evicted_through + 1)),
            newest: self.position(channel.newest()),
        }
    }

    /// Channels, subscriptions and presence now; publications and encodings so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            channels: self.count(),
            subscriptions: self.subscriptions.len() - self.presence.observers,
            published: self.published,
            encodings: self.encodings,
            crowded_out: self.answers.crowded_out,
            members: self.presence.members,
            observers: self.presence.observers,
        }
    }
}

/// Channels beyond those that are wanted, which are sorted together.
const ROOM: usize = 64;

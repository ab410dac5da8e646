//! Listing: what the hub says of itself and its channels.

use std::ops::Bound;

use super::Hub;
use super::channel::Channel;
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
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let named =
            self.names.range::<str, _>((from, Bound::Unbounded)).take_while(|(name, _)| name.starts_with(prefix));
        named.take(limit).map(|(_, id)| self.info(&self.channels[id.0])).collect()
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
            channels: self.channels.len() - self.presence.siblings,
            subscriptions: self.subscriptions.len() - self.presence.observers,
            published: self.published,
            encodings: self.encodings,
            crowded_out: self.answers.crowded_out,
            members: self.presence.members,
            observers: self.presence.observers,
        }
    }
}

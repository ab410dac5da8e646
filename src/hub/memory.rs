//! Memory: what is held for clients and channels, counted in one place.

use super::channel::Channel;
use super::pinned::Pinned;
use super::{ChannelId, Hub};

/// Bytes as the heap gives them out, for everything whose amount clients decide.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// For connections: themselves, unfinished input, output that they have not taken.
    pub(crate) client_bytes: usize,
    /// For channels: themselves, publications in their forms, subscriptions, answers to publishers.
    pub(crate) channel_bytes: usize,
    /// Places in tables that nobody uses any more: a table keeps the size that it once needed.
    pub(crate) table_bytes: usize,
}

impl Hub {
    /// Counts what the tables take beyond what is in them, those of `connections` among them.
    pub(crate) fn count_tables(&mut self, connections: usize, others_bytes: usize) {
        let ages = self.ages.spare_bytes(self.channels.len());
        let own = self.channels.spare_bytes() + self.subscriptions.spare_bytes(connections) + ages;
        self.memory.table_bytes = own + others_bytes;
    }

    /// Does something with a channel, and keeps count of the places in it.
    pub(super) fn change<R>(&mut self, id: ChannelId, work: impl FnOnce(&mut Channel, &mut Pinned) -> R) -> R {
        let channel = &mut self.channels[id.0];
        let before = channel.places_bytes();
        let result = work(channel, &mut self.pinned);
        self.memory.channel_bytes = self.memory.channel_bytes + channel.places_bytes() - before;
        result
    }
}

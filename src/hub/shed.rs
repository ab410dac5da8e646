//! Shedding: what the hub lets go of when the memory budget is reached. Who had not read it is told the gap.

use std::cmp::Reverse;

use super::channel::Channel;
use super::{ChannelId, Hub, SubscriptionId};

impl Hub {
    /// Lets go of what connections that have gone were being written.
    pub(crate) fn release_pinned(&mut self) {
        self.memory.channel_bytes -= self.pinned.sweep(usize::MAX);
    }

    /// Whether the publication at `offset` is not kept any more, so that only those who are written it hold it.
    pub(crate) fn is_evicted(&self, id: SubscriptionId, offset: u64) -> bool {
        self.subscriptions.get(id).is_none_or(|of| offset <= self.channels[of.channel.0].evicted_through)
    }

    /// Evicts history older than the newest entry of each channel, of the longest first, until enough is free. Only
    /// what has been offered: whoever keeps reading loses nothing. Returns how many publications that were.
    pub(crate) fn shed_history(&mut self) -> u64 {
        self.shed(|channel| channel.kept() > 0, 1)
    }

    /// The same for the newest entries of channels without subscribers, which are then forgotten. Before them, joins
    /// and leaves are told nobody any more where all observers have gone: who comes back is told the number.
    pub(crate) fn shed_unheard(&mut self) -> u64 {
        for id in self.longest_first(|channel| channel.of.is_some() && channel.members.is_empty()) {
            if let Some(observed) = self.channels[id.0].of.filter(|_| !self.memory.is_relieved()) {
                self.end_observing(observed);
            }
        }
        self.shed(|channel| channel.members.is_empty() && channel.kept() > 0, 0)
    }

    fn shed(&mut self, fits: fn(&Channel) -> bool, kept: usize) -> u64 {
        let mut count = 0;
        for id in self.longest_first(fits) {
            while !self.memory.is_relieved() && self.channels[id.0].is_longer(kept) {
                self.memory.channel_bytes -= self.change(id, Channel::evict);
                count += 1;
            }
            self.memory.channel_bytes -= self.change(id, |channel, _| channel.forget_forms());
            self.forget_if_empty(id);
            if self.memory.is_relieved() {
                break;
            }
        }
        count
    }

    /// Channels that fit by what they hold, those of the same length by number.
    fn longest_first(&self, fits: fn(&Channel) -> bool) -> Vec<ChannelId> {
        let numbers = self.channels.numbers().filter(|id| fits(&self.channels[*id]));
        let lengths = numbers.map(|id| (self.channels[id].log_bytes(), id)).collect();
        largest_first(lengths).into_iter().map(|(_, id)| ChannelId(id)).collect()
    }
}

/// Sizes with the numbers of what has them: the largest first, those of the same size by number. Not generic, so that
/// it is compiled once.
pub(crate) fn largest_first(mut sizes: Vec<(usize, u32)>) -> Vec<(usize, u32)> {
    sizes.sort_unstable_by_key(|(bytes, id)| (Reverse(*bytes), *id));
    sizes
}

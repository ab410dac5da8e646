//! Memory: what is held for clients and channels, counted in one place.

use super::channel::Channel;
use super::pinned::Pinned;
use super::{ChannelId, Hub, Publication};
use crate::config::{Config, Limit};
use crate::wire::status::Status;

/// Bytes as the heap gives them out, for everything whose amount clients decide, and how many there may be.
#[derive(Debug)]
pub(crate) struct Memory {
    /// For connections: themselves, unfinished input, output that they have not taken.
    pub(crate) client_bytes: usize,
    /// For channels: themselves, publications in their forms, subscriptions, answers to publishers.
    pub(crate) channel_bytes: usize,
    /// For the limits of each client: counted anew each turn.
    limit_bytes: usize,
    /// Places in tables that nobody uses, on pages with others.
    pub(crate) table_bytes: usize,
    /// The budget.
    budget_bytes: usize,
    /// What would go beyond this is refused: the budget, less where the heap is in pieces.
    allowed_bytes: usize,
    /// What the process took when that was last looked at.
    pub(crate) resident_bytes: usize,
    /// Nothing was left that may be shed, and still too much was held.
    exhausted: bool,
    /// How much that was, and when to look again whatever has come since.
    futile_bytes: usize,
    again_ms: u64,
    /// Publications that it had no room for.
    refused: u64,
}

impl Memory {
    pub(super) fn new(budget_bytes: usize) -> Memory {
        Memory {
            client_bytes: 0,
            limit_bytes: 0,
            channel_bytes: 0,
            table_bytes: 0,
            budget_bytes,
            allowed_bytes: budget_bytes,
            resident_bytes: 0,
            exhausted: false,
            futile_bytes: 0,
            again_ms: 0,
            refused: 0,
        }
    }

    fn total(&self) -> usize {
        self.client_bytes + self.channel_bytes + self.limit_bytes + self.table_bytes
    }

    /// Whether so much is held that the turn is to end, and shed, before more is taken in. What is left of the budget
    /// then, an eighth, is for what is on its way.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.total() > self.allowed_bytes - self.allowed_bytes / 8
    }

    /// How much may be kept of what can be had again.
    pub(super) fn room_bytes(&self) -> usize {
        if self.is_short() { 0 } else { self.allowed_bytes - self.total() }
    }

    /// Whether reading has to wait for that: not once shedding has been of no use.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_short() && !self.exhausted
    }

    /// Whether enough has been shed: a quarter is free, so that shedding, which looks at everything, is seldom.
    pub(crate) fn is_relieved(&self) -> bool {
        self.total() <= self.allowed_bytes - self.allowed_bytes / 4
    }

    /// Whether more is held than may be.
    #[inline]
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.total() > self.allowed_bytes
    }

    /// The same, wherever the heap is in pieces.
    pub(crate) fn is_beyond_budget(&self) -> bool {
        self.total() > self.budget_bytes
    }

    /// Notes what the whole process takes. What lies between things that are held cannot be given back, nor be used
    /// for what is larger. So where the process grows although it is near its bound, less is allowed until it does not;
    /// then slowly more again, up to the budget, or all of it where even that would not bring the process near.
    pub(crate) fn note_resident(&mut self, resident_bytes: usize) {
        let most = self.budget_bytes.saturating_add(self.budget_bytes / 4).saturating_add(OWN_BYTES);
        let near = most - self.budget_bytes / 8 - OWN_BYTES / 4;
        let close = most - self.budget_bytes / 16 - OWN_BYTES / 8;
        if resident_bytes > near && resident_bytes > self.resident_bytes {
            let less = self.allowed_bytes.min(self.total());
            self.allowed_bytes = (less - less / 8).max(self.budget_bytes / 4);
        } else if resident_bytes.saturating_add(self.budget_bytes.saturating_sub(self.total())) <= near {
            self.allowed_bytes = self.budget_bytes;
        } else if resident_bytes <= close {
            let more = self.budget_bytes / if resident_bytes > near { 4_096 } else { 64 };
            self.allowed_bytes = self.allowed_bytes.saturating_add(more).min(self.budget_bytes);
        }
        self.resident_bytes = resident_bytes;
    }

    /// Whether to shed: where it was of no use, only when there is more to be found.
    pub(crate) fn must_shed(&mut self, now_ms: u64) -> bool {
        self.exhausted &= self.is_short();
        let found_nothing = self.exhausted
            && now_ms < self.again_ms
            && self.total() <= self.futile_bytes.saturating_add(self.allowed_bytes / 32);
        self.is_short() && !found_nothing
    }

    /// Notes what shedding has come to.
    pub(crate) fn note_shed(&mut self, now_ms: u64) {
        self.exhausted = self.is_short();
        (self.futile_bytes, self.again_ms) = (self.total(), now_ms + SHED_AGAIN_MS);
    }

    /// Something has become free to be shed.
    pub(crate) fn look_again(&mut self) {
        self.again_ms = 0;
    }

    /// Whether nothing is left to be shed.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether `bytes` more may be held.
    ///
    /// # Errors
    /// 503.
    #[inline]
    pub(crate) fn admit(&self, bytes: usize) -> Result<(), Status> {
        match self.total().saturating_add(bytes) > self.allowed_bytes {
            true => Err(self.refusal()),
            false => Ok(()),
        }
    }

    /// The same for a publication.
    pub(super) fn admit_publication(&mut self, bytes: usize) -> Result<(), Status> {
        self.admit(bytes).inspect_err(|_| self.refused += 1)
    }

    /// Publications that there was no room for.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn refusal(&self) -> Status {
        Status::new(503).detail(self.refusal_detail())
    }

    pub(crate) fn refusal_detail(&self) -> String {
        format!("the {} bytes that --memory allows are held: try again later", self.budget_bytes)
    }
}

impl Hub {
    /// Gives back what tables take for connections whose numbers are `end` or higher, and for channels that have gone.
    pub(crate) fn shrink_tables(&mut self, end: usize) {
        self.subscriptions.shrink(end);
        self.ages.shrink(self.channels.end());
        self.presence.timers.shrink(self.channels.end());
    }

    /// Counts what the tables take beyond what is in them, those of `connections` among them.
    pub(crate) fn count_tables(&mut self, connections: usize, others_bytes: usize, limit_bytes: usize) {
        let ages = self.ages.spare_bytes(self.channels.len());
        let rooms = self.presence.timers.spare_bytes(self.presence.rooms);
        let own = self.channels.spare_bytes() + self.subscriptions.spare_bytes(connections) + ages + rooms;
        self.memory.table_bytes = own + others_bytes;
        self.memory.limit_bytes = limit_bytes;
    }

    /// Whether there is room for a message of so many bytes in each of these channels.
    ///
    /// # Errors
    /// 503 where that would be more than `--max-channels` or `--memory` allows.
    pub(crate) fn check_room<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        message_bytes: usize,
        config: &Config,
    ) -> Result<(), Status> {
        let (mut new, mut needed_bytes) = (0, 0);
        for name in names {
            needed_bytes += Publication::cost(message_bytes, None);
            if !self.names.contains_key(name) {
                new += 1;
                needed_bytes += Channel::cost(name);
            }
        }
        self.memory.admit_publication(needed_bytes)?;
        self.check_channels(new, config)
    }

    /// Whether so many channels may be made.
    pub(super) fn check_channels(&self, new: usize, config: &Config) -> Result<(), Status> {
        match self.count() + new <= config.channels_max {
            true => Ok(()),
            false => {
                let most = config.channels_max;
                let detail = format!("--max-channels allows {most} channels and no more");
                Err(Status::new(503).detail(detail).limit(Limit::Channels))
            }
        }
    }

    /// Does something with a channel, and keeps count of the places in it.
    pub(super) fn change<R>(&mut self, id: ChannelId, work: impl FnOnce(&mut Channel, &mut Pinned) -> R) -> R {
        let channel = &mut self.channels[id.0];
        let before = channel.places();
        let result = work(channel, &mut self.pinned);
        let after = channel.places();
        if after != before {
            self.memory.channel_bytes = self.memory.channel_bytes + after.held_bytes() - before.held_bytes();
        }
        result
    }
}

/// How long it takes at most to see that something can be shed again, a reader that has stopped reading, say.
const SHED_AGAIN_MS: u64 = 100;

/// What the process takes for itself: its code, its buffers, its compressors.
const OWN_BYTES: usize = 4 << 20;

//! The memory budget: what is shed when it is reached, in an order that is always the same.
//!
//! 1. Whoever holds what has been evicted, or output of its own, and has read nothing for a second, is closed.
//! 2. History older than the newest entry of each channel goes, of the longest first; who had not read it is told.
//! 3. Joins and leaves kept for observers who have gone, and the newest entries of channels without subscribers go.
//! 4. Requests that have not all arrived get 503, unfinished messages 1013, the largest first.
//! 5. New connections get 503.
//!
//! Each is done where more than seven eighths of the budget are held after the one before, and ends at three quarters,
//! so that it is done seldom. Whatever would go beyond the budget in between, or when all this was not enough, is
//! refused: a publication, a subscription, an answer or a message that its peer does not take at once.

use super::{Engine, Slot, Stream};
use crate::connection::{Connection, ConnectionId, World};
use crate::hub::largest_first;

impl<S: Stream> Engine<S> {
    /// Sheds as much as the budget asks for: at the end of a turn, when everything has been offered to everyone, and
    /// where a connection grows beyond it.
    pub(super) fn keep_budget(&mut self) {
        self.count_tables();
        let now_ms = self.world.now.monotonic_ms;
        // What is being shed may have something to say, and so grow.
        if self.sheds || !self.world.hub.memory.must_shed(now_ms) {
            return;
        }
        self.sheds = true;
        let was_exhausted = self.world.hub.memory.is_exhausted();
        for step in [Self::shed_readers, Self::shed_history, Self::shed_unheard, Self::shed_unfinished] {
            if self.world.hub.memory.is_short() {
                step(self);
            }
        }
        self.world.hub.release_batch();
        self.world.hub.memory.note_shed(now_ms);
        self.sheds = false;
        if self.world.hub.memory.is_exhausted() && !was_exhausted {
            log::warn!("the memory that --memory allows is spent: publications and new connections are refused");
        }
    }

    /// Notes how much memory the whole process takes, so that it stays within its budget also where the heap is in
    /// pieces. To be called before a turn ends, where the operating system says it.
    pub fn note_resident(&mut self, bytes: usize) {
        self.world.hub.memory.note_resident(bytes);
    }

    /// A connection has grown beyond the budget: everything else that may be shed goes before it.
    pub(super) fn make_room_for(&mut self, id: ConnectionId) {
        self.keep_budget();
        if self.world.hub.memory.is_overdrawn() {
            self.visit(id, |visit| visit.refuse_growth());
            // What was encoded for it alone is held by the channel, which can now let go of it.
            self.world.hub.memory.look_again();
            self.keep_budget();
        }
    }

    /// What tables take is counted only when memory is looked at. Where that goes beyond the budget, whoever has grown
    /// in the turn has been refused already: who leaves the most unread is closed.
    pub(super) fn settle_overdraft(&mut self) {
        if !self.world.hub.memory.is_beyond_budget() {
            return;
        }
        for id in self.largest_holders(Connection::unwritten_bytes) {
            if !self.world.hub.memory.is_beyond_budget() {
                break;
            }
            self.visit(id, |visit| visit.drop_reader());
        }
        self.world.hub.release_pinned();
    }

    fn count_tables(&mut self) {
        self.world.shrink_tables(self.slots.end());
        let connections = self.slots.len();
        let own = self.slots.spare_bytes() + self.world.wheel.spare_bytes(connections);
        self.world.hub.count_tables(connections, own, self.world.limit_bytes());
    }

    fn shed_readers(&mut self) {
        for id in self.connections_that(|slot, world| slot.connection.pins(world)) {
            self.visit(id, |visit| visit.drop_reader());
        }
        self.world.hub.release_pinned();
    }

    fn shed_history(&mut self) {
        self.world.counters.shed_history += self.world.hub.shed_history();
    }

    fn shed_unheard(&mut self) {
        self.world.counters.shed_unheard += self.world.hub.shed_unheard();
    }

    fn shed_unfinished(&mut self) {
        for id in self.largest_holders(Connection::unfinished_bytes) {
            if self.world.hub.memory.is_relieved() {
                break;
            }
            self.visit(id, |visit| visit.refuse_unfinished());
        }
    }

    /// Who holds something, by what is asked for.
    fn largest_holders(&self, held: fn(&Connection) -> usize) -> Vec<ConnectionId> {
        let slots = self.slots.numbers().filter_map(|id| Some((held(&self.slots.get(id)?.connection), id)));
        let holders = largest_first(slots.filter(|(bytes, _)| *bytes > 0).collect());
        holders.into_iter().map(|(_, id)| ConnectionId(id)).collect()
    }

    /// In the order of their numbers.
    fn connections_that(&self, fits: fn(&Slot<S>, &World) -> bool) -> Vec<ConnectionId> {
        let fits = |id: &u32| self.slots.get(*id).is_some_and(|slot| fits(slot, &self.world));
        self.slots.numbers().filter(fits).map(ConnectionId).collect()
    }
}

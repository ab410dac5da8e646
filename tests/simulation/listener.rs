//! The listener: clients that wait to be accepted, and every way in which accepting can fail.
//!
//! What follows from a failure is done as the server's own loop does it (`src/server/accept.rs`), which has sockets.

use std::collections::VecDeque;

use crate::network::{LinkId, Network};

pub(crate) struct Listener {
    waiting: VecDeque<LinkId>,
    /// How many connections the process may have descriptors for. It changes in time.
    pub(crate) descriptors: usize,
    /// Whether accepting may fail for other reasons.
    pub(crate) fails: bool,
    /// Whether there is a descriptor for the one client too many.
    reserve: bool,
    /// Whether it will be asked again in a while.
    pub(crate) waits: bool,
}

/// What one call of `accept` comes to.
pub(crate) enum Accepted {
    Client(LinkId),
    /// By the descriptor in reserve, which is then had again.
    OneTooMany(LinkId),
    /// It has gone, and the next one may be well.
    Aborted,
    Nobody,
    /// Nobody can be accepted for a while.
    Later,
}

impl Listener {
    pub(crate) fn new() -> Listener {
        Listener { waiting: VecDeque::new(), descriptors: usize::MAX, fails: false, reserve: true, waits: false }
    }

    pub(crate) fn arrive(&mut self, link: LinkId) {
        self.waiting.push_back(link);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next client, as far as descriptors go.
    pub(crate) fn accept(&mut self, network: &mut Network) -> Accepted {
        let Some(link) = self.waiting.front().copied() else { return Accepted::Nobody };
        let taken = network.open + usize::from(self.reserve);
        if self.fails && network.random.one_in(20) {
            // ENOBUFS: nobody has been taken.
            return Accepted::Later;
        }
        if taken >= self.descriptors {
            // Another process may be faster to take the one that is given up for a moment.
            let (had, lost) = (std::mem::take(&mut self.reserve), self.fails && network.random.one_in(6));
            if !had || lost || network.open >= self.descriptors {
                self.reserve = !lost && network.open < self.descriptors;
                return Accepted::Later;
            }
            self.reserve = true;
        }
        self.waiting.pop_front();
        match network.take_aborted(link) {
            true => Accepted::Aborted,
            false if taken >= self.descriptors => Accepted::OneTooMany(link),
            false => Accepted::Client(link),
        }
    }

    /// A reserve that was lost is had again when there is room.
    pub(crate) fn regain_reserve(&mut self, network: &Network) {
        self.reserve |= network.open < self.descriptors;
    }
}

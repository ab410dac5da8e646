//! Draining: everything has been said. The connection is ended from this side and read to its end, since closing a
//! socket with unread bytes resets it and can take the answer away from the peer (RFC 9112 §9.6).

use super::{State, Visit};

/// A connection that only has to end.
#[derive(Default)]
pub(crate) struct Draining {
    discarded: u32,
    /// The peer has ended its side.
    peer_ended: bool,
    /// This side has been ended.
    pub(crate) shut: bool,
}

impl Visit<'_> {
    /// Ends the connection after what is still to be written.
    pub(super) fn drain_then_go(&mut self, peer_ended: bool) {
        self.connection.state = State::Draining(Draining { peer_ended, ..Draining::default() });
        self.world.schedule(self.id, self.world.config.linger_ms);
    }

    pub(super) fn receive_draining(&mut self, bytes: &[u8]) -> usize {
        let State::Draining(draining) = &mut self.connection.state else { return bytes.len() };
        draining.discarded = draining.discarded.saturating_add(bytes.len() as u32);
        if draining.discarded as usize > self.world.config.linger_bytes_max {
            self.connection.state = State::Gone;
        }
        bytes.len()
    }

    pub(super) fn end_of_draining(&mut self) {
        if let State::Draining(draining) = &mut self.connection.state {
            draining.peer_ended = true;
        }
    }

    /// What to do with the stream when all output has gone: end this side, or forget it if the peer has ended its own.
    pub(crate) fn take_shutdown(&mut self) -> bool {
        let State::Draining(draining) = &mut self.connection.state else { return false };
        if draining.peer_ended {
            self.connection.state = State::Gone;
            return false;
        }
        let begins = !std::mem::replace(&mut draining.shut, true);
        if begins {
            // Only now: until all output had gone, the peer had it to read.
            self.world.schedule(self.id, self.world.config.linger_ms);
        }
        begins
    }
}

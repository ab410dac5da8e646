//! Draining: everything has been said. The connection is ended from this side and read to its end, since closing a
//! socket with unread bytes resets it and can take the answer away from the peer (RFC 9112 §9.6).

use super::{State, Visit};

/// A connection that only has to end.
#[derive(Default)]
pub(crate) struct Draining {
    discarded: u32,
    /// The peer has ended its side.
    peer_ended: bool,
    /// The last that was served is the peer's Close.
    peer_closed: bool,
    /// This side has been ended.
    pub(crate) shut: bool,
}

impl Visit<'_> {
    /// Ends the connection after what is still to be written.
    pub(super) fn drain_then_go(&mut self, peer_ended: bool) {
        self.connection.state = State::Draining(Draining { peer_ended, ..Draining::default() });
        self.world.schedule(self.id, self.world.config.linger_ms);
    }

    /// The same where both sides have sent a Close; `last` is whether nothing stood behind the peer's.
    pub(super) fn drain_after_close(&mut self, last: bool) {
        self.drain_then_go(false);
        if let State::Draining(draining) = &mut self.connection.state {
            draining.peer_closed = last;
        }
    }

    /// All that has arrived was read. Behind its Close a peer sends nothing (RFC 6455 §5.5.1), so there is no end to
    /// wait for: nothing is unread, and the socket can be closed without a reset.
    pub(crate) fn has_been_read(&mut self) {
        if let State::Draining(draining) = &mut self.connection.state {
            draining.peer_ended |= draining.peer_closed;
        }
    }

    pub(super) fn receive_draining(&mut self, bytes: &[u8]) -> usize {
        let State::Draining(draining) = &mut self.connection.state else { return bytes.len() };
        draining.peer_closed = false;
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

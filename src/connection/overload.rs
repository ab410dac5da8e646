//! Overload: what becomes of a connection when the memory budget is reached.

use super::respond::Responding;
use super::{Connection, State, Visit, World};
use crate::consumer::Reason;
use crate::pages::heap_bytes;
use crate::wire::close::{self, CloseCode};
use crate::wire::frame::{self, Opcode};

impl Connection {
    /// What it holds of requests and messages that have not all arrived, or that wait.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.arriving_bytes() + self.backlog.as_ref().map_or(0, |backlog| backlog.input_bytes())
    }

    /// What its state holds of a request or a message that has not all arrived.
    pub(super) fn arriving_bytes(&self) -> usize {
        match &self.state {
            State::Request(request) => request.held_bytes(),
            State::WebSocket(_, decoder) | State::Closing(_, decoder) => heap_bytes(decoder.held_bytes()),
            _ => 0,
        }
    }

    /// Whether it holds what nobody else has any more, for a peer that has taken nothing for a while.
    pub(crate) fn pins(&self, world: &World) -> bool {
        let Some(backlog) = self.backlog.as_ref().filter(|backlog| backlog.blocked) else { return false };
        let evicted = || backlog.marks.iter().any(|mark| world.hub.is_evicted(mark.subscription, mark.after));
        let patience_ms = world.config.lag_grace_ms;
        world.now.monotonic_ms >= backlog.taken_ms + patience_ms
            && (backlog.written < backlog.output.len() || backlog.pinned.is_some() && evicted())
    }

    /// What its peer has not taken of what was begun: output of its own, and what others may have been written whole.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        let Some(backlog) = &self.backlog else { return 0 };
        let pinned = backlog.pinned.as_ref().map_or(0, |(bytes, written)| bytes.len() - written);
        pinned + backlog.output.len() - backlog.written
    }
}

impl Visit<'_> {
    /// Ends a connection that does not read what is held for it alone. Nothing can be said to it: a part of something
    /// else is on its way.
    pub(crate) fn drop_reader(&mut self) {
        self.world.counters.shed_readers += 1;
        self.drop_for(Reason::Stalled);
    }

    /// Lets go of what has not all arrived: 503 for a request, 1013 for a message.
    pub(crate) fn refuse_unfinished(&mut self) {
        if let Some(backlog) = &mut self.connection.backlog {
            (backlog.input, backlog.scanned) = (Vec::new(), 0);
        }
        match self.connection.state {
            State::WebSocket(..) => self.refuse_message(),
            State::Request(_) | State::Poll(..) => self.refuse_request(),
            State::Responding(Responding { ref mut keep_alive }) => *keep_alive = false,
            _ => self.drop_for(Reason::PeerGone),
        }
    }

    fn refuse_request(&mut self) {
        self.world.counters.shed_requests += 1;
        self.end_consumer(Reason::Answered);
        self.refuse_and_close(self.world.hub.memory.refusal(), None);
    }

    /// The connection ends with it: what follows is the rest of a message whose beginning is gone.
    fn refuse_message(&mut self) {
        self.world.counters.shed_messages += 1;
        let code = CloseCode::TRY_AGAIN_LATER;
        self.end_consumer(Reason::Closing(code));
        let detail = self.world.hub.memory.refusal().to_string();
        frame::encode(Opcode::Close, &close::encode(code, &detail), &mut self.world.output);
        self.drain_then_go(false);
    }

    /// The connection has grown beyond the budget when nothing else could be shed. Output comes first: while there is
    /// some, nothing is read, so that what has not all arrived did not grow.
    pub(crate) fn refuse_growth(&mut self) {
        if self.connection.unwritten_bytes() > SMALL_BYTES {
            self.drop_reader();
        } else if self.connection.unfinished_bytes() > 0 {
            self.refuse_unfinished();
        }
    }
}

/// What an established connection may hold of its own for a moment: the rest of a reply, of a ping.
const SMALL_BYTES: usize = 4 << 10;

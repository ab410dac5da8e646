//! Expiry: a connection that may stay only as long as its token is good.

use super::{ConnectionId, State, Visit, World};
use crate::consumer::{Context, Reason};
use crate::pages::Pages;
use crate::wire::status::Status;

/// When connections must end, in monotonic milliseconds. Beside the connections, not in them, so that it costs nothing
/// where there are no tokens.
#[derive(Debug)]
pub(crate) struct Expiries {
    at_ms: Pages<u64>,
}

/// What each connection costs that must end.
const EXPIRY_BYTES: usize = size_of::<u64>();

/// For a connection that may stay; no other moment is 0.
const NEVER: u64 = 0;

impl Expiries {
    pub(crate) const fn new() -> Expiries {
        Expiries { at_ms: Pages::new() }
    }

    /// Gives back the places of connections whose numbers are `end` or higher.
    pub(super) fn shrink(&mut self, end: usize) {
        self.at_ms.shrink(end);
    }

    #[inline]
    fn at_ms(&self, id: ConnectionId) -> Option<u64> {
        let known = (id.0 as usize) < self.at_ms.len();
        known.then(|| self.at_ms[id.0]).filter(|at_ms| *at_ms != NEVER)
    }
}

impl Context<'_> {
    /// Has the connection end at a moment, in milliseconds since 1970, such as the `exp` of its token; `None` takes
    /// that back. A WebSocket is then closed with 4001, an event stream gets the event `expired` and ends, the wait of
    /// a poll is over. A POST is not affected.
    ///
    /// What is left is counted from this call on by the clock that never jumps.
    pub fn expire_at(&mut self, unix_ms: Option<u64>) {
        if self.call.connecting {
            self.call.expires_ms = unix_ms;
        } else if self.connection.transport().is_some() {
            self.world.expire_at(self.id, unix_ms);
            self.world.schedule(self.id, self.world.config.ping_interval_ms);
        }
    }
}

impl World {
    /// How long a connection may wait for anything: `delay_ms`, or less if it must end before.
    #[inline]
    pub(super) fn before_expiry(&self, id: ConnectionId, delay_ms: u64) -> u64 {
        let left_ms = self.expiries.at_ms(id).map(|at_ms| at_ms.saturating_sub(self.now.monotonic_ms));
        left_ms.map_or(delay_ms, |left_ms| left_ms.min(delay_ms))
    }

    /// Has a connection end at a moment of the wall clock, or not at all. What is left until then is counted by the
    /// clock that does not jump.
    pub(crate) fn expire_at(&mut self, id: ConnectionId, unix_ms: Option<u64>) {
        let before = self.expiries.at_ms(id);
        if before.is_none() && unix_ms.is_none() {
            return;
        }
        let left_ms = unix_ms.map(|unix_ms| unix_ms.saturating_sub(self.now.unix_ms));
        let at_ms = left_ms.map_or(NEVER, |left_ms| self.now.monotonic_ms.saturating_add(left_ms).max(1));
        self.expiries.at_ms.reach(id.0);
        self.expiries.at_ms[id.0] = at_ms;
        self.hub.memory.client_bytes += if at_ms == NEVER { 0 } else { EXPIRY_BYTES };
        self.hub.memory.client_bytes -= if before.is_none() { 0 } else { EXPIRY_BYTES };
    }
}

impl Visit<'_> {
    /// Ends what a token has let in, if its time has come. Says whether it has.
    pub(super) fn end_if_expired(&mut self) -> bool {
        let expired = self.world.expiries.at_ms(self.id).is_some_and(|at_ms| at_ms <= self.world.now.monotonic_ms);
        if expired {
            match self.connection.state {
                State::WebSocket(..) => self.close_for_expiry(&refusal()),
                State::EventStream(_) => self.end_for_expiry(&refusal()),
                // Its wait is over; it is the next poll that is refused.
                State::Poll(..) => self.answer_poll(&[]),
                // Nothing else has a time to come.
                _ => self.drop_for(Reason::Expired),
            }
        }
        expired
    }
}

fn refusal() -> Status {
    Status::new(401).detail("the token has expired")
}

//! Accepting: takes what waits on the listeners, and survives every way in which that can fail.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use rustix::io::Errno;

use super::run::Loop;
use super::socket::Socket;
use crate::engine::Stream;
use crate::time::Now;

/// What a failed `accept` says of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Nobody waits.
    Nobody,
    /// This process, or the machine, has no descriptor left.
    NoDescriptor,
    /// The machine has no memory for another socket.
    NoMemory,
    /// The client has gone, or its network has: Linux reports here what has happened to a connection before it was
    /// accepted (accept(2)). The next one may be well.
    OneClient,
}

impl Failure {
    fn of(error: &io::Error) -> Failure {
        match Errno::from_io_error(error) {
            _ if error.kind() == ErrorKind::WouldBlock => Failure::Nobody,
            Some(Errno::MFILE | Errno::NFILE) => Failure::NoDescriptor,
            Some(Errno::NOBUFS | Errno::NOMEM) => Failure::NoMemory,
            _ => Failure::OneClient,
        }
    }
}

impl Loop {
    /// Accepts what waits, up to a turn's worth. A listener is told of once, so one that is left is remembered.
    pub(super) fn accept(&mut self, index: usize, now: Now) {
        let mut failures = 0;
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = self.listeners.get(index) else { return };
            let error = match listener.accept() {
                Ok((socket, peer)) => {
                    (failures, self.starved) = (0, false);
                    self.welcome(socket, peer, now);
                    if self.reserve.is_none() {
                        self.reserve = Socket::reserve().ok();
                    }
                    continue;
                }
                Err(error) => error,
            };
            failures += 1;
            match Failure::of(&error) {
                Failure::Nobody => return,
                Failure::OneClient if failures < FAILURES_A_TURN => log::debug!("accept: {error}"),
                Failure::NoDescriptor => match self.turn_away(index, &error) {
                    Ok(()) => failures = 0,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    Err(_) => return self.accept_later(index, &error),
                },
                Failure::NoMemory | Failure::OneClient => return self.accept_later(index, &error),
            }
        }
        self.unaccepted.push(index);
    }

    fn welcome(&mut self, socket: Socket, peer: Option<SocketAddr>, now: Now) {
        match self.engine.accept(socket, peer, now) {
            Ok(id) => self.register(id),
            Err(socket) => refuse(socket, &self.engine.refusal()),
        }
    }

    /// Gives the descriptor in reserve up for a moment, to answer a client for which there is no other: in the backlog
    /// it would wait for nothing.
    fn turn_away(&mut self, index: usize, error: &io::Error) -> io::Result<()> {
        self.note_starvation(error);
        self.reserve = None;
        let accepted =
            self.listeners.get(index).map_or(Err(ErrorKind::WouldBlock.into()), |listener| listener.accept());
        let refused = accepted.map(|(socket, _)| refuse(socket, &self.engine.refuse_for_descriptors()));
        // Another thread, or process, may have been faster: then clients wait until there is one again.
        self.reserve = Socket::reserve().ok();
        refused
    }

    /// Leaves who waits where they are for a while.
    fn accept_later(&mut self, index: usize, error: &io::Error) {
        self.note_starvation(error);
        self.waits = true;
        self.unaccepted.push(index);
    }

    /// Said once, not once a client.
    fn note_starvation(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.starved, true) {
            log::warn!("no more connections can be accepted: {error}");
        }
    }
}

/// One write is all that a client gets for which there is no room. What it has sent is read, as far as it is here: to
/// close with unread bytes would reset the connection, and take the answer away again (RFC 9112 §9.6).
fn refuse(mut socket: Socket, answer: &[u8]) {
    let told = socket.write(answer).and_then(|_| socket.shutdown());
    if let Err(error) = told.and_then(|()| io::Read::read(&mut socket, &mut [0; 4096])) {
        log::debug!("refusal: {error}");
    }
}

/// Connections that one turn accepts before the others have theirs.
const ACCEPTS_A_TURN: usize = 256;
/// After so many failures in a row it is not the clients.
const FAILURES_A_TURN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_machines_own_troubles_hold_up_who_comes_next() {
        for (errno, failure) in [
            (Errno::AGAIN, Failure::Nobody),
            (Errno::MFILE, Failure::NoDescriptor),
            (Errno::NFILE, Failure::NoDescriptor),
            (Errno::NOBUFS, Failure::NoMemory),
            (Errno::NOMEM, Failure::NoMemory),
            (Errno::CONNABORTED, Failure::OneClient),
            (Errno::INTR, Failure::OneClient),
            (Errno::PROTO, Failure::OneClient),
            (Errno::PERM, Failure::OneClient),
            (Errno::NETDOWN, Failure::OneClient),
            (Errno::HOSTUNREACH, Failure::OneClient),
            (Errno::BADF, Failure::OneClient),
        ] {
            assert_eq!(Failure::of(&errno.into()), failure, "{errno}");
        }
    }
}

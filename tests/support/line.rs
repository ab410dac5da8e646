//! A connection in memory, and the client's end of it.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use redpoll::{ConnectionId, Readiness, Stream};

use super::reading::{self, Answer, Event, Frame};

/// Both ends of one connection.
#[derive(Clone)]
pub(crate) struct Line(pub(super) Rc<RefCell<Ends>>);

#[derive(Default)]
pub(crate) struct Ends {
    /// What the client has sent and the engine has not read.
    to_server: VecDeque<u8>,
    /// The client will send no more.
    pub(super) ended: bool,
    /// The client has gone: reads and writes fail.
    pub(super) broken: bool,
    /// What the engine has written and the client has not taken.
    from_server: Vec<u8>,
    /// How much of that there may be.
    capacity: usize,
    /// A write came up short, and the engine waits to be told that it can go on.
    full: bool,
    /// What the client has taken and not yet understood.
    received: Vec<u8>,
    /// How often the engine has read and written; tries that found nothing to read or no room count too.
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    /// The engine has ended its side.
    pub(crate) shut: bool,
    /// The engine has given the stream back.
    pub(crate) closed: bool,
}

impl Line {
    pub(super) fn new(capacity: usize) -> Line {
        Line(Rc::new(RefCell::new(Ends { capacity, ..Ends::default() })))
    }
}

impl Ends {
    /// What the engine is to be told when there is room again, once: as a poll does, everything that is so then.
    pub(super) fn take_readiness(&mut self) -> Option<Readiness> {
        let has_room = self.full && self.from_server.len() < self.capacity && !self.closed;
        self.full &= !has_room;
        let readable = self.ended || !self.to_server.is_empty();
        has_room.then_some(Readiness { readable, writable: true, ended: self.ended })
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        ends.reads += 1;
        match (ends.broken, ends.to_server.is_empty(), ends.ended) {
            (true, _, _) => Err(ErrorKind::ConnectionReset.into()),
            (false, true, false) => Err(ErrorKind::WouldBlock.into()),
            _ => {
                // A queue that wraps around would be read in two.
                ends.to_server.make_contiguous();
                ends.to_server.read(buffer)
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        ends.writes += 1;
        if ends.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(ends.capacity.saturating_sub(ends.from_server.len()));
        ends.full = taken < bytes.len();
        if taken == 0 && ends.full {
            return Err(ErrorKind::WouldBlock.into());
        }
        ends.from_server.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Line {
    fn shutdown(&mut self) -> io::Result<()> {
        self.0.borrow_mut().shut = true;
        Ok(())
    }
}

/// A client's end of a connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: ConnectionId,
    pub(super) line: Line,
}

impl Client {
    /// Counters and state of the line.
    pub(crate) fn line(&self) -> Ref<'_, Ends> {
        self.line.0.borrow()
    }

    /// Takes what has been written; [`Rig::turn`] then tells the engine that there is room again.
    fn receive(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.line.0.borrow_mut(), |ends| {
            ends.received.append(&mut ends.from_server);
            &mut ends.received
        })
    }

    /// Everything received.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::mem::take(&mut *self.receive())
    }

    /// Everything received, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The next whole answer, if it has arrived. Of a WebSocket or event stream this is the head.
    pub(crate) fn answer(&self) -> Option<Answer> {
        reading::answer(&mut self.receive())
    }

    /// All whole frames that have arrived.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut received = self.receive();
        std::iter::from_fn(|| reading::frame(&mut received)).collect()
    }

    /// The payloads of all whole frames that have arrived.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.frames().iter().map(Frame::text).collect()
    }

    /// All whole events that have arrived.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut received = self.receive();
        std::iter::from_fn(|| reading::event(&mut received)).collect()
    }

    /// Bytes of the client arrive, and nobody tells the engine.
    pub(crate) fn arrive(&self, bytes: impl AsRef<[u8]>) {
        self.line.0.borrow_mut().to_server.extend(bytes.as_ref());
    }

    /// How much the engine may write from now on before the client takes it.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.receive();
        self.line.0.borrow_mut().capacity = capacity;
    }

    /// A write has come up short, and the client has taken nothing since.
    pub(crate) fn is_full(&self) -> bool {
        let line = self.line();
        line.full && line.from_server.len() >= line.capacity
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.line().shut
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.line().closed
    }
}

//! A connection in memory: the stream that the engine has, and the client's end of it.
//!
//! Readiness is told only where the contract of [`Stream`] promises it: after a read that came up short once there is
//! more, after a write that came up short once there is room.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use redpoll::{Readiness, Stream};

/// The engine's end.
#[derive(Clone)]
pub struct Line(pub Rc<RefCell<Ends>>);

/// Both ends.
pub struct Ends {
    /// What the client has sent, all of it, and how much of that has been read.
    pub sent: Vec<u8>,
    pub read: usize,
    /// What the server has written and the client has not taken.
    pub written: Vec<u8>,
    /// What the client has taken, all of it.
    pub received: Vec<u8>,
    /// How much may be written before the client takes it.
    pub window: usize,
    /// How much the client takes at once.
    pub pace: usize,
    /// It has not always taken everything at once.
    pub slow: bool,
    /// What the next reads and the next write move at most.
    pub read_most: usize,
    pub write_most: usize,
    /// How many calls are interrupted from now on.
    pub interruptions: u8,
    /// The client will send no more.
    pub ended: bool,
    end_told: bool,
    /// The connection is broken, and whether that is still to be told.
    pub broken: bool,
    break_told: bool,
    /// A read came up short, so that more has to be told.
    drained: bool,
    /// A write came up short, so that room has to be told.
    full: bool,
    /// The server has ended its side.
    pub shut: bool,
    /// The engine has given the stream back.
    pub closed: bool,
    /// Bytes that the server has read and written.
    pub moved: usize,
}

impl Line {
    pub fn new(window: usize) -> Line {
        Line(Rc::new(RefCell::new(Ends {
            sent: Vec::new(),
            read: 0,
            written: Vec::new(),
            received: Vec::new(),
            window,
            pace: usize::MAX,
            slow: window < usize::MAX,
            read_most: usize::MAX,
            write_most: usize::MAX,
            interruptions: 0,
            ended: false,
            end_told: false,
            broken: false,
            break_told: false,
            drained: true,
            full: false,
            shut: false,
            closed: false,
            moved: 0,
        })))
    }
}

impl Ends {
    /// Whether the client may still send.
    pub fn is_open(&self) -> bool {
        !self.ended && !self.broken && !self.closed
    }

    /// Whether something will be told without anything else happening.
    pub fn is_active(&self) -> bool {
        let takes = self.pace > 0 && !self.written.is_empty();
        takes || !self.closed && self.readiness() != Readiness::default()
    }

    /// The client takes what it takes at once.
    pub fn take(&mut self, most: usize) {
        let count = most.min(self.written.len());
        self.received.extend_from_slice(&self.written[..count]);
        self.written.drain(..count);
    }

    /// What is to be told to the engine; once.
    pub fn take_readiness(&mut self) -> Readiness {
        let readiness = self.readiness();
        self.drained &= !readiness.readable;
        self.full &= !readiness.writable;
        self.end_told |= self.ended;
        self.break_told |= self.broken;
        readiness
    }

    fn readiness(&self) -> Readiness {
        let (ends, breaks) = (self.ended && !self.end_told, self.broken && !self.break_told);
        Readiness {
            readable: self.drained && self.read < self.sent.len() && !self.end_told || breaks,
            writable: self.full && self.written.len() < self.window || breaks,
            ended: ends || breaks,
        }
    }

    fn is_interrupted(&mut self) -> bool {
        let is_interrupted = self.interruptions > 0;
        self.interruptions -= u8::from(is_interrupted);
        is_interrupted
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        let arrived = ends.sent.len() - ends.read;
        match (ends.is_interrupted(), ends.broken, arrived) {
            (true, _, _) => return Err(ErrorKind::Interrupted.into()),
            (_, true, _) => return Err(ErrorKind::ConnectionReset.into()),
            (_, _, 0) if ends.ended => return Ok(0),
            (_, _, 0) => {
                ends.drained = true;
                return Err(ErrorKind::WouldBlock.into());
            }
            _ => {}
        }
        // Behind an end that has been told nothing arrives any more.
        let most = if ends.end_told { usize::MAX } else { ends.read_most };
        let count = arrived.min(buffer.len()).min(most);
        let start = ends.read;
        buffer[..count].copy_from_slice(&ends.sent[start..start + count]);
        ends.drained = count < buffer.len();
        ends.read += count;
        ends.moved += count;
        Ok(count)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        assert!(!bytes.is_empty() && !ends.shut && !ends.closed, "nothing is written, or after the end");
        if ends.is_interrupted() {
            return Err(ErrorKind::Interrupted.into());
        }
        if ends.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = ends.window.saturating_sub(ends.written.len());
        let most = std::mem::replace(&mut ends.write_most, usize::MAX);
        let count = bytes.len().min(room).min(most);
        ends.full = count < bytes.len();
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        ends.written.extend_from_slice(&bytes[..count]);
        ends.moved += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Line {
    fn shutdown(&mut self) -> io::Result<()> {
        let mut ends = self.0.borrow_mut();
        assert!(!std::mem::replace(&mut ends.shut, true), "the end comes twice");
        if ends.broken { Err(ErrorKind::NotConnected.into()) } else { Ok(()) }
    }
}

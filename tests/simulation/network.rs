//! A network in memory: pipes that chunk, fill up, stall and break, and the readiness that follows from it.
//!
//! Readiness is reported only where the contract of [`Stream`] promises it: after a read that came up short once something
//! has arrived, after a write that came up short once there is room. More than that is left to chance.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use redpoll::{ConnectionId, Readiness, Stream};

use crate::random::{Random, Trace};

pub(crate) type LinkId = usize;

/// What is to happen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    Accept(LinkId),
    /// Bytes of a client, or its end, arrive at the server.
    Up(LinkId),
    /// Bytes of the server, or its end, arrive at the client.
    Down(LinkId),
    /// There is room after a write that came up short by chance.
    Writable(LinkId),
    Client(usize),
    /// Somebody publishes from outside.
    Operator,
    /// The listener is to be asked again.
    Listen,
    /// Something befalls the machine.
    Trouble,
}

/// What a client sees of its link.
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// How fast a link is.
#[derive(Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) chunk_max: u64,
    pub(crate) delay_max_ms: u64,
    pub(crate) capacity: usize,
}

/// One connection, both ends of it.
pub(crate) struct Link {
    pub(crate) owner: usize,
    pub(crate) connection: Option<ConnectionId>,
    speed: Speed,
    up_flight: VecDeque<u8>,
    up_arrived: VecDeque<u8>,
    up_ended: bool,
    up_end_arrived: bool,
    up_scheduled: bool,
    down: VecDeque<u8>,
    down_ended: bool,
    down_scheduled: bool,
    /// The client reads nothing before this time.
    paused_until: u64,
    /// The server meets ConnectionReset.
    broken: bool,
    /// The client meets a reset.
    client_broken: bool,
    /// The client is not there to be told anything.
    client_gone: bool,
    /// A write of the server resets the connection: the client has closed its socket.
    closed_by_client: bool,
    server_gone: bool,
    shut_down: bool,
    /// The server has read short, so it must be told of what arrives.
    armed: bool,
    /// The server has written short, so it must be told of room.
    blocked: bool,
    /// When the server last wrote something, or found no room for the first time since.
    written_at: u64,
    pub(crate) accepted_at: Option<u64>,
    pending: Readiness,
    /// The server has not accepted it; what it wrote may have been cut off.
    pub(crate) refused: bool,
}

impl Link {
    /// The server has accepted it, and is not done with it.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_some()
    }
}

/// All links, and what is to happen when.
pub(crate) struct Network {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) links: Vec<Link>,
    wakes: BinaryHeap<Reverse<(u64, u64, Wake)>>,
    sequence: u64,
    ready: Vec<LinkId>,
    /// Bytes moved by the server so far: what counts as progress.
    pub(crate) moved: u64,
    /// Streams that were accepted and have not come back.
    pub(crate) open: usize,
}

impl Network {
    pub(crate) fn new(seed: u64, now: u64) -> Network {
        Network {
            now,
            random: Random::new(seed),
            trace: Trace::new(),
            links: Vec::new(),
            wakes: BinaryHeap::new(),
            sequence: 0,
            ready: Vec::new(),
            moved: 0,
            open: 0,
        }
    }

    pub(crate) fn wake_in(&mut self, delay_ms: u64, wake: Wake) {
        self.sequence += 1;
        self.wakes.push(Reverse((self.now + delay_ms, self.sequence, wake)));
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        self.wakes.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(crate) fn take_due(&mut self) -> Option<Wake> {
        if self.next_wake()? > self.now {
            return None;
        }
        self.wakes.pop().map(|Reverse((_, _, wake))| wake)
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What became ready of accepted links, in any order.
    pub(crate) fn take_ready(&mut self) -> Vec<(ConnectionId, Readiness)> {
        let mut batch = Vec::new();
        for link in std::mem::take(&mut self.ready) {
            let readiness = std::mem::take(&mut self.links[link].pending);
            if let Some(connection) = self.links[link].connection {
                batch.push((connection, readiness));
            }
        }
        for index in (1..batch.len()).rev() {
            batch.swap(index, self.random.index(index + 1));
        }
        batch
    }

    pub(crate) fn connect(&mut self, owner: usize, speed: Speed) -> LinkId {
        self.links.push(Link {
            owner,
            connection: None,
            speed,
            up_flight: VecDeque::new(),
            up_arrived: VecDeque::new(),
            up_ended: false,
            up_end_arrived: false,
            up_scheduled: false,
            down: VecDeque::new(),
            down_ended: false,
            down_scheduled: false,
            paused_until: 0,
            broken: false,
            client_broken: false,
            client_gone: false,
            closed_by_client: false,
            server_gone: false,
            shut_down: false,
            armed: true,
            blocked: false,
            written_at: 0,
            accepted_at: None,
            pending: Readiness::default(),
            refused: false,
        });
        let link = self.links.len() - 1;
        let delay = self.random.below(20);
        self.wake_in(delay, Wake::Accept(link));
        link
    }

    /// Reports what came before the link was accepted, as registering a socket does.
    pub(crate) fn accepted(&mut self, link: LinkId, connection: ConnectionId) {
        self.open += 1;
        let now = self.now;
        let there = &mut self.links[link];
        (there.connection, there.accepted_at) = (Some(connection), Some(now));
        let ended = there.up_end_arrived || there.broken;
        let readiness = Readiness { readable: ended || !there.up_arrived.is_empty(), writable: true, ended };
        self.report(link, readiness);
    }

    fn report(&mut self, link: LinkId, readiness: Readiness) {
        if self.links[link].connection.is_none() {
            return;
        }
        let pending = &mut self.links[link].pending;
        if *pending == Readiness::default() {
            self.ready.push(link);
        }
        pending.readable |= readiness.readable;
        pending.writable |= readiness.writable;
        pending.ended |= readiness.ended;
    }

    fn report_readable(&mut self, link: LinkId) {
        if std::mem::take(&mut self.links[link].armed) || self.random.one_in(2) {
            let writable = self.random.one_in(4);
            self.report(link, Readiness { readable: true, writable, ended: false });
        }
    }

    /// The end is told once, with the last bytes if they have not been read yet.
    fn report_end(&mut self, link: LinkId) {
        self.links[link].armed = false;
        let readable = self.random.one_in(2);
        self.report(link, Readiness { readable, writable: false, ended: true });
    }

    fn schedule_up(&mut self, link: LinkId) {
        if !std::mem::replace(&mut self.links[link].up_scheduled, true) {
            let delay = self.random.below(self.links[link].speed.delay_max_ms + 1);
            self.wake_in(delay, Wake::Up(link));
        }
    }

    fn schedule_down(&mut self, link: LinkId) {
        if self.links[link].client_gone {
            return;
        }
        if !std::mem::replace(&mut self.links[link].down_scheduled, true) {
            let stall = self.links[link].paused_until.saturating_sub(self.now);
            let delay = stall.max(self.random.below(self.links[link].speed.delay_max_ms + 1));
            self.wake_in(delay, Wake::Down(link));
        }
    }

    /// A client sends.
    pub(crate) fn send(&mut self, link: LinkId, bytes: &[u8]) {
        assert!(!self.links[link].up_ended, "a client sends after its end: a fault of the simulation");
        self.links[link].up_flight.extend(bytes);
        self.schedule_up(link);
    }

    /// A client ends its side and goes on reading.
    pub(crate) fn half_close(&mut self, link: LinkId) {
        self.links[link].up_ended = true;
        self.schedule_up(link);
    }

    /// A client closes its socket: what it still gets resets the connection.
    pub(crate) fn close(&mut self, link: LinkId) {
        self.half_close(link);
        self.links[link].closed_by_client = true;
        self.links[link].client_gone = true;
        self.links[link].down.clear();
        self.room(link);
    }

    /// A client's connection breaks.
    pub(crate) fn reset(&mut self, link: LinkId) {
        self.links[link].client_gone = true;
        self.break_server_side(link);
    }

    fn break_server_side(&mut self, link: LinkId) {
        let broken = &mut self.links[link];
        broken.broken = true;
        broken.up_flight.clear();
        broken.up_arrived.clear();
        broken.down.clear();
        self.report(link, Readiness { readable: true, writable: true, ended: true });
    }

    /// A client disappears without a word; nothing more gets through to it.
    pub(crate) fn vanish(&mut self, link: LinkId) {
        let room = self.random.pick(&[0, 7, 30]);
        let gone = &mut self.links[link];
        gone.client_gone = true;
        gone.up_flight.clear();
        gone.speed.capacity = gone.down.len() + room;
    }

    /// A client reads nothing for a while.
    pub(crate) fn pause(&mut self, link: LinkId, delay_ms: u64) {
        self.links[link].paused_until = self.now + delay_ms;
    }

    /// From now on the link is fast.
    pub(crate) fn hurry(&mut self, link: LinkId) {
        self.links[link].paused_until = 0;
        self.links[link].speed = Speed { chunk_max: 16 << 10, delay_max_ms: 4, capacity: 64 << 10 };
        self.links[link].down_scheduled = false;
        self.schedule_down(link);
        self.room(link);
    }

    /// Whether a client still waits to be accepted.
    pub(crate) fn has_unaccepted(&self) -> bool {
        self.wakes.iter().any(|Reverse((_, _, wake))| matches!(wake, Wake::Accept(_)))
    }

    /// The server did not take the connection.
    pub(crate) fn refused(&mut self, link: LinkId) {
        self.links[link].refused = true;
        self.server_closed(link);
    }

    /// The connection has broken before the server accepted it, which is all that it hears of it.
    pub(crate) fn take_aborted(&mut self, link: LinkId) -> bool {
        let aborted = self.links[link].broken;
        self.links[link].server_gone |= aborted;
        aborted
    }

    /// Whether the server is done with its end.
    pub(crate) fn has_ended(&self, link: LinkId) -> bool {
        self.links[link].server_gone
    }

    /// For how long the server has not been able to write anything.
    pub(crate) fn stalled_ms(&self, link: LinkId) -> u64 {
        let there = &self.links[link];
        if there.blocked && !there.server_gone { self.now - there.written_at } else { 0 }
    }

    /// What a client has sent and the server has not read.
    pub(crate) fn unread(&self, link: LinkId) -> usize {
        self.links[link].up_flight.len() + self.links[link].up_arrived.len()
    }

    /// Bytes move towards the server.
    pub(crate) fn up(&mut self, link: LinkId) {
        self.links[link].up_scheduled = false;
        if self.links[link].broken || self.links[link].server_gone {
            return;
        }
        if self.links[link].up_flight.is_empty() {
            if self.links[link].up_ended && !std::mem::replace(&mut self.links[link].up_end_arrived, true) {
                self.report_end(link);
            }
            return;
        }
        let most = 1 + self.random.below(self.links[link].speed.chunk_max);
        let there = &mut self.links[link];
        let room = UP_CAPACITY.saturating_sub(there.up_arrived.len());
        let count = there.up_flight.len().min(most as usize).min(room);
        if count == 0 {
            return;
        }
        there.up_arrived.extend(take(&mut there.up_flight, count));
        self.report_readable(link);
        let there = &mut self.links[link];
        if there.up_flight.is_empty() && there.up_ended && self.random.one_in(2) {
            there.up_end_arrived = true;
            self.report_end(link);
        } else if !there.up_flight.is_empty() || there.up_ended {
            self.schedule_up(link);
        }
    }

    /// Bytes move towards the client.
    pub(crate) fn down(&mut self, link: LinkId) -> Option<Arrival> {
        self.links[link].down_scheduled = false;
        if self.links[link].client_gone {
            return None;
        }
        if self.links[link].client_broken {
            self.links[link].client_gone = true;
            return Some(Arrival::Reset);
        }
        if self.links[link].paused_until > self.now {
            self.schedule_down(link);
            return None;
        }
        let most = 1 + self.random.below(self.links[link].speed.chunk_max);
        let there = &mut self.links[link];
        let count = there.down.len().min(most as usize);
        let bytes = take(&mut there.down, count);
        if bytes.is_empty() {
            there.client_gone = there.down_ended;
            return there.down_ended.then_some(Arrival::End);
        }
        if !there.down.is_empty() || there.down_ended {
            self.schedule_down(link);
        }
        if self.links[link].down.is_empty() || self.random.one_in(2) {
            self.room(link);
        }
        self.trace.bytes(3, &bytes);
        Some(Arrival::Bytes(bytes))
    }

    /// There is room for the server to write.
    pub(crate) fn room(&mut self, link: LinkId) {
        if self.links[link].down.len() < self.links[link].speed.capacity
            && std::mem::take(&mut self.links[link].blocked)
        {
            let readable = self.random.one_in(4);
            self.report(link, Readiness { readable, writable: true, ended: false });
        }
    }

    /// The server is done with its end. What it has not read resets the connection, mostly.
    pub(crate) fn server_closed(&mut self, link: LinkId) {
        let reset = self.random.one_in(2);
        let there = &mut self.links[link];
        assert!(!std::mem::replace(&mut there.server_gone, true), "a stream came back twice");
        self.open -= usize::from(there.connection.take().is_some());
        let unread = !there.up_arrived.is_empty() || !there.up_flight.is_empty();
        there.down_ended = true;
        if unread && reset {
            there.client_broken = true;
            there.down.clear();
        }
        self.schedule_down(link);
    }

    fn read(&mut self, link: LinkId, buffer: &mut [u8]) -> io::Result<usize> {
        if self.random.one_in(64) {
            return Err(ErrorKind::Interrupted.into());
        }
        let there = &mut self.links[link];
        if there.broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if there.up_arrived.is_empty() {
            there.armed = true;
            return if there.up_end_arrived { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let count = there.up_arrived.len().min(buffer.len());
        buffer[..count].copy_from_slice(&take(&mut there.up_arrived, count));
        self.moved += count as u64;
        self.trace.bytes(1, &buffer[..count]);
        if count < buffer.len() {
            self.links[link].armed = true;
        }
        if !self.links[link].up_flight.is_empty() {
            self.schedule_up(link);
        }
        Ok(count)
    }

    fn write(&mut self, link: LinkId, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "the engine writes nothing");
        assert!(!self.links[link].shut_down, "the engine writes after its own end");
        if self.links[link].broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if self.links[link].closed_by_client {
            self.break_server_side(link);
            return Ok(bytes.len());
        }
        if self.random.one_in(64) {
            return Err(ErrorKind::Interrupted.into());
        }
        let room = self.links[link].speed.capacity.saturating_sub(self.links[link].down.len());
        let most = if self.random.one_in(8) { self.random.index(room + 1) } else { room };
        let count = bytes.len().min(most);
        let was_blocked = self.links[link].blocked;
        if count > 0 || !was_blocked {
            self.links[link].written_at = self.now;
        }
        if count < bytes.len() {
            self.links[link].blocked = true;
            if room > count {
                let delay = self.random.below(10);
                self.wake_in(delay, Wake::Writable(link));
            }
        }
        self.trace.bytes(2, &bytes[..count]);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.moved += count as u64;
        self.links[link].down.extend(&bytes[..count]);
        self.schedule_down(link);
        Ok(count)
    }

    fn shut_down(&mut self, link: LinkId) -> io::Result<()> {
        if self.links[link].broken {
            return Err(ErrorKind::NotConnected.into());
        }
        self.links[link].shut_down = true;
        self.links[link].down_ended = true;
        self.schedule_down(link);
        Ok(())
    }
}

/// The first bytes of a queue.
fn take(queue: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    let (front, back) = queue.as_slices();
    let split = count.min(front.len());
    let taken = [&front[..split], &back[..count - split]].concat();
    queue.drain(..count);
    taken
}

/// What arrives at the server before it is read.
const UP_CAPACITY: usize = 96 << 10;

/// The server's end of a link.
pub(crate) struct SimStream {
    pub(crate) network: Rc<RefCell<Network>>,
    pub(crate) link: LinkId,
}

impl Read for SimStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.network.borrow_mut().read(self.link, buffer)
    }
}

impl Write for SimStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.network.borrow_mut().write(self.link, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for SimStream {
    fn shutdown(&mut self) -> io::Result<()> {
        self.network.borrow_mut().shut_down(self.link)
    }
}

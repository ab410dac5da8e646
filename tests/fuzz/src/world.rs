//! An engine with its clients and its clock: a schedule is played, and at the end all that must be true is looked at.
//! With `TRACE` in the environment each step is printed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use redpoll::{ConnectionId, Engine, Message, Now, Readiness, Seed};

use crate::ledger::{self, Ledger};
use crate::line::Line;
use crate::listening::{EPOCH, Listener, listen};
use crate::schedule::{Bytes, Step};

/// What happens out of some bytes.
pub fn play(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (config, start_ms) = (bytes.config(), bytes.start_ms());
    let (budget_bytes, counts_addresses) =
        (config.memory_bytes_max, config.address_connections_max.is_some() || config.trusted_hops > 0);
    let now = Now { monotonic_ms: start_ms, unix_ms: 784_111_777_000 };
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let server = ledger::server(&ledger).config(config);
    let engine = server.into_engine(Seed { epoch: EPOCH, jitter: 7 }, now);
    let mut world = World {
        engine,
        now,
        ledger,
        clients: Vec::new(),
        budget_bytes,
        counts_addresses,
        draining: false,
        idle_turns: 0,
    };
    while let Some(step) = bytes.step()
        && world.moved() < MOVED_BYTES_MAX
    {
        world.take(step);
    }
    world.everyone_catches_up();
    world.everything_ends();
}

struct World {
    engine: Engine<Line>,
    now: Now,
    ledger: ledger::Shared,
    clients: Vec<Client>,
    budget_bytes: usize,
    counts_addresses: bool,
    draining: bool,
    /// Turns in a row in which nothing moved and which no time followed.
    idle_turns: u32,
}

struct Client {
    /// `None` where it was refused.
    id: Option<ConnectionId>,
    line: Line,
}

impl World {
    fn take(&mut self, step: Step) {
        if std::env::var_os("TRACE").is_some() {
            eprintln!("{}: {step:?}", self.now.monotonic_ms);
        }
        match step {
            Step::Connect { window, peer } => self.connect(window, peer),
            Step::Send { client, bytes } => self.with(client, |line| {
                if line.is_open() && line.sent.len() < SENT_BYTES_MAX {
                    line.sent.extend(bytes);
                }
            }),
            Step::Turn => drop(self.turn()),
            Step::Sleep { ms } => self.sleep(ms),
            Step::Jump { ms, unix_ms } => {
                self.now = Now { monotonic_ms: self.now.monotonic_ms + ms, unix_ms };
            }
            Step::Take { client, bytes } => self.with(client, |line| line.take(bytes)),
            Step::Window { client, window, pace } => self.with(client, |line| {
                (line.window, line.pace) = (window, pace);
                line.slow = true;
            }),
            Step::HalfClose { client } => self.with(client, |line| line.ended = true),
            Step::Reset { client } => self.with(client, |line| line.broken = true),
            Step::Faults { client, interruptions, read_most, write_most } => self.with(client, |line| {
                (line.interruptions, line.read_most, line.write_most) = (interruptions, read_most, write_most);
                line.slow = true;
            }),
            Step::Publish { channel, data, binary, event } => self.publish(channel, &data, binary, event),
            Step::Ready { id, readiness } => self.engine.ready(ConnectionId(id), readiness, self.now),
            Step::Resident { bytes } => self.engine.note_resident(bytes),
            Step::Drain => {
                self.draining = true;
                self.engine.drain(self.now);
            }
        }
    }

    /// Bytes that the server has read and written.
    fn moved(&self) -> usize {
        self.clients.iter().map(|client| client.line.0.borrow().moved).sum()
    }

    fn connect(&mut self, window: usize, peer: Option<SocketAddr>) {
        let line = Line::new(window);
        let accepted = self.engine.accept(line.clone(), peer, self.now);
        if accepted.is_err() {
            let mut ends = line.0.borrow_mut();
            ends.written.extend(self.engine.refusal());
            ends.closed = true;
        }
        self.clients.push(Client { id: accepted.ok(), line });
    }

    fn with(&mut self, client: usize, work: impl FnOnce(&mut crate::line::Ends)) {
        if self.clients.is_empty() {
            self.connect(usize::MAX, None);
        }
        let client = client % self.clients.len();
        work(&mut self.clients[client].line.0.borrow_mut());
    }

    fn publish(&mut self, channel: &str, data: &[u8], binary: bool, event: Option<&str>) {
        let text = String::from_utf8_lossy(data);
        let message = if binary { Message::binary_of(data) } else { Message::text_of(&text) }.with_event(event);
        match self.engine.publish(channel, message, self.now) {
            Ok(published) => self.ledger.borrow_mut().record(message, &published),
            Err(status) => assert!([400, 413, 503].contains(&status.code()), "{status}"),
        }
    }

    /// One turn: the clients take what they take, the engine is told what is ready.
    fn turn(&mut self) -> Option<Duration> {
        let before = self.moved();
        for client in &self.clients {
            let mut ends = client.line.0.borrow_mut();
            let pace = ends.pace;
            ends.take(pace);
            let readiness = ends.take_readiness();
            drop(ends);
            if let Some(id) = client.id.filter(|_| readiness != Readiness::default() && !client.line.0.borrow().closed)
            {
                self.engine.ready(id, readiness, self.now);
            }
        }
        let sleep = self.engine.turn(self.now);
        while let Some(line) = self.engine.take_closed() {
            assert!(!std::mem::replace(&mut line.0.borrow_mut().closed, true), "a stream comes back twice");
        }
        let idle = sleep == Some(Duration::ZERO) && self.moved() == before;
        self.idle_turns = if idle { self.idle_turns + 1 } else { 0 };
        assert!(self.idle_turns < 100, "the engine spins: {:?}", self.engine);
        self.check_counts();
        sleep
    }

    fn check_counts(&self) {
        let metrics = self.engine.metrics();
        let open = self.clients.iter().filter(|client| client.id.is_some() && !client.line.0.borrow().closed).count();
        assert_eq!(metrics.connections, open, "connections");
        assert!(self.engine.timers() <= open, "timers of nobody");
        let held_bytes = metrics.client_bytes + metrics.channel_bytes + metrics.table_bytes;
        assert!(held_bytes <= self.budget_bytes, "{held_bytes} bytes are held: {metrics:?}");
    }

    fn sleep(&mut self, ms: u64) {
        let end_ms = self.now.monotonic_ms + ms;
        // With many that are slow, the rest passes at once.
        for _ in 0..TURNS_MAX {
            let sleep = self.turn();
            let active = self.clients.iter().any(|client| client.line.0.borrow().is_active());
            let sleep_ms =
                sleep.map_or(u64::MAX, |sleep| sleep.as_millis() as u64).min(if active { 1 } else { u64::MAX });
            if self.now.monotonic_ms.saturating_add(sleep_ms) >= end_ms {
                break;
            }
            self.pass(sleep_ms);
        }
        self.pass(end_ms - self.now.monotonic_ms);
        self.turn();
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.unix_ms = self.now.unix_ms.saturating_add(ms);
    }

    /// Everyone reads: then everyone who is there has everything, or was told what is lost.
    fn everyone_catches_up(&mut self) {
        for client in &self.clients {
            let mut ends = client.line.0.borrow_mut();
            (ends.window, ends.pace, ends.interruptions) = (usize::MAX, usize::MAX, 0);
            (ends.read_most, ends.write_most) = (usize::MAX, usize::MAX);
        }
        self.settle();
        self.ledger.borrow_mut().listed = None;
        self.connect(usize::MAX, None);
        let last = self.clients.len() - 1;
        self.with(last, |line| line.sent.extend(b"GET /list HTTP/1.1\r\nHost: h\r\n\r\n"));
        self.settle();
        for client in &self.clients {
            let listener = self.listen(client);
            let ends = client.line.0.borrow();
            if ends.is_open() && !ends.shut && !listener.ended && !self.draining {
                assert!(listener.complete, "the rest never comes: {}", ends.received.escape_ascii());
                let ledger = self.ledger.borrow();
                listener.check_up_to_date(&ledger);
                if let Some(listed) = &ledger.listed {
                    listener.check_present(listed, client.id.and_then(|id| ledger.begun.get(&id)));
                }
                assert_eq!(listener.unanswered, None, "never answered: {}", ends.sent.escape_ascii());
                let spares = self.budget_bytes == usize::MAX && !ledger.cleared;
                assert!(listener.gaps == 0 || ends.slow || !spares, "a loss for one who reads all the time");
                assert!(!listener.is_subscribed() || ends.read == ends.sent.len(), "what was sent is never read");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let sleep = self.turn();
            if sleep != Some(Duration::ZERO) && !self.clients.iter().any(|client| client.line.0.borrow().is_active()) {
                return;
            }
        }
        panic!("the engine does not come to rest: {:?}", self.engine);
    }

    fn listen(&self, client: &Client) -> Listener {
        let ends = client.line.0.borrow();
        listen(&ends.sent, &ends.received, &self.ledger.borrow())
    }

    /// Everyone goes, one in two without a word, and nothing is left.
    fn everything_ends(&mut self) {
        for (index, client) in self.clients.iter().enumerate() {
            let mut ends = client.line.0.borrow_mut();
            match index % 2 {
                0 => ends.ended = true,
                _ => (ends.window, ends.pace) = (0, 0),
            }
        }
        for _ in 0..TURNS_MAX {
            let sleep = self.turn();
            if self.engine.is_empty() {
                break;
            }
            self.pass(sleep.expect("who is there has a timer").as_millis() as u64);
        }
        assert!(self.engine.is_empty(), "some never end: {:?}", self.engine);
        for client in &self.clients {
            client.line.0.borrow_mut().take(usize::MAX);
            let listener = self.listen(client);
            let ends = client.line.0.borrow();
            assert!(listener.complete || !ends.shut || ends.broken, "an end in the middle of something");
        }
        self.sleep(3_700_000);
        let metrics = self.engine.metrics();
        assert_eq!((metrics.members, metrics.observers), (0, 0), "members who have gone");
        assert_eq!((metrics.connections, metrics.subscriptions, metrics.transports), (0, 0, [0; 3]));
        // Whom a connection was counted for is in a table, which keeps its size.
        let places = if self.counts_addresses { self.clients.len() } else { 0 };
        assert!(
            metrics.client_bytes <= 8 * places,
            "{} bytes are held for clients that have gone",
            metrics.client_bytes
        );
        assert_eq!(self.engine.timers(), 0, "timers of clients that have gone");
        assert_eq!((metrics.channels, metrics.channel_bytes), (0, 0), "held for channels that are empty");
        let ledger = self.ledger.borrow();
        assert_eq!((ledger.consumers, ledger.connected), (0, 0), "consumers that are left, or were told nothing");
    }
}

/// A client sends no more than this.
const SENT_BYTES_MAX: usize = 300 << 10;

/// When so much has moved, nothing more happens: the models are slow.
const MOVED_BYTES_MAX: usize = 1 << 20;

const TURNS_MAX: usize = 1_000;

//! The loop: poll and dispatch.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::Server;
use super::delay::Delay;
use super::publisher::Mailbox;
use super::resident::Resident;
use super::socket::{Listener, Socket};
use crate::connection::ConnectionId;
use crate::engine::{Engine, Readiness, Seed};
use crate::time::Now;

/// Tokens above all connections' numbers.
const WAKER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const LISTENERS: usize = usize::MAX - 1_000;

/// Everything that one running server has.
pub(super) struct Loop {
    poll: Poll,
    pub(super) engine: Engine<Socket>,
    pub(super) listeners: Vec<Listener>,
    mailbox: Arc<Mailbox>,
    signals: Option<Signals>,
    clock: Clock,
    resident: Resident,
    delay: Delay,
    drain_ms: u64,
    /// When draining ends, once it has begun.
    end_ms: Option<u64>,
    /// Listeners that had more than one turn takes, or that could not be accepted from.
    pub(super) unaccepted: Vec<usize>,
    /// Whether these are not to be asked again at once.
    pub(super) waits: bool,
    /// Whether the machine, or the limit of this process, lets no more connections in.
    pub(super) starved: bool,
    /// A descriptor that nobody uses, for the one client too many. `None` while there is none to be had.
    pub(super) reserve: Option<Socket>,
}

/// The clocks of the operating system.
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// The same for a moment that has just been looked at.
    fn at(&self, present: Instant) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms: (present - self.start).as_millis() as u64, unix_ms: unix.as_millis() as u64 }
    }
}

/// Runs a server to its end.
pub(super) fn run(mut server: Server) -> io::Result<()> {
    let clock = Clock { start: Instant::now() };
    let poll = Poll::new()?;
    for (index, listener) in server.listeners.iter_mut().enumerate() {
        listener.register(poll.registry(), Token(LISTENERS + index))?;
    }
    let signals = if server.ends_on_signals { Some(catch_signals(&poll)?) } else { None };
    server.mailbox.open(Waker::new(poll.registry(), WAKER)?);
    server.config.connections_max = server.config.connections_max.min(connections_within(descriptors()));
    let mut event_loop = Loop {
        poll,
        drain_ms: server.config.drain_ms,
        resident: server.resident,
        delay: Delay::default(),
        engine: Engine::new(server.router, server.config, seed(), clock.now()),
        listeners: server.listeners,
        mailbox: server.mailbox,
        signals,
        clock,
        end_ms: None,
        unaccepted: Vec::new(),
        waits: false,
        starved: false,
        reserve: Socket::reserve().ok(),
    };
    let result = event_loop.run();
    event_loop.mailbox.close();
    result
}

impl Loop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut sleep = Some(Duration::ZERO);
        while !self.has_ended() {
            match self.poll.poll(&mut events, self.cut_short(sleep)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                polled => polled?,
            }
            let woke = Instant::now();
            self.delay.wake(woke);
            let now = self.clock.at(woke);
            self.waits = false;
            for index in std::mem::take(&mut self.unaccepted) {
                self.accept(index, now);
            }
            for event in &events {
                match event.token() {
                    WAKER => self.take_letters(now),
                    SIGNALS => self.take_signals(now),
                    Token(token) if token >= LISTENERS => self.accept(token - LISTENERS, now),
                    Token(token) => {
                        let readiness = Readiness {
                            readable: event.is_readable(),
                            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
                            ended: event.is_read_closed() || event.is_error(),
                        };
                        self.engine.ready(ConnectionId(token as u32), readiness, now);
                    }
                }
            }
            if let Some(bytes) = self.resident.bytes(now.monotonic_ms) {
                self.engine.note_resident(bytes);
            }
            sleep = self.engine.turn(now);
            if let Some(took) = self.delay.rest(self.engine.deliveries(), self.engine.is_delivering()) {
                self.engine.note_delivery(took);
            }
            while let Some(socket) = self.engine.take_closed() {
                drop(socket);
            }
        }
        Ok(())
    }

    pub(super) fn register(&mut self, id: ConnectionId) {
        let registry = self.poll.registry();
        if let Some(Err(error)) = self.engine.with_stream(id, |socket| socket.register(registry, Token(id.0 as usize)))
        {
            log::error!("{}: cannot be polled: {error}", id.0);
            self.engine.abandon(id);
        }
    }

    fn take_letters(&mut self, now: Now) {
        for letter in self.mailbox.take() {
            if let Err(status) = self.engine.publish(&letter.channel, letter.message(), now) {
                log::warn!("a message of the application to {:?} was refused: {status}", letter.channel);
            }
        }
        if self.mailbox.is_ending() {
            self.drain(now);
        }
    }

    fn take_signals(&mut self, now: Now) {
        let count = self.signals.as_mut().map_or(0, |signals| signals.pending().count());
        if count > 1 || self.end_ms.is_some() {
            self.end_ms = Some(0);
        } else if count == 1 {
            self.drain(now);
        }
    }

    /// Ends what is open, and gives it a while.
    fn drain(&mut self, now: Now) {
        if self.end_ms.is_none() {
            log::info!("ending: connections have {} ms", self.drain_ms);
            self.end_ms = Some(now.monotonic_ms + self.drain_ms);
            self.engine.drain(now);
            self.listeners.clear();
        }
    }

    fn has_ended(&self) -> bool {
        self.end_ms.is_some_and(|end_ms| self.engine.is_empty() || self.clock.now().monotonic_ms >= end_ms)
    }

    /// Sleeps no longer than until draining ends, or the next try to accept.
    fn cut_short(&self, sleep: Option<Duration>) -> Option<Duration> {
        let end = self.end_ms.map(|end_ms| Duration::from_millis(end_ms.saturating_sub(self.clock.now().monotonic_ms)));
        let again = match (self.unaccepted.is_empty(), self.waits) {
            (true, _) => None,
            (false, true) => Some(STARVED_RETRY),
            (false, false) => Some(Duration::ZERO),
        };
        [sleep, end, again].into_iter().flatten().min()
    }
}

fn catch_signals(poll: &Poll) -> io::Result<Signals> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}

/// Raises the limit of open descriptors as far as it may be, and returns it.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err() {
        log::debug!("the descriptor limit stays at {:?}", limit.current);
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize)
}

/// How many connections leave the rest of the process enough descriptors.
fn connections_within(descriptors: usize) -> usize {
    descriptors - RESERVED_DESCRIPTORS.min(descriptors / 2)
}

/// Random numbers of the standard library's hash maps, which have them from the operating system.
fn seed() -> Seed {
    let random = || RandomState::new().build_hasher().finish();
    Seed { epoch: (random() >> 16) as u32, jitter: random() }
}

/// For standard streams, listeners, the poll, signals, and whatever the application opens. Where the limit is so low
/// that this would be most of it, half of it.
const RESERVED_DESCRIPTORS: usize = 32;
const STARVED_RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::connections_within;

    #[test]
    fn some_descriptors_are_left_to_the_rest_of_the_process() {
        for (descriptors, connections) in [(0, 0), (1, 1), (20, 10), (40, 20), (64, 32), (1024, 992)] {
            assert_eq!(connections_within(descriptors), connections);
        }
    }
}

//! All connections of a run, on one poll.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::connect::{connect, explain};
use super::link::{Heard, Link, Phase};
use super::protocol::{Protocol, Script};

/// What a run makes of what its connections tell.
pub(super) trait Listener {
    /// A link has something to tell. `now_us` is when it was read.
    fn hear(&mut self, at: usize, heard: Heard, now_us: u64);

    /// All that one read has brought is told: the time to send.
    fn reply(&mut self, _at: usize, _link: &mut Link, _now_us: u64) {}

    /// A link that was open has ended; whether that was wanted, the listener knows.
    fn close(&mut self, _at: usize) {}
}

pub(super) struct Swarm {
    poll: Poll,
    events: Events,
    /// Connections may follow one of these.
    scripts: Vec<Script>,
    pub(super) links: Vec<Link>,
    /// Lent to one link at a time.
    buffer: Vec<u8>,
    /// Links that are open.
    pub(super) open: usize,
    /// Links that are neither open nor closed.
    pub(super) pending: usize,
    /// Links that were open and have ended.
    pub(super) closed: u64,
    /// Why the first link ended that did, or could not be opened.
    pub(super) trouble: Option<String>,
    begun: Instant,
    /// Connections begun, which is where each gets its source address from.
    connections: usize,
    /// Someone at the terminal wants it to end.
    interrupted: Arc<AtomicBool>,
}

impl Swarm {
    pub(super) fn new(scripts: Vec<Script>, buffer_bytes: usize) -> io::Result<Swarm> {
        let interrupted = Arc::new(AtomicBool::new(false));
        // A second one ends it at once.
        flag::register_conditional_default(SIGINT, Arc::clone(&interrupted))?;
        flag::register(SIGINT, Arc::clone(&interrupted))?;
        Ok(Swarm {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            scripts,
            links: Vec::new(),
            buffer: vec![0; buffer_bytes],
            open: 0,
            pending: 0,
            closed: 0,
            trouble: None,
            begun: Instant::now(),
            connections: 0,
            interrupted,
        })
    }

    pub(super) fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub(super) fn script_of(&self, at: usize) -> &Script {
        &self.scripts[self.links[at].script]
    }

    pub(super) fn is_closed(&self, at: usize) -> bool {
        self.links[at].phase == Phase::Closed
    }

    /// Begins one more link.
    fn begin(&mut self, script: usize) -> io::Result<usize> {
        let at = self.links.len();
        let link = self.connect(at, script)?;
        self.links.push(link);
        Ok(at)
    }

    /// Opens one more link.
    pub(super) fn open_one(&mut self, script: usize, listener: &mut dyn Listener) -> io::Result<usize> {
        let at = self.begin(script)?;
        self.open_up_to(self.links.len(), script, listener)?;
        Ok(at)
    }

    /// Ends a link, and begins another in its place.
    pub(super) fn begin_anew(&mut self, at: usize) -> io::Result<()> {
        let link = self.connect(at, self.links[at].script)?;
        self.open -= usize::from(matches!(self.links[at].phase, Phase::Open | Phase::Closing));
        self.links[at] = link;
        Ok(())
    }

    fn connect(&mut self, at: usize, script: usize) -> io::Result<Link> {
        let mut stream = connect(self.scripts[script].address, self.connections)?;
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        self.connections += 1;
        self.pending += 1;
        Ok(Link::new(stream, script, self.now_us()))
    }

    /// Opens links until there are `wanted`, or no more can be had, which is then why.
    pub(super) fn open_up_to(&mut self, wanted: usize, script: usize, listener: &mut dyn Listener) -> io::Result<()> {
        let mut asked_us = self.now_us();
        loop {
            if self.is_interrupted() {
                self.trouble.get_or_insert_with(|| "interrupted".to_owned());
            }
            while self.links.len() < wanted && self.pending < PENDING_MAX && self.trouble.is_none() {
                if let Err(error) = self.begin(script) {
                    self.trouble = Some(explain(&error));
                }
                asked_us = self.now_us();
            }
            if self.pending == 0 && (self.links.len() >= wanted || self.trouble.is_some()) {
                return Ok(());
            }
            let before = self.pending;
            self.turn(listener, Some(TICK))?;
            if self.pending < before {
                asked_us = self.now_us();
            }
            self.end_waits(self.now_us() - asked_us);
        }
    }

    /// What has not been answered for so long will not be. But a server that does not know `wait=0` may hold a poll.
    fn end_waits(&mut self, silence_us: u64) {
        let Swarm { links, scripts, .. } = self;
        for link in links.iter_mut().filter(|link| matches!(link.phase, Phase::Connecting | Phase::Asked)) {
            let is_poll = scripts[link.script].protocol == Protocol::LongPoll && link.phase == Phase::Asked;
            if is_poll && silence_us > POLL_SILENCE_US {
                link.phase = Phase::Open;
                self.open += 1;
            } else if silence_us > ANSWER_SILENCE_US {
                link.phase = Phase::Closed;
                self.trouble.get_or_insert_with(|| "the server does not answer".to_owned());
            } else {
                continue;
            }
            self.pending -= 1;
        }
    }

    /// Waits until something happens, and tells the listener.
    pub(super) fn turn(&mut self, listener: &mut dyn Listener, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let mut ended = Vec::new();
        for event in self.events.iter() {
            let at = event.token().0;
            let (link, begun) = (&mut self.links[at], self.begun);
            let (before, script) = (link.phase, &self.scripts[link.script]);
            if before == Phase::Closed {
                continue;
            }
            let mut result = if event.is_writable() { link.write(script) } else { Ok(()) };
            if result.is_ok() && (event.is_readable() || event.is_error()) {
                let mut now_us = None;
                let is_ended = event.is_read_closed() || event.is_error();
                result = link.read(script, &mut self.buffer, is_ended, &mut |heard| {
                    let now_us = now_us.get_or_insert_with(|| begun.elapsed().as_micros() as u64);
                    listener.hear(at, heard, *now_us);
                });
                if let Some(now_us) = now_us {
                    listener.reply(at, link, now_us);
                }
            }
            let is_opened = !is_settled(before) && is_settled(link.phase);
            self.pending -= usize::from(is_opened);
            self.open += usize::from(is_opened);
            if let Err(error) = result {
                ended.push((at, error));
            }
        }
        ended.iter().for_each(|(at, error)| self.end(*at, error, listener));
        Ok(())
    }

    /// A link has ended, or could not be opened.
    fn end(&mut self, at: usize, error: &io::Error, listener: &mut dyn Listener) {
        let was = std::mem::replace(&mut self.links[at].phase, Phase::Closed);
        let _ = self.poll.registry().deregister(&mut self.links[at].output.stream);
        let _ = self.links[at].output.stream.shutdown(std::net::Shutdown::Both);
        self.open -= usize::from(is_settled(was));
        self.pending -= usize::from(!is_settled(was));
        if was != Phase::Closing {
            self.trouble.get_or_insert_with(|| explain(error));
            self.closed += u64::from(is_settled(was));
        }
        if is_settled(was) {
            listener.close(at);
        }
    }
}

fn is_settled(phase: Phase) -> bool {
    matches!(phase, Phase::Open | Phase::Closing | Phase::Closed)
}

/// Connections that are begun and not answered: as many as wait in a small backlog without loss.
const PENDING_MAX: usize = 100;

/// The longest wait between two looks at the clock.
pub(super) const TICK: Duration = Duration::from_millis(20);

const EVENTS_MAX: usize = 1024;
const POLL_SILENCE_US: u64 = 1_000_000;
const ANSWER_SILENCE_US: u64 = 10_000_000;

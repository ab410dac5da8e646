//! The world: an engine, its network, its clients, and a clock that jumps to whatever comes next.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use redpoll::{Config, ConnectionId, Engine, Message, Now, Readiness, Seed};

use crate::clients::{Client, Phase, Scene, fast};
use crate::listener::{Accepted, Listener};
use crate::network::{Arrival, LinkId, Network, SimStream, Wake};
use crate::oracle::{Departure, Oracle};
use crate::server::server;
use crate::troubles::Resident;

type Shared<T> = Rc<RefCell<T>>;

pub(crate) struct World {
    pub(crate) engine: Engine<SimStream>,
    pub(crate) network: Shared<Network>,
    pub(crate) oracle: Shared<Oracle>,
    pub(crate) clients: Vec<Client>,
    pub(crate) phase: Phase,
    pub(crate) listener: Listener,
    /// What the process takes beyond what is held, where there is a budget.
    pub(crate) resident: Resident,
    /// How long the machine has slept.
    pub(crate) slept_ms: u64,
    /// How often somebody publishes from outside, in milliseconds; 0 is never.
    pub(crate) operator_ms: u64,
    links: HashMap<ConnectionId, LinkId>,
    /// When the engine wants its next turn.
    turn_at: Option<u64>,
    /// When what is ready is told to the engine.
    poll_at: Option<u64>,
    /// Turns in which nothing happened and no time passed.
    idle_turns: u32,
}

impl World {
    pub(crate) fn new(seed: u64, start: u64, config: Config, oracle: Oracle) -> World {
        let network = Network::new(seed, start);
        let oracle = Rc::new(RefCell::new(oracle));
        let (epoch, now) = (oracle.borrow().epoch, oracle.borrow().clocks(start));
        let engine = server(&oracle, config).into_engine(Seed { epoch, jitter: seed }, now);
        World {
            engine,
            network: Rc::new(RefCell::new(network)),
            oracle,
            clients: Vec::new(),
            phase: Phase::Busy,
            listener: Listener::new(),
            resident: Resident::default(),
            slept_ms: 0,
            operator_ms: 0,
            links: HashMap::new(),
            turn_at: None,
            poll_at: None,
            idle_turns: 0,
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.network.borrow().now
    }

    /// The clocks.
    pub(crate) fn clocks(&self) -> Now {
        self.oracle.borrow().clocks(self.now())
    }

    /// Everything that happens in the next `delay_ms`, not counting what the machine sleeps.
    pub(crate) fn run_for(&mut self, delay_ms: u64) {
        let begun = self.now() - self.slept_ms;
        while let Some(next) = self.next_event()
            && next <= begun + self.slept_ms + delay_ms
        {
            self.step(next);
        }
        self.set_time(begun + self.slept_ms + delay_ms);
    }

    /// Everything that happens until the engine has no connections.
    pub(crate) fn run_until_empty(&mut self, limit_ms: u64) {
        let until = self.now() + limit_ms;
        while !self.engine.is_empty() || !self.listener.is_empty() || self.network.borrow().has_unaccepted() {
            let next = self.next_event().filter(|next| *next <= until);
            let Some(next) = next else { panic!("connections are left after {limit_ms} ms: {:?}", self.engine) };
            self.step(next);
        }
    }

    /// Who is in each channel, as somebody is answered who asks; `None` if nobody could.
    pub(crate) fn list(&mut self) -> Vec<Option<BTreeSet<String>>> {
        let channels = self.oracle.borrow().channels.len();
        self.oracle.borrow_mut().listed.retain(|(client, _), _| client.is_some());
        let link = {
            let mut network = self.network.borrow_mut();
            let speed = fast(&mut network.random);
            // Whoever it is does not take what comes on this link for its own.
            let link = network.connect(0, speed);
            network.send(link, b"GET /list HTTP/1.1\r\nHost: redpoll\r\n\r\n");
            link
        };
        self.run_for(1_500);
        self.network.borrow_mut().close(link);
        let oracle = self.oracle.borrow();
        (0..channels).map(|channel| oracle.listed.get(&(None, channel)).cloned()).collect()
    }

    /// The server begins to end.
    pub(crate) fn drain(&mut self) {
        self.oracle.borrow_mut().draining = true;
        for id in 0..self.clients.len() {
            if self.network.borrow_mut().random.one_in(4) {
                self.with_client(id, |client, scene| client.close_at_once(scene));
            }
        }
        self.engine.drain(self.clocks());
        self.turn();
    }

    fn next_event(&self) -> Option<u64> {
        let next = [self.turn_at, self.poll_at, self.network.borrow().next_wake()].into_iter().flatten().min();
        next.map(|next| next.max(self.now()))
    }

    pub(crate) fn set_time(&self, now: u64) {
        self.network.borrow_mut().now = now;
        self.oracle.borrow_mut().now = now;
    }

    fn step(&mut self, at: u64) {
        if at > self.now() {
            self.idle_turns = 0;
        }
        self.set_time(at);
        let mut touched = self.turn_at.is_some_and(|turn_at| turn_at <= at);
        loop {
            let wake = self.network.borrow_mut().take_due();
            let Some(wake) = wake else { break };
            touched |= self.handle(wake);
        }
        self.note_ready();
        if self.poll_at.is_some_and(|poll_at| poll_at <= at) {
            self.poll_at = None;
            self.tell_ready();
            touched = true;
        }
        if touched {
            self.turn();
        }
        self.note_ready();
    }

    /// Sees to it that what is ready is told, at once or a little later as a busy server would.
    fn note_ready(&mut self) {
        let mut network = self.network.borrow_mut();
        if self.poll_at.is_none() && network.has_ready() {
            let delay = network.random.pick(&[0, 0, 0, 1, 5, 20]);
            self.poll_at = Some(network.now + delay);
        }
    }

    /// Returns whether the engine was called.
    fn handle(&mut self, wake: Wake) -> bool {
        match wake {
            Wake::Accept(link) => {
                self.listener.arrive(link);
                self.accept();
            }
            Wake::Listen => {
                self.listener.waits = false;
                self.accept();
            }
            Wake::Trouble => self.befall(),
            Wake::Operator => self.publish_from_outside(),
            Wake::Up(link) => self.network.borrow_mut().up(link),
            Wake::Writable(link) => self.network.borrow_mut().room(link),
            Wake::Down(link) => {
                let arrival = self.network.borrow_mut().down(link);
                if let Some(arrival) = arrival {
                    self.arrive(link, arrival);
                }
            }
            Wake::Client(id) => self.with_client(id, |client, scene| client.act(scene)),
        }
        matches!(wake, Wake::Accept(_) | Wake::Listen | Wake::Operator)
    }

    fn arrive(&mut self, link: LinkId, arrival: Arrival) {
        let owner = self.network.borrow().links[link].owner;
        self.with_client(owner, |client, scene| client.receive(link, arrival, scene));
    }

    fn with_client(&mut self, id: usize, work: impl FnOnce(&mut Client, &mut Scene)) {
        let (mut network, mut oracle) = (self.network.borrow_mut(), self.oracle.borrow_mut());
        let mut scene = Scene { network: &mut network, oracle: &mut oracle, phase: self.phase };
        work(&mut self.clients[id], &mut scene);
    }

    /// All clients take notice that the phase is another.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        for id in 0..self.clients.len() {
            self.with_client(id, |client, scene| {
                if let (Phase::Quiet, Some(link)) = (phase, client.link()) {
                    scene.network.hurry(link);
                }
                client.hasten(scene);
            });
        }
    }

    /// Accepts who waits, as long as that can be.
    fn accept(&mut self) {
        loop {
            let accepted = self.listener.accept(&mut self.network.borrow_mut());
            match accepted {
                Accepted::Client(link) => self.welcome(link),
                Accepted::OneTooMany(link) => {
                    self.oracle.borrow_mut().note("no descriptor: 503");
                    self.refuse(SimStream { network: Rc::clone(&self.network), link });
                }
                Accepted::Aborted => self.oracle.borrow_mut().note("gone before it was accepted"),
                Accepted::Nobody => return,
                Accepted::Later => {
                    if !std::mem::replace(&mut self.listener.waits, true) {
                        self.oracle.borrow_mut().note("accepting is put off");
                        self.network.borrow_mut().wake_in(RETRY_MS, Wake::Listen);
                    }
                    return;
                }
            }
            self.listener.regain_reserve(&self.network.borrow());
        }
    }

    fn welcome(&mut self, link: LinkId) {
        let stream = SimStream { network: Rc::clone(&self.network), link };
        let owner = self.network.borrow().links[link].owner;
        let address = self.clients[owner].address();
        match self.engine.accept(stream, Some(address), self.clocks()) {
            Ok(id) => {
                log::debug!("link {link} is connection {}", id.0);
                self.links.insert(id, link);
                self.network.borrow_mut().accepted(link, id);
            }
            Err(stream) => {
                self.check_refusal(address);
                self.refuse(stream);
            }
        }
    }

    /// One write is all that a client gets for which there is no room, whatever becomes of it.
    fn refuse(&mut self, mut stream: SimStream) {
        let _ = std::io::Write::write(&mut stream, &self.engine.refusal());
        self.network.borrow_mut().refused(stream.link);
    }

    fn publish_from_outside(&mut self) {
        if self.phase != Phase::Busy || self.oracle.borrow().draining {
            return;
        }
        let count = if self.network.borrow_mut().random.one_in(50) { 400 } else { 1 };
        for _ in 0..count {
            let mut network = self.network.borrow_mut();
            let mut oracle = self.oracle.borrow_mut();
            let channel = network.random.index(oracle.channels.len());
            let name = oracle.channels[channel].name.clone();
            let payload = oracle.payload(&mut network.random, if count > 1 { 50 } else { usize::MAX });
            let message = match std::str::from_utf8(&payload.data) {
                Ok(text) if !payload.binary => Message::text_of(text),
                _ => Message::binary_of(&payload.data),
            };
            let now = oracle.clocks(network.now);
            drop(network);
            match self.engine.publish(&name, message, now) {
                Ok(published) => oracle.record(&payload, None, &published, false),
                Err(status) => self.check_unpublished(payload.data.len(), &status, &mut oracle),
            }
        }
        self.network.borrow_mut().wake_in(self.operator_ms, Wake::Operator);
    }

    /// Tells the engine what has become ready, and now and then what has not, or was told before.
    fn tell_ready(&mut self) {
        let mut network = self.network.borrow_mut();
        let mut batch = network.take_ready();
        let random = &mut network.random;
        if random.one_in(4)
            && let Some((id, readiness)) = batch.first().copied()
        {
            batch.push((id, readiness));
        }
        if random.one_in(8) {
            let readiness = Readiness { readable: random.one_in(2), writable: random.one_in(2), ended: false };
            batch.push((ConnectionId(random.below(40) as u32), readiness));
        }
        drop(network);
        for (id, readiness) in batch {
            let now = self.now();
            self.network.borrow_mut().trace.word(u64::from(id.0) << 8 | now << 16);
            self.engine.ready(id, readiness, self.clocks());
        }
    }

    pub(crate) fn turn(&mut self) {
        let now = self.now();
        let moved = self.network.borrow().moved;
        self.note_resident();
        let sleep = self.engine.turn(self.clocks());
        self.check_turn();
        self.turn_at = sleep.map(|sleep| now + sleep.as_millis() as u64);
        self.check_departures();
        while let Some(stream) = self.engine.take_closed() {
            let mut network = self.network.borrow_mut();
            network.trace.word(stream.link as u64);
            network.server_closed(stream.link);
        }
        self.network.borrow_mut().trace.word(self.turn_at.unwrap_or(0));
        let progress = self.network.borrow().moved > moved || sleep.is_none_or(|sleep| !sleep.is_zero());
        self.idle_turns = if progress { 0 } else { self.idle_turns + 1 };
        assert!(self.idle_turns < 1_000, "the engine spins: {:?}", self.engine);
    }

    /// What `disconnect` was told must be why the client went, and not less than what came to it.
    fn check_departures(&mut self) {
        let (endings, draining) = {
            let mut oracle = self.oracle.borrow_mut();
            (std::mem::take(&mut oracle.endings), oracle.draining)
        };
        for ending in endings {
            let link = self.links[&ending.connection];
            let owner = self.network.borrow().links[link].owner;
            if let Client::Subscriber(subscriber) = &mut self.clients[owner] {
                let shaken = self.oracle.borrow().is_shaken(subscriber.came_at());
                subscriber.check_ending(link, &ending, draining, shaken);
            }
        }
        for Departure { connection, channel, cursor } in std::mem::take(&mut self.oracle.borrow_mut().departures) {
            let link = self.links[&connection];
            let owner = self.network.borrow().links[link].owner;
            if let Client::Subscriber(subscriber) = &self.clients[owner] {
                subscriber.check_departure(link, channel, cursor.offset);
            }
        }
    }
}

/// How long the server waits before it asks again for clients that it could not accept.
const RETRY_MS: u64 = 100;

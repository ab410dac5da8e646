//! What befalls the server's machine, and what must be true of the server's limits all the time.

use std::net::SocketAddr;

use redpoll::{Message, Metrics, Status};

use crate::clients::Phase;
use crate::network::{Link, Wake};
use crate::oracle::Oracle;
use crate::world::World;

/// What the process takes, where there is a budget.
#[derive(Default)]
pub(crate) struct Resident {
    bytes: usize,
    /// Beyond what is held: the heap is in pieces.
    pieces: usize,
    noted_at: u64,
    /// The metrics after the turn before.
    shown: Metrics,
    /// Whether more was held at the end of the last turn than leaves anything to be given out.
    is_short: bool,
}

#[derive(Clone, Copy)]
enum Trouble {
    Wall,
    Sleep,
    Descriptors,
    Pieces,
}

impl World {
    /// One of the troubles of this story.
    pub(crate) fn befall(&mut self) {
        if self.phase != Phase::Busy {
            return self.recover();
        }
        let troubles = self.oracle.borrow().troubles;
        let all = [
            (troubles.wall, Trouble::Wall),
            (troubles.sleep, Trouble::Sleep),
            (troubles.descriptors, Trouble::Descriptors),
            (troubles.resident, Trouble::Pieces),
        ];
        let possible: Vec<Trouble> = all.into_iter().filter(|(on, _)| *on).map(|(_, trouble)| trouble).collect();
        if possible.is_empty() {
            return;
        }
        let trouble = self.network.borrow_mut().random.pick(&possible);
        match trouble {
            Trouble::Wall => {
                let skew_ms = self.network.borrow_mut().random.pick(&SKEWS_MS);
                self.oracle.borrow_mut().jump(skew_ms);
            }
            Trouble::Sleep => {
                let sleep_ms = self.network.borrow_mut().random.pick(&SLEEPS_MS);
                self.sleep(sleep_ms);
            }
            Trouble::Descriptors => {
                let most = self.network.borrow_mut().random.pick(&[0, 1, 3, 8, 20, usize::MAX]);
                self.listener.descriptors = most;
            }
            Trouble::Pieces => self.resident.pieces = self.network.borrow_mut().random.pick(&[0, 500_000, 3_000_000]),
        }
        let next = self.network.borrow_mut().random.below(5_000);
        self.network.borrow_mut().wake_in(next, Wake::Trouble);
    }

    /// There is enough of everything again.
    pub(crate) fn recover(&mut self) {
        (self.listener.descriptors, self.listener.fails, self.resident.pieces) = (usize::MAX, false, 0);
    }

    /// The clocks go on, and nothing else does.
    pub(crate) fn sleep(&mut self, sleep_ms: u64) {
        self.slept_ms += sleep_ms;
        self.set_time(self.now() + sleep_ms);
        let mut oracle = self.oracle.borrow_mut();
        oracle.slept_at = oracle.now;
        oracle.note("the machine sleeps");
    }

    /// Tells the engine what the process takes: the heap gives back slowly, and not all.
    pub(crate) fn note_resident(&mut self) {
        let now = self.now();
        if !self.oracle.borrow().troubles.resident || self.resident.noted_at == now {
            return;
        }
        let held = held(&self.engine.metrics());
        let resident = &mut self.resident;
        let needed = OWN_BYTES + held + held / 16 + resident.pieces;
        resident.bytes = needed.max(resident.bytes - resident.bytes / 64);
        resident.noted_at = now;
        self.engine.note_resident(resident.bytes);
    }

    /// When everyone has gone, the server takes everything again.
    pub(crate) fn check_recovery(&mut self) {
        // By now the heap has been given back.
        self.resident.bytes = 0;
        self.run_for(1);
        self.turn();
        let metrics = self.engine.metrics();
        let name = self.oracle.borrow().channels[0].name.clone();
        let published = self.engine.publish(&name, Message::text_of(&"x".repeat(60_000)), self.clocks());
        let full = metrics.channels >= self.oracle.borrow().config.channels_max;
        assert!(published.is_ok() || full, "{published:?}, and all that is held is {metrics:?}");
        self.turn();
    }

    /// What must be true after every turn.
    pub(crate) fn check_turn(&mut self) {
        let after = self.engine.metrics();
        let mut oracle = self.oracle.borrow_mut();
        let config = &oracle.config;
        assert!(after.connections <= config.connections_max, "{} connections", after.connections);
        assert!(after.subscriptions <= config.subscriptions_max * after.connections, "{after:?}");
        if !oracle.has_budget() {
            return;
        }
        let (held, budget) = (held(&after), config.memory_bytes_max);
        assert!(held <= budget, "{held} bytes are held, and {budget} allowed");
        self.resident.is_short = held > budget - budget / 8;
        let shed = Shed::between(&std::mem::replace(&mut self.resident.shown, after.clone()), &after);
        if shed.history + shed.unheard > 0 {
            oracle.shed_at = Some(oracle.now);
        }
        shed.note(&mut oracle);
    }

    /// Nobody is refused for no reason.
    pub(crate) fn check_refusal(&self, address: SocketAddr) {
        let (metrics, mut oracle) = (self.engine.metrics(), self.oracle.borrow_mut());
        let network = self.network.borrow();
        let open = |link: &&Link| link.is_open() && self.clients[link.owner].address().ip() == address.ip();
        let config = &oracle.config;
        let of_address = config.address_connections_max.map(|most| (network.links.iter().filter(open).count(), most));
        let what = match of_address {
            _ if oracle.draining => "refused: draining",
            // Those too that have ended in this turn: their descriptors are still open.
            _ if network.open >= config.connections_max => "refused: connections",
            Some((count, most)) if count >= most as usize => "refused: connections of its address",
            _ if self.resident.is_short || oracle.troubles.resident => "refused: memory",
            _ => panic!("a connection is refused for no reason: {metrics:?}"),
        };
        oracle.note(what);
    }

    /// No publication is refused for no reason.
    pub(crate) fn check_unpublished(&self, bytes: usize, status: &Status, oracle: &mut Oracle) {
        assert_eq!(status.code(), 503, "{status}");
        let (metrics, config) = (self.engine.metrics(), &oracle.config);
        let spent = held(&metrics) + bytes + SMALL_BYTES > config.memory_bytes_max || oracle.troubles.resident;
        assert!(metrics.channels >= config.channels_max || oracle.has_budget() && spent, "{status}: {metrics:?}");
        oracle.note("a publication is refused");
    }
}

/// How often each step has shed something.
struct Shed {
    readers: u64,
    history: u64,
    unheard: u64,
    unfinished: u64,
}

impl Shed {
    fn between(before: &Metrics, after: &Metrics) -> Shed {
        Shed {
            readers: after.shed_readers - before.shed_readers,
            history: after.shed_history - before.shed_history,
            unheard: after.shed_unheard - before.shed_unheard,
            unfinished: after.shed_requests + after.shed_messages - before.shed_requests - before.shed_messages,
        }
    }

    fn note(&self, oracle: &mut Oracle) {
        let Shed { readers, history, unheard, unfinished } = *self;
        let steps = [(readers, "readers"), (history, "history"), (unheard, "unheard"), (unfinished, "unfinished")];
        steps.into_iter().filter(|(count, _)| *count > 0).for_each(|(_, what)| oracle.note(what));
    }
}

/// Everything that is held for clients and channels.
pub(crate) fn held(metrics: &Metrics) -> usize {
    metrics.client_bytes + metrics.channel_bytes + metrics.table_bytes
}

/// Seconds, hours, years; and back to 1970.
const SKEWS_MS: [i64; 8] = [0, 1_500, -1_500, 7_200_000, -7_200_000, 40_000_000_000, -40_000_000_000, i64::MIN];
/// From what everybody survives to more than any limit of time, and no further than a timer can be set.
const SLEEPS_MS: [u64; 5] = [900, 20_000, 400_000, 10 * 3_600_000, 90 * 24 * 3_600_000];
/// What the process takes that holds nothing.
const OWN_BYTES: usize = 2_500_000;
/// What a publication costs besides its payload.
const SMALL_BYTES: usize = 2_000;

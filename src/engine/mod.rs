//! The engine: owns every connection, the hub and the timers, and defines what one turn is.
//!
//! It names no socket and no clock. A stream is anything that can be read, written and shut down without
//! blocking; time is an argument. The server plugs in sockets and a poll; tests plug in a simulated network.

mod budget;
mod deliver;
mod io;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Config, Limit, RECEIVE_BYTES};
use crate::connection::{
    Addresses, ClientAddress, Connection, ConnectionId, Expiries, PollBody, Rates, State, Taps, Visit, World,
    refusal_of_connection, too_many,
};
use crate::consumer::{Message, Reason};
use crate::hub::{Draft, Hub, LIST_BYTES, Published, SUBSCRIPTION_BYTES, SubscriptionId};
use crate::metrics::Metrics;
use crate::pages::Table;
use crate::router::Router;
use crate::time::Now;
use crate::timer::{TIMER_BYTES, Wheel};
use crate::wire::content::Framing;
use crate::wire::deflate::Inflater;
use crate::wire::form::{check_channel_name, check_event_name};
use crate::wire::response::DateField;
use crate::wire::status::Status;

/// A stream that does not block: what the engine needs of a socket.
///
/// A read that fills less than its buffer means that nothing more has arrived, a write that takes less than it was
/// given that the stream is full. Either is followed by a call of [`Engine::ready`] when that has changed, as
/// edge-triggered polling does it, so the engine never asks twice.
/// Only the end is looked for: an edge that tells of bytes and the end at once is not followed by another.
pub trait Stream: std::io::Read + std::io::Write {
    /// Ends the writing side: the peer reads everything, then the end.
    fn shutdown(&mut self) -> std::io::Result<()>;
}

/// What has become possible with a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, the end or an error can be read.
    pub readable: bool,
    /// Bytes can be written, or an error would be met.
    pub writable: bool,
    /// The peer has ended its side, or the stream is broken. Said once, as it happens: with the last bytes, it may be.
    pub ended: bool,
}

/// Randomness from the operating system, which the engine cannot ask.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// The epoch of every position this engine gives out.
    pub epoch: u32,
    /// For jitter.
    pub jitter: u64,
}

/// The waist between the operating system and everything that Redpoll is.
pub struct Engine<S: Stream> {
    slots: Table<Slot<S>>,
    world: World,
    /// Lent to one connection at a time.
    receive_buffer: Box<[u8]>,
    /// Streams that are done with.
    closed: Vec<S>,
    /// Numbers of closed connections: used again only after the turn, since readiness that was reported
    /// before the close may still come.
    leaving: Vec<ConnectionId>,
    expired: Vec<u32>,
    /// Whether the last connection that was not accepted was one too many for its address.
    address_is_full: bool,
    /// The members that are being delivered to.
    run: Vec<SubscriptionId>,
    /// Memory is being shed.
    sheds: bool,
}

/// One connection with its stream.
struct Slot<S> {
    stream: S,
    /// The peer has ended its side: the stream is read up to its end, since nothing will call for that again.
    ended: bool,
    connection: Connection,
}

/// DESIGN: with a socket of four bytes.
const SLOT_BYTES: usize = size_of::<Option<Slot<u32>>>();
const _: () = assert!(SLOT_BYTES == 48);

/// What a connection costs that does and holds nothing: its slot, its timer, the head of its list of subscriptions.
const CONNECTION_BYTES: usize = SLOT_BYTES + TIMER_BYTES + LIST_BYTES;
const _: () = assert!(CONNECTION_BYTES + SUBSCRIPTION_BYTES == 104, "an idle subscribed connection");

impl<S: Stream> Engine<S> {
    pub(crate) fn new(mut router: Router, config: Config, seed: Seed, now: Now) -> Engine<S> {
        let world = World {
            hub: Hub::new(seed.epoch, now.tick(), &config),
            wheel: Wheel::new(now.tick()),
            expiries: Expiries::new(),
            reports: std::mem::take(&mut router.reports),
            router: router.into(),
            config,
            now,
            begun_ms: now.monotonic_ms,
            date: DateField::default(),
            output: Vec::new(),
            marks: Vec::new(),
            poll_body: PollBody::default(),
            inflater: Inflater::default(),
            inflated: Vec::new(),
            unread: Vec::new(),
            behind: Vec::new(),
            ended: Vec::new(),
            addresses: Addresses::new(),
            rates: Rates::new(),
            taps: Taps::default(),
            congested: None,
            draining: false,
            counters: Metrics::default(),
            connections: 0,
            transports: [0; 3],
            random: seed.jitter | 1,
        };
        let receive_buffer = vec![0; RECEIVE_BYTES].into();
        Engine {
            slots: Table::new(),
            world,
            receive_buffer,
            closed: Vec::new(),
            leaving: Vec::new(),
            expired: Vec::new(),
            address_is_full: false,
            run: Vec::new(),
            sheds: false,
        }
    }

    /// Takes a new connection, or gives the stream back if there are too many or the server is ending; the caller then
    /// writes [`Engine::refusal`] to it and drops it.
    pub fn accept(&mut self, stream: S, peer: Option<SocketAddr>, now: Now) -> Result<ConnectionId, S> {
        self.wake(now);
        self.address_is_full = false;
        let spent = self.world.hub.memory.is_exhausted();
        if self.slots.len() >= self.world.config.connections_max || self.world.draining || spent {
            match spent {
                true => self.world.counters.shed_connections += 1,
                false => self.world.counters.reach(Limit::Connections),
            }
            return Err(stream);
        }
        let client = self.client_at(peer);
        if !self.world.addresses.has_room(client, self.world.config.address_connections_max) {
            self.world.counters.reach(Limit::AddressConnections);
            self.address_is_full = true;
            return Err(stream);
        }
        let id = ConnectionId(self.slots.insert(Slot { stream, ended: false, connection: Connection::new() }));
        self.world.addresses.enter(id, client);
        self.world.connections += 1;
        self.world.hub.memory.client_bytes += CONNECTION_BYTES;
        self.world.counters.accepted += 1;
        self.world.schedule(id, self.world.config.keep_alive_ms);
        log::debug!("{}: accepted{}", id.0, peer.map_or(String::new(), |peer| format!(" from {peer}")));
        Ok(id)
    }

    /// Whom a new connection is counted for: nobody, where nobody asks, and where it is a proxy's.
    fn client_at(&self, peer: Option<SocketAddr>) -> ClientAddress {
        let config = &self.world.config;
        let counted = config.address_connections_max.is_some() && config.trusted_hops == 0;
        peer.filter(|_| counted).map_or(ClientAddress::default(), |peer| peer.ip().into())
    }

    /// The answer to the connection that has just not been accepted: 503 with `Retry-After`.
    pub fn refusal(&self) -> Vec<u8> {
        let config = &self.world.config;
        refusal_of_connection(match config.address_connections_max {
            Some(limit) if self.address_is_full => too_many(limit),
            _ if self.world.hub.memory.is_exhausted() => self.world.hub.memory.refusal_detail(),
            _ => format!("{} connections are open and --max-connections allows no more", config.connections_max),
        })
    }

    /// The same where the operating system does not let the connection be kept.
    pub(crate) fn refuse_for_descriptors(&mut self) -> Vec<u8> {
        self.world.counters.reach(Limit::Descriptors);
        refusal_of_connection("the server may open no more descriptors: see ulimit -n".to_owned())
    }

    /// A connection's stream can be read or written, or its peer has closed. Nothing happens if it has been closed
    /// meanwhile.
    pub fn ready(&mut self, id: ConnectionId, readiness: Readiness, now: Now) {
        self.world.now = now;
        if readiness.writable {
            self.flush(id);
        }
        if readiness.readable || readiness.ended {
            if let Some(slot) = self.slots.get_mut(id.0) {
                slot.ended |= readiness.ended;
            }
            self.read(id);
        }
    }

    /// Publishes from outside any connection.
    ///
    /// # Errors
    /// 400 for a channel or event name that is not allowed, 413 for a message that is too long, 503 for a channel too
    /// many.
    pub fn publish(&mut self, channel: &str, message: Message, now: Now) -> Result<Published, Status> {
        self.wake(now);
        let draft = Draft { data: message.data(), binary: message.is_binary(), event: message.event(), key: None };
        check_channel_name(channel)?;
        draft.event.map_or(Ok(()), check_event_name)?;
        Framing::Length(draft.data.len() as u64).check(self.world.config.message_bytes_max)?;
        self.world.hub.publish(channel, draft, now, &self.world.config)
    }

    /// Ends a turn: reads what was left unread, fires timers, delivers what was published, recycles the numbers of
    /// closed connections. Returns how long the caller may sleep; `None` is until something happens.
    pub fn turn(&mut self, now: Now) -> Option<Duration> {
        self.world.now = now;
        self.read_unread();
        self.fire_timers();
        self.end_polls();
        self.world.hub.tell_presence(now, &self.world.config);
        let next_report = self.world.publish_reports();
        self.deliver_behind();
        self.deliver_dirty();
        self.world.sweep_rates();
        self.world.sweep_taps();
        let next = self.world.hub.expire(now, &self.world.config);
        self.world.poll_body.shrink();
        self.keep_budget();
        self.settle_overdraft();
        // Those too that were shed, so that others may come in their place at once.
        for id in self.leaving.drain(..) {
            self.slots.recycle(id.0);
        }
        let world = &self.world;
        if world.hub.is_dirty() || ![&world.unread, &world.behind, &world.ended].iter().all(|list| list.is_empty()) {
            return Some(Duration::ZERO);
        }
        let deadlines = [next, world.wheel.next(), world.hub.next_presence()];
        let waits = deadlines.into_iter().flatten().map(|tick| now.until_ms(tick));
        let until_report = next_report.map(|at_ms| at_ms.saturating_sub(now.monotonic_ms));
        waits.chain(until_report).min().map(Duration::from_millis)
    }

    /// A stream that the engine is done with, to be deregistered and dropped; to be called until there is none.
    pub fn take_closed(&mut self) -> Option<S> {
        self.closed.pop()
    }

    /// Begins to end: polls are answered, event streams ended, WebSockets closed with 1001, and what is new is refused.
    pub fn drain(&mut self, now: Now) {
        self.world.now = now;
        self.world.draining = true;
        let ids: Vec<u32> = self.slots.numbers().collect();
        for id in ids {
            self.visit(ConnectionId(id), |visit| visit.drain());
        }
    }

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> Metrics {
        self.world.metrics()
    }

    /// Deliveries since the start: see [`Metrics::deliveries`].
    pub fn deliveries(&self) -> u64 {
        self.world.counters.deliveries
    }

    /// Whether a turn has ended before everything was offered to everyone.
    pub fn is_delivering(&self) -> bool {
        self.world.hub.is_dirty()
    }

    /// Notes how long a delivery took, which the engine has no clock for.
    pub fn note_delivery(&mut self, took: Duration) {
        self.world.counters.delivery.note(took.as_micros() as u64);
    }

    /// Timers that run: one a connection.
    pub fn timers(&self) -> usize {
        self.world.wheel.len()
    }

    /// Gives a connection's stream to who knows what it is; `None` if the connection has been closed.
    pub(crate) fn with_stream<R>(&mut self, id: ConnectionId, work: impl FnOnce(&mut S) -> R) -> Option<R> {
        self.slots.get_mut(id.0).map(|slot| work(&mut slot.stream))
    }

    /// Ends a connection that its stream's owner cannot serve.
    pub(crate) fn abandon(&mut self, id: ConnectionId) {
        self.visit(id, |visit| visit.drop_for(Reason::PeerGone));
    }

    /// Somebody is there again, after however long a time: without timers no turn need have passed meanwhile.
    fn wake(&mut self, now: Now) {
        self.world.now = now;
        self.world.wheel.begin(now.tick());
        self.world.hub.begin(now.tick());
    }

    fn fire_timers(&mut self) {
        let mut expired = std::mem::take(&mut self.expired);
        self.world.wheel.advance(self.world.now.tick(), &mut expired);
        for id in expired.drain(..) {
            self.visit(ConnectionId(id), |visit| visit.expire());
        }
        self.expired = expired;
    }

    fn end_polls(&mut self) {
        for id in std::mem::take(&mut self.world.ended) {
            self.visit(id, |visit| visit.end_poll());
        }
    }

    /// Serves one connection, writes what it then has to say, and removes it if it is gone.
    fn visit(&mut self, id: ConnectionId, serve: impl FnOnce(&mut Visit)) {
        self.on_slot(id, |slot, world| {
            serve(&mut Visit { id, connection: &mut slot.connection, world });
            io::settle(id, slot, world);
        });
    }

    /// Does something with a connection, keeps count of what it holds, and removes it if it is gone.
    fn on_slot<R>(&mut self, id: ConnectionId, work: impl FnOnce(&mut Slot<S>, &mut World) -> R) -> Option<R> {
        let slot = self.slots.get_mut(id.0)?;
        let before = slot.connection.held_bytes();
        let result = work(slot, &mut self.world);
        let (after, gone) = (slot.connection.held_bytes(), matches!(slot.connection.state, State::Gone));
        self.account(id, before, after, gone);
        Some(result)
    }

    fn account(&mut self, id: ConnectionId, before: usize, after: usize, gone: bool) {
        let memory = &mut self.world.hub.memory;
        memory.client_bytes = memory.client_bytes + after - before;
        if gone {
            self.remove(id);
        } else if after > before && memory.is_overdrawn() {
            self.make_room_for(id);
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(mut slot) = self.slots.take(id.0) else { return };
        Visit { id, connection: &mut slot.connection, world: &mut self.world }.drop_for(Reason::PeerGone);
        self.world.wheel.cancel(id.0);
        self.world.addresses.leave(id);
        self.world.forget_rate(id);
        self.world.connections -= 1;
        self.world.hub.memory.client_bytes -= CONNECTION_BYTES + slot.connection.held_bytes();
        self.leaving.push(id);
        self.closed.push(slot.stream);
        log::debug!("{}: closed", id.0);
    }
}

impl<S: Stream> std::fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

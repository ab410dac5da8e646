//! What all connections share.

use std::rc::Rc;

use super::addresses::Addresses;
use super::backlog::Mark;
use super::expiry::Expiries;
use super::poll::PollBody;
use super::rate::Rates;
use super::report::Report;
use super::tap::Taps;
use crate::config::{Config, Limit};
use crate::hub::{ChannelId, ConnectionId, Hub, SubscriptionId};
use crate::metrics::Metrics;
use crate::router::Router;
use crate::time::Now;
use crate::timer::Wheel;
use crate::wire::deflate::Inflater;
use crate::wire::response::DateField;

/// The hub, the timers, the clock, and what the connection being served leaves for the engine to do.
pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) wheel: Wheel,
    pub(crate) expiries: Expiries,
    pub(crate) router: Rc<Router>,
    pub(crate) config: Config,
    pub(crate) now: Now,
    /// When all this began.
    pub(crate) begun_ms: u64,
    pub(crate) date: DateField,
    /// What the connection being served has to say. Written when it has been served, then empty.
    pub(crate) output: Vec<u8>,
    /// The cursors that were moved for what is in `output`, in its order.
    pub(crate) marks: Vec<Mark>,
    /// The body that polls at the same cursor share.
    pub(crate) poll_body: PollBody,
    /// Of all connections: no message depends on the one before.
    pub(crate) inflater: Inflater,
    /// The message that was inflated last; empty between two.
    pub(crate) inflated: Vec<u8>,
    /// Connections with input that is to be looked at in the next turn.
    pub(crate) unread: Vec<ConnectionId>,
    /// Connections that may have something to be delivered, besides the members of dirty channels.
    pub(crate) behind: Vec<ConnectionId>,
    /// Polls that a consumer has ended.
    pub(crate) ended: Vec<ConnectionId>,
    /// How many connections each client has, where that is limited.
    pub(crate) addresses: Addresses,
    /// How fast each has published of late, where that is limited.
    pub(crate) rates: Rates,
    /// What goes over the wire of those whose clients want to see it.
    pub(crate) taps: Taps,
    /// What the server says of itself, in the order of the routes.
    pub(crate) reports: Vec<Report>,
    /// A channel that the connection being served has filled faster than it is delivered.
    pub(crate) congested: Option<ChannelId>,
    pub(crate) draining: bool,
    /// Counters; the gauges are filled in by [`World::metrics`].
    pub(crate) counters: Metrics,
    /// Connections now.
    pub(crate) connections: usize,
    /// Subscribers by transport.
    pub(crate) transports: [usize; 3],
    /// The state of a small random generator, for jitter.
    pub(crate) random: u64,
}

impl World {
    /// Notes that a connection may have something to be delivered; once, where it subscribes to many channels in a row.
    pub(crate) fn note_behind(&mut self, id: ConnectionId) {
        if self.behind.last() != Some(&id) {
            self.behind.push(id);
        }
    }

    /// Gives back what tables take for connections whose numbers are `end` or higher: there are none any more.
    pub(crate) fn shrink_tables(&mut self, end: usize) {
        self.wheel.shrink(end);
        self.expiries.shrink(end);
        self.addresses.shrink(end);
        self.hub.shrink_tables(end);
    }

    /// What the limits of each client take, where they are set, and what is recorded of clients.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.addresses.held_bytes() + self.rates.held_bytes() + self.taps.held_bytes()
    }

    /// Counters and gauges together.
    pub(crate) fn metrics(&self) -> Metrics {
        let hub = self.hub.counts();
        let mut limits = self.counters.limits;
        limits[Limit::IdempotencyKeys as usize] = hub.crowded_out;
        Metrics {
            connections: self.connections,
            transports: self.transports,
            limits,
            published: hub.published,
            encodings: hub.encodings,
            channels: hub.channels,
            subscriptions: hub.subscriptions,
            members: hub.members,
            observers: hub.observers,
            client_bytes: self.hub.memory.client_bytes + self.limit_bytes(),
            channel_bytes: self.hub.memory.channel_bytes,
            shed_publications: self.hub.memory.refused(),
            table_bytes: self.hub.memory.table_bytes,
            resident_bytes: self.hub.memory.resident_bytes,
            memory_bytes_max: self.config.memory_bytes_max,
            uptime_ms: self.now.monotonic_ms.saturating_sub(self.begun_ms),
            ..self.counters.clone()
        }
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, subscription: SubscriptionId) {
        self.hub.unsubscribe(subscription, self.now, &self.config);
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn leave(&mut self, id: ConnectionId) {
        self.hub.leave(id, self.now, &self.config);
    }

    /// Sets a connection's timer, or to when it must end if that is sooner.
    pub(crate) fn schedule(&mut self, id: ConnectionId, delay_ms: u64) {
        let delay_ms = self.before_expiry(id, delay_ms);
        self.wheel.schedule(id.0, self.now.tick_in(delay_ms));
    }

    /// Moves a subscription's cursor on, for what the output now ends with.
    pub(crate) fn mark(&mut self, subscription: SubscriptionId, after: u64) {
        let before = self.hub.subscription(subscription).cursor;
        self.hub.set_cursor(subscription, after);
        self.marks.push(Mark { end: self.output.len(), subscription, before, after });
    }

    /// Remembers that whoever has just published to `channel` must wait, if that is so.
    pub(crate) fn note_congestion(&mut self, channel: &str) {
        let congested = |id: &ChannelId| self.hub.is_congested(*id, &self.config);
        self.congested = self.hub.channel_id(channel).filter(congested).or(self.congested);
    }

    /// A number from 0 to `below` - 1 (xorshift64, Marsaglia 2003): good enough to spread reconnections.
    pub(crate) fn jitter(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }
}

//! Subscriptions: cursors into channels, listed by channel and by connection.

use super::delivery::Batch;
use crate::pages::{Pages, Table};

/// The one number by which a connection is known everywhere: its slot in the engine, its token in the poll, its
/// timer, and who subscribes. It is used again after the connection has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A channel's place in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelId(pub(crate) u32);

/// A subscription's place in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionId(pub(crate) u32);

/// How a subscriber is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 6455.
    WebSocket,
    /// Server-Sent Events (WHATWG HTML §9.2).
    EventStream,
    /// A poll that waits (RFC 6202 §2).
    LongPoll,
}

impl Transport {
    /// All of them, in the order of their counts.
    pub const ALL: [Transport; 3] = [Transport::WebSocket, Transport::EventStream, Transport::LongPoll];

    /// The name used in JSON and metrics.
    pub fn name(self) -> &'static str {
        ["websocket", "event_stream", "long_poll"][self as usize]
    }
}

/// One connection's cursor into one channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The offset of the last publication that the subscriber has.
    pub(crate) cursor: u64,
    pub(crate) connection: ConnectionId,
    pub(crate) channel: ChannelId,
    /// The connection's subscriptions are a ring, in the order of subscribing.
    previous: u32,
    next: u32,
    /// Where it stands in its channel's list of members.
    pub(super) member: u32,
    pub(crate) transport: Transport,
}

const _: () = assert!(size_of::<Option<Subscription>>() == 32);

impl Subscription {
    /// Whether a batch is what it lacks, all of it.
    pub(crate) fn is_at(&self, batch: &Batch) -> bool {
        self.cursor == batch.cursor && self.channel == batch.channel && batch.is_all()
    }

    /// Whether its connection has no other: its ring is itself. `id` is its own.
    pub(crate) fn is_only(&self, id: SubscriptionId) -> bool {
        self.next == id.0
    }
}

const NONE: u32 = u32::MAX;

/// All subscriptions.
#[derive(Debug)]
pub(super) struct Subscriptions {
    table: Table<Subscription>,
    /// For each connection its last subscription, whose `next` is its first.
    last: Pages<Last>,
}

#[derive(Debug)]
struct Last(u32);

/// What each connection's list of subscriptions costs while it is empty.
pub(crate) const LIST_BYTES: usize = size_of::<Last>();

impl Default for Last {
    fn default() -> Last {
        Last(NONE)
    }
}

impl Subscriptions {
    pub(super) const fn new() -> Subscriptions {
        Subscriptions { table: Table::new(), last: Pages::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.table.get(id.0)
    }

    pub(super) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.table.get_mut(id.0)
    }

    pub(super) fn at(&self, id: SubscriptionId) -> &Subscription {
        &self.table[id.0]
    }

    pub(super) fn at_mut(&mut self, id: SubscriptionId) -> &mut Subscription {
        &mut self.table[id.0]
    }

    /// Appends a subscription to its connection's list.
    pub(super) fn insert(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        member: u32,
        cursor: u64,
        transport: Transport,
    ) -> SubscriptionId {
        let id = self.table.insert(Subscription {
            cursor,
            connection,
            channel,
            previous: NONE,
            next: NONE,
            member,
            transport,
        });
        self.last.reach(connection.0);
        let last = std::mem::replace(&mut self.last[connection.0], Last(id)).0;
        let (previous, next) = if last == NONE { (id, id) } else { (last, self.table[last].next) };
        self.table[previous].next = id;
        self.table[next].previous = id;
        self.table[id].previous = previous;
        self.table[id].next = next;
        SubscriptionId(id)
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let gone = self.table.remove(id.0)?;
        let last = &mut self.last[gone.connection.0];
        if gone.next == id.0 {
            last.0 = NONE;
            return Some(gone);
        }
        if last.0 == id.0 {
            last.0 = gone.previous;
        }
        self.table[gone.previous].next = gone.next;
        self.table[gone.next].previous = gone.previous;
        Some(gone)
    }

    /// The connection's first subscription.
    pub(super) fn first(&self, connection: ConnectionId) -> Option<SubscriptionId> {
        if connection.0 as usize >= self.last.len() {
            return None;
        }
        let last = self.last[connection.0].0;
        (last != NONE).then(|| SubscriptionId(self.table[last].next))
    }

    /// The one that the same connection made after this one.
    pub(super) fn after(&self, id: SubscriptionId) -> Option<SubscriptionId> {
        let subscription = &self.table[id.0];
        (self.last[subscription.connection.0].0 != id.0).then_some(SubscriptionId(subscription.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(subscriptions: &Subscriptions, connection: ConnectionId) -> Vec<u32> {
        let mut found = Vec::new();
        let mut next = subscriptions.first(connection);
        while let Some(id) = next {
            found.push(subscriptions.at(id).channel.0);
            next = subscriptions.after(id);
        }
        found
    }

    #[test]
    fn a_connection_lists_its_subscriptions_in_the_order_of_subscribing() {
        let mut subscriptions = Subscriptions::new();
        let (ann, bob) = (ConnectionId(3), ConnectionId(700));
        let ids: Vec<_> = (0..5)
            .map(|c| subscriptions.insert(if c == 2 { bob } else { ann }, ChannelId(c), 0, 0, Transport::WebSocket))
            .collect();
        assert_eq!(list(&subscriptions, ann), [0, 1, 3, 4]);
        for (gone, left) in [(4, vec![0, 1, 3]), (0, vec![1, 3]), (3, vec![1]), (1, vec![])] {
            subscriptions.remove(ids[gone]);
            assert_eq!(list(&subscriptions, ann), left);
        }
        assert_eq!(list(&subscriptions, bob), [2]);
        assert!(list(&subscriptions, ConnectionId(9_999)).is_empty());
    }
}

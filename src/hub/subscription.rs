//! Subscriptions: cursors into channels, listed by channel and by connection.

use super::delivery::Batch;
use crate::pages::{Pages, Table};

/// The one number by which a connection is known everywhere: its slot in the engine, its token in the poll, its
/// timer, and who subscribes. It is used again after the connection has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A channel's place in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The word for it in presence, where polls of both kinds are one: who polls may do now this, now that.
    pub fn word(self) -> &'static str {
        ["ws", "sse", "poll"][self as usize]
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
    lists: Pages<List>,
}

/// One connection's subscriptions.
#[derive(Debug)]
struct List {
    /// The last of them, whose `next` is the first.
    last: u32,
    count: u32,
}

/// What each connection's list of subscriptions costs while it is empty.
pub(crate) const LIST_BYTES: usize = size_of::<List>();

impl Default for List {
    fn default() -> List {
        List { last: NONE, count: 0 }
    }
}

impl Subscriptions {
    pub(super) const fn new() -> Subscriptions {
        Subscriptions { table: Table::new(), lists: Pages::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Gives back the lists of connections whose numbers are `end` or higher, all of which are empty.
    pub(super) fn shrink(&mut self, end: usize) {
        self.lists.shrink(end);
    }

    /// What the tables take beyond the subscriptions and the lists of `connections`.
    pub(super) fn spare_bytes(&self, connections: usize) -> usize {
        self.table.spare_bytes() + self.lists.held_bytes().saturating_sub(connections * LIST_BYTES)
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
        self.lists.reach(connection.0);
        let list = &mut self.lists[connection.0];
        list.count += 1;
        let last = std::mem::replace(&mut list.last, id);
        let (previous, next) = if last == NONE { (id, id) } else { (last, self.table[last].next) };
        self.table[previous].next = id;
        self.table[next].previous = id;
        self.table[id].previous = previous;
        self.table[id].next = next;
        SubscriptionId(id)
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let gone = self.table.remove(id.0)?;
        let list = &mut self.lists[gone.connection.0];
        list.count -= 1;
        if list.count == 0 {
            list.last = NONE;
            return Some(gone);
        }
        if list.last == id.0 {
            list.last = gone.previous;
        }
        self.table[gone.previous].next = gone.next;
        self.table[gone.next].previous = gone.previous;
        Some(gone)
    }

    /// The connection's first subscription.
    pub(super) fn first(&self, connection: ConnectionId) -> Option<SubscriptionId> {
        let last = self.list(connection)?.last;
        (last != NONE).then(|| SubscriptionId(self.table[last].next))
    }

    /// How many the connection has.
    pub(super) fn count(&self, connection: ConnectionId) -> usize {
        self.list(connection).map_or(0, |list| list.count as usize)
    }

    fn list(&self, connection: ConnectionId) -> Option<&List> {
        ((connection.0 as usize) < self.lists.len()).then(|| &self.lists[connection.0])
    }

    /// The one that the same connection made after this one.
    pub(super) fn after(&self, id: SubscriptionId) -> Option<SubscriptionId> {
        let subscription = &self.table[id.0];
        (self.lists[subscription.connection.0].last != id.0).then_some(SubscriptionId(subscription.next))
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
        assert_eq!([ann, bob, ConnectionId(9_999)].map(|of| subscriptions.count(of)), [4, 1, 0]);
        for (gone, left) in [(4, vec![0, 1, 3]), (0, vec![1, 3]), (3, vec![1]), (1, vec![])] {
            subscriptions.remove(ids[gone]);
            assert_eq!(list(&subscriptions, ann), left);
            assert_eq!(subscriptions.count(ann), left.len());
        }
        assert_eq!(list(&subscriptions, bob), [2]);
        assert!(list(&subscriptions, ConnectionId(9_999)).is_empty());
    }
}

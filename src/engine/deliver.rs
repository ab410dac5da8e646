//! Delivery: from the logs to the streams, at the end of a turn.

use super::io::{Wrote, settle, write_output, write_uncounted};
use super::{Engine, Slot, Stream};
use crate::connection::{ConnectionId, Delivery, Mark, Visit, World};
use crate::consumer::Reason;
use crate::hub::{Form, SubscriptionId};

impl<S: Stream> Engine<S> {
    /// Delivers to the connections that have become able to take something, or have just subscribed.
    pub(super) fn deliver_behind(&mut self) {
        for id in std::mem::take(&mut self.world.behind) {
            self.on_slot(id, |slot, world| deliver_all(id, slot, world));
        }
    }

    /// Offers the dirty channels to their members, up to `budget` of them.
    pub(super) fn deliver_dirty(&mut self, budget: usize) {
        for _ in 0..budget {
            let Some(subscription) = self.world.hub.next_due(self.world.now, &self.world.config) else { return };
            let id = self.world.hub.subscription(subscription).connection;
            self.on_slot(id, |slot, world| deliver_one(id, slot, world, subscription));
        }
    }
}

/// Delivers what one dirty channel has for one member. Where another channel could come before it in the connection's
/// order, everything that the connection lacks is delivered instead.
fn deliver_one<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World, subscription: SubscriptionId) {
    let only = world.hub.is_alone() || world.hub.is_only(subscription);
    let delivery = Visit { id, connection: &mut slot.connection, world }.delivery();
    match delivery {
        Delivery::Shared(form) if only => deliver_shared(id, slot, world, subscription, form),
        _ => deliver_all(id, slot, world),
    }
}

/// Delivers everything that a connection lacks, channel by channel in its own order.
fn deliver_all<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World) {
    while world.hub.lacks(id) {
        if slot.connection.is_blocked() {
            return note_lag(id, world);
        }
        let mut visit = Visit { id, connection: &mut slot.connection, world };
        match visit.delivery() {
            Delivery::None => return,
            Delivery::Poll => {
                visit.answer_poll(&[]);
                world.counters.deliveries += 1;
                return settle(id, slot, world);
            }
            Delivery::Shared(_) | Delivery::Own => visit.assemble(),
        }
        world.counters.deliveries += 1;
        write_output(id, slot, world, true);
        settle(id, slot, world);
    }
}

/// Writes the bytes that all subscribers at this cursor share.
fn deliver_shared<S: Stream>(
    id: ConnectionId,
    slot: &mut Slot<S>,
    world: &mut World,
    subscription: SubscriptionId,
    form: Form,
) {
    while world.hub.is_behind(subscription) {
        let (channel, cursor) =
            (world.hub.subscription(subscription).channel, world.hub.subscription(subscription).cursor);
        if slot.connection.is_blocked() {
            return world.hub.note_lag(channel, world.now, &world.config);
        }
        if world.hub.gap(subscription).is_some() {
            return deliver_all(id, slot, world);
        }
        let Some(batch) = world.hub.batch(subscription, form) else { return };
        world.counters.deliveries += 1;
        match write_uncounted(&mut slot.stream, batch.bytes) {
            Wrote::All => {
                world.counters.sent_bytes += batch.bytes.len() as u64;
                let through = batch.through;
                world.hub.set_cursor(subscription, through);
            }
            Wrote::Part(written) => {
                world.counters.sent_bytes += written as u64;
                let cut = world.hub.cut(channel, cursor, form, written);
                world.hub.set_cursor(subscription, cut.cursor);
                world.hub.note_lag(channel, world.now, &world.config);
                Visit { id, connection: &mut slot.connection, world }.block();
                let backlog = slot.connection.backlog_mut();
                if cut.partial.is_some() {
                    backlog.pinned = cut.partial;
                    backlog.marks.push(Mark { end: 0, subscription, before: cut.cursor, after: cut.cursor + 1 });
                }
            }
            Wrote::Nothing => return Visit { id, connection: &mut slot.connection, world }.drop_for(Reason::PeerGone),
        }
    }
}

/// What a connection lacks is kept a little longer.
fn note_lag(id: ConnectionId, world: &mut World) {
    let mut next = world.hub.first_subscription(id);
    while let Some(subscription) = next {
        if world.hub.is_behind(subscription) {
            world.hub.note_lag(world.hub.subscription(subscription).channel, world.now, &world.config);
        }
        next = world.hub.next_subscription(subscription);
    }
}

//! Delivery: from the logs to the streams, at the end of a turn.

use super::io::{Wrote, settle, write_output, write_uncounted};
use super::{Engine, Slot, Stream};
use crate::config::{DELIVERIES_A_TURN, DELIVERY_BYTES_A_TURN};
use crate::connection::{ConnectionId, Delivery, Mark, Visit, World};
use crate::consumer::Reason;
use crate::hub::{Batch, Form, SubscriptionId};

impl<S: Stream> Engine<S> {
    /// Delivers to the connections that have become able to take something, or have just subscribed.
    pub(super) fn deliver_behind(&mut self) {
        for id in std::mem::take(&mut self.world.behind) {
            self.on_slot(id, |slot, world| match world.hub.first_subscription(id) {
                // What it does not take of a message stays shared with all the others, instead of being copied for it.
                Some(only) if world.hub.is_only(only) => deliver_one(id, slot, world, only),
                Some(_) => deliver_all(id, slot, world),
                None => {}
            });
        }
    }

    /// Offers the dirty channels to their members: as many, and about as much, as one turn may take.
    pub(super) fn deliver_dirty(&mut self) {
        let (mut run, mut left) = (std::mem::take(&mut self.run), DELIVERIES_A_TURN);
        let enough = self.world.counters.sent_bytes + DELIVERY_BYTES_A_TURN;
        while left > 0 && self.world.counters.sent_bytes < enough {
            self.world.hub.next_run(&mut run, left.min(RUN), self.world.now, &self.world.config);
            if run.is_empty() {
                self.world.hub.release_batch();
                break;
            }
            left -= run.len();
            self.deliver_run(&run);
        }
        self.run = run;
    }

    /// Offers one channel to some of its members. Nearly all of them are where the one before was and take everything:
    /// for these it is an index, a slice and a write.
    fn deliver_run(&mut self, run: &[SubscriptionId]) {
        let alone = self.world.hub.is_alone();
        let mut batch: Option<Batch> = None;
        for subscription in run {
            // Who has just been dropped may have ended it.
            let Some(member) = self.world.hub.member_mut(*subscription) else { continue };
            let id = member.connection;
            if let Some(batch) = &batch
                && member.is_at(batch)
                && (alone || member.is_only(*subscription))
                && let Some(slot) = self.slots.get_mut(id.0)
                && slot.connection.takes(batch.form)
            {
                let wrote = write_uncounted(&mut slot.stream, &batch.bytes);
                if let Wrote::All = wrote {
                    member.cursor = batch.through;
                    self.world.counters.deliveries += 1;
                    self.world.counters.sent_bytes += batch.bytes.len() as u64;
                    continue;
                }
                self.on_slot(id, |slot, world| wrote_short(id, slot, world, *subscription, batch, wrote));
            } else {
                self.on_slot(id, |slot, world| deliver_one(id, slot, world, *subscription));
            }
            // Another one, or none: memory may have been shed, and what was in it is not kept any more.
            batch = self.world.hub.last_batch();
        }
    }
}

/// Delivers what one dirty channel has for one member. Where another channel could come before it in the connection's
/// order, everything that the connection lacks is delivered instead.
fn deliver_one<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World, subscription: SubscriptionId) {
    if !world.hub.is_behind(subscription) {
        // Everything was delivered when another channel of the same connection was.
        return;
    }
    if slot.connection.is_blocked() {
        return world.hub.note_lag(world.hub.subscription(subscription).channel, world.now, &world.config);
    }
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

/// Writes the bytes that all subscribers at this cursor share, to one that takes something.
fn deliver_shared<S: Stream>(
    id: ConnectionId,
    slot: &mut Slot<S>,
    world: &mut World,
    subscription: SubscriptionId,
    form: Form,
) {
    while world.hub.is_behind(subscription) {
        if world.hub.gap(subscription).is_some() {
            return deliver_all(id, slot, world);
        }
        let Some(batch) = world.hub.batch(subscription, form) else { return };
        let wrote = write_uncounted(&mut slot.stream, &batch.bytes);
        world.tap_sent(slot.connection.tap(), wrote.bytes_of(&batch.bytes));
        match wrote {
            Wrote::All => {
                world.counters.deliveries += 1;
                world.counters.sent_bytes += batch.bytes.len() as u64;
                world.hub.set_cursor(subscription, batch.through);
            }
            short => return wrote_short(id, slot, world, subscription, &batch, short),
        }
    }
}

/// A batch has not gone whole. What was begun is finished later, the rest stays where it is.
fn wrote_short<S>(
    id: ConnectionId,
    slot: &mut Slot<S>,
    world: &mut World,
    subscription: SubscriptionId,
    batch: &Batch,
    wrote: Wrote,
) {
    let mut visit = Visit { id, connection: &mut slot.connection, world };
    let Wrote::Part(written) = wrote else { return visit.drop_for(Reason::PeerGone) };
    visit.block();
    world.counters.deliveries += 1;
    world.counters.sent_bytes += written as u64;
    let cut = world.hub.cut(batch, written);
    world.hub.set_cursor(subscription, cut.cursor);
    world.hub.note_lag(batch.channel, world.now, &world.config);
    if cut.partial.is_some() {
        let backlog = slot.connection.backlog_mut();
        backlog.pinned = cut.partial;
        backlog.marks.push(Mark { end: 0, subscription, before: cut.cursor, after: cut.cursor + 1 });
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

/// Members that are looked up at once: enough that finding them costs nothing, few enough to be forgotten.
const RUN: usize = 64;

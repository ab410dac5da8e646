//! Assembling: what a WebSocket or event stream is to get when it is not simply the same as everyone else gets.

use super::{State, Visit};
use crate::config::OUTPUT_BYTES;
use crate::hub::{Form, SubscriptionId};

/// How a connection gets its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It gets none in its state.
    None,
    /// The waiting poll is answered.
    Poll,
    /// Publications in this form, the same bytes for everyone.
    Shared(Form),
    /// Publications with an id of its own.
    Own,
}

impl Visit<'_> {
    pub(crate) fn delivery(&self) -> Delivery {
        match &self.connection.state {
            State::Poll(..) => Delivery::Poll,
            State::EventStream(stream) if stream.own_ids => Delivery::Own,
            State::EventStream(stream) => Delivery::Shared(stream.form),
            State::WebSocket(websocket, _) => Delivery::Shared(websocket.form),
            _ => Delivery::None,
        }
    }

    /// Appends what this connection has not got yet to the output, channel by channel in the order of subscribing, up
    /// to about [`OUTPUT_BYTES`]. Gaps are told where they are met.
    pub(crate) fn assemble(&mut self) {
        let mut next = self.world.hub.first_subscription(self.id);
        while let Some(subscription) = next
            && self.assemble_one(subscription)
        {
            next = self.world.hub.next_subscription(subscription);
        }
    }

    /// Returns whether the subscription is now up to date.
    fn assemble_one(&mut self, subscription: SubscriptionId) -> bool {
        if self.world.hub.gap(subscription).is_some() && !self.tell_gap(subscription) {
            return false;
        }
        let form = match &self.connection.state {
            State::EventStream(stream) => stream.form,
            State::WebSocket(websocket, _) => websocket.form,
            _ => return false,
        };
        while self.world.hub.is_behind(subscription) {
            let offset = self.world.hub.subscription(subscription).cursor + 1;
            let channel = self.world.hub.subscription(subscription).channel;
            let Some(bytes) = self.world.hub.encode(channel, offset, form) else { return false };
            if self.world.output.len() >= OUTPUT_BYTES {
                return false;
            }
            self.append(subscription, offset, &bytes);
        }
        true
    }

    fn append(&mut self, subscription: SubscriptionId, offset: u64, bytes: &[u8]) {
        if let State::EventStream(stream) = self.connection.state
            && stream.own_ids
        {
            // The id is the position after this event, so the cursor goes first.
            let before = self.world.hub.subscription(subscription).cursor;
            self.world.hub.set_cursor(subscription, offset);
            self.push_shared_event(bytes);
            self.world.hub.set_cursor(subscription, before);
        } else {
            self.world.output.extend_from_slice(bytes);
        }
        self.world.mark(subscription, offset);
    }

    /// Tells that something was lost, and moves the cursor over it. A raw WebSocket is closed, but only after what
    /// it can still get.
    fn tell_gap(&mut self, subscription: SubscriptionId) -> bool {
        let Some((from, to)) = self.world.hub.gap(subscription) else { return true };
        match &self.connection.state {
            State::WebSocket(websocket, _) if matches!(websocket.form, Form::Frame(_)) => {
                if self.world.output.is_empty() {
                    self.close_for_lag();
                }
                return false;
            }
            State::WebSocket(..) => self.push_gap_frame(subscription, from, to),
            _ => {
                let before = self.world.hub.subscription(subscription).cursor;
                self.world.hub.set_cursor(subscription, to.offset);
                let id = self.id_of_all();
                self.world.hub.set_cursor(subscription, before);
                self.push_gap_event(subscription, from, to, &id);
            }
        }
        self.world.mark(subscription, to.offset);
        true
    }
}

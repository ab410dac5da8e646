//! Subscribing: who is a member of which channel's log.

use super::subscription::{ChannelId, ConnectionId, Subscription, SubscriptionId, Transport};
use super::{Beginning, Hub, SUBSCRIPTION_BYTES, Start};
use crate::config::{Config, Limit};
use crate::time::Now;
use crate::wire::status::Status;

/// A subscription that has been made.
pub(crate) struct Begun {
    pub(crate) subscription: SubscriptionId,
    /// The one to joins and leaves, and where it begins.
    pub(crate) observer: Option<(SubscriptionId, Start)>,
}

impl Hub {
    /// Subscribes `connection` to a channel, which is made if it does not exist, and right behind it to its joins and
    /// leaves if that is asked for. If it has a name, that is then present.
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        wanted: &Beginning,
        transport: Transport,
        now: Now,
        config: &Config,
    ) -> Result<Begun, Status> {
        self.admit_subscription(connection, wanted, config)?;
        self.admit_member(connection, &wanted.name, transport, config)?;
        self.admit_observer(wanted, config)?;
        let id = self.open(&wanted.name, config)?;
        let subscription = self.add_member(connection, id, wanted.start, transport);
        let observer = wanted.presence.map(|since| self.observe(connection, id, since, transport, config));
        self.come(connection, id, transport, now, config);
        Ok(Begun { subscription, observer })
    }

    /// The same for an answer that is given at once: its channel goes with it, and does not count.
    pub(crate) fn subscribe_briefly(
        &mut self,
        connection: ConnectionId,
        wanted: &Beginning,
        config: &Config,
    ) -> Result<Begun, Status> {
        let known = self.names.get(&wanted.name).copied();
        let id = known.unwrap_or_else(|| self.make(&wanted.name, config));
        let subscription = self.add_member(connection, id, wanted.start, Transport::LongPoll);
        Ok(Begun { subscription, observer: None })
    }

    /// Whether a connection may have one subscription more, or two where it observes.
    fn admit_subscription(&self, connection: ConnectionId, wanted: &Beginning, config: &Config) -> Result<(), Status> {
        let more = 1 + usize::from(wanted.presence.is_some());
        if self.subscriptions.count(connection) + more > config.subscriptions_max {
            let detail = format!("a connection may have {} subscriptions", config.subscriptions_max);
            return Err(Status::new(503).detail(detail).limit(Limit::Subscriptions));
        }
        self.memory.admit(more * SUBSCRIPTION_BYTES)
    }

    pub(super) fn add_member(
        &mut self,
        connection: ConnectionId,
        id: ChannelId,
        start: Start,
        transport: Transport,
    ) -> SubscriptionId {
        let member = self.channels[id.0].members.len() as u32;
        let subscription = self.subscriptions.insert(connection, id, member, start.cursor, transport);
        self.change(id, |channel, _| channel.members.push(subscription));
        self.channels[id.0].transports[transport as usize] += 1;
        self.memory.channel_bytes += size_of::<Subscription>();
        subscription
    }

    /// Ends a subscription, and with it the one to the channel's joins and leaves, which stands right behind it.
    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId, now: Now, config: &Config) {
        let channel = self.subscriptions.at(id).channel;
        let behind = self.subscriptions.after(id);
        let observes = |next: &SubscriptionId| self.observed_by(*next) == Some(channel);
        if let Some(observer) = behind.filter(observes) {
            self.remove_member(observer);
            self.stop_observing(channel, now, config);
        }
        let Some(gone) = self.remove_member(id) else { return };
        self.go(gone.connection, channel, gone.transport, now, config);
        self.forget_if_empty(channel);
    }

    fn remove_member(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let gone = self.subscriptions.remove(id)?;
        self.channels[gone.channel.0].transports[gone.transport as usize] -= 1;
        if let Some(moved) = self.change(gone.channel, |channel, _| channel.remove_member(gone.member)) {
            self.subscriptions.at_mut(moved).member = gone.member;
        }
        self.memory.channel_bytes -= size_of::<Subscription>();
        Some(gone)
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn leave(&mut self, connection: ConnectionId, now: Now, config: &Config) {
        while let Some(first) = self.subscriptions.first(connection) {
            self.unsubscribe(first, now, config);
        }
        self.forget_name(connection);
    }
}

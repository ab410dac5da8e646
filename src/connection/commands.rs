//! The commands of `redpoll.v1`: what its clients say on an open WebSocket. A bad one is answered with an error.

use std::rc::Rc;

use super::Visit;
use crate::consumer::{Action, Call, Consumer, Message, Wanted};
use crate::hub::{Beginning, Transport};
use crate::wire::close::CloseCode;
use crate::wire::command::{Ack, Command, Data, parse, push_ack, push_error, push_unsubscribed};
use crate::wire::content::Framing;
use crate::wire::position::Since;
use crate::wire::status::Status;

impl Visit<'_> {
    /// Carries out one command. Returns a close code if the consumer closes.
    pub(super) fn receive_command(&mut self, message: Message, consumer: &mut dyn Consumer) -> Option<CloseCode> {
        let Some(text) = message.text() else {
            let error = Status::new(400).detail("a command is a text message: binary goes into \"base64\"");
            self.push_error(&error, &Ack::default());
            return None;
        };
        let (command, ack) = match parse(text) {
            Ok(parsed) => parsed,
            Err((error, ack)) => {
                self.push_error(&error, &ack);
                return None;
            }
        };
        let mut call = Call::default();
        if let Err(error) = self.carry_out(command, &ack, consumer, &mut call) {
            self.push_error(&error, &ack);
        }
        call.close
    }

    fn push_error(&mut self, error: &Status, ack: &Ack) {
        self.world.counters.reach(error.reached());
        self.push_json(|json| push_error(json, error, ack));
    }

    fn carry_out(
        &mut self,
        command: Command,
        ack: &Ack,
        consumer: &mut dyn Consumer,
        call: &mut Call,
    ) -> Result<(), Status> {
        match command {
            Command::Subscribe { channel, since, presence } => {
                consumer.authorize(Action::Subscribe, &channel, &mut self.context(call, None))?;
                self.subscribe_by_command(&channel, since, presence, ack)
            }
            Command::Unsubscribe { channel } => self.unsubscribe_by_command(&channel, ack),
            Command::Publish { channel, data, event, key } => {
                consumer.authorize(Action::Publish, &channel, &mut self.context(call, None))?;
                let message = match &data {
                    Data::Text(text) => Message::text_of(text),
                    Data::Binary(bytes) => Message::binary_of(bytes),
                };
                Framing::Length(message.data().len() as u64).check(self.world.config.message_bytes_max)?;
                // The consumer sees this channel alone, and publishes to it if it will.
                call.wanted = vec![Wanted { name: channel.as_str().into(), since: None }];
                call.key = key;
                consumer.receive(message.with_event(event.as_deref()), &mut self.context(call, None));
                if let Some(refused) = call.refused.take() {
                    return Err(refused);
                }
                let id = call.published.last().map(|published| published.position);
                self.push_json(|json| push_ack(json, ack, id));
                Ok(())
            }
            Command::Token(token) => {
                consumer.renew(&token, &mut self.context(call, None))?;
                if let Some(refused) = call.refused.take() {
                    return Err(refused);
                }
                self.push_json(|json| push_ack(json, ack, None));
                Ok(())
            }
        }
    }

    fn subscribe_by_command(
        &mut self,
        channel: &str,
        since: Since,
        presence: Option<Since>,
        ack: &Ack,
    ) -> Result<(), Status> {
        if self.world.hub.subscription_to(self.id, channel).is_some() {
            return Err(Status::new(409).detail(format!("already subscribed to {channel:?}")));
        }
        let start = self.world.hub.start(channel, since);
        let wanted = Beginning { name: channel.into(), start, presence };
        let mut unknown = Vec::new();
        let subscription = self.world.begin(self.id, &wanted, Transport::WebSocket, false, &mut unknown)?;
        self.confirm_subscription(subscription, &unknown, ack);
        self.push_unknown_frames(&unknown);
        self.world.note_behind(self.id);
        Ok(())
    }

    fn unsubscribe_by_command(&mut self, channel: &str, ack: &Ack) -> Result<(), Status> {
        let subscription = self.world.hub.subscription_to(self.id, channel);
        let subscription =
            subscription.ok_or_else(|| Status::new(404).detail(format!("not subscribed to {channel:?}")))?;
        let name = Rc::clone(self.world.hub.channel_name(self.world.hub.subscription(subscription).channel));
        self.world.unsubscribe(subscription);
        self.connection.backlog_mut().leave(&name);
        self.push_json(|json| push_unsubscribed(json, channel, ack));
        Ok(())
    }
}

//! Consumers: what applications see of a client.
//!
//! A route names a consumer, not a transport. Each connection that comes to the route, by whichever transport, has a
//! consumer of its own: `connect` says whether it may, and what it subscribes to; `receive` gets what it sends;
//! `disconnect` is told why it ended. For a poll and a POST the three bracket each request.

use std::rc::Rc;

use crate::connection::{Connection, ConnectionId, State, TapRequest, World};
use crate::hub::{Beginning, Draft, Publication, Published, SubscriptionId};
use crate::router::Request;
use crate::time::Now;
use crate::wire::close::CloseCode;
use crate::wire::form::{check_channel_name, check_event_name};
use crate::wire::position::{Position, Since};
use crate::wire::status::Status;

/// An application's side of one connection.
///
/// A function or closure that takes a [`Message`] and a [`Context`] is a consumer that only receives.
pub trait Consumer {
    /// A client asks for this route. What is subscribed here, it gets; a refusal is answered on every transport.
    ///
    /// On POST and PUT nothing is subscribed: the same calls then say which channels the message is for.
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let _ = cx;
        Ok(())
    }

    /// The client has sent a message: by WebSocket, POST or PUT.
    fn receive(&mut self, message: Message, cx: &mut Context);

    /// Whether a command of the subprotocol `redpoll.v1` may be carried out. By default only for channels that
    /// the connection is subscribed to, or was until its client unsubscribed.
    ///
    /// A publish that is allowed still goes through [`Consumer::receive`], with [`Context::channels`] naming its
    /// channel.
    fn authorize(&mut self, action: Action, channel: &str, cx: &mut Context) -> Result<(), Status> {
        match cx.channels().iter().any(|known| &**known == channel) || cx.has_left(channel) {
            true => Ok(()),
            false => Err(Status::new(403).detail(format!("this route does not let you {} {channel:?}", action.verb()))),
        }
    }

    /// A client of `redpoll.v1` shows another token, so that it may stay when the one that let it in has expired:
    /// [`Context::expire_at`] says until when. By default there are no tokens.
    fn renew(&mut self, token: &str, cx: &mut Context) -> Result<(), Status> {
        let _ = (token, cx);
        Err(Status::new(400).detail("this server does not use tokens"))
    }

    /// The connection, or the one request, has ended. [`Context::cursor`] is still known.
    fn disconnect(&mut self, reason: Reason, cx: &mut Context) {
        let _ = (reason, cx);
    }
}

impl<F: FnMut(Message, &mut Context)> Consumer for F {
    fn receive(&mut self, message: Message, cx: &mut Context) {
        self(message, cx);
    }
}

/// What a client of `redpoll.v1` wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Get a channel's messages.
    Subscribe,
    /// Send a message to a channel.
    Publish,
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Action::Subscribe => "subscribe to",
            Action::Publish => "publish to",
        }
    }
}

/// Why a connection, or one request on it, has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The answer has gone to the kernel whole.
    Answered,
    /// The peer closed the connection, or it broke.
    PeerGone,
    /// A closing handshake with the peer's code, 1005 if it gave none (RFC 6455 §7.1.5).
    Closed(CloseCode),
    /// Closed from this side, with the code.
    Closing(CloseCode),
    /// The peer was silent for two ping intervals.
    Silent,
    /// Nothing could be written to the peer for a ping interval.
    Stalled,
    /// The moment has come that [`Context::expire_at`] has set.
    Expired,
    /// The server is ending.
    Draining,
}

/// A message from a client, or one to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    data: &'a [u8],
    binary: bool,
    event: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// A text message.
    pub fn text_of(text: &'a str) -> Message<'a> {
        Message { data: text.as_bytes(), binary: false, event: None }
    }

    /// A binary message.
    pub fn binary_of(data: &'a [u8]) -> Message<'a> {
        Message { data, binary: true, event: None }
    }

    /// What a client has sent: a text that has been checked already, or binary.
    pub(crate) fn received(data: &'a [u8], text: bool) -> Message<'a> {
        Message { data, binary: !text, event: None }
    }

    /// The same message with an event name.
    pub fn with_event(self, event: Option<&'a str>) -> Message<'a> {
        Message { event, ..self }
    }

    /// The payload.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The payload as text; `None` if the message is binary.
    pub fn text(&self) -> Option<&'a str> {
        if self.binary { None } else { std::str::from_utf8(self.data).ok() }
    }

    /// Whether the message is binary.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// The name that the sender gave it.
    pub fn event(&self) -> Option<&'a str> {
        self.event
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Message<'a> {
        Message::text_of(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Message<'a> {
        Message::text_of(text)
    }
}

/// What a poll of one's own shape is answered with: see [`Context::poll`].
pub type Render = fn(&Polled) -> crate::Response;

/// What there is for a poll.
#[derive(Debug)]
pub struct Polled<'a> {
    /// The publications, oldest first; none when the wait has ended with nothing, and none where something was missed.
    pub publications: Vec<&'a Publication>,
    /// How many publications were lost before the next one that is kept; 0 if none.
    pub missed: u64,
}

/// A message to one client, to be written later.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) data: Vec<u8>,
    pub(crate) binary: bool,
}

impl Sent {
    pub(crate) fn message(&self) -> Message<'_> {
        Message { data: &self.data, binary: self.binary, event: None }
    }
}

/// A poll of an application's own shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollShape {
    pub(crate) limit: u16,
    pub(crate) wait_ms: u64,
    pub(crate) render: Render,
}

/// A channel that `connect` has asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Rc<str>,
    /// `None` leaves it to the request.
    pub(crate) since: Option<Since>,
}

/// What a consumer asks for within one call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// What the request subscribes to; for a command of `redpoll.v1` the one channel it names.
    pub(crate) wanted: Vec<Wanted>,
    /// Whether subscribing only adds to `wanted`.
    pub(crate) connecting: bool,
    /// When the connection must end, in milliseconds since 1970.
    pub(crate) expires_ms: Option<u64>,
    pub(crate) published: Vec<Published>,
    /// What was sent before there is a WebSocket to send it on, or on a POST.
    pub(crate) sent: Vec<Sent>,
    pub(crate) refused: Option<Status>,
    pub(crate) close: Option<CloseCode>,
    pub(crate) poll: Option<PollShape>,
    /// By which what is published is known again.
    pub(crate) key: Option<String>,
    /// By which name the client is present.
    pub(crate) name: Option<String>,
    pub(crate) tap: TapRequest,
}

/// What a consumer can do, and what it can know.
pub struct Context<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) connection: &'a mut Connection,
    pub(crate) world: &'a mut World,
    pub(crate) call: &'a mut Call,
    pub(crate) request: Option<&'a Request<'a>>,
}

impl<'a> Context<'a> {
    /// The request, while one is served; `None` for what a WebSocket receives and for what ends later.
    pub fn request(&self) -> Option<&'a Request<'a>> {
        self.request
    }

    /// This connection's number, while it lasts.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        self.world.now
    }

    /// Subscribes to a channel from where the request says: `Last-Event-ID`, `since=`, or only what is new.
    ///
    /// A name or number of subscriptions that is not allowed refuses the request, or closes an open WebSocket.
    pub fn subscribe(&mut self, channel: &str) {
        self.want(channel, None);
    }

    /// Subscribes to a channel from `since` on, whatever the request says.
    pub fn subscribe_since(&mut self, channel: &str, since: Since) {
        self.want(channel, Some(since));
    }

    fn want(&mut self, channel: &str, since: Option<Since>) {
        if let Err(status) = check_channel_name(channel) {
            return self.refuse(status);
        }
        if let Some(known) = self.call.wanted.iter_mut().find(|wanted| &*wanted.name == channel) {
            // Once is enough, or each message would come twice.
            known.since = since.or(known.since);
            return;
        }
        if self.call.connecting {
            return self.call.wanted.push(Wanted { name: channel.into(), since });
        }
        let Some(transport) = self.connection.transport() else { return };
        if self.world.hub.subscription_to(self.id, channel).is_some() {
            return;
        }
        let start = self.world.hub.start(channel, since.unwrap_or(Since::Latest));
        let wanted = Beginning { name: channel.into(), start, presence: None };
        let World { hub, config, now, .. } = &mut *self.world;
        match hub.subscribe(self.id, &wanted, transport, *now, config) {
            Ok(_) => self.world.note_behind(self.id),
            Err(status) => self.refuse(status),
        }
    }

    /// Whether the client has ended its subscription to a channel by a command.
    fn has_left(&self, channel: &str) -> bool {
        self.connection.backlog.as_ref().is_some_and(|backlog| backlog.has_left(channel))
    }

    /// Ends the subscription to a channel, if there is one.
    pub fn unsubscribe(&mut self, channel: &str) {
        self.call.wanted.retain(|wanted| &*wanted.name != channel);
        if let Some(subscription) = self.world.hub.subscription_to(self.id, channel) {
            self.world.unsubscribe(subscription);
        }
    }

    /// The channels that this request names or this connection subscribes to, in that order.
    pub fn channels(&self) -> Vec<Rc<str>> {
        if !self.call.wanted.is_empty() {
            return self.call.wanted.iter().map(|wanted| Rc::clone(&wanted.name)).collect();
        }
        self.world.hub.channels_of(self.id).map(|id| Rc::clone(self.name_of(id))).collect()
    }

    fn name_of(&self, id: SubscriptionId) -> &Rc<str> {
        self.world.hub.channel_name(self.world.hub.subscription(id).channel)
    }

    /// Publishes to a channel, for everyone who subscribes. `None` if it was refused: for its name, its event's name,
    /// how fast it came, or the number of channels; the request is then refused, an open WebSocket closed.
    pub fn publish<'m>(&mut self, channel: &str, message: impl Into<Message<'m>>) -> Option<Published> {
        let message = message.into();
        let allowed = check_channel_name(channel)
            .and_then(|()| message.event.map_or(Ok(()), check_event_name))
            .and_then(|()| self.check_rate());
        let draft =
            Draft { data: message.data, binary: message.binary, event: message.event, key: self.call.key.as_deref() };
        match allowed.and_then(|()| self.world.hub.publish(channel, draft, self.world.now, &self.world.config)) {
            Ok(published) => {
                self.world.note_congestion(channel);
                self.call.published.push(published.clone());
                Some(published)
            }
            Err(status) => {
                self.refuse(status);
                None
            }
        }
    }

    /// Sends a message to this client alone: a WebSocket message, or the content of a POST's answer. Polls and event
    /// streams get nothing but what is published. A client of `redpoll.v1` gets `{"data":"..."}`, or `"base64"`.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let message = message.into();
        match &self.connection.state {
            State::WebSocket(websocket, _) => websocket.send(message, self.world),
            _ => self.call.sent.push(Sent { data: message.data.to_vec(), binary: message.binary }),
        }
    }

    /// Closes a WebSocket after what has been sent so far. Other transports end by themselves.
    ///
    /// A code that [may not be sent](CloseCode::may_be_sent), such as the 1005 of a peer that gave none, becomes 1000.
    pub fn close(&mut self, code: CloseCode) {
        self.call.close.get_or_insert(if code.may_be_sent() { code } else { CloseCode::NORMAL });
    }

    /// Up to where this client has the channel's messages: their bytes went to the kernel.
    pub fn cursor(&self, channel: &str) -> Option<Position> {
        let subscription = self.world.hub.subscription_to(self.id, channel)?;
        Some(self.world.hub.position(self.world.hub.subscription(subscription).cursor))
    }

    /// The position of the newest message of a channel, which need not exist.
    pub fn newest(&self, channel: &str) -> Position {
        self.world.hub.position(self.world.hub.start(channel, Since::Latest).cursor)
    }

    /// Gives the poll that is being connected a shape of its own: at most `limit` publications an answer, `wait_ms` of
    /// waiting where the channel has none, and `render` to make the answer. What the request says of its wait, limit
    /// and form means nothing then. Other transports are not affected; [`Server::poll`](crate::Server::poll) has none.
    ///
    /// Where something was missed, the poll is answered with the gap alone, and goes on from there. Where its channel
    /// cannot be had, for the number of channels, it waits as for one in which nothing is said.
    pub fn poll(&mut self, limit: u16, wait_ms: u64, render: Render) {
        self.call.poll = Some(PollShape { limit: limit.max(1), wait_ms, render });
    }

    /// Ends the wait of another connection's poll: it is answered as if its time had come. One with a shape of its own
    /// is then answered with nothing, and its cursor stays, whatever was published in the same turn.
    pub fn end_poll(&mut self, connection: ConnectionId) {
        self.world.ended.push(connection);
    }

    /// Forgets what a channel keeps. Positions and subscribers go on; who had not read it is told the gap.
    pub fn clear_history(&mut self, channel: &str) {
        self.world.hub.clear(channel, self.world.now, &self.world.config);
    }

    /// Refuses what is being connected or received. A request is answered with the status, a command with an error; an
    /// open raw WebSocket, which has no way to say it, is closed: with 1008 for 401 and 403.
    pub fn refuse(&mut self, status: Status) {
        self.call.refused.get_or_insert(status);
    }
}

//! One client's state machine.
//!
//! ```text
//!                    ┌───────────── answered ──────────────┐
//!                    v                                     │
//! accepted ──> Request head ──> Request content ──> Responding (blocked)
//!                    │  ^              │                   │ the answer was the last
//!       GET, nothing │  │ answered     │                   v
//!       to give yet  v  │              └── refused ──> Draining ──> gone
//!                   Poll                                   ^
//!                    GET ──> EventStream ── server ends ───┤
//!                    101 ──> WebSocket ──> Closing ────────┘
//! ```
//!
//! | state | readable bytes | channel dirty | timer | peer closes |
//! |---|---|---|---|---|
//! | Request head | parse | - | 408 if a head has begun, else close | answer what is complete, close |
//! | Request content | collect, within the limit | - | 408 | close |
//! | Responding (blocked) | wait | - | drop | drop |
//! | Poll | pipelined bytes wait | respond, back to Request | respond empty, back to Request | close, nothing used up |
//! | EventStream | discard, within a limit | write events | write a comment | close |
//! | WebSocket open | decode | write frames | ping; silence after it: drop | drop |
//! | WebSocket closing | only Close counts | - | drop | drop |
//! | Draining | discard, within a limit | - | drop | drop |
//!
//! A WebSocket whose peer's Close is the last that there is to read is gone as soon as its own has been written.
//!
//! Where a token has let the client in, the timer comes no later than its end, which is then what it means: a WebSocket
//! is closed, an event stream ended, a poll answered.
//!
//! A connection never touches its stream: it is given bytes and appends to [`World`]'s output, and the
//! engine reads and writes.

mod addresses;
mod assemble;
mod backlog;
mod closing;
mod commands;
mod dispatch;
mod draining;
mod event_stream;
mod expiry;
mod overload;
mod poll;
mod presence;
mod publish;
mod rate;
mod report;
mod request;
mod respond;
mod subscribe;
mod tap;
mod upgrade;
mod websocket;
mod world;

use crate::config::{ANSWER_BYTES, WAITING_BYTES};
use crate::consumer::{Call, Consumer, Context, Reason, Render};
use crate::hub::{Form, Transport};
use crate::pages::heap_bytes;
use crate::router::Request;
use crate::wire::message::Decoder;

pub(crate) use crate::hub::ConnectionId;
pub(crate) use addresses::{Addresses, ClientAddress, too_many};
pub(crate) use assemble::Delivery;
pub(crate) use backlog::{Backlog, Mark};
pub(crate) use expiry::Expiries;
pub(crate) use poll::PollBody;
pub(crate) use rate::Rates;
pub(crate) use report::{Follower, Report};
pub(crate) use respond::refusal_of_connection;
pub use tap::{Flow, Tap};
pub(crate) use tap::{TapNumber, TapRequest, Taps};
pub(crate) use world::World;

use draining::Draining;
use event_stream::EventStream;
use poll::Poll;
use request::RequestState;
use respond::Responding;
use websocket::WebSocket;

/// One client, but for its stream.
pub(crate) struct Connection {
    /// Who sees this client's messages: from `connect` to `disconnect`.
    pub(crate) consumer: Option<Box<dyn Consumer>>,
    pub(crate) state: State,
    pub(crate) backlog: Option<Box<Backlog>>,
}

/// What the next bytes, the next publication and the timer mean.
pub(crate) enum State {
    Request(RequestState),
    Responding(Responding),
    /// With the application's own form of answer.
    Poll(Poll, Option<Render>),
    EventStream(EventStream),
    /// With what is unfinished.
    WebSocket(WebSocket, Decoder),
    /// With what is unfinished.
    Closing(WebSocket, Decoder),
    Draining(Draining),
    /// To be removed from the engine's table.
    Gone,
}

// DESIGN: 48 bytes a slot, of which 4 are the socket and 4 are to spare.
const _: () = assert!(size_of::<State>() == 16);
const _: () = assert!(size_of::<Connection>() == 40);

impl Connection {
    pub(crate) fn new() -> Connection {
        Connection { consumer: None, state: State::Request(RequestState::default()), backlog: None }
    }

    /// How this connection is reached by what is published; `None` if it is not.
    pub(crate) fn transport(&self) -> Option<Transport> {
        match self.state {
            State::WebSocket(..) => Some(Transport::WebSocket),
            State::EventStream(_) => Some(Transport::EventStream),
            State::Poll(..) => Some(Transport::LongPoll),
            _ => None,
        }
    }

    /// Whether publications in this form are written to it just as they are, and nothing is in the way.
    #[inline]
    pub(crate) fn takes(&self, form: Form) -> bool {
        self.backlog.is_none()
            && match &self.state {
                State::WebSocket(websocket, _) => websocket.form == form,
                State::EventStream(stream) => stream.form == form && !stream.own_ids,
                _ => false,
            }
    }

    /// Whether the kernel has not taken everything that was to be written.
    pub(crate) fn is_blocked(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.blocked)
    }

    /// Whether what has arrived may be served: a peer that does not take our answers, or publishes faster than they
    /// are delivered, has to wait.
    pub(crate) fn may_serve(&self) -> bool {
        let free = self.backlog.as_ref().is_none_or(|backlog| !backlog.blocked && backlog.held.is_none());
        free && !matches!(self.state, State::Responding(_) | State::Gone)
    }

    /// Whether the connection may be read. What waits to be served is kept, but not without end; a head that is not
    /// finished has a limit of its own.
    pub(crate) fn may_read(&self) -> bool {
        self.may_serve() && self.waiting_bytes() < WAITING_BYTES
    }

    /// Whether the peer has said things that are still to be served: they come before its end. A poll is not answered
    /// to a peer that has gone, nor is what waits behind it.
    pub(crate) fn has_unserved(&self) -> bool {
        matches!(self.state, State::Request(_) | State::WebSocket(..)) && self.waiting_bytes() > 0
    }

    /// Input that nobody has looked at.
    fn waiting_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.input.len().saturating_sub(backlog.scanned))
    }

    /// Bytes that wait to be served.
    pub(crate) fn has_input(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.input.is_empty())
    }

    pub(crate) fn backlog_mut(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    /// Gives the box back if nothing is in it.
    pub(crate) fn tidy(&mut self) {
        if self.backlog.as_ref().is_some_and(|backlog| backlog.is_empty()) {
            self.backlog = None;
        }
    }

    /// Memory held beyond the slot itself.
    pub(crate) fn held_bytes(&self) -> usize {
        let consumer = self.consumer.as_ref().map_or(0, |consumer| heap_bytes(size_of_val(&**consumer)));
        consumer + self.arriving_bytes() + self.backlog.as_ref().map_or(0, |backlog| backlog.held_bytes())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.state.name())
    }
}

impl State {
    /// For logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            State::Request(_) => "request",
            State::Responding(_) => "responding",
            State::Poll(..) => "poll",
            State::EventStream(_) => "event stream",
            State::WebSocket(..) => "websocket",
            State::Closing(..) => "closing",
            State::Draining(_) => "draining",
            State::Gone => "gone",
        }
    }
}

/// One connection while it is served.
pub(crate) struct Visit<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) connection: &'a mut Connection,
    pub(crate) world: &'a mut World,
}

impl Visit<'_> {
    /// Bytes have arrived. They are served as far as the state allows; what must wait is kept.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) {
        let Some(mut input) = self.take_input() else {
            let used = self.serve(bytes);
            return self.keep_input(&bytes[used..]);
        };
        input.extend_from_slice(bytes);
        let used = self.serve(&mut input);
        input.drain(..used);
        if !input.is_empty() {
            self.connection.backlog_mut().input = input;
        }
        self.connection.tidy();
    }

    /// Serves bytes until they end, cannot be used yet, or have led to enough output. Returns how many were used.
    fn serve(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let used = self.receive_tapped(&mut bytes[at..]);
            at += used;
            if self.must_pause() {
                if at < bytes.len() {
                    self.world.unread.push(self.id);
                }
                break;
            }
            if used == 0 {
                break;
            }
        }
        at
    }

    fn receive_some(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.connection.state {
            State::Request(_) => self.receive_request(bytes),
            State::Responding(_) | State::Poll(..) => 0,
            State::EventStream(_) => self.receive_on_event_stream(bytes),
            State::WebSocket(..) => self.receive_frames(bytes),
            State::Closing(..) => self.receive_closing(bytes),
            State::Draining(_) => self.receive_draining(bytes),
            State::Gone => bytes.len(),
        }
    }

    /// The answers so far are to be written, or the publications delivered, or memory found, before more is served.
    pub(crate) fn must_pause(&self) -> bool {
        self.world.output.len() >= ANSWER_BYTES || self.world.congested.is_some() || self.world.hub.memory.is_pressed()
    }

    /// The peer will send nothing more.
    pub(crate) fn receive_end(&mut self) {
        match self.connection.state {
            State::Request(_) => self.end_of_requests(),
            State::Draining(_) => self.end_of_draining(),
            _ => self.drop_for(Reason::PeerGone),
        }
    }

    /// The connection's timer has expired.
    pub(crate) fn expire(&mut self) {
        if self.end_if_expired() {
            return;
        }
        if self.connection.is_blocked() && !matches!(self.connection.state, State::Closing(..)) {
            return self.expire_blocked();
        }
        match self.connection.state {
            State::Request(_) => self.expire_request(),
            State::Responding(_) => self.drop_for(Reason::Stalled),
            State::Poll(..) => self.answer_poll(&[]),
            State::EventStream(_) => self.expire_event_stream(),
            State::WebSocket(..) => self.expire_websocket(),
            State::Closing(..) | State::Draining(_) => self.connection.state = State::Gone,
            State::Gone => {}
        }
    }

    /// The stream is full. From now on the timer asks whether the peer takes anything, whatever it is doing; only a
    /// closing handshake has no more time than it had.
    pub(crate) fn block(&mut self) {
        let backlog = self.connection.backlog_mut();
        if !std::mem::replace(&mut backlog.blocked, true) {
            (backlog.stalled, backlog.taken_ms) = (true, self.world.now.monotonic_ms);
            if !matches!(self.connection.state, State::Closing(..)) {
                self.world.schedule(self.id, self.world.config.ping_interval_ms);
            }
        }
    }

    /// The stream has taken everything: the timer has its own meaning again.
    pub(crate) fn unblock(&mut self) {
        match self.connection.state {
            State::Request(_) => self.await_rest_of_request(),
            State::EventStream(_) | State::WebSocket(..) => {
                self.world.schedule(self.id, self.world.config.ping_interval_ms);
            }
            // Its time may have come meanwhile, and the peer may ask again.
            State::Poll(..) => self.answer_poll(&[]),
            // These set it when they see that everything has gone.
            State::Responding(_) | State::Closing(..) | State::Draining(_) | State::Gone => {}
        }
    }

    /// A peer that takes nothing for one ping interval is dropped.
    fn expire_blocked(&mut self) {
        let backlog = self.connection.backlog_mut();
        if backlog.stalled {
            self.world.counters.dropped += 1;
            return self.drop_for(Reason::Stalled);
        }
        backlog.stalled = true;
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
    }

    /// All output has gone to the kernel.
    pub(crate) fn flushed(&mut self) {
        if let State::Responding(responding) = self.connection.state {
            self.finish_response(responding);
        }
    }

    /// The server is ending.
    pub(crate) fn drain(&mut self) {
        match self.connection.state {
            State::Request(_) => self.drain_request(),
            State::Poll(..) => self.answer_poll(&[]),
            State::EventStream(_) => self.end_event_stream(Reason::Draining),
            State::WebSocket(..) => self.drain_websocket(),
            _ => {}
        }
    }

    /// Ends the connection without another byte.
    pub(crate) fn drop_for(&mut self, reason: Reason) {
        self.end_consumer(reason);
        self.connection.state = State::Gone;
    }

    /// Ends what the consumer has to do with this connection: tells it why, then ends the subscriptions.
    fn end_consumer(&mut self, reason: Reason) {
        self.leave_transport();
        if let Some(mut consumer) = self.connection.consumer.take() {
            log::debug!("{}: {} ends: {reason:?}", self.id.0, self.connection.state.name());
            consumer.disconnect(reason, &mut self.context(&mut Call::default(), None));
        }
        self.world.leave(self.id);
        if let Some(backlog) = &mut self.connection.backlog {
            // The subscriptions' numbers will be those of others, whose cursors are not to be moved.
            backlog.marks = Vec::new();
        }
    }

    /// The connection is not reached by what is published any more, so it need not be ended either.
    fn leave_transport(&mut self) {
        self.world.expire_at(self.id, None);
        if let Some(transport) = self.connection.transport() {
            self.world.transports[transport as usize] -= 1;
        }
    }

    fn context<'c>(&'c mut self, call: &'c mut Call, request: Option<&'c Request<'c>>) -> Context<'c> {
        Context { id: self.id, connection: self.connection, world: self.world, call, request }
    }

    fn take_input(&mut self) -> Option<Vec<u8>> {
        let backlog = self.connection.backlog.as_mut().filter(|backlog| !backlog.input.is_empty())?;
        Some(std::mem::take(&mut backlog.input))
    }

    fn keep_input(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.connection.backlog_mut().input.extend_from_slice(bytes);
        }
    }
}

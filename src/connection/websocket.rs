//! WebSocket: messages both ways (RFC 6455), until one side closes.

use super::subscribe::Unknown;
use super::upgrade::{Handshake, SUBPROTOCOL};
use super::{State, Visit, World};
use crate::config::{Config, Limit, RECEIVE_BYTES};
use crate::consumer::{Call, Consumer, Message, Reason};
use crate::hub::{Form, SubscriptionId};
use crate::wire::close::{self, CloseCode, Violation};
use crate::wire::command::{Ack, push_subscribed};
use crate::wire::envelope::{Payload, push_direct, push_gap};
use crate::wire::frame::{self, Opcode};
use crate::wire::message::{Decoder, Event, Limits, Role};
use crate::wire::position::Position;
use crate::wire::response;
use crate::wire::status::Status;
use crate::wire::utf8;

/// An open WebSocket.
#[derive(Clone, Copy)]
pub(crate) struct WebSocket {
    pub(super) form: Form,
    /// The client speaks `redpoll.v1`: what it sends are commands.
    commands: bool,
    /// A ping has been sent, and nothing has come since.
    pinged: bool,
}

impl WebSocket {
    /// What is accepted of the client. The limit is that of a message's payload, so a command, which carries it as
    /// JSON, may be longer.
    pub(super) fn limits(&self, config: &Config) -> Limits {
        let message_bytes_max = match self.commands {
            true => config.message_bytes_max.saturating_mul(JSON_ESCAPE_BYTES).saturating_add(COMMAND_BYTES),
            false => config.message_bytes_max,
        };
        Limits { role: Role::Server, message_bytes_max, deflate: self.form.window().is_some() }
    }

    /// Sends a message to this client alone. One that speaks `redpoll.v1` gets JSON, as all that it gets.
    pub(crate) fn send(&self, message: Message, world: &mut World) {
        let World { hub, output, .. } = world;
        let window = self.form.window();
        if self.commands {
            let mut json = Vec::new();
            push_direct(&mut json, message.text().map_or(Payload::Binary(message.data()), Payload::Text));
            return hub.deflater().encode(Opcode::Text, &json, window, output);
        }
        let opcode = if message.is_binary() { Opcode::Binary } else { Opcode::Text };
        hub.deflater().encode(opcode, message.data(), window, output);
    }
}

/// What every answer to an opening handshake begins with (RFC 6455 §4.2.2).
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: ";
/// `\u0001`, the longest way to write one byte in JSON (RFC 8259 §7).
const JSON_ESCAPE_BYTES: usize = 6;
/// A command besides its payload: the channel's name, the event's, the ack.
const COMMAND_BYTES: usize = 4 << 10;

/// What a refusal is on a WebSocket that can only be closed.
fn code_of(refused: &Status) -> CloseCode {
    match refused.code() {
        401 | 403 => CloseCode::POLICY_VIOLATION,
        429 | 503 => CloseCode::TRY_AGAIN_LATER,
        _ => CloseCode::INTERNAL_ERROR,
    }
}

/// How a WebSocket comes to its end.
enum Ending {
    /// The peer's Close, with its code.
    Peer(Option<CloseCode>),
    /// The peer did something that the protocol does not allow.
    Violation(Violation),
    /// The application has had enough, or asked for what cannot be.
    Consumer(CloseCode, String),
}

impl Visit<'_> {
    pub(super) fn begin_websocket(&mut self, handshake: &Handshake, raw: bool, unknown: &[Unknown]) {
        let output = &mut self.world.output;
        output.extend_from_slice(SWITCHING);
        output.extend_from_slice(handshake.accept.as_bytes());
        output.extend_from_slice(b"\r\n");
        if handshake.subprotocol {
            response::push_field(output, "Sec-WebSocket-Protocol", SUBPROTOCOL);
        }
        if let Some(agreement) = handshake.deflate {
            response::push_field(output, "Sec-WebSocket-Extensions", &agreement.to_string());
        }
        response::push_end(output);
        let window = handshake.deflate.map(|agreement| agreement.window);
        let form = if raw && !handshake.subprotocol { Form::Frame(window) } else { Form::EnvelopeFrame(window) };
        self.connection.state =
            State::WebSocket(WebSocket { form, commands: handshake.subprotocol, pinged: false }, Decoder::default());
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
        self.world.note_behind(self.id);
        if handshake.subprotocol {
            self.confirm_subscriptions(unknown);
        }
        if !unknown.is_empty() && matches!(form, Form::Frame(_)) {
            return self.close_for_lag();
        }
        self.push_unknown_frames(unknown);
    }

    /// What `connect` has sent, and its close, now that they can be written.
    pub(super) fn say_after_connect(&mut self, call: &Call) {
        for sent in &call.sent {
            if let State::WebSocket(websocket, _) = &self.connection.state {
                websocket.send(sent.message(), self.world);
            }
        }
        if let Some(code) = call.close {
            self.close_websocket(code, "", Reason::Closing(code));
        }
    }

    /// Tells a client of `redpoll.v1` what its URL subscribed it to.
    fn confirm_subscriptions(&mut self, unknown: &[Unknown]) {
        let all: Vec<SubscriptionId> = self.world.hub.channels_of(self.id).collect();
        for subscription in all {
            self.confirm_subscription(subscription, unknown, &Ack::default());
        }
    }

    pub(super) fn confirm_subscription(&mut self, subscription: SubscriptionId, unknown: &[Unknown], ack: &Ack) {
        let name = self.world.hub.channel_name(self.world.hub.subscription(subscription).channel).clone();
        let observer = self.world.hub.next_subscription(subscription);
        let observer = observer.filter(|next| self.world.hub.observed_by(*next).is_some());
        let cursor = self.world.joined([Some(subscription), observer].into_iter().flatten(), unknown);
        self.push_json(|json| push_subscribed(json, &name, cursor, ack));
    }

    /// Tells what is missing before the first message.
    pub(super) fn push_unknown_frames(&mut self, unknown: &[Unknown]) {
        for gap in unknown {
            self.push_gap_frame(gap.subscription, gap.from, gap.to);
        }
    }

    /// Tells a gap; for joins and leaves it is how many members there are.
    pub(super) fn push_gap_frame(&mut self, subscription: SubscriptionId, from: Position, to: Position) {
        if self.world.hub.observed_by(subscription).is_some() {
            return self.push_members_frame(subscription);
        }
        let channel = self.world.hub.channel_name(self.world.hub.subscription(subscription).channel).clone();
        self.push_json(|json| push_gap(json, &channel, from, to));
        self.world.counters.gaps += 1;
    }

    /// Appends a text frame of what `write` appends.
    pub(super) fn push_json(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut json = Vec::new();
        write(&mut json);
        if !json.is_empty() {
            frame::encode(Opcode::Text, &json, &mut self.world.output);
        }
    }

    /// Decodes what has arrived and serves each message. Returns how many bytes were used.
    pub(super) fn receive_frames(&mut self, bytes: &mut [u8]) -> usize {
        let State::WebSocket(websocket, decoder) = &mut self.connection.state else { return bytes.len() };
        websocket.pinged = false;
        // Both are taken out while they work, since the consumer sees the connection.
        let mut decoder = std::mem::take(decoder);
        let Some(mut consumer) = self.connection.consumer.take() else { return bytes.len() };
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
        let mut at = 0;
        let ending = self.decode_all(&mut decoder, consumer.as_mut(), bytes, &mut at);
        self.connection.consumer = Some(consumer);
        if let State::WebSocket(_, unfinished) = &mut self.connection.state {
            *unfinished = decoder;
        }
        match ending {
            None => return at,
            Some(Ending::Peer(code)) => self.answer_close(code, at == bytes.len()),
            Some(Ending::Violation(violation)) => self.fail_websocket(violation),
            Some(Ending::Consumer(code, reason)) => {
                self.close_websocket(code, &reason, Reason::Closing(code));
                // What follows is not served any more, but the peer's Close may be in it.
                return at;
            }
        }
        bytes.len()
    }

    fn decode_all(
        &mut self,
        decoder: &mut Decoder,
        consumer: &mut dyn Consumer,
        bytes: &mut [u8],
        at: &mut usize,
    ) -> Option<Ending> {
        let State::WebSocket(websocket, _) = &self.connection.state else { return None };
        let limits = websocket.limits(&self.world.config);
        let mut call = Call::default();
        loop {
            let (used, event) = match decoder.decode(&mut bytes[*at..], &limits) {
                Ok(decoded) => decoded,
                Err(violation) => return Some(Ending::Violation(violation)),
            };
            *at += used;
            let ending = self.receive_event(event?, consumer, &mut call);
            if ending.is_some() || self.must_pause() {
                return ending;
            }
        }
    }

    /// `call` serves all messages of one read: whatever it asks for besides publishing ends the connection.
    fn receive_event(&mut self, event: Event, consumer: &mut dyn Consumer, call: &mut Call) -> Option<Ending> {
        match event {
            Event::Message { text, deflated, data } => {
                self.world.counters.messages += 1;
                log::trace!("{}: {} of {} bytes", self.id.0, if text { "text" } else { "binary" }, data.len());
                match deflated {
                    true => self.receive_deflated(text, data, consumer, call),
                    false => self.receive_message(text, data, consumer, call),
                }
            }
            Event::Ping(payload) => {
                frame::encode(Opcode::Pong, payload, &mut self.world.output);
                None
            }
            Event::Pong(_) => None,
            Event::Close(close) => Some(Ending::Peer(close.map(|(code, _)| code))),
        }
    }

    /// Inflates a message, which the consumer then gets like any other.
    fn receive_deflated(
        &mut self,
        text: bool,
        data: &[u8],
        consumer: &mut dyn Consumer,
        call: &mut Call,
    ) -> Option<Ending> {
        let State::WebSocket(websocket, _) = &self.connection.state else { return None };
        let Limits { message_bytes_max, .. } = websocket.limits(&self.world.config);
        let mut message = std::mem::take(&mut self.world.inflated);
        let inflated = self.world.inflater.inflate(data, message_bytes_max, &mut message);
        let checked = inflated.and_then(|()| if text { utf8::check(&message) } else { Ok(()) });
        let ending = match checked {
            Ok(()) => self.receive_message(text, &message, consumer, call),
            Err(violation) => Some(Ending::Violation(violation)),
        };
        message.clear();
        message.shrink_to(RECEIVE_BYTES);
        self.world.inflated = message;
        ending
    }

    fn receive_message(
        &mut self,
        text: bool,
        data: &[u8],
        consumer: &mut dyn Consumer,
        call: &mut Call,
    ) -> Option<Ending> {
        let message = Message::received(data, text);
        if let State::WebSocket(WebSocket { commands: true, .. }, _) = self.connection.state {
            return self.receive_command(message, consumer).map(|code| Ending::Consumer(code, String::new()));
        }
        consumer.receive(message, &mut self.context(call, None));
        call.published.clear();
        match (call.close, call.refused.take()) {
            (Some(code), _) => Some(Ending::Consumer(code, String::new())),
            (None, Some(refused)) => {
                self.world.counters.reach(refused.reached());
                Some(Ending::Consumer(code_of(&refused), refused.to_string()))
            }
            (None, None) => None,
        }
    }

    /// A peer that has been silent for a ping interval is pinged; after another one it is dropped.
    pub(super) fn expire_websocket(&mut self) {
        let State::WebSocket(websocket, _) = &mut self.connection.state else { return };
        if websocket.pinged {
            self.world.counters.dropped += 1;
            return self.drop_for(Reason::Silent);
        }
        websocket.pinged = true;
        frame::encode(Opcode::Ping, b"redpoll", &mut self.world.output);
        self.world.schedule(self.id, self.world.config.ping_interval_ms);
    }

    /// Closes a client of raw messages, which cannot be told a gap in any other way.
    pub(super) fn close_for_lag(&mut self) {
        self.world.counters.gaps += 1;
        let detail = "messages were lost: they came faster than they were read, or are not kept any more";
        self.close_websocket(CloseCode::LAGGED, detail, Reason::Closing(CloseCode::LAGGED));
    }

    pub(super) fn close_for_expiry(&mut self, refusal: &Status) {
        self.close_websocket(CloseCode::TOKEN_EXPIRED, refusal.explanation(), Reason::Expired);
    }

    pub(super) fn drain_websocket(&mut self) {
        self.close_websocket(CloseCode::GOING_AWAY, "the server is ending", Reason::Draining);
    }

    /// Begins the closing handshake from this side (RFC 6455 §7.1.2).
    fn close_websocket(&mut self, code: CloseCode, reason: &str, why: Reason) {
        self.end_consumer(why);
        frame::encode(Opcode::Close, &close::encode(code, reason), &mut self.world.output);
        let State::WebSocket(websocket, decoder) = &mut self.connection.state else { return };
        self.connection.state = State::Closing(*websocket, std::mem::take(decoder));
        self.world.schedule(self.id, self.world.config.linger_ms);
    }

    /// Answers the peer's Close with its own code (RFC 6455 §5.5.1); the server then ends the connection first
    /// (§7.1.1). `last` is whether nothing stood behind the Close.
    fn answer_close(&mut self, code: Option<CloseCode>, last: bool) {
        self.end_consumer(Reason::Closed(code.unwrap_or(CloseCode::new(1005))));
        let payload = code.map_or(Vec::new(), |code| close::encode(code, ""));
        frame::encode(Opcode::Close, &payload, &mut self.world.output);
        self.drain_after_close(last);
    }

    /// Fails the connection (RFC 6455 §7.1.7): nothing that the peer says can be understood any more.
    fn fail_websocket(&mut self, violation: Violation) {
        self.world.counters.violations += 1;
        self.world.counters.reach((violation.code == CloseCode::MESSAGE_TOO_BIG).then_some(Limit::MessageBytes));
        self.end_consumer(Reason::Closing(violation.code));
        frame::encode(Opcode::Close, &close::encode(violation.code, violation.detail), &mut self.world.output);
        self.drain_then_go(false);
    }
}

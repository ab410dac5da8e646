//! WebSocket: messages both ways (RFC 6455), until one side closes.

use super::closing::Closing;
use super::subscribe::Unknown;
use super::upgrade::{Handshake, SUBPROTOCOL};
use super::{State, Visit};
use crate::config::{Config, RECEIVE_BYTES};
use crate::consumer::{Call, Consumer, Message, Reason};
use crate::hub::Form;
use crate::wire::close::{self, CloseCode, Violation};
use crate::wire::command::{Ack, push_subscribed};
use crate::wire::envelope::push_gap;
use crate::wire::extension::Window;
use crate::wire::frame::{self, Opcode};
use crate::wire::message::{Decoder, Event, Limits, Role};
use crate::wire::position::Position;
use crate::wire::response;
use crate::wire::utf8;

/// An open WebSocket.
pub(crate) struct WebSocket {
    pub(super) form: Form,
    /// The client speaks `redpoll.v1`: what it sends are commands.
    commands: bool,
    /// A ping has been sent, and nothing has come since.
    pinged: bool,
}

impl WebSocket {
    /// What was agreed on for compression.
    pub(crate) fn window(&self) -> Option<Window> {
        self.form.window()
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
        response::push_status_line(output, 101);
        response::push_field(output, "Upgrade", "websocket");
        response::push_field(output, "Connection", "Upgrade");
        response::push_field(output, "Sec-WebSocket-Accept", &handshake.accept);
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
        self.world.behind.push(self.id);
        if handshake.subprotocol {
            self.confirm_subscriptions(unknown);
        }
        for gap in unknown {
            if let Form::Frame(_) = form {
                return self.close_for_lag();
            }
            let channel = self.world.hub.channel_name(self.world.hub.subscription(gap.subscription).channel).clone();
            self.push_gap_frame(&channel, gap.from, gap.to);
        }
    }

    /// Tells a client of `redpoll.v1` what its URL subscribed it to.
    fn confirm_subscriptions(&mut self, unknown: &[Unknown]) {
        let mut next = self.world.hub.first_subscription(self.id);
        while let Some(subscription) = next {
            let (channel, cursor) =
                (self.world.hub.subscription(subscription).channel, self.world.hub.subscription(subscription).cursor);
            let name = self.world.hub.channel_name(channel).clone();
            let gap = unknown.iter().find(|unknown| unknown.subscription == subscription);
            let position = gap.map_or(self.world.hub.position(cursor), |gap| gap.from);
            self.push_json(|json| push_subscribed(json, &name, position, &Ack::default()));
            next = self.world.hub.next_subscription(subscription);
        }
    }

    pub(super) fn push_gap_frame(&mut self, channel: &str, from: Position, to: Position) {
        self.push_json(|json| push_gap(json, channel, from, to));
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
            Some(Ending::Peer(code)) => self.answer_close(code),
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
        let deflate = matches!(&self.connection.state, State::WebSocket(open, _) if open.window().is_some());
        let limits = limits(&self.world.config, deflate);
        loop {
            let (used, event) = match decoder.decode(&mut bytes[*at..], &limits) {
                Ok(decoded) => decoded,
                Err(violation) => return Some(Ending::Violation(violation)),
            };
            *at += used;
            let ending = self.receive_event(event?, consumer);
            if ending.is_some() || self.must_pause() {
                return ending;
            }
        }
    }

    fn receive_event(&mut self, event: Event, consumer: &mut dyn Consumer) -> Option<Ending> {
        match event {
            Event::Message { text, deflated, data } => {
                self.world.counters.messages += 1;
                log::trace!("{}: {} of {} bytes", self.id.0, if text { "text" } else { "binary" }, data.len());
                match deflated {
                    true => self.receive_deflated(text, data, consumer),
                    false => self.receive_message(text, data, consumer),
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
    fn receive_deflated(&mut self, text: bool, data: &[u8], consumer: &mut dyn Consumer) -> Option<Ending> {
        let mut message = std::mem::take(&mut self.world.inflated);
        let inflated = self.world.inflater.inflate(data, self.world.config.message_bytes_max, &mut message);
        let checked = inflated.and_then(|()| if text { utf8::check(&message) } else { Ok(()) });
        let ending = match checked {
            Ok(()) => self.receive_message(text, &message, consumer),
            Err(violation) => Some(Ending::Violation(violation)),
        };
        message.clear();
        message.shrink_to(RECEIVE_BYTES);
        self.world.inflated = message;
        ending
    }

    fn receive_message(&mut self, text: bool, data: &[u8], consumer: &mut dyn Consumer) -> Option<Ending> {
        let message = match std::str::from_utf8(data) {
            Ok(data) if text => Message::text_of(data),
            _ => Message::binary_of(data),
        };
        if let State::WebSocket(WebSocket { commands: true, .. }, _) = self.connection.state {
            return self.receive_command(message, consumer).map(|code| Ending::Consumer(code, String::new()));
        }
        let mut call = Call::default();
        consumer.receive(message, &mut self.context(&mut call, None));
        match (call.close, call.refused) {
            (Some(code), _) => Some(Ending::Consumer(code, String::new())),
            (None, Some(refused)) if refused.code() == 503 => {
                Some(Ending::Consumer(CloseCode::TRY_AGAIN_LATER, refused.to_string()))
            }
            (None, Some(refused)) => Some(Ending::Consumer(CloseCode::INTERNAL_ERROR, refused.to_string())),
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

    pub(super) fn drain_websocket(&mut self) {
        self.close_websocket(CloseCode::GOING_AWAY, "the server is ending", Reason::Draining);
    }

    /// Begins the closing handshake from this side (RFC 6455 §7.1.2).
    fn close_websocket(&mut self, code: CloseCode, reason: &str, why: Reason) {
        self.end_consumer(why);
        frame::encode(Opcode::Close, &close::encode(code, reason), &mut self.world.output);
        let State::WebSocket(websocket, decoder) = &mut self.connection.state else { return };
        let (decoder, deflate) = (std::mem::take(decoder), websocket.window().is_some());
        self.connection.state = State::Closing(Closing { deflate }, decoder);
        self.world.schedule(self.id, self.world.config.linger_ms);
    }

    /// Answers the peer's Close with its own code (RFC 6455 §5.5.1); the server then ends the connection first
    /// (§7.1.1).
    fn answer_close(&mut self, code: Option<CloseCode>) {
        self.end_consumer(Reason::Closed(code.unwrap_or(CloseCode::new(1005))));
        let payload = code.map_or(Vec::new(), |code| close::encode(code, ""));
        frame::encode(Opcode::Close, &payload, &mut self.world.output);
        self.drain_then_go(false);
    }

    /// Fails the connection (RFC 6455 §7.1.7): nothing that the peer says can be understood any more.
    fn fail_websocket(&mut self, violation: Violation) {
        self.world.counters.violations += 1;
        self.end_consumer(Reason::Closing(violation.code));
        frame::encode(Opcode::Close, &close::encode(violation.code, violation.detail), &mut self.world.output);
        self.drain_then_go(false);
    }
}

/// What is accepted of a client.
pub(super) fn limits(config: &Config, deflate: bool) -> Limits {
    Limits { role: Role::Server, message_bytes_max: config.message_bytes_max, deflate }
}

//! Publications: one message in a channel's log, encoded at most once for each wire form.

use std::rc::Rc;

use crate::wire::envelope::{self, Payload};
use crate::wire::event_stream;
use crate::wire::frame::{self, Opcode};
use crate::wire::position::Position;

/// How a publication is written for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A WebSocket frame of the payload.
    Frame,
    /// A WebSocket frame of the JSON envelope.
    EnvelopeFrame,
    /// An `id:` line, then the payload as event stream lines.
    Event,
    /// An `id:` line, then the JSON envelope as event stream lines.
    EnvelopeEvent,
    /// The JSON envelope, for the answers of polls.
    Envelope,
}

/// One message of a channel.
#[derive(Debug)]
pub struct Publication {
    /// The payload as an unmasked WebSocket frame: the payload itself is its tail, so it is held only once.
    frame: Rc<[u8]>,
    payload_bytes: usize,
    binary: bool,
    event: Option<Box<str>>,
    /// When it was published, by the monotonic clock.
    pub(super) at_ms: u64,
    /// The other forms, made when the first subscriber needs them.
    encoded: Vec<(Form, Rc<[u8]>)>,
}

impl Publication {
    pub(super) fn new(data: &[u8], binary: bool, event: Option<&str>, at_ms: u64) -> Publication {
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        let mut bytes = Vec::with_capacity(data.len() + frame::HEADER_BYTES_MAX);
        frame::encode(opcode, data, &mut bytes);
        Publication {
            frame: bytes.into(),
            payload_bytes: data.len(),
            binary,
            event: event.map(Into::into),
            at_ms,
            encoded: Vec::new(),
        }
    }

    /// The message as it was published.
    pub fn data(&self) -> &[u8] {
        &self.frame[self.frame.len() - self.payload_bytes..]
    }

    /// The message as text; `None` if it is binary.
    pub fn text(&self) -> Option<&str> {
        if self.binary { None } else { std::str::from_utf8(self.data()).ok() }
    }

    /// Whether it was published as binary.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// The name that the publisher gave it.
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// What it costs to hold, with the forms made so far.
    pub(super) fn held_bytes(&self) -> usize {
        let forms: usize = self.encoded.iter().map(|(_, bytes)| held_by_form(bytes)).sum();
        size_of::<Publication>() + self.frame.len() + self.event().map_or(0, str::len) + forms
    }

    /// The bytes of one form if they were made before.
    pub(super) fn encoded(&self, form: Form) -> Option<&Rc<[u8]>> {
        match form {
            Form::Frame => Some(&self.frame),
            form => self.encoded.iter().find(|(made, _)| *made == form).map(|(_, bytes)| bytes),
        }
    }

    /// Makes the bytes of one form, and says what they cost to hold.
    pub(super) fn encode(&mut self, form: Form, channel: &str, id: Position) -> usize {
        let mut bytes = Vec::new();
        match form {
            Form::Frame => return 0,
            Form::Envelope => self.push_envelope(channel, id, &mut bytes),
            Form::EnvelopeFrame => {
                let mut json = Vec::new();
                self.push_envelope(channel, id, &mut json);
                frame::encode(Opcode::Text, &json, &mut bytes);
            }
            Form::EnvelopeEvent => {
                let mut json = Vec::new();
                self.push_envelope(channel, id, &mut json);
                event_stream::push_id(&mut bytes, id);
                event_stream::push_event(&mut bytes, self.event(), &String::from_utf8_lossy(&json));
            }
            Form::Event => {
                event_stream::push_id(&mut bytes, id);
                match self.text() {
                    Some(text) => event_stream::push_event(&mut bytes, self.event(), text),
                    None => event_stream::push_event(&mut bytes, Some("binary"), &envelope::base64(self.data())),
                }
            }
        }
        let bytes: Rc<[u8]> = bytes.into();
        let held = held_by_form(&bytes);
        self.encoded.push((form, bytes));
        held
    }

    fn push_envelope(&self, channel: &str, id: Position, into: &mut Vec<u8>) {
        let payload = self.text().map_or(Payload::Binary(self.data()), Payload::Text);
        envelope::push_envelope(into, channel, id, self.event(), payload);
    }
}

fn held_by_form(bytes: &Rc<[u8]>) -> usize {
    size_of::<(Form, Rc<[u8]>)>() + bytes.len()
}

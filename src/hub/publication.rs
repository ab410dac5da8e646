//! Publications: one message in a channel's log, encoded at most once for each wire form.

use std::rc::Rc;

use crate::pages::heap_bytes;
use crate::wire::deflate::Deflater;
use crate::wire::envelope::{self, Payload};
use crate::wire::event_stream;
use crate::wire::extension::Window;
use crate::wire::frame::{self, Opcode};
use crate::wire::position::Position;

/// How a publication is written for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A WebSocket frame of the payload, compressed where a window was agreed on.
    Frame(Option<Window>),
    /// A WebSocket frame of the JSON envelope, likewise.
    EnvelopeFrame(Option<Window>),
    /// An `id:` line, then the payload as event stream lines.
    Event,
    /// An `id:` line, then the JSON envelope as event stream lines.
    EnvelopeEvent,
    /// The JSON envelope, for the answers of polls.
    Envelope,
}

impl Form {
    /// The window that was agreed on with those who get this form.
    pub(crate) fn window(self) -> Option<Window> {
        match self {
            Form::Frame(window) | Form::EnvelopeFrame(window) => window,
            _ => None,
        }
    }

    /// The form in which a message of so many bytes really goes out: a small one is not compressed for anyone.
    fn of_size(self, payload_bytes: usize, deflater: &Deflater) -> Form {
        match self {
            Form::Frame(window) => Form::Frame(deflater.window_for(payload_bytes, window)),
            Form::EnvelopeFrame(window) => Form::EnvelopeFrame(deflater.window_for(payload_bytes, window)),
            form => form,
        }
    }

    /// The form in which what is an envelope already goes out to those who get envelopes.
    fn without_envelope(self) -> Form {
        match self {
            Form::EnvelopeFrame(window) => Form::Frame(window),
            Form::EnvelopeEvent => Form::Event,
            form => form,
        }
    }
}

/// A publication's bytes in one form.
pub(super) struct Encoded {
    pub(super) bytes: Rc<[u8]>,
    /// They were not there before.
    pub(super) made: bool,
    /// What they then cost to hold.
    pub(super) held_bytes: usize,
}

/// One message of a channel.
#[derive(Debug)]
pub struct Publication {
    /// The payload as an unmasked WebSocket frame: the payload itself is its tail, so it is held only once.
    frame: Rc<[u8]>,
    payload_bytes: usize,
    binary: bool,
    /// The payload is the envelope.
    is_envelope: bool,
    event: Option<Box<str>>,
    /// When it was published, by the monotonic clock.
    pub(super) at_ms: u64,
    /// The other forms, made when the first subscriber needs them.
    encoded: Vec<(Form, Rc<[u8]>)>,
}

impl Publication {
    pub(super) fn new(data: &[u8], binary: bool, event: Option<&str>, at_ms: u64) -> Publication {
        let mut bytes = Vec::with_capacity(data.len() + frame::HEADER_BYTES_MAX);
        frame::encode(opcode_of(binary), data, &mut bytes);
        Publication {
            frame: bytes.into(),
            payload_bytes: data.len(),
            binary,
            is_envelope: false,
            event: event.map(Into::into),
            at_ms,
            encoded: Vec::new(),
        }
    }

    /// What the server itself says on a channel: JSON, as it goes into envelopes' place.
    pub(super) fn of_envelope(json: &[u8], event: &str, at_ms: u64) -> Publication {
        Publication { is_envelope: true, ..Publication::new(json, false, Some(event), at_ms) }
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

    /// What it costs to hold besides its place in the log, with the forms made so far.
    pub(super) fn held_bytes(&self) -> usize {
        held_by(&self.frame) + heap_bytes(self.event().map_or(0, str::len)) + self.form_bytes()
    }

    /// What a publication will cost that is not made yet.
    pub(super) fn cost(payload_bytes: usize, event: Option<&str>) -> usize {
        let frame_bytes = COUNTS_BYTES + payload_bytes + frame::HEADER_BYTES_MAX;
        size_of::<Publication>() + heap_bytes(frame_bytes) + heap_bytes(event.map_or(0, str::len))
    }

    fn form_bytes(&self) -> usize {
        let forms: usize = self.encoded.iter().map(|(_, bytes)| held_by(bytes)).sum();
        heap_bytes(self.encoded.capacity() * size_of::<(Form, Rc<[u8]>)>()) + forms
    }

    /// The bytes of one form, which are made if there are none yet, and kept for the next one if `room_bytes` are
    /// enough: as JSON a message may be six times as long.
    pub(super) fn encoded(
        &mut self,
        form: Form,
        channel: &str,
        id: Position,
        deflater: &mut Deflater,
        room_bytes: usize,
    ) -> Encoded {
        let form = if self.is_envelope { form.without_envelope() } else { form };
        let form = form.of_size(self.payload_bytes, deflater);
        if form == Form::Frame(None) {
            return Encoded { bytes: Rc::clone(&self.frame), made: false, held_bytes: 0 };
        }
        if let Some((_, bytes)) = self.encoded.iter().find(|(made, _)| *made == form) {
            return Encoded { bytes: Rc::clone(bytes), made: false, held_bytes: 0 };
        }
        let before = self.form_bytes();
        let bytes: Rc<[u8]> = self.encode(form, channel, id, deflater).into();
        let place_bytes = heap_bytes((self.encoded.len() + 1) * size_of::<(Form, Rc<[u8]>)>());
        if held_by(&bytes) + place_bytes <= room_bytes {
            self.encoded.reserve_exact(1);
            self.encoded.push((form, Rc::clone(&bytes)));
        }
        Encoded { bytes, made: true, held_bytes: self.form_bytes() - before }
    }

    /// Lets go of the forms that nobody is being written: they can be made again. Returns what they had cost to hold.
    pub(super) fn forget_forms(&mut self) -> usize {
        let before = self.form_bytes();
        self.encoded.retain(|(_, bytes)| Rc::strong_count(bytes) > 1);
        self.encoded.shrink_to_fit();
        before - self.form_bytes()
    }

    /// The bytes of which some connection has been written a part.
    pub(super) fn into_pinned(self) -> impl Iterator<Item = Rc<[u8]>> {
        let forms = self.encoded.into_iter().map(|(_, bytes)| bytes);
        std::iter::once(self.frame).chain(forms).filter(|bytes| Rc::strong_count(bytes) > 1)
    }

    fn encode(&self, form: Form, channel: &str, id: Position, deflater: &mut Deflater) -> Vec<u8> {
        let mut bytes = Vec::new();
        match form {
            Form::Frame(window) => deflater.encode(opcode_of(self.binary), self.data(), window, &mut bytes),
            Form::Envelope if self.is_envelope => bytes.extend_from_slice(self.data()),
            Form::Envelope => self.push_envelope(channel, id, &mut bytes),
            Form::EnvelopeFrame(window) => {
                let mut json = Vec::new();
                self.push_envelope(channel, id, &mut json);
                deflater.encode(Opcode::Text, &json, window, &mut bytes);
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
        bytes
    }

    fn push_envelope(&self, channel: &str, id: Position, into: &mut Vec<u8>) {
        let payload = self.text().map_or(Payload::Binary(self.data()), Payload::Text);
        envelope::push_envelope(into, channel, id, self.event(), payload);
    }
}

/// What shared bytes take.
pub(super) fn held_by(bytes: &Rc<[u8]>) -> usize {
    heap_bytes(COUNTS_BYTES + bytes.len())
}

/// The two counts before what an `Rc` holds.
pub(super) const COUNTS_BYTES: usize = 2 * size_of::<usize>();

fn opcode_of(binary: bool) -> Opcode {
    if binary { Opcode::Binary } else { Opcode::Text }
}

//! Messages: what arrives, in whatever pieces, becomes whole messages and control frames (RFC 6455 §5.4 to §5.6).
//!
//! A frame that is wholly among the bytes that were read is unmasked there and given out as a slice of them: no copy,
//! no allocation. Only what is not finished is kept, in one box that goes away with it. So an idle connection's
//! decoder is one null pointer.

use super::close::{self, CloseCode, Violation};
use super::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};
use super::mask;
use super::utf8::{self, Utf8};

/// Which end of the connection is decoding: clients mask their frames, servers do not (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Decodes what a client sends: every frame must be masked.
    Server,
    /// Decodes what a server sends: no frame may be masked.
    Client,
}

/// What a [`Decoder`] accepts. The same for all of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The end of the connection that is decoding.
    pub role: Role,
    /// The largest message, in bytes of payload over all its frames. A compressed one may have a sixteenth and 64 bytes
    /// more on the wire, and ten for each frame, up to eight times as much in all: what cannot be compressed becomes
    /// larger.
    pub message_bytes_max: usize,
    /// Whether permessage-deflate was negotiated, so that messages may be compressed (RFC 7692).
    pub deflate: bool,
}

/// What a peer has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message {
        /// Whether it is text, and then `data` is UTF-8 unless it is deflated.
        text: bool,
        /// Whether `data` is still compressed: only where [`Limits::deflate`] allows it. Its text is not yet checked.
        deflated: bool,
        /// The payload of all its frames.
        data: &'a [u8],
    },
    /// A ping, to be answered with a pong of the same payload (RFC 6455 §5.5.3). At most 125 bytes.
    Ping(&'a [u8]),
    /// A pong. At most 125 bytes.
    Pong(&'a [u8]),
    /// The closing handshake, with a code and a reason if the peer gave them. Nothing after it counts.
    Close(Option<(CloseCode, &'a str)>),
}

/// Puts a connection's bytes together to messages. The size of a pointer; null while nothing is unfinished.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Partial>>);

const _: () = assert!(size_of::<Decoder>() == size_of::<usize>(), "every idle WebSocket has a decoder");

impl Decoder {
    /// Decodes up to the next event. Returns how many bytes it took, which is all of them where there is no event.
    ///
    /// To be called until there is none, each time with what is left, also when nothing is left: a message that was
    /// kept here is released by the call after the one that gave it out.
    ///
    /// Fails with the close code that answers the peer: 1002 for a frame that may not come here, 1007 for a text
    /// that cannot be UTF-8 any more, 1009 as soon as a header shows that the message is too big. A failed decoder,
    /// and one that has given out a close, is not to be used again.
    ///
    /// The cost is linear in the bytes, however they are split; `bytes` are overwritten.
    pub fn decode<'a>(
        &'a mut self,
        bytes: &'a mut [u8],
        limits: &Limits,
    ) -> Result<(usize, Option<Event<'a>>), Violation> {
        self.release();
        let mut at = 0;
        while at < bytes.len() {
            let (used, found) = self.step(&mut bytes[at..], limits)?;
            at += used;
            if let Some(found) = found {
                return Ok((at, Some(self.event(found, &bytes[..at])?)));
            }
        }
        Ok((at, None))
    }

    /// The memory held for what is not finished, in bytes; 0 for an idle connection.
    pub fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.data.capacity())
    }

    /// Lets go of what the last call gave out.
    fn release(&mut self) {
        match self.0.as_deref_mut() {
            // In the middle of a frame: nothing was given out.
            Some(Partial { frame: Some(_), .. } | Partial { header_bytes: 1.., .. }) | None => {}
            // Between the frames of a message: only a control frame can have been.
            Some(Partial { message: Some(message), data, .. }) => data.truncate(message.bytes),
            Some(_) => self.0 = None,
        }
    }

    /// Takes from `bytes` what belongs to one frame: its header if it has not been read, and its payload as far as
    /// it is there. Says how many bytes it took, at least one, and what is complete with them.
    fn step(&mut self, bytes: &mut [u8], limits: &Limits) -> Result<(usize, Option<Found>), Violation> {
        if let Some(partial) = &mut self.0
            && let Some(frame) = partial.frame.take()
        {
            return partial.collect(frame, bytes);
        }
        let Some((header, used)) = self.decode_header(bytes)? else { return Ok((bytes.len(), None)) };
        let room_bytes_max = self.admit(&header, limits)?;
        let rest = &mut bytes[used..];
        let frame = Frame { header, missing: header.payload_bytes as usize, room_bytes_max };
        let (more, found) = match rest.get_mut(..frame.missing) {
            Some(payload) if frame.is_whole() => (frame.missing, Some(frame.take_in_place(payload)?)),
            _ => self.0.get_or_insert_default().begin(frame, rest)?,
        };
        Ok((used + more, found))
    }

    /// Reads a frame's header, of which earlier calls may have kept the beginning. `None` where it is not complete:
    /// then all of `bytes` are kept.
    fn decode_header(&mut self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let kept = self.0.as_ref().map_or(0, |partial| partial.header_bytes);
        if kept == 0 {
            let decoded = Header::decode(bytes)?;
            if decoded.is_none() {
                self.0.get_or_insert_default().keep_header(bytes);
            }
            return Ok(decoded);
        }
        let partial = self.0.get_or_insert_default();
        partial.keep_header(bytes);
        let decoded = Header::decode(&partial.header[..partial.header_bytes])?;
        Ok(decoded.map(|(header, header_bytes)| {
            partial.header_bytes = 0;
            (header, header_bytes - kept)
        }))
    }

    /// Refuses a frame that does not fit the role, the limits or what came before. Returns how much payload its message
    /// may have until it has ended.
    fn admit(&self, header: &Header, limits: &Limits) -> Result<usize, Violation> {
        match (limits.role, header.masking_key) {
            // §5.1: "The server MUST close the connection upon receiving a frame that is not masked", and
            // "A client MUST close a connection if it detects a masked frame".
            (Role::Server, None) => return Err(Violation::protocol("a client must mask its frames")),
            (Role::Client, Some(_)) => return Err(Violation::protocol("a server must not mask its frames")),
            _ => {}
        }
        if header.rsv1 && !limits.deflate {
            // §5.2
            return Err(Violation::protocol("RSV1 must be 0 where no extension was negotiated"));
        }
        let message = self.0.as_ref().and_then(|partial| partial.message.as_ref());
        match (header.opcode, message) {
            // §5.4
            (Opcode::Continuation, None) => return Err(Violation::protocol("there is no message to continue")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::protocol("the message before has not ended"));
            }
            _ => {}
        }
        let deflated = message.map_or(header.rsv1, |message| message.deflated);
        let most = match deflated {
            true => deflated_bytes_max(limits.message_bytes_max, message.map_or(0, |message| message.frames)),
            false => limits.message_bytes_max,
        };
        let left = most.saturating_sub(message.map_or(0, |message| message.bytes));
        if header.opcode.is_control() {
            // Whatever its message has, it comes behind that.
            return Ok(message.map_or(0, |_| most).saturating_add(CONTROL_BYTES_MAX));
        }
        if header.payload_bytes > left as u64 {
            return Err(Violation { code: CloseCode::MESSAGE_TOO_BIG, detail: "the message is too big" });
        }
        Ok(most)
    }

    /// What was found, with its payload: the end of the bytes that were used, or of what was kept.
    fn event<'a>(&'a self, found: Found, used: &'a [u8]) -> Result<Event<'a>, Violation> {
        let bytes = match &self.0 {
            Some(partial) if found.kept => &partial.data,
            _ => used,
        };
        let data = &bytes[bytes.len() - found.payload_bytes..];
        Ok(match found.opcode {
            Opcode::Ping => Event::Ping(data),
            Opcode::Pong => Event::Pong(data),
            Opcode::Close => Event::Close(close::decode(data)?),
            opcode => Event::Message { text: opcode == Opcode::Text, deflated: found.deflated, data },
        })
    }
}

/// How large a compressed message may be that unpacks to `message_bytes_max`: DEFLATE adds five bytes to each stored
/// block (RFC 1951 §3.2.4), compressors with small windows make small blocks, and some clients flush at the end of each
/// frame.
fn deflated_bytes_max(message_bytes_max: usize, frames: usize) -> usize {
    let flushes = FLUSH_BYTES.saturating_mul(frames);
    let most = message_bytes_max.saturating_add(message_bytes_max / 16 + 64).saturating_add(flushes);
    most.min(message_bytes_max.saturating_mul(DEFLATED_TIMES_MAX).saturating_add(64))
}

/// The end of a block, and an empty stored one.
const FLUSH_BYTES: usize = 10;
/// However many frames there are: one byte and a flush in each is not more.
const DEFLATED_TIMES_MAX: usize = 8;

/// A message or control frame that is complete, and where its payload lies. Not yet an [`Event`], which
/// borrows the payload, so that the loop over frames can go on borrowing it for writing.
#[derive(Debug)]
struct Found {
    /// Text or binary for a message, else the control frame's.
    opcode: Opcode,
    deflated: bool,
    payload_bytes: usize,
    /// Whether the payload was collected in [`Partial::data`]; else it lies among the bytes just read.
    kept: bool,
}

/// What of a connection's bytes is not finished.
#[derive(Debug, Default)]
struct Partial {
    /// The beginning of a frame header.
    header: [u8; HEADER_BYTES_MAX],
    /// How much of `header` there is; 0 where none is cut.
    header_bytes: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The message that has begun and not ended.
    message: Option<Message>,
    /// The message's payload so far, then that of a control frame that came in between.
    data: Vec<u8>,
}

impl Partial {
    /// Keeps as much of a header as there can be.
    fn keep_header(&mut self, bytes: &[u8]) {
        let room = &mut self.header[self.header_bytes..];
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.header_bytes += count;
    }

    /// Begins to collect a frame's payload, of which `bytes` may hold some.
    fn begin(&mut self, frame: Frame, bytes: &mut [u8]) -> Result<(usize, Option<Found>), Violation> {
        let Header { opcode, rsv1: deflated, .. } = frame.header;
        if matches!(opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(Message { opcode, deflated, utf8: Utf8::default(), bytes: 0, frames: 0 });
        }
        self.collect(frame, bytes)
    }

    /// Takes the frame's payload from `bytes`, as far as it is there.
    fn collect(&mut self, mut frame: Frame, bytes: &mut [u8]) -> Result<(usize, Option<Found>), Violation> {
        let count = bytes.len().min(frame.missing);
        let arrived = &mut bytes[..count];
        let ascii = frame.unmask(arrived);
        if let Some(message) = &mut self.message
            && !frame.header.opcode.is_control()
        {
            message.push(arrived, ascii)?;
        }
        self.make_room(&frame, count);
        self.data.extend_from_slice(arrived);
        frame.missing -= count;
        if frame.missing == 0 {
            return Ok((count, self.end(&frame)?));
        }
        self.frame = Some(frame);
        Ok((count, None))
    }

    /// Makes room for `count` bytes more.
    ///
    /// Room doubles, so that the cost stays linear, and it follows what has arrived: what a header announces is never
    /// reserved ahead. What may still come only limits it: the rest of the last frame, or all that a message may have.
    fn make_room(&mut self, frame: &Frame, count: usize) {
        let (len, capacity) = (self.data.len(), self.data.capacity());
        if count > capacity - len {
            let last = frame.header.fin && !frame.header.opcode.is_control();
            let end = if last { len + frame.missing } else { frame.room_bytes_max };
            self.data.reserve_exact(end.min(2 * capacity).max(len + count) - len);
        }
    }

    /// Ends a frame, and the message if it was its last.
    fn end(&mut self, frame: &Frame) -> Result<Option<Found>, Violation> {
        let Header { fin, opcode, payload_bytes, .. } = frame.header;
        if opcode.is_control() {
            return Ok(Some(Found { opcode, deflated: false, payload_bytes: payload_bytes as usize, kept: true }));
        }
        if let Some(message) = &mut self.message {
            message.frames += 1;
        }
        let Some(message) = self.message.take_if(|_| fin) else { return Ok(None) };
        message.utf8.complete()?;
        Ok(Some(Found {
            opcode: message.opcode,
            deflated: message.deflated,
            payload_bytes: self.data.len(),
            kept: true,
        }))
    }
}

/// A frame that passed [`Decoder::admit`], so that its length is within the limits and a `usize`.
#[derive(Debug)]
struct Frame {
    header: Header,
    /// How much of the payload has not arrived, in bytes.
    missing: usize,
    /// How much its message, and the control frame among its fragments, can come to, in bytes.
    room_bytes_max: usize,
}

impl Frame {
    /// Whether the frame is all of its message, or a control frame.
    fn is_whole(&self) -> bool {
        self.header.fin && self.header.opcode != Opcode::Continuation
    }

    /// Takes the mask off the next bytes of the payload. Returns whether they are known to be ASCII.
    fn unmask(&self, bytes: &mut [u8]) -> bool {
        let before = self.header.payload_bytes as usize - self.missing;
        self.header.masking_key.is_some_and(|key| mask::unmask(bytes, key, before))
    }

    /// Takes a message or control frame whose payload is all there.
    fn take_in_place(&self, payload: &mut [u8]) -> Result<Found, Violation> {
        let Header { opcode, rsv1: deflated, .. } = self.header;
        let ascii = self.unmask(payload);
        if opcode == Opcode::Text && !deflated && !ascii {
            utf8::check(payload)?;
        }
        Ok(Found { opcode, deflated, payload_bytes: payload.len(), kept: false })
    }
}

/// A message of which some has arrived.
#[derive(Debug)]
struct Message {
    /// Text or binary.
    opcode: Opcode,
    deflated: bool,
    /// The check of a text that is not deflated; for all else it stays as it began.
    utf8: Utf8,
    /// How many bytes of payload have arrived.
    bytes: usize,
    /// How many frames have arrived whole.
    frames: usize,
}

impl Message {
    /// Checks the next bytes as they arrive: a text fails at the first byte that cannot be right (RFC 6455 §8.1). What
    /// is known to be `ascii` is right, unless it comes in the middle of a character.
    fn push(&mut self, bytes: &[u8], ascii: bool) -> Result<(), Violation> {
        self.bytes += bytes.len();
        let right = ascii && self.utf8.complete().is_ok();
        if self.opcode == Opcode::Text && !self.deflated && !right { self.utf8.push(bytes) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::encode_masked;

    const SERVER: Limits = Limits { role: Role::Server, message_bytes_max: 1 << 20, deflate: false };
    const CLIENT: Limits = Limits { role: Role::Client, ..SERVER };

    /// What happened, in order: `text`, `binary`, `ping`, `pong` or `close` with the payload, at last the close code
    /// of a violation.
    type Story = Vec<(&'static str, Vec<u8>)>;

    /// Lets a decoder have the pieces one after the other, as a connection would.
    fn tell<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Story {
        let (mut decoder, mut story) = (Decoder::default(), Story::new());
        for piece in pieces {
            if let Err(violation) = feed(&mut decoder, piece, limits, &mut story) {
                story.push(("violation", violation.code.to_string().into_bytes()));
                break;
            }
        }
        story
    }

    fn feed(decoder: &mut Decoder, piece: &[u8], limits: &Limits, story: &mut Story) -> Result<(), Violation> {
        let (mut bytes, mut at) = (piece.to_vec(), 0);
        loop {
            let (used, event) = decoder.decode(&mut bytes[at..], limits)?;
            at += used;
            story.push(match event {
                Some(Event::Message { text: true, data, .. }) => ("text", data.to_vec()),
                Some(Event::Message { data, .. }) => ("binary", data.to_vec()),
                Some(Event::Ping(data)) => ("ping", data.to_vec()),
                Some(Event::Pong(data)) => ("pong", data.to_vec()),
                Some(Event::Close(close)) => ("close", format!("{close:?}").into_bytes()),
                None => break,
            });
        }
        assert_eq!(at, piece.len(), "without an event all bytes are used");
        Ok(())
    }

    /// Appends one frame, masked when it comes from a client; `first` is its first byte.
    fn frame(first: u8, payload: &[u8], limits: &Limits, out: &mut Vec<u8>) {
        let start = out.len();
        match limits.role {
            Role::Server => encode_masked(Opcode::Text, payload, [7, first, 0xa5, 3], out),
            Role::Client => crate::wire::frame::encode(Opcode::Text, payload, out),
        }
        out[start] = first;
    }

    /// First bytes and payloads.
    type Frames<'a> = &'a [(u8, &'a [u8])];

    fn frames(frames: Frames, limits: &Limits) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|(first, payload)| frame(*first, payload, limits, &mut bytes));
        bytes
    }

    /// Asserts that the bytes tell the same story whole, byte by byte and at every split.
    fn assert_story(bytes: &[u8], limits: &Limits, expected: &[(&'static str, &[u8])]) {
        let expected: Story = expected.iter().map(|(what, payload)| (*what, payload.to_vec())).collect();
        assert_eq!(tell([bytes], limits), expected, "{bytes:02x?} whole");
        assert_eq!(tell(bytes.chunks(1), limits), expected, "{bytes:02x?} byte by byte");
        for split in 0..=bytes.len() {
            let (first, second) = bytes.split_at(split);
            assert_eq!(tell([first, b"", second], limits), expected, "{bytes:02x?} split at {split}");
        }
    }

    #[test]
    fn frames_become_messages_in_both_roles() {
        for limits in [SERVER, CLIENT] {
            let whole = frames(&[(0x81, b"Hello"), (0x82, b"\xff\0"), (0x81, b""), (0x89, b"p"), (0x8a, b"")], &limits);
            let story: [(_, &[u8]); 5] =
                [("text", b"Hello"), ("binary", b"\xff\0"), ("text", b""), ("ping", b"p"), ("pong", b"")];
            assert_story(&whole, &limits, &story);
            let fragments =
                [(0x01, &b"Hel"[..]), (0x89, b"one"), (0x00, b""), (0x8a, b""), (0x80, b"lo"), (0x82, b"x")];
            let story: [(_, &[u8]); 4] = [("ping", b"one"), ("pong", b""), ("text", b"Hello"), ("binary", b"x")];
            assert_story(&frames(&fragments, &limits), &limits, &story);
            let close = frames(&[(0x02, b"abc"), (0x88, b"\x03\xe8bye"), (0x88, b"")], &limits);
            let story: [(_, &[u8]); 2] = [("close", b"Some((CloseCode(1000), \"bye\"))"), ("close", b"None")];
            assert_story(&close, &limits, &story);
        }
    }

    #[test]
    fn a_violation_has_its_code_however_the_bytes_are_split() {
        let small = Limits { message_bytes_max: 5, ..SERVER };
        let table: [(Frames, &Limits, &[u8]); 14] = [
            (&[(0x80, b"x")], &SERVER, b"1002"),
            (&[(0x00, b"x")], &SERVER, b"1002"),
            (&[(0x01, b"x"), (0x81, b"y")], &SERVER, b"1002"),
            (&[(0x02, b"x"), (0x01, b"y")], &SERVER, b"1002"),
            (&[(0xc1, b"x")], &SERVER, b"1002"),
            (&[(0x88, b"x")], &SERVER, b"1002"),
            (&[(0x88, b"\x03\xedx")], &SERVER, b"1002"),
            (&[(0x88, b"\x03\xe8\xff")], &SERVER, b"1007"),
            (&[(0x81, b"\xce\xba\xff")], &SERVER, b"1007"),
            (&[(0x81, b"\xce\xba\xe1")], &SERVER, b"1007"),
            (&[(0x01, b"\xce\xba\xe1"), (0x00, b"\xbd"), (0x80, b"")], &SERVER, b"1007"),
            (&[(0x01, b"\xf4"), (0x80, b"\x90")], &SERVER, b"1007"),
            (&[(0x82, b"123456")], &small, b"1009"),
            (&[(0x02, b"123"), (0x00, b""), (0x80, b"456")], &small, b"1009"),
        ];
        for (list, limits, code) in table {
            assert_story(&frames(list, limits), limits, &[("violation", code)]);
        }
        assert_story(&frames(&[(0x81, b"x")], &CLIENT), &SERVER, &[("violation", b"1002")]);
        assert_story(&frames(&[(0x81, b"x")], &SERVER), &CLIENT, &[("violation", b"1002")]);
    }

    #[test]
    fn a_text_fails_at_the_first_byte_that_cannot_be_right() {
        let text = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xf4\x90";
        let mut unfragmented = frames(&[(0x81, &[&text[..], b"\x80\x80edited"].concat())], &SERVER);
        unfragmented.truncate(unfragmented.len() - 8);
        let mut fragments = frames(&[(0x01, &text[..3]), (0x89, b"\xff"), (0x80, &text[3..])], &SERVER);
        for bytes in [&mut unfragmented, &mut fragments] {
            assert_eq!(tell(bytes.chunks(1), &SERVER).last(), Some(&("violation", b"1007".to_vec())));
            bytes.pop();
            assert_ne!(tell(bytes.chunks(1), &SERVER).last(), Some(&("violation", b"1007".to_vec())));
        }
    }

    #[test]
    fn a_message_that_is_too_big_is_refused_by_its_header() {
        let limits = Limits { message_bytes_max: 65535, ..SERVER };
        let too_big = Header { masking_key: Some([0; 4]), ..Header::new(Opcode::Binary, 65536) };
        let endless = Header { payload_bytes: u64::MAX >> 1, ..too_big };
        for header in [too_big, endless] {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            assert_story(&bytes, &limits, &[("violation", b"1009")]);
        }
    }

    #[test]
    fn a_compressed_message_is_given_out_as_it_is_where_deflate_was_negotiated() {
        let limits = Limits { deflate: true, ..SERVER };
        for mut bytes in [frames(&[(0xc1, b"\xff")], &limits), frames(&[(0x41, b""), (0x80, b"\xff")], &limits)] {
            let event = Event::Message { text: true, deflated: true, data: b"\xff" };
            let expected = Ok((bytes.len(), Some(event)));
            assert_eq!(Decoder::default().decode(&mut bytes, &limits), expected);
        }
    }

    #[test]
    fn only_what_is_unfinished_holds_memory_and_no_more_than_twice_its_size() {
        let mut decoder = Decoder::default();
        let mut bytes = frames(&[(0x82, &[1; 100_000]), (0x89, b"ping")], &SERVER);
        assert!(decoder.decode(&mut bytes.clone(), &SERVER).is_ok_and(|(_, event)| event.is_some()));
        assert_eq!(decoder.held_bytes(), 0, "a whole frame is not copied");
        let (mut arrived, mut story) = (0, Story::new());
        for piece in bytes.chunks_mut(1000) {
            assert_eq!(feed(&mut decoder, piece, &SERVER, &mut story), Ok(()));
            arrived += piece.len();
            assert!(decoder.held_bytes() <= size_of::<Partial>() + (2 * arrived).min(100_000), "{arrived}");
        }
        assert_eq!(story.len(), 2);
        assert_eq!(decoder.held_bytes(), 0, "a message is released by the call after the one that gave it out");
    }

    #[test]
    fn the_cost_is_linear_however_small_the_fragments() {
        let (mut decoder, mut growths, mut held) = (Decoder::default(), 0, 0);
        let mut bytes = frames(&[(0x02, b"")], &SERVER);
        let fragment = frames(&[(0x00, b"x"), (0x89, b"y")], &SERVER);
        for _ in 0..50_000 {
            bytes.extend_from_slice(&fragment);
        }
        for piece in bytes.chunks(1) {
            assert_eq!(feed(&mut decoder, piece, &SERVER, &mut Story::new()), Ok(()));
            growths += usize::from(decoder.held_bytes() != held);
            held = decoder.held_bytes();
        }
        assert!(growths < 20, "the room doubled {growths} times for 50000 bytes");
    }

    /// A small generator, so that a failure can be had again (xorshift).
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % limit
        }

        /// One of the lengths at which something changes, or any up to 300.
        fn payload(&mut self) -> Vec<u8> {
            let length = match self.below(8) {
                0 => [0, 1, 125, 126, 65535, 65536][self.below(6)],
                _ => self.below(300),
            };
            let text = "aé€😀".repeat(length / 10 + 1).into_bytes();
            let mut end = length.min(text.len());
            while std::str::from_utf8(&text[..end]).is_err() {
                end -= 1;
            }
            text[..end].to_vec()
        }

        /// Appends a message in random fragments, with control frames in between, and what they are to become.
        fn message(&mut self, limits: &Limits, bytes: &mut Vec<u8>, story: &mut Story) {
            let (payload, text) = (self.payload(), self.below(2) == 0);
            let (mut first, mut rest) = (if text { 0x01 } else { 0x02 }, &payload[..]);
            while self.below(3) > 0 {
                let (fragment, more) = rest.split_at(self.below(rest.len() + 1));
                frame(first, fragment, limits, bytes);
                (first, rest) = (0x00, more);
                for _ in 0..self.below(3) {
                    let (opcode, what) = [(0x89, "ping"), (0x8a, "pong")][self.below(2)];
                    let control = vec![0xf5; self.below(126)];
                    frame(opcode, &control, limits, bytes);
                    story.push((what, control));
                }
            }
            frame(0x80 | first, rest, limits, bytes);
            story.push((if text { "text" } else { "binary" }, payload));
        }
    }

    #[test]
    fn decoding_gives_back_what_was_encoded_whatever_the_fragments_and_splits() {
        for seed in 1..=400 {
            let (mut random, mut bytes, mut expected) =
                (Random(0x9e37_79b9_7f4a_7c15 ^ seed), Vec::new(), Story::new());
            let limits = if seed % 2 == 0 { SERVER } else { CLIENT };
            for _ in 0..5 {
                random.message(&limits, &mut bytes, &mut expected);
            }
            let (mut pieces, mut rest, longest) = (Vec::new(), &bytes[..], [3, 40, 2000, 100_000][random.below(4)]);
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(random.below(longest.min(rest.len()) + 1));
                pieces.push(piece);
                rest = more;
            }
            assert_eq!(tell(pieces, &limits), expected, "seed {seed}");
        }
    }
}

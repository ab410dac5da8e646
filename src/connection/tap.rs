//! Tap: what goes over the wire of a connection on which its client has asked for that, for pages that show it.
//!
//! Beside the connections, not in them: one without a tap costs nothing, and is never looked up here. Bytes are counted
//! as they are handed over after a read, and by what a write has taken.

use super::{Connection, State, Visit, World};
use crate::config::{TAP_HEAD_BYTES, TAP_IDLE_MS, TAP_SAMPLE_BYTES, TAPS_MAX};
use crate::consumer::Context;
use crate::pages::heap_bytes;
use crate::wire::frame::{HEADER_BYTES_MAX, Header, Opcode};

/// What has gone over the wire under one key.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    key: Box<str>,
    /// Of the latest connection with this key: an earlier one is not recorded any more.
    number: TapNumber,
    /// When somebody asked or something went, by the monotonic clock.
    used_ms: u64,
    /// Requests that came with the key.
    pub requests: u64,
    /// When the last byte went either way, by the monotonic clock, in milliseconds.
    pub moved_ms: u64,
    /// From the client.
    pub received: Flow,
    /// To the client.
    pub sent: Flow,
}

/// One direction of a [`Tap`].
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// All of them, heads too.
    pub bytes: u64,
    /// The latest head as it was, with the empty line at its end; a very long one is cut.
    pub head: Vec<u8>,
    /// The beginning of what came last as it was: on a WebSocket of the first frame of the last message, masked and
    /// with its key, else of what was written last behind a head.
    pub last: Vec<u8>,
    /// The whole length of that frame, or of that write.
    pub last_bytes: u64,
    /// In how many frames the last message has come so far.
    pub last_frames: u32,
    /// The head has not ended yet.
    in_head: bool,
    /// What follows the head are frames.
    framed: bool,
    /// A header that has not ended yet.
    header: Vec<u8>,
    /// Bytes of payload that are missing of the current frame.
    missing: u64,
    /// Whether the current frame is the one in `last`.
    catches: bool,
}

/// What a consumer asks for as its client connects.
#[derive(Debug, Default)]
pub(crate) struct TapRequest {
    /// Under which the connection is recorded.
    pub(super) key: Option<Box<str>>,
    /// Whether a WebSocket is to be left uncompressed.
    pub(super) declines_deflate: bool,
}

/// Which recording a connection belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TapNumber(u32);

/// All recordings.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    all: Vec<Tap>,
    number_last: u32,
    swept_ms: u64,
}

impl Flow {
    fn held_bytes(&self) -> usize {
        [&self.head, &self.last, &self.header].iter().map(|bytes| heap_bytes(bytes.capacity())).sum()
    }

    fn begin(&mut self, framed: bool) {
        self.head.clear();
        self.header.clear();
        (self.in_head, self.framed, self.missing) = (true, framed, 0);
    }

    fn note(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let content = if self.in_head { self.note_head(bytes) } else { bytes };
        match self.framed {
            true => self.note_frames(content),
            false if content.is_empty() => {}
            false => {
                self.last.clear();
                self.last.extend_from_slice(&content[..content.len().min(TAP_SAMPLE_BYTES)]);
                self.last_bytes = content.len() as u64;
            }
        }
    }

    /// Returns what is behind the head.
    fn note_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let before = self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(TAP_HEAD_BYTES - before)]);
        let end = memchr::memmem::find(&self.head[before.saturating_sub(3)..], b"\r\n\r\n");
        let Some(end) = end.map(|at| before.saturating_sub(3) + at + 4) else {
            // The end of a very long one is not looked for.
            self.in_head = self.head.len() < TAP_HEAD_BYTES;
            return &[];
        };
        self.head.truncate(end);
        self.in_head = false;
        &bytes[end - before..]
    }

    fn note_frames(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let Some(rest) = self.note_header(bytes) else { return };
                bytes = rest;
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX)));
            if self.catches {
                let room = TAP_SAMPLE_BYTES.saturating_sub(self.last.len());
                self.last.extend_from_slice(&payload[..payload.len().min(room)]);
            }
            self.missing -= payload.len() as u64;
            bytes = rest;
        }
    }

    /// Returns what is behind the header, if it has ended.
    fn note_header<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let before = self.header.len();
        self.header.extend_from_slice(&bytes[..bytes.len().min(HEADER_BYTES_MAX - before)]);
        let (header, length) = match Header::decode(&self.header) {
            Ok(decoded) => decoded?,
            Err(_) => {
                // What is not a frame ends the connection.
                self.header.clear();
                return None;
            }
        };
        self.header.truncate(length);
        self.missing = header.payload_bytes;
        self.catches = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if self.catches {
            self.last.clone_from(&self.header);
            (self.last_bytes, self.last_frames) = (length as u64 + header.payload_bytes, 1);
        } else if header.opcode == Opcode::Continuation {
            self.last_frames += 1;
        }
        self.header.clear();
        Some(&bytes[length - before..])
    }
}

impl Taps {
    /// Begins to record a connection, if there is room for one more key.
    fn begin(&mut self, key: &str, framed: bool, now_ms: u64) -> Option<TapNumber> {
        self.number_last = self.number_last.wrapping_add(1);
        if self.of_key(key).is_none() {
            if self.all.len() >= TAPS_MAX {
                return None;
            }
            self.all.push(Tap { key: key.into(), ..Tap::default() });
        }
        let number = TapNumber(self.number_last);
        let tap = self.of_key(key)?;
        (tap.number, tap.used_ms) = (number, now_ms);
        tap.requests += 1;
        tap.received.begin(framed);
        tap.sent.begin(framed);
        Some(number)
    }

    fn of_key(&mut self, key: &str) -> Option<&mut Tap> {
        self.all.iter_mut().find(|tap| *tap.key == *key)
    }

    /// Of a connection; `None` where there is no tap, or a later connection has it.
    fn at_work(&mut self, number: TapNumber, now_ms: u64) -> Option<&mut Tap> {
        let tap = self.all.iter_mut().find(|tap| tap.number == number)?;
        (tap.used_ms, tap.moved_ms) = (now_ms, now_ms);
        Some(tap)
    }

    /// Forgets what nobody looks at and nothing is added to.
    fn sweep(&mut self, now_ms: u64) {
        if !self.all.is_empty() && now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.all.retain(|tap| now_ms - tap.used_ms < TAP_IDLE_MS);
            self.all.shrink_to_fit();
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let held = |tap: &Tap| heap_bytes(tap.key.len()) + tap.received.held_bytes() + tap.sent.held_bytes();
        heap_bytes(self.all.capacity() * size_of::<Tap>()) + self.all.iter().map(held).sum::<usize>()
    }
}

impl Connection {
    #[inline]
    pub(crate) fn tap(&self) -> Option<TapNumber> {
        self.backlog.as_ref().and_then(|backlog| backlog.tap)
    }
}

impl World {
    pub(crate) fn sweep_taps(&mut self) {
        self.taps.sweep(self.now.monotonic_ms);
    }

    /// Notes what a stream has taken.
    #[inline]
    pub(crate) fn tap_sent(&mut self, tap: Option<TapNumber>, bytes: &[u8]) {
        if let Some(tap) = tap.and_then(|number| self.taps.at_work(number, self.now.monotonic_ms)) {
            tap.sent.note(bytes);
        }
    }
}

impl Visit<'_> {
    /// Serves some bytes, and notes what was used of them as it came: frames are unmasked in place.
    pub(super) fn receive_tapped(&mut self, bytes: &mut [u8]) -> usize {
        let copy = self.connection.tap().map(|_| bytes.to_vec());
        let used = self.receive_some(bytes);
        // The tap may have begun with just these bytes, which then are a request.
        if let Some(number) = self.connection.tap()
            && used > 0
            && let Some(tap) = self.world.taps.at_work(number, self.world.now.monotonic_ms)
        {
            tap.received.note(&copy.as_deref().unwrap_or(bytes)[..used]);
        }
        used
    }

    /// Records this connection from the request on that is being served, if there is room.
    pub(super) fn begin_tap(&mut self, key: &str) {
        let framed = matches!(self.connection.state, State::WebSocket(..) | State::Closing(..));
        if self.world.hub.memory.admit(TAP_BYTES).is_ok() {
            self.connection.backlog_mut().tap = self.world.taps.begin(key, framed, self.world.now.monotonic_ms);
        }
    }

    /// The request has been answered: the next one may be another's.
    pub(super) fn end_tap(&mut self) {
        if let Some(backlog) = self.connection.backlog.as_mut().filter(|backlog| backlog.tap.is_some()) {
            backlog.tap = None;
            self.connection.tidy();
        }
    }
}

impl Context<'_> {
    /// Has what goes over the wire be recorded under `key`, from the request on that is being connected: until it is
    /// answered, or, where it becomes an event stream or a WebSocket, until that ends. On POST and PUT it does nothing.
    ///
    /// Of several connections with one key the latest is recorded, and what they add up to. What nobody asks for is
    /// forgotten after a minute without a byte. With too many keys, or too little memory, nothing is recorded.
    pub fn tap(&mut self, key: &str) {
        self.call.tap.key = Some(key.into());
    }

    /// What was recorded under `key`. Whoever is shown it should have to know a key that cannot be guessed.
    pub fn tapped(&mut self, key: &str) -> Option<&Tap> {
        let now_ms = self.world.now.monotonic_ms;
        let tap = self.world.taps.of_key(key)?;
        tap.used_ms = now_ms;
        Some(tap)
    }

    /// Has the WebSocket that is being connected not be compressed, whatever its client offers.
    pub fn decline_deflate(&mut self) {
        self.call.tap.declines_deflate = true;
    }
}

/// What a recording may come to.
const TAP_BYTES: usize = 2 * (TAP_HEAD_BYTES + TAP_SAMPLE_BYTES);
const SWEEP_MS: u64 = 1_000;

//! An open WebSocket, as a client has it: what it sends and when, and what it must be answered.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::closing::Farewell;
use super::deflate::{Agreed, Deflater};
use super::frames::{self, BINARY, FIN, Frames, PONG, RSV1, TEXT};
use super::subscriber::{Line, Session, Transport};
use super::{Phase, Scene};
use crate::network::LinkId;
use crate::oracle::Payload;
use crate::random::Random;

/// What a client does to show that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It answers pings, and sends what it likes.
    Lively,
    /// It sends nothing at all, and is to be dropped.
    Mute,
    /// It sends one byte for a ping, of whatever: that counts as much as a pong.
    Dribbling,
}

pub(super) struct Socket {
    pub(super) frames: Frames,
    pub(super) manner: Manner,
    deflater: Option<Deflater>,
    /// The end of what was to be sent, held back for a while: a frame may be cut anywhere.
    unsent: Vec<u8>,
    /// Payloads of pings that were not answered, oldest first.
    pub(super) pings: VecDeque<Vec<u8>>,
    /// The server's ping interval, for one who reads all the time and can tell whether it is kept.
    period_ms: Option<u64>,
    /// When the client came, and not when it learnt that it has a WebSocket: the server begins to wait before that.
    came_at: u64,
    /// Since when a mute one ought to be pinged, then dropped.
    silent_since: u64,
    pinged: bool,
    /// When bytes came last, and before that.
    heard_at: [u64; 2],
    /// The Close that was sent.
    pub(super) farewell: Option<Farewell>,
    /// When the server must end the connection.
    pub(super) end: Option<RangeInclusive<u64>>,
    /// It was not done by the book, so the end may be a reset.
    pub(super) unruly: bool,
}

impl Socket {
    pub(super) fn new(agreed: Option<Agreed>, diligent: bool, came_at: u64, scene: &mut Scene) -> Socket {
        let (inflater, deflater) = agreed.map(|agreed| (agreed.inflater, agreed.deflater)).unzip();
        let now = scene.network.now;
        Socket {
            frames: Frames::new(inflater),
            manner: match scene.network.random.below(6) {
                0 => Manner::Mute,
                1 => Manner::Dribbling,
                _ => Manner::Lively,
            },
            deflater,
            unsent: Vec::new(),
            pings: VecDeque::new(),
            period_ms: diligent.then_some(scene.oracle.config.ping_interval_ms),
            came_at,
            silent_since: now,
            pinged: false,
            heard_at: [now; 2],
            farewell: None,
            end: None,
            unruly: false,
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8], now: u64) {
        self.frames.push(bytes);
        if self.heard_at[0] < now {
            self.heard_at = [now, self.heard_at[0]];
        }
    }

    /// Appends a message, compressed or not, whole or in fragments.
    pub(super) fn push_message(&mut self, out: &mut Vec<u8>, payload: &Payload, random: &mut Random) {
        let opcode = if payload.binary { BINARY } else { TEXT };
        match &mut self.deflater {
            Some(deflater) if random.one_in(2) => {
                let deflated = deflater.deflate(&payload.data);
                frames::push_message(out, RSV1 | opcode, &deflated, &mut self.pings, random);
            }
            _ => frames::push_message(out, opcode, &payload.data, &mut self.pings, random),
        }
    }

    /// Checks that what the server does after a period of silence comes neither earlier nor later.
    fn check_period(&self, since: u64, heard_at: u64, scene: &Scene) {
        let now = scene.network.now;
        let Some(period) = self.period_ms.filter(|_| !scene.oracle.is_shaken(self.came_at)) else { return };
        assert!(now + SLACK_MS >= since + period, "after {} ms and not {period}", now - since);
        // A write that could not be finished puts it off.
        assert!(now <= since.max(heard_at) + period + SLACK_MS, "after {} ms and not {period}", now - since);
    }

    /// Whether the server may end the connection since it has heard nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.manner == Manner::Mute && self.pinged
    }

    /// The connection has ended. `going` is whether the client has had a part in that.
    pub(super) fn check_end(&self, going: bool, scene: &mut Scene) {
        let now = scene.network.now;
        let timed = self.period_ms.is_some() && !scene.oracle.is_shaken(self.came_at);
        if let Some(end) = self.end.as_ref().filter(|_| timed) {
            assert!(end.contains(&now), "the end came at {now}, not in {end:?}");
        } else if self.is_silent() && !going {
            scene.oracle.note("dropped for silence");
            self.check_period(self.silent_since, self.heard_at[0], scene);
        }
    }
}

impl Line {
    pub(super) fn socket(&mut self) -> Option<&mut Socket> {
        match &mut self.session {
            Session::WebSocket(socket) => Some(socket),
            _ => None,
        }
    }

    /// Whether it stays, and sends nothing of its own accord.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(&self.session, Session::WebSocket(socket) if socket.manner != Manner::Lively)
    }

    /// Sends frames, or all but their end, which follows later.
    pub(super) fn send_frames(&mut self, bytes: &[u8], scene: &mut Scene) {
        let (link, half_closed) = (self.link, self.half_closed);
        let Some(socket) = self.socket().filter(|socket| socket.farewell.is_none() && !half_closed) else { return };
        socket.unsent.extend_from_slice(bytes);
        let random = &mut scene.network.random;
        let length = socket.unsent.len();
        let cut = if random.one_in(6) { 1 + random.index(length) } else { length };
        socket.send(link, cut, scene);
    }

    /// Sends what was held back.
    pub(super) fn flush(&mut self, scene: &mut Scene) {
        let (link, half_closed) = (self.link, self.half_closed);
        if let Some(socket) = self.socket().filter(|_| !half_closed) {
            let length = socket.unsent.len();
            socket.send(link, length, scene);
        }
    }

    /// Whether a frame is cut at the moment.
    pub(super) fn has_unsent(&mut self) -> bool {
        self.socket().is_some_and(|socket| !socket.is_flushed())
    }

    pub(super) fn takes_commands(&self) -> bool {
        self.transport == Transport::Commands
    }

    pub(super) fn is_mute(&mut self) -> bool {
        self.socket().is_some_and(|socket| socket.manner == Manner::Mute)
    }

    pub(super) fn receive_ping(&mut self, payload: &[u8], scene: &mut Scene) {
        let now = scene.network.now;
        let Some(socket) = self.socket() else { return };
        match socket.manner {
            Manner::Lively => {
                let mut bytes = Vec::new();
                frames::push_frame(&mut bytes, FIN | PONG, payload, &mut scene.network.random);
                self.send_frames(&bytes, scene);
            }
            Manner::Mute => {
                assert!(!socket.pinged || socket.farewell.is_some(), "pinged again instead of dropped");
                socket.check_period(socket.silent_since, socket.heard_at[1], scene);
                (socket.silent_since, socket.pinged) = (now, true);
            }
            Manner::Dribbling => self.dribble(scene),
        }
    }

    /// Sends one byte of a message that takes as many pings as it has bytes.
    fn dribble(&mut self, scene: &mut Scene) {
        let (link, commands, half_closed) = (self.link, self.takes_commands(), self.half_closed);
        let Some(socket) = self.socket().filter(|socket| socket.farewell.is_none() && !half_closed) else { return };
        if !socket.unsent.is_empty() {
            return socket.send(link, 1, scene);
        }
        let mut bytes = Vec::new();
        if commands || scene.phase != Phase::Busy {
            frames::push_frame(&mut bytes, FIN | PONG, b"not what was asked", &mut scene.network.random);
        } else {
            let payload = scene.oracle.payload(&mut scene.network.random, 30);
            socket.push_message(&mut bytes, &payload, &mut scene.network.random);
            self.note_sent(payload);
        }
        let Some(socket) = self.socket() else { return };
        socket.unsent = bytes;
        scene.oracle.note("a byte instead of a pong");
        socket.send(link, 1, scene);
    }

    /// The message must be published before the connection ends as it should. What is empty cannot be told apart.
    pub(super) fn note_sent(&mut self, payload: Payload) {
        if !payload.data.is_empty() {
            self.sent.push(payload.data);
        }
    }

    pub(super) fn receive_pong(&mut self, payload: &[u8]) {
        let ping = self.socket().and_then(|socket| socket.pings.pop_front());
        assert_eq!(ping.as_deref(), Some(payload), "another pong than that of the oldest ping");
    }
}

impl Socket {
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    fn send(&mut self, link: LinkId, length: usize, scene: &mut Scene) {
        if length > 0 {
            let rest = self.unsent.split_off(length);
            scene.network.send(link, &std::mem::replace(&mut self.unsent, rest));
        }
    }
}

/// How much earlier or later than the server does it a client may see something.
pub(super) const SLACK_MS: u64 = 500;

//! A rogue: nonsense, halves of requests, connections that say nothing. It gets a clear answer, and nobody else notices.

use super::deflate::{self, Offer};
use super::frames::{self, ACCEPT, BINARY, CLOSE, FIN, Frames, KEY, RSV1};
use super::http::{Response, Responses};
use super::{Phase, Scene, any};
use crate::network::{Arrival, LinkId};
use crate::random::Random;

pub(crate) struct Rogue {
    id: usize,
    line: Option<Line>,
    due: u64,
}

struct Line {
    link: LinkId,
    begun: u64,
    responses: Responses,
    /// The answer that is due, if there is one.
    status: Option<u16>,
    /// What follows on the answer that leads away from HTTP, where it is frames.
    frames: Option<Frames>,
    streams: bool,
    /// The code with which a WebSocket is to be closed, if it is.
    code: Option<u16>,
    told: bool,
    offer: Option<Offer>,
}

/// What a rogue sends, the status that this gets, and the code with which a WebSocket is closed.
struct Attack {
    bytes: Vec<u8>,
    status: Option<u16>,
    code: Option<u16>,
    offer: Option<Offer>,
}

impl Rogue {
    pub(crate) fn new(id: usize) -> Rogue {
        Rogue { id, line: None, due: 0 }
    }

    pub(crate) fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.line.as_ref().map(|line| line.link)
    }

    pub(crate) fn act_in(&mut self, delay_ms: u64, scene: &mut Scene) {
        self.due = scene.wake(self.id, delay_ms);
    }

    pub(crate) fn act(&mut self, scene: &mut Scene) {
        if scene.network.now < self.due {
            return;
        }
        match self.line.take() {
            Some(line) => go(&line, scene),
            None if scene.phase == Phase::Busy && !scene.oracle.draining => self.attack(scene),
            None => return,
        }
        let longest = scene.network.random.pick(&[300, 5_000, 60_000]);
        let delay = scene.network.random.below(longest);
        self.act_in(delay, scene);
    }

    fn attack(&mut self, scene: &mut Scene) {
        let speed = any(&mut scene.network.random);
        let link = scene.network.connect(self.id, speed);
        let name = scene.oracle.channels[0].name.clone();
        let Attack { bytes, status, code, offer } = attack(&name, &mut scene.network.random);
        if !bytes.is_empty() {
            scene.network.send(link, &bytes);
        }
        if scene.network.random.one_in(4) {
            scene.network.half_close(link);
        }
        self.line = Some(Line {
            link,
            begun: scene.network.now,
            responses: Responses::default(),
            status,
            frames: None,
            streams: false,
            code,
            told: false,
            offer,
        });
    }

    pub(crate) fn receive(&mut self, arrival: Arrival, scene: &mut Scene) {
        let Some(line) = &mut self.line else { return };
        match arrival {
            Arrival::Bytes(bytes) => line.receive(&bytes, scene),
            Arrival::End | Arrival::Reset => {
                let open = line.frames.is_some() && matches!(arrival, Arrival::End);
                let excused = scene.oracle.is_shaken(line.begun) || scene.oracle.has_budget();
                assert!(
                    !open || line.told || line.code.is_none() || excused,
                    "ended without a Close of {:?}",
                    line.code
                );
                scene.network.close(line.link);
                self.line = None;
            }
        }
    }
}

impl Line {
    fn receive(&mut self, bytes: &[u8], scene: &mut Scene) {
        if self.streams {
            self.receive_frames(bytes, scene);
        } else {
            self.responses.push(bytes);
            while !self.streams
                && let Some(response) = self.responses.next()
            {
                if response.status == 503 {
                    // What follows is then anything but what it was meant as.
                    self.streams = true;
                    return;
                }
                let text = String::from_utf8_lossy(&response.body);
                // What was sent in one go may still arrive too slowly.
                let late_ms = scene.oracle.config.head_timeout_ms;
                let late = response.status == 408 && scene.network.now - self.begun >= late_ms;
                assert!(late || Some(response.status) == self.status, "not {:?}: {text}", self.status);
                self.streams = response.field("content-length").is_none();
                if response.status == 101 {
                    self.open(&response, scene);
                }
                scene.oracle.note("answer to a rogue");
            }
            if self.streams {
                let rest = self.responses.take_rest();
                self.receive_frames(&rest, scene);
            }
        }
    }

    fn open(&mut self, response: &Response, scene: &mut Scene) {
        assert_eq!(response.field("sec-websocket-accept"), Some(ACCEPT));
        let answer = response.field("sec-websocket-extensions");
        let agreed = match &self.offer {
            Some(offer) => offer.agree(answer, scene.oracle, &mut scene.network.random),
            None => None,
        };
        if self.offer.is_some() && agreed.is_none() {
            // RSV1, where it has no meaning.
            self.code = Some(1002);
        }
        self.frames = Some(Frames::new(agreed.map(|agreed| agreed.inflater)));
    }

    fn receive_frames(&mut self, bytes: &[u8], scene: &mut Scene) {
        let Some(frames) = &mut self.frames else { return };
        frames.push(bytes);
        while let Some((opcode, payload)) = frames.next() {
            assert!(!self.told, "opcode {opcode} after Close");
            if opcode == CLOSE {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                // It may have lost messages before it did something wrong.
                let right = Some(code) == self.code
                    || code == 4008
                    || code == 1013 && scene.oracle.has_budget()
                    || code == 1001 && scene.oracle.draining;
                assert!(right, "closed with {code}, not {:?}", self.code);
                self.told = true;
                scene.oracle.note("Close to a rogue");
            }
        }
    }
}

fn go(line: &Line, scene: &mut Scene) {
    match scene.network.random.below(3) {
        0 => scene.network.reset(line.link),
        1 => scene.network.vanish(line.link),
        _ => scene.network.close(line.link),
    }
}

fn attack(channel: &str, random: &mut Random) -> Attack {
    let get = format!("GET /channel/{channel} HTTP/1.1\r\nHost: redpoll\r\n");
    let post = format!("POST /channel/{channel} HTTP/1.1\r\nHost: redpoll\r\n");
    let (status, bytes) = match random.below(15) {
        0 => (None, Vec::new()),
        1 => (Some(408), get.into_bytes()),
        2 => (Some(400), b"nonsense\r\n\r\n".to_vec()),
        3 => (Some(408), format!("{post}Content-Length: 100\r\n\r\nnot all").into_bytes()),
        4 => (Some(413), format!("{post}Content-Length: 10000000\r\n\r\n").into_bytes()),
        5 => (Some(431), format!("{get}Cookie: {}", "a".repeat(20_000)).into_bytes()),
        6 => (Some(200), format!("{get}\r\n").repeat(40).into_bytes()),
        7 => {
            let noise = "x".repeat(random.index(400_000));
            (Some(200), format!("{get}Accept: text/event-stream\r\n\r\n{noise}").into_bytes())
        }
        _ => return attack_by_frames(&get, random),
    };
    Attack { bytes, status, code: None, offer: None }
}

fn attack_by_frames(get: &str, random: &mut Random) -> Attack {
    let mut head = format!("{get}Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n");
    head.push_str(&format!("Sec-WebSocket-Key: {KEY}\r\n"));
    let compressed = random.one_in(3);
    let offer = compressed.then(|| deflate::plain_offer(&mut head));
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    let code = if compressed && random.one_in(4) {
        frames::push_frame(&mut bytes, FIN | RSV1 | BINARY, &deflate::bomb(), random);
        Some(1009)
    } else {
        let (frames, code) = random.pick(if compressed { COMPRESSED_VIOLATIONS } else { VIOLATIONS });
        bytes.extend_from_slice(frames);
        code
    };
    Attack { bytes, status: Some(101), code, offer }
}

/// Frames that may not be (RFC 6455 §5), and the code that answers them.
const VIOLATIONS: &[(&[u8], Option<u16>)] = &[
    // It never becomes one, so there is no answer.
    (b"\x81\xfe\x40\x00abcdhalf a frame", None),
    (b"\x81\x05hello", Some(1002)),
    (b"\x83\x80abcd", Some(1002)),
    (b"\xa1\x80abcd", Some(1002)),
    (b"\xc1\x80abcd", Some(1002)),
    (b"\x80\x80abcd", Some(1002)),
    (b"\x01\x80abcd\x82\x80abcd", Some(1002)),
    (b"\x09\x80abcd", Some(1002)),
    (b"\x89\xfe\x00\x7eabcd", Some(1002)),
    (b"\x88\xfe\x00\x7eabcd", Some(1002)),
    (b"\x81\xfe\x00\x7dabcd", Some(1002)),
    (b"\x82\xff\x80\0\0\0\0\0\0\0abcd", Some(1002)),
    (b"\x82\xff\0\0\0\0\0\x10\0\0abcd", Some(1009)),
    (b"\x81\x82abcd\x9e\x9f", Some(1007)),
    // It fails at the first byte that cannot be right, though more is announced.
    (b"\x01\xfe\x40\x00\0\0\0\0\xc3\x28", Some(1007)),
    (b"\x01\x82\0\0\0\0\xe6\xbc\x89\x80abcd\x80\x81\0\0\0\0a", Some(1007)),
    (b"\x01\x81\0\0\0\0\xe6\x80\x80abcd", Some(1007)),
];

/// The same where messages may be compressed (RFC 7692 §6, §7.2.2).
const COMPRESSED_VIOLATIONS: &[(&[u8], Option<u16>)] = &[
    (b"\xc9\x80abcd", Some(1002)),
    (b"\x41\x80abcd\xc0\x80abcd", Some(1002)),
    // A block of the reserved type.
    (b"\xc2\x81\0\0\0\0\x06", Some(1007)),
    // A stored block with a byte that is not UTF-8.
    (b"\xc1\x87\0\0\0\0\x00\x01\x00\xfe\xff\xff\x00", Some(1007)),
];

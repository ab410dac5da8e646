//! A rogue: nonsense, halves of requests, connections that say nothing. It gets a clear answer, and nobody else notices.

use super::frames::{ACCEPT, CLOSE, Frames, KEY};
use super::http::Responses;
use super::{Phase, Scene, any};
use crate::network::{Arrival, LinkId, Wake};
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
    /// What follows on the answer that leads away from HTTP: frames that end with this close code.
    frames: Option<(Frames, u16)>,
    streams: bool,
}

/// What a rogue sends, the status that this gets, and the code with which a WebSocket is closed.
struct Attack {
    bytes: Vec<u8>,
    status: Option<u16>,
    code: u16,
}

impl Rogue {
    pub(crate) fn new(id: usize) -> Rogue {
        Rogue { id, line: None, due: 0 }
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.line.as_ref().map(|line| line.link)
    }

    pub(crate) fn act_in(&mut self, delay_ms: u64, scene: &mut Scene) {
        self.due = scene.network.now + delay_ms;
        scene.network.wake_in(delay_ms, Wake::Client(self.id));
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
        let Attack { bytes, status, code } = attack(&name, &mut scene.network.random);
        if !bytes.is_empty() {
            scene.network.send(link, &bytes);
        }
        if scene.network.random.one_in(4) {
            scene.network.half_close(link);
        }
        let frames = (status == Some(101)).then(|| (Frames::default(), code));
        let begun = scene.network.now;
        self.line = Some(Line { link, begun, responses: Responses::default(), status, frames, streams: false });
    }

    pub(crate) fn receive(&mut self, arrival: Arrival, scene: &mut Scene) {
        let Some(line) = &mut self.line else { return };
        match arrival {
            Arrival::Bytes(bytes) => line.receive(&bytes, scene),
            Arrival::End | Arrival::Reset => {
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
                    (self.streams, self.frames) = (true, None);
                    return;
                }
                let text = String::from_utf8_lossy(&response.body);
                // What was sent in one go may still arrive too slowly.
                let late = response.status == 408 && scene.network.now - self.begun >= HEAD_TIMEOUT_MS;
                assert!(late || Some(response.status) == self.status, "not {:?}: {text}", self.status);
                assert!(response.status != 101 || response.field("sec-websocket-accept") == Some(ACCEPT));
                self.streams = response.field("content-length").is_none();
                scene.oracle.note("answer to a rogue");
            }
            if self.streams {
                let rest = self.responses.take_rest();
                self.receive_frames(&rest, scene);
            }
        }
    }

    fn receive_frames(&mut self, bytes: &[u8], scene: &Scene) {
        let Some((frames, code)) = &mut self.frames else { return };
        frames.push(bytes);
        while let Some((opcode, payload)) = frames.next() {
            if opcode == CLOSE {
                let told = u16::from_be_bytes([payload[0], payload[1]]);
                // It has not lost what it did wrong, but may have lost messages before it did.
                let right = told == *code || told == 4008 || told == 1001 && scene.oracle.draining;
                assert!(right, "closed with {told}, not {code}");
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
    let upgrade = format!(
        "{get}Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let websocket = |frame: &[u8], code| (Some(101), [upgrade.as_bytes(), frame].concat(), code);
    let (status, bytes, code) = match random.below(12) {
        0 => (None, Vec::new(), 0),
        1 => (Some(408), get.into_bytes(), 0),
        2 => (Some(400), b"nonsense\r\n\r\n".to_vec(), 0),
        3 => (Some(408), format!("{post}Content-Length: 100\r\n\r\nnot all").into_bytes(), 0),
        4 => (Some(413), format!("{post}Content-Length: 10000000\r\n\r\n").into_bytes(), 0),
        5 => (Some(431), format!("{get}Cookie: {}", "a".repeat(20_000)).into_bytes(), 0),
        6 => (Some(200), format!("{get}\r\n").repeat(40).into_bytes(), 0),
        7 => {
            let noise = "x".repeat(random.index(400_000));
            (Some(200), format!("{get}Accept: text/event-stream\r\n\r\n{noise}").into_bytes(), 0)
        }
        8 => websocket(b"\x81\x05hello", 1002),
        9 => websocket(b"\x83\x80abcd", 1002),
        10 => websocket(b"\x81\x82abcd\x9e\x9f", 1007),
        _ => websocket(b"\x81\xfe\x40\x00abcdhalf a frame", 1001),
    };
    Attack { bytes, status, code }
}

/// How long the stories' servers wait for a head.
const HEAD_TIMEOUT_MS: u64 = 10_000;

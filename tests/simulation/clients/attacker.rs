//! An attacker: slow, deaf or greedy, on as many connections as it likes, all from one address. It is ended by the limit
//! that is meant for it, or bounded, and never helped.

use super::attacks::{Kind, Limit};
use super::frames::{CLOSE, Frames};
use super::http::Responses;
use super::{Phase, Scene};
use crate::network::{Arrival, LinkId, Speed};
use crate::random::Random;

pub(crate) struct Attacker {
    id: usize,
    kind: Kind,
    lines: Vec<Line>,
    /// How many connections it has at once.
    count: usize,
    /// How much it sends on each at a time.
    step: usize,
    /// What it may send in all: a story ends.
    left: usize,
    opened: u64,
    due: u64,
}

struct Line {
    link: LinkId,
    begun: u64,
    number: u64,
    unsent: Vec<u8>,
    sent: usize,
    sent_at: u64,
    responses: Responses,
    frames: Option<Frames>,
    /// It has left HTTP, and is no WebSocket.
    streams: bool,
    /// How it was told that it ends: a status, or the code of a Close.
    told: Option<u16>,
    /// When it had sent more than it may.
    too_big_at: Option<u64>,
}

impl Attacker {
    pub(crate) fn new(id: usize, kind: Kind, random: &mut Random) -> Attacker {
        let (count, step) = kind.size(random);
        Attacker { id, kind, lines: Vec::new(), count, step, left: SENT_MAX, opened: 0, due: 0 }
    }

    pub(crate) fn act_in(&mut self, delay_ms: u64, scene: &mut Scene) {
        self.due = scene.wake(self.id, delay_ms);
    }

    pub(crate) fn act(&mut self, scene: &mut Scene) {
        if scene.network.now < self.due {
            return;
        }
        let busy = scene.phase == Phase::Busy && !scene.oracle.draining;
        for mut line in std::mem::take(&mut self.lines) {
            match line.goes_on(self.kind, scene) {
                true if scene.phase != Phase::Leaving => {
                    self.send(&mut line, scene);
                    self.lines.push(line);
                }
                goes_on => {
                    if goes_on && scene.network.random.one_in(2) {
                        scene.network.reset(line.link);
                    } else {
                        scene.network.close(line.link);
                    }
                }
            }
        }
        if busy && self.lines.len() < self.count && self.opened < OPENED_MAX {
            self.open(scene);
        }
        if busy || !self.lines.is_empty() {
            let delay = 1 + scene.network.random.below(self.kind.pace_ms());
            self.act_in(delay, scene);
        }
    }

    fn open(&mut self, scene: &mut Scene) {
        let deaf = self.kind.limit(&scene.oracle.config) == Limit::Stalled;
        let capacity = if deaf { scene.network.random.pick(&[100, 5_000, 60_000]) } else { 60_000 };
        let speed = Speed { chunk_max: 30_000, delay_max_ms: 5, capacity };
        let link = scene.network.connect(self.id, speed);
        if deaf {
            scene.network.pause(link, FOR_EVER_MS);
        }
        let opening = self.kind.opening(self.opened, scene);
        if !opening.is_empty() {
            scene.network.send(link, &opening);
        }
        self.lines.push(Line {
            link,
            begun: scene.network.now,
            number: self.opened,
            unsent: Vec::new(),
            sent: 0,
            sent_at: scene.network.now,
            responses: Responses::default(),
            frames: None,
            streams: false,
            told: None,
            too_big_at: None,
        });
        self.opened += 1;
    }

    fn send(&mut self, line: &mut Line, scene: &mut Scene) {
        if line.told.is_some() || scene.network.unread(line.link) > UNREAD_MAX {
            return;
        }
        if line.unsent.is_empty() && self.left > 0 && scene.phase == Phase::Busy {
            line.unsent = self.kind.more(line.number, scene);
            self.left = self.left.saturating_sub(line.unsent.len());
        }
        let count = self.step.min(line.unsent.len());
        if count > 0 {
            let rest = line.unsent.split_off(count);
            scene.network.send(line.link, &std::mem::replace(&mut line.unsent, rest));
            line.sent += count;
            line.sent_at = scene.network.now;
        }
    }

    /// Takes in what comes on one of its connections.
    pub(crate) fn receive(&mut self, link: LinkId, arrival: Arrival, scene: &mut Scene) {
        let Some(index) = self.lines.iter().position(|line| line.link == link) else { return };
        match arrival {
            Arrival::Bytes(bytes) => self.lines[index].receive(self.kind, &bytes, scene),
            Arrival::End | Arrival::Reset => {
                let line = self.lines.swap_remove(index);
                line.check_end(self.kind, matches!(arrival, Arrival::Reset), scene);
                scene.network.close(link);
            }
        }
    }
}

impl Line {
    /// Whether the connection goes on; not longer than the limit for its kind allows.
    fn goes_on(&mut self, kind: Kind, scene: &mut Scene) -> bool {
        if scene.oracle.is_shaken(self.begun) || scene.oracle.draining {
            return !scene.network.has_ended(self.link);
        }
        if self.told.is_some() && scene.network.random.one_in(4) {
            return false;
        }
        let now = scene.network.now;
        let Some(accepted_at) = scene.network.links[self.link].accepted_at else { return true };
        match kind.limit(&scene.oracle.config) {
            Limit::Late(ms) if self.sent > 0 => {
                let first = self.begun.max(accepted_at);
                assert!(self.told.is_some() || now <= first + ms + SLOW_MS, "{kind:?} goes on");
            }
            Limit::Idle(ms) => {
                assert!(scene.network.has_ended(self.link) || now <= accepted_at + ms + SLOW_MS, "{kind:?} goes on");
            }
            Limit::TooBig(bytes) if self.sent > 2 * bytes => {
                let since = *self.too_big_at.get_or_insert(now);
                assert!(self.told.is_some() || now <= since + SLOW_MS, "{kind:?} goes on");
            }
            Limit::Stalled => {
                let most = 2 * scene.oracle.config.ping_interval_ms + SLOW_MS;
                assert!(scene.network.stalled_ms(self.link) <= most, "{kind:?} is kept");
                if scene.network.has_ended(self.link) {
                    scene.oracle.note("one who does not read was dropped");
                    return false;
                }
            }
            _ => {}
        }
        true
    }

    fn receive(&mut self, kind: Kind, bytes: &[u8], scene: &mut Scene) {
        if self.frames.is_none() && !self.streams {
            self.receive_responses(kind, bytes, scene);
        } else {
            self.receive_frames(kind, bytes, scene);
        }
    }

    fn receive_responses(&mut self, kind: Kind, bytes: &[u8], scene: &mut Scene) {
        self.responses.push(bytes);
        while let Some(response) = self.responses.next() {
            let limit = kind.limit(&scene.oracle.config);
            let right = match (response.status, limit) {
                (503, _) => true,
                (408, Limit::Late(ms)) => scene.network.now >= self.begun + ms,
                (408, _) => kind == Kind::Mangled || scene.oracle.is_shaken(self.begun),
                (429, _) => scene.oracle.config.publications_a_second.is_some(),
                (100..300, _) => !matches!(limit, Limit::Late(_)),
                _ => kind == Kind::Mangled,
            };
            let text = String::from_utf8_lossy(&response.body);
            assert!(right, "{} for {kind:?}: {text}", response.status);
            if response.status >= 300 {
                scene.oracle.note(match response.status {
                    408 => "attacker: 408",
                    429 => "attacker: 429",
                    503 => "attacker: 503",
                    _ => "attacker: 4xx, 5xx",
                });
            }
            let refused = response.status == 503 && !kind.is_http();
            if response.closes() || refused {
                self.told = Some(response.status);
            }
            if refused {
                // What follows was not meant to be a request.
                self.streams = true;
                return;
            }
            if response.status == 101 || response.field("content-length").is_none() && response.status == 200 {
                (self.frames, self.streams) = ((response.status == 101).then(|| Frames::new(None)), true);
                let rest = self.responses.take_rest();
                return self.receive_frames(kind, &rest, scene);
            }
        }
    }

    fn receive_frames(&mut self, kind: Kind, bytes: &[u8], scene: &mut Scene) {
        // What was mangled may have agreed on compression.
        let Some(frames) = self.frames.as_mut().filter(|_| kind != Kind::Mangled) else { return };
        frames.push(bytes);
        while let Some((opcode, payload)) = frames.next() {
            assert!(self.told.is_none(), "opcode {opcode} after Close");
            if opcode == CLOSE {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                let right = match code {
                    1009 => matches!(kind.limit(&scene.oracle.config), Limit::TooBig(bytes) if self.sent > bytes),
                    1013 | 4008 => true,
                    1001 => scene.oracle.draining,
                    _ => false,
                };
                assert!(right, "{kind:?} is closed with {code}");
                scene.oracle.note(match code {
                    1009 => "attacker: 1009",
                    1013 => "attacker: 1013",
                    _ => "attacker: another Close",
                });
                self.told = Some(code);
            }
        }
    }

    /// Nothing ends in silence for which there are words.
    fn check_end(&self, kind: Kind, reset: bool, scene: &mut Scene) {
        let limit = kind.limit(&scene.oracle.config);
        let refused = scene.network.links[self.link].refused;
        let excused = reset
            || refused
            || scene.oracle.draining
            || scene.oracle.is_shaken(self.begun)
            || scene.oracle.has_budget();
        let silent = match limit {
            Limit::Late(_) => self.sent == 0,
            Limit::TooBig(_) => scene.network.now >= self.sent_at + scene.oracle.config.ping_interval_ms,
            Limit::Idle(ms) => scene.network.now >= self.begun + ms,
            Limit::Stalled | Limit::Bounded => true,
        };
        assert!(silent || excused || self.told.is_some(), "{kind:?} is ended without a word");
        if let Limit::Idle(_) = limit {
            scene.oracle.note("one who says nothing was ended");
        }
    }
}

/// What one attacker sends in all, how many connections it makes, and what waits to be read meanwhile.
const SENT_MAX: usize = 1_500_000;
const OPENED_MAX: u64 = 100;
const UNREAD_MAX: usize = 100_000;
/// How much later than it is done a limit may show.
const SLOW_MS: u64 = 1_500;
const FOR_EVER_MS: u64 = 1 << 40;

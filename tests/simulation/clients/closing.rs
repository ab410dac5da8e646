//! How a client goes, and how it closes a WebSocket: first or second, rightly or wrongly, or not at all (RFC 6455 §7).

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redpoll::{CloseCode, Config, Reason};
use serde_json::json;

use super::Scene;
use super::frames::{self, CLOSE, FIN, PING};
use super::socket::SLACK_MS;
use super::subscriber::{Line, Session, Subscriber, Transport};
use crate::network::LinkId;
use crate::oracle::{Ending, Payload};
use crate::random::Random;

/// A Close of the client. A code of 1005 stands for none (§7.1.5).
#[derive(Clone, Copy)]
pub(super) struct Farewell {
    sent: u16,
    /// What the server must close with.
    answer: u16,
}

impl Subscriber {
    /// Goes, in one of many ways.
    pub(super) fn go(&mut self, scene: &mut Scene) {
        let Some(mut line) = self.line.take() else { return };
        log::debug!("{}: client {} goes", scene.network.now, self.id);
        if line.has_unsent() {
            scene.oracle.note("gone, or closed, in the middle of a frame");
        }
        let is_websocket = matches!(line.session, Session::WebSocket(_));
        if is_websocket && self.nature.talks && !line.takes_commands() && scene.network.random.one_in(6) {
            // What it is about to do comes behind more than is served in one go.
            let count = scene.network.random.range(2, 600);
            line.send_messages(count, scene);
        }
        match scene.network.random.below(8) {
            0 => scene.network.reset(line.link),
            1 => scene.network.vanish(line.link),
            2 => {
                line.half_close(scene);
                self.line = Some(line);
                return;
            }
            3..8 if is_websocket => {
                line.say_goodbye(scene);
                self.line = Some(line);
                return;
            }
            _ => scene.network.close(line.link),
        }
        self.leave(scene);
    }

    /// Closes its WebSocket, if it has one that is open, just when the server ends.
    pub(crate) fn close_at_once(&mut self, scene: &mut Scene) {
        if let Some(line) = &mut self.line
            && line.going_until.is_none()
            && !line.server_closes
            && line.socket().is_some()
        {
            line.say_goodbye(scene);
        }
    }

    pub(super) fn receive_close(&mut self, line: &mut Line, payload: &[u8], scene: &mut Scene) {
        let (code, reason) = decode(payload);
        log::debug!("{}: client {} is closed with {code}: {reason}", scene.network.now, self.id);
        line.server_closes = true;
        let now = scene.network.now;
        let farewell = line.socket().and_then(|socket| socket.farewell);
        // Sent by both sides at once, the same code is not known to be an answer.
        if let Some(farewell) = farewell.filter(|farewell| farewell.answer == code)
            && !(code == GOING_AWAY && scene.oracle.draining)
        {
            scene.oracle.note(if code == farewell.sent { "Close answered" } else { "malformed Close refused" });
            line.must_end(now..=now + SLACK_MS);
            return self.check_served(line, scene);
        }
        match code {
            GOING_AWAY => assert!(scene.oracle.draining, "1001 before the end"),
            1013 => scene.oracle.note("1013"),
            4001 => line.receive_expiry(scene),
            4008 => {
                assert_eq!(line.transport, Transport::RawSocket, "4008 to one who can be told a gap");
                let (excuse, through) = (self.excuse(line), line.ended_at.as_ref().expect("told at the end")[0]);
                self.trackers[0].closed_for_gap(through, excuse, scene.oracle);
            }
            _ => panic!("closed with {code}: {reason}"),
        }
        if farewell.is_some() {
            scene.oracle.note("Close from both sides at once");
            return line.must_end(now..=now + SLACK_MS);
        }
        self.react(line, payload, scene);
        if code == 1013
            && scene.oracle.has_budget()
            && let Some(socket) = line.socket()
        {
            // What was begun is not understood any more, so the server does not wait for an answer.
            (socket.end, socket.unruly) = (None, true);
        }
    }

    /// The server has closed. What a client makes of it.
    fn react(&mut self, line: &mut Line, payload: &[u8], scene: &mut Scene) {
        let now = scene.network.now;
        let linger_ms = Config::default().linger_ms;
        let dropped = now + linger_ms - SLACK_MS..=now + linger_ms + SLACK_MS;
        if line.half_closed {
            return line.must_end(now..=now + SLACK_MS);
        }
        let choice = if line.is_mute() { 0 } else { scene.network.random.below(10) };
        if matches!(choice, 1..4) {
            self.send_in_vain(line, scene);
        }
        match choice {
            0 | 1 => {
                scene.oracle.note("Close never answered");
                line.must_end(dropped);
                if let Some(socket) = line.socket() {
                    socket.unruly = true;
                }
            }
            2 => {
                line.half_close(scene);
                line.must_end(now..=now + SLACK_MS);
            }
            _ => {
                // Mostly the server's own code, as §5.5.1 wants it.
                let answer = if choice == 4 { farewell(&mut scene.network.random).0 } else { payload.to_vec() };
                line.send_close(&answer, scene);
                line.must_end(now..=now + SLACK_MS);
            }
        }
    }

    /// Everything that was sent before the Close, or before the end of one who sends none, has been served.
    pub(super) fn check_served(&self, line: &mut Line, scene: &mut Scene) {
        assert!(line.commands.is_empty(), "{} commands were not answered", line.commands.len());
        let pings = line.socket().map_or(0, |socket| socket.pings.len());
        assert_eq!(pings, 0, "pings were not answered");
        for data in &line.sent {
            for tracker in &self.trackers {
                let published = scene.oracle.offset_of_payload(tracker.channel, data).is_some();
                assert!(published, "{} bytes were sent before the end and not published", data.len());
            }
        }
    }

    /// Sends what the server, which has closed or been told to close, must throw away.
    fn send_in_vain(&self, line: &mut Line, scene: &mut Scene) {
        let name = scene.oracle.channels[self.trackers[0].channel].name.clone();
        line.send_in_vain(&name, scene);
    }

    /// What the application was told of the end must be what happened.
    pub(crate) fn check_ending(&mut self, link: LinkId, ending: &Ending, draining: bool, shaken: bool) {
        let Some(line) = self.line.as_mut().filter(|line| line.link == link) else { return };
        line.ended_at = Some(self.trackers.iter().map(|tracker| ending.newest[tracker.channel]).collect());
        let reason = ending.reason;
        // What there is no memory for, and the client does not take at once, is given up; so is the rest of what is on its
        // way to one whose message was refused.
        line.given_up = match reason {
            Reason::Stalled => ending.overdrawn,
            reason => reason == Reason::Closing(CloseCode::TRY_AGAIN_LATER),
        };
        let Session::WebSocket(socket) = &line.session else { return };
        let farewell = socket.farewell.as_ref();
        let right = match reason {
            Reason::Closed(code) => farewell.is_some_and(|farewell| farewell.sent == code.value()),
            Reason::Closing(code) => {
                let own = [CloseCode::LAGGED, CloseCode::TRY_AGAIN_LATER].contains(&code);
                own || farewell.is_some_and(|farewell| farewell.answer == code.value())
            }
            Reason::Silent => !self.nature.diligent || socket.is_silent() || shaken,
            Reason::Stalled => !self.nature.diligent || shaken || line.given_up,
            // A command that has not been answered may have shown one.
            Reason::Expired => line.token.is_some() || !line.commands.is_empty(),
            Reason::Draining => draining,
            Reason::PeerGone => line.half_closed,
            Reason::Answered => false,
        };
        assert!(right, "{reason:?} of a client that is {:?}", socket.manner);
    }
}

impl Line {
    /// Ends its side, perhaps in the middle of something.
    fn half_close(&mut self, scene: &mut Scene) {
        if scene.network.random.one_in(2) {
            self.flush(scene);
        }
        scene.network.half_close(self.link);
        self.half_closed = true;
        self.going_until = Some(scene.network.now + PATIENCE_MS);
    }

    /// Begins the closing handshake, and does not always leave it at that.
    fn say_goodbye(&mut self, scene: &mut Scene) {
        let (payload, farewell) = farewell(&mut scene.network.random);
        self.send_close(&payload, scene);
        if let Some(socket) = self.socket() {
            socket.farewell = Some(farewell);
        }
        self.going_until = Some(scene.network.now + PATIENCE_MS);
        match scene.network.random.below(8) {
            0 | 1 => {
                scene.network.half_close(self.link);
                self.half_closed = true;
            }
            2 => {
                let name = scene.oracle.channels[0].name.clone();
                self.send_in_vain(&name, scene);
            }
            3 => {
                // The server does not even look at it.
                let noise: Vec<u8> =
                    (0..scene.network.random.index(50_000)).map(|_| scene.network.random.next() as u8).collect();
                scene.network.send(self.link, &noise);
            }
            _ => {}
        }
    }

    fn send_close(&mut self, payload: &[u8], scene: &mut Scene) {
        self.flush(scene);
        if !self.half_closed {
            let mut bytes = Vec::new();
            frames::push_frame(&mut bytes, FIN | CLOSE, payload, &mut scene.network.random);
            scene.network.send(self.link, &bytes);
        }
    }

    fn send_in_vain(&mut self, channel: &str, scene: &mut Scene) {
        self.flush(scene);
        let commands = self.takes_commands();
        let payload = scene.oracle.payload(&mut scene.network.random, 3_000);
        scene.oracle.forbid(&payload);
        let payload = match commands {
            true => Payload {
                data: json!({"publish": channel, "base64": STANDARD.encode(&payload.data)}).to_string().into_bytes(),
                binary: false,
            },
            false => payload,
        };
        let (link, random) = (self.link, &mut scene.network.random);
        let mut bytes = Vec::new();
        let Some(socket) = self.socket() else { return };
        // Pings among it are not to be answered either.
        let pings = socket.pings.len();
        socket.push_message(&mut bytes, &payload, random);
        socket.pings.truncate(pings);
        frames::push_frame(&mut bytes, FIN | PING, b"too late", random);
        scene.network.send(link, &bytes);
        scene.oracle.note("data after a Close");
    }

    fn must_end(&mut self, end: RangeInclusive<u64>) {
        self.going_until = Some(*end.end() + PATIENCE_MS);
        if let Some(socket) = self.socket() {
            socket.end = Some(end);
        }
    }
}

/// The code, 1005 where there is none, and the reason of the server's Close.
fn decode(payload: &[u8]) -> (u16, &str) {
    let Some((code, reason)) = payload.split_first_chunk() else {
        assert!(payload.is_empty(), "half a close code");
        return (NO_CODE, "");
    };
    (u16::from_be_bytes(*code), std::str::from_utf8(reason).expect("a reason is UTF-8"))
}

/// A Close as it may be, or must not be (§5.5.1, §7.4).
fn farewell(random: &mut Random) -> (Vec<u8>, Farewell) {
    let valid = random.pick(&[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 4000, 4999]);
    let reason = random.pick(&REASONS);
    let with = |code: u16, reason: &[u8]| [&code.to_be_bytes(), reason].concat();
    let (payload, sent, answer) = match random.below(10) {
        0 | 1 => (Vec::new(), NO_CODE, NO_CODE),
        2 => {
            let code = random.pick(&[0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, u16::MAX]);
            (with(code, reason.as_bytes()), code, 1002)
        }
        3 => (vec![3], NO_CODE, 1002),
        4 => (with(valid, &"gr\u{fc}\u{df}e".as_bytes()[..3]), valid, 1007),
        _ => (with(valid, reason.as_bytes()), valid, valid),
    };
    (payload, Farewell { sent, answer })
}

/// From none to as long as it may be.
const REASONS: [&str; 4] = [
    "",
    "bye",
    "\u{1f44b} \u{6f22}\u{5b57}",
    "a hundred and twenty-three bytes, which is all that a control frame can carry beside the code, \
     not one of them more: \u{1f44b}!!",
];

/// What stands for a Close without a code.
const NO_CODE: u16 = 1005;
const GOING_AWAY: u16 = 1001;
/// How long one who goes waits for the server.
pub(super) const PATIENCE_MS: u64 = 5_000;

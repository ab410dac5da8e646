//! Rogues: nonsense, halves of requests, connections that say nothing.

use super::frames::KEY;
use super::{Client, Cx, Phase, speed};
use crate::network::{Arrival, LinkId};

#[derive(Default)]
pub(crate) struct Rogue {
    link: Option<LinkId>,
}

impl Rogue {
    fn attack(&mut self, cx: &mut Cx) {
        let speed = speed(false, cx.random());
        let link = cx.network.connect(cx.me, speed);
        self.link = Some(link);
        let upgrade = format!(
            "GET /channel/a HTTP/1.1\r\nHost: s\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        let mut bytes = match cx.random().below(10) {
            0 => Vec::new(),
            1 => b"GET /channel/a HT".to_vec(),
            2 => b"nonsense\r\n\r\n".to_vec(),
            3 => b"POST /channel/a HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n\r\nnot all".to_vec(),
            4 => b"POST /channel/a HTTP/1.1\r\nHost: s\r\nContent-Length: 10000000\r\n\r\n".to_vec(),
            5 => [b"GET / HTTP/1.1\r\nHost: ".to_vec(), vec![b'a'; 20_000]].concat(),
            6 => b"GET /channel/a?wait=20 HTTP/1.1\r\nHost: s\r\n\r\n".repeat(5),
            7 => b"GET /channel/a HTTP/1.1\r\nHost: s\r\nAccept: text/event-stream\r\n\r\n".to_vec(),
            8 => [upgrade.as_bytes(), b"\x81\x05hello"].concat(),
            _ => [upgrade.as_bytes(), b"\x81\xfe\x40\x00abcdhalf a frame"].concat(),
        };
        if bytes.ends_with(b"event-stream\r\n\r\n") {
            bytes.extend(vec![b'x'; cx.random().index(400_000)]);
        }
        if !bytes.is_empty() {
            cx.network.send(link, &bytes);
        }
        if cx.random().one_in(3) {
            cx.network.half_close(link);
        }
    }
}

impl Client for Rogue {
    fn wake(&mut self, phase: Phase, cx: &mut Cx) {
        if let Some(link) = self.link.take() {
            cx.abandon(link);
        }
        if phase == Phase::Active {
            self.attack(cx);
            let delay = cx.random().range(100, 40_000);
            cx.wake_in(delay);
        }
    }

    fn arrive(&mut self, link: LinkId, arrival: Arrival, _: Phase, cx: &mut Cx) {
        if self.link == Some(link) && !matches!(arrival, Arrival::Bytes(_)) {
            self.link = None;
            cx.network.close(link);
        }
    }

    fn check_settled(&self, _: bool, _: &mut Cx) {}
}

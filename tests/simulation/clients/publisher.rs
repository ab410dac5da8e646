//! A publisher: POST and PUT, one after another or pipelined, retried where a key makes that safe; and DELETE.

use std::collections::VecDeque;

use serde_json::Value;

use super::http::{Response, Responses};
use super::{Phase, Scene};
use crate::network::{Arrival, LinkId, Speed};
use crate::oracle::Payload;
use crate::random::Random;

pub(crate) struct Publisher {
    id: usize,
    channels: Vec<usize>,
    /// The longest time between two requests.
    pace_ms: u64,
    line: Option<Line>,
    /// Requests with a key that were not answered.
    retry: VecDeque<Request>,
    due: u64,
    keys: u64,
}

struct Line {
    link: LinkId,
    came_at: u64,
    responses: Responses,
    /// Requests that were sent, oldest first.
    waiting: VecDeque<Request>,
    server_closes: bool,
}

#[derive(Clone)]
struct Request {
    method: &'static str,
    channels: Vec<usize>,
    payload: Payload,
    event: Option<&'static str>,
    key: Option<String>,
    made_at: u64,
}

impl Publisher {
    pub(crate) fn new(id: usize, channels: &[usize], pace_ms: u64) -> Publisher {
        Publisher { id, channels: channels.to_vec(), pace_ms, line: None, retry: VecDeque::new(), due: 0, keys: 0 }
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
        match scene.phase {
            Phase::Busy if !scene.oracle.draining => self.publish(scene),
            Phase::Leaving => return self.go(scene),
            _ => {}
        }
        let delay = 1 + scene.network.random.below(self.pace_ms);
        self.act_in(delay, scene);
    }

    fn publish(&mut self, scene: &mut Scene) {
        if self.line.is_none() {
            self.connect(scene);
        }
        if self.line.as_ref().is_some_and(|line| line.server_closes || !line.waiting.is_empty()) {
            if scene.network.random.one_in(6) {
                self.go(scene);
            }
            return;
        }
        let count = if scene.network.random.one_in(4) { scene.network.random.range(2, 12) } else { 1 };
        let mut bytes = Vec::new();
        for _ in 0..count {
            let known = |request: &Request| request.made_at + KEY_IS_KNOWN_MS > scene.network.now;
            let known = |request: &Request| known(request) && !scene.oracle.troubles.keys;
            let retry = self.retry.pop_front().filter(known);
            let request = retry.unwrap_or_else(|| self.make(count > 1, scene));
            request.encode(&mut bytes, scene);
            if let Some(line) = &mut self.line {
                line.waiting.push_back(request);
            }
        }
        if let Some(line) = &self.line {
            scene.network.send(line.link, &bytes);
            // The connection breaks while the answer is on its way, or earlier.
            if scene.network.random.one_in(10) {
                let delay = scene.network.random.below(30);
                self.act_in(delay, scene);
            }
        }
    }

    fn connect(&mut self, scene: &mut Scene) {
        let random = &mut scene.network.random;
        let speed = Speed {
            chunk_max: random.pick(&[200, 2_000, 60_000]),
            delay_max_ms: random.pick(&[0, 3, 10]),
            capacity: random.pick(&[100, 4_000, 60_000]),
        };
        let link = scene.network.connect(self.id, speed);
        let (responses, waiting) = (Responses::default(), VecDeque::new());
        let came_at = scene.network.now;
        self.line = Some(Line { link, came_at, responses, waiting, server_closes: false });
    }

    fn make(&mut self, small: bool, scene: &mut Scene) -> Request {
        let random = &mut scene.network.random;
        let method = match random.below(40) {
            0 => "DELETE",
            1..4 => "GET",
            4..10 => "PUT",
            _ => "POST",
        };
        let mut channels = vec![random.pick(&self.channels)];
        if random.one_in(8) {
            channels.clone_from(&self.channels);
        }
        let payload = match method {
            "DELETE" | "GET" => Payload { data: Vec::new(), binary: false },
            _ => scene.oracle.payload(&mut scene.network.random, if small { 2_000 } else { usize::MAX }),
        };
        let random = &mut scene.network.random;
        let publishes = matches!(method, "POST" | "PUT");
        self.keys += 1;
        let key = (publishes && random.one_in(2)).then(|| format!("{}-{}", self.id, self.keys));
        let event = if publishes { random.pick(&[None, None, Some("news")]) } else { None };
        Request { method, channels, payload, event, key, made_at: scene.network.now }
    }

    /// Breaks the connection or closes it; what has a key is tried again.
    fn go(&mut self, scene: &mut Scene) {
        let Some(line) = &self.line else { return };
        match scene.network.random.below(4) {
            0 => scene.network.vanish(line.link),
            1 => scene.network.close(line.link),
            _ => scene.network.reset(line.link),
        }
        self.leave(scene);
    }

    fn leave(&mut self, scene: &mut Scene) {
        let Some(line) = self.line.take() else { return };
        if scene.phase == Phase::Busy {
            self.retry.extend(line.waiting.into_iter().filter(|request| request.key.is_some()));
            let delay = 1 + scene.network.random.below(self.pace_ms);
            self.act_in(delay, scene);
        }
    }

    pub(crate) fn receive(&mut self, arrival: Arrival, scene: &mut Scene) {
        let Arrival::Bytes(bytes) = arrival else {
            if let Some(line) = &self.line
                && matches!(arrival, Arrival::End)
            {
                let refused = scene.network.links[line.link].refused;
                let given_up = scene.oracle.has_budget() || scene.oracle.is_shaken(line.came_at);
                assert!(refused || given_up || line.responses.is_empty(), "an answer was cut off");
                scene.network.close(line.link);
            }
            return self.leave(scene);
        };
        let Some(line) = &mut self.line else { return };
        line.responses.push(&bytes);
        while let Some(line) = &mut self.line
            && let Some(response) = line.responses.next()
        {
            self.receive_response(&response, scene);
        }
    }

    fn receive_response(&mut self, response: &Response, scene: &mut Scene) {
        let Some(line) = &mut self.line else { return };
        assert!(!line.server_closes, "an answer after the last one");
        line.server_closes = response.closes();
        if matches!(response.status, 503 | 408) {
            // Refused: for the number of connections before anything was asked, or for the number of channels.
            scene.oracle.note("503 or 408 to a publisher");
            scene.network.close(line.link);
            self.leave(scene);
            let delay = scene.network.random.below(2_000);
            return self.act_in(delay, scene);
        }
        let request = line.waiting.pop_front().unwrap_or_else(|| panic!("an answer to nothing"));
        scene.oracle.check_date(response.field("date"), request.made_at);
        if response.status == 429 && scene.oracle.config.publications_a_second.is_some() {
            assert!(response.field("retry-after").is_some(), "429 without Retry-After");
            return scene.oracle.note("429 to a publisher");
        }
        match request.method {
            "GET" => assert_eq!(response.status, 200),
            "DELETE" => assert_eq!(response.status, 204),
            _ => request.check(response, scene),
        }
    }
}

impl Request {
    fn encode(&self, out: &mut Vec<u8>, scene: &mut Scene) {
        let names: Vec<&str> =
            self.channels.iter().map(|channel| scene.oracle.channels[*channel].name.as_str()).collect();
        let query = match (self.method, self.event) {
            // A poll in front of what is pipelined.
            ("GET", _) => "?wait=1".to_owned(),
            (_, Some(event)) => format!("?event={event}"),
            _ => String::new(),
        };
        let mut head = format!("{} /channel/{}{query} HTTP/1.1\r\nHost: redpoll\r\n", self.method, names.join(","));
        if let Some(key) = &self.key {
            head.push_str(&format!("Idempotency-Key: {key}\r\n"));
        }
        if self.payload.binary {
            head.push_str("Content-Type: application/octet-stream\r\n");
        }
        if self.method != "GET" && self.method != "DELETE" {
            return self.push_content(head, out, &mut scene.network.random);
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn push_content(&self, mut head: String, out: &mut Vec<u8>, random: &mut Random) {
        if random.one_in(10) {
            head.push_str("Expect: 100-continue\r\n");
        }
        let data = &self.payload.data;
        if !random.one_in(3) {
            out.extend_from_slice(format!("{head}Content-Length: {}\r\n\r\n", data.len()).as_bytes());
            return out.extend_from_slice(data);
        }
        out.extend_from_slice(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
        let mut rest = &data[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + random.index(rest.len()));
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            rest = after;
        }
        out.extend_from_slice(b"0\r\n\r\n");
    }

    /// The answer says where the message went.
    fn check(&self, response: &Response, scene: &mut Scene) {
        let body: Value = serde_json::from_slice(&response.body).expect("the answer is JSON");
        let answers = if self.channels.len() > 1 { body.as_array().expect("an array").clone() } else { vec![body] };
        assert_eq!(answers.len(), self.channels.len());
        let mut heard = false;
        for (answer, channel) in answers.iter().zip(&self.channels) {
            assert_eq!(answer["channel"], scene.oracle.channels[*channel].name.as_str());
            let offset = scene.oracle.offset(answer["id"].as_str().expect("an id"));
            let entry = scene.oracle.entry(*channel, offset);
            assert!(entry.data == self.payload.data, "{offset} is something else");
            assert_eq!((entry.binary, entry.event.as_deref()), (self.payload.binary, self.event));
            heard |= answer["subscribers"].as_u64().expect("a number") > 0;
        }
        assert_eq!(response.status, if heard { 201 } else { 202 });
    }
}

/// How long a key may be used again: a little less than the server remembers it.
const KEY_IS_KNOWN_MS: u64 = 290_000;

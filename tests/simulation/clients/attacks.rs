//! The kinds of attack: what is sent, how fast, and which limit is meant to end or bound it.

use redpoll::Config;

use super::Scene;
use super::frames::{self, BINARY, FIN, KEY, TEXT};
use crate::oracle::Payload;
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A head, a byte at a time.
    SlowHead,
    /// Content of a known length, a byte at a time.
    SlowContent,
    /// Chunked content, a byte a chunk.
    SlowChunks,
    /// One message, a byte at a time: each is a sign of life, so only its size is bounded.
    SlowMessage,
    /// One message in fragments without end.
    Fragments,
    /// Connections that say nothing.
    Silent,
    /// A reader with a closed window, by any transport.
    Deaf,
    /// The same after many requests at once.
    DeafPipeline,
    /// Publishes as fast as it can.
    GreedyPost,
    GreedySocket,
    GreedyCommands,
    /// Subscribes to everything there is.
    GreedySubscriber,
    /// Subscribes and unsubscribes.
    Restless,
    /// Idempotency keys without end.
    Keys,
    /// What others send, with something wrong in it.
    Mangled,
}

pub(crate) const KINDS: [Kind; 15] = [
    Kind::SlowHead,
    Kind::SlowContent,
    Kind::SlowChunks,
    Kind::SlowMessage,
    Kind::Fragments,
    Kind::Silent,
    Kind::Deaf,
    Kind::DeafPipeline,
    Kind::GreedyPost,
    Kind::GreedySocket,
    Kind::GreedyCommands,
    Kind::GreedySubscriber,
    Kind::Restless,
    Kind::Keys,
    Kind::Mangled,
];

/// What the limit that is meant for an attack does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// 408 so many milliseconds after the connection was accepted.
    Late(u64),
    /// The end, without an answer, as late.
    Idle(u64),
    /// Close 1009 once so many bytes have arrived.
    TooBig(usize),
    /// The end when nothing could be written for two ping intervals.
    Stalled,
    /// It goes on as long as it likes: what it gets and holds is bounded.
    Bounded,
}

impl Kind {
    pub(super) fn limit(self, config: &Config) -> Limit {
        match self {
            Kind::SlowHead => Limit::Late(config.head_timeout_ms),
            Kind::SlowContent | Kind::SlowChunks => Limit::Late(config.content_timeout_ms),
            Kind::Silent => Limit::Idle(config.keep_alive_ms),
            Kind::Fragments => Limit::TooBig(config.message_bytes_max),
            Kind::Deaf | Kind::DeafPipeline => Limit::Stalled,
            _ => Limit::Bounded,
        }
    }

    /// How many connections it has at once, and how many bytes each of them sends at a time.
    pub(super) fn size(self, random: &mut Random) -> (usize, usize) {
        match self {
            Kind::SlowHead | Kind::SlowContent => (random.pick(&[1, 10]), 1),
            Kind::SlowChunks => (random.pick(&[1, 10]), 6),
            Kind::SlowMessage => (random.pick(&[1, 5]), random.pick(&[1, 300])),
            Kind::Silent => (random.pick(&[5, 60]), usize::MAX),
            Kind::Deaf | Kind::DeafPipeline => (random.pick(&[1, 12]), usize::MAX),
            _ => (random.pick(&[1, 3]), usize::MAX),
        }
    }

    /// Whether everything that it sends is a request, or was meant as one.
    pub(super) fn is_http(self) -> bool {
        matches!(
            self,
            Kind::SlowHead
                | Kind::SlowContent
                | Kind::SlowChunks
                | Kind::GreedyPost
                | Kind::DeafPipeline
                | Kind::Keys
                | Kind::Mangled
        )
    }

    /// The longest time between two acts.
    pub(super) fn pace_ms(self) -> u64 {
        match self {
            Kind::SlowHead | Kind::SlowContent | Kind::SlowChunks => 400,
            Kind::Silent | Kind::Deaf | Kind::DeafPipeline => 500,
            Kind::Mangled => 200,
            _ => 60,
        }
    }

    /// What a connection begins with; all of it goes at once.
    pub(super) fn opening(self, number: u64, scene: &mut Scene) -> Vec<u8> {
        let post = |length: &str| format!("POST /channel/flood HTTP/1.1\r\nHost: redpoll\r\n{length}\r\n\r\n");
        let known = scene.oracle.channels[0].name.clone();
        match self {
            Kind::SlowContent => post("Content-Length: 60000"),
            Kind::SlowChunks => post("Transfer-Encoding: chunked"),
            Kind::SlowMessage => websocket("flood", ""),
            Kind::Fragments => return [websocket("flood", "").as_bytes(), b"\x02\x80abcd"].concat(),
            Kind::GreedySocket => websocket(&known, ""),
            Kind::GreedyCommands | Kind::Restless => websocket(&known, COMMANDS),
            Kind::GreedySubscriber => {
                let names: Vec<String> = (0..32).map(|name| format!("flood-{number}-{name}")).collect();
                websocket(&names.join(","), COMMANDS)
            }
            Kind::Deaf => match scene.network.random.below(5) {
                0 => websocket(&known, ""),
                1 => websocket(&known, COMMANDS),
                2 => format!(
                    "GET /channel/{known}?since=earliest HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
                ),
                3 => format!("GET /channel/{known},attack HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"),
                _ => format!("GET /channel/{known}?since=earliest&wait=2 HTTP/1.1\r\nHost: h\r\n\r\n"),
            },
            Kind::DeafPipeline => match scene.network.random.below(2) {
                0 => format!("GET /channel/{known}?since=earliest HTTP/1.1\r\nHost: h\r\n\r\n").repeat(300),
                _ => format!("{}y", post("Content-Length: 1")).repeat(300),
            },
            Kind::SlowHead | Kind::Silent | Kind::GreedyPost | Kind::Keys | Kind::Mangled => String::new(),
        }
        .into_bytes()
    }

    /// What it goes on with.
    pub(super) fn more(self, number: u64, scene: &mut Scene) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Kind::SlowHead => bytes.extend_from_slice(format!("GET / HTTP/1.1\r\nX: {:2000}", "").as_bytes()),
            Kind::SlowContent => bytes.resize(2_000, b'x'),
            Kind::SlowChunks => bytes.extend_from_slice(b"1\r\nx\r\n"),
            Kind::SlowMessage => {
                bytes.extend_from_slice(SLOW_MESSAGE);
                bytes.resize(bytes.len() + 60_000, b'x');
            }
            Kind::Fragments => {
                let fragment = vec![b'x'; scene.network.random.pick(&[0, 1, 3_000])];
                frames::push_frame(&mut bytes, 0, &fragment, &mut scene.network.random);
            }
            Kind::Silent | Kind::Deaf | Kind::DeafPipeline => {}
            Kind::GreedyPost => greedy_post(&mut bytes, scene),
            Kind::GreedySocket => {
                let payload = large(scene);
                let opcode = if payload.binary { BINARY } else { TEXT };
                frames::push_frame(&mut bytes, FIN | opcode, &payload.data, &mut scene.network.random);
            }
            Kind::GreedyCommands => {
                push_command(&mut bytes, &format!(r#"{{"publish":"flood","data":"{:9000}"}}"#, ""), scene)
            }
            Kind::GreedySubscriber => {
                for _ in 0..20 {
                    let name = scene.network.random.below(400);
                    push_command(&mut bytes, &format!(r#"{{"subscribe":"flood-{number}-{name}"}}"#), scene);
                }
            }
            Kind::Restless => {
                let name = scene.oracle.channels[0].name.clone();
                for verb in ["unsubscribe", "subscribe"].repeat(20) {
                    push_command(&mut bytes, &format!(r#"{{"{verb}":"{name}"}}"#), scene);
                }
            }
            Kind::Keys => {
                for _ in 0..50 {
                    let key = scene.network.random.next();
                    let head = "POST /channel/flood-keys HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n";
                    bytes.extend_from_slice(format!("{head}Idempotency-Key: {key:0100}\r\n\r\n").as_bytes());
                }
            }
            Kind::Mangled => bytes = mangled(&mut scene.network.random),
        }
        bytes
    }
}

/// A message of a size that others seldom send.
fn large(scene: &mut Scene) -> Payload {
    let size = scene.network.random.pick(&[500, 8_000, 60_000]);
    scene.oracle.payload_of(size, &mut scene.network.random)
}

fn greedy_post(bytes: &mut Vec<u8>, scene: &mut Scene) {
    let known = scene.oracle.channels[0].name.clone();
    let payload = large(scene);
    let head = format!("POST /channel/{known} HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\n");
    bytes.extend_from_slice(format!("{head}Content-Length: {}\r\n\r\n", payload.data.len()).as_bytes());
    bytes.extend_from_slice(&payload.data);
}

fn push_command(bytes: &mut Vec<u8>, json: &str, scene: &mut Scene) {
    frames::push_frame(bytes, FIN | TEXT, json.as_bytes(), &mut scene.network.random);
}

fn websocket(names: &str, fields: &str) -> String {
    format!(
        "GET /channel/{names} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
}

/// Something that others send, with a few bytes changed, left out, put in or doubled. Its channels are called what does
/// not become the name of one that is watched by that: `/channel/a?tack` would.
fn mangled(random: &mut Random) -> Vec<u8> {
    let model = match random.below(7) {
        0 => "POST /channel/flood HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello".into(),
        1 => {
            let head = "PUT /channel/flood,flood-1?event=e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{head}5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n")
        }
        2 => "GET /channel/flood?since=5f3a-1&wait=1&limit=2 HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3),
        3 => "GET /channel/flood HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: 5f3a-1\r\n\r\n"
            .into(),
        4 => "DELETE /channel/flood HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(),
        5 => websocket("flood", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\r\n"),
        _ => websocket("flood", COMMANDS),
    };
    let mut bytes = model.into_bytes();
    let commands =
        [r#"{"subscribe":"flood-2","since":"5f3a-1","ack":1}"#, r#"{"publish":"flood","base64":"aGk=","ack":2}"#];
    for command in commands {
        frames::push_frame(&mut bytes, FIN | TEXT, command.as_bytes(), random);
    }
    for _ in 0..random.range(1, 6) {
        let (at, byte) = (random.index(bytes.len()), random.next() as u8);
        match random.below(4) {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, byte),
            _ => {
                let end = (at + random.index(40)).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
    bytes
}

const COMMANDS: &str = "Sec-WebSocket-Protocol: redpoll.v1\r\n";
/// The head of a frame of 60,000 bytes, masked with nothing.
const SLOW_MESSAGE: &[u8] = b"\x82\xfe\xea\x60\0\0\0\0";

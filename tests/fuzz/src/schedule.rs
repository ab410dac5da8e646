//! What happens, one thing after the other, out of the bytes of an input.

use std::net::SocketAddr;

use redpoll::wire::frame::{Opcode, encode_masked};
use redpoll::{Config, History, Readiness};

/// One thing that happens.
#[derive(Debug)]
pub enum Step {
    /// Somebody connects; so much can be written before it is taken.
    Connect {
        window: usize,
        peer: Option<SocketAddr>,
    },
    /// A client sends.
    Send {
        client: usize,
        bytes: Vec<u8>,
    },
    Turn,
    /// Time passes, with all turns that the engine asks for.
    Sleep {
        ms: u64,
    },
    /// Time passes without a turn, and the wall clock says something else.
    Jump {
        ms: u64,
        unix_ms: u64,
    },
    /// A client takes so much.
    Take {
        client: usize,
        bytes: usize,
    },
    /// From now on so much can be written before it is taken, and so much is taken at once.
    Window {
        client: usize,
        window: usize,
        pace: usize,
    },
    HalfClose {
        client: usize,
    },
    Reset {
        client: usize,
    },
    /// What the next calls come to.
    Faults {
        client: usize,
        interruptions: u8,
        read_most: usize,
        write_most: usize,
    },
    /// Somebody publishes from outside.
    Publish {
        channel: &'static str,
        data: Vec<u8>,
        binary: bool,
        event: Option<&'static str>,
    },
    /// Readiness that means nothing.
    Ready {
        id: u32,
        readiness: Readiness,
    },
    Drain,
    /// What the process takes, as the operating system sees it.
    Resident {
        bytes: usize,
    },
}

/// The bytes of an input; behind their end there are zeros.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(bytes)
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// As many as the next byte says.
    fn some(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(count);
        self.0 = rest;
        some
    }

    /// What the server allows.
    pub fn config(&mut self) -> Config {
        let history = History {
            entries: self.pick(&[100, 0, 1, 3]),
            bytes: self.pick(&[64 << 10, 10, 300]),
            age_ms: self.pick(&[3_600_000, 500, 20_000]),
        };
        Config {
            history,
            history_prefixes: vec![("b".into(), History { entries: 2, ..history })],
            connections_max: self.pick(&[100, 2, 5]),
            address_connections_max: self.pick(&[None, None, Some(1), Some(3)]),
            trusted_hops: self.pick(&[0, 0, 1]),
            publications_a_second: self.pick(&[None, None, Some(2)]),
            memory_bytes_max: self.pick(&[usize::MAX, usize::MAX, 1 << 20]),
            channels_max: self.pick(&[100, 1, 2]),
            subscriptions_max: self.pick(&[1_000, 1, 3]),
            message_bytes_max: self.pick(&[64 << 10, 100, 1_000]),
            deflate: self.byte() & 1 == 0,
            deflate_from_bytes: self.pick(&[0, 10]),
            head_bytes_max: self.pick(&[8 << 10, 300]),
            poll_messages_max: self.pick(&[1_000, 1, 3]),
            ping_interval_ms: self.pick(&[25_000, 1_000]),
            keep_alive_ms: self.pick(&[60_000, 2_000]),
            discard_bytes_max: self.pick(&[256 << 10, 50]),
            origins: vec!["http://known".into()],
            idempotency_keys_max: self.pick(&[16_384, 1]),
            unoffered_entries_max: self.pick(&[256, 1, 4]),
            unoffered_bytes_max: self.pick(&[1 << 20, 100]),
            presence_changes_max: self.pick(&[64, 0, 1]),
            polling_members_max: self.pick(&[16_384, 1]),
            ..Config::default()
        }
    }

    /// When it begins; from some moments timers reach across the end of 32-bit ticks.
    pub fn start_ms(&mut self) -> u64 {
        self.pick(&[80_000, 0, (8 << 32) - 5_000, (8 << 32) - 61_000])
    }

    /// The next thing, until there are no more bytes.
    pub fn step(&mut self) -> Option<Step> {
        if self.0.is_empty() {
            return None;
        }
        let first = self.byte();
        let client = usize::from(first >> 4);
        Some(match first & 15 {
            0 => {
                let window = self.pick(&[usize::MAX, 0, 10, 500, 20_000]);
                let address = PEERS.get(usize::from(self.byte())).map(|peer| peer.parse().expect("an address"));
                Step::Connect { window, peer: address.map(|address| SocketAddr::new(address, 4711)) }
            }
            1 => Step::Send { client, bytes: self.some().to_vec() },
            2 => Step::Send { client, bytes: self.request() },
            3 => Step::Send { client, bytes: self.frame() },
            4 => Step::Send { client, bytes: self.command() },
            5 => Step::Turn,
            6 => Step::Sleep { ms: self.pick(&[1, 10, 300, 1_000, 3_000, 11_000, 30_000, 70_000, 3_700_000]) },
            7 => Step::Jump {
                ms: self.pick(&[0, 1, 1_000, 5_000, 100_000, 86_400_000]),
                unix_ms: self.pick(&[0, 784_111_777_000, 1_700_000_000_000, u64::MAX]),
            },
            8 => Step::Take { client, bytes: usize::from(self.byte()) },
            9 => Step::Window {
                client,
                window: self.pick(&[usize::MAX, 0, 1, 100, 5_000]),
                pace: self.pick(&[usize::MAX, 0, 1, 50]),
            },
            10 => Step::HalfClose { client },
            11 => Step::Reset { client },
            12 => Step::Faults {
                client,
                interruptions: self.byte() % 4,
                read_most: self.pick(&[usize::MAX, 1, 7, 100]),
                write_most: self.pick(&[usize::MAX, 0, 1, 30]),
            },
            13 => {
                let (channel, kind) = (self.pick(&["a", "b", "c-1", "", "a b"]), self.byte());
                let event = [None, None, Some("e"), Some("gap")][usize::from(kind >> 1 & 3)];
                Step::Publish { channel, data: self.payload(), binary: kind & 1 == 1, event }
            }
            14 if client == 15 => Step::Drain,
            14 if client == 14 => Step::Resident { bytes: usize::from(self.byte()) << 15 },
            14 => {
                let bits = self.byte();
                let readiness = Readiness { readable: bits & 1 > 0, writable: bits & 2 > 0, ended: false };
                Step::Ready { id: u32::from(bits >> 2), readiness }
            }
            _ => {
                let repeated = usize::from(self.byte());
                let (bytes, most) = if client & 1 == 0 { (self.frame(), 64) } else { (self.request(), 16) };
                Step::Send { client: client >> 1, bytes: bytes.repeat(repeated % most) }
            }
        })
    }

    /// Some bytes, once or often.
    fn payload(&mut self) -> Vec<u8> {
        let repeated = self.pick(&[1, 1, 1, 20, 300]);
        self.some().repeat(repeated)
    }

    /// A frame of a client, mostly a right one.
    fn frame(&mut self) -> Vec<u8> {
        let (kind, mut bytes) = (self.byte(), Vec::new());
        let opcode = [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Pong, Opcode::Close][usize::from(kind % 5)];
        let mut payload = self.payload();
        if opcode.is_control() {
            payload.truncate(125);
        }
        encode_masked(opcode, &payload, [kind, 1, 2, 3], &mut bytes);
        match kind {
            // A fragment, and something that is not allowed.
            0xc0..0xe0 => bytes[0] &= 0x7f,
            0xe0.. => bytes[0] ^= 1 << (kind & 7),
            _ => {}
        }
        bytes
    }

    fn command(&mut self) -> Vec<u8> {
        let (kind, channel, since) = (self.byte(), self.pick(&CHANNELS), self.since());
        let ack = if kind & 0x80 == 0 { "" } else { r#","ack":1"# };
        let text = match kind % 7 {
            0 => format!(r#"{{"subscribe":"{channel}"{ack}}}"#),
            1 => format!(r#"{{"subscribe":"{channel}","since":"{since}"{ack}}}"#),
            2 => format!(r#"{{"unsubscribe":"{channel}"{ack}}}"#),
            3 => format!(r#"{{"publish":"{channel}","data":"{since}"{ack}}}"#),
            4 => format!(r#"{{"publish":"{channel}","base64":"AP8=","event":"e","key":"{since}"{ack}}}"#),
            5 => format!(r#"{{"subscribe":"{channel}","since":"{since}","presence":true{ack}}}"#),
            _ => format!(r#"{{"token":"{}"{ack}}}"#, u64::from(self.byte()) * 100),
        };
        let mut bytes = Vec::new();
        encode_masked(Opcode::Text, text.as_bytes(), [kind, 1, 2, 3], &mut bytes);
        bytes
    }

    fn since(&mut self) -> String {
        match self.byte() {
            byte @ 0..200 => format!("5f3a-{byte}"),
            byte => ["latest", "earliest", "last", "0-7", "5f3a-18446744073709551615", "x", "5f3a-1~1", "5f3a-2~99"]
                [usize::from(byte % 8)]
            .into(),
        }
    }

    /// A request, mostly a right one.
    fn request(&mut self) -> Vec<u8> {
        let (first, names, since) = (self.byte(), self.pick(&CHANNELS), self.since());
        let (kind, host) = (first % 32, HOSTS[usize::from(first >> 5)]);
        let since = if names.contains(',') { format!("{since},{since}") } else { since };
        let websocket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let commands = format!("{websocket}Sec-WebSocket-Protocol: redpoll.v1\r\n");
        let deflate = format!("{websocket}Sec-WebSocket-Extensions: permessage-deflate\r\n");
        let stream = "Accept: text/event-stream\r\n";
        let who = self.pick(&WHO);
        let get = |query: String, fields: &str| {
            let who = if query.is_empty() { who.replacen('&', "?", 1) } else { who.to_owned() };
            format!("GET /channel/{names}{query}{who} HTTP/1.1\r\n{host}{fields}\r\n")
        };
        let post = |fields: String| format!("POST /channel/{names} HTTP/1.1\r\n{host}{fields}");
        let text = match kind {
            0 => get(format!("?since={since}"), ""),
            1 => get(format!("?since={since}&wait=5"), ""),
            2 => get("?wait=1".into(), ""),
            3 => get("?wait=9&form=raw".into(), ""),
            4 => get(format!("?limit=1&since={since}"), ""),
            5 => get(String::new(), stream),
            6 => get(format!("?since={since}"), stream),
            7 => get("?form=json".into(), stream),
            8 => get(String::new(), &format!("{stream}Last-Event-ID: {since}\r\n")),
            9 => get("?until=700".into(), stream),
            10 => get(String::new(), websocket),
            11 => get(format!("?since={since}&form=json"), websocket),
            12 => get(String::new(), &commands),
            13 => get(format!("?since={since}&until=900"), &commands),
            14 => get(String::new(), &deflate),
            15 => get("?form=json".into(), &deflate),
            16 => get("?until=100&wait=3".into(), ""),
            17 => get("?wait=2".into(), &format!("If-None-Match: \"{since}\"\r\nOrigin: http://known\r\n")),
            18 => post(format!("Content-Length: {}\r\n\r\n{since}", since.len())),
            19 => {
                post(format!("Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n\0{}", kind as char))
            }
            20 => {
                post(format!("Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n{:x};y\r\n{since}\r\n0\r\n\r\n", since.len()))
            }
            21 => post(format!("Idempotency-Key: {since}\r\nContent-Length: 1\r\n\r\nk")),
            22 => post("Expect: 100-continue\r\nContent-Length: 3\r\n\r\n".into()),
            23 => {
                let content = self.payload().escape_ascii().to_string();
                post(format!("Content-Length: {}\r\n\r\n{content}", content.len()))
            }
            24 => format!("DELETE /channel/{names} HTTP/1.1\r\n{host}\r\n"),
            25 => format!("HEAD /channel/{names}?since={since} HTTP/1.1\r\n{host}\r\n"),
            26 => format!("OPTIONS /channel/{names} HTTP/1.1\r\n{host}Origin: http://other\r\n\r\n"),
            27 => format!("GET /get HTTP/1.1\r\n{host}\r\n"),
            28 => {
                format!("POST /send HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\ncontent={since}", since.len() + 8)
            }
            29 => "GET /list HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(),
            30 => format!("GET /talk HTTP/1.1\r\n{host}{websocket}\r\n"),
            _ => get("?wait=1".into(), "Connection: close\r\nOrigin: http://other\r\n"),
        };
        text.into_bytes()
    }
}

const PEERS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "2001:db8::1"];

/// The field that every request has, mostly alone.
const HOSTS: [&str; 8] = [
    "Host: h\r\n",
    "Host: h\r\n",
    "Host: h\r\n",
    "Host: h\r\n",
    "Host: h\r\n",
    "Host: h\r\nX-Forwarded-For: 10.0.0.1\r\n",
    "Host: h\r\nX-Forwarded-For: 10.0.0.2, 10.0.0.3\r\n",
    "Host: h\r\nForwarded: for=10.0.0.2;proto=https\r\n",
];

/// Who asks, and for what.
const WHO: [&str; 8] =
    ["", "", "", "&name=ann", "&name=bob", "&presence=1", "&presence=1&name=ann", "&presence=x&name="];

const CHANNELS: [&str; 8] = ["a", "b", "a,b", "c-1", "b,a", "d", "forbidden", "a%20b"];

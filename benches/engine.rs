//! The engine without sockets, over sizes: what grows, and what must not.
//!
//! `cargo bench --bench engine [-- FILTER]`, or with `--test` once each.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, main as run_benches};
use redpoll::wire::frame::{Opcode, encode_masked};
use redpoll::wire::head::{Head, head_length};
use redpoll::wire::mask::unmask;
use redpoll::wire::message::{Decoder, Limits, Role};
use redpoll::{Config, Consumer, Context, Engine, History, Message, Now, Readiness, Seed, Server, Status, Stream};

fn main() {
    run_benches();
}

thread_local! {
    /// What the next read finds, for whichever stream reads; no bytes are the end.
    static INPUT: Cell<Option<&'static [u8]>> = const { Cell::new(None) };
}

/// A stream of four bytes, as a socket is, which takes everything.
struct Wire(u32);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(input) = INPUT.take() else { return Err(ErrorKind::WouldBlock.into()) };
        buffer[..input.len()].copy_from_slice(input);
        Ok(input.len())
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        black_box(self.0);
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Wire {
    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Without fields, as the server's own consumer is.
struct Channel;

impl Consumer for Channel {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let name = cx.request().map_or("", |request| request.param("name"));
        cx.subscribe(name);
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}
}

fn at(milliseconds: u64) -> Now {
    Now { monotonic_ms: 1_000 + milliseconds, unix_ms: 784_111_777_000 + milliseconds }
}

/// An engine with `count` connections that have sent `request`.
fn engine(count: u32, request: &'static [u8]) -> Engine<Wire> {
    let config = Config { connections_max: usize::MAX, channels_max: usize::MAX, ..Config::default() };
    let server = Server::new().config(config).route("/channel/{name}", |_| Channel);
    let mut engine = server.into_engine(Seed { epoch: 1, jitter: 1 }, at(0));
    for number in 0..count {
        accept(&mut engine, number, request, 0);
        if number % 100 == 0 {
            engine.turn(at(0));
        }
    }
    finish_turn(&mut engine, 0);
    engine
}

fn accept(engine: &mut Engine<Wire>, number: u32, request: &'static [u8], milliseconds: u64) -> redpoll::ConnectionId {
    let id = engine.accept(Wire(number), None, at(milliseconds)).unwrap_or_else(|_| panic!("there is room"));
    INPUT.set(Some(request));
    engine.ready(id, Readiness { readable: true, ..Readiness::default() }, at(milliseconds));
    id
}

/// A turn, and those it asks for.
fn finish_turn(engine: &mut Engine<Wire>, milliseconds: u64) {
    while engine.turn(at(milliseconds)) == Some(std::time::Duration::ZERO) {}
}

const SIZES: [u32; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
const WEBSOCKET: &[u8] = b"GET /channel/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const EVENT_STREAM: &[u8] = b"GET /channel/a HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
const LONG_POLL: &[u8] = b"GET /channel/a?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n";

/// One publication of 128 bytes to everyone: a delivery is an item.
#[divan::bench(args = SIZES)]
fn deliver_frames(bencher: Bencher, count: u32) {
    deliver(bencher, count, WEBSOCKET);
}

#[divan::bench(args = SIZES)]
fn deliver_events(bencher: Bencher, count: u32) {
    deliver(bencher, count, EVENT_STREAM);
}

fn deliver(bencher: Bencher, count: u32, request: &'static [u8]) {
    let (mut engine, text) = (engine(count, request), "x".repeat(128));
    let mut rounds = 0;
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        engine.publish("a", Message::from(&text), at(0)).expect("published");
        finish_turn(&mut engine, 0);
        rounds += 1;
    });
    assert_eq!(engine.metrics().deliveries, rounds * u64::from(count), "everyone got everything");
}

/// One publication to everyone, who is answered and polls again.
#[divan::bench(args = [100, 1_000, 10_000])]
fn answer_polls(bencher: Bencher, count: u32) {
    let (mut engine, text) = (engine(0, LONG_POLL), "x".repeat(128));
    let ids: Vec<_> = (0..count).map(|number| accept(&mut engine, number, LONG_POLL, 0)).collect();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        engine.publish("a", Message::from(&text), at(0)).expect("published");
        finish_turn(&mut engine, 0);
        for id in &ids {
            INPUT.set(Some(LONG_POLL));
            engine.ready(*id, Readiness { readable: true, ..Readiness::default() }, at(0));
        }
    });
}

/// A second in which nothing happens but that time passes: the timers of some are due, as jitter has spread them.
#[divan::bench(args = SIZES)]
fn hold_for_a_second(bencher: Bencher, count: u32) {
    let (mut engine, mut milliseconds) = (engine(count, EVENT_STREAM), 0);
    bencher.bench_local(|| {
        milliseconds += 1_000;
        finish_turn(&mut engine, milliseconds);
    });
    assert_eq!(engine.metrics().connections, count as usize, "everyone is still there");
}

/// Everyone's timer is due, and sets itself again: a comment for each event stream.
#[divan::bench(args = SIZES)]
fn fire_timers(bencher: Bencher, count: u32) {
    let (mut engine, mut milliseconds) = (engine(count, EVENT_STREAM), 0);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        milliseconds += 60_000;
        finish_turn(&mut engine, milliseconds);
    });
}

/// One comes and goes while so many are there.
#[divan::bench(args = SIZES)]
fn accept_and_close(bencher: Bencher, count: u32) {
    let mut engine = engine(count, WEBSOCKET);
    bencher.bench_local(|| {
        let id = accept(&mut engine, count, WEBSOCKET, 0);
        INPUT.set(Some(CLOSE));
        engine.ready(id, Readiness { readable: true, ..Readiness::default() }, at(0));
        finish_turn(&mut engine, 0);
        INPUT.set(Some(b""));
        engine.ready(id, Readiness { readable: true, ended: true, ..Readiness::default() }, at(0));
        finish_turn(&mut engine, 0);
        while engine.take_closed().is_some() {}
    });
    assert_eq!(engine.metrics().connections, count as usize, "everyone who came has gone");
}

/// A publication to one of so many channels, each with a subscriber: its name is looked up.
#[divan::bench(args = SIZES)]
fn publish_among_channels(bencher: Bencher, count: u32) {
    let mut engine = engine(0, WEBSOCKET);
    for number in 0..count {
        let request = format!("GET /channel/{number} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
        accept(&mut engine, number, request.leak().as_bytes(), 0);
    }
    finish_turn(&mut engine, 0);
    let (text, mut number) = ("x".repeat(128), 0);
    bencher.bench_local(|| {
        // Every channel once before any comes again, far from the last one.
        number = (number + 15_485_863) % count;
        engine.publish(&number.to_string(), Message::from(&text), at(0)).expect("published");
        finish_turn(&mut engine, 0);
    });
}

/// A publication to one of the channels that one connection has subscribed to.
#[divan::bench(args = SIZES)]
fn deliver_among_subscriptions(bencher: Bencher, count: u32) {
    let limits = Config { channels_max: usize::MAX, subscriptions_max: usize::MAX, ..Config::default() };
    let server = Server::new().config(limits).route("/all", move |_| Everything { count });
    let mut engine = server.into_engine(Seed { epoch: 1, jitter: 1 }, at(0));
    let request = String::from_utf8_lossy(WEBSOCKET).replace("/channel/a", "/all");
    let id = accept(&mut engine, 0, request.leak().as_bytes(), 0);
    INPUT.set(Some(b"\x81\x80\0\0\0\0"));
    engine.ready(id, Readiness { readable: true, ..Readiness::default() }, at(0));
    finish_turn(&mut engine, 0);
    assert_eq!(engine.metrics().subscriptions, count as usize);
    let (text, mut number) = ("x".repeat(128), 0);
    bencher.bench_local(|| {
        number = (number + 15_485_863) % count;
        engine.publish(&number.to_string(), Message::from(&text), at(0)).expect("published");
        finish_turn(&mut engine, 0);
    });
}

struct Everything {
    count: u32,
}

impl Consumer for Everything {
    fn connect(&mut self, _: &mut Context) -> Result<(), Status> {
        Ok(())
    }

    fn receive(&mut self, _: Message, cx: &mut Context) {
        (0..self.count).for_each(|number| cx.subscribe(&number.to_string()));
    }
}

/// A publication to a channel that keeps so many, and so forgets one.
#[divan::bench(args = SIZES)]
fn publish_into_history(bencher: Bencher, count: u32) {
    let mut engine = with_history(count);
    bencher.bench_local(|| {
        engine.publish("a", Message::from("0123456789abcdef"), at(0)).expect("published");
        finish_turn(&mut engine, 0);
    });
}

/// A poll that asks for the latest hundred of so many that are kept.
#[divan::bench(args = SIZES)]
fn resume_in_history(bencher: Bencher, count: u32) {
    let mut engine = with_history(count);
    let position = count * 2 - 100;
    let request = format!("GET /channel/a?since=00000001-{position} HTTP/1.1\r\nHost: x\r\n\r\n").leak().as_bytes();
    let id = accept(&mut engine, 0, request, 0);
    finish_turn(&mut engine, 0);
    bencher.bench_local(|| {
        INPUT.set(Some(request));
        engine.ready(id, Readiness { readable: true, ..Readiness::default() }, at(0));
        finish_turn(&mut engine, 0);
    });
}

/// A channel in which `count` messages are kept of twice as many.
fn with_history(count: u32) -> Engine<Wire> {
    let history = History { entries: count, bytes: 1 << 30, age_ms: 3_600_000 };
    let server = Server::new().config(Config { history, ..Config::default() });
    let server = server.route("/channel/{name}", |_| Channel);
    let mut engine = server.into_engine(Seed { epoch: 1, jitter: 1 }, at(0));
    for _ in 0..count * 2 {
        engine.publish("a", Message::from("0123456789abcdef"), at(0)).expect("published");
        finish_turn(&mut engine, 0);
    }
    engine
}

/// A close with 1000, masked with zeros.
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

#[divan::bench]
fn parse_a_browsers_head() -> u16 {
    let bytes = black_box(BROWSER);
    let length = head_length(bytes, 0).ok().flatten().expect("it is whole");
    let head = Head::parse(&bytes[..length]).expect("it is well-formed");
    u16::from(head.has_token("Upgrade", "websocket"))
}

const BROWSER: &[u8] = b"GET /channel/room?since=00005f3a-17 HTTP/1.1\r\nHost: push.example.org\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://push.example.org\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const BYTES: [usize; 4] = [16, 128, 1_024, 65_536];

#[divan::bench(args = BYTES)]
fn unmask_a_payload(bencher: Bencher, bytes: usize) {
    let mut payload = vec![7; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| unmask(black_box(&mut payload), [1, 2, 3, 4], 0));
}

/// A masked text frame, whole: header, mask, UTF-8.
#[divan::bench(args = BYTES)]
fn decode_a_frame(bencher: Bencher, bytes: usize) {
    let mut frame = Vec::new();
    encode_masked(Opcode::Text, "x".repeat(bytes).as_bytes(), [1, 2, 3, 4], &mut frame);
    let limits = Limits { role: Role::Server, message_bytes_max: 1 << 20, deflate: false };
    bencher.counter(BytesCount::new(bytes)).with_inputs(|| frame.clone()).bench_local_refs(|frame| {
        let mut decoder = Decoder::default();
        let (used, event) = decoder.decode(frame, &limits).expect("it is well-formed");
        assert!(event.is_some());
        used
    });
}

#[cfg(feature = "deflate")]
mod compression {
    use divan::Bencher;
    use divan::counter::BytesCount;
    use redpoll::wire::deflate::{Deflater, Inflater};
    use redpoll::wire::extension::Window;

    /// JSON of about so many bytes, no two objects alike.
    fn json(bytes: usize) -> Vec<u8> {
        let objects = (0..).map(|n| format!(r#"{{"id":{n},"user":"u{}","text":"message {}"}},"#, n * 7 % 31, n * n));
        objects.flat_map(String::into_bytes).take(bytes).collect()
    }

    #[divan::bench(args = [256, 1_024, 65_536])]
    fn deflate(bencher: Bencher, bytes: usize) {
        let (payload, mut deflater, mut out) = (json(bytes), Deflater::new(0), Vec::new());
        bencher.counter(BytesCount::new(bytes)).bench_local(|| {
            out.clear();
            assert!(deflater.deflate(&payload, Window::Bits15, &mut out), "it becomes smaller");
        });
    }

    #[divan::bench(args = [256, 1_024, 65_536])]
    fn inflate(bencher: Bencher, bytes: usize) {
        let (mut compressed, mut inflater, mut out) = (Vec::new(), Inflater::default(), Vec::new());
        assert!(Deflater::new(0).deflate(&json(bytes), Window::Bits15, &mut compressed));
        bencher.counter(BytesCount::new(bytes)).bench_local(|| {
            out.clear();
            inflater.inflate(&compressed, 1 << 20, &mut out).expect("it is well-formed");
        });
    }
}

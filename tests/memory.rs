//! What things cost to hold, counted by the allocator: the same on every machine.
//!
//! One test a measurement, and a lock between them, since the allocator counts for the whole process.
#![allow(unsafe_code, reason = "a global allocator cannot be written without; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redpoll::wire::command;
use redpoll::wire::token::{Secret, verify};
use redpoll::{Config, ConnectionId, Consumer, Context, Engine, Message, Now, Readiness, Seed, Server, Status, Stream};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The most bytes that there were at once.
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What the allocations take from glibc's heap: each with its header, in steps of 16 bytes.
static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

fn on_heap(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = BYTES.fetch_add(layout.size(), Relaxed);
        PEAK_BYTES.fetch_max(before + layout.size(), Relaxed);
        HEAP_BYTES.fetch_add(on_heap(layout.size()), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        HEAP_BYTES.fetch_sub(on_heap(layout.size()), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// What the next read finds, for whichever stream reads.
    static INPUT: RefCell<Cow<'static, [u8]>> = const { RefCell::new(Cow::Borrowed(b"")) };
    /// Bytes written so far, by whichever stream.
    static WRITTEN: RefCell<usize> = const { RefCell::new(0) };
}

/// A stream of four bytes, as a socket is, which takes everything.
struct Wire(#[allow(dead_code, reason = "it stands for a descriptor")] u32);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = INPUT.take();
        if input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..input.len()].copy_from_slice(&input);
        Ok(input.len())
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| *written += bytes.len());
        Ok(bytes.len())
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
        if let Some(name) = cx.request().and_then(|request| request.query("name")) {
            cx.present_as(&name);
        }
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        for channel in cx.channels() {
            cx.publish(&channel, message);
        }
    }
}

const WEBSOCKET: &[u8] = b"GET /channel/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ENVELOPES: &[u8] = b"GET /channel/a?form=json HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const DEFLATED: &[u8] = b"GET /channel/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
const EVENT_STREAM: &[u8] = b"GET /channel/a HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
const LONG_POLL: &[u8] = b"GET /channel/a?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n";

fn at(seconds: u64) -> Now {
    Now { monotonic_ms: 1_000 + seconds * 1_000, unix_ms: 784_111_777_000 + seconds * 1_000 }
}

fn engine() -> Engine<Wire> {
    let config = Config { deflate_from_bytes: 16, ..Config::default() };
    let server = Server::new().config(config).route("/channel/{name}", |_| Channel);
    server.into_engine(Seed { epoch: 1, jitter: 1 }, at(0))
}

/// Opens `count` connections that send `request`, a turn for each hundred.
fn open(engine: &mut Engine<Wire>, count: u32, request: &'static [u8]) -> Vec<ConnectionId> {
    let mut ids = Vec::with_capacity(count as usize);
    for number in 0..count {
        let id = engine.accept(Wire(number), None, at(0)).unwrap_or_else(|_| panic!("there is room"));
        INPUT.set(request.into());
        engine.ready(id, Readiness { readable: true, ..Readiness::default() }, at(0));
        ids.push(id);
        if number % 100 == 0 {
            engine.turn(at(0));
        }
    }
    engine.turn(at(0));
    ids
}

/// The bytes that 10,000 idle subscribers hold, each.
fn bytes_each(request: &'static [u8]) -> usize {
    let _alone = alone();
    let mut engine = engine();
    drop(open(&mut engine, 1, request));
    let counted = |engine: &Engine<Wire>| engine.metrics().client_bytes + engine.metrics().channel_bytes;
    let (before, counted_before) = (BYTES.load(Relaxed), counted(&engine));
    let ids = open(&mut engine, COUNT, request);
    let after = BYTES.load(Relaxed) - ids.capacity() * size_of::<ConnectionId>();
    assert_eq!(engine.metrics().subscriptions, COUNT as usize + 1);
    assert_eq!(engine.timers(), COUNT as usize + 1);
    let (allocated, counted) = (after - before, counted(&engine) - counted_before);
    assert!(counted >= allocated / 100 * 95 && counted <= allocated, "{counted} counted, {allocated} allocated");
    allocated / COUNT as usize
}

/// How often publishing one message to `count` subscribers allocates, once everything has its size.
fn allocations(count: u32, request: &'static [u8]) -> usize {
    let _alone = alone();
    let mut engine = engine();
    open(&mut engine, count, request);
    for _ in 0..300 {
        engine
            .publish("a", Message::from("warming up, warming up, warming up, until the history is full"), at(0))
            .expect("published");
        engine.turn(at(0));
    }
    let (before, written) = (ALLOCATIONS.load(Relaxed), WRITTEN.with_borrow(|written| *written));
    engine
        .publish("a", Message::from("this one is counted, counted, counted, counted, counted"), at(0))
        .expect("published");
    engine.turn(at(0));
    assert!(WRITTEN.with_borrow(|now| now - written) >= 20 * count as usize, "everyone was written to");
    ALLOCATIONS.load(Relaxed) - before
}

#[test]
fn an_idle_websocket_costs_at_most_128_bytes() {
    let bytes = bytes_each(WEBSOCKET);
    println!("{bytes} bytes an idle subscribed WebSocket");
    assert!(bytes <= BYTES_MAX, "{bytes}");
}

#[test]
fn an_idle_websocket_with_compression_costs_no_more_than_one_without() {
    let (compressed, plain) = (bytes_each(DEFLATED), bytes_each(WEBSOCKET));
    println!("{compressed} bytes an idle subscribed WebSocket with compression, {plain} without");
    // What the tables share out may round either way.
    assert!(compressed.abs_diff(plain) <= 1, "{compressed} and {plain}");
}

#[test]
fn an_idle_event_stream_costs_at_most_128_bytes() {
    let bytes = bytes_each(EVENT_STREAM);
    println!("{bytes} bytes an idle event stream");
    assert!(bytes <= BYTES_MAX, "{bytes}");
}

#[test]
fn a_waiting_poll_costs_at_most_128_bytes() {
    let bytes = bytes_each(LONG_POLL);
    println!("{bytes} bytes a waiting poll");
    assert!(bytes <= BYTES_MAX, "{bytes}");
}

#[test]
fn a_delivery_to_a_websocket_does_not_allocate() {
    assert_eq!(allocations(1_000, WEBSOCKET), allocations(10, WEBSOCKET));
    assert_eq!(allocations(1_000, ENVELOPES), allocations(10, ENVELOPES));
    assert_eq!(allocations(1_000, DEFLATED), allocations(10, DEFLATED));
}

#[test]
fn a_delivery_to_an_event_stream_does_not_allocate() {
    assert_eq!(allocations(1_000, EVENT_STREAM), allocations(10, EVENT_STREAM));
}

#[test]
fn a_delivery_to_a_waiting_poll_does_not_allocate() {
    let answered = |count: u32| {
        let _alone = alone();
        let mut engine = engine();
        let ids = open(&mut engine, count, LONG_POLL);
        // Everyone is answered and polls again, so that every table and buffer has its size.
        for _ in 0..300 {
            engine
                .publish("a", Message::from("warming up, warming up, warming up, until the history is full"), at(0))
                .expect("published");
            engine.turn(at(0));
            for id in &ids {
                INPUT.set(LONG_POLL.into());
                engine.ready(*id, Readiness { readable: true, ..Readiness::default() }, at(0));
            }
            engine.turn(at(0));
        }
        let before = ALLOCATIONS.load(Relaxed);
        engine
            .publish("a", Message::from("this one is counted, counted, counted, counted, counted"), at(0))
            .expect("published");
        engine.turn(at(0));
        assert_eq!(engine.metrics().subscriptions, 0, "everyone was answered");
        ALLOCATIONS.load(Relaxed) - before
    };
    assert_eq!(answered(1_000), answered(10));
}

/// What an engine counts, and what the heap has given out since `before`.
fn counted_and_allocated(engine: &Engine<Wire>, before: usize) -> (usize, usize) {
    let metrics = engine.metrics();
    (metrics.client_bytes + metrics.channel_bytes + metrics.table_bytes, HEAP_BYTES.load(Relaxed) - before)
}

/// What `load` leaves an engine holding is counted: nearly all of it, and hardly more.
fn assert_counted(what: &str, load: impl FnOnce(&mut Engine<Wire>)) {
    let _alone = alone();
    let before = HEAP_BYTES.load(Relaxed);
    let mut engine = engine();
    let own = HEAP_BYTES.load(Relaxed) - before;
    load(&mut engine);
    engine.turn(at(1));
    let (counted, allocated) = counted_and_allocated(&engine, before + own);
    println!("{what}: {counted} counted, {allocated} allocated");
    assert!(counted + OWN_BYTES >= allocated, "{what}: {counted} counted, {allocated} allocated");
    assert!(counted <= allocated + allocated / 3, "{what}: {counted} counted, {allocated} allocated");
}

/// The engine's own buffers, compressors and lists.
const OWN_BYTES: usize = 400 << 10;

fn publish(engine: &mut Engine<Wire>, channel: &str, bytes: usize) {
    let data = "\u{1}".repeat(bytes);
    engine.publish(channel, Message::from(&data), at(0)).expect("published");
}

#[test]
fn channels_with_a_small_message_each_are_counted() {
    assert_counted("20,000 channels", |engine| {
        (0..20_000).for_each(|number| publish(engine, &format!("channel-{number}"), 10));
    });
}

#[test]
fn histories_of_every_size_are_counted() {
    for bytes in [1, 100, 1_000, 5_000, 60_000] {
        assert_counted(&format!("messages of {bytes} bytes"), |engine| {
            for channel in 0..50 {
                (0..99).for_each(|_| publish(engine, &format!("channel-{channel}"), bytes));
            }
        });
    }
}

#[test]
fn the_forms_of_publications_are_counted() {
    assert_counted("five forms", |engine| {
        for request in [WEBSOCKET, ENVELOPES, DEFLATED, EVENT_STREAM, LONG_POLL] {
            open(engine, 2, request);
        }
        for _ in 0..60 {
            publish(engine, "a", 1_000);
            engine.turn(at(0));
        }
    });
}

#[test]
fn what_has_not_all_arrived_is_counted() {
    let heads: &'static [u8] = b"GET /channel/a HTTP/1.1\r\nHost: x\r\nX: a head that does not end";
    let bodies = b"POST /channel/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nhalf";
    assert_counted("heads", |engine| drop(open(engine, 3_000, heads)));
    assert_counted("contents", |engine| drop(open(engine, 3_000, bodies)));
    assert_counted("messages", |engine| {
        for id in open(engine, 3_000, WEBSOCKET) {
            INPUT.set(b"\x81\xfe\x10\x00\x00\x00\x00\x00half".into());
            engine.ready(id, Readiness { readable: true, ..Readiness::default() }, at(0));
        }
    });
}

#[test]
fn idempotency_keys_are_counted() {
    assert_counted("keys", |engine| {
        let ids = open(engine, 1, b"GET /channel/a HTTP/1.1\r\nHost: x\r\n\r\n");
        for number in 0..10_000 {
            let post = format!(
                "POST /channel/a HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {number:032}\r\nContent-Length: 2\r\n\r\nhi"
            );
            INPUT.set(post.into_bytes().into());
            engine.ready(ids[0], Readiness { readable: true, ..Readiness::default() }, at(0));
        }
    });
}

/// Requests of 10,000 clients with a name each, on connections of their own or one after the other on one.
fn come(engine: &mut Engine<Wire>, query: &str, fields: &str, on_one: bool) {
    let mut ids =
        open(engine, 1, b"GET /channel/a?presence=1 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    for number in 0..COUNT {
        if !on_one || number == 0 {
            ids.push(engine.accept(Wire(number), None, at(0)).unwrap_or_else(|_| panic!("there is room")));
        }
        let name = format!("{:030}", number * 7_919 % COUNT);
        INPUT.set(format!("GET /channel/a?name={name}{query} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes().into());
        engine.ready(ids[ids.len() - 1], Readiness { readable: true, ..Readiness::default() }, at(0));
        if number % 100 == 0 {
            engine.turn(at(0));
        }
    }
    assert_eq!(engine.metrics().members, COUNT as usize);
}

#[test]
fn members_are_counted() {
    let stream = "Accept: text/event-stream\r\n";
    assert_counted("members", |engine| come(engine, "", stream, false));
    assert_counted("members who observe", |engine| come(engine, "&presence=1", stream, false));
    assert_counted("members who polled", |engine| come(engine, "", "", true));
}

#[test]
fn tables_that_have_grown_are_counted_when_all_have_gone() {
    assert_counted("tables", |engine| {
        for id in open(engine, 30_000, WEBSOCKET) {
            engine.ready(id, Readiness { readable: true, writable: false, ended: true }, at(0));
        }
        // The next read finds the end.
        engine.drain(at(0));
        for seconds in 0..10 {
            engine.turn(at(seconds));
            while engine.take_closed().is_some() {}
        }
    });
}

/// How many bytes more there are at once while `read` reads what a client has written.
fn peak_bytes(read: impl FnOnce() -> bool) -> usize {
    let before = BYTES.load(Relaxed);
    PEAK_BYTES.store(before, Relaxed);
    assert!(read(), "it is refused");
    PEAK_BYTES.load(Relaxed) - before
}

#[test]
fn json_that_a_client_writes_takes_little_more_than_its_text() {
    let _alone = alone();
    let secrets = [Secret::new(&[7; 32]).expect("long enough")];
    let objects = format!("[{}]", vec![r#"{"":0}"#; 20_000].join(","));
    for key in ["subscribe", "ack", "other"] {
        let command = format!(r#"{{"{key}":{objects}}}"#);
        let peak = peak_bytes(|| command::parse(&command).is_err());
        assert!(peak < command.len(), "{key}: {peak} bytes for {}", command.len());
    }
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","typ":{objects}}}"#));
    let token = format!("{header}.e30.c2lnbmF0dXJl");
    let peak = peak_bytes(|| verify(&token, &secrets, 0).is_err());
    assert!(peak < token.len(), "{peak} bytes for a token of {}", token.len());
}

#[test]
fn nothing_is_held_when_all_have_gone() {
    let _alone = alone();
    let mut engine = engine();
    let mut ids = open(&mut engine, 100, WEBSOCKET);
    ids.extend(open(&mut engine, 100, EVENT_STREAM));
    ids.extend(open(&mut engine, 100, LONG_POLL));
    let half = open(&mut engine, 100, b"POST /channel/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf");
    for number in 0..50 {
        engine.publish("a", Message::from(&format!("message {number}")), at(0)).expect("published");
    }
    engine.turn(at(0));
    let held = engine.metrics();
    assert!(held.client_bytes > 400 * 48 && held.channel_bytes > 50 * 9, "{held:?}");
    // Everyone falls silent: pings go unanswered, half a request is given up, the rest is dropped.
    let mut seconds = 0;
    while !engine.is_empty() && seconds < 1_000 {
        seconds += 1;
        engine.turn(at(seconds));
        while engine.take_closed().is_some() {}
        // The event streams' peers would be seen to have gone.
        if seconds == 200 {
            for id in ids.iter().chain(&half) {
                engine.ready(*id, Readiness { readable: true, writable: false, ended: true }, at(seconds));
            }
            engine.drain(at(seconds));
        }
    }
    engine.turn(at(seconds + 3_601));
    let left = engine.metrics();
    assert_eq!((left.connections, left.subscriptions, left.channels), (0, 0, 0), "{left:?}");
    assert_eq!((left.client_bytes, left.channel_bytes, engine.timers()), (0, 0, 0), "{left:?}");
}

const COUNT: u32 = 10_000;
const BYTES_MAX: usize = 128;

//! What goes over the wire of a connection whose client wants to see it, against what that client has sent and got.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use redpoll::{Config, Consumer, Context, Message, Response, Server, Status, Tap};
use support::{Client, EVENT_STREAM, PING, Rig, TEXT, UPGRADE, frame, get, post};

/// Channels by name, each recorded under the `tap=` of its request, and a way to ask for what was recorded.
struct Tapped;

impl Consumer for Tapped {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let Some(request) = cx.request() else { return Ok(()) };
        cx.subscribe(request.param("name"));
        if let Some(key) = request.query("tap") {
            cx.tap(&key);
        }
        if request.query("deflate").is_some() {
            cx.decline_deflate();
        }
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        for channel in cx.channels() {
            cx.publish(&channel, message);
        }
    }
}

struct Bench {
    rig: Rig,
    found: Rc<RefCell<Option<Tap>>>,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let found = Rc::new(RefCell::new(None));
        let finds = Rc::clone(&found);
        let server = Server::new().route("/channel/{name}", |_| Tapped).get("/tapped", move |request, cx| {
            let tap = cx.tapped(&request.query("key").unwrap_or_default()).cloned();
            finds.replace(tap);
            Response::text("ok")
        });
        Bench { rig: Rig::of(server.config(config)), found }
    }

    fn tap(&mut self, key: &str) -> Option<Tap> {
        let asking = self.rig.get(&format!("/tapped?key={key}"), "");
        self.rig.hang_up(&asking);
        self.found.take()
    }
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::new(Config::default())
    }
}

/// Sends byte by byte, and takes what comes after each.
fn send_slowly(rig: &mut Rig, client: &Client, bytes: &[u8], got: &mut Vec<u8>) {
    for byte in bytes {
        rig.send(client, [*byte]);
        rig.settle();
        got.extend(client.bytes());
    }
}

fn drain(rig: &mut Rig, client: &Client, got: &mut Vec<u8>) {
    for _ in 0..10_000 {
        rig.settle();
        let more = client.bytes();
        if more.is_empty() {
            return;
        }
        got.extend(more);
    }
    panic!("the server does not come to an end");
}

#[test]
fn the_bytes_of_every_transport_are_those_that_its_client_has_sent_and_got() {
    let cases = [
        ("short poll", "/channel/a?tap=k&since=earliest", ""),
        ("long poll", "/channel/a?tap=k&wait=20", ""),
        ("event stream", "/channel/a?tap=k&since=earliest", EVENT_STREAM),
        ("websocket", "/channel/a?tap=k&since=earliest", UPGRADE),
        ("commands", "/channel/a?tap=k&since=earliest", support::COMMANDS),
    ];
    for (name, target, fields) in cases {
        // All at once, and through a stream that takes a few bytes at a time.
        for capacity in [usize::MAX, 7] {
            let mut bench = Bench::default();
            let rig = &mut bench.rig;
            rig.publish("a", &"history ".repeat(100));
            let client = rig.connect_with(capacity);
            let (request, mut got) = (get(target, fields), Vec::new());
            let mut sent = request.len() as u64;
            send_slowly(rig, &client, request.as_bytes(), &mut got);
            drain(rig, &client, &mut got);
            for size in [0, 5, 126, 5_000] {
                rig.publish("a", &"x".repeat(size));
                drain(rig, &client, &mut got);
            }
            if fields.starts_with("Upgrade") {
                for bytes in [frame(PING, "there?"), frame(TEXT, r#"{"ack":1}"#)] {
                    sent += bytes.len() as u64;
                    send_slowly(rig, &client, &bytes, &mut got);
                }
                drain(rig, &client, &mut got);
            }
            let tap = bench.tap("k").expect("it is recorded");
            assert_eq!((tap.requests, tap.received.bytes), (1, sent), "{name} {capacity}");
            assert_eq!(tap.sent.bytes, got.len() as u64, "{name} {capacity}");
            assert_eq!(String::from_utf8_lossy(&tap.received.head), request, "{name} {capacity}");
            let end = got.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            assert_eq!(tap.sent.head, got[..end], "{name} {capacity}");
        }
    }
}

#[test]
fn polls_under_one_key_add_up_and_what_else_comes_on_their_connection_is_not_counted() {
    let mut bench = Bench::default();
    let (rig, mut sent, mut got) = (&mut bench.rig, 0, 0);
    let client = rig.connect();
    for _ in 0..3 {
        rig.send(&client, post("/channel/a", "", "not counted"));
        client.bytes();
        let poll = get("/channel/a?tap=k&since=earliest", "");
        sent += poll.len() as u64;
        // The next request is there before this one is answered.
        rig.send(&client, format!("{poll}{}", get("/channel/b", "")));
        rig.settle();
        let text = client.text();
        let second = text[1..].find("HTTP/1.1").expect("two answers") + 1;
        got += second as u64;
    }
    let tap = bench.tap("k").expect("it is recorded");
    assert_eq!((tap.requests, tap.received.bytes, tap.sent.bytes), (3, sent, got));
}

#[test]
fn the_last_frames_are_kept_as_they_were_on_the_wire() {
    for size in [0, 5, 125, 126, 300, 65_000] {
        let mut bench = Bench::default();
        let rig = &mut bench.rig;
        let client = rig.get("/channel/a?tap=k", UPGRADE);
        client.answer().expect("a WebSocket");
        let payload = "y".repeat(size);
        let sent = frame(TEXT, &payload);
        // In two reads, with a ping behind it, which is no message.
        rig.send(&client, &sent[..sent.len() / 2]);
        rig.send(&client, [&sent[sent.len() / 2..], &frame(PING, "")].concat());
        rig.settle();
        let got = client.bytes();
        let tap = bench.tap("k").expect("it is recorded");
        assert_eq!(tap.received.last, sent[..sent.len().min(256)], "{size}: masked, with its key");
        assert_eq!((tap.received.last_bytes, tap.received.last_frames), (sent.len() as u64, 1), "{size}");
        // The pong comes first: replies before deliveries.
        let echo = &got[2..];
        assert_eq!(tap.sent.last, echo[..echo.len().min(256)], "{size}");
        assert_eq!(tap.sent.last_bytes, echo.len() as u64, "{size}");
    }
}

#[test]
fn of_a_message_in_several_frames_the_first_is_kept_and_all_are_counted() {
    let mut bench = Bench::default();
    let client = bench.rig.get("/channel/a?tap=k", UPGRADE);
    let mut first = frame(TEXT, "begin, ");
    first[0] &= 0x7f;
    bench.rig.send(&client, [first.clone(), frame(0, "end")].concat());
    let tap = bench.tap("k").expect("it is recorded");
    assert_eq!((tap.received.last, tap.received.last_frames), (first, 2));
}

#[test]
fn a_refused_subscription_and_an_unknown_key_show_nothing() {
    let mut bench = Bench::default();
    bench.rig.ask("/channel/a?tap=k&since=nonsense", "");
    bench.rig.ask("/channel/a?tap=other", "");
    assert!(bench.tap("k").is_none());
    assert!(bench.tap("other").is_some());
}

#[test]
fn recordings_are_bounded_counted_and_forgotten() {
    let mut bench = Bench::default();
    bench.rig.turn();
    let before = bench.rig.engine.metrics().client_bytes;
    let clients: Vec<Client> = (0..100).map(|n| bench.rig.ask(&format!("/channel/a?tap=k{n}"), "")).collect();
    let held = bench.rig.engine.metrics().client_bytes - before;
    assert!((80 * 600..80 * 2_000).contains(&held), "{held} bytes");
    let recorded = (0..100).filter(|n| bench.tap(&format!("k{n}")).is_some()).count();
    assert_eq!(recorded, 80);
    for client in &clients {
        bench.rig.hang_up(client);
    }
    bench.rig.sleep(59_000);
    assert!(bench.tap("k0").is_some(), "who still asks keeps it");
    bench.rig.sleep(59_000);
    assert!(bench.tap("k0").is_some() && bench.tap("k1").is_none(), "the others are forgotten");
    bench.rig.sleep(61_000);
    bench.rig.turn();
    assert_eq!(bench.rig.engine.metrics().client_bytes, before);
}

#[test]
fn a_client_may_decline_compression_that_its_browser_offers() {
    for (query, compressed) in [("", cfg!(feature = "deflate")), ("?deflate=off", false)] {
        let mut bench = Bench::default();
        let offer = format!("{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate\r\n");
        let client = bench.rig.get(&format!("/channel/a{query}"), &offer);
        let answer = client.answer().expect("a WebSocket");
        assert_eq!(answer.field("sec-websocket-extensions").is_some(), compressed, "{query}");
    }
}

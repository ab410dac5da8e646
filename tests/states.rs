//! The table of states in `src/connection/mod.rs`, cell by cell: a connection is brought into each state, each thing
//! that can happen happens to it, and what it writes and what it has become are looked at from outside.

mod support;

use redpoll::{Config, Response};
use support::{CLOSE, Client, PONG, Rig, TEXT, frame, get, server};

/// The rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two requests.
    Idle,
    /// In the middle of a head.
    Head,
    Content,
    /// A plain answer that the client does not take; the connection stays open.
    Answering,
    /// A poll's answer that the client does not take.
    Responding,
    Poll,
    EventStream,
    WebSocket,
    Closing,
    /// A last answer that the client does not take.
    Ending,
    Draining,
    Gone,
}
use State::*;

/// The columns, and two more: what a connection that breaks and a server that ends do to it.
#[derive(Clone, Copy, Debug)]
enum Event {
    Bytes(&'static [u8]),
    /// Something is published on the channel that the state subscribes to.
    Dirty,
    /// Time passes, so many milliseconds.
    Timer(u64),
    /// The client ends its side.
    End,
    /// The connection breaks.
    Reset,
    /// The server is ending.
    Drain,
}
use Event::*;

/// `(state, event, what is written, the state after)`. What is written must contain the text; nothing may be
/// written where it is empty.
type Cell = (State, Event, &'static str, State);

const STATES: [State; 11] =
    [Idle, Head, Content, Answering, Responding, Poll, EventStream, WebSocket, Closing, Ending, Draining];

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";
const HELLO_AND_BYE: &[u8] = b"GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const HELLO_HEAD_BEGUN: &[u8] = b"GET /hello HTTP/1.1\r\nHo";

const CELLS: &[Cell] = &[
    (Idle, Bytes(HELLO), "hello", Idle),
    (Idle, Bytes(HELLO_HEAD_BEGUN), "", Head),
    (Idle, Bytes(b"\r\n\r\n"), "", Idle),
    (Idle, Bytes(b"NO REQUEST\r\n\r\n"), "HTTP/1.1 400 ", Draining),
    (Idle, Bytes(b"POST /channel/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe"), "", Content),
    (Idle, Bytes(b"GET /channel/a?wait=25 HTTP/1.1\r\nHost: h\r\n\r\n"), "", Poll),
    (Idle, Bytes(HELLO_AND_BYE), "hello", Draining),
    (Idle, Dirty, "", Idle),
    (Idle, Timer(59_992), "", Idle),
    (Idle, Timer(60_000), "", Draining),
    (Idle, End, "", Gone),
    (Idle, Reset, "", Gone),
    (Idle, Drain, "", Gone),
    (Head, Bytes(b"st: h\r\n\r\n"), "hello", Idle),
    (Head, Bytes(b"st"), "", Head),
    (Head, Dirty, "", Head),
    (Head, Timer(9_992), "", Head),
    (Head, Timer(10_000), "HTTP/1.1 408 ", Draining),
    (Head, End, "", Gone),
    (Head, Reset, "", Gone),
    (Head, Drain, "", Head),
    (Content, Bytes(b"llo"), "HTTP/1.1 202 ", Idle),
    (Content, Bytes(b"l"), "", Content),
    (Content, Dirty, "", Content),
    (Content, Timer(29_992), "", Content),
    (Content, Timer(30_000), "HTTP/1.1 408 ", Draining),
    (Content, End, "", Gone),
    (Content, Reset, "", Gone),
    (Content, Drain, "", Content),
    (Answering, Bytes(HELLO), "", Answering),
    (Answering, Dirty, "", Answering),
    (Answering, Timer(24_992), "", Answering),
    (Answering, Timer(25_000), "", Gone),
    (Answering, End, "", Answering),
    (Answering, Reset, "", Gone),
    (Answering, Drain, "", Ending),
    (Responding, Bytes(HELLO), "", Responding),
    (Responding, Dirty, "", Responding),
    (Responding, Timer(24_992), "", Responding),
    (Responding, Timer(25_000), "", Gone),
    // A client that ends its side may still read its answer: it is dropped when it takes nothing.
    (Responding, End, "", Responding),
    (Responding, Reset, "", Gone),
    (Responding, Drain, "", Responding),
    (Poll, Bytes(HELLO), "", Poll),
    (Poll, Dirty, r#""data":"news""#, Idle),
    (Poll, Timer(24_992), "", Poll),
    (Poll, Timer(25_000), r#""messages":[]"#, Idle),
    (Poll, End, "", Gone),
    (Poll, Reset, "", Gone),
    (Poll, Drain, "Connection: close", Draining),
    (EventStream, Bytes(b"what for?"), "", EventStream),
    (EventStream, Bytes(&[b'x'; TOO_MUCH]), "", Gone),
    (EventStream, Dirty, "id: 00005f3a-1\ndata: news\n\n", EventStream),
    (EventStream, Timer(24_992), "", EventStream),
    (EventStream, Timer(25_000), ":\n", EventStream),
    (EventStream, End, "", Gone),
    (EventStream, Reset, "", Gone),
    (EventStream, Drain, "", Draining),
    (WebSocket, Bytes(b"\x89\x80\0\0\0\0"), "\u{8a}", WebSocket),
    (WebSocket, Bytes(b"\x81\x82\0\0\0\0hi"), "\u{81}\u{2}hi", WebSocket),
    (WebSocket, Bytes(b"\x81\x82\0\0"), "", WebSocket),
    (WebSocket, Bytes(b"\x88\x80\0\0\0\0"), "\u{88}\0", Gone),
    (WebSocket, Bytes(b"\x88\x80\0\0\0\0more"), "\u{88}\0", Draining),
    (WebSocket, Bytes(b"\x81\x02hi"), "\u{88}", Draining),
    (WebSocket, Dirty, "\u{81}\u{4}news", WebSocket),
    (WebSocket, Timer(24_992), "", WebSocket),
    (WebSocket, Timer(25_000), "\u{89}\u{7}redpoll", WebSocket),
    (WebSocket, Timer(50_000), "\u{89}\u{7}redpoll", Gone),
    (WebSocket, End, "", Gone),
    (WebSocket, Reset, "", Gone),
    (WebSocket, Drain, "the server is ending", Closing),
    (Closing, Bytes(b"\x81\x82\0\0\0\0hi"), "", Closing),
    (Closing, Bytes(b"\x89\x80\0\0\0\0"), "", Closing),
    (Closing, Bytes(b"\x88\x80\0\0\0\0"), "", Gone),
    (Closing, Bytes(b"\x88\x80\0\0\0\0more"), "", Draining),
    (Closing, Bytes(b"\x81\x02hi"), "", Draining),
    (Closing, Dirty, "", Closing),
    (Closing, Timer(1_992), "", Closing),
    (Closing, Timer(2_000), "", Gone),
    (Closing, End, "", Gone),
    (Closing, Reset, "", Gone),
    (Closing, Drain, "", Closing),
    (Ending, Bytes(HELLO), "", Ending),
    (Ending, Dirty, "", Ending),
    (Ending, Timer(24_992), "", Ending),
    (Ending, Timer(25_000), "", Gone),
    (Ending, End, "", Ending),
    (Ending, Reset, "", Gone),
    (Ending, Drain, "", Ending),
    (Draining, Bytes(HELLO), "", Draining),
    (Draining, Bytes(&[b'x'; TOO_MUCH]), "", Gone),
    (Draining, Dirty, "", Draining),
    (Draining, Timer(1_992), "", Draining),
    (Draining, Timer(2_000), "", Gone),
    (Draining, End, "", Gone),
    (Draining, Reset, "", Gone),
    (Draining, Drain, "", Draining),
];

/// More than is discarded of a client that has nothing to say.
const TOO_MUCH: usize = (256 << 10) + 1;

#[test]
fn every_cell_of_the_table_does_what_it_says() {
    let failed: Vec<String> = CELLS.iter().filter_map(|cell| walk(cell).err()).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn every_state_meets_every_event() {
    let meets = |state, event: fn(&Event) -> bool| CELLS.iter().any(|(known, met, ..)| *known == state && event(met));
    for state in STATES {
        assert!(meets(state, |event| matches!(event, Bytes(_))), "{state:?}, bytes");
        assert!(meets(state, |event| matches!(event, Dirty)), "{state:?}, dirty");
        assert!(meets(state, |event| matches!(event, Timer(_))), "{state:?}, timer");
        assert!(meets(state, |event| matches!(event, End)), "{state:?}, end");
        assert!(meets(state, |event| matches!(event, Reset)), "{state:?}, reset");
        assert!(meets(state, |event| matches!(event, Drain)), "{state:?}, drain");
    }
}

fn walk((state, event, written, after): &Cell) -> Result<(), String> {
    let (mut rig, client) = bring_into(*state);
    let before = rig.engine.metrics();
    happen(&mut rig, &client, *event);
    let found = rig.engine.metrics();
    let cell = format!("{state:?}, {event:.40?}");
    let sent_bytes = found.sent_bytes - before.sent_bytes;
    // Latin-1, so that frames can stand in the table.
    let output: String = match written.is_empty() {
        true => String::new(),
        false => client.bytes().into_iter().map(char::from).collect(),
    };
    if !output.contains(written) || written.is_empty() && sent_bytes > 0 {
        return Err(format!("{cell}: wrote {sent_bytes} bytes, {output:?}, not {written:?}"));
    }
    let found = (found.connections, found.transports, found.subscriptions, rig.engine.timers());
    let expected = gauges(*after);
    if found != expected {
        return Err(format!("{cell}: connections, transports, subscriptions, timers are {found:?}, not {expected:?}"));
    }
    match is_in(&mut rig, &client, *after) {
        true => Ok(()),
        false => Err(format!("{cell}: has not become {after:?}")),
    }
}

/// A connection in a state. What it was written on the way has been taken.
fn bring_into(state: State) -> (Rig, Client) {
    let mut rig = Rig::new(Config { linger_bytes_max: 256 << 10, ..Config::default() });
    let client = match state {
        Idle => rig.connect(),
        Head => {
            let client = rig.connect();
            rig.send(&client, HELLO_HEAD_BEGUN);
            client
        }
        Content => {
            let client = rig.connect();
            rig.send(&client, "POST /channel/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
            client
        }
        Answering | Ending => {
            let client = rig.connect_with(10);
            rig.send(&client, if state == Ending { HELLO_AND_BYE } else { HELLO });
            client
        }
        Responding => {
            let client = rig.get("/channel/other?wait=25", "");
            client.set_capacity(10);
            rig.publish("other", "long enough not to fit");
            client
        }
        Poll => rig.get("/channel/a?wait=25", ""),
        EventStream => rig.event_stream("/channel/a"),
        WebSocket => rig.websocket("/channel/a", None),
        // A position of another process is a gap, which closes a raw WebSocket.
        Closing => rig.websocket("/channel/a?since=00000001-9", None),
        Draining => rig.get("/hello", "Connection: close\r\n"),
        Gone => unreachable!("nothing begins there"),
    };
    rig.settle();
    if !client.is_full() {
        client.bytes();
    }
    (rig, client)
}

fn happen(rig: &mut Rig, client: &Client, event: Event) {
    match event {
        Bytes(bytes) => rig.send(client, bytes),
        Dirty => {
            rig.publish("a", "news");
        }
        Timer(ms) => rig.sleep(ms),
        End => rig.hang_up(client),
        Reset => rig.reset(client),
        Drain => rig.engine.drain(rig.now),
    }
    rig.settle();
}

/// Connections, transports, subscriptions and timers while one connection is in a state.
fn gauges(state: State) -> (usize, [usize; 3], usize, usize) {
    match state {
        Gone => (0, [0, 0, 0], 0, 0),
        WebSocket => (1, [1, 0, 0], 1, 1),
        EventStream => (1, [0, 1, 0], 1, 1),
        Poll => (1, [0, 0, 1], 1, 1),
        // The consumer is told how it ended when the answer has gone.
        Responding => (1, [0, 0, 0], 1, 1),
        Idle | Head | Content | Answering | Closing | Ending | Draining => (1, [0, 0, 0], 0, 1),
    }
}

/// Whether a connection does what only one in that state does.
fn is_in(rig: &mut Rig, client: &Client, state: State) -> bool {
    let open = !client.is_shut() && !client.is_closed();
    match state {
        Idle => open && answers(rig, client, HELLO, "hello"),
        Head => open && answers(rig, client, b"\r\n\r\n", "HTTP/1.1 400 "),
        Content => open && answers(rig, client, b"llo\r\n", "HTTP/1.1 202 "),
        Answering => open && takes_the_rest(rig, client, "hello") && !client.is_shut(),
        // While the server ends, the connection ends with its answer.
        Responding => open && takes_the_rest(rig, client, "long enough"),
        Ending => open && takes_the_rest(rig, client, "hello") && client.is_shut(),
        Poll | EventStream | WebSocket => {
            open && {
                rig.publish("a", "probe");
                answers(rig, client, b"", "probe")
            }
        }
        Closing => {
            open && {
                rig.send(client, frame(CLOSE, ""));
                rig.settle();
                client.is_closed() && client.bytes().is_empty()
            }
        }
        Draining => {
            client.is_shut() && !client.is_closed() && {
                rig.hang_up(client);
                rig.settle();
                client.is_closed()
            }
        }
        Gone => client.is_closed(),
    }
}

fn takes_the_rest(rig: &mut Rig, client: &Client, rest: &str) -> bool {
    client.is_full() && {
        client.set_capacity(usize::MAX);
        rig.settle();
        client.text().contains(rest)
    }
}

fn answers(rig: &mut Rig, client: &Client, bytes: &[u8], expected: &str) -> bool {
    client.bytes();
    if !bytes.is_empty() {
        rig.send(client, bytes);
    }
    rig.settle();
    client.text().contains(expected)
}

#[test]
fn what_was_sent_behind_a_waiting_poll_is_served_after_its_answer() {
    let (mut rig, client) = bring_into(Poll);
    rig.send(&client, HELLO);
    rig.publish("a", "news");
    rig.settle();
    let answers = [client.answer(), client.answer()].map(|answer| answer.map(|answer| answer.body));
    assert!(answers[0].as_ref().is_some_and(|body| body.contains("news")), "{answers:?}");
    assert_eq!(answers[1].as_deref(), Some("hello"));
}

#[test]
fn what_was_sent_behind_a_blocked_answer_is_served_when_it_has_gone() {
    let (mut rig, client) = bring_into(Responding);
    rig.send(&client, HELLO);
    rig.settle();
    client.set_capacity(usize::MAX);
    rig.settle();
    assert!(client.text().ends_with("hello"));
}

#[test]
fn a_blocked_answer_is_not_followed_by_a_read() {
    let (mut rig, client) = bring_into(Responding);
    let reads = client.line().reads;
    rig.send(&client, HELLO);
    rig.settle();
    assert_eq!(client.line().reads, reads);
}

#[test]
fn a_request_that_came_with_the_end_is_answered() {
    let mut rig = Rig::new(Config { linger_bytes_max: 256 << 10, ..Config::default() });
    let client = rig.connect();
    client.arrive(HELLO);
    rig.hang_up(&client);
    rig.settle();
    assert!(client.text().ends_with("hello"));
    assert!(client.is_closed());
}

#[test]
fn all_requests_that_came_with_the_end_are_answered() {
    let mut rig = Rig::of(server().get("/large", |_, _| Response::text("x".repeat(30_000))));
    let client = rig.connect();
    client.arrive(get("/large", "").repeat(10));
    rig.hang_up(&client);
    rig.settle();
    assert_eq!(std::iter::from_fn(|| client.answer()).count(), 10);
    assert!(client.is_closed());
}

#[test]
fn all_messages_that_came_before_the_end_are_published() {
    let (mut rig, client) = bring_into(WebSocket);
    // More than is taken before it is delivered, and more than its publisher takes of it.
    client.set_capacity(500);
    rig.send(&client, frame(TEXT, "said").repeat(600));
    rig.settle();
    assert!(client.is_full() && rig.engine.metrics().published < 600);
    rig.hang_up(&client);
    client.set_capacity(usize::MAX);
    rig.settle();
    assert_eq!((rig.engine.metrics().published, client.is_closed()), (600, true));
}

#[test]
fn a_poll_that_goes_away_uses_nothing_up() {
    let (mut rig, client) = bring_into(Poll);
    rig.publish("a", "news");
    rig.hang_up(&client);
    rig.settle();
    assert_eq!(client.text(), "");
    let next = rig.get("/channel/a?since=00005f3a-0", "").answer().expect("it is answered at once");
    assert!(next.body.contains("news"), "{}", next.body);
}

#[test]
fn only_a_peer_that_was_dropped_counts_as_dropped() {
    for (state, ms, dropped) in [(WebSocket, 50_000, 1), (Responding, 50_000, 1), (Idle, 62_000, 0), (Poll, 90_000, 0)]
    {
        let (mut rig, client) = bring_into(state);
        rig.sleep(ms);
        assert_eq!((client.is_closed(), rig.engine.metrics().dropped), (true, dropped), "{state:?}");
    }
}

#[test]
fn a_websocket_that_answers_pings_stays() {
    let (mut rig, client) = bring_into(WebSocket);
    for _ in 0..10 {
        rig.sleep(25_000);
        let pings = client.frames();
        assert_eq!(pings.len(), 1);
        rig.send(&client, frame(PONG, &pings[0].payload));
    }
    assert!(is_in(&mut rig, &client, WebSocket));
}

#[test]
fn nothing_is_left_when_all_have_gone() {
    for state in STATES {
        let (mut rig, client) = bring_into(state);
        rig.reset(&client);
        rig.settle();
        let metrics = rig.engine.metrics();
        assert_eq!((metrics.client_bytes, metrics.subscriptions, rig.engine.timers()), (0, 0, 0), "{state:?}");
        assert!(rig.engine.is_empty(), "{state:?}");
    }
}

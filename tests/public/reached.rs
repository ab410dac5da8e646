//! Every limit refuses what is beyond it, says so, and is counted. Those of one client and of descriptors have files of
//! their own; the time for content, which no flag sets, is in `tests/attacks`.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, client};

use crate::served::{Served, read_until, values, wait_until};

type WebSocket = tungstenite::WebSocket<std::net::TcpStream>;

fn open(served: &Served, target: &str, subprotocol: Option<&str>) -> WebSocket {
    let mut request = format!("ws://{}{target}", served.address).into_client_request().expect("a URL");
    if let Some(name) = subprotocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", name.parse().expect("a token"));
    }
    client(request, served.connect()).expect("opened").0
}

/// The number that a closed WebSocket was closed with.
fn close_code(socket: &mut WebSocket) -> u16 {
    match std::iter::from_fn(|| socket.read().ok()).find(Message::is_close) {
        Some(Message::Close(Some(frame))) => frame.code.into(),
        other => panic!("a close comes: {other:?}"),
    }
}

fn post(served: &Served, target: &str, fields: &str) -> String {
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n{fields}\r\n");
    served.ask(&(head + "x"))
}

#[test]
fn what_is_too_long_or_too_many_in_a_request_is_refused_and_counted() {
    let served = Served::start(&["--max-channels", "1"]);
    let long = |count| "a".repeat(count);
    let channels = (0..33).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    assert!(post(&served, "/channel/a", "").starts_with("HTTP/1.1 202 "));
    for (target, fields, status, limit) in [
        ("/channel/b".to_owned(), String::new(), "503", "channels"),
        ("/channel/a".to_owned(), "Content-Length: 65537\r\n".to_owned(), "413", "message_bytes"),
        ("/channel/a".to_owned(), format!("X: {}\r\n", long(8192)), "431", "head"),
        ("/channel/a".to_owned(), "X: y\r\n".repeat(65), "431", "head"),
        (format!("/channel/a?{}", long(4096)), String::new(), "414", "head"),
        (format!("/channel/{channels}"), String::new(), "400", "request_channels"),
        (format!("/channel/{}", long(129)), String::new(), "400", "name_bytes"),
        (format!("/channel/a?event={}", long(65)), String::new(), "400", "name_bytes"),
        ("/channel/a".to_owned(), format!("Idempotency-Key: {}\r\n", long(256)), "400", "name_bytes"),
    ] {
        let before = served.reached(limit);
        let answer = match fields.starts_with("Content-Length") {
            true => served.say(&format!("POST {target}"), &fields),
            false => post(&served, &target, &fields),
        };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{limit}: {answer}");
        assert_eq!(served.reached(limit), before + 1, "{limit}");
    }
    // What is only malformed has reached no limit.
    let before = served.reached("name_bytes");
    for target in ["/channel/a?wait=x", "/channel/%20", "/channel/a?wait=121"] {
        assert_eq!((served.reached("wait"), served.reached("name_bytes")), (0, before), "{target}");
        assert!(served.say(&format!("GET {target}"), "").starts_with("HTTP/1.1 400 "), "{target}");
    }
    assert_eq!(served.reached("wait"), 1);
}

#[test]
fn too_many_connections_are_refused_and_counted() {
    let served = Served::start(&["--max-connections", "3"]);
    let held = (served.connect(), served.connect(), served.connect());
    let refused = served.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("--max-connections"), "{refused}");
    drop(held);
    wait_until("there is room", || served.say("GET /healthz", "").starts_with("HTTP/1.1 200 "));
    assert!(served.reached("connections") >= 1);
}

#[test]
fn a_websocket_has_so_many_subscriptions_and_messages_of_such_a_size() {
    let served = Served::start(&["--max-message", "1K"]);
    let mut socket = open(&served, "/channel/a", Some("redpoll.v1"));
    for n in 1..=1024 {
        socket.send(Message::text(format!(r#"{{"subscribe":"c{n}","ack":{n}}}"#))).expect("taken");
    }
    let errors = std::iter::from_fn(|| socket.read().ok()).filter_map(|message| message.into_text().ok());
    let error = errors.into_iter().find(|text| text.contains("\"error\"")).expect("the last one is one too many");
    assert!(error.contains("503") && error.contains("\"ack\":1024"), "{error}");
    assert_eq!(served.reached("subscriptions"), 1);
    let data = "x".repeat(1025);
    socket.send(Message::text(format!(r#"{{"publish":"a","data":"{data}","ack":1}}"#))).expect("taken");
    let answer = socket.read().expect("an answer").into_text().expect("text");
    assert!(answer.contains("413"), "{answer}");
    assert_eq!(served.reached("message_bytes"), 1);
    let mut raw = open(&served, "/channel/a", None);
    raw.send(Message::text(data)).expect("taken");
    assert_eq!(close_code(&mut raw), 1009);
    assert_eq!(served.reached("message_bytes"), 2);
}

#[test]
fn who_takes_too_long_is_ended_and_counted() {
    let served = Served::start(&["--head-timeout", "200ms", "--keep-alive", "200ms", "--ping", "200ms"]);
    let mut slow = served.connect();
    slow.write_all(b"GET / HTTP/1.1\r\n").expect("taken");
    assert!(read_until(&mut slow, "\r\n\r\n").starts_with("HTTP/1.1 408 "));
    assert_eq!(served.reached("head_time"), 1);
    let mut idle = served.connect();
    assert_eq!(idle.read(&mut [0]).expect("the end"), 0);
    assert!(served.reached("keep_alive") >= 1);
    // A peer that answers no ping.
    let silent = open(&served, "/channel/a", None);
    wait_until("it is dropped", || served.figure("redpoll_connections_dropped_total") == 1);
    drop(silent);
}

#[test]
fn the_oldest_idempotency_keys_make_room_for_new_ones_and_that_is_counted() {
    // One for each 4 KiB.
    let served = Served::start(&["--memory", "1M"]);
    let publish = |key: usize| post(&served, "/channel/a", &format!("Idempotency-Key: {key}\r\n"));
    let id = |answer: String| answer.split("\"id\":").nth(1).map(str::to_owned).expect("an id");
    let first = id(publish(0));
    assert_eq!(id(publish(0)), first, "a retry");
    (1..=256).for_each(|key| drop(publish(key)));
    assert_eq!(served.reached("idempotency_keys"), 1);
    assert_ne!(id(publish(0)), first, "it was forgotten");
}

#[test]
fn requests_that_are_pipelined_wait_where_they_are_until_the_answers_are_read() {
    let served = Served::start(&[]);
    let mut stream = served.connect();
    // The kernel would take megabytes of requests.
    let socket = socket2::SockRef::from(&stream);
    socket.set_send_buffer_size(16 << 10).and_then(|()| socket.set_recv_buffer_size(16 << 10)).expect("it can be set");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
    let request = b"GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let block = request.repeat(1000);
    let mut sent = 0;
    let refused = loop {
        match stream.write(&block[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
        assert!(sent < 64 << 20, "it takes no more than it can answer");
    };
    assert!(matches!(refused, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{refused:?}");
    let held = served.figure("redpoll_client_memory_bytes");
    assert!(held < 512 << 10, "{held} bytes are held for one client");
    // All that was whole is answered, in its place.
    let mut answers = std::io::BufReader::new(stream);
    for _ in 0..sent / request.len() {
        let head = read_until(&mut answers, "\r\n\r\n");
        let length = values(&head, "Content-Length")[0].parse().expect("a number");
        answers.read_exact(&mut vec![0; length]).expect("the content");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

#[test]
fn a_channel_keeps_so_much_and_a_poll_is_answered_with_so_much() {
    let served = Served::start(&["--history", "3", "--history", "long*=2000", "--history-bytes", "1M"]);
    let poll = |target: &str| served.say(&format!("GET {target}"), "");
    let count = |answer: &str| answer.matches("\"data\"").count();
    let mut stream = served.connect();
    let mut publish = |channel: &str, length: usize| {
        let head = format!("POST /channel/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + &"x".repeat(length)).as_bytes()).expect("taken");
        let head = read_until(&mut stream, "\r\n\r\n");
        let mut content = vec![0; values(&head, "Content-Length")[0].parse().expect("a number")];
        stream.read_exact(&mut content).expect("the content");
        String::from_utf8(content).expect("JSON").split('"').nth(7).expect("an id").to_owned()
    };
    let first = publish("a", 1);
    (0..5).for_each(|_| drop(publish("a", 1)));
    let answer = poll(&format!("/channel/a?since={first}"));
    assert!(count(&answer) == 3 && answer.contains("\"gap\":true"), "{answer}");
    (0..1200).for_each(|_| drop(publish("long-many", 1)));
    assert_eq!(count(&poll("/channel/long-many?since=earliest")), 1000);
    (0..100).for_each(|_| drop(publish("long-large", 4096)));
    let large = count(&poll("/channel/long-large?since=earliest"));
    assert!((16..=17).contains(&large), "{large} messages of 4 KiB in one answer of 64 KiB");
}

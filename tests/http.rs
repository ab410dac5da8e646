//! HTTP as bytes: what each request is answered, however its bytes are split.

mod support;

use redpoll::{Config, Context, Request, Response};
use support::{Rig, server};

fn rig() -> Rig {
    let config = Config {
        message_bytes_max: 100,
        head_bytes_max: 512,
        origins: vec!["https://friend.example".into()],
        ..Config::default()
    };
    let form =
        |request: &Request, _: &mut Context| Response::text(request.form("content").unwrap_or_default().into_owned());
    Rig::of(server().config(config).post("/form", form))
}

/// What the pieces are answered on a new connection, and whether the server ends it.
fn talk<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (String, bool) {
    let mut rig = rig();
    let client = rig.connect();
    for piece in pieces {
        rig.send(&client, piece);
        rig.turn();
    }
    (client.text(), client.is_shut())
}

/// The same bytes whole, byte by byte, and split in two at every place, must be answered the same.
fn answer_however_split(request: &[u8]) -> (String, bool) {
    let whole = talk([request]);
    assert_eq!(talk(request.chunks(1)), whole, "byte by byte: {}", request.escape_ascii());
    for at in 1..request.len() {
        assert_eq!(talk([&request[..at], &request[at..]]), whole, "split at {at}: {}", request.escape_ascii());
    }
    whole
}

/// `(request, status, words of the detail, whether the connection ends)`, with the section that decides it.
const REFUSALS: [(&[u8], &str, &str, bool); 44] = [
    // RFC 9112 §2.2, §3
    (b"GET /hello HTTP/1.1\nHost: a\n\n", "400", "CR LF", true),
    (b"GET /hello HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "400", "CR LF", true),
    (b"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "request line", true),
    (b"GET /hello\r\n\r\n", "400", "", true),
    (b" GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "", true),
    (b"\x16\x03\x01\x02\x00\x01", "400", "TLS", true),
    (b"GET /hel\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "", true),
    (b"GET /hello#x HTTP/1.1\r\nHost: a\r\n\r\n", "400", "", true),
    (b"GET hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "", true),
    (b"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n", "501", "BREW", true),
    (b"get /hello HTTP/1.1\r\nHost: a\r\n\r\n", "501", "get", true),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "501", "", true),
    // §2.3
    (b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", "505", "", true),
    (b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", "505", "", true),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "", true),
    // §3.2
    (b"GET /hello HTTP/1.1\r\n\r\n", "400", "Host", true),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400", "Host", true),
    // §5
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "400", "", true),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "400", "", true),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n", "400", "", true),
    // §6.1, §6.3
    (b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "both", true),
    (
        b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "400",
        "Content-Length",
        true,
    ),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "400", "Content-Length", true),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400", "Content-Length", true),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501", "chunked", true),
    (b"POST /form HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "", true),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "400", "", true),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", "413", "100", true),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", "413", "100", true),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400", "", true),
    (b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab", "400", "", true),
    // RFC 9110 §10.1.1
    (b"POST /form HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 1\r\n\r\n", "417", "", true),
    // Routes: RFC 9110 §15.5.5, §15.5.6, §15.5.22
    (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404", "nothing is at", false),
    (b"DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n", "405", "GET, HEAD, OPTIONS", false),
    (b"PATCH /channel/a HTTP/1.1\r\nHost: a\r\n\r\n", "405", "POST", false),
    (b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", "426", "WebSocket", false),
    // INTERFACE: names, positions, parameters
    (b"GET /channel/a%20b HTTP/1.1\r\nHost: a\r\n\r\n", "400", "channel name", false),
    (b"GET /channel/a?since=now HTTP/1.1\r\nHost: a\r\n\r\n", "400", "position", false),
    (b"GET /channel/a?since=0000005f-1,0000005f-2 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "positions", false),
    (b"GET /channel/a?wait=121 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "wait", false),
    (b"GET /channel/a?limit=0 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "limit", false),
    (b"GET /channel/a?form=xml HTTP/1.1\r\nHost: a\r\n\r\n", "400", "form", false),
    (b"POST /channel/a?event=gap HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400", "reserved", false),
    (b"POST /channel/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\xff", "415", "UTF-8", false),
];

#[test]
fn what_is_refused_is_told_why_however_its_bytes_are_split() {
    for (request, status, words, ends) in REFUSALS {
        let (answer, ended) = answer_however_split(request);
        let shown = format!("{} => {answer}", request.escape_ascii());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}");
        assert!(answer.contains("Content-Type: application/problem+json\r\n"), "{shown}");
        assert!(answer.contains(words), "{shown}");
        assert_eq!(ended, ends, "{shown}");
        assert_eq!(answer.contains("Connection: close\r\n"), ends, "{shown}");
    }
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let long = |field: usize| format!("GET /hello HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(field));
    assert!(answer_however_split(long(400).as_bytes()).0.starts_with("HTTP/1.1 200 "));
    assert!(talk([long(600).as_bytes()]).0.starts_with("HTTP/1.1 431 "));
    assert!(talk(long(600).as_bytes().chunks(7)).0.starts_with("HTTP/1.1 431 "));
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(600));
    assert!(talk(target.as_bytes().chunks(7)).0.starts_with("HTTP/1.1 414 "));
}

#[test]
fn what_is_accepted_is_answered_the_same_however_its_bytes_are_split() {
    for (request, expected) in [
        ("GET /hello?name=a%20b HTTP/1.1\r\nHost: x\r\n\r\n", "hello a b"),
        ("\r\n\r\nGET /hello?name=a+b HTTP/1.1\r\nHost: x\r\n\r\n", "hello a b"),
        ("GET http://x/hello?name=absolute HTTP/1.1\r\nHost: x\r\n\r\n", "hello absolute"),
        ("POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\ncontent=a%2Cb", "a,b"),
        (
            "POST /form HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8;x=y\r\ncontent=\r\n2\r\nhi\r\n0\r\nT: v\r\n\r\n",
            "hi",
        ),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "hi"),
    ] {
        let (answer, ended) = answer_however_split(request.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            "{request} => {answer}"
        );
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{request} => {answer}");
        assert!(!ended, "{request}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let request = "GET /hello?name=1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\ncontent=2GET /channel/a HTTP/1.1\r\nHost: x\r\n\r\nGET /hello?name=4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answers, ended) = answer_however_split(request.as_bytes());
    let places: Vec<_> = ["hello 1", "\r\n\r\n2HTTP", "\"cursor\":\"00005f3a-0\"", "hello 4"]
        .iter()
        .map(|part| answers.find(part))
        .collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{answers}");
    assert!(ended);
}

#[test]
fn a_head_request_gets_the_head_of_get() {
    let (get, _) = talk([b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n".as_slice()]);
    let (head, _) = talk([b"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n".as_slice()]);
    assert_eq!(head, get.trim_end_matches("hello"));
    let (poll, _) = talk([b"HEAD /channel/a?wait=9 HTTP/1.1\r\nHost: x\r\n\r\n".as_slice()]);
    assert!(poll.contains("ETag: \"00005f3a-0\"\r\n") && poll.ends_with("\r\n\r\n"), "{poll}");
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept() {
    let (answer, ended) = talk([b"GET /hello HTTP/1.0\r\n\r\n".as_slice()]);
    assert!(answer.contains("Connection: close\r\n") && ended, "{answer}");
    let (answer, ended) = talk([b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".as_slice()]);
    assert!(answer.contains("Connection: keep-alive\r\n") && !ended, "{answer}");
}

#[test]
fn content_is_invited_before_it_comes_and_refused_before_it_comes() {
    let head = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let (answer, _) = talk([head("/form", 9).as_bytes(), b"content=1"]);
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n") && answer.ends_with('1'),
        "{answer}"
    );
    for (path, length, status) in [("/nothing", 9, "404"), ("/hello", 9, "405"), ("/form", 101, "413")] {
        let (answer, ended) = talk([head(path, length).as_bytes()]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && ended, "{answer}");
    }
}

#[test]
fn other_origins_may_read_and_publish_only_if_they_are_allowed() {
    let with = |line: &str, origin: &str| {
        format!("{line} HTTP/1.1\r\nHost: own.example\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n")
    };
    for (line, origin, status, allowed) in [
        ("GET /hello", "https://own.example", "200", false),
        ("GET /hello", "https://friend.example", "200", true),
        ("GET /hello", "https://foe.example", "200", false),
        ("POST /channel/a", "http://own.example", "202", false),
        ("POST /channel/a", "https://friend.example", "202", true),
        ("POST /channel/a", "https://foe.example", "403", false),
        ("POST /channel/a", "null", "403", false),
    ] {
        let (answer, _) = answer_however_split(with(line, origin).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {origin} => {answer}");
        assert_eq!(
            answer.contains("Access-Control-Allow-Origin: https://friend.example\r\n"),
            allowed,
            "{line} {origin} => {answer}"
        );
        assert!(answer.contains("Origin\r\n"), "Vary is missing: {answer}");
    }
}

#[test]
fn a_preflight_is_answered_with_what_is_allowed() {
    let ask = |origin: &str| {
        format!(
            "OPTIONS /channel/a HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\r\n"
        )
    };
    let (answer, _) = answer_however_split(ask("https://friend.example").as_bytes());
    for field in [
        "HTTP/1.1 204 ",
        "Access-Control-Allow-Origin: https://friend.example",
        "Access-Control-Allow-Methods: GET, HEAD, POST, PUT",
        "Access-Control-Max-Age: ",
    ] {
        assert!(answer.contains(field), "{answer}");
    }
    assert!(talk([ask("https://foe.example").as_bytes()]).0.starts_with("HTTP/1.1 403 "));
    let (plain, _) = talk([b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".as_slice()]);
    assert!(plain.starts_with("HTTP/1.1 204 ") && plain.contains("Allow: GET"), "{plain}");
}

/// `(what is changed in a good handshake, status)`, RFC 6455 §4.2.1.
const HANDSHAKES: [(&str, &str, &str); 10] = [
    ("", "", "101"),
    ("Connection: Upgrade", "Connection: keep-alive, upgrade", "101"),
    ("Upgrade: websocket", "Upgrade: h2c, WebSocket", "101"),
    ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "426"),
    ("Sec-WebSocket-Version: 13\r\n", "", "426"),
    ("Connection: Upgrade", "Connection: keep-alive", "400"),
    ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: c2hvcnQ=", "400"),
    ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400"),
    ("HTTP/1.1", "HTTP/1.0", "400"),
    ("Host: x", "Host: x\r\nOrigin: https://foe.example", "403"),
];

#[test]
fn a_handshake_is_accepted_only_if_every_part_is_right() {
    let good = "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (from, to, status) in HANDSHAKES {
        let (answer, _) = answer_however_split(good.replacen(from, to, 1).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to:?} => {answer}");
        assert_eq!(
            answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            status == "101",
            "{answer}"
        );
        assert_eq!(answer.contains("Sec-WebSocket-Version: 13\r\n"), status == "426", "{answer}");
    }
}

/// `(frames after the handshake, close code)`: masked with a key of zeros, RFC 6455 §5 and §7.4.
const VIOLATIONS: [(&[u8], u16); 12] = [
    (b"\x81\x02hi", 1002),
    (b"\x83\x80\0\0\0\0", 1002),
    (b"\xc1\x80\0\0\0\0", 1002),
    (b"\xa1\x80\0\0\0\0", 1002),
    (b"\x89\xfe\x00\x7e\0\0\0\0", 1002),
    (b"\x09\x80\0\0\0\0", 1002),
    (b"\x80\x80\0\0\0\0", 1002),
    (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
    (b"\x81\x85\0\0\0\0a\xed\xa0", 1007),
    (b"\x82\xe5\0\0\0\0", 1009),
    (b"\x88\x81\0\0\0\0\x03", 1002),
    (b"\x88\x82\0\0\0\0\x03\xed", 1002),
];

#[test]
fn what_breaks_the_protocol_gets_its_close_code_and_nobody_else_is_harmed() {
    for (frames, code) in VIOLATIONS {
        let mut rig = rig();
        let [client, neighbour] = [(); 2].map(|()| rig.websocket("/echo", None));
        for byte in frames {
            rig.send(&client, [*byte]);
            rig.turn();
        }
        let answer = client.bytes();
        assert_eq!(answer.first(), Some(&0x88), "{}", frames.escape_ascii());
        assert_eq!(answer.get(2..4), Some(code.to_be_bytes().as_slice()), "{}", frames.escape_ascii());
        assert!(client.is_shut(), "the server ends the connection first");
        rig.send(&neighbour, b"\x81\x82\0\0\0\0ok");
        assert_eq!(neighbour.bytes(), b"\x81\x02ok");
    }
}

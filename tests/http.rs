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

/// Why, the request, the status, words of the detail: what RFC 9112 or 9110 has a server refuse, and what two readers
/// could read in two ways (RFC 9112 §11.2). After each the connection ends.
#[rustfmt::skip]
const MALFORMED: [(&str, &[u8], &str, &str); 96] = [
    ("RFC 9112 §2.2, bare LF", b"GET /hello HTTP/1.1\nHost: a\n\n", "400", "CR LF"),
    ("RFC 9112 §2.2, bare LF between fields", b"GET /hello HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "400", "CR LF"),
    ("RFC 9112 §2.2, bare LF before a request", b"\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "CR LF"),
    ("RFC 9112 §2.2, bare LF at the head's end", b"GET /hello HTTP/1.1\r\nHost: a\r\n\n", "400", "CR LF"),
    ("RFC 9112 §2.2, bare CR", b"GET /hello HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "400", "CR LF"),
    ("RFC 9112 §2.2, bare CR in the request line", b"GET /hello\rHTTP/1.1\r\nHost: a\r\n\r\n", "400", "CR LF"),
    ("RFC 9112 §2.2, CR CR LF", b"GET /hello HTTP/1.1\r\nHost: a\r\r\n\r\n", "400", "CR LF"),
    ("RFC 9112 §2.2, space before the first field", b"GET /hello HTTP/1.1\r\n Host: a\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §3, two spaces", b"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "request line"),
    ("RFC 9112 §3, tab", b"GET\t/hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "request line"),
    ("RFC 9112 §3, space first", b" GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "method"),
    ("RFC 9112 §3, space last", b"GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n", "400", "request line"),
    ("RFC 9112 §3, TLS", b"\x16\x03\x01\x02\x00\x01", "400", "TLS"),
    ("RFC 9112 §3.1, method is no token", b"G@T /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "method"),
    ("RFC 9110 §9.1, unknown method", b"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n", "501", "BREW"),
    ("RFC 9110 §9.1, method in lower case", b"get /hello HTTP/1.1\r\nHost: a\r\n\r\n", "501", "get"),
    ("RFC 9110 §9.3.6, CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "501", "CONNECT"),
    ("RFC 9112 §2.3, HTTP/0.9", b"GET /hello\r\n\r\n", "400", "request line"),
    ("RFC 9112 §2.3, HTTP/0.9 by name", b"GET /hello HTTP/0.9\r\n\r\n", "505", "HTTP/0.9"),
    ("RFC 9112 §2.3, HTTP/1.2", b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", "505", "HTTP/1.2"),
    ("RFC 9112 §2.3, HTTP/2.0", b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", "505", "HTTP/2.0"),
    ("RFC 9113 §3.4, preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "HTTP/2.0"),
    ("RFC 9112 §2.3, version in lower case", b"GET /hello http/1.1\r\nHost: a\r\n\r\n", "400", "request line"),
    ("RFC 9112 §2.3, two digits", b"GET /hello HTTP/1.10\r\nHost: a\r\n\r\n", "400", "request line"),
    ("RFC 9112 §3.2, raw UTF-8", b"GET /hel\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2, raw Latin-1", b"GET /hel\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "UTF-8"),
    ("RFC 9112 §3.2, control byte", b"GET /hel\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2, NUL", b"GET /hel\0 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2, fragment", b"GET /hello#x HTTP/1.1\r\nHost: a\r\n\r\n", "400", "fragment"),
    ("RFC 9112 §3.2.1, no slash", b"GET hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2.2, user in the target", b"GET http://u@a/hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2.2, another scheme", b"GET ftp://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2.4, asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400", "target"),
    ("RFC 9112 §3.2, no Host", b"GET /hello HTTP/1.1\r\n\r\n", "400", "Host"),
    ("RFC 9112 §3.2, Host twice", b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400", "Host"),
    ("RFC 9112 §3.2, Host twice in HTTP/1.0", b"GET /hello HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400", "Host"),
    ("RFC 9112 §3.2, a list of hosts", b"GET /hello HTTP/1.1\r\nHost: a, b\r\n\r\n", "400", "Host"),
    ("RFC 9112 §3.2, Host with a path", b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", "400", "Host"),
    ("RFC 9112 §3.2, Host with a user", b"GET /hello HTTP/1.1\r\nHost: u@a\r\n\r\n", "400", "Host"),
    ("RFC 9112 §3.2.2, bad Host beside an absolute form", b"GET http://a/hello HTTP/1.1\r\nHost: @\r\n\r\n", "400", "Host"),
    ("RFC 9112 §5.1, space before the colon", b"GET /hello HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "400", "colon"),
    ("RFC 9112 §5.1, tab before the colon", b"GET /hello HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", "400", "colon"),
    ("RFC 9112 §5.1, space before a length's colon", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx", "400", "colon"),
    ("RFC 9112 §5.1, no colon", b"GET /hello HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §5.1, no name", b"GET /hello HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §5.1, name is no token", b"GET /hello HTTP/1.1\r\nHost: a\r\nX[]: b\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §5.1, name outside ASCII", b"GET /hello HTTP/1.1\r\nHost: a\r\n\xc3\xa4: b\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §5.2, obs-fold", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §5.2, obs-fold with a tab", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", "400", "malformed field"),
    ("RFC 9112 §5.2, folded coding", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400", "malformed field"),
    ("RFC 9110 §5.5, control byte", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n", "400", "control"),
    ("RFC 9110 §5.5, NUL", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: \0b\r\n\r\n", "400", "control"),
    ("RFC 9110 §5.5, delete", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n", "400", "control"),
    ("RFC 9110 §5.5, vertical tab before a coding", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", "400", "control"),
    ("RFC 9112 §6.1, both lengths", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "both"),
    ("RFC 9112 §6.1, both lengths the other way", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "400", "both"),
    ("RFC 9112 §6.1, chunked before gzip", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "501", "chunked"),
    ("RFC 9112 §6.1, gzip before chunked", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501", "chunked"),
    ("RFC 9112 §6.1, chunked twice", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "501", "chunked"),
    ("RFC 9112 §6.1, identity", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "501", "chunked"),
    ("RFC 9112 §6.1, no coding", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "501", "chunked"),
    ("RFC 9112 §6.1, chunked in HTTP/1.0", b"POST /form HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "HTTP/1.0"),
    ("RFC 9112 §6.3, two lengths", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400", "Content-Length"),
    ("RFC 9112 §6.3, the same length twice", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "400", "Content-Length"),
    ("RFC 9112 §6.3, a list of lengths", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "400", "Content-Length"),
    ("RFC 9110 §8.6, length with a plus", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400", "Content-Length"),
    ("RFC 9110 §8.6, length with a minus", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400", "Content-Length"),
    ("RFC 9110 §8.6, hexadecimal length", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", "400", "Content-Length"),
    ("RFC 9110 §8.6, no length", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "400", "Content-Length"),
    ("RFC 9110 §9.3.1, content on GET", b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "400", "GET"),
    ("RFC 9110 §9.3.1, chunked content on GET", b"GET /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "GET"),
    ("RFC 9110 §9.3.2, content on HEAD", b"HEAD /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "400", ""),
    ("RFC 9110 §15.5.14, length over the limit", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", "413", "100"),
    ("RFC 9110 §15.5.14, length over 64 bits", b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", "413", "100"),
    ("RFC 9112 §7.1, chunk over the limit", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", "413", "100"),
    ("RFC 9112 §7.1, size of 64 bits", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "413", "100"),
    ("RFC 9112 §7.1, size over 64 bits", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, zeros without end", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, no hexadecimal", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, sign before the size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, prefix before the size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, space before the size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, space after the size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, no size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1, data longer than its size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab", "400", "chunk"),
    ("RFC 9112 §2.2, bare LF after the size", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n", "400", "chunk"),
    ("RFC 9112 §2.2, bare LF after the data", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n", "400", "chunk"),
    ("RFC 9112 §2.2, bare LF in an extension", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §2.2, bare CR in an extension", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1.1, control byte in an extension", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\0\r\na\r\n", "400", "chunk"),
    ("RFC 9112 §7.1.2, trailer without a colon", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n", "400", "trailer"),
    ("RFC 9112 §7.1.2, space before a trailer's colon", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n", "400", "trailer"),
    ("RFC 9112 §7.1.2, folded trailer", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n", "400", "trailer"),
    ("RFC 9112 §7.1.2, control byte in a trailer", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\0\r\n", "400", "trailer"),
    ("RFC 9112 §2.2, bare LF at the content's end", b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", "400", "trailer"),
    ("RFC 9110 §10.1.1, unknown expectation", b"POST /form HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 1\r\n\r\n", "417", "wonders"),
];

/// The same where the request is whole and only cannot be served: the connection goes on.
#[rustfmt::skip]
const NOT_SERVED: [(&str, &[u8], &str, &str); 13] = [
    ("RFC 9110 §15.5.5, no such path", b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404", "nothing is at"),
    ("RFC 9110 §15.5.6, method of another path", b"DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n", "405", "GET, HEAD, OPTIONS"),
    ("RFC 9110 §15.5.6, method of no path", b"PATCH /channel/a HTTP/1.1\r\nHost: a\r\n\r\n", "405", "POST"),
    ("RFC 9110 §15.5.6, TRACE", b"TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n", "405", "GET, HEAD, OPTIONS"),
    ("RFC 9110 §15.5.22, no upgrade", b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", "426", "WebSocket"),
    ("INTERFACE, channel name", b"GET /channel/a%20b HTTP/1.1\r\nHost: a\r\n\r\n", "400", "channel name"),
    ("INTERFACE, position", b"GET /channel/a?since=now HTTP/1.1\r\nHost: a\r\n\r\n", "400", "position"),
    ("INTERFACE, positions", b"GET /channel/a?since=0000005f-1,0000005f-2 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "positions"),
    ("INTERFACE, wait", b"GET /channel/a?wait=121 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "wait"),
    ("INTERFACE, limit", b"GET /channel/a?limit=0 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "limit"),
    ("INTERFACE, form", b"GET /channel/a?form=xml HTTP/1.1\r\nHost: a\r\n\r\n", "400", "form"),
    ("INTERFACE, event name", b"POST /channel/a?event=gap HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400", "reserved"),
    ("INTERFACE, text that is none", b"POST /channel/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\xff", "415", "UTF-8"),
];

#[test]
fn what_is_malformed_is_told_why_and_nothing_after_it_is_served() {
    for (section, request, status, words) in MALFORMED {
        let (answer, ended) = answer_however_split(request);
        assert_problem(section, request, &answer, status, words);
        assert!(ended && answer.contains("Connection: close\r\n"), "{section}: {answer}");
        // What another reader could take for a second request is none.
        let smuggled = [request, b"GET /hello?name=smuggled HTTP/1.1\r\nHost: a\r\n\r\n".as_slice()].concat();
        for pieces in [vec![&smuggled[..]], smuggled.chunks(1).collect(), smuggled.chunks(request.len()).collect()] {
            let (answer, _) = talk(pieces);
            assert_eq!(answer.matches("\r\nDate: ").count(), 1, "{section}: {answer}");
        }
    }
}

#[test]
fn what_cannot_be_served_is_told_why_and_the_connection_goes_on() {
    for (section, request, status, words) in NOT_SERVED {
        let (answer, ended) = answer_however_split(request);
        assert_problem(section, request, &answer, status, words);
        assert!(!ended && !answer.contains("Connection: close\r\n"), "{section}: {answer}");
    }
}

fn assert_problem(section: &str, request: &[u8], answer: &str, status: &str, words: &str) {
    let shown = format!("{section}: {} => {answer}", request.escape_ascii());
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}");
    assert!(answer.contains("Content-Type: application/problem+json\r\n"), "{shown}");
    assert!(answer.contains(words), "{shown}");
}

#[test]
fn a_request_of_http_0_9_is_not_waited_for_longer_than_any_other() {
    let mut rig = rig();
    let client = rig.connect();
    rig.send(&client, b"GET /hello\r\n");
    rig.sleep(Config::default().head_timeout_ms - 1);
    assert_eq!(client.text(), "");
    rig.sleep(2);
    assert!(client.text().starts_with("HTTP/1.1 408 ") && client.is_shut());
}

#[test]
fn chunk_extensions_of_any_length_are_passed_over_or_refused_and_never_kept() {
    let chunks = |count: usize, extension: usize| {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(extension));
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(count))
    };
    for (count, extension, status) in
        [(1, 0, "200"), (1, 4_000, "200"), (1, 4_200, "400"), (1, 300_000, "400"), (90, 40, "200"), (99, 60, "400")]
    {
        let request = chunks(count, extension);
        let whole = talk([request.as_bytes()]);
        assert!(whole.0.starts_with(&format!("HTTP/1.1 {status} ")), "{count} of {extension}: {}", whole.0);
        assert_eq!(talk(request.as_bytes().chunks(1_000)), whole, "{count} of {extension}");
        assert_eq!(whole.0.contains("too many bytes of chunk extensions"), status == "400", "{}", whole.0);
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
        ("GET /hello HTTP/1.1\r\nHost:\tx \r\nX:\r\nY: a\tb\u{e4} \r\n\r\n", "hello"),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "hello"),
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

/// Request line, fields of the origin, status, what the answer allows.
const ORIGINS: [(&str, &str, &str, Option<&str>); 19] = [
    ("GET /hello", "", "200", None),
    ("POST /channel/a", "", "202", None),
    ("GET /hello", "Origin: https://own.example\r\n", "200", None),
    ("GET /hello", "Origin: https://friend.example\r\n", "200", Some("https://friend.example")),
    ("GET /channel/a", "Origin: https://friend.example\r\n", "200", Some("https://friend.example")),
    ("GET /nothing", "Origin: https://friend.example\r\n", "404", Some("https://friend.example")),
    ("GET /hello", "Origin: https://foe.example\r\n", "200", None),
    ("GET /channel/a", "Origin: https://foe.example\r\n", "200", None),
    ("POST /channel/a", "Origin: http://own.example\r\n", "202", None),
    ("POST /channel/a", "Origin: http://own.example:8080\r\n", "403", None),
    ("POST /channel/a", "Origin: https://friend.example\r\n", "202", Some("https://friend.example")),
    ("PUT /channel/a", "Origin: https://foe.example\r\n", "403", None),
    ("DELETE /channel/a", "Origin: https://foe.example\r\n", "403", None),
    ("POST /channel/a", "Origin: https://foe.example\r\n", "403", None),
    ("POST /channel/a", "Origin: https://friend.example.foe.example\r\n", "403", None),
    ("POST /channel/a", "Origin: null\r\n", "403", None),
    ("POST /channel/a", "Origin:\r\n", "403", None),
    ("POST /channel/a", "Origin: https://friend.example\r\nOrigin: https://foe.example\r\n", "403", None),
    ("GET /hello", "Origin: https://friend.example\r\nOrigin: https://foe.example\r\n", "200", None),
];

#[test]
fn other_origins_may_read_and_publish_only_if_they_are_allowed() {
    for (line, origin, status, allowed) in ORIGINS {
        let request = format!("{line} HTTP/1.1\r\nHost: own.example\r\n{origin}Content-Length: 0\r\n\r\n");
        let (answer, _) = answer_however_split(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request} => {answer}");
        let given = answer.lines().find_map(|line| line.strip_prefix("Access-Control-Allow-Origin: "));
        assert_eq!(given, allowed, "{request} => {answer}");
        let vary = answer.lines().find_map(|line| line.strip_prefix("Vary: ")).expect("Vary is on every answer");
        assert!(vary.split(", ").any(|name| name == "Origin"), "{request} => {answer}");
    }
}

#[test]
fn any_origin_is_allowed_by_an_asterisk_also_one_of_the_same_name() {
    let config = Config { origins: vec!["*".into()], ..Config::default() };
    for origin in ["https://foe.example", "http://own.example", "null"] {
        let mut rig = Rig::new(config.clone());
        let client = rig.ask("/hello", &format!("Origin: {origin}\r\n"));
        assert!(client.text().contains("Access-Control-Allow-Origin: *\r\n"), "{origin}");
        let answer = rig.post("/channel/a", &format!("Origin: {origin}\r\n"), "x");
        assert_eq!(answer.status, 202, "{origin}");
    }
}

#[test]
fn an_answer_that_varies_with_something_else_varies_with_the_origin_too() {
    let handler = |_: &Request, _: &mut Context| Response::text("x").field("Vary", "Accept");
    let mut rig = Rig::of(server().get("/varies", handler));
    let answer = rig.ask("/varies", "").text();
    assert!(answer.contains("Vary: Accept\r\n") && answer.contains("Vary: Origin\r\n"), "{answer}");
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
const HANDSHAKES: [(&str, &str, &str); 14] = [
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
    ("Host: x", "Host: x\r\nOrigin: null", "403"),
    ("Host: x", "Host: x\r\nOrigin: https://friend.example", "101"),
    ("Host: x", "Host: x\r\nOrigin: http://x", "101"),
    ("Host: x", "Host: x\r\nOrigin: http://x\r\nOrigin: https://foe.example", "403"),
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

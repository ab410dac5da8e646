//! Messages that are published faster than they are read: nothing is lost without a word, memory stays where it is, and a
//! publisher is refused only when there is no room for what it says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket, client};

use crate::served::{DEADLINE, Served, read_until, values};

/// A connection that takes little ahead: the kernel would keep megabytes for who reads slowly.
fn connect(served: &Served) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("it can be set");
    let server: SocketAddr = served.address.parse().expect("an address");
    socket.connect(&server.into()).expect("the kernel accepts");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

fn open(served: &Served, channels: &str) -> WebSocket<TcpStream> {
    let mut request = format!("ws://{}/channel/{channels}", served.address).into_client_request().expect("a URL");
    request.headers_mut().insert("Sec-WebSocket-Protocol", "redpoll.v1".parse().expect("a token"));
    client(request, connect(served)).expect("opened").0
}

fn receive(socket: &mut WebSocket<TcpStream>) -> Value {
    let text = std::iter::from_fn(|| socket.read().ok()).find_map(|message| match message {
        Message::Text(text) => Some(text),
        _ => None,
    });
    serde_json::from_str(&text.expect("the server goes on")).expect("JSON")
}

fn offset(position: &Value) -> u64 {
    position.as_str().and_then(|text| text.rsplit('-').next()?.parse().ok()).expect("a position")
}

/// Asks on a connection that stays; returns the status and the content.
fn ask(stream: &mut TcpStream, line: &str, message: &[u8]) -> (u16, String) {
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", message.len());
    stream.write_all(&[head.as_bytes(), message].concat()).expect("taken");
    let head = read_until(stream, "\r\n\r\n");
    let mut content = vec![0; values(&head, "Content-Length")[0].parse().expect("a number")];
    stream.read_exact(&mut content).expect("the content");
    (head[9..12].parse().expect("a status"), String::from_utf8(content).expect("text"))
}

fn post(stream: &mut TcpStream, channel: &str, message: &[u8]) -> u16 {
    ask(stream, &format!("POST /channel/{channel}"), message).0
}

/// A figure of `/metrics`, on a connection that is there already: new ones are refused when the budget is spent.
fn figure(stream: &mut TcpStream, name: &str) -> u64 {
    let (_, text) = ask(stream, "GET /metrics", b"");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is in {text}"))
}

fn resident_bytes(served: &Served) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.process_id())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// What one subscriber has heard of a channel.
#[derive(Default)]
struct Heard {
    messages: usize,
    gaps: usize,
    /// The offset of the last message, or the last that a gap has told of.
    up_to: Option<u64>,
}

impl Heard {
    /// Reads, slowly, until the last message; nothing may be missing that no gap has told of.
    fn all(mut socket: WebSocket<TcpStream>) -> Heard {
        let mut heard = Heard::default();
        loop {
            let said = receive(&mut socket);
            if let Some(gap) = said.get("gap") {
                assert!(heard.up_to.is_none_or(|up_to| up_to == offset(&gap["from"])), "{gap} after {:?}", heard.up_to);
                (heard.gaps, heard.up_to) = (heard.gaps + 1, Some(offset(&gap["to"])));
            } else if let Some(data) = said.get("data") {
                let id = offset(&said["id"]);
                assert!(heard.up_to.is_none_or(|up_to| up_to + 1 == id), "{id} after {:?}", heard.up_to);
                (heard.messages, heard.up_to) = (heard.messages + 1, Some(id));
                if data == "last" {
                    return heard;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Four publish as fast as they can for a while, eight read a thousand messages a second at most.
fn publish_faster_than_is_read(served: &Served) {
    let subscribers: Vec<_> = (0..8).map(|_| open(served, "a")).collect();
    let (ends, published, base_bytes) = (AtomicBool::new(false), AtomicUsize::new(0), resident_bytes(served));
    let mut most_bytes = base_bytes;
    std::thread::scope(|scope| {
        let readers: Vec<_> = subscribers.into_iter().map(|socket| scope.spawn(|| Heard::all(socket))).collect();
        let publishers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect(served);
                    while !ends.load(Ordering::Relaxed) {
                        assert_eq!(post(&mut stream, "a", &[b'x'; 4096]), 201);
                        published.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            most_bytes = most_bytes.max(resident_bytes(served));
        }
        ends.store(true, Ordering::Relaxed);
        publishers.into_iter().for_each(|publisher| publisher.join().expect("all was taken"));
        assert_eq!(post(&mut connect(served), "a", b"last"), 201);
        let heard: Vec<Heard> = readers.into_iter().map(|reader| reader.join().expect("nothing is lost")).collect();
        let all = published.load(Ordering::Relaxed) + 1;
        assert!(heard.iter().all(|heard| heard.gaps > 0 && heard.messages < all), "it was faster than they read");
    });
    let grown = most_bytes - base_bytes;
    println!("{} messages published; at most {} KB more than before", published.into_inner(), grown >> 10);
    assert!(grown < 6 << 20, "{grown} bytes more than before, for a channel of 64K and eight readers");
    assert_eq!(served.figure("redpoll_shed_publications_total"), 0);
}

#[test]
fn who_reads_too_slowly_is_told_the_gaps_and_memory_does_not_grow() {
    publish_faster_than_is_read(&Served::start(&[]));
    publish_faster_than_is_read(&Served::start(&["--memory", "16M"]));
}

#[test]
fn a_publisher_is_refused_when_the_budget_is_spent_and_not_before() {
    let served = Served::start(&["--memory", "8M", "--history-bytes", "1M"]);
    let mut stream = connect(&served);
    let message = vec![b'x'; 60 << 10];
    // History makes room, be it as long as it may.
    for _ in 0..8 {
        for channel in 0..30 {
            assert_eq!(post(&mut stream, &format!("h{channel}"), &message), 202);
        }
    }
    assert!(figure(&mut stream, "redpoll_shed_history_total") > 0);
    assert_eq!(figure(&mut stream, "redpoll_shed_publications_total"), 0);
    // The newest messages of channels that are heard stay, whatever else is shed.
    let names = (0..200).map(|n| format!("n{n}")).collect::<Vec<_>>();
    let mut readers: Vec<_> = names.chunks(25).map(|names| open(&served, &names.join(","))).collect();
    let statuses: Vec<u16> = names.iter().map(|name| post(&mut stream, name, &message)).collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(refused > 0 && statuses.iter().all(|status| matches!(status, 201 | 503)), "{statuses:?}");
    assert_eq!(figure(&mut stream, "redpoll_shed_publications_total"), refused as u64);
    let held = figure(&mut stream, "redpoll_channel_memory_bytes") + figure(&mut stream, "redpoll_client_memory_bytes");
    assert!(held > 4 << 20, "{held} of 8M are held");
    // Each reader has what was taken, and nothing else.
    let mut heard = 0;
    for socket in &mut readers {
        socket.get_ref().set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
        heard += std::iter::from_fn(|| socket.read().ok()).filter(|message| message.len() > 60 << 10).count();
    }
    assert_eq!(heard, statuses.len() - refused);
}

//! The limits of one client, on the running binary.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tungstenite::{Message, client};

use crate::served::{DEADLINE, Served, read_until, values, wait_until};

/// A connection from an address of the loopback network.
fn connect_from(served: &Served, source: &str) -> TcpStream {
    let server: SocketAddr = served.address.parse().expect("an address");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(source.parse().expect("an address"), 0).into()).expect("a loopback address");
    socket.connect(&server.into()).expect("the kernel accepts");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

fn ask(stream: &mut (impl Read + Write), fields: &str) -> String {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    read_until(stream, "\r\n\r\n")
}

fn post(stream: &mut TcpStream) -> String {
    stream.write_all(b"POST /channel/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx").expect("taken");
    let head = read_until(stream, "\r\n\r\n");
    let length = values(&head, "Content-Length")[0].parse().expect("a number");
    stream.read_exact(&mut vec![0; length]).expect("the content");
    head
}

#[test]
fn one_address_cannot_take_all_connections() {
    let path = std::env::temp_dir().join(format!("redpoll-limits-{}.sock", std::process::id()));
    let served = Served::start(&["--max-per-address", "3", "--listen", &format!("unix:{}", path.display())]);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| served.connect()).collect();
    assert!(clients.iter_mut().all(|stream| ask(stream, "").starts_with("HTTP/1.1 200 ")));
    let refused = served.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("--max-per-address"), "{refused:?}");
    assert_eq!(values(&refused, "Retry-After"), ["5"]);
    assert!(ask(&mut connect_from(&served, "127.0.0.2"), "").starts_with("HTTP/1.1 200 "));
    let mut local: Vec<UnixStream> = (0..5).map(|_| UnixStream::connect(&path).expect("accepted")).collect();
    assert!(local.iter_mut().all(|stream| ask(stream, "").starts_with("HTTP/1.1 200 ")));
    clients.pop();
    wait_until("there is room again", || served.say("GET /healthz", "").starts_with("HTTP/1.1 200 "));
    clients.pop();
    assert!(served.reached("address_connections") >= 1);
}

#[test]
fn one_connection_cannot_publish_faster_than_the_rate() {
    let served = Served::start(&["--publish-rate", "5"]);
    let mut stream = served.connect();
    let statuses: Vec<String> = (0..8).map(|_| post(&mut stream)).collect();
    let refused: Vec<&String> = statuses.iter().filter(|head| head.starts_with("HTTP/1.1 429 ")).collect();
    // On a machine that is busy a sixth may have become due meanwhile.
    assert!((1..=3).contains(&refused.len()), "{statuses:?}");
    assert!(refused.iter().all(|head| values(head, "Retry-After") == ["1"]), "{statuses:?}");
    assert!(post(&mut served.connect()).starts_with("HTTP/1.1 202 "), "each connection has its own");
    std::thread::sleep(Duration::from_millis(1_100));
    assert!(post(&mut stream).starts_with("HTTP/1.1 202 "));
    assert_eq!(served.reached("publish_rate"), refused.len() as u64);
    let (mut socket, _) = client(format!("ws://{}/channel/b", served.address), served.connect()).expect("opened");
    (0..50).for_each(|_| drop(socket.send(Message::text("x"))));
    let close = std::iter::from_fn(|| socket.read().ok()).find(Message::is_close).expect("a close");
    assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1013), "{close:?}");
}

#[test]
fn behind_a_proxy_the_limits_go_by_what_the_proxy_says_and_no_further() {
    let served = Served::start(&["--open", "--behind-proxy", "1", "--max-per-address", "1"]);
    let mut events = served.connect();
    let subscribe =
        "GET /channel/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nForwarded: for=192.0.2.1\r\n\r\n";
    events.write_all(subscribe.as_bytes()).expect("taken");
    read_until(&mut events, "id: ");
    for (fields, status) in [
        ("", "200"),
        ("X-Forwarded-For: 192.0.2.2\r\n", "200"),
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", "200"),
        ("X-Forwarded-For: 192.0.2.2, 192.0.2.1\r\n", "503"),
        ("Forwarded: for=\"192.0.2.1:4711\"\r\n", "503"),
        ("Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n", "400"),
    ] {
        let head = ask(&mut served.connect(), fields);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{fields:?} => {head}");
    }
    assert_eq!(served.reached("address_connections"), 2);
    drop(events);
    wait_until("who has gone is not counted", || {
        served.say("GET /healthz", "Forwarded: for=192.0.2.1\r\n").starts_with("HTTP/1.1 200 ")
    });
}

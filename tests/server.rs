//! The server on real sockets, with an independent WebSocket client, and the examples of the documentation.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use redpoll::{Consumer, Context, Error, Message, Publisher, Server, Status};
use tungstenite::{Message as Frame, WebSocket};

struct Chat {
    room: String,
}

impl Consumer for Chat {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        cx.subscribe(&self.room);
        Ok(())
    }
    fn receive(&mut self, message: Message, cx: &mut Context) {
        cx.publish(&self.room, message);
    }
}

/// A server on a free port, ended and waited for when the test ends.
struct Running {
    address: String,
    publisher: Publisher,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Running {
    fn start(build: impl FnOnce() -> Server + Send + 'static) -> Running {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut server = build();
            let address = server.bind("127.0.0.1:0")?;
            sender.send((address, server.publisher())).expect("the test waits for the address");
            server.serve()
        });
        let (address, publisher) = receiver.recv().expect("the server binds");
        Running { address: address.trim_start_matches("http://").to_owned(), publisher, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream
    }

    fn websocket(&self, path: &str) -> WebSocket<TcpStream> {
        let url = format!("ws://{}{path}", self.address);
        tungstenite::client(url, self.connect()).expect("the handshake succeeds").0
    }

    /// Sends one request and reads everything up to the end of the connection.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is whole");
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.publisher.end();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(Ok(())))), "the server ends well: {ended:?}");
        }
    }
}

fn chat() -> Server {
    Server::new().route("/chat/{room}", |request| Chat { room: request.param("room").into() })
}

#[test]
fn the_example_serves_one_room_over_four_transports() {
    let server = Running::start(chat);
    let mut websocket = server.websocket("/chat/tea");
    let mut events = server.connect();
    events.write_all(b"GET /chat/tea HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").expect("written");
    let mut events = BufReader::new(events).lines().map(|line| line.expect("a line"));
    assert!(events.any(|line| line.starts_with("id: ")), "the stream has begun");
    let mut poll = server.connect();
    poll.write_all(b"GET /chat/tea?wait=20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    // The poll waits once it is a subscriber.
    let waiting = "POST /chat/other HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(server.ask(waiting).starts_with("HTTP/1.1 202 "));
    websocket.send(Frame::text("hello")).expect("sent");
    assert_eq!(websocket.read().expect("its own message"), Frame::text("hello"));
    assert!(events.any(|line| line == "data: hello"));
    let mut answer = String::new();
    poll.read_to_string(&mut answer).expect("the poll is answered");
    assert!(answer.contains(r#""data":"hello""#), "{answer}");
    let short = server.ask("GET /chat/tea?since=earliest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(short.contains(r#""data":"hello""#), "{short}");
}

#[test]
fn nine_lines_make_an_echo() {
    let server = Running::start(|| {
        fn echo(message: Message, cx: &mut Context) {
            cx.send(message);
        }
        Server::new().route("/echo", |_| echo)
    });
    let mut websocket = server.websocket("/echo");
    for size in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let text = Frame::text("é".repeat(size / 2));
        websocket.send(text.clone()).expect("sent");
        assert_eq!(websocket.read().expect("echoed"), text);
        let binary = Frame::binary(vec![0xa5; size]);
        websocket.send(binary.clone()).expect("sent");
        assert_eq!(websocket.read().expect("echoed"), binary);
    }
    websocket.send(Frame::Ping(b"are you there"[..].into())).expect("sent");
    assert_eq!(websocket.read().expect("answered"), Frame::Pong(b"are you there"[..].into()));
    websocket.close(None).expect("closed");
    assert!(matches!(websocket.read(), Ok(Frame::Close(_))), "the server answers the close");
    assert!(matches!(websocket.read(), Err(tungstenite::Error::ConnectionClosed)), "and ends the connection first");
}

#[test]
fn any_thread_may_publish_before_and_while_the_server_runs() {
    let server = Running::start(chat);
    let publisher = server.publisher.clone();
    let mut websocket = server.websocket("/chat/news?since=earliest");
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                (0..500).for_each(|n| publisher.publish("news", &format!("{thread}.{n}")).expect("there is room"))
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..2_000 {
        let text = websocket.read().expect("a message").into_text().expect("text");
        let (thread, n) = text.split_once('.').expect("two numbers");
        let thread: usize = thread.parse().expect("a number");
        assert_eq!(n, next[thread].to_string(), "the messages of one thread come in their order");
        next[thread] += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().expect("published"));
    assert!(matches!(publisher.publish("not a name", "x"), Err(Error::Refused(_))));
    drop(server);
    assert_eq!(publisher.publish("news", "too late"), Err(Error::Ended));
}

#[test]
fn ending_answers_polls_ends_streams_and_closes_websockets_with_1001() {
    let server = Running::start(chat);
    let mut websocket = server.websocket("/chat/a");
    let mut stream = server.connect();
    stream.write_all(b"GET /chat/a HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").expect("written");
    let mut begun = [0; 16];
    stream.read_exact(&mut begun).expect("the stream has begun");
    let mut poll = server.connect();
    poll.write_all(b"GET /chat/a?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
    // What was sent before it is served before this is answered.
    assert!(server.ask("GET /chat/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200 "));
    server.publisher.end();
    let close = websocket.read().expect("a close");
    assert!(matches!(&close, Frame::Close(Some(frame)) if u16::from(frame.code) == 1001), "{close:?}");
    let (mut rest, mut answer) = (String::new(), String::new());
    stream.read_to_string(&mut rest).expect("the stream ends");
    poll.read_to_string(&mut answer).expect("the poll is answered");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""messages":[]"#), "{answer}");
}

#[test]
fn a_unix_socket_serves_like_any_other() {
    let path = std::env::temp_dir().join(format!("redpoll-test-{}.sock", std::process::id()));
    let name = path.display().to_string();
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut server = chat();
        let address = server.bind(&format!("unix:{name}"))?;
        sender.send((address, server.publisher())).expect("the test waits");
        server.serve()
    });
    let (address, publisher) = receiver.recv().expect("bound");
    assert_eq!(address, format!("unix:{}", path.display()));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("accepted");
    stream.write_all(b"GET /chat/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    publisher.end();
    thread.join().expect("no panic").expect("ended well");
    assert!(!path.exists(), "the socket is removed at the end");
}

#[test]
fn a_name_is_no_address_to_bind() {
    for address in ["example.com:80", "a\nb:80", "127.1:0", "8080", "unix:", ""] {
        let error = chat().bind(address).expect_err("no address");
        let told = error.to_string();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{told}");
        assert!(told.starts_with(&format!("{address:?}: ")) && told.contains("accepted is IP:PORT"), "{told}");
        assert_eq!(told.lines().count(), 1);
    }
}

#[test]
fn localhost_is_the_first_loopback_address_that_can_be_had() {
    let mut server = chat();
    let first = server.bind("localhost:0").expect("a free port");
    let port = first.strip_prefix("http://127.0.0.1:").expect("IPv4 comes first");
    match server.bind(&format!("LOCALHOST:{port}")) {
        Ok(second) => assert_eq!(second, format!("http://[::1]:{port}")),
        // Without IPv6, or with that port of it taken: the error is that of IPv4.
        Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
    }
}

#[test]
fn a_client_too_many_is_told_503_and_when_to_come_back() {
    let server = Running::start(|| chat().config(redpoll::Config { connections_max: 2, ..redpoll::Config::default() }));
    let (first, _second) = (server.websocket("/chat/a"), server.websocket("/chat/a"));
    let mut refused = String::new();
    server.connect().read_to_string(&mut refused).expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: "), "{refused}");
    drop(first);
    let free = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        server.ask("GET /chat/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200 ")
    });
    assert!(free, "there is room again once one has left");
}

//! An engine on streams in memory: the client's end of each, a clock that is set by hand, and little clients that read
//! what comes out.
//!
//! [`Line`] is a stream with a send buffer of a chosen size that counts reads and writes. [`Rig`] is an engine with its
//! clock; it tells the engine what a poll would tell it. [`Subscriber`] follows one channel by any transport.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod line;
mod reading;
mod subscriber;

use std::net::SocketAddr;
use std::time::Duration;

use redpoll::{
    Action, Config, Consumer, Context, Engine, Message, Now, Position, Readiness, Response, Seed, Server, Status,
};

pub(crate) use line::{Client, Line};
pub(crate) use reading::{Answer, Event, Frame};
pub(crate) use subscriber::{Subscriber, Way};

pub(crate) const EPOCH: u32 = 0x5f3a;

/// An engine, its clock, and the clients connected to it.
pub(crate) struct Rig {
    pub(crate) engine: Engine<Line>,
    pub(crate) now: Now,
    clients: Vec<Client>,
}

impl Default for Rig {
    fn default() -> Rig {
        Rig::new(Config::default())
    }
}

impl Rig {
    pub(crate) fn new(config: Config) -> Rig {
        Rig::of(server().config(config))
    }

    pub(crate) fn of(server: Server) -> Rig {
        let now = Now { monotonic_ms: 80_000, unix_ms: 784_111_777_000 };
        let engine = server.into_engine(Seed { epoch: EPOCH, jitter: 7 }, now);
        Rig { engine, now, clients: Vec::new() }
    }

    /// A client that always has room.
    pub(crate) fn connect(&mut self) -> Client {
        self.connect_with(usize::MAX)
    }

    /// A client to which `capacity` bytes can be written before it takes them.
    pub(crate) fn connect_with(&mut self, capacity: usize) -> Client {
        self.try_connect_with(capacity).expect("the engine has room")
    }

    /// A client, unless the engine refuses it.
    pub(crate) fn try_connect(&mut self) -> Option<Client> {
        self.try_connect_with(usize::MAX)
    }

    fn try_connect_with(&mut self, capacity: usize) -> Option<Client> {
        let line = Line::new(capacity);
        let id = self.engine.accept(line.clone(), None, self.now).ok()?;
        Some(self.add(Client { id, line }))
    }

    /// A client from an address, or what it is told instead.
    pub(crate) fn connect_from(&mut self, address: &str) -> Result<Client, String> {
        let peer = SocketAddr::new(address.parse().expect("an address"), 4711);
        let line = Line::new(usize::MAX);
        match self.engine.accept(line.clone(), Some(peer), self.now) {
            Ok(id) => Ok(self.add(Client { id, line })),
            Err(_) => Err(String::from_utf8_lossy(&self.engine.refusal()).into_owned()),
        }
    }

    fn add(&mut self, client: Client) -> Client {
        self.clients.push(client.clone());
        client
    }

    /// Bytes of the client arrive, all in one read if they fit its buffer.
    pub(crate) fn send(&mut self, client: &Client, bytes: impl AsRef<[u8]>) {
        client.arrive(bytes);
        self.engine.ready(client.id, Readiness { readable: true, ..Readiness::default() }, self.now);
    }

    /// The client ends its side after what it has sent.
    pub(crate) fn hang_up(&mut self, client: &Client) {
        client.line.0.borrow_mut().ended = true;
        self.engine.ready(client.id, Readiness { readable: true, writable: false, ended: true }, self.now);
    }

    /// The connection breaks.
    pub(crate) fn reset(&mut self, client: &Client) {
        client.line.0.borrow_mut().broken = true;
        self.engine.ready(client.id, Readiness { readable: true, writable: true, ended: true }, self.now);
    }

    /// Publishes from outside any connection.
    pub(crate) fn publish(&mut self, channel: &str, data: &str) -> Position {
        self.engine.publish(channel, Message::text_of(data), self.now).expect("it is allowed").position
    }

    pub(crate) fn publish_all(&mut self, channel: &str, messages: &[impl AsRef<str>]) {
        for data in messages {
            self.publish(channel, data.as_ref());
        }
    }

    /// One turn: tells the engine whose stream has room again, and takes back the closed ones. Returns how long the
    /// engine would sleep.
    pub(crate) fn turn(&mut self) -> Option<Duration> {
        for client in &self.clients {
            let readiness = client.line.0.borrow_mut().take_readiness();
            if let Some(readiness) = readiness {
                self.engine.ready(client.id, readiness, self.now);
            }
        }
        let sleep = self.engine.turn(self.now);
        while let Some(line) = self.engine.take_closed() {
            line.0.borrow_mut().closed = true;
        }
        self.clients.retain(|client| !client.is_closed());
        sleep
    }

    /// Turns until the engine would sleep.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.turn() != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Lets time pass, with a turn whenever the engine asks for one.
    pub(crate) fn sleep(&mut self, ms: u64) {
        let end_ms = self.now.monotonic_ms + ms;
        for _ in 0..1_000_000 {
            let wake_ms = match self.turn() {
                Some(sleep) => self.now.monotonic_ms + sleep.as_millis() as u64,
                None => u64::MAX,
            };
            if wake_ms > end_ms {
                self.pass(end_ms - self.now.monotonic_ms);
                self.turn();
                return;
            }
            self.pass(wake_ms - self.now.monotonic_ms);
        }
        panic!("the engine does not come to rest");
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.unix_ms += ms;
    }

    /// Sends a GET on a new connection.
    pub(crate) fn get(&mut self, target: &str, fields: &str) -> Client {
        let client = self.connect();
        self.send(&client, get(target, fields));
        client
    }

    /// The same, with what it gets at once.
    pub(crate) fn ask(&mut self, target: &str, fields: &str) -> Client {
        let client = self.get(target, fields);
        self.turn();
        client
    }

    /// A subscriber by any transport, which has taken what it got at once.
    pub(crate) fn join(&mut self, target: &str, fields: &str) -> Client {
        let client = self.ask(target, fields);
        client.bytes();
        client
    }

    /// Opens a WebSocket, and takes the answer's head.
    pub(crate) fn websocket(&mut self, target: &str, protocol: Option<&str>) -> Client {
        let client = self.connect();
        self.upgrade(&client, target, protocol);
        client
    }

    /// Makes a connection a WebSocket, and takes the answer's head.
    pub(crate) fn upgrade(&mut self, client: &Client, target: &str, protocol: Option<&str>) {
        let protocol = protocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        self.send(client, get(target, &format!("{UPGRADE}{protocol}")));
        let status = client.answer().map(|answer| answer.status);
        assert_eq!(status, Some(101), "the WebSocket opens");
    }

    /// Opens an event stream, and takes the answer's head.
    pub(crate) fn event_stream(&mut self, target: &str) -> Client {
        let client = self.get(target, EVENT_STREAM);
        let status = client.answer().map(|answer| answer.status);
        assert_eq!(status, Some(200), "the event stream begins");
        client
    }

    /// POSTs on a new connection, which then ends.
    pub(crate) fn post(&mut self, target: &str, fields: &str, content: &str) -> Answer {
        let client = self.connect();
        self.send(&client, post(target, fields, content));
        let answer = client.answer().expect("a POST is answered at once");
        self.hang_up(&client);
        answer
    }
}

/// A request without content.
pub(crate) fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

pub(crate) fn post(target: &str, fields: &str, content: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {}\r\n\r\n{content}", content.len())
}

/// One frame of a client.
pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let (payload, key) = (payload.as_ref(), [0x37, 0xfa, 0x21, 0x3d]);
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("longer frames are not needed here").to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What makes a GET a WebSocket.
pub(crate) const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The same with the subprotocol of commands.
pub(crate) const COMMANDS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                                   Sec-WebSocket-Protocol: redpoll.v1\r\n";
pub(crate) const EVENT_STREAM: &str = "Accept: text/event-stream\r\n";
pub(crate) const REDPOLL_V1: Option<&str> = Some("redpoll.v1");

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Channels by name, an echo, and something that is answered at once.
pub(crate) fn server() -> Server {
    Server::new()
        .route("/channel/{names}", |_| Channels)
        .route("/echo", |_| |message: Message, cx: &mut Context| cx.send(message))
        .get("/hello", |request, _| match request.query("name") {
            Some(name) => Response::text(format!("hello {name}")),
            None => Response::text("hello"),
        })
        .get("/channel/{names}/members", |request, cx| {
            let members = cx.list_members(request.param("names"), "", 20_000);
            let count = cx.count_members(request.param("names"));
            assert_eq!(count, members.len(), "all are listed");
            Response::text(
                members.iter().map(|of| format!("{} {}\n", of.name, of.transport.word())).collect::<String>(),
            )
        })
        .delete("/channel/{names}", |request, cx| {
            request.param("names").split(',').for_each(|name| cx.clear_history(name));
            Response::new(204)
        })
}

/// What the binary does on `/channel/NAME`.
struct Channels;

impl Consumer for Channels {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let names = cx.request().map_or("", |request| request.param("names"));
        names.split(',').for_each(|name| cx.subscribe(name));
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

    fn authorize(&mut self, _: Action, _: &str, _: &mut Context) -> Result<(), Status> {
        Ok(())
    }
}

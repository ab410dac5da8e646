//! A bench for the engine: streams in memory, a clock that is set by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use redpoll::{
    Action, Config, ConnectionId, Consumer, Context, Engine, Message, Now, Readiness, Request, Response, Seed, Server,
    Status, Stream,
};

/// Both ends of a connection.
#[derive(Default)]
pub struct Ends {
    to_server: VecDeque<u8>,
    ended: bool,
    /// What the server has written.
    pub received: Vec<u8>,
    /// How often it wrote.
    pub writes: usize,
    /// How often it read.
    pub reads: usize,
    /// What the stream still takes; `None` is everything.
    pub room: Option<usize>,
    /// The server has ended its side.
    pub shut: bool,
}

/// A stream in memory.
#[derive(Clone, Default)]
pub struct Pipe(pub Rc<RefCell<Ends>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        ends.reads += 1;
        let size = ends.to_server.len().min(buffer.len());
        if size == 0 && !ends.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (place, byte) in buffer.iter_mut().zip(ends.to_server.drain(..size)) {
            *place = byte;
        }
        Ok(size)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        ends.writes += 1;
        let size = ends.room.unwrap_or(usize::MAX).min(bytes.len());
        if size == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        ends.room = ends.room.map(|room| room - size);
        ends.received.extend_from_slice(&bytes[..size]);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Pipe {
    fn shutdown(&mut self) -> io::Result<()> {
        self.0.borrow_mut().shut = true;
        Ok(())
    }
}

/// Subscribes to, and publishes to, the channels that the path names.
struct Channels;

impl Consumer for Channels {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        for name in cx.request().map_or("", |request| request.param_raw("names")).split(',') {
            cx.subscribe(name);
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

fn forget(request: &Request, cx: &mut Context) -> Response {
    cx.clear_history(request.param("names"));
    Response::new(204)
}

/// An engine with its clock.
pub struct Bench {
    pub engine: Engine<Pipe>,
    pub now: Now,
    /// Streams that the engine has given back.
    pub closed: usize,
}

/// One client's end.
#[derive(Clone)]
pub struct Client {
    pub id: ConnectionId,
    pub pipe: Pipe,
}

/// What makes a GET a WebSocket.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The same with the subprotocol of commands.
pub const COMMANDS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: redpoll.v1\r\n";
pub const EVENTS: &str = "Accept: text/event-stream\r\n";

impl Bench {
    pub fn new(config: Config) -> Bench {
        let now = Now { monotonic_ms: 1_000_000, unix_ms: 784_111_777_000 };
        let server = Server::new().config(config).route("/channel/{names}", |_| Channels);
        let engine = server.delete("/channel/{names}", forget).into_engine(Seed { epoch: 0x5f3a, jitter: 1 }, now);
        Bench { engine, now, closed: 0 }
    }

    pub fn connect(&mut self) -> Client {
        let pipe = Pipe::default();
        let id = self.engine.accept(pipe.clone(), None, self.now).unwrap_or_else(|_| panic!("there is room"));
        Client { id, pipe }
    }

    /// A new client that asks for `target` with more fields.
    pub fn get(&mut self, target: &str, fields: &str) -> Client {
        let client = self.connect();
        self.send(&client, format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        self.turn();
        client
    }

    /// Has bytes arrive and be read, without ending the turn.
    pub fn send(&mut self, client: &Client, bytes: &[u8]) {
        client.pipe.0.borrow_mut().to_server.extend(bytes);
        self.engine.ready(client.id, Readiness { readable: true, ..Readiness::default() }, self.now);
    }

    /// The peer ends its side.
    pub fn end(&mut self, client: &Client) {
        client.pipe.0.borrow_mut().ended = true;
        self.engine.ready(client.id, Readiness { readable: true, ended: true, writable: false }, self.now);
    }

    /// The stream takes `room` bytes more; `None` is everything.
    pub fn make_room(&mut self, client: &Client, room: Option<usize>) {
        client.pipe.0.borrow_mut().room = room;
        self.engine.ready(client.id, Readiness { writable: true, ..Readiness::default() }, self.now);
    }

    pub fn turn(&mut self) {
        self.engine.turn(self.now);
        while self.engine.take_closed().is_some() {
            self.closed += 1;
        }
    }

    /// Lets time pass, a second at a time.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.monotonic_ms += 1_000;
            self.turn();
        }
    }

    pub fn publish(&mut self, channel: &str, text: &str) {
        self.engine.publish(channel, Message::from(text), self.now).expect("published");
    }
}

impl Client {
    /// What the server has written since the last call.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.pipe.0.borrow_mut().received)
    }

    /// The same as text.
    pub fn take_text(&self) -> String {
        String::from_utf8_lossy(&self.take()).into_owned()
    }

    pub fn writes(&self) -> usize {
        self.pipe.0.borrow().writes
    }

    pub fn is_shut(&self) -> bool {
        self.pipe.0.borrow().shut
    }
}

/// A client's frame, masked with a key of zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        0..=125 => frame.push(0x80 | payload.len() as u8),
        126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The frames of a server: first byte and payload of each.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [first, length, ..] = *bytes {
        let (length, header) = match length {
            126 => (u16::from_be_bytes([bytes[2], bytes[3]]) as usize, 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")) as usize, 10),
            short => (short as usize, 2),
        };
        found.push((first, bytes[header..header + length].to_vec()));
        bytes = &bytes[header + length..];
    }
    found
}

/// The payloads of the frames, as text.
pub fn texts(bytes: &[u8]) -> Vec<String> {
    frames(bytes).into_iter().map(|(_, payload)| String::from_utf8_lossy(&payload).into_owned()).collect()
}

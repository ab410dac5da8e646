//! The yardstick: what a push server cannot do without, and nothing else. It reads, unmasks in place and writes.
//!
//! One thread, one mio loop, edge-triggered. No timers, no checks, no limits, no history: it trusts its peer, which is
//! a benchmark. What Redpoll costs beyond it is what its promises cost. `/echo` sends back what it gets;
//! `/channel/NAME` gives what is sent or posted to everyone there, as WebSocket frames or as an event stream, in one
//! write a turn for each.

mod peer;
mod request;

use std::collections::HashMap;
use std::io::{ErrorKind, Read};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use peer::{Peer, Role};

/// Everything that the floor has.
struct Floor {
    poll: Poll,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    channels: Vec<Channel>,
    names: HashMap<String, usize>,
    buffer: Box<[u8]>,
}

/// Who gets what is said here.
#[derive(Default)]
struct Channel {
    sockets: Vec<usize>,
    streams: Vec<usize>,
    /// What has been said in this turn, as frames and as events.
    frames: Vec<u8>,
    events: Vec<u8>,
    said: u64,
}

/// Serves until it is killed, and prints its address first.
pub(crate) fn run() -> ! {
    let mut listener = listen();
    println!("http://{}", listener.local_addr().expect("it is bound"));
    let poll = Poll::new().expect("a poll");
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("it can be polled");
    let buffer = vec![0; RECEIVE_BYTES].into();
    let mut floor =
        Floor { poll, peers: Vec::new(), free: Vec::new(), channels: Vec::new(), names: HashMap::new(), buffer };
    let mut events = Events::with_capacity(1024);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.expect("it polls"),
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener),
                Token(id) => floor.ready(id, event.is_writable()),
            }
        }
        floor.deliver();
    }
}

fn listen() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.set_nonblocking(true).expect("it need not block");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(4096).expect("it listens");
    // Accepted sockets inherit it.
    SockRef::from(&socket).set_tcp_nodelay(true).expect("it need not wait");
    TcpListener::from_std(socket.into())
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) {
        while let Ok((mut stream, _)) = listener.accept() {
            let id = self.free.pop().unwrap_or(self.peers.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(id), both).expect("it can be polled");
            if id == self.peers.len() {
                self.peers.push(None);
            }
            self.peers[id] = Some(Peer::new(stream));
        }
    }

    /// Reads all there is, unless the peer has to take something first.
    fn ready(&mut self, id: usize, writable: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(peer) = self.peers.get_mut(id).and_then(Option::as_mut) {
            if (writable && !peer.flush()) || peer.is_blocked() {
                break;
            }
            match peer.stream.read(&mut buffer) {
                Ok(0) => self.close(id),
                Ok(read) => {
                    self.receive(id, &mut buffer[..read]);
                    if read < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.close(id),
            }
        }
        self.buffer = buffer;
    }

    fn receive(&mut self, id: usize, bytes: &mut [u8]) {
        let Some(peer) = &mut self.peers[id] else { return };
        let open = match peer.role {
            Role::Request => return self.receive_requests(id, bytes),
            Role::Echo => peer.echo(bytes),
            Role::Member(channel) => {
                let channel = &mut self.channels[channel];
                peer.messages(bytes, |payload| channel.say(payload))
            }
            Role::EventStream(_) => true,
        };
        if !open {
            self.close(id);
        }
    }

    fn channel(&mut self, name: &str) -> usize {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        self.channels.push(Channel::default());
        self.names.insert(name.to_owned(), self.channels.len() - 1);
        self.channels.len() - 1
    }

    /// One write for each, of everything that was said in this turn. The last comes first, as with Redpoll: with few
    /// clients the order alone was seen to make a fifth.
    fn deliver(&mut self) {
        for channel in self.channels.iter_mut().filter(|channel| !channel.frames.is_empty()) {
            for (members, bytes) in [(&channel.sockets, &channel.frames), (&channel.streams, &channel.events)] {
                for id in members.iter().rev() {
                    if let Some(peer) = &mut self.peers[*id] {
                        peer.write(bytes);
                    }
                }
            }
            channel.frames.clear();
            channel.events.clear();
        }
    }

    fn close(&mut self, id: usize) {
        let Some(peer) = self.peers[id].take() else { return };
        if let Role::Member(channel) | Role::EventStream(channel) = peer.role {
            let channel = &mut self.channels[channel];
            channel.sockets.retain(|member| *member != id);
            channel.streams.retain(|member| *member != id);
        }
        self.free.push(id);
    }
}

impl Channel {
    fn say(&mut self, payload: &[u8]) {
        self.said += 1;
        peer::push_header(&mut self.frames, 0x81, payload.len());
        self.frames.extend_from_slice(payload);
        if !self.streams.is_empty() {
            self.events.extend_from_slice(format!("id: 00000001-{}\ndata: ", self.said).as_bytes());
            self.events.extend_from_slice(payload);
            self.events.extend_from_slice(b"\n\n");
        }
    }
}

const LISTENER: Token = Token(usize::MAX);
/// Room for a whole frame of 64 KiB and what comes with it.
const RECEIVE_BYTES: usize = 128 << 10;

//! A whole server in memory, with one client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use redpoll::{Config, Context, Engine, Message, Now, Readiness, Seed, Server, Stream};

use crate::handshakes::PATH;

/// Gives a server what a client sends, in pieces that end at `ends`, and then the client's end. Returns all that the
/// server says.
pub fn serve(bytes: &[u8], ends: &[usize], config: Config) -> Vec<u8> {
    let (line, now) = (Line::default(), Now { monotonic_ms: 80_000, unix_ms: 784_111_777_000 });
    let server = Server::new().config(config).route(PATH, |_| |message: Message, cx: &mut Context| cx.send(message));
    let mut engine: Engine<Line> = server.into_engine(Seed { epoch: 0x5f3a, jitter: 7 }, now);
    let Ok(id) = engine.accept(line.clone(), None, now) else { panic!("there is room for one client") };
    let mut at = 0;
    for end in ends {
        line.0.borrow_mut().to_server.extend(&bytes[at..*end]);
        at = *end;
        engine.ready(id, Readiness { readable: true, ..Readiness::default() }, now);
        settle(&mut engine, now);
    }
    line.0.borrow_mut().ended = true;
    engine.ready(id, Readiness { readable: true, ended: true, ..Readiness::default() }, now);
    settle(&mut engine, now);
    let metrics = engine.metrics();
    assert!(engine.is_empty() && engine.timers() == 0, "the connection ends when its client has");
    assert_eq!((metrics.connections, metrics.client_bytes), (0, 0), "and leaves nothing behind");
    line.0.borrow_mut().from_server.split_off(0)
}

fn settle(engine: &mut Engine<Line>, now: Now) {
    for _ in 0..1000 {
        let sleep = engine.turn(now);
        while engine.take_closed().is_some() {}
        if sleep != Some(Duration::ZERO) {
            return;
        }
    }
    panic!("the engine does not come to rest");
}

#[derive(Clone, Default)]
struct Line(Rc<RefCell<Ends>>);

#[derive(Default)]
struct Ends {
    to_server: VecDeque<u8>,
    /// The client will send no more.
    ended: bool,
    from_server: Vec<u8>,
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        match ends.to_server.is_empty() && !ends.ended {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => ends.to_server.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().from_server.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Line {
    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

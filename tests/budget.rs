//! The memory budget against attackers: the real binary with `--memory 16M`, whose resident memory is sampled while
//! greedy publishers, slow readers, half-sent requests and messages, and many connections do their worst.
//!
//! Each load is bounded in time and in connections, so that it ends on a machine of any speed. What is asserted holds
//! on all of them: the bound of memory, and that a client that reads goes on being served.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const BUDGET: usize = 16 << 20;
const BOUND: usize = BUDGET + BUDGET / 4 + (4 << 20);

/// The server, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_redpoll"))
            .args(["--listen", "127.0.0.1:0", "--log", "error"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("it says its address");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        Server { child, address }
    }

    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        Ok(stream)
    }

    /// What `/metrics` says, once the server takes connections.
    fn metrics(&self) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let mut answer = String::new();
            let asked = self.connect().and_then(|mut stream| {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
                stream.read_to_string(&mut answer)
            });
            if asked.is_ok() && answer.starts_with("HTTP/1.1 200 ") {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not answer any more");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One counter of `/metrics`.
fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("redpoll_{name} ")));
    line.expect("the counter is there").parse().expect("a number")
}

/// What one attacker does again and again until the time is over. `number` tells attackers apart, `round` their tries.
type Attack = fn(&Server, number: usize, round: usize, held: &mut Vec<TcpStream>);

/// What it is, for how many seconds, and how many of which attackers.
type Load = (&'static str, u64, &'static [(usize, Attack)]);

/// Runs attackers for a while, and samples memory all the time. Returns the highest sample.
fn attack(server: &Server, attackers: &[(usize, Attack)], time: Duration) -> usize {
    let (over, highest) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (number, attack) in attackers.iter().flat_map(|(count, attack)| (0..*count).map(move |n| (n, attack))) {
            let over = &over;
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0.. {
                    if over.load(Relaxed) {
                        break;
                    }
                    attack(server, number, round, &mut held);
                    if held.len() > HELD_MAX {
                        held.drain(..HELD_MAX / 2);
                    }
                }
            });
        }
        let end = Instant::now() + time;
        let mut curve = Vec::new();
        while Instant::now() < end {
            let resident = server.resident_bytes();
            highest.fetch_max(resident, Relaxed);
            curve.push(resident >> 10);
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Relaxed);
        let step = curve.len().div_ceil(12);
        println!("KiB: {:?}", curve.iter().step_by(step).collect::<Vec<_>>());
    });
    highest.into_inner()
}

/// Connections that one attacker holds.
const HELD_MAX: usize = 150;

/// Publishes once, and returns the status.
fn post(stream: &mut TcpStream, channel: &str, content: &[u8]) -> std::io::Result<u16> {
    let head =
        format!("POST /channel/{channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", content.len());
    stream.write_all(&[head.as_bytes(), content].concat())?;
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer)?;
    let status = std::str::from_utf8(&answer[..length]).ok().and_then(|answer| answer.split(' ').nth(1)?.parse().ok());
    status.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// Publishes to many channels, small messages in one round and large ones in the next: where those have been shed, these
/// do not fit between what is left of them.
fn greedy(server: &Server, number: usize, round: usize, _: &mut Vec<TcpStream>) {
    let Ok(mut stream) = server.connect() else { return };
    let (channels, bytes) = [(2_000, 100), (200, 65_000), (800, 3_000), (4_000, 10), (300, 20_000)][round % 5];
    for turn in 0..channels / 2 {
        let channel = format!("room-{}", (number * 1_000 + turn * 7) % channels);
        // What JSON takes six bytes for.
        if !post(&mut stream, &channel, &vec![1; bytes]).is_ok_and(|status| status < 300) {
            return;
        }
    }
}

/// Publishes number after number to one channel, each once, from one attack to the next.
fn steady(server: &Server, _: usize, _: usize, held: &mut Vec<TcpStream>) {
    std::thread::sleep(Duration::from_millis(10));
    if held.is_empty() {
        held.extend(server.connect());
    }
    let Some(stream) = held.first_mut() else { return };
    let number = STEADY.load(Relaxed);
    match post(stream, "steady", number.to_string().as_bytes()) {
        Ok(201) => STEADY.store(number + 1, Relaxed),
        // The budget is spent; again later.
        Ok(503) => {}
        other => {
            println!("the steady publisher: {other:?}");
            held.clear();
        }
    }
}

/// The next number.
static STEADY: AtomicUsize = AtomicUsize::new(0);

/// Subscribes in every form, and never reads.
fn deaf(server: &Server, number: usize, round: usize, held: &mut Vec<TcpStream>) {
    // So that it holds each for longer than a second.
    std::thread::sleep(Duration::from_millis(10));
    let Ok(mut stream) = server.connect() else { return };
    let channel = (number * 7 + round) % 100;
    let request = match round % 4 {
        0 => format!(
            "GET /channel/room-{channel}?since=earliest HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        ),
        1 => websocket(&format!("/channel/room-{channel}?since=earliest"), ""),
        2 => websocket(&format!("/channel/room-{channel}?since=earliest&form=json"), ""),
        _ => format!("GET /channel/room-{channel}?since=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(40),
    };
    let _ = stream.write_all(request.as_bytes());
    held.push(stream);
}

/// Sends most of a head, of a content, of a message.
fn halves(server: &Server, _: usize, round: usize, held: &mut Vec<TcpStream>) {
    let Ok(mut stream) = server.connect() else { return };
    let post = "POST /channel/a HTTP/1.1\r\nHost: localhost\r\n";
    let sent = match round % 4 {
        0 => format!("{post}X: {:7000}", ""),
        1 => format!("{post}Content-Length: 65000\r\n\r\n{:60000}", ""),
        2 => format!("{post}Transfer-Encoding: chunked\r\n\r\nF000\r\n{:50000}", ""),
        _ => websocket("/channel/a", ""),
    };
    let _ = stream.write_all(sent.as_bytes());
    if round % 4 == 3 {
        let _ = stream.write_all(b"\x81\xfe\xfd\xe8\0\0\0\0");
        let _ = stream.write_all(&[b'm'; 60_000]);
    }
    held.push(stream);
}

/// Connects, and holds what it gets with as little as there is to it.
fn crowd(server: &Server, number: usize, round: usize, held: &mut Vec<TcpStream>) {
    let Ok(mut stream) = server.connect() else { return };
    let names: Vec<String> = (0..32).map(|name| format!("{number}-{}-{name}", round % 500)).collect();
    let _ = stream.write_all(websocket(&format!("/channel/{}", names.join(",")), "").as_bytes());
    held.push(stream);
}

fn websocket(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// A client of an event stream that reads.
struct Reader {
    stream: BufReader<TcpStream>,
    next: usize,
    gaps: usize,
}

impl Reader {
    fn begin(server: &Server) -> Reader {
        let mut stream = server.connect().expect("there is room at the beginning");
        let request = "GET /channel/steady HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut reader = Reader { stream: BufReader::new(stream), next: 0, gaps: 0 };
        // It has subscribed once it has a position.
        while !reader.line().starts_with("id:") {}
        reader
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).expect("who is established, and reads, is served");
        assert!(length > 0, "who is established, and reads, is not closed");
        line
    }

    /// Reads everything that has been published so far: each once and in order, and where something is missing, the
    /// gap is told.
    fn catch_up(&mut self) {
        let end = STEADY.load(Relaxed);
        let mut gap = false;
        while self.next < end {
            let line = self.line();
            gap |= line.starts_with("event: gap");
            self.gaps += usize::from(line.starts_with("event: gap"));
            let data = line.strip_prefix("data: ").map(str::trim_end);
            if let Some(number) = data.and_then(|data| data.parse::<usize>().ok()) {
                assert!(number == self.next || gap && number > self.next, "{number}, not {}", self.next);
                (self.next, gap) = (number + 1, false);
            }
        }
    }
}

#[test]
fn no_load_makes_the_process_larger_than_its_budget_allows() {
    let server = Server::start(&["--memory", "16M"]);
    println!("at the start: {} KiB", server.resident_bytes() >> 10);
    let mut reader = Reader::begin(&server);
    let loads: [Load; 5] = [
        ("greedy publishers", 4, &[(3, greedy)]),
        ("slow readers", 4, &[(2, greedy), (3, deaf)]),
        ("halves", 3, &[(4, halves), (1, greedy)]),
        ("a crowd", 3, &[(4, crowd), (1, greedy)]),
        ("all of them", 4, &[(2, greedy), (2, deaf), (2, halves), (2, crowd)]),
    ];
    for (what, seconds, attackers) in loads {
        let attackers: Vec<(usize, Attack)> = attackers.iter().copied().chain([(1, steady as Attack)]).collect();
        let highest = attack(&server, &attackers, Duration::from_secs(seconds));
        println!("{what}: at most {} KiB resident, {} KiB are allowed", highest >> 10, BOUND >> 10);
        assert!(highest < BOUND, "{what}: {highest} resident, {BOUND} allowed");
        reader.catch_up();
    }
    let metrics = server.metrics();
    let shed: Vec<&str> = metrics.lines().filter(|line| line.starts_with("redpoll_shed_")).collect();
    println!("{}, {} numbers, {} gaps", shed.join(", "), reader.next, reader.gaps);
    for step in ["history", "unheard", "requests"] {
        assert!(counter(&metrics, &format!("shed_{step}_total")) > 0, "{step}");
    }
    assert!(reader.next > 0, "somebody was served all the time");
}

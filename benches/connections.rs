//! What an idle connection costs: opens many to the real binary, each subscribed to a channel, and reads the server's
//! resident memory with half of them and with all. What is made once for all is in both, and not in the difference.
//!
//! `cargo bench --bench connections [-- NUMBER | --quick]`, 10,000 if nothing is said. Linux only: memory is read from
//! `/proc`. There is no floor to this: it holds no subscription, cursor or timer, and so has nothing to be compared in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const WEBSOCKET: &str = "GET /channel/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const COMPRESSED: &str = "GET /channel/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
const EVENT_STREAM: &str = "GET /channel/a HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
const LONG_POLL: &str = "GET /channel/a?wait=120 HTTP/1.1\r\nHost: x\r\n\r\n";

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let number = given.unwrap_or(if quick { 500 } else { 10_000 });
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("the soft limit can be raised to the hard one");
    println!(
        "{:<22} {:>11} {:>13} {:>12} {:>16} {:>9}",
        "transport", "connections", "KiB with half", "KiB with all", "bytes/connection", "seconds"
    );
    for (name, request, answers) in [
        ("WebSocket", WEBSOCKET, true),
        ("WebSocket, compressed", COMPRESSED, true),
        ("event stream", EVENT_STREAM, true),
        ("long poll", LONG_POLL, false),
    ] {
        measure(name, request, answers, number);
    }
}

/// Opens `number` connections with one request each, and prints what they cost the server.
fn measure(name: &str, request: &str, answers: bool, number: usize) {
    let (mut server, _stdout, address) = start();
    let begun = Instant::now();
    let mut connections = Vec::with_capacity(number);
    let mut hold = |count: usize| {
        connections.extend((connections.len()..count).map(|_| open(&address, request, answers)));
        // A poll that waits says nothing: what is asked after it is answered after it was read.
        assert!(String::from_utf8_lossy(&ask(&address, "/healthz")).contains("ok"));
        resident_kib(&server)
    };
    let (half, all) = (hold(number / 2), hold(number));
    let each = (all as f64 - half as f64) * 1024.0 / (number - number / 2) as f64;
    println!("{name:<22} {number:>11} {half:>13} {all:>12} {each:>16.1} {:>9.2}", begun.elapsed().as_secs_f64());
    drop(connections);
    server.kill().expect("the server can be ended");
    server.wait().expect("the server has ended");
}

/// The server, its output, which is not to be closed while it runs, and where it listens.
fn start() -> (Child, BufReader<ChildStdout>, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_redpoll"))
        .args(["--listen", "127.0.0.1:0", "--log", "error"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("the address");
    let address = line.trim().rsplit('/').next().expect("an address").to_owned();
    (server, stdout, address)
}

fn open(address: &str, request: &str, answers: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    if answers {
        let begun = stream.read(&mut [0; 1024]).expect("an answer");
        assert!(begun > 0, "the server keeps the connection");
    }
    stream
}

fn ask(address: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer is whole");
    answer
}

fn resident_kib(server: &Child) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("Linux says what a process holds");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("resident memory");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}

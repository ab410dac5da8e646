//! `redpoll bench` against servers that do wrong: each wrong is to be told, and nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tungstenite::{Message, WebSocket};

use crate::served::{BINARY, Served};

/// What a server does with the message that it should treat like the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Lose,
    Repeat,
    Reorder,
    Corrupt,
    Close,
    Refuse,
    Pause,
}

const ALL_BUT_REFUSE: [(Wrong, &str); 6] = [
    (Wrong::Nothing, ""),
    (Wrong::Lose, "lost"),
    (Wrong::Repeat, "repeated"),
    (Wrong::Reorder, "disordered"),
    (Wrong::Corrupt, "corrupted"),
    (Wrong::Close, "closed"),
];

/// The message that goes wrong: neither the first nor the last.
const AT: usize = 5;

impl Wrong {
    /// What a server says where it should say `message`, which is the `index`th; `None` ends the connection.
    fn apply<T: Clone>(self, index: usize, message: T, held: &mut Option<T>, corrupt: fn(T) -> T) -> Option<Vec<T>> {
        Some(match (self, index) {
            (Wrong::Lose, AT) => vec![],
            (Wrong::Repeat, AT) => vec![message.clone(), message],
            (Wrong::Corrupt, AT) => vec![corrupt(message)],
            (Wrong::Close, AT) => return None,
            (Wrong::Reorder, AT) => {
                *held = Some(message);
                vec![]
            }
            _ => [Some(message), held.take()].into_iter().flatten().collect(),
        })
    }
}

#[test]
fn each_wrong_of_an_echo_server_is_told() {
    for (wrong, told) in ALL_BUT_REFUSE {
        let address = serve(move |stream| echo(stream, wrong));
        let output = bench(&format!("echo ws://{address}/ -c 1 --depth 4 --count 60 --json"));
        check(&output, wrong, told, 1);
        let reason = String::from_utf8_lossy(&output.stderr);
        assert_eq!(reason.contains(&format!("1 {told}")), wrong != Wrong::Nothing, "{reason}");
    }
}

#[test]
fn each_wrong_of_an_event_stream_is_told() {
    for (wrong, told) in ALL_BUT_REFUSE.into_iter().chain([(Wrong::Refuse, "refused")]) {
        for chunked in [false, true] {
            let channel = Arc::new(Channel { wrong, chunked, streams: Mutex::default() });
            let address = serve(move |stream| channel.serve(stream));
            let output =
                bench(&format!("fanout http://{address}/a -n 3 --inflight 4 --count 20 --transport sse --json"));
            check(&output, wrong, told, if wrong == Wrong::Refuse { 1 } else { 3 });
            let reason = String::from_utf8_lossy(&output.stderr);
            assert_eq!(reason.contains("answered 403"), wrong == Wrong::Refuse, "{reason}");
        }
    }
}

/// Whether this wrong is told as what it is, so many times, and no other.
fn check(output: &Output, wrong: Wrong, told: &str, count: usize) {
    let result = json(output);
    for fault in ["repeated", "disordered", "corrupted", "closed", "refused"] {
        assert_eq!(result[fault], if fault == told { count } else { 0 }, "{wrong:?}, {fault}: {result}");
    }
    match wrong {
        // What was under way when its connection ended.
        Wrong::Close => {}
        // Which one it was cannot be known, so that it has not come either.
        Wrong::Lose | Wrong::Corrupt => assert_eq!(result["lost"], count, "{wrong:?}: {result}"),
        _ => assert_eq!(result["lost"], 0, "{wrong:?}: {result}"),
    }
    assert_eq!(output.status.success(), wrong == Wrong::Nothing, "{result}");
}

#[test]
fn what_is_on_a_schedule_is_timed_from_when_it_was_due() {
    // It stops for a while. What was due meanwhile has waited, though it came in one go with the others afterwards.
    let channel = Arc::new(Channel { wrong: Wrong::Pause, chunked: false, streams: Mutex::default() });
    let address = serve(move |stream| channel.serve(stream));
    let output = bench(&format!("fanout http://{address}/a -n 1 --rate 100 --count 60 --transport sse --json"));
    let latency = &json(&output)["latency_us"];
    // 40 messages were due in that time: one waited for all of it, and half of all for more than 50 ms.
    assert!(latency["max"].as_u64() >= Some(400_000) && latency["p50"].as_u64() > Some(50_000), "{latency}");
}

#[test]
fn all_scenarios_run_against_redpoll_itself() {
    let served = Served::start(&["--echo"]);
    let address = &served.address;
    for line in [
        format!("idle http://{address}/channel/a -n 20 --duration 200ms --transport sse"),
        format!("echo ws://{address}/echo -c 5 --size 60000 --depth 2 --count 100 --deflate"),
        format!("fanout http://{address}/channel/a -n 20 --count 50 --inflight 3"),
        format!("fanout ws://{address}/channel/b -n 20 --count 50 --rate 1000 --deflate"),
        format!(
            "fanout http://{address}/channel/c -n 20 --count 50 --transport sse --publish http://{address}/channel/c"
        ),
        format!("long-poll http://{address}/channel/d -n 20 --count 50"),
        format!("churn ws://{address}/echo -c 5 --count 100"),
        format!("churn http://{address}/channel/e -c 5 --count 100 --transport long-poll"),
    ] {
        let plot = std::env::temp_dir().join(format!("redpoll-bench-{}.svg", std::process::id()));
        let output = bench(&format!("{line} --plot {}", plot.display()));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("0 lost, 0 repeated, 0 disordered, 0 corrupted, 0 closed, 0 refused"), "{said}");
        let svg = std::fs::read_to_string(&plot).expect("it is drawn");
        assert!(svg.contains("<polyline") && svg.ends_with("</svg>\n"), "{svg}");
        std::fs::remove_file(plot).expect("it can be removed");
    }
}

#[test]
fn what_a_server_wants_to_hear_first_is_said() {
    let address = serve(|stream| {
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        if read(&mut socket) != Some(Message::from("let me in")) {
            return;
        }
        // It says something of its own, which is no message of the bench.
        socket.send(Message::from("welcome")).expect("it is taken");
        while let Some(message) = read(&mut socket) {
            socket.send(message).expect("it is taken");
        }
    });
    let line = format!("bench echo ws://{address}/ -c 2 --count 10 --json --subscribe");
    let bench = |first: &str| Command::new(BINARY).args(line.split(' ')).arg(first).output().expect("the binary runs");
    assert_eq!(json(&bench("let me in"))["messages"], 10);
    assert_eq!(json(&bench("me too"))["messages"], 0);
}

#[test]
fn an_interrupted_run_says_what_it_has_seen() {
    let served = Served::start(&["--echo"]);
    let address = &served.address;
    let url = format!("http://{address}/channel/a");
    let mut command = Command::new(BINARY);
    command.args(["bench", "fanout", &url, "-n", "5", "--duration", "60s", "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
    thread::sleep(Duration::from_millis(500));
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it still runs");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert!(json(&output)["seconds"].as_f64() < Some(30.0), "{output:?}");
}

#[test]
fn a_server_that_is_not_there_or_refuses_is_told() {
    let served = Served::start(&["--echo"]);
    let address = &served.address;
    let nowhere = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    for (line, told) in [
        (format!("idle ws://{nowhere}/"), "nothing listens there"),
        (format!("idle ws://{address}/nowhere -n 1"), "404"),
        (format!("idle ws://{address}/channel/a -n 100000000"), "accepted is a number from 1 to"),
    ] {
        let output = bench(&line);
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && reason.contains(told), "{line}: {reason}");
        assert_eq!(reason.lines().count(), 1, "{reason}");
    }
}

/// Runs a server, with a thread for each connection, until the test ends.
fn serve(connection: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = connection.clone();
            thread::spawn(move || connection(stream));
        }
    });
    address
}

fn echo(stream: TcpStream, wrong: Wrong) {
    // The first connection only asks whether there is a server.
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    let mut held = None;
    let corrupt = |message: Message| {
        let mut text = message.into_text().expect("text").to_string();
        text.replace_range(20..21, "~");
        Message::from(text)
    };
    for index in 0.. {
        let Some(message) = read(&mut socket) else { return };
        let Some(messages) = wrong.apply(index, message, &mut held, corrupt) else { return };
        messages.into_iter().for_each(|message| socket.send(message).expect("it is taken"));
    }
}

fn read(socket: &mut WebSocket<TcpStream>) -> Option<Message> {
    socket.read().ok().filter(Message::is_text)
}

/// A channel with event streams, and with POSTs.
struct Channel {
    wrong: Wrong,
    chunked: bool,
    /// Those who listen, with what is held back for each.
    streams: Mutex<Vec<(TcpStream, Option<String>)>>,
}

impl Channel {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        for index in 0.. {
            let Some(request) = Request::read(&mut reader) else { return };
            if request.is_get {
                let coding = if self.chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}\r\n");
                // Locked before it is told that it is one of them.
                let mut streams = self.streams.lock().expect("no thread has failed");
                stream.write_all(head.as_bytes()).expect("it is taken");
                streams.push((stream, None));
                return;
            }
            let is_refused = self.wrong == Wrong::Refuse && index == AT;
            let status = if is_refused { "403 Forbidden" } else { "200 OK" };
            if !is_refused {
                self.publish(index, &request.content);
            }
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").as_bytes()).expect("taken");
        }
    }

    fn publish(&self, index: usize, content: &str) {
        let corrupt = |content: String| content.replace('~', "~~");
        let send = |stream: &mut TcpStream, held: &mut Option<String>| {
            let Some(messages) = self.wrong.apply(index, content.to_owned(), held, corrupt) else { return false };
            messages.iter().for_each(|message| self.send(stream, message));
            true
        };
        if self.wrong == Wrong::Pause && index == AT {
            thread::sleep(Duration::from_millis(400));
        }
        self.streams.lock().expect("no thread has failed").retain_mut(|(stream, held)| send(stream, held));
    }

    /// Chunks end where it happens.
    fn send(&self, stream: &mut TcpStream, message: &str) {
        let event = format!("data: {message}\n\n");
        let (first, second) = event.split_at(event.len() / 3);
        for part in [first, second] {
            let part = if self.chunked { format!("{:x}\r\n{part}\r\n", part.len()) } else { part.to_owned() };
            stream.write_all(part.as_bytes()).expect("it is taken");
        }
    }
}

struct Request {
    is_get: bool,
    content: String,
}

impl Request {
    fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut content = vec![0; length];
        reader.read_exact(&mut content).ok()?;
        Some(Request { is_get: first.starts_with("GET"), content: String::from_utf8(content).ok()? })
    }
}

fn bench(line: &str) -> Output {
    let command = Command::new(BINARY).arg("bench").args(line.split(' ')).output();
    command.expect("the binary runs")
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

//! The running binary, and a client that says just what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than anything here takes, so that only what never comes fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_redpoll");

/// `redpoll serve`, ended when the test ends.
pub(crate) struct Served {
    process: Child,
    /// Held open, so that what the server prints does not break its pipe.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Served {
    pub(crate) fn start(arguments: &[&str]) -> Served {
        Served::run(Command::new(BINARY).args(["--listen", "127.0.0.1:0"]).args(arguments).env_clear())
    }

    /// Starts a command that becomes the server.
    pub(crate) fn run(command: &mut Command) -> Served {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).expect("a pipe"), 0, "it prints where it listens");
        let address = line.trim().rsplit(['/', ' ']).next().expect("an address").to_owned();
        Served { process, _stdout: stdout, address }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the kernel accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream
    }

    /// What one request on a connection of its own is answered, up to the connection's end.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The same for a method and a target, with more fields.
    pub(crate) fn say(&self, line: &str, fields: &str) -> String {
        self.ask(&format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"))
    }

    /// A figure of `/metrics`.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = self.say("GET /metrics", "");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is in {text}")).parse().expect("a number")
    }

    /// How often a limit was reached.
    pub(crate) fn reached(&self, limit: &str) -> u64 {
        self.figure(&format!("redpoll_limit_reached_total{{limit=\"{limit}\"}}"))
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("the process is ours").is_none()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `redpoll token` prints.
pub(crate) fn mint(arguments: &[&str]) -> String {
    let minted = Command::new(BINARY).arg("token").args(arguments).env_clear().output().expect("the binary runs");
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    String::from_utf8(minted.stdout).expect("text").trim().to_owned()
}

/// Reads what has come and does come, until it has `part`.
pub(crate) fn read_until(stream: &mut impl Read, part: &str) -> String {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.contains(part) {
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0] as char),
            ended => panic!("{part:?} comes after {text:?}: {ended:?}"),
        }
    }
    text
}

/// The values of a field, in the order of the answer's head.
pub(crate) fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Waits until `is_so`.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

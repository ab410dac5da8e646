//! The `redpoll` command as a person or a script meets it: the built binary, its output and its exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const TRANSPORTS: [&str; 4] = ["ws", "sse", "long-poll", "poll"];

/// Far more than anything here takes, so that only what never comes fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The binary, with no variables but those that the test sets.
fn redpoll(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redpoll"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("the binary starts"))
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().expect("the process is ours") {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the process does not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs to the end. Exit status, standard output, standard error.
fn run(command: &mut Command, input: &[u8]) -> (Option<i32>, String, String) {
    let mut process = Process::start(command.stdin(Stdio::piped()));
    let (stdout, stderr) = (text_of(process.0.stdout.take()), text_of(process.0.stderr.take()));
    // Whoever fails early does not read its input.
    let _ = process.0.stdin.take().expect("a pipe").write_all(input);
    let status = process.wait();
    (status.code(), stdout.join().expect("no panic"), stderr.join().expect("no panic"))
}

fn text_of(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut pipe = pipe.expect("a pipe");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.take_while(|line| sender.send(line.clone()).is_ok()).count();
    });
    receiver
}

/// `redpoll serve`, and where it listens.
struct Served {
    _process: Process,
    /// Held open, so that what the server prints does not break its pipe.
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Served {
        Served::start_on("127.0.0.1:0", arguments)
    }

    fn start_on(address: &str, arguments: &[&str]) -> Served {
        let command = [&["serve", "--listen", address], arguments].concat();
        let mut process = Process::start(redpoll(&command).stderr(Stdio::null()));
        let mut stdout = BufReader::new(process.0.stdout.take().expect("a pipe"));
        let mut printed = String::new();
        while !printed.contains("http://") {
            assert_ne!(stdout.read_line(&mut printed).expect("a pipe"), 0, "no address in {printed:?}");
        }
        let address = printed.lines().find_map(|line| line.split_once("http://")).expect("an address").1;
        let end = address.find(|end: char| !end.is_ascii_digit() && end != '.' && end != ':').unwrap_or(address.len());
        Served { _process: process, _stdout: stdout, address: address[..end].to_owned() }
    }

    fn url(&self, channels: &str) -> String {
        format!("http://{}/channel/{channels}", self.address)
    }

    /// Publishes with `redpoll pub`, a message a line.
    fn publish(&self, channels: &str, lines: &str) {
        let done = run(&mut redpoll(&["pub", &self.url(channels)]), lines.as_bytes());
        assert_eq!(done, (Some(0), String::new(), String::new()), "pub succeeds and says nothing");
    }
}

/// `redpoll sub`, and what it says.
struct Subscribed {
    process: Process,
    messages: Receiver<String>,
    notices: Receiver<String>,
}

impl Subscribed {
    fn start(arguments: &[&str]) -> Subscribed {
        let mut process = Process::start(&mut redpoll(&[&["sub"], arguments].concat()));
        let messages = lines_of(process.0.stdout.take().expect("a pipe"));
        let notices = lines_of(process.0.stderr.take().expect("a pipe"));
        Subscribed { process, messages, notices }
    }

    fn expect(&self, lines: &str) {
        for line in lines.lines() {
            assert_eq!(self.messages.recv_timeout(DEADLINE).expect("a message"), line);
        }
    }

    /// Waits for a line on standard error that has `part`.
    fn expect_notice(&self, part: &str) {
        while !self.notices.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{part:?} is told")).contains(part) {}
    }

    /// Ends, and has printed nothing more.
    fn expect_end(mut self, code: i32) {
        assert_eq!(self.process.wait().code(), Some(code));
        assert_eq!(self.messages.iter().next(), None, "nothing more is printed");
    }
}

/// Takes connections one after the other. What `answer` returns for a request's head is the answer, and the connection
/// ends; without one, the request goes on to `address`. The requests' heads come out of the receiver.
fn proxy(
    address: &str,
    mut answer: impl FnMut(&str) -> Option<&'static str> + Send + 'static,
) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (own, address) = (listener.local_addr().expect("an address").to_string(), address.to_owned());
    let (sender, heads) = channel();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let Some(request) = read_request(&mut client) else { continue };
            let head = String::from_utf8_lossy(&request).into_owned();
            let canned = answer(&head);
            let _ = sender.send(head);
            match canned {
                Some(canned) => drop(client.write_all(canned.as_bytes())),
                None => pass_on(client, &address, &request),
            }
        }
    });
    (own, heads)
}

/// A head and the content that its `Content-Length` announces. `None` where the connection ends before.
fn read_request(client: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let byte_more = |bytes: &mut Vec<u8>, client: &mut dyn Read| {
        let mut byte = [0];
        client.read_exact(&mut byte).ok().map(|()| bytes.push(byte[0]))
    };
    while !bytes.ends_with(b"\r\n\r\n") {
        byte_more(&mut bytes, client)?;
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    for _ in 0..field(&head, "Content-Length").map_or(0, |length| length.parse().expect("a number")) {
        byte_more(&mut bytes, client)?;
    }
    Some(bytes)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn pass_on(client: TcpStream, address: &str, request: &[u8]) {
    let mut server = TcpStream::connect(address).expect("the server accepts");
    server.write_all(request).expect("the server reads");
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    };
    copy(client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
    copy(server, client);
}

/// Exit status 2, nothing on standard output, one line on standard error that has all of `parts`.
fn assert_usage_error(command: &mut Command, parts: &[&str]) {
    let (code, stdout, stderr) = run(command, b"");
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command:?}: {stderr}");
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "{command:?} says one line: {stderr:?}");
    for part in parts {
        assert!(stderr.contains(part), "{command:?} names {part:?}: {stderr}");
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_the_flag_the_value_and_what_is_accepted() {
    let table: [(&str, &[&str], &str); 30] = [
        ("secret-file", &["/does/not/exist", "/", "/dev/zero", "/dev/null"], "accepted"),
        ("listen", &["8080", "localhost", ":80", "127.0.0.1:65536", "unix:", "[::]:x", "::1:80"], "IP:PORT"),
        ("listen", &["example.com:80", "a:80", "a.localhost:80", "*:80", "127.1:80"], "localhost:PORT"),
        ("history", &["x", "-1", "1.5", "4294967296", "1K", "chat=5", "chat*=x"], "number"),
        ("history-bytes", &["x", "64KB", "1T", "99999999999999999999", "chat*="], "size"),
        ("history-age", &["0s", "5", "5d", "9999999999999h", "chat*=5"], "time"),
        ("max-connections", &["0", "x", "-1", "1K"], "number"),
        ("max-channels", &["0", "x", "+1"], "number"),
        ("max-per-address", &["0", "x", "-1", "4294967296"], "number"),
        ("publish-rate", &["0", "x", "1/s", "1000001"], "number"),
        ("behind-proxy", &["-1", "x", "256", "10.0.0.1"], "number"),
        ("deflate", &["", "maybe", "9"], "on or off"),
        ("deflate-from", &["-1", "small"], "size"),
        ("max-message", &["0", "64k0", "1.5M", "18446744073709551616"], "size"),
        ("max-head", &["0", "1", "1G", "x"], "size"),
        ("memory", &["0", "1000K", "none", "16MB"], "size"),
        ("ping", &["0s", "0", "25", "1.5s", "-1s", "x"], "time"),
        ("head-timeout", &["0ms", "x"], "time"),
        ("keep-alive", &["0h", "60"], "time"),
        ("drain", &["x", "5", "-5s"], "time"),
        ("origin", &["example.com", "http://a/b", "null"], "SCHEME://HOST"),
        ("html", &["/does/not/exist"], "folder"),
        ("chroot", &["/does/not/exist", "/etc/passwd"], "folder"),
        ("user", &["", "no-such-user", "-1", "4294967296", "65534:65534"], "a user in /etc/passwd"),
        ("user", &["root", "0"], "not root"),
        ("log", &["loud", "INFO", "off"], "debug"),
        ("history", &["a/b*=5", "a b*=5"], "A-Z"),
        ("listen", &["a\nb"], "accepted"),
        ("ping", &[""], "accepted"),
        ("ping", &["--open"], "accepted"),
    ];
    for (flag, values, accepted) in table {
        for value in values {
            let (long, shown) = (format!("--{flag}"), format!("{value:?}"));
            assert_usage_error(&mut redpoll(&["serve", &long, value]), &[&long, &shown, accepted]);
            // An empty variable is none.
            if !value.is_empty() {
                let variable = format!("REDPOLL_{}", flag.replace('-', "_").to_uppercase());
                assert_usage_error(redpoll(&[]).env(&variable, value), &[&variable, &shown, accepted]);
            }
        }
    }
    assert_usage_error(redpoll(&[]).env("REDPOLL_OPEN", "perhaps"), &["REDPOLL_OPEN", "\"perhaps\"", "on or off"]);
    assert_usage_error(&mut redpoll(&["--open=1"]), &["--open", "\"1\"", "no value"]);
    assert_usage_error(&mut redpoll(&["--ping"]), &["--ping", "TIME"]);
}

#[test]
fn an_unknown_flag_or_command_is_one_line_that_names_it() {
    assert_usage_error(&mut redpoll(&["--max-mesage", "1"]), &["--max-mesage", "--max-message"]);
    assert_usage_error(&mut redpoll(&["-x"]), &["-x"]);
    assert_usage_error(&mut redpoll(&["serve", "again"]), &["again"]);
    for command in ["tokens", "a\nb", ""] {
        let shown = format!("{command:?}");
        assert_usage_error(&mut redpoll(&[command]), &["unknown command", &shown, "serve", "pub", "sub", "bench"]);
    }
}

#[test]
fn pub_and_sub_refuse_what_they_cannot_use() {
    let url = "http://127.0.0.1:1/channel/a";
    let table: [(&[&str], &[&str]); 21] = [
        (&["pub"], &["URL"]),
        (&["sub"], &["URL"]),
        (&["pub", "https://a/channel/a", "x"], &["https://a/channel/a", "https is not supported yet"]),
        (&["sub", "a/channel/a"], &["a/channel/a", "http://HOST"]),
        (&["sub", "http://a/b"], &["http://a/b", "http://HOST"]),
        (&["sub", "http://a..b/channel/a"], &["http://a..b/channel/a", "HOST is a name"]),
        (&["pub", "http://127.1/channel/a", "x"], &["http://127.1/channel/a", "IPv4 address"]),
        (&["pub", "http://a/channel/a*", "x"], &["a*", "A-Z"]),
        (&["pub", url, "x", "y"], &["y"]),
        (&["pub", url, "x", "--event", "gap"], &["--event", "gap", "reserved"]),
        (&["pub", url, "x", "--json"], &["--json"]),
        (&["pub", url, "x", "--binary=1"], &["--binary", "1"]),
        (&["sub", url, "--transport", "tcp"], &["--transport", "tcp", "long-poll"]),
        (&["sub", url, "--since", "yesterday"], &["--since", "yesterday", "earliest"]),
        (&["sub", "http://a/channel/a,b", "--since", "00000001-2"], &["--since", "2 channels"]),
        (&["sub", url, "--count", "0"], &["--count", "0", "1"]),
        (&["sub", url, "--count", "x"], &["--count", "x"]),
        (&["sub", url, "--name", ""], &["--name", "1 to 128 bytes"]),
        (&["sub", url, "--presence=yes"], &["--presence", "no value"]),
        (&["sub", url, "--wait", "1"], &["--wait"]),
        (&["sub", url, "x"], &["x"]),
    ];
    for (arguments, parts) in table {
        assert_usage_error(&mut redpoll(arguments), parts);
    }
}

#[test]
fn help_fits_80_columns_and_lists_every_flag() {
    let serve = "listen open html history history-bytes history-age max-connections max-per-address publish-rate \
        behind-proxy max-channels max-message memory \
        deflate deflate-from max-head ping head-timeout keep-alive drain origin secret secret-file \
        echo status log help version";
    let table: [(&[&str], &str); 6] = [
        (&["token", "--help"], "secret secret-file subscribe publish status sub expires forever help"),
        (&["--help"], serve),
        (&["-h"], serve),
        (&["serve", "--help"], serve),
        (&["pub", "--help"], "event binary token help"),
        (&["sub", "--help"], "transport since json count exec presence name token help"),
    ];
    for (arguments, flags) in table {
        let (code, help, stderr) = run(&mut redpoll(arguments), b"");
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        for flag in flags.split_whitespace() {
            let listed = format!("  --{flag} ");
            assert!(help.lines().any(|line| line.starts_with(&listed)), "{arguments:?} lists --{flag}: {help}");
        }
    }
    let version = format!("redpoll {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&mut redpoll(&["--version"]), b""), (Some(0), version, String::new()));
}

#[test]
fn messages_arrive_once_and_in_order_on_every_transport() {
    let served = Served::start(&[]);
    served.publish("tea", "1\n2\n3\n");
    let subscribed = TRANSPORTS.map(|transport| {
        Subscribed::start(&[&served.url("tea"), "--transport", transport, "--since", "earliest", "--count", "7"])
    });
    subscribed.iter().for_each(|subscribed| subscribed.expect("1\n2\n3"));
    // They are there: what comes now is live.
    served.publish("tea", "four\n\n  six  \nsiebenß");
    for subscribed in subscribed {
        subscribed.expect("four\n\n  six  \nsiebenß");
        subscribed.expect_end(0);
    }
}

#[test]
fn only_what_is_new_comes_by_default() {
    let served = Served::start(&[]);
    served.publish("tea", "old");
    let subscribed = Subscribed::start(&[&served.url("tea"), "--count", "1"]);
    let until = Instant::now() + DEADLINE;
    while !asks(&served.address, "GET /channels HTTP/1.1\r\nHost: localhost").contains("\"websocket\":1") {
        assert!(Instant::now() < until, "the subscriber is counted");
    }
    served.publish("tea", "new");
    subscribed.expect("new");
    subscribed.expect_end(0);
}

fn asks(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn localhost_is_the_loopback_interface_on_both_sides() {
    let served = Served::start_on("localhost:0", &[]);
    let (host, port) = served.address.rsplit_once(':').expect("a port");
    assert_eq!(host, "127.0.0.1");
    for name in ["localhost", "LOCALHOST.", "tea.localhost"] {
        let url = format!("http://{name}:{port}/channel/tea");
        assert_eq!(run(&mut redpoll(&["pub", &url, name]), b""), (Some(0), String::new(), String::new()));
    }
    let url = format!("http://localhost:{port}/channel/tea");
    for transport in TRANSPORTS {
        let arguments = [&url, "--transport", transport, "--since", "earliest", "--count", "3"];
        let subscribed = Subscribed::start(&arguments);
        subscribed.expect("localhost\nLOCALHOST.\ntea.localhost");
        subscribed.expect_end(0);
    }
}

#[test]
fn several_channels_and_envelopes_are_the_same_on_every_transport() {
    let served = Served::start(&[]);
    served.publish("a", "to a");
    let binary = ["pub", &served.url("b"), "\u{7f}?>", "--binary", "--event", "e f&g"];
    assert_eq!(run(&mut redpoll(&binary), b""), (Some(0), String::new(), String::new()));
    let mut all: Vec<String> = Vec::new();
    for transport in TRANSPORTS {
        let url = served.url("a,b");
        let arguments = [&url, "--transport", transport, "--since", "earliest", "--json", "--count", "2"];
        let subscribed = Subscribed::start(&arguments);
        let lines: Vec<String> = (0..2).map(|_| subscribed.messages.recv_timeout(DEADLINE).expect("a line")).collect();
        subscribed.expect_end(0);
        all.push(lines.join("\n"));
    }
    assert!(all.iter().all(|lines| *lines == all[0]), "{all:?}");
    assert!(all[0].starts_with(r#"{"channel":"a","id":""#) && all[0].contains(r#"","data":"to a"}"#), "{}", all[0]);
    assert!(all[0].ends_with(r#","event":"e f&g","base64":"fz8+"}"#), "{}", all[0]);
    let raw = Subscribed::start(&[&served.url("b"), "--since", "last", "--count", "1"]);
    raw.expect("\u{7f}?>");
}

#[test]
fn a_restart_of_the_server_is_told_as_a_gap_and_delivery_goes_on() {
    let served = Served::start(&["--drain", "0s"]);
    let address = served.address.clone();
    served.publish("tea", "before");
    let subscribed = TRANSPORTS.map(|transport| {
        Subscribed::start(&[&served.url("tea"), "--transport", transport, "--since", "earliest", "--count", "2"])
    });
    subscribed.iter().for_each(|subscribed| subscribed.expect("before"));
    drop(served);
    subscribed.iter().for_each(|subscribed| subscribed.expect_notice("again in"));
    let served = Served::start_on(&address, &[]);
    subscribed.iter().for_each(|subscribed| subscribed.expect_notice("gap in \"tea\""));
    served.publish("tea", "after");
    for subscribed in subscribed {
        subscribed.expect("after");
        subscribed.expect_end(0);
    }
}

#[test]
fn a_lost_connection_costs_and_repeats_nothing() {
    for transport in TRANSPORTS {
        let served = Served::start(&[]);
        served.publish("tea", "1\n2\n");
        let (sender, cut) = channel::<TcpStream>();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (address, own) = (served.address.clone(), listener.local_addr().expect("an address"));
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let Some(request) = read_request(&mut client) else { continue };
                let _ = sender.send(client.try_clone().expect("a copy"));
                pass_on(client, &address, &request);
            }
        });
        let url = format!("http://{own}/channel/tea");
        let arguments = [&url, "--transport", transport, "--since", "earliest", "--count", "4"];
        let subscribed = Subscribed::start(&arguments);
        subscribed.expect("1\n2");
        let connection = cut.recv_timeout(DEADLINE).expect("a connection");
        connection.shutdown(std::net::Shutdown::Both).expect("it can be cut");
        served.publish("tea", "3\n4\n");
        subscribed.expect("3\n4");
        assert!(subscribed.notices.try_iter().all(|notice| !notice.contains("gap")), "{transport}");
        subscribed.expect_end(0);
    }
}

#[test]
fn a_proxy_that_refuses_one_transport_gets_the_next() {
    const REFUSAL: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let served = Served::start(&[]);
    served.publish("tea", "1");
    let refused: [(&'static [&'static str], &str); 3] = [
        (&[], "Upgrade: websocket"),
        (&["Upgrade: websocket"], "text/event-stream"),
        (&["Upgrade: websocket", "text/event-stream"], "wait="),
    ];
    for (refused, used) in refused {
        let refuses = |head: &str| refused.iter().any(|part| head.contains(part)).then_some(REFUSAL);
        let (own, heads) = proxy(&served.address, refuses);
        let url = format!("http://{own}/channel/tea");
        let subscribed = Subscribed::start(&[&url, "--since", "earliest", "--count", "1"]);
        subscribed.expect("1");
        subscribed.expect_end(0);
        let last = heads.try_iter().last().expect("a request");
        assert!(last.contains(used), "{used}: {last}");
    }
}

#[test]
fn a_refusal_on_the_only_transport_ends_with_status_1() {
    const PROBLEM: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 35\r\n\
        Connection: close\r\n\r\n{\"detail\":\"no such\\u001b[2J place\"}";
    let (own, _heads) = proxy("", |_| Some(PROBLEM));
    let url = format!("http://{own}/channel/tea");
    let mut commands = TRANSPORTS.map(|transport| vec!["sub", &url, "--transport", transport]).to_vec();
    commands.push(vec!["pub", &url, "x"]);
    commands.push(vec!["sub", &url]);
    for command in commands {
        let (code, stdout, stderr) = run(&mut redpoll(&command), b"");
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command:?}: {stderr}");
        assert!(stderr.contains("404") && stderr.contains("no such") && !stderr.contains('\u{1b}'), "{stderr}");
    }
}

#[test]
fn who_comes_and_goes_is_told_beside_the_messages_on_every_transport() {
    let served = Served::start(&["--ping", "1s"]);
    let url = served.url("tea");
    let observe = |transport| {
        let arguments = [&url, "--transport", transport, "--presence", "--since", "earliest", "--count", "2"];
        (Subscribed::start(&arguments), Subscribed::start(&[&arguments[..], &["--json"]].concat()))
    };
    let observers = ["auto", "ws", "sse", "long-poll", "poll"].map(observe);
    let commanded = Subscribed::start(&[
        &url,
        "--presence",
        "--json",
        "--since",
        "earliest",
        "--count",
        "2",
        "--exec",
        "cat; echo",
    ]);
    served.publish("tea", "first");
    for (told, enveloped) in &observers {
        told.expect("first");
        assert!(enveloped.messages.recv_timeout(DEADLINE).expect("a message").contains(r#""data":"first""#));
    }
    assert!(commanded.messages.recv_timeout(DEADLINE).expect("a message").contains(r#""data":"first""#));
    let ann = Subscribed::start(&[&url, "--name", "ann b", "--transport", "ws"]);
    for (told, enveloped) in &observers {
        told.expect_notice("ann b joined (ws)");
        enveloped.expect(r#"{"channel":"tea","join":{"name":"ann b","transport":"ws"}}"#);
    }
    commanded.expect_notice("ann b joined (ws)");
    drop(ann);
    for (told, enveloped) in &observers {
        told.expect_notice("ann b left");
        enveloped.expect(r#"{"channel":"tea","leave":{"name":"ann b","transport":"ws"}}"#);
    }
    served.publish("tea", "second");
    for (told, enveloped) in observers {
        told.expect("second");
        told.expect_end(0);
        assert!(enveloped.messages.recv_timeout(DEADLINE).expect("a message").contains(r#""data":"second""#));
        enveloped.expect_end(0);
    }
    assert!(commanded.messages.recv_timeout(DEADLINE).expect("a message").contains(r#""data":"second""#));
    commanded.expect_end(0);
}

/// Nothing that a new server tells fits to what an observer knows: so it is told how many are there.
#[test]
fn an_observer_is_told_how_many_are_there_when_it_has_missed_who() {
    let mut served = Served::start(&[]);
    let address = served.address.clone();
    let url = served.url("tea");
    let observers = ["ws", "sse", "long-poll"].map(|transport| {
        Subscribed::start(&[&url, "--transport", transport, "--presence", "--since", "earliest", "--count", "2"])
    });
    served.publish("tea", "first");
    observers.iter().for_each(|observer| observer.expect("first"));
    drop(served);
    served = Served::start_on(&address, &[]);
    for observer in &observers {
        observer.expect_notice("0 are here now");
    }
    let _ann = Subscribed::start(&[&url, "--name", "ann"]);
    observers.iter().for_each(|observer| observer.expect_notice("ann joined (ws)"));
    served.publish("tea", "second");
    for observer in observers {
        observer.expect("second");
        observer.expect_end(0);
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let served = Served::start(&[]);
    served.publish("tea", "1");
    for transport in TRANSPORTS {
        let mut first = true;
        let (own, _heads) = proxy(&served.address, move |_| std::mem::take(&mut first).then_some(BUSY));
        let url = format!("http://{own}/channel/tea");
        let arguments = [&url, "--transport", transport, "--since", "earliest", "--count", "1"];
        let subscribed = Subscribed::start(&arguments);
        subscribed.expect_notice("503");
        subscribed.expect("1");
        subscribed.expect_end(0);
    }
}

#[test]
fn a_retry_after_a_broken_connection_has_the_same_idempotency_key() {
    let served = Served::start(&[]);
    let mut answers = [Some(""), Some("HTTP/1.1 503 X\r\nRetry-After: 0\r\n\r\n"), None].into_iter();
    let (own, heads) = proxy(&served.address, move |_| answers.next().flatten());
    let (code, _, stderr) = run(&mut redpoll(&["pub", &format!("http://{own}/channel/tea"), "once"]), b"");
    assert_eq!(code, Some(0), "{stderr}");
    let heads: Vec<String> = heads.try_iter().collect();
    let keys: Vec<&str> = heads.iter().filter_map(|head| field(head, "Idempotency-Key")).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0] && key.len() >= 16), "{keys:?}");
}

#[test]
fn a_server_that_asks_for_more_time_than_it_knows_a_key_is_not_waited_for() {
    const BUSY: &str = "HTTP/1.1 503 X\r\nRetry-After: 18446744073709551615\r\nContent-Length: 0\r\n\r\n";
    let (own, heads) = proxy("", |_| Some(BUSY));
    let (code, _, stderr) = run(&mut redpoll(&["pub", &format!("http://{own}/channel/tea"), "x"]), b"");
    assert!(code == Some(1) && stderr.contains("503"), "{code:?} {stderr}");
    assert_eq!(heads.try_iter().count(), 1);
}

#[test]
fn a_command_gets_each_message_on_its_standard_input_in_order() {
    let served = Served::start(&[]);
    let lines = (0..20).map(|number| format!("{number}\n")).collect::<String>();
    served.publish("tea", &lines);
    let (code, _, stderr) = run(&mut redpoll(&["pub", &served.url("tea"), "--event", "stop", "last"]), b"");
    assert_eq!(code, Some(0), "{stderr}");
    let command = r#"cat; echo " in $REDPOLL_CHANNEL, $(expr length "$REDPOLL_ID" '>' 9), $REDPOLL_EVENT.""#;
    let arguments = [&served.url("tea"), "--since", "earliest", "--count", "21", "--exec", command];
    let subscribed = Subscribed::start(&arguments);
    for number in 0..20 {
        subscribed.expect(&format!("{number} in tea, 1, ."));
    }
    subscribed.expect("last in tea, 1, stop.");
    subscribed.expect_end(0);
}

#[test]
fn a_command_that_fails_is_told_and_the_next_message_goes_to_the_next() {
    let served = Served::start(&["--history-bytes", "1M", "--max-message", "1M"]);
    // More than a pipe holds: the first command ends without having read it.
    served.publish("tea", &format!("{}\n2\n", "x".repeat(200_000)));
    let command = r#"[ "$(head -c 1)" = x ] && exit 3; echo taken"#;
    let subscribed = Subscribed::start(&[&served.url("tea"), "--since", "earliest", "--count", "2", "--exec", command]);
    subscribed.expect_notice("exit status: 3");
    subscribed.expect("taken");
    subscribed.expect_end(0);
}

#[test]
fn a_command_gets_the_envelope_where_that_is_asked_for() {
    let served = Served::start(&[]);
    served.publish("tea", "hello");
    let command = r#"echo "$(cat) $REDPOLL_ID""#;
    let url = served.url("tea");
    let subscribed = Subscribed::start(&[&url, "--since", "earliest", "--count", "1", "--json", "--exec", command]);
    let line = subscribed.messages.recv_timeout(DEADLINE).expect("an envelope");
    let id = line.rsplit(' ').next().expect("an id");
    assert_eq!(line, format!(r#"{{"channel":"tea","id":"{id}","data":"hello"}} {id}"#));
    subscribed.expect_end(0);
}

#[test]
fn a_message_whose_answer_was_lost_is_published_once() {
    let served = Served::start(&[]);
    let address = served.address.clone();
    let mut is_lost = false;
    // The first request reaches the server; its answer does not come back.
    let lose_first = move |request: &str| {
        (!std::mem::replace(&mut is_lost, true)).then(|| {
            let mut server = TcpStream::connect(&address).expect("the server accepts");
            server.write_all(request.as_bytes()).expect("the server reads");
            assert_ne!(server.read(&mut [0; 12]).expect("an answer"), 0);
            ""
        })
    };
    let (own, _heads) = proxy(&served.address, lose_first);
    let (code, _, stderr) = run(&mut redpoll(&["pub", &format!("http://{own}/channel/tea")]), b"first\n");
    assert_eq!(code, Some(0), "{stderr}");
    served.publish("tea", "second");
    let subscribed = Subscribed::start(&[&served.url("tea"), "--since", "earliest", "--count", "2"]);
    subscribed.expect("first\nsecond");
    subscribed.expect_end(0);
}

#[test]
fn lines_go_over_one_connection_each_with_its_own_key() {
    let served = Served::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/channel/tea", listener.local_addr().expect("an address"));
    let requests = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut requests = Vec::new();
        while let Some(request) = read_request(&mut client) {
            requests.push(String::from_utf8_lossy(&request).into_owned());
            client.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}").expect("the client reads");
        }
        requests
    });
    assert_eq!(run(&mut redpoll(&["pub", &url]), b"a\n\nc").0, Some(0));
    let requests = requests.join().expect("no panic");
    let contents: Vec<&str> = requests.iter().filter_map(|request| request.split("\r\n\r\n").nth(1)).collect();
    assert_eq!(contents, ["a", "", "c"]);
    let mut keys: Vec<&str> = requests.iter().filter_map(|request| field(request, "Idempotency-Key")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3);
    drop(served);
}

#[test]
fn a_refused_message_is_told_and_nothing_after_it_is_published() {
    let served = Served::start(&["--max-message", "10"]);
    let (code, stdout, stderr) = run(&mut redpoll(&["pub", &served.url("tea")]), b"short\nmuch too long\nnever\n");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("line 2: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains("413") && stderr.contains("--max-message"), "{stderr}");
    let (code, _, stderr) = run(&mut redpoll(&["pub", &served.url("tea")]), b"\xff\n");
    assert!(code == Some(1) && stderr.contains("415"), "{stderr}");
    served.publish("tea", "end");
    let subscribed = Subscribed::start(&[&served.url("tea"), "--since", "earliest", "--count", "2"]);
    subscribed.expect("short\nend");
}

#[test]
fn nobody_there_is_told_by_pub_in_the_end() {
    // Bound and closed again: nothing listens there.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    let (code, _, stderr) = run(&mut redpoll(&["pub", &format!("http://{address}/channel/tea"), "x"]), b"");
    assert!(code == Some(1) && !stderr.is_empty(), "{code:?} {stderr}");
}

#[test]
fn a_server_outlives_whoever_read_its_output_and_its_log() {
    let mut process = Process::start(&mut redpoll(&["--listen", "127.0.0.1:0", "--log", "trace"]));
    let mut stdout = BufReader::new(process.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the address");
    let address = line.trim().rsplit('/').next().expect("an address");
    drop((stdout, process.0.stderr.take()));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).expect("it still listens");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
}

#[test]
fn a_closed_pipe_ends_sub_quietly() {
    let served = Served::start(&[]);
    served.publish("tea", "1");
    let mut process = Process::start(&mut redpoll(&["sub", &served.url("tea"), "--since", "earliest"]));
    let stderr = text_of(process.0.stderr.take());
    let mut stdout = BufReader::new(process.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    served.publish("tea", "2");
    assert_eq!((process.wait().code(), line.as_str()), (Some(0), "1\n"));
    assert_eq!(stderr.join().expect("no panic"), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_message_that_cannot_be_written_ends_sub_with_status_1() {
    let served = Served::start(&[]);
    served.publish("tea", "1");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
    let arguments = ["sub", &served.url("tea"), "--since", "earliest", "--count", "1"];
    let output = redpoll(&arguments).stdout(full).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("redpoll: cannot write the message: ") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_folder_of_pages_takes_the_place_of_the_built_in_ones_and_of_nothing_else() {
    let folder = std::env::temp_dir().join(format!("redpoll-html-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("css")).expect("a folder can be made");
    for (name, text) in [("index.html", "the index"), ("home.html", "hello {{ name }}"), ("css/a.css", "the style")] {
        std::fs::write(folder.join(name), text).expect("a file can be written");
    }
    let served = Served::start(&["--html", &folder.display().to_string()]);
    for (path, status, content) in [
        ("/", "200", "the index"),
        ("/home/?name=%3Cb%3E", "200", "hello &lt;b&gt;"),
        ("/css/a.css", "200", "the style"),
        ("/nothing.css", "404", "no file"),
        ("/css/../index.html", "404", "no file"),
        ("/css", "404", "no file"),
        ("/healthz", "200", "ok"),
        ("/channel/a", "200", "cursor"),
    ] {
        let answer = asks(&served.address, &format!("GET {path} HTTP/1.1\r\nHost: localhost"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(content), "{path} => {answer}");
    }
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// Head and content of what is at `path`.
fn page(address: &str, method: &str, path: &str, fields: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 2;
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.split_off(end + 2))
}

#[test]
fn a_built_in_page_is_the_same_in_both_codings_and_each_has_its_own_tag() {
    const GZIP: &str = "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n";
    let served = Served::start(&[]);
    for (path, file) in [("/", "index.html"), ("/redpoll.js", "redpoll.js"), ("/favicon.svg", "favicon.svg")] {
        let original = std::fs::read(format!("{}/html/{file}", env!("CARGO_MANIFEST_DIR"))).expect("a page");
        let (plain, content) = page(&served.address, "GET", path, "Accept-Encoding: gzip;q=0.5, identity\r\n");
        assert!(content == original && field(&plain, "content-encoding").is_none(), "{plain}");
        let (coded, content) = page(&served.address, "GET", path, GZIP);
        if cfg!(feature = "deflate") {
            assert_eq!(field(&coded, "content-encoding"), Some("gzip"));
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(&content[..]).read_to_end(&mut inflated).expect("gzip");
            assert!(inflated == original && content.len() < original.len(), "{coded}");
            assert_ne!(field(&plain, "etag"), field(&coded, "etag"));
            assert_eq!([&plain, &coded].map(|head| field(head, "vary")), [Some("Accept-Encoding, Origin"); 2]);
        }
        for (fields, of_get) in [("", &plain), (GZIP, &coded)] {
            let (head, content) = page(&served.address, "HEAD", path, fields);
            assert_eq!((head.as_str(), content.len()), (of_get.as_str(), 0), "the head of HEAD is that of GET");
        }
    }
}

#[test]
fn the_browser_client_is_less_than_8_kb_and_its_types_are_typescript() {
    let served = Served::start(&[]);
    let (types, _) = page(&served.address, "GET", "/redpoll.d.ts", "");
    assert_eq!(field(&types, "content-type"), Some("text/typescript; charset=utf-8"));
    let (_, client) = page(&served.address, "GET", "/redpoll.js", "Accept-Encoding: gzip\r\n");
    assert!(cfg!(not(feature = "deflate")) || client.len() < 8192, "{} bytes", client.len());
}

#[test]
fn a_page_that_is_known_is_not_sent_again_in_the_coding_in_which_it_is_known() {
    let served = Served::start(&[]);
    let ask = |coding: &str, tags: &str| {
        let fields = format!("Accept-Encoding: {coding}\r\nIf-None-Match: {tags}\r\n");
        let (head, content) = page(&served.address, "GET", "/style.css", &fields);
        let tag = field(&head, "etag").expect("every answer has the tag").to_owned();
        assert_eq!(content.is_empty(), head.starts_with("HTTP/1.1 304 "), "{head}");
        assert_eq!(field(&head, "cache-control"), Some("no-cache"), "{head}");
        (content.is_empty(), tag)
    };
    let ((_, plain), (_, coded)) = (ask("identity", "\"x\""), ask("gzip", "\"x\""));
    for (coding, tags, known) in [
        ("identity", plain.clone(), true),
        ("gzip", coded.clone(), true),
        ("gzip", format!("{plain}, {coded}"), true),
        ("gzip", format!("W/{coded}"), true),
        ("gzip", "*".to_owned(), true),
        ("gzip", plain.clone(), plain == coded),
        ("identity", coded.clone(), plain == coded),
    ] {
        let tag = if coding == "gzip" { &coded } else { &plain };
        assert_eq!(ask(coding, &tags), (known, tag.clone()), "{coding} {tags}");
    }
}

const SECRET: &str = "a secret of 32 bytes, no fewer..";

/// A token that ends in a while, with these rights: `"publish":["a"]`.
fn token(rights: &str) -> String {
    token_until(3_600, rights)
}

fn token_until(seconds: u64, rights: &str) -> String {
    let exp = now_s() + seconds;
    signed(SECRET, &format!(r#"{{"exp":{exp},"sub":"ann","redpoll":{{{rights}}}}}"#))
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Not by the library, which might be wrong in both directions.
fn signed(secret: &str, claims: &str) -> String {
    use base64::Engine;
    use hmac::{KeyInit, Mac};
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", base64(br#"{"alg":"HS256"}"#), base64(claims.as_bytes()));
    let mac = <hmac::Hmac<sha2::Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("any length will do");
    format!("{signed}.{}", base64(&mac.chain_update(&signed).finalize().into_bytes()))
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// An answer as far as it comes with its head. The connection stays open with the stream.
fn ask_open(address: &str, line: &str, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n").as_bytes()).expect("it is read");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        answer.push(byte[0]);
    }
    (stream, String::from_utf8(answer).expect("a head is text"))
}

/// Status, `WWW-Authenticate` and the whole answer. Of what goes on, only the head.
fn outcome(address: &str, line: &str, fields: &str) -> (u16, String, String) {
    let (mut stream, mut answer) = ask_open(address, line, fields);
    let length = field(&answer, "Content-Length").map_or(0, |length| length.parse().expect("a number"));
    let mut content = vec![0; if line.starts_with("HEAD") { 0 } else { length }];
    stream.read_exact(&mut content).expect("the content");
    let challenge = field(&answer, "WWW-Authenticate").unwrap_or_default().to_owned();
    let status = answer[9..12].parse().expect("a status");
    answer.push_str(&String::from_utf8_lossy(&content));
    (status, challenge, answer)
}

/// What asks for each thing that is guarded, and what it needs for the channel `a`. A GET comes first.
fn guarded_requests() -> Vec<(&'static str, String, &'static str)> {
    let [subscribe, publish, status] = [r#""subscribe":["a"]"#, r#""publish":["a"]"#, r#""status":true"#];
    let post = "Content-Length: 1\r\n\r\nx";
    let tutorial = [r#""subscribe":["tutorial"]"#, r#""publish":["tutorial"]"#];
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ncontent=x";
    vec![
        ("GET /channel/a", UPGRADE.to_owned(), subscribe),
        ("GET /channel/a", format!("{UPGRADE}Sec-WebSocket-Protocol: redpoll.v1\r\n"), subscribe),
        ("GET /channel/a", "Accept: text/event-stream\r\n".into(), subscribe),
        ("GET /channel/a?wait=1", String::new(), subscribe),
        ("GET /channel/a", String::new(), subscribe),
        ("HEAD /channel/a", String::new(), subscribe),
        ("POST /channel/a", post.into(), publish),
        ("PUT /channel/a", post.into(), publish),
        ("DELETE /channel/a", String::new(), publish),
        ("GET /channel/a/members", String::new(), subscribe),
        ("HEAD /channel/a/members", String::new(), subscribe),
        ("GET /channels", String::new(), status),
        ("GET /metrics", String::new(), status),
        ("GET /home/?name=ann", String::new(), tutorial[0]),
        ("HEAD /get_msg/?name=ann", String::new(), tutorial[0]),
        ("POST /send_msg/", form.into(), tutorial[1]),
        ("GET /echo", UPGRADE.into(), ""),
    ]
}

#[test]
fn whatever_is_guarded_needs_a_good_token_with_the_right() {
    let served = Served::start(&["--secret", SECRET, "--echo"]);
    let (expired, strange) = (token_until(0, r#""publish":["a"]"#), signed(&SECRET[1..], r#"{"exp":99999999999}"#));
    let unsigned = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTk5fQ.";
    let invalid = "Bearer error=\"invalid_token\"";
    for (line, fields, rights) in guarded_requests() {
        let ask = |token: &str| outcome(&served.address, line, &format!("Authorization: Bearer {token}\r\n{fields}"));
        let (status, challenge, answer) = outcome(&served.address, line, &fields);
        assert_eq!((status, challenge.as_str()), (401, "Bearer"), "{line}: {answer}");
        assert!(line.starts_with("HEAD") || answer.contains("a token is needed"), "{line}: {answer}");
        for (token, words) in [
            ("x", "malformed token"),
            (unsigned, "accepted is HS256"),
            (&strange, "signature is wrong"),
            (&expired, "the token expired"),
        ] {
            let (status, challenge, answer) = ask(token);
            assert_eq!((status, challenge.as_str()), (401, invalid), "{line}: {answer}");
            assert!(line.starts_with("HEAD") || answer.contains(words), "{line}: {answer}");
            assert!(answer.contains("application/problem+json"), "{line}: {answer}");
        }
        if !rights.is_empty() {
            let others = r#""subscribe":["b","aa"],"publish":["b*"],"status":false"#;
            let (status, challenge, answer) = ask(&token(others));
            assert_eq!((status, challenge.as_str()), (403, "Bearer error=\"insufficient_scope\""), "{line}: {answer}");
        }
        let (status, challenge, answer) = ask(&token(rights));
        assert!((101..300).contains(&status) && challenge.is_empty(), "{line}: {answer}");
    }
}

#[test]
fn what_is_not_guarded_needs_no_token() {
    let served = Served::start(&["--secret", SECRET]);
    for line in ["GET /", "GET /redpoll.js", "GET /healthz", "OPTIONS /channel/a", "OPTIONS *"] {
        let (status, _, answer) = outcome(&served.address, line, "");
        assert!((200..300).contains(&status), "{line}: {answer}");
    }
    for (line, status) in [("GET /nothing", 404), ("PATCH /channel/a", 405)] {
        assert_eq!(outcome(&served.address, line, "").0, status, "{line}");
    }
}

#[test]
fn a_token_goes_in_the_field_in_the_query_or_in_a_cookie() {
    let served = Served::start(&["--secret", SECRET, "--origin", "https://named.example", "--origin", "*"]);
    let good = token(r#""subscribe":["a"],"publish":["a"]"#);
    let cookie = format!("Cookie: x=y; redpoll_token={good}\r\n");
    let own = format!("Origin: http://{}\r\n", served.address);
    for (line, fields, status) in [
        ("GET /channel/a".to_owned(), format!("Authorization: bearer {good}\r\n"), 200),
        (format!("GET /channel/a?token={good}"), String::new(), 200),
        (format!("GET /channel/a?token={good}"), "Authorization: Basic YTpi\r\n".into(), 200),
        (format!("GET /channel/a?token={good}"), "Authorization: Bearer bad\r\n".into(), 401),
        (format!("GET /channel/a?token={good}"), "Cookie: redpoll_token=bad\r\n".into(), 200),
        ("GET /channel/a?token=".into(), cookie.clone(), 401),
        ("GET /channel/a".into(), cookie.clone(), 200),
        ("GET /channel/a".into(), format!("{cookie}{own}{UPGRADE}"), 101),
        ("GET /channel/a".into(), format!("{cookie}Origin: https://named.example\r\n{UPGRADE}"), 101),
        // `*` lets any page ask, but not with what a visitor's browser sends along.
        ("GET /channel/a".into(), format!("{cookie}Origin: https://other.example\r\n{UPGRADE}"), 401),
        ("POST /channel/a".into(), format!("{cookie}Origin: null\r\nContent-Length: 0\r\n"), 401),
        (format!("GET /channel/a?token={good}"), format!("Origin: https://other.example\r\n{UPGRADE}"), 101),
    ] {
        let (found, _, answer) = outcome(&served.address, &line, &fields);
        assert_eq!(found, status, "{line} {fields}: {answer}");
    }
}

#[test]
fn of_several_channels_one_that_is_not_allowed_refuses_all() {
    let served = Served::start(&["--secret", SECRET]);
    let field = format!("Authorization: Bearer {}\r\n", token(r#""subscribe":["a","r-*"],"publish":["a","r-*"]"#));
    for (line, fields) in [
        ("GET /channel/", UPGRADE),
        ("GET /channel/", "Accept: text/event-stream\r\n"),
        ("GET /channel/", ""),
        ("POST /channel/", "Content-Length: 1\r\n\r\nx"),
        ("DELETE /channel/", ""),
    ] {
        let ask = |names: &str| outcome(&served.address, &format!("{line}{names}"), &format!("{field}{fields}"));
        assert!((101..300).contains(&ask("a,r-1,r-2").0), "{line}");
        let (status, _, answer) = ask("a,r-1,b,r-2");
        assert!(status == 403 && answer.contains("\\\"b\\\""), "{line}: {answer}");
    }
    let messages = outcome(&served.address, "GET /channel/a?since=earliest", &field).2;
    assert!(!messages.contains("\"data\""), "nothing was published to the others: {messages}");
}

type Socket = tungstenite::WebSocket<TcpStream>;

fn websocket(address: &str, target: &str, token: &str, protocol: &str) -> Socket {
    let fields = format!("Authorization: Bearer {token}\r\n{UPGRADE}{protocol}");
    let (stream, head) = ask_open(address, &format!("GET {target}"), &fields);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    tungstenite::WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Client, None)
}

const REDPOLL_V1: &str = "Sec-WebSocket-Protocol: redpoll.v1\r\n";

fn text_of_next(socket: &mut Socket) -> String {
    socket.read().expect("a message").into_text().expect("text").to_string()
}

fn close_of(socket: &mut Socket) -> (u16, String) {
    match socket.read() {
        Ok(tungstenite::Message::Close(Some(close))) => (close.code.into(), close.reason.to_string()),
        other => panic!("no close: {other:?}"),
    }
}

#[test]
fn what_a_token_has_let_in_ends_when_it_expires_on_every_transport() {
    let served = Served::start(&["--secret", SECRET, "--echo"]);
    let address = served.address.as_str();
    let good = token_until(2, r#""subscribe":["a","tutorial"]"#);
    let field = format!("Authorization: Bearer {good}\r\n");
    let mut sockets = [("/channel/a", ""), ("/channel/a", REDPOLL_V1), ("/echo", "")]
        .map(|(target, protocol)| websocket(address, target, &good, protocol));
    let (mut events, _) = ask_open(address, "GET /channel/a", &format!("Accept: text/event-stream\r\n{field}"));
    let began = Instant::now();
    thread::scope(|scope| {
        for line in ["GET /channel/a?wait=60", "GET /get_msg/?name=ann"] {
            let field = &field;
            scope.spawn(move || assert_eq!(outcome(address, line, field).0, 200, "{line}"));
        }
    });
    assert!(began.elapsed() < Duration::from_secs(6), "polls are answered when the token ends, and not later");
    text_of_next(&mut sockets[1]);
    for mut socket in sockets {
        assert_eq!(close_of(&mut socket), (4_001, "the token has expired".to_owned()));
    }
    let mut said = String::new();
    events.read_to_string(&mut said).expect("it ends");
    assert!(
        said.ends_with("event: expired\ndata: {\"error\":{\"status\":401,\"detail\":\"the token has expired\"}}\n\n")
    );
    assert_eq!(outcome(address, "GET /channel/a", &field).0, 401);
}

#[test]
fn another_token_must_be_of_the_same_person_and_allow_what_is_subscribed_to() {
    let served = Served::start(&["--secret", SECRET]);
    let rights = r#""subscribe":["a"],"publish":["b"]"#;
    let mut socket = websocket(&served.address, "/channel/a", &token_until(2, rights), REDPOLL_V1);
    text_of_next(&mut socket);
    let mut say = |command: &str| {
        socket.send(command.into()).expect("it is sent");
        text_of_next(&mut socket)
    };
    let of_bob = signed(SECRET, &format!(r#"{{"exp":{},"sub":"bob","redpoll":{{{rights}}}}}"#, now_s() + 60));
    for (token, words) in [
        (of_bob.as_str(), "another sub"),
        (&token(r#""subscribe":["b"]"#), "subscribe to \\\"a\\\""),
        (&token_until(0, rights), "expired"),
        ("x", "malformed"),
    ] {
        let answer = say(&format!(r#"{{"token":"{token}","ack":1}}"#));
        assert!(answer.contains("error") && answer.contains(words), "{answer}");
    }
    let next = token_until(4, r#""subscribe":["a","c"]"#);
    assert_eq!(say(&format!(r#"{{"token":"{next}","ack":2}}"#)), r#"{"ack":2}"#);
    assert!(say(r#"{"publish":"b","data":"x"}"#).contains("403"), "its rights are the new token's");
    assert!(say(r#"{"subscribe":"c"}"#).contains("subscribed"));
    assert_eq!(close_of(&mut socket), (4_001, "the token has expired".to_owned()));
}

#[test]
fn a_websocket_may_say_what_its_token_lets_it_say() {
    let served = Served::start(&["--secret", SECRET]);
    let connect = |token: &str, protocol: &str| websocket(&served.address, "/channel/a", token, protocol);
    let both = token(r#""subscribe":["a"],"publish":["a"]"#);
    let one = token(r#""subscribe":["a","b"],"publish":["c*"]"#);
    let mut raw = connect(&both, "");
    raw.send("hello".into()).expect("it is sent");
    assert_eq!(raw.read().expect("its own"), tungstenite::Message::text("hello"));
    let mut raw = connect(&one, "");
    raw.send("hello".into()).expect("it is sent");
    let (code, reason) = close_of(&mut raw);
    assert!(code == 1008 && reason.contains("publish to \"a\""), "{code} {reason}");
    let mut commands = connect(&one, REDPOLL_V1);
    text_of_next(&mut commands);
    for (command, answer) in [
        (r#"{"publish":"a","data":"x","ack":1}"#, r#"{"error":{"status":403"#),
        (r#"{"publish":"c1","data":"x","ack":1}"#, r#"{"ack":1,"id":"#),
        (r#"{"subscribe":"b"}"#, r#"{"subscribed":"b""#),
        (r#"{"subscribe":"c1"}"#, r#"{"error":{"status":403"#),
    ] {
        commands.send(command.into()).expect("it is sent");
        let text = text_of_next(&mut commands);
        assert!(text.starts_with(answer), "{command}: {text}");
    }
}

#[test]
fn a_secret_can_be_rotated_out_and_comes_from_flags_variables_and_files() {
    let file = std::env::temp_dir().join(format!("redpoll-secret-{}", std::process::id()));
    let path = file.display().to_string();
    std::fs::write(&file, "the one out of a file, as well\r\n").expect("a file can be written");
    let served = Served::start(&["--secret", SECRET, "--secret", "the old one, with a comma", "--secret-file", &path]);
    std::fs::remove_file(&file).expect("it can be removed: it has been read");
    let claims = format!(r#"{{"exp":{},"redpoll":{{"subscribe":["a"]}}}}"#, now_s() + 60);
    for (secret, status) in [
        (SECRET, 200),
        ("the old one, with a comma", 200),
        ("the one out of a file, as well", 200),
        ("the old one", 401),
        ("with a comma", 401),
        ("the one out of a file, as well\r\n", 401),
    ] {
        let line = format!("GET /channel/a?token={}", signed(secret, &claims));
        assert_eq!(outcome(&served.address, &line, "").0, status, "{secret:?}");
    }
    // A comma in the variable is one of the secret.
    let mut process = Process::start(
        redpoll(&["--listen", "0.0.0.0:0"]).env("REDPOLL_SECRET", "the old one, with a comma").stderr(Stdio::null()),
    );
    let mut printed = BufReader::new(process.0.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let bound = printed.next().expect("where it listens, on an address that others reach");
    let address = format!("127.0.0.1:{}", bound.rsplit(':').next().expect("a port"));
    assert!(printed.next().is_some_and(|line| line.contains("needs a token")));
    for (secret, status) in [("the old one, with a comma", 200), ("the old one", 401), (SECRET, 401)] {
        let line = format!("GET /channel/a?token={}", signed(secret, &claims));
        let (found, _, answer) = outcome(&address, &line, "X-Forwarded-For: 10.0.0.1\r\n");
        assert_eq!(found, status, "{secret:?}: {answer}");
    }
}

#[test]
fn a_bad_secret_is_told_and_not_shown() {
    let (mut flag, mut variable) = (redpoll(&["--secret", "too short"]), redpoll(&[]));
    variable.env("REDPOLL_SECRET", "too short");
    for (command, source) in [(&mut flag, "--secret \"***\""), (&mut variable, "REDPOLL_SECRET \"***\"")] {
        assert_usage_error(command, &["16 bytes or more", source]);
        assert!(!run(command, b"").2.contains("too short"));
    }
    assert_usage_error(&mut redpoll(&["--secret", SECRET, "--open"]), &["--open", "secret"]);
    assert_usage_error(&mut redpoll(&["--secret", SECRET, "--status"]), &["--status", "secret"]);
    assert_usage_error(&mut redpoll(&["--listen", "0.0.0.0:0"]), &["--open", "--secret-file"]);
}

/// What `redpoll token` prints.
fn minted(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(&mut redpoll(&[&["token"], arguments].concat()), b"");
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    let token = stdout.strip_suffix('\n').expect("a line").to_owned();
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token:?}");
    token
}

fn claims_of(token: &str) -> serde_json::Value {
    use base64::Engine;
    let claims = token.split('.').nth(1).expect("three parts");
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("Base64url");
    serde_json::from_slice(&json).expect("JSON")
}

#[test]
fn token_prints_a_token_that_the_server_takes() {
    let served = Served::start(&["--secret", SECRET]);
    let all = ["--secret", SECRET, "--subscribe", "a,r-*", "--subscribe", "b", "--publish", "*", "--status"];
    let before = now_s();
    let token = minted(&[&all[..], &["--sub", "ann", "--expires", "10m"]].concat());
    let mut claims = claims_of(&token);
    let exp = claims["exp"].take().as_u64().expect("a number");
    assert!((before + 600..=now_s() + 601).contains(&exp), "{exp}");
    let redpoll = serde_json::json!({"subscribe": ["a", "r-*", "b"], "publish": ["*"], "status": true});
    assert_eq!(claims, serde_json::json!({"exp": null, "sub": "ann", "redpoll": redpoll}));
    let hour = claims_of(&minted(&["--secret", SECRET, "--status"]))["exp"].as_u64().expect("a number");
    assert!((before + 3_600..=now_s() + 3_601).contains(&hour), "an hour where nothing is said: {hour}");
    let forever = minted(&[&all[..], &["--forever"]].concat());
    assert_eq!(claims_of(&forever)["exp"], serde_json::Value::Null);
    for token in [token, forever] {
        for line in ["GET /channel/a,r-1,b", "DELETE /channel/x", "GET /channels", "GET /metrics"] {
            let (status, _, answer) = outcome(&served.address, line, &format!("Authorization: Bearer {token}\r\n"));
            assert!((200..300).contains(&status), "{line}: {answer}");
        }
    }
}

#[test]
fn token_takes_the_secret_from_where_the_server_does_and_signs_with_the_first() {
    let file = std::env::temp_dir().join(format!("redpoll-token-secret-{}", std::process::id()));
    let path = file.display().to_string();
    std::fs::write(&file, format!("{SECRET}\n")).expect("a file can be written");
    let served = Served::start(&["--secret", SECRET]);
    let arguments = ["token", "--subscribe", "a"];
    let mut commands = [redpoll(&arguments), redpoll(&arguments), redpoll(&arguments), redpoll(&arguments)];
    commands[0].env("REDPOLL_SECRET", SECRET).env("REDPOLL_SECRET_FILE", "/dev/null");
    commands[1].env("REDPOLL_SECRET_FILE", format!("{path}, {path}"));
    commands[2].args(["--secret-file", &path]).env("REDPOLL_SECRET", "another one that is not used");
    commands[3].args(["--secret", SECRET, "--secret", "another one that is not used"]);
    assert_usage_error(&mut commands[0], &["REDPOLL_SECRET_FILE", "/dev/null", "16 bytes"]);
    for command in &mut commands[1..] {
        let (code, token, stderr) = run(command, b"");
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let line = format!("GET /channel/a?token={}", token.trim_end());
        assert_eq!(outcome(&served.address, &line, "").0, 200, "{command:?}");
    }
    std::fs::remove_file(&file).expect("it can be removed");
}

#[test]
fn token_refuses_what_makes_none() {
    let secret = ["token", "--secret", SECRET, "--status"];
    let table: [(&[&str], &[&str]); 11] = [
        (&["token", "--status"], &["--secret-file"]),
        (&["token", "--secret", SECRET], &["--subscribe", "--publish", "--status"]),
        (&["token", "--secret", "short", "--status"], &["--secret", "***", "16 bytes"]),
        (&["token", "--secret-file", "/does/not/exist"], &["--secret-file", "/does/not/exist", "accepted"]),
        (&[&secret[..], &["--subscribe", "a*b"]].concat(), &["--subscribe", "a*b", "prefix"]),
        (&[&secret[..], &["--publish", "a,,b"]].concat(), &["--publish", "a,,b", "prefix"]),
        (&[&secret[..], &["--expires", "5"]].concat(), &["--expires", "5", "time"]),
        (&[&secret[..], &["--expires", "1h", "--forever"]].concat(), &["--expires", "--forever"]),
        (&[&secret[..], &["--forever=1"]].concat(), &["--forever", "no value"]),
        (&[&secret[..], &["--subscibe", "a"]].concat(), &["--subscibe", "--subscribe meant"]),
        (&[&secret[..], &["a"]].concat(), &["unexpected", "a"]),
    ];
    for (arguments, parts) in table {
        assert_usage_error(&mut redpoll(arguments), parts);
    }
}

#[test]
fn pub_and_sub_send_a_token_on_every_transport() {
    let served = Served::start(&["--secret", SECRET]);
    let good = token(r#""subscribe":["tea"],"publish":["tea"]"#);
    let url = served.url("tea");
    let (code, stdout, stderr) = run(&mut redpoll(&["pub", &url, "one", "--token", &good]), b"");
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    assert_eq!(run(redpoll(&["pub", &url, "two"]).env("REDPOLL_TOKEN", &good), b"").0, Some(0));
    for transport in TRANSPORTS {
        let arguments = ["sub", &url, "--transport", transport, "--since", "earliest", "--count", "2"];
        let (code, stdout, stderr) = run(&mut redpoll(&[&arguments[..], &["--token", &good]].concat()), b"");
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "one\ntwo\n", ""), "{transport}");
        let (code, stdout, _) = run(redpoll(&arguments).env("REDPOLL_TOKEN", &good), b"");
        assert_eq!((code, stdout.as_str()), (Some(0), "one\ntwo\n"), "{transport}");
        let (code, _, stderr) = run(&mut redpoll(&arguments), b"");
        assert!(code == Some(1) && stderr.contains("401") && stderr.contains("a token is needed"), "{stderr}");
        let ended = run(
            &mut redpoll(&[&arguments[..6], &["--token", &token_until(2, r#""subscribe":["tea"]"#)]].concat()),
            b"",
        );
        assert!(ended.0 == Some(1) && ended.1 == "one\ntwo\n", "{transport}: {ended:?}");
        assert!(ended.2.contains("expired"), "{transport}: {ended:?}");
    }
    let (code, _, stderr) = run(&mut redpoll(&["pub", &url, "x"]), b"");
    assert!(code == Some(1) && stderr.contains("401"), "{stderr}");
    for bad in ["", "a b", "a\r\nX: y", "é"] {
        assert_usage_error(&mut redpoll(&["pub", &url, "x", "--token", bad]), &["--token \"***\"", "accepted"]);
    }
    assert_usage_error(redpoll(&["sub", &url]).env("REDPOLL_TOKEN", "a b"), &["REDPOLL_TOKEN \"***\""]);
}

#[test]
fn no_token_and_no_secret_reaches_the_log() {
    let command = ["serve", "--listen", "127.0.0.1:0", "--secret", SECRET, "--log", "trace", "--echo"];
    let mut process = Process::start(&mut redpoll(&command));
    let log = text_of(process.0.stderr.take());
    let mut stdout = BufReader::new(process.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the address");
    let address = line.trim().rsplit('/').next().expect("an address").to_owned();
    let (good, bad) = (token(r#""subscribe":["*"],"publish":["*"],"status":true"#), format!("{}x", token("")));
    for (request, fields, _) in guarded_requests() {
        let separator = if request.contains('?') { '&' } else { '?' };
        for token in [&good, &bad] {
            outcome(&address, request, &format!("Authorization: Bearer {token}\r\n{fields}"));
            outcome(&address, request, &format!("Cookie: redpoll_token={token}\r\n{fields}"));
            outcome(&address, &format!("{request}{separator}token={token}"), &fields);
        }
    }
    let mut commands = websocket(&address, "/channel/a", &good, REDPOLL_V1);
    text_of_next(&mut commands);
    for token in [&good, &bad] {
        commands.send(format!(r#"{{"token":"{token}","ack":1}}"#).into()).expect("it is sent");
        text_of_next(&mut commands);
    }
    ask_open(&address, &format!("GET /nothing/{good}?token={good}"), "");
    // What is no request is logged at most as such.
    let mut stream = TcpStream::connect(&address).expect("the server accepts");
    stream
        .write_all(format!("GET /channel/a?token={good} HTTP/1.1\nAuthorization: Bearer {good}\n\n").as_bytes())
        .expect("read");
    let _ = stream.read(&mut [0; 64]);
    process.0.kill().expect("it can be ended");
    let log = log.join().expect("no panic");
    assert!(log.contains("TRACE") && log.lines().count() > 50, "{log}");
    for token in [&good, &bad] {
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part), "{part} in {log}");
        }
    }
    assert!(!log.contains(SECRET));
}

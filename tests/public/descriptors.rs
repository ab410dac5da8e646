//! What happens when the process may open no more descriptors: it says so, goes on as soon as it can, and does not
//! spin meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::served::{BINARY, Served, read_until, values, wait_until};

/// The server with at most 40 descriptors.
fn served(arguments: &[&str]) -> Served {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" --listen 127.0.0.1:0 \"$@\"", BINARY]).args(arguments).env_clear();
    Served::run(command.env("PATH", "/usr/bin:/bin"))
}

/// Has the limit of a running server be what the kernel would have found at another start.
fn limit(served: &Served, descriptors: u64) {
    let process = Pid::from_raw(served.process_id() as i32).expect("a process");
    let limit = Rlimit { current: Some(descriptors), maximum: Some(40) };
    prlimit(Some(process), Resource::Nofile, limit).expect("the limit of one's own process can be lowered");
}

/// The number that the next descriptor of the process gets: the limit is of numbers.
fn next_descriptor(served: &Served) -> u64 {
    let of_process = |number: &u64| format!("/proc/{}/fd/{number}", served.process_id());
    (0..).find(|number| std::fs::symlink_metadata(of_process(number)).is_err()).expect("a number")
}

fn open_descriptors(served: &Served) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", served.process_id())).expect("Linux").count() as u64
}

/// Processor time of the process so far, in hundredths of a second.
fn ticks(served: &Served) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", served.process_id())).expect("Linux");
    // After the name, which may have spaces: utime and stime are the 14th and 15th of all (proc(5)).
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// A client that has been answered and stays.
fn stay(served: &Served) -> TcpStream {
    let mut stream = served.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("taken");
    assert!(read_until(&mut stream, "ok\n").starts_with("HTTP/1.1 200 "));
    stream
}

fn assert_refused(served: &Served, part: &str) {
    // With a request that is there already, which must not take the answer away.
    let refused = served.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains(part), "{refused:?}");
    assert_eq!(values(&refused, "Retry-After"), ["5"], "{refused}");
}

fn assert_idle(served: &Served) {
    let before = ticks(served);
    std::thread::sleep(Duration::from_secs(1));
    let spent = ticks(served) - before;
    assert!(spent <= 5, "{spent}0 ms of processor time in a second in which nothing happens");
}

fn assert_serves(served: &Served) {
    wait_until("it serves again", || served.say("GET /healthz", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn half_of_a_low_limit_is_for_connections_and_the_next_one_is_told_so() {
    let mut served = served(&[]);
    let mut clients: Vec<TcpStream> = (0..20).map(|_| stay(&served)).collect();
    for _ in 0..100 {
        assert_refused(&served, "20 connections are open");
    }
    assert_idle(&served);
    clients.pop();
    assert_serves(&served);
    assert!(next_descriptor(&served) < 40 && served.is_running());
}

#[test]
fn without_a_descriptor_every_client_is_told_so_and_nothing_spins() {
    let mut served = served(&[]);
    let mut clients: Vec<TcpStream> = (0..4).map(|_| stay(&served)).collect();
    limit(&served, next_descriptor(&served));
    for _ in 0..100 {
        assert_refused(&served, "ulimit -n");
    }
    // All at once, as after a restart.
    let mut waiting: Vec<TcpStream> = (0..300).map(|_| served.connect()).collect();
    for stream in &mut waiting {
        let mut refused = String::new();
        stream.read_to_string(&mut refused).expect("an answer, then the end");
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused:?}");
    }
    assert_idle(&served);
    // Who is there is served as before, and who comes when one has gone.
    clients[0].write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("taken");
    assert!(read_until(&mut clients[0], "ok\n").starts_with("HTTP/1.1 200 "));
    clients.pop();
    assert_serves(&served);
    assert!(served.is_running());
    limit(&served, 40);
    assert_serves(&served);
    wait_until("all are counted", || served.reached("descriptors") >= 400);
}

#[test]
fn without_even_a_reserve_clients_wait_and_nothing_spins() {
    let served = served(&[]);
    let clients: Vec<TcpStream> = (0..4).map(|_| stay(&served)).collect();
    let unused = open_descriptors(&served) - 4;
    // As if others had taken what the reserve was given up for.
    limit(&served, 3);
    let mut waiting = served.connect();
    waiting
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("the kernel takes it");
    assert_idle(&served);
    drop(clients);
    limit(&served, 40);
    assert!(read_until(&mut waiting, "ok\n").starts_with("HTTP/1.1 200 "));
    assert_serves(&served);
    wait_until("there is one in reserve again, and nobody else", || open_descriptors(&served) == unused);
    // So many that no number below that of the reserve is free.
    let _clients: Vec<TcpStream> = (0..8).map(|_| stay(&served)).collect();
    limit(&served, next_descriptor(&served));
    assert_refused(&served, "ulimit -n");
}

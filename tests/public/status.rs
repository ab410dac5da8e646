//! The status page: who sees it, what it is told, and that `/metrics` says the same.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::served::{Served, mint, read_until, values};

const SECRET: [&str; 2] = ["--secret", "0123456789abcdef0123456789abcdef"];
const ELSEWHERE: [&str; 3] = ["--open", "--listen", "0.0.0.0:0"];

fn token(rights: &[&str]) -> String {
    mint(&[&SECRET[..], rights].concat())
}

fn follow(served: &Served, query: &str) -> TcpStream {
    let mut stream = served.connect();
    let request = format!("GET /status/events{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    assert!(read_until(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 200 "));
    stream
}

/// The next report: the values by their names.
fn report(stream: &mut impl Read) -> Vec<(String, f64)> {
    read_until(stream, "\ndata: ");
    let event = format!("data: {}", read_until(stream, "\n\n"));
    let samples = event.lines().filter_map(|line| line.strip_prefix("data: "));
    samples
        .map(|sample| {
            let (name, value) = sample.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{sample:?} has a number")))
        })
        .collect()
}

/// What is 0 is not in it.
fn value(report: &[(String, f64)], name: &str) -> f64 {
    report.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
}

#[test]
fn the_page_is_shown_to_whom_it_is_meant_for() {
    let with_status = token(&["--status"]);
    let without = token(&["--subscribe", "*", "--publish", "*"]);
    let proxied = "X-Forwarded-For: 192.0.2.1\r\n";
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    // Arguments of the server; fields of requests with the statuses that answer them.
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let table: [Case; 5] = [
        (&[], &[("", "200"), (proxied, "403")]),
        (&["--open"], &[("", "200"), (proxied, "403")]),
        (&ELSEWHERE, &[("", "403"), (proxied, "403")]),
        (&["--open", "--listen", "0.0.0.0:0", "--status"], &[("", "200"), (proxied, "200")]),
        (&SECRET, &[("", "401"), (&bearer(&with_status), "200"), (&bearer(&without), "403")]),
    ];
    for (arguments, requests) in table {
        let served = Served::start(arguments);
        for (fields, status) in requests {
            for (path, accept) in [("/status", ""), ("/status/events", ""), ("/status/events", "text/event-stream")] {
                let mut stream = served.connect();
                let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n{fields}\r\n");
                stream.write_all(request.as_bytes()).expect("taken");
                let answer = read_until(&mut stream, "\r\n\r\n");
                assert_eq!(&answer[9..12], *status, "{path} {accept} of {arguments:?} with {fields}");
            }
        }
    }
    let refusal = Served::start(&ELSEWHERE).say("GET /status", "");
    assert!(refusal.contains("--status") && refusal.contains("--secret-file"), "it says what to do: {refusal}");
    let page = Served::start(&[]).say("GET /status", "");
    assert!(page.contains("<!doctype html>"), "{page}");
    assert_eq!(values(&page, "Content-Security-Policy").len(), 1, "{page}");
}

#[test]
fn who_follows_is_told_what_happens() {
    let served = Served::start(&["--memory", "32M"]);
    let mut stream = follow(&served, "");
    let first = report(&mut stream);
    assert_eq!(value(&first, "redpoll_subscribers{transport=\"event_stream\"}"), 1.0);
    assert_eq!(value(&first, "redpoll_memory_limit_bytes"), f64::from(32 << 20));
    assert_eq!(value(&first, "redpoll_channels"), 0.0, "its own is not counted");
    served.say("POST /channel/a", "Content-Length: 0\r\n");
    served.say("GET /nowhere", "");
    served.say("POST /channel/a%20b", "Content-Length: 0\r\n");
    let mut last = report(&mut stream);
    while value(&last, "redpoll_requests_total") < value(&first, "redpoll_requests_total") + 3.0 {
        last = report(&mut stream);
    }
    let grown = |name: &str| value(&last, name) - value(&first, name);
    assert_eq!(grown("redpoll_request_refusals_total{status=\"404\"}"), 1.0);
    assert_eq!(grown("redpoll_request_refusals_total{status=\"400\"}"), 1.0);
    assert_eq!(value(&last, "redpoll_channels"), 1.0);
    assert!(grown("redpoll_publications_total") >= 2.0, "the message, and the report");
    let seconds = grown("redpoll_uptime_seconds");
    assert!(seconds > 0.9, "reports come a second apart, not after {seconds} s");
    let delivered = value(&last, "redpoll_delivery_seconds_count");
    assert!(delivered >= 1.0);
    assert_eq!(value(&last, "redpoll_delivery_seconds_bucket{le=\"+Inf\"}"), delivered);
    assert!(value(&last, "process_resident_memory_bytes") > 500_000.0);
}

#[test]
fn metrics_have_the_same_names() {
    let served = Served::start(&[]);
    let mut stream = follow(&served, "");
    let text = served.say("GET /metrics", "");
    for (name, _) in report(&mut stream) {
        assert!(text.contains(&format!("\n{name} ")), "{name} is in {text}");
        let family = name.split('{').next().expect("a name");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family);
        assert!(text.contains(&format!("\n# HELP {family} ")), "{family} is described in {text}");
    }
}

#[test]
fn a_report_ends_with_the_token_that_it_is_followed_with() {
    let served = Served::start(&SECRET);
    let mut stream = follow(&served, &format!("?token={}", token(&["--status", "--expires", "2s"])));
    read_until(&mut stream, "event: expired\n");
}

#[test]
fn channels_are_listed_by_size_too() {
    let served = Served::start(&[]);
    for (channel, content) in [("a", "1"), ("b", "0123456789"), ("b", "1"), ("c", "123")] {
        served.say(&format!("POST /channel/{channel}"), &format!("Content-Length: {}\r\n\r\n{content}", content.len()));
    }
    let names = |query: &str| {
        let answer = served.say(&format!("GET /channels?{query}"), "");
        let content = answer.split("\r\n\r\n").nth(1).expect("content").to_owned();
        let json: serde_json::Value = serde_json::from_str(&content).expect("JSON");
        let list = json["channels"].as_array().unwrap_or_else(|| panic!("{content}")).clone();
        list.iter().map(|channel| channel["channel"].as_str().unwrap_or_default().to_owned()).collect::<String>()
    };
    assert_eq!(names("order=bytes"), "bca");
    assert_eq!(names("order=messages&limit=1"), "b");
    assert_eq!(names("order=name"), "abc");
    for (query, part) in [("order=size", "subscribers"), ("order=bytes&after=a", "after=")] {
        let answer = served.say(&format!("GET /channels?{query}"), "");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(part), "{answer}");
    }
    let elsewhere = Served::start(&ELSEWHERE);
    assert!(elsewhere.say("GET /channels", "").starts_with("HTTP/1.1 200 "));
    assert!(
        elsewhere.say("GET /channels?order=bytes", "").starts_with("HTTP/1.1 403 "),
        "it costs too much for anyone"
    );
}

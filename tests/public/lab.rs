//! `/lab/wire`: what the lab is told of its own connections, against what went over real sockets.

use std::io::{Read, Write};

use crate::served::{Served, mint, read_until};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn wire(served: &Served, query: &str, fields: &str) -> (String, serde_json::Value) {
    let answer = served.say(&format!("GET /lab/wire?{query}"), fields);
    let (head, content) = answer.split_once("\r\n\r\n").expect("an answer");
    (head[9..12].to_owned(), serde_json::from_str(content).expect("JSON"))
}

#[test]
fn the_lab_is_told_what_went_over_its_sockets() {
    let served = Served::start(&[]);
    let query = format!("channel=lab-a&tap={KEY}");
    assert_eq!(wire(&served, &query, "").1, serde_json::json!([null]), "nothing is recorded yet");
    let request = format!("GET /channel/lab-a?tap={KEY} HTTP/1.1\r\nHost: localhost\r\nCookie: a=b\r\n\r\n");
    let mut stream = served.connect();
    stream.write_all(request.as_bytes()).expect("taken");
    let head = read_until(&mut stream, "\r\n\r\n");
    let (_, length) = head.split_once("Content-Length: ").expect("a length");
    let length: usize = length.lines().next().expect("a line").parse().expect("a number");
    let mut content = vec![0; length];
    stream.read_exact(&mut content).expect("the content");
    let (status, told) = wire(&served, &query, "");
    assert_eq!((status.as_str(), &told[0]["requests"]), ("200", &1.into()), "{told}");
    assert_eq!(told[0]["received"]["bytes"], request.len(), "{told}");
    assert_eq!(told[0]["received"]["head"], request.replace("a=b", "(not shown)"), "{told}");
    assert_eq!(told[0]["sent"]["bytes"], head.len() + length, "{told}");
    assert_eq!(told[0]["sent"]["head"], head, "{told}");
}

#[test]
fn who_may_not_subscribe_is_not_told() {
    let secret = ["--secret", "0123456789abcdef0123456789abcdef"];
    let served = Served::start(&secret);
    assert_eq!(wire(&served, &format!("channel=lab-a&tap={KEY}"), "").0, "401");
    let token = mint(&[&secret[..], &["--subscribe", "lab-a*"]].concat());
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (channel, status) in [("lab-a", "200"), ("lab-a,lab-ab", "200"), ("lab-a,b", "403"), ("lab-a,,", "400")] {
        assert_eq!(wire(&served, &format!("channel={channel}&tap={KEY}"), &bearer).0, status, "{channel}");
    }
}

//! Who is present, as the binary says it.

use std::io::Write;
use std::net::TcpStream;

use crate::served::{Served, mint, read_until};

const SECRET: &str = "a secret of 32 bytes, no fewer..";

/// An event stream that has begun, so that its name is present.
fn stream(served: &Served, query: &str, fields: &str) -> TcpStream {
    let mut stream = served.connect();
    let request =
        format!("GET /channel/a{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    read_until(&mut stream, "\nid: ");
    stream
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn members_are_listed_in_the_order_of_names_a_page_at_a_time() {
    let served = Served::start(&["--origin", "http://b"]);
    let nobody = served.say("GET /channel/a/members", "");
    assert_eq!(body(&nobody), r#"{"channel":"a","count":0,"members":[],"next":null}"#);
    let streams =
        ["?name=cid", "?name=%C3%A9%22", "?name=ann", "?name=ann", ""].map(|query| stream(&served, query, ""));
    served.say("GET /channel/a?name=bob", "");
    let page = |query: &str| body(&served.say(&format!("GET /channel/a/members{query}"), "")).to_owned();
    let [ann, bob, cid, last] = [("ann", "sse"), ("bob", "poll"), ("cid", "sse"), ("é\\\"", "sse")]
        .map(|(name, transport)| format!(r#"{{"name":"{name}","transport":"{transport}"}}"#));
    let of =
        |members: String, next: &str| format!(r#"{{"channel":"a","count":4,"members":[{members}],"next":{next}}}"#);
    assert_eq!(page(""), of(format!("{ann},{bob},{cid},{last}"), "null"));
    assert_eq!(page("?limit=3"), of(format!("{ann},{bob},{cid}"), "\"cid\""));
    assert_eq!(page("?limit=3&after=cid"), of(last, "null"));
    assert_eq!(page("?after=%C3%A9%22"), of(String::new(), "null"));
    assert_eq!((served.figure("redpoll_members"), served.figure("redpoll_observers")), (4, 0));
    drop(streams);
}

#[test]
fn the_list_of_members_is_a_resource_like_the_others() {
    let served = Served::start(&["--origin", "http://b"]);
    let answer = served.say("GET /channel/a/members", "Origin: http://b\r\n");
    for field in ["Content-Type: application/json", "Cache-Control: no-store", "Access-Control-Allow-Origin: http://b"]
    {
        assert!(answer.contains(&format!("\r\n{field}\r\n")), "{field}: {answer}");
    }
    assert!(served.say("HEAD /channel/a/members", "").starts_with("HTTP/1.1 200 "));
    let post = served.say("POST /channel/a/members", "Content-Length: 0\r\n");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{post}");
    for (target, named) in [
        ("/channel/a,b/members", "one channel"),
        ("/channel/a*/members", "channel name"),
        ("/channel/a/members?limit=0", "limit"),
        ("/channel/a/members?limit=x", "limit"),
    ] {
        let refused = served.say(&format!("GET {target}"), "");
        assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains(named), "{target}: {refused}");
    }
}

#[test]
fn where_there_are_tokens_their_subject_is_the_name_and_no_other() {
    let served = Served::start(&["--secret", SECRET]);
    let field = |arguments: &[&str]| {
        let token = mint(&[&["--secret", SECRET, "--subscribe", "a"], arguments].concat());
        format!("Authorization: Bearer {token}\r\n")
    };
    let (ann, nobody, nonsense) = (field(&["--sub", "ann"]), field(&[]), field(&["--sub", &"x".repeat(129)]));
    let _streams = [stream(&served, "?name=bob", &ann), stream(&served, "?name=bob", &nobody)];
    let list = served.say("GET /channel/a/members", &nobody);
    let ann_alone = r#"{"channel":"a","count":1,"members":[{"name":"ann","transport":"sse"}],"next":null}"#;
    assert_eq!(body(&list), ann_alone);
    let refused = served.say("GET /channel/a", &nonsense);
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("malformed name"), "{refused}");
}

//! What a careful operator would set, on every kind of answer.

use std::io::{Read, Write};

use crate::served::{Served, read_until, values};

/// Request line and fields, status, `Cache-Control`, `Vary`.
const ANSWERS: [(&str, &str, &str, &str, &str); 31] = [
    ("GET /", "", "200", "no-cache", PAGE),
    ("HEAD /", "", "200", "no-cache", PAGE),
    ("GET /", "Accept-Encoding: gzip\r\n", "200", "no-cache", PAGE),
    ("GET /", "If-None-Match: *\r\n", "304", "no-cache", PAGE),
    ("GET /style.css", "", "200", "no-cache", PAGE),
    ("GET /redpoll.js", "", "200", "no-cache", PAGE),
    ("GET /lab", "", "200", "no-cache", PAGE),
    ("GET /lab/wire?channel=a&tap=0123456789abcdef0123456789abcdef", "", "200", "no-store", "Origin"),
    ("GET /lab/wire?channel=a&tap=short", "", "400", "no-store", "Origin"),
    ("GET /favicon.svg", "", "200", "no-cache", PAGE),
    ("GET /home/?name=ann", "", "200", "no-store", "Origin"),
    ("POST /send_msg/", "Content-Length: 0\r\n", "400", "no-store", "Origin"),
    ("GET /get_msg/?name=ann", "", "200", "no-store", "Origin"),
    ("GET /healthz", "", "200", "no-store", "Origin"),
    ("GET /metrics", "", "200", "no-store", "Origin"),
    ("GET /channels", "", "200", "no-store", "Origin"),
    ("GET /channel/a", "", "200", "no-store", "Accept, Origin"),
    ("GET /channel/a?form=raw", "", "204", "no-store", "Accept, Origin"),
    ("GET /channel/a?form=raw&since=last", "", "200", "no-store", "Accept, Origin"),
    ("POST /channel/b", "Content-Length: 0\r\n", "202", "no-store", "Origin"),
    ("DELETE /channel/b", "", "204", "no-store", "Origin"),
    ("OPTIONS *", "", "204", "no-store", "Origin"),
    ("OPTIONS /channel/a", PREFLIGHT, "204", "no-store", ASKED),
    ("GET /nothing", "", "404", "no-store", "Origin"),
    ("POST /", "Content-Length: 0\r\n", "405", "no-store", "Origin"),
    ("GET /echo", "", "426", "no-store", "Origin"),
    ("POST /channel/a", "Origin: http://foe\r\nContent-Length: 0\r\n", "403", "no-store", "Origin"),
    ("POST /channel/a", "Content-Length: 65537\r\n", "413", "no-store", "Origin"),
    ("POST /channel/a", "Content-Length: 1\r\nContent-Length: 1\r\n", "400", "no-store", "Origin"),
    ("GET /a b", "", "400", "no-store", "Origin"),
    ("BREW /", "", "501", "no-store", "Origin"),
];
const PAGE: &str = if cfg!(feature = "deflate") { "Accept-Encoding, Origin" } else { "Origin" };
const PREFLIGHT: &str = "Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n";
const ASKED: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

#[test]
fn every_answer_says_how_it_is_to_be_taken_and_kept() {
    let served = Served::start(&["--echo"]);
    assert!(served.say("POST /channel/a", "Content-Length: 0\r\n").starts_with("HTTP/1.1 202 "));
    // Who has a place in the room before something is said does not wait for it.
    served.say("GET /home/?name=ann", "");
    let told = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ncontent=x";
    let sent = served.ask(&format!("POST /send_msg/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{told}"));
    assert_eq!(
        (values(&sent, "Cache-Control"), values(&sent, "X-Content-Type-Options")),
        (vec!["no-store"], NOSNIFF.into())
    );
    for (line, fields, status, cache, vary) in ANSWERS {
        let answer = served.say(line, fields);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} => {answer}");
        assert_eq!(values(&answer, "X-Content-Type-Options"), NOSNIFF, "{line} => {answer}");
        assert_eq!(values(&answer, "Cache-Control"), [cache], "{line} => {answer}");
        assert_eq!(values(&answer, "Vary"), [vary], "{line} => {answer}");
        assert!(values(&answer, "Server").is_empty(), "{line} => {answer}");
        let has_content = !answer.ends_with("\r\n\r\n");
        assert!(!has_content || values(&answer, "Content-Type").len() == 1, "{line} => {answer}");
    }
}

const NOSNIFF: [&str; 1] = ["nosniff"];

#[test]
fn what_goes_on_for_long_and_what_is_never_begun_say_it_too() {
    let served = Served::start(&["--head-timeout", "100ms", "--max-connections", "2"]);
    let mut stream = served.connect();
    stream
        .write_all(b"GET /channel/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        .expect("taken");
    let begun = read_until(&mut stream, "\r\n\r\n");
    assert_eq!(values(&begun, "Vary"), ["Accept, Origin"], "{begun}");
    let mut slow = served.connect();
    slow.write_all(b"GET /").expect("taken");
    let mut late = String::new();
    slow.read_to_string(&mut late).expect("the answer is whole");
    assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
    // The one that was too slow may still linger: then this is a client too many.
    let _third = (served.connect(), served.connect());
    let refused = served.ask("");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(values(&refused, "Retry-After") == ["5"], "{refused}");
    for answer in [&begun, &late, &refused] {
        assert_eq!(values(answer, "X-Content-Type-Options"), NOSNIFF, "{answer}");
        assert_eq!(values(answer, "Cache-Control"), ["no-store"], "{answer}");
    }
}

#[test]
fn pages_run_nothing_inline_and_nothing_of_others_and_tell_nobody_where_one_comes_from() {
    let served = Served::start(&[]);
    for path in
        ["/", "/home/?name=%3Cscript%3Ealert(1)%3C/script%3E", "/lab", "/style.css", "/redpoll.js", "/favicon.svg"]
    {
        let answer = served.say(&format!("GET {path}"), "");
        let [policy] = values(&answer, "Content-Security-Policy")[..] else { panic!("{path} => {answer}") };
        let directives: Vec<&str> = policy.split("; ").collect();
        for needed in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(directives.contains(&needed), "{path}: {policy}");
        }
        for source in directives.iter().flat_map(|directive| directive.split(' ').skip(1)) {
            assert!(["'none'", "'self'"].contains(&source), "{path}: {policy}");
        }
        assert_eq!(values(&answer, "Referrer-Policy"), ["no-referrer"], "{path} => {answer}");
        let markup = answer.split_once("\r\n\r\n").map_or("", |(_, content)| content);
        if values(&answer, "Content-Type")[0].starts_with("text/html") {
            let inline = ["<script>", "<style", " style=\"", " onclick=", "javascript:", "src=\"http", "href=\"http"];
            assert!(inline.iter().all(|part| !markup.contains(part)), "{path} has nothing that is not run: {markup}");
        }
    }
}

#[test]
fn files_of_a_folder_say_it_too_but_have_a_policy_of_their_own() {
    let folder = std::env::temp_dir().join(format!("redpoll-fields-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join("index.html"), "<script>1</script>").expect("a file can be written");
    let served = Served::start(&["--html", &folder.display().to_string()]);
    let answer = served.say("GET /", "");
    let found = ["X-Content-Type-Options", "Cache-Control", "Referrer-Policy"].map(|name| values(&answer, name));
    assert_eq!(found, [["nosniff"], ["no-cache"], ["no-referrer"]], "{answer}");
    assert!(values(&answer, "Content-Security-Policy").is_empty(), "{answer}");
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

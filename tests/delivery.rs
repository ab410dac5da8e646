//! Delivery: everyone gets everything, once, in order, with as little work as there can be.

mod bench;

use bench::{Bench, COMMANDS, Client, EVENTS, UPGRADE, frame, frames, texts};
use redpoll::{Config, History};

fn bench() -> Bench {
    Bench::new(Config::default())
}

/// A subscriber whose head has been read away.
fn subscriber(bench: &mut Bench, target: &str, fields: &str) -> Client {
    let client = bench.get(target, fields);
    client.take();
    client
}

#[test]
fn a_publication_is_encoded_once_for_each_form_however_many_subscribe() {
    for (target, fields, encodings) in [
        ("/channel/a", UPGRADE, 0),
        ("/channel/a?form=json", UPGRADE, 1),
        ("/channel/a", COMMANDS, 1),
        ("/channel/a", EVENTS, 1),
        ("/channel/a?form=json", EVENTS, 1),
        ("/channel/a,b", EVENTS, 1),
        ("/channel/a?wait=9", "", 1),
    ] {
        let mut bench = bench();
        let clients: Vec<_> = (0..100).map(|_| subscriber(&mut bench, target, fields)).collect();
        bench.publish("a", "hello");
        bench.turn();
        assert!(clients.iter().all(|client| client.take_text().contains("hello")), "{target} {fields}");
        // The payload is held as a frame, which is what a raw WebSocket gets.
        assert_eq!(bench.engine.metrics().encodings, encodings, "{target} {fields}");
    }
}

#[test]
fn ten_publications_of_one_turn_are_one_write() {
    for (target, fields) in [
        ("/channel/a", UPGRADE),
        ("/channel/a", COMMANDS),
        ("/channel/a,b", UPGRADE),
        ("/channel/a", EVENTS),
        ("/channel/a,b", EVENTS),
        ("/channel/a?wait=9", ""),
    ] {
        let mut bench = bench();
        let client = subscriber(&mut bench, target, fields);
        let before = client.writes();
        for number in 0..10 {
            bench.publish("a", &format!("message {number}"));
        }
        bench.turn();
        assert_eq!(client.writes() - before, 1, "{target} {fields}");
        let text = client.take_text();
        let places: Vec<_> = (0..10).map(|number| text.find(&format!("message {number}"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    }
}

#[test]
fn a_burst_in_one_read_reaches_every_reader_whole() {
    let mut bench = bench();
    let publisher = subscriber(&mut bench, "/channel/a", UPGRADE);
    let quick = subscriber(&mut bench, "/channel/a", UPGRADE);
    let narrow = subscriber(&mut bench, "/channel/a", UPGRADE);
    let stream = subscriber(&mut bench, "/channel/a", EVENTS);
    let poll = subscriber(&mut bench, "/channel/a?wait=9", "");
    narrow.pipe.0.borrow_mut().room = Some(1_000);
    let expected: Vec<String> = (0..3_000).map(|number| format!("{number}")).collect();
    let burst: Vec<u8> = expected.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
    bench.send(&publisher, &burst);
    let mut got = Vec::new();
    for _ in 0..100 {
        bench.turn();
        got.extend(narrow.take());
        bench.make_room(&narrow, Some(1_000));
    }
    assert_eq!(texts(&quick.take()), expected);
    assert_eq!(texts(&publisher.take()), expected, "its own copies come back");
    assert_eq!(texts(&got), expected, "who reads in small steps keeps reading");
    let lines = stream.take_text();
    assert_eq!(lines.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>(), expected);
    let polled = poll_until(&mut bench, &poll, "3000");
    assert_eq!(polled, expected);
}

/// Polls on, a tenth of a second after each answer, until the cursor is at `offset`.
fn poll_until(bench: &mut Bench, client: &Client, offset: &str) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        let answer = client.take_text();
        let body = answer.split("\r\n\r\n").nth(1).expect("an answer");
        let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(json["gap"], false);
        got.extend(
            json["messages"]
                .as_array()
                .expect("messages")
                .iter()
                .map(|one| one["data"].as_str().unwrap_or("").to_owned()),
        );
        let cursor = json["cursor"].as_str().expect("a cursor");
        if cursor.ends_with(&format!("-{offset}")) {
            return got;
        }
        bench.now.monotonic_ms += 100;
        bench.turn();
        bench.send(client, format!("GET /channel/a?wait=9&since={cursor} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        bench.turn();
    }
}

#[test]
fn two_large_messages_of_one_turn_arrive_with_the_default_history() {
    let mut bench = bench();
    let clients = [("/channel/a", UPGRADE), ("/channel/a", EVENTS), ("/channel/a?wait=9", "")];
    let clients = clients.map(|(target, fields)| subscriber(&mut bench, target, fields));
    let (first, second) = ("x".repeat(40_000), "y".repeat(40_000));
    bench.publish("a", &first);
    bench.publish("a", &second);
    for _ in 0..3 {
        bench.turn();
    }
    for client in clients {
        let text = client.take_text();
        assert!(text.contains(&first) && text.contains(&second));
    }
}

#[test]
fn own_replies_come_first_then_the_channels_in_their_order() {
    let mut bench = bench();
    let client = subscriber(&mut bench, "/channel/b,a", COMMANDS);
    bench.publish("a", "in a");
    bench.publish("b", "in b");
    bench.send(&client, &frame(0x81, br#"{"publish":"a","data":"own","ack":7}"#));
    bench.turn();
    let got = texts(&client.take());
    let order = ["\"ack\":7", "in b", "in a", "own"];
    assert_eq!(got.len(), 4, "{got:?}");
    assert!(got.iter().zip(order).all(|(text, part)| text.contains(part)), "{got:?}");
}

#[test]
fn who_falls_behind_is_told_the_gap() {
    for (target, fields, notice) in [
        ("/channel/a", COMMANDS, r#""gap":{"from":"00005f3a-"#),
        ("/channel/a?form=json", UPGRADE, r#""gap":{"from":"00005f3a-"#),
        ("/channel/a", EVENTS, "event: gap\ndata: {\"channel\":\"a\",\"gap\""),
        ("/channel/a,b", EVENTS, "event: gap\ndata: {\"channel\":\"a\",\"gap\""),
    ] {
        let mut bench = bench();
        let slow = subscriber(&mut bench, target, fields);
        slow.pipe.0.borrow_mut().room = Some(100);
        let held = bench.engine.metrics().client_bytes;
        for number in 0..500 {
            bench.publish("a", &format!("message {number}"));
            if number % 25 == 24 {
                bench.pass(1);
            }
        }
        assert!(bench.engine.metrics().client_bytes - held < 2_000, "a slow client costs one partly written message");
        bench.make_room(&slow, None);
        bench.turn();
        let text = slow.take_text();
        assert!(text.contains(notice), "{text}");
        assert!(text.contains("message 499"), "{text}");
    }
}

#[test]
fn a_raw_websocket_that_falls_behind_is_closed_with_4008() {
    let mut bench = bench();
    let slow = subscriber(&mut bench, "/channel/a", UPGRADE);
    slow.pipe.0.borrow_mut().room = Some(100);
    for number in 0..40 {
        for part in 0..10 {
            bench.publish("a", &format!("message {number}{part}"));
        }
        bench.pass(1);
    }
    bench.make_room(&slow, None);
    bench.turn();
    let got = frames(&slow.take());
    let (first, payload) = got.last().expect("a close");
    assert_eq!((*first, &payload[..2]), (0x88, 4008u16.to_be_bytes().as_slice()));
    for (number, (_, payload)) in got[..got.len() - 1].iter().enumerate() {
        assert_eq!(payload, format!("message {}{}", number / 10, number % 10).as_bytes(), "what came before is whole");
    }
}

#[test]
fn a_stranger_to_the_epoch_and_a_position_from_the_future_are_gaps() {
    for since in ["00000bad-3", "00005f3a-99"] {
        let mut bench = bench();
        bench.publish("a", "kept");
        bench.turn();
        let target = format!("/channel/a?since={since}");
        let notice = format!(r#"{{"channel":"a","gap":{{"from":"{since}","to":"00005f3a-0"}}}}"#);
        let poll = bench.get(&format!("{target}&wait=9"), "").take_text();
        assert!(poll.contains(r#""gap":true"#) && poll.contains("kept"), "{poll}");
        let raw = bench.get(&format!("{target}&form=raw"), "").take_text();
        assert!(raw.contains("Redpoll-Gap: 1") && raw.ends_with("kept"), "{raw}");
        let stream = bench.get(&target, EVENTS).take_text();
        assert!(stream.contains(&format!("id: {since}\n\n")), "first its own position: {stream}");
        assert!(
            stream.contains(&format!("id: 00005f3a-0\nevent: gap\ndata: {notice}\n\n")) && stream.contains("kept"),
            "{stream}"
        );
        let commands = bench.get(&target, COMMANDS).take_text();
        assert!(commands.contains(&format!(r#"{{"subscribed":"a","cursor":"{since}"}}"#)), "{commands}");
        assert!(commands.contains(&notice) && commands.contains("kept"), "{commands}");
        let websocket = bench.get(&target, UPGRADE).take();
        assert!(websocket.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 4008u16.to_be_bytes()));
    }
}

#[test]
fn the_newest_message_is_kept_whatever_its_size() {
    let history = History { bytes: 10, ..History::default() };
    let mut bench = Bench::new(Config { history, ..Config::default() });
    for text in ["first of more than ten bytes", "second of more than ten bytes"] {
        bench.publish("a", text);
        bench.turn();
    }
    let kept = bench.get("/channel/a?since=earliest", "").take_text();
    assert!(!kept.contains("first") && kept.contains("second"), "{kept}");
}

#[test]
fn a_history_of_nothing_delivers_and_keeps_nothing() {
    let history = History { entries: 0, ..History::default() };
    let mut bench = Bench::new(Config { history, ..Config::default() });
    let client = subscriber(&mut bench, "/channel/a", UPGRADE);
    bench.publish("a", "passing by");
    bench.turn();
    assert_eq!(texts(&client.take()), ["passing by"]);
    let kept = bench.get("/channel/a?since=earliest", "").take_text();
    assert!(kept.contains(r#""gap":false,"messages":[]"#), "{kept}");
}

#[test]
fn history_ends_by_number_and_by_age() {
    let mut bench = bench();
    for number in 100..250 {
        bench.publish("a", &format!("m{number}"));
        bench.turn();
    }
    let kept = bench.get("/channel/a?since=earliest", "").take_text();
    assert!(!kept.contains("m149") && kept.contains("m150") && kept.contains("m249"), "{kept}");
    bench.pass(3_601);
    assert_eq!((bench.engine.metrics().channels, bench.engine.metrics().channel_bytes), (0, 0), "and is forgotten");
    let later = bench.get("/channel/a?since=00005f3a-240", "").take_text();
    assert!(later.contains(r#""cursor":"00005f3a-150","gap":true"#), "{later}");
    bench.publish("other", "x");
    assert!(
        bench.get("/channel/other?since=last", "").take_text().contains("00005f3a-151"),
        "no offset is given twice"
    );
}

#[test]
fn a_connection_that_does_not_take_its_answers_is_not_read() {
    let mut bench = bench();
    let client = bench.connect();
    client.pipe.0.borrow_mut().room = Some(10);
    let request = b"GET /channel/a HTTP/1.1\r\nHost: x\r\n\r\n";
    bench.send(&client, request);
    bench.turn();
    let reads = client.pipe.0.borrow().reads;
    for _ in 0..5 {
        bench.send(&client, request);
        bench.turn();
    }
    assert_eq!(client.pipe.0.borrow().reads, reads);
    bench.make_room(&client, None);
    for _ in 0..6 {
        bench.turn();
    }
    assert_eq!(client.take_text().matches("HTTP/1.1 200 OK").count(), 6, "then all of it is answered");
}

#[test]
fn whoever_publishes_faster_than_is_delivered_waits_and_loses_nothing() {
    let mut bench = Bench::new(Config { unoffered_entries_max: 20, ..Config::default() });
    let reader = subscriber(&mut bench, "/channel/a", UPGRADE);
    let publisher = subscriber(&mut bench, "/channel/a", UPGRADE);
    let expected: Vec<String> = (0..200).map(|number| format!("{number}")).collect();
    let burst: Vec<u8> = expected.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect();
    bench.send(&publisher, &burst);
    assert_eq!(bench.engine.metrics().published, 21, "it is stopped at the first too many");
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!(texts(&reader.take()), expected);
}

#[test]
fn who_changes_transport_with_its_position_loses_and_repeats_nothing() {
    let kinds = [("", ""), ("wait=9&", ""), ("form=json&", EVENTS), ("form=json&", UPGRADE)];
    for (leaves, (first_query, first_fields)) in kinds.iter().enumerate() {
        for (comes, (then_query, then_fields)) in kinds.iter().enumerate() {
            let mut bench = bench();
            bench.publish("a", "m1");
            bench.publish("a", "m2");
            bench.turn();
            let first = bench.get(&format!("/channel/a?{first_query}since=earliest"), first_fields);
            let text = first.take_text();
            let (_, id) = text.rsplit_once("00005f3a-").expect("a position");
            assert!(text.contains("m1") && text.contains("m2"), "{text}");
            let id = format!("00005f3a-{}", id.split(|end: char| !end.is_ascii_digit()).next().expect("an offset"));
            bench.end(&first);
            bench.publish("a", "m3");
            bench.turn();
            let then = bench.get(&format!("/channel/a?{then_query}since={id}"), then_fields);
            bench.publish("a", "m4");
            bench.turn();
            let mut text = then.take_text();
            if comes < 2 {
                let next = bench.get("/channel/a?since=00005f3a-3", "");
                text.push_str(&next.take_text());
            }
            let count = |part: &str| text.matches(&format!("\"data\":\"{part}\"")).count();
            assert_eq!(
                [count("m1"), count("m2"), count("m3"), count("m4")],
                [0, 0, 1, 1],
                "{leaves} to {comes}: {text}"
            );
        }
    }
}

#[test]
fn a_repeated_idempotency_key_publishes_once() {
    let mut bench = bench();
    let client = bench.connect();
    let post = |key: &str| {
        format!("POST /channel/a HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nContent-Length: 2\r\n\r\nhi")
    };
    let mut answers = Vec::new();
    for key in ["k1", "k1", "k2"] {
        bench.send(&client, post(key).as_bytes());
        bench.turn();
        answers.push(client.take_text());
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[2].contains("00005f3a-2"), "{}", answers[2]);
    bench.pass(301);
    let later = bench.connect();
    bench.send(&later, post("k1").as_bytes());
    assert!(later.take_text().contains("00005f3a-3"), "after five minutes it is a new one");
}

#[test]
fn what_is_deleted_is_a_gap_to_those_who_had_not_read_it() {
    let mut bench = bench();
    let reader = subscriber(&mut bench, "/channel/a", COMMANDS);
    bench.publish("a", "read");
    bench.turn();
    let slow = bench.get("/channel/a?since=00005f3a-0&limit=1", "").take_text();
    assert!(slow.contains("read"));
    bench.publish("a", "unread");
    let client = bench.connect();
    bench.send(&client, b"DELETE /channel/a HTTP/1.1\r\nHost: x\r\n\r\n");
    bench.turn();
    assert!(client.take_text().starts_with("HTTP/1.1 204 "));
    let got = texts(&reader.take());
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got[1].contains(r#""gap":{"from":"00005f3a-1","to":"00005f3a-2"}"#), "{got:?}");
    bench.publish("a", "after");
    bench.turn();
    assert!(texts(&reader.take())[0].contains(r#""id":"00005f3a-3""#));
}

#[test]
fn commands_subscribe_unsubscribe_publish_and_are_told_what_was_wrong() {
    let mut bench = bench();
    let client = bench.get("/channel/a", COMMANDS);
    assert!(client.take_text().ends_with(r#"{"subscribed":"a","cursor":"00005f3a-0"}"#));
    let mut ask = |command: &str| {
        bench.send(&client, &frame(0x81, command.as_bytes()));
        bench.turn();
        texts(&client.take()).join(" ")
    };
    for (command, answer) in [
        (r#"{"subscribe":"b","ack":1}"#, r#"{"subscribed":"b","cursor":"00005f3a-0","ack":1}"#),
        (r#"{"subscribe":"b","ack":2}"#, r#""status":409"#),
        (
            r#"{"publish":"b","data":"hi","event":"e","ack":"x"}"#,
            r#"{"ack":"x","id":"00005f3a-1"} {"channel":"b","id":"00005f3a-1","event":"e","data":"hi"}"#,
        ),
        (r#"{"publish":"b","base64":"AP8="}"#, r#"{"channel":"b","id":"00005f3a-2","base64":"AP8="}"#),
        (r#"{"unsubscribe":"b"}"#, r#"{"unsubscribed":"b"}"#),
        (r#"{"unsubscribe":"b","ack":3}"#, r#""status":404"#),
        (r#"{"publish":"a b","data":"x","ack":4}"#, r#""status":400"#),
        (r#"{"dance":"a"}"#, r#""status":400"#),
        ("[", r#""status":400"#),
    ] {
        let got = ask(command);
        assert!(got.contains(answer), "{command} => {got}");
    }
}

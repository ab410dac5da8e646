//! Delivery: everyone gets everything, once, in order, with as little work as there can be.

mod support;

use redpoll::{Config, History};
use support::{COMMANDS, Client, EVENT_STREAM, Rig, TEXT, UPGRADE, frame, get, post};

#[test]
fn a_publication_is_encoded_once_for_each_form_however_many_subscribe() {
    for (target, fields, encodings) in [
        ("/channel/a", UPGRADE, 0),
        ("/channel/a?form=json", UPGRADE, 1),
        ("/channel/a", COMMANDS, 1),
        ("/channel/a", EVENT_STREAM, 1),
        ("/channel/a?form=json", EVENT_STREAM, 1),
        ("/channel/a,b", EVENT_STREAM, 1),
        ("/channel/a?wait=9", "", 1),
    ] {
        let mut rig = Rig::default();
        let clients: Vec<_> = (0..100).map(|_| rig.join(target, fields)).collect();
        rig.publish("a", "hello");
        rig.turn();
        assert!(clients.iter().all(|client| client.text().contains("hello")), "{target} {fields}");
        // The payload is held as a frame, which is what a raw WebSocket gets.
        assert_eq!(rig.engine.metrics().encodings, encodings, "{target} {fields}");
    }
}

#[test]
fn a_large_message_for_many_leaves_room_for_others_in_between() {
    let mut rig = Rig::default();
    let many: Vec<Client> = (0..400).map(|_| rig.join("/channel/a", EVENT_STREAM)).collect();
    let other = rig.connect();
    rig.publish("a", &"x".repeat(60_000));
    let before = rig.engine.metrics().sent_bytes;
    rig.turn();
    let sent = rig.engine.metrics().sent_bytes - before;
    assert!((8 << 20..13 << 20).contains(&sent), "{sent} bytes of {} in one turn", 400 * 60_000);
    rig.send(&other, get("/hello", ""));
    rig.turn();
    assert_eq!(other.answer().map(|answer| answer.status), Some(200));
    let told = |client: &Client| client.text().len() > 60_000;
    assert!(many.iter().any(|client| !told(client)), "it is answered before all have been delivered to");
    rig.settle();
    assert!(many.iter().all(told));
}

/// Whoever was delivered to last may have gone, and the channel with it, before a delivery that takes several turns
/// goes on.
#[test]
fn a_channel_may_be_forgotten_in_the_middle_of_a_long_delivery_of_another() {
    let mut rig = Rig::new(Config { history: History { entries: 0, ..History::default() }, ..Config::default() });
    let only = rig.join("/channel/a", UPGRADE);
    let many: Vec<Client> = (0..16_500).map(|_| rig.get("/channel/b,c", UPGRADE)).collect();
    rig.settle();
    many.iter().for_each(|client| drop(client.bytes()));
    for channel in ["a", "b", "c"] {
        rig.publish(channel, "hello");
    }
    rig.turn();
    rig.reset(&only);
    assert_eq!(rig.engine.metrics().channels, 2);
    rig.settle();
    assert!(many.iter().all(|client| client.frames().len() == 2), "everyone got both");
}

#[test]
fn who_takes_a_part_of_a_message_has_no_copy_of_the_rest() {
    for since in ["latest", "earliest"] {
        for fields in [UPGRADE, COMMANDS, EVENT_STREAM] {
            let mut rig = Rig::default();
            rig.publish("a", &"x".repeat(60_000));
            rig.turn();
            let clients: Vec<Client> = (0..10).map(|_| rig.connect()).collect();
            for client in &clients {
                client.set_capacity(1_000);
                rig.send(client, get(&format!("/channel/a?since={since}"), fields));
            }
            rig.turn();
            rig.publish("a", &"y".repeat(60_000));
            rig.turn();
            assert!(rig.engine.metrics().client_bytes < 10 * 1_000, "{since} {fields}: {:?}", rig.engine.metrics());
            clients.iter().for_each(|client| client.set_capacity(usize::MAX));
            rig.settle();
            assert!(clients.iter().all(|client| client.text().contains(&"y".repeat(60_000))), "{since} {fields}");
        }
    }
}

#[test]
fn ten_publications_of_one_turn_are_one_write() {
    for (target, fields) in [
        ("/channel/a", UPGRADE),
        ("/channel/a", COMMANDS),
        ("/channel/a,b", UPGRADE),
        ("/channel/a", EVENT_STREAM),
        ("/channel/a,b", EVENT_STREAM),
        ("/channel/a?wait=9", ""),
    ] {
        let mut rig = Rig::default();
        let client = rig.join(target, fields);
        let before = client.line().writes;
        for number in 0..10 {
            rig.publish("a", &format!("message {number}"));
        }
        rig.turn();
        assert_eq!(client.line().writes - before, 1, "{target} {fields}");
        let text = client.text();
        let places: Vec<_> = (0..10).map(|number| text.find(&format!("message {number}"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    }
}

#[test]
fn a_burst_in_one_read_reaches_every_reader_whole() {
    let mut rig = Rig::default();
    let publisher = rig.join("/channel/a", UPGRADE);
    let quick = rig.join("/channel/a", UPGRADE);
    let narrow = rig.join("/channel/a", UPGRADE);
    let stream = rig.join("/channel/a", EVENT_STREAM);
    let poll = rig.join("/channel/a?wait=9", "");
    narrow.set_capacity(1_000);
    let expected: Vec<String> = (0..3_000).map(|number| format!("{number}")).collect();
    let burst: Vec<u8> = expected.iter().flat_map(|text| frame(TEXT, text)).collect();
    rig.send(&publisher, &burst);
    let mut got = Vec::new();
    for _ in 0..100 {
        rig.turn();
        got.extend(narrow.texts());
    }
    assert_eq!(quick.texts(), expected);
    assert_eq!(publisher.texts(), expected, "its own copies come back");
    assert_eq!(got, expected, "who reads in small steps keeps reading");
    let lines = stream.text();
    assert_eq!(lines.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>(), expected);
    let polled = poll_until(&mut rig, &poll, "3000");
    assert_eq!(polled, expected);
}

/// Polls on, a tenth of a second after each answer, until the cursor is at `offset`.
fn poll_until(rig: &mut Rig, client: &Client, offset: &str) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        let json = client.answer().expect("an answer").json();
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
        rig.sleep(100);
        rig.send(client, get(&format!("/channel/a?wait=9&since={cursor}"), ""));
        rig.turn();
    }
}

#[test]
fn two_large_messages_of_one_turn_arrive_with_the_default_history() {
    let mut rig = Rig::default();
    let clients = [("/channel/a", UPGRADE), ("/channel/a", EVENT_STREAM), ("/channel/a?wait=9", "")];
    let clients = clients.map(|(target, fields)| rig.join(target, fields));
    let (first, second) = ("x".repeat(40_000), "y".repeat(40_000));
    rig.publish("a", &first);
    rig.publish("a", &second);
    for _ in 0..3 {
        rig.turn();
    }
    for client in clients {
        let text = client.text();
        assert!(text.contains(&first) && text.contains(&second));
    }
}

#[test]
fn own_replies_come_first_then_the_channels_in_their_order() {
    let mut rig = Rig::default();
    let client = rig.join("/channel/b,a", COMMANDS);
    rig.publish("a", "in a");
    rig.publish("b", "in b");
    rig.send(&client, frame(TEXT, br#"{"publish":"a","data":"own","ack":7}"#));
    rig.turn();
    let got = client.texts();
    let order = ["\"ack\":7", "in b", "in a", "own"];
    assert_eq!(got.len(), 4, "{got:?}");
    assert!(got.iter().zip(order).all(|(text, part)| text.contains(part)), "{got:?}");
}

#[test]
fn a_connection_that_does_not_take_its_answers_is_not_read() {
    let mut rig = Rig::default();
    let client = rig.connect();
    client.set_capacity(10);
    let request = get("/channel/a", "");
    rig.send(&client, &request);
    rig.turn();
    let reads = client.line().reads;
    for _ in 0..5 {
        rig.send(&client, &request);
        rig.turn();
    }
    assert_eq!(client.line().reads, reads);
    client.set_capacity(usize::MAX);
    for _ in 0..6 {
        rig.turn();
    }
    assert_eq!(client.text().matches("HTTP/1.1 200 OK").count(), 6, "then all of it is answered");
}

#[test]
fn whoever_publishes_faster_than_is_delivered_waits_and_loses_nothing() {
    let mut rig = Rig::new(Config { unoffered_entries_max: 20, ..Config::default() });
    let reader = rig.join("/channel/a", UPGRADE);
    let publisher = rig.join("/channel/a", UPGRADE);
    let expected: Vec<String> = (0..200).map(|number| format!("{number}")).collect();
    let burst: Vec<u8> = expected.iter().flat_map(|text| frame(TEXT, text)).collect();
    rig.send(&publisher, &burst);
    assert_eq!(rig.engine.metrics().published, 21, "it is stopped at the first too many");
    for _ in 0..20 {
        rig.turn();
    }
    assert_eq!(reader.texts(), expected);
}

#[test]
fn a_repeated_idempotency_key_publishes_once() {
    let mut rig = Rig::default();
    let client = rig.connect();
    let post = |key: &str| post("/channel/a", &format!("Idempotency-Key: {key}\r\n"), "hi");
    let mut answers = Vec::new();
    for key in ["k1", "k1", "k2"] {
        rig.send(&client, post(key));
        rig.turn();
        answers.push(client.text());
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[2].contains("00005f3a-2"), "{}", answers[2]);
    rig.sleep(301_000);
    let later = rig.connect();
    rig.send(&later, post("k1"));
    assert!(later.text().contains("00005f3a-3"), "after five minutes it is a new one");
}

#[test]
fn a_key_is_the_same_over_a_websocket_and_with_a_post() {
    let mut rig = Rig::default();
    let (socket, http) = (rig.ask("/channel/a,b", COMMANDS), rig.connect());
    socket.text();
    let by_socket = |rig: &mut Rig, channel: &str, key: &str| {
        rig.send(&socket, frame(TEXT, format!(r#"{{"publish":"{channel}","data":"hi","key":"{key}","ack":1}}"#)));
        rig.turn();
        socket.texts().join(" ")
    };
    let by_post = |rig: &mut Rig, key: &str| {
        rig.send(&http, post("/channel/a", &format!("Idempotency-Key: {key}\r\n"), "hi"));
        rig.turn();
        http.text()
    };
    let [ack, told] = [r#"{"ack":1,"id":"00005f3a-1"}"#, r#"{"channel":"a","id":"00005f3a-1","data":"hi"}"#];
    assert_eq!(by_socket(&mut rig, "a", "k1"), format!("{ack} {told}"));
    assert_eq!(by_socket(&mut rig, "a", "k1"), ack, "the first answer, and nothing is published");
    assert!(by_post(&mut rig, "k1").contains(r#""id":"00005f3a-1""#), "nor by POST");
    assert!(by_post(&mut rig, "k2").contains(r#""id":"00005f3a-2""#));
    assert_eq!(socket.texts(), [told.replace("-1", "-2")]);
    assert_eq!(by_socket(&mut rig, "a", "k2"), ack.replace("-1", "-2"), "nor over the socket after a POST");
    assert!(by_socket(&mut rig, "b", "k1").contains(r#"{"channel":"b","#), "another channel has keys of its own");
    assert!(by_socket(&mut rig, "a", "").contains(r#"{"error":{"status":400,"#));
    rig.sleep(301_000);
    let later = rig.ask("/channel/a", COMMANDS);
    later.text();
    rig.send(&later, frame(TEXT, r#"{"publish":"a","data":"hi","key":"k1","ack":1}"#));
    assert!(later.text().contains(r#"{"ack":1,"id":"00005f3a-3"}"#), "after five minutes it is a new one");
}

#[test]
fn commands_subscribe_unsubscribe_publish_and_are_told_what_was_wrong() {
    let mut rig = Rig::default();
    let client = rig.ask("/channel/a", COMMANDS);
    assert!(client.text().ends_with(r#"{"subscribed":"a","cursor":"00005f3a-0"}"#));
    let mut ask = |command: &str| {
        rig.send(&client, frame(TEXT, command));
        rig.turn();
        client.texts().join(" ")
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

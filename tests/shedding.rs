//! Shedding: what an engine lets go of when its memory budget is reached, in which order, and who is told.

mod support;

use redpoll::{Config, Message, Metrics};
use support::{CLOSE, Client, EVENT_STREAM, REDPOLL_V1, Rig, TEXT, UPGRADE, frame, get};

const BUDGET: usize = 1 << 20;

/// Everything that is held.
fn held(metrics: &Metrics) -> usize {
    metrics.client_bytes + metrics.channel_bytes + metrics.table_bytes
}

/// How often each step has shed something, in their order.
fn steps(rig: &Rig) -> [u64; 6] {
    let metrics = rig.engine.metrics();
    [
        metrics.shed_readers,
        metrics.shed_history,
        metrics.shed_unheard,
        metrics.shed_requests,
        metrics.shed_messages,
        metrics.shed_connections,
    ]
}

/// Which steps have been taken.
fn taken(rig: &Rig) -> [bool; 6] {
    steps(rig).map(|count| count > 0)
}

fn rig() -> Rig {
    Rig::new(Config { memory_bytes_max: BUDGET, ..Config::default() })
}

/// Publishes messages of `bytes` to a channel, a turn after each, as long as it is allowed; says how many.
fn fill(rig: &mut Rig, channel: &str, count: usize, bytes: usize) -> usize {
    let data = "x".repeat(bytes);
    let publish = |_: &usize| {
        let published = rig.engine.publish(channel, Message::text_of(&data), rig.now).is_ok();
        rig.turn();
        assert!(held(&rig.engine.metrics()) <= BUDGET);
        published
    };
    (0..count).filter(publish).count()
}

/// Channels without subscribers that keep a message each, until less than a quarter of the budget is free.
fn fill_unheard(rig: &mut Rig) {
    let mut number = 0;
    while held(&rig.engine.metrics()) < BUDGET - BUDGET / 4 {
        assert_eq!(fill(rig, &format!("unheard-{number}"), 1, 20_000), 1);
        number += 1;
    }
}

/// Goes on with small messages until something is shed.
fn fill_until_shed(rig: &mut Rig) {
    for number in 0..200 {
        fill(rig, &format!("more-{number}"), 1, 3_000);
        if steps(rig) != [0; 6] {
            return;
        }
    }
    panic!("nothing is shed: {:?}", rig.engine.metrics());
}

/// Subscribers enough that everything else has to go before them: each holds a channel of its own.
fn fill_heard(rig: &mut Rig, below: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    while held(&rig.engine.metrics()) < below {
        let name = format!("heard-{}", clients.len());
        clients.push(rig.websocket(&format!("/channel/{name}"), None));
        rig.publish(&name, &"y".repeat(20_000));
        rig.turn();
    }
    clients
}

/// A subscriber to whom a part of a message has been written that is then evicted.
fn slow_reader(rig: &mut Rig, fields: &str) -> Client {
    let client = rig.join("/channel/slow", fields);
    client.set_capacity(100);
    for text in ["a".repeat(40_000), "b".repeat(40_000), "c".repeat(40_000)] {
        rig.publish("slow", &text);
        rig.turn();
    }
    rig.sleep(5_000);
    client
}

#[test]
fn without_a_budget_nothing_is_shed() {
    let mut rig = Rig::default();
    let data = "x".repeat(60_000);
    for number in 0..100 {
        rig.publish(&format!("channel-{number}"), &data);
    }
    rig.settle();
    assert!(held(&rig.engine.metrics()) > 5 * BUDGET);
    assert_eq!(steps(&rig), [0; 6]);
}

#[test]
fn first_whoever_pins_what_is_evicted_and_does_not_read_is_closed() {
    let mut rig = rig();
    let slow = slow_reader(&mut rig, EVENT_STREAM);
    fill_unheard(&mut rig);
    assert_eq!((taken(&rig), slow.is_closed()), ([false; 6], false));
    fill_until_shed(&mut rig);
    assert_eq!((taken(&rig)[0], slow.is_closed()), (true, true));
}

#[test]
fn closing_them_alone_is_enough_where_they_hold_enough() {
    let mut rig = rig();
    let readers: Vec<Client> = (0..4).map(|_| slow_reader(&mut rig, EVENT_STREAM)).collect();
    fill_unheard(&mut rig);
    fill_until_shed(&mut rig);
    assert_eq!(taken(&rig), [true, false, false, false, false, false]);
    assert!(readers.iter().all(Client::is_closed));
}

#[test]
fn who_has_read_something_a_moment_ago_is_not_closed() {
    let mut rig = rig();
    let slow = slow_reader(&mut rig, EVENT_STREAM);
    fill_unheard(&mut rig);
    slow.set_capacity(100);
    rig.turn();
    fill_until_shed(&mut rig);
    assert_eq!((taken(&rig)[0], slow.is_closed()), (false, false));
}

#[test]
fn then_history_goes_of_the_longest_channel_first_and_who_had_not_read_it_is_told() {
    let mut rig = rig();
    let (websocket, stream) = (rig.websocket("/channel/long", REDPOLL_V1), rig.join("/channel/long", EVENT_STREAM));
    let raw = rig.websocket("/channel/long", None);
    for client in [&websocket, &stream, &raw] {
        client.set_capacity(0);
    }
    let poll = rig.ask("/channel/long?since=latest", "");
    let cursor = poll.answer().expect("an answer").json()["cursor"].as_str().expect("a cursor").to_owned();
    fill(&mut rig, "short", 10, 1_000);
    while steps(&rig)[1] == 0 {
        fill(&mut rig, "long", 1, 30_000);
        let other = format!("one-{}", rig.now.monotonic_ms);
        fill(&mut rig, &other, 1, 30_000);
        rig.sleep(1);
    }
    assert_eq!(taken(&rig), [false, true, false, false, false, false]);
    let json = rig.ask("/channel/short?since=earliest", "").answer().expect("an answer").json();
    assert_eq!(json["messages"].as_array().map(Vec::len), Some(10), "the short one is whole");
    let json = rig.ask(&format!("/channel/long?since={cursor}"), "").answer().expect("an answer").json();
    assert_eq!(json["gap"], true);
    for client in [&websocket, &stream, &raw] {
        client.set_capacity(usize::MAX);
    }
    rig.settle();
    assert!(websocket.texts().iter().any(|text| text.contains("\"gap\"")));
    assert!(stream.text().contains("event: gap"));
    assert_eq!(raw.frames().last().map(|frame| (frame.opcode, frame.code())), Some((CLOSE, 4008)));
}

#[test]
fn the_newest_of_each_channel_outlives_its_history() {
    let mut rig = rig();
    for _ in 0..20 {
        for channel in 0..40 {
            fill(&mut rig, &format!("channel-{channel}"), 1, 3_000);
        }
    }
    assert_eq!(taken(&rig), [false, true, false, false, false, false]);
    for channel in 0..40 {
        let client = rig.get(&format!("/channel/channel-{channel}?since=last"), "");
        // It may have to wait until there is room.
        rig.settle();
        let json = client.answer().expect("an answer").json();
        assert_eq!(json["messages"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn then_the_newest_entries_of_channels_without_subscribers_go() {
    let mut rig = rig();
    let heard = fill_heard(&mut rig, BUDGET / 3);
    for number in 0..200 {
        assert_eq!(fill(&mut rig, &format!("unheard-{number}"), 1, 5_000), 1, "none is refused");
    }
    assert_eq!(taken(&rig), [false, false, true, false, false, false]);
    for number in 0..heard.len() {
        let json = rig.ask(&format!("/channel/heard-{number}?since=last"), "").answer().expect("an answer").json();
        assert_eq!(json["messages"].as_array().map(Vec::len), Some(1), "these have subscribers");
    }
}

#[test]
fn with_them_goes_what_is_kept_for_observers_who_have_gone() {
    let mut rig = rig();
    let mut observers = Vec::new();
    while let (number, Some(client)) = (observers.len(), rig.try_connect()) {
        rig.send(&client, get(&format!("/channel/room-{number}?presence=1"), EVENT_STREAM));
        rig.turn();
        observers.push(client);
    }
    observers[1..].iter().for_each(|client| rig.reset(client));
    rig.sleep(200);
    let client = rig.try_connect().expect("there is room again");
    rig.send(&client, get("/channel/room-0?name=ann&wait=1", ""));
    rig.sleep(600);
    assert!(observers[0].text().contains(r#""join":{"name":"ann","#), "who has stayed is told");
}

#[test]
fn who_comes_back_to_a_channel_that_was_forgotten_is_told_the_gap() {
    let mut rig = rig();
    let first = rig.publish("a", "first");
    rig.publish("a", &"second".repeat(5_000));
    let mut number = 0;
    while steps(&rig)[2] == 0 {
        fill(&mut rig, &format!("unheard-{number}"), 1, 20_000);
        number += 1;
    }
    let json = rig.ask(&format!("/channel/a?since={first}"), "").answer().expect("an answer").json();
    assert_eq!((&json["gap"], json["messages"].as_array().map(Vec::len)), (&true.into(), Some(0)));
}

#[test]
fn then_requests_and_messages_that_have_not_all_arrived_the_largest_first() {
    let mut rig = rig();
    let heard = fill_heard(&mut rig, BUDGET / 2);
    let small = rig.connect();
    rig.send(&small, "POST /channel/a HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\nsmall");
    let mut large = Vec::new();
    while steps(&rig) == [0; 6] {
        let (request, message) = (rig.connect(), rig.websocket("/channel/heard-0", None));
        let bytes = 35_000 - 1_000 * large.len();
        let head = "POST /channel/a HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
        rig.send(&request, format!("{head}{:bytes$}", ""));
        rig.send(&message, &frame(TEXT, "x".repeat(40_000))[..bytes]);
        rig.turn();
        large.push((request, message));
    }
    rig.turn();
    let [readers, history, unheard, requests, messages, connections] = steps(&rig);
    assert_eq!((readers, history, unheard, connections), (0, 0, 0, 0));
    assert!(requests > 0 && messages > 0 && requests + messages < 2 * large.len() as u64);
    let statuses: Vec<u16> =
        large.iter().filter_map(|(request, _)| request.answer()).map(|answer| answer.status).collect();
    assert_eq!(statuses, vec![503; requests as usize]);
    let codes: Vec<u16> = large.iter().flat_map(|(_, message)| message.frames()).map(|end| end.code()).collect();
    assert_eq!(codes, vec![1013; messages as usize]);
    assert!(small.bytes().is_empty() && heard.iter().all(|client| !client.is_shut()), "the small one goes on");
}

#[test]
fn then_new_connections_are_refused_and_established_ones_go_on() {
    let mut rig = rig();
    let reader = rig.websocket("/channel/a", None);
    let mut others = Vec::new();
    for number in 0.. {
        match rig.try_connect() {
            Some(client) => {
                rig.send(&client, get(&format!("/channel/a-{number}"), UPGRADE));
                others.push(client);
            }
            None => break,
        }
        rig.turn();
        assert!(number < 100_000 && held(&rig.engine.metrics()) <= BUDGET);
    }
    assert_eq!(taken(&rig), [false, false, false, false, false, true]);
    let refusal = String::from_utf8(rig.engine.refusal()).expect("it is text");
    assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("Retry-After: 5\r\n"), "{refusal}");
    assert!(refusal.contains("--memory"), "{refusal}");
    rig.publish("a", "for those who are there");
    rig.turn();
    assert_eq!(reader.texts(), ["for those who are there"]);
    assert!(others.iter().all(|client| !client.is_closed()));
    others.iter().for_each(|client| rig.hang_up(client));
    rig.turn();
    rig.turn();
    assert!(rig.try_connect().is_some(), "there is room again");
}

#[test]
fn what_tables_took_is_free_again_when_all_have_gone() {
    let mut rig = rig();
    let names: Vec<String> = (0..32).map(|number| number.to_string()).collect();
    let target = format!("/channel/{}", names.join(","));
    let mut clients = Vec::new();
    while let Some(client) = rig.try_connect() {
        rig.send(&client, get(&target, EVENT_STREAM));
        rig.turn();
        clients.push(client);
    }
    assert!(rig.engine.metrics().subscriptions > 15_000, "{:?}", rig.engine.metrics());
    clients.iter().for_each(|client| rig.reset(client));
    rig.sleep(200);
    assert!(held(&rig.engine.metrics()) < BUDGET / 32, "{:?}", rig.engine.metrics());
    assert!(rig.try_connect().is_some(), "there is room again");
}

#[test]
fn who_reads_is_not_dropped_for_a_large_message_while_anything_else_may_be_shed() {
    let mut rig = rig();
    let reader = rig.join("/channel/a,b", EVENT_STREAM);
    reader.set_capacity(1_000);
    while held(&rig.engine.metrics()) < BUDGET * 13 / 16 {
        let number = rig.engine.metrics().published;
        fill(&mut rig, &format!("unheard-{number}"), 1, 20_000);
    }
    // With several channels the rest of an event is the connection's own, and JSON takes six bytes for each of these.
    rig.publish("a", &"\u{1}".repeat(60_000));
    rig.turn();
    assert_eq!((taken(&rig)[0], taken(&rig)[2], reader.is_closed()), (false, true, false));
    let mut text = reader.text();
    while reader.is_full() || !text.ends_with("\n\n") {
        reader.set_capacity(100_000);
        rig.turn();
        text += &reader.text();
    }
    assert_eq!(text.matches("\\u0001").count(), 60_000);
}

#[test]
fn a_publication_is_refused_only_when_nothing_is_left_to_be_shed() {
    let mut rig = rig();
    let publisher = rig.connect();
    let heard: Vec<Client> = (0..150).map(|number| rig.websocket(&format!("/channel/heard-{number}"), None)).collect();
    let post = |rig: &mut Rig, channel: &str| {
        rig.send(&publisher, support::post(&format!("/channel/{channel}"), "", &"x".repeat(9_000)));
        rig.turn();
        publisher.answer().expect("an answer").status
    };
    for number in 0..300 {
        assert_eq!(post(&mut rig, &format!("unheard-{number}")), 202, "there is something to be shed");
    }
    let taken = (0..heard.len()).take_while(|number| post(&mut rig, &format!("heard-{number}")) == 201).count();
    assert!((80..heard.len()).contains(&taken), "{taken} newest entries with subscribers take the whole budget");
    assert!(held(&rig.engine.metrics()) + 10_000 > BUDGET);
    for (number, client) in heard.iter().enumerate() {
        assert_eq!(client.frames().len(), usize::from(number < taken), "nothing but what was refused is missing");
        assert!(!client.is_closed());
    }
}

/// A text in JSON is up to six times as long, and is kept while a part of it is written.
#[test]
fn what_is_encoded_for_readers_who_take_a_part_of_it_stays_within_the_budget() {
    let mut rig = rig();
    let heard: Vec<Client> = (0..10).map(|number| rig.websocket(&format!("/channel/long-{number}"), None)).collect();
    for number in 0..10 {
        rig.publish(&format!("long-{number}"), &"\u{1}".repeat(60_000));
    }
    rig.settle();
    let slow: Vec<Client> = (0..10).map(|_| rig.connect_with(200_000)).collect();
    let _others = fill_heard(&mut rig, BUDGET * 13 / 16);
    let before = held(&rig.engine.metrics());
    for (number, slow) in slow.iter().enumerate() {
        rig.send(slow, get(&format!("/channel/long-{number}?form=json&since=last"), EVENT_STREAM));
        rig.turn();
        let held = held(&rig.engine.metrics());
        assert!(held <= BUDGET, "{held} bytes are held after {number} more, {before} before");
        assert!(slow.is_closed(), "what it has taken in part cannot be kept for it");
    }
    assert!(heard.iter().all(|client| !client.is_closed()), "who reads goes on");
    assert_eq!(rig.engine.metrics().shed_readers, 10);
}

#[test]
fn an_answer_that_is_not_taken_stays_within_the_budget_though_another_request_waits() {
    let mut rig = rig();
    // In JSON each byte is six.
    rig.publish("long", &"\u{1}".repeat(60_000));
    fill_heard(&mut rig, BUDGET * 3 / 4);
    let client = rig.connect_with(1_000);
    rig.send(&client, support::get("/channel/long?since=earliest", "").repeat(2));
    assert!(held(&rig.engine.metrics()) <= BUDGET, "{:?}", rig.engine.metrics());
    rig.turn();
    assert_eq!((taken(&rig)[0], client.is_closed()), (true, true));
}

#[test]
fn a_table_that_grows_stays_within_the_budget_too() {
    let mut rig = rig();
    let slow: Vec<Client> = (0..240).map(|_| rig.connect_with(100)).collect();
    let reader = rig.websocket("/channel/a", REDPOLL_V1);
    let subscribe =
        |number: usize| frame(TEXT, format!(r#"{{"subscribe":"channel-{number}","since":"latest"}}"#).as_bytes());
    // A page of the table of subscriptions, to the last place.
    (1..256).for_each(|number| rig.send(&reader, subscribe(number)));
    rig.settle();
    assert_eq!(rig.engine.metrics().subscriptions, 256);
    for slow in &slow {
        rig.send(slow, get(&format!("/hello?name={}", "x".repeat(4_050)), ""));
        rig.turn();
    }
    let before = held(&rig.engine.metrics());
    assert!(before > BUDGET - 5_000, "{before}");
    rig.send(&reader, subscribe(256));
    rig.turn();
    let metrics = rig.engine.metrics();
    assert_eq!((metrics.subscriptions, reader.is_closed()), (257, false));
    assert!(held(&metrics) <= BUDGET, "{} bytes are held, {before} before", held(&metrics));
}

#[test]
fn a_reader_that_keeps_up_gets_everything_while_memory_is_short() {
    let mut rig = rig();
    let readers = [rig.websocket("/channel/a", None), rig.join("/channel/a", EVENT_STREAM)];
    let publisher = rig.websocket("/channel/a", None);
    fill_heard(&mut rig, BUDGET / 2);
    let texts: Vec<String> = (0..300).map(|number| format!("{number}-{}", "z".repeat(9_000))).collect();
    let burst: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text)).collect();
    rig.send(&publisher, burst);
    let mut got = Vec::new();
    for _ in 0..2_000 {
        rig.turn();
        got.extend(readers[0].texts());
        assert!(held(&rig.engine.metrics()) <= BUDGET);
    }
    assert_eq!(got, texts);
    let stream = readers[1].text();
    assert_eq!(stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>(), texts);
    assert_eq!(rig.engine.metrics().gaps, 0);
    assert!(!taken(&rig)[0] && !taken(&rig)[4], "{:?}", steps(&rig));
}

#[test]
fn where_the_heap_is_in_pieces_less_is_held_and_slowly_more_again() {
    let mut rig = rig();
    let bound = BUDGET + BUDGET / 4 + (4 << 20);
    let most = |rig: &mut Rig, resident: usize| {
        let mut most = 0;
        for number in 0..400 {
            rig.engine.note_resident(resident + number * usize::from(resident > BUDGET));
            fill(rig, &format!("channel-{number}"), 1, 5_000);
            most = most.max(held(&rig.engine.metrics()));
        }
        fill(rig, "last", 1, 1);
        (most, held(&rig.engine.metrics()))
    };
    assert!(most(&mut rig, BUDGET / 2).0 > BUDGET - BUDGET / 4);
    assert!(most(&mut rig, bound - 1_000).1 <= BUDGET / 4, "it grows although it is too large");
    assert!(most(&mut rig, BUDGET / 2).0 > BUDGET - BUDGET / 4, "it is small again");
    assert!(most(&mut rig, bound - 1_000).1 <= BUDGET / 4, "it grows once more");
    rig.engine.note_resident(BUDGET / 2);
    (0..12).for_each(|number| assert_eq!(fill(&mut rig, &format!("large-{number}"), 1, 50_000), 1));
    assert!(held(&rig.engine.metrics()) > BUDGET / 2, "where nothing brings it near, all is allowed at once");
}

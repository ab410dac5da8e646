//! A channel followed by every transport, with send buffers of every size: the same messages, once, in order.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use redpoll::{Config, Consumer, Context, History, Message, Reason, Response, Server, Status};
use support::{EPOCH, EVENT_STREAM, REDPOLL_V1, Rig, Subscriber, TEXT, Way, frame, get, post};

/// From all that is taken at once to less than a message.
const CAPACITIES: [usize; 5] = [usize::MAX, 50_000, 4_096, 500, 37];

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("number {number}")).collect()
}

/// Turns after each of which the subscriber takes what has arrived, until it has `count` messages or no more come.
fn follow(rig: &mut Rig, subscriber: &mut Subscriber, count: usize) {
    let mut quiet = 0;
    while subscriber.messages.len() < count && quiet < 10_000 {
        rig.turn();
        let before = subscriber.messages.len();
        subscriber.collect(rig);
        quiet = if subscriber.messages.len() > before { 0 } else { quiet + 1 };
    }
    rig.settle();
    subscriber.collect(rig);
}

fn assert_same(got: &[String], expected: &[String], what: &str) {
    let same = got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
    assert!(
        same == got.len() && same == expected.len(),
        "{what}: {} of {}, right are {same}",
        got.len(),
        expected.len()
    );
}

#[test]
fn a_burst_of_one_read_reaches_every_reader_whole_whatever_its_send_buffer() {
    let expected = numbers(0..3_000);
    let burst: Vec<u8> = expected.iter().flat_map(|text| frame(TEXT, text)).collect();
    for way in Way::PUSHED {
        for capacity in CAPACITIES {
            let mut rig = Rig::default();
            let publisher = rig.websocket("/channel/a", None);
            let mut reader = rig.subscribe_with(way, "a", None, capacity);
            rig.settle();
            rig.send(&publisher, &burst);
            follow(&mut rig, &mut reader, expected.len());
            assert_same(&reader.messages, &expected, &format!("{way:?}, {capacity}"));
            assert_eq!(reader.gaps, 0, "{way:?}, {capacity}");
        }
    }
}

#[test]
fn two_large_messages_of_one_turn_reach_every_reader_whole_whatever_its_send_buffer() {
    let expected = ["x", "y"].map(|letter| letter.repeat(40 << 10));
    for way in Way::PUSHED {
        for capacity in CAPACITIES {
            let mut rig = Rig::default();
            let mut reader = rig.subscribe_with(way, "a", None, capacity);
            rig.settle();
            rig.publish_all("a", &expected);
            follow(&mut rig, &mut reader, expected.len());
            assert_same(&reader.messages, &expected, &format!("{way:?}, {capacity}"));
            assert_eq!(reader.gaps, 0, "{way:?}, {capacity}");
        }
    }
}

#[test]
fn who_polls_again_within_a_second_loses_nothing() {
    let large: Vec<String> = ["x", "y"].map(|letter| letter.repeat(40 << 10)).to_vec();
    // An answer has up to 1,000 messages, so that the burst takes four: all of them within the second.
    for (expected, pause_ms) in [(numbers(0..3_000), 300), (large, 900)] {
        let mut rig = Rig::default();
        let publisher = rig.websocket("/channel/a", None);
        let mut reader = rig.subscribe(Way::LongPoll, "a", None);
        rig.settle();
        let burst: Vec<u8> = expected.iter().flat_map(|text| frame(TEXT, text)).collect();
        rig.send(&publisher, &burst);
        for _ in 0..50 {
            rig.sleep(pause_ms);
            if reader.take() {
                reader.poll(&mut rig);
            }
        }
        assert_same(&reader.messages, &expected, "polled");
        assert_eq!(reader.gaps, 0);
    }
}

#[test]
fn a_burst_of_pipelined_posts_reaches_every_reader_whole() {
    let expected = numbers(0..3_000);
    let burst: Vec<u8> = expected.iter().flat_map(|text| post("/channel/a", "", text).into_bytes()).collect();
    for way in Way::PUSHED {
        let mut rig = Rig::default();
        let publisher = rig.connect();
        let mut reader = rig.subscribe(way, "a", None);
        rig.settle();
        rig.send(&publisher, &burst);
        follow(&mut rig, &mut reader, expected.len());
        assert_same(&reader.messages, &expected, &format!("{way:?}"));
        let answers: Vec<_> = std::iter::from_fn(|| publisher.answer()).collect();
        let offsets = answers.iter().map(|answer| answer.json()["id"].as_str().expect("an id").to_owned());
        let given: Vec<String> = (1..=3_000).map(|offset| format!("{EPOCH:08x}-{offset}")).collect();
        assert_same(&offsets.collect::<Vec<_>>(), &given, "the answers");
    }
}

#[test]
fn the_bytes_are_the_same_whatever_the_send_buffer() {
    let targets = [
        ("/channel/a", support::UPGRADE, None),
        ("/channel/a,b", support::UPGRADE, None),
        ("/channel/a,b?form=json", support::UPGRADE, REDPOLL_V1),
        ("/channel/a", EVENT_STREAM, None),
        ("/channel/a?form=json", EVENT_STREAM, None),
        ("/channel/a,b", EVENT_STREAM, None),
    ];
    for (target, fields, protocol) in targets {
        let written = |capacity: usize| {
            let mut rig = Rig::default();
            let client = rig.connect();
            match protocol {
                Some(_) => rig.upgrade(&client, target, protocol),
                None => rig.send(&client, get(target, fields)),
            }
            rig.settle();
            let mut bytes = client.bytes();
            client.set_capacity(capacity);
            for turn in 0..10 {
                // In another channel's order than the client's, so that what is shared and what is its own change places.
                rig.publish("b", &format!("b {turn}"));
                rig.publish("a", &format!("first {turn}"));
                rig.publish("a", &"second ".repeat(turn));
                for _ in 0..2_000 {
                    rig.turn();
                    bytes.extend(client.bytes());
                }
            }
            bytes
        };
        let whole = written(usize::MAX);
        for capacity in [1, 2, 3, 7, 10, 64, 100, 333] {
            assert!(written(capacity) == whole, "{target}, {capacity}");
        }
    }
}

#[test]
fn replies_and_deliveries_are_whole_whatever_the_send_buffer() {
    for capacity in [1, 5, 16, 100] {
        let mut rig = Rig::default();
        let client = rig.websocket("/channel/a,b", REDPOLL_V1);
        client.frames();
        client.set_capacity(capacity);
        let (mut acks, mut envelopes) = (Vec::new(), Vec::new());
        for number in 0..40 {
            rig.publish("b", "from outside");
            rig.send(&client, frame(TEXT, format!(r#"{{"publish":"a","data":"own","ack":{number}}}"#)));
        }
        for _ in 0..20_000 {
            rig.turn();
            for frame in client.frames() {
                let json = frame.json();
                match json["ack"].as_u64() {
                    Some(ack) => acks.push(ack),
                    None => envelopes.push((json["channel"].to_string(), json["id"].to_string())),
                }
            }
        }
        assert_eq!(acks, (0..40).collect::<Vec<_>>(), "{capacity}");
        for channel in ["\"a\"", "\"b\""] {
            let ids: Vec<_> = envelopes.iter().filter(|(known, _)| known == channel).map(|(_, id)| id).collect();
            let expected: Vec<String> = (1..=40).map(|offset| format!("\"{EPOCH:08x}-{offset}\"")).collect();
            assert_eq!(ids, expected.iter().collect::<Vec<_>>(), "{channel}, {capacity}");
        }
    }
}

#[test]
fn leaving_on_one_transport_and_coming_back_on_another_loses_and_repeats_nothing() {
    // A raw WebSocket never knows its position, so nobody leaves there.
    for leaves in Way::ALL.into_iter().filter(|way| *way != Way::RawSocket) {
        for comes in Way::ALL {
            let mut rig = Rig::default();
            rig.publish("a", "number 0");
            let mut first = rig.subscribe(leaves, "a", Some("earliest"));
            rig.settle();
            first.collect(&mut rig);
            rig.publish("a", "number 1");
            rig.settle();
            if leaves == Way::ShortPoll {
                first.poll(&mut rig);
            }
            first.collect(&mut rig);
            // One that it would have got in the turn in which it leaves, one while it is away, one as it comes back.
            rig.publish("a", "number 2");
            rig.hang_up(&first.client);
            rig.settle();
            first.take();
            rig.publish("a", "number 3");
            rig.settle();
            let mut second = rig.subscribe(comes, "a", first.cursor.as_deref());
            rig.publish("a", "number 4");
            rig.settle();
            second.collect(&mut rig);
            rig.publish("a", "number 5");
            rig.settle();
            if comes == Way::ShortPoll {
                second.poll(&mut rig);
            }
            second.collect(&mut rig);
            first.messages.append(&mut second.messages);
            assert_eq!(first.messages, numbers(0..6), "{leaves:?} to {comes:?}");
            assert_eq!((first.gaps, second.gaps), (0, 0), "{leaves:?} to {comes:?}");
        }
    }
}

#[test]
fn a_position_on_several_channels_holds_on_every_transport_that_has_one() {
    let ways = [Way::JsonEvents, Way::LongPoll, Way::ShortPoll];
    for leaves in ways {
        for comes in ways {
            let mut rig = Rig::default();
            for channel in ["c", "b", "a", "b"] {
                rig.publish(channel, &format!("first on {channel}"));
            }
            let mut first = rig.subscribe(leaves, "a,b,c", Some("earliest"));
            rig.settle();
            first.take();
            rig.hang_up(&first.client);
            rig.publish("b", "second on b");
            rig.publish("a", "second on a");
            rig.settle();
            let mut second = rig.subscribe(comes, "a,b,c", first.cursor.as_deref());
            rig.settle();
            second.take();
            let in_order = ["first on a", "first on b", "first on b", "first on c"];
            assert_eq!(first.messages, in_order, "{leaves:?}, in the order of the URL");
            assert_eq!(second.messages, ["second on a", "second on b"], "{leaves:?} to {comes:?}");
        }
    }
}

#[test]
fn who_takes_nothing_for_long_is_told_the_gap_and_gets_the_rest() {
    for way in Way::PUSHED {
        let mut rig = Rig::default();
        let mut slow = rig.subscribe_with(way, "a", None, 100);
        rig.settle();
        // Ten seconds: less than a ping interval, more than anything is kept for it.
        for turn in 0..100 {
            rig.publish_all("a", &numbers(turn * 20..turn * 20 + 20));
            rig.sleep(100);
        }
        slow.client.set_capacity(usize::MAX);
        follow(&mut rig, &mut slow, 2_000);
        let expected = numbers(0..2_000);
        let before = slow.messages.iter().zip(&expected).take_while(|(got, sent)| got == sent).count();
        if way == Way::RawSocket {
            assert_eq!((slow.closed_with, before), (Some(4008), slow.messages.len()), "closed after whole messages");
            continue;
        }
        let after = &slow.messages[before..];
        assert_eq!(slow.gaps, 1, "{way:?}");
        assert_same(after, &expected[2_000 - after.len()..], &format!("{way:?}"));
        assert!(after.len() >= 100, "{way:?}: what is kept is given: {}", after.len());
    }
}

#[test]
fn who_takes_nothing_costs_at_most_one_message() {
    for way in Way::PUSHED {
        let mut rig = Rig::default();
        let slow = rig.subscribe_with(way, "a", None, 100);
        rig.settle();
        let before = rig.engine.metrics().client_bytes;
        for turn in 0..100 {
            rig.publish_all("a", &vec!["x".repeat(1_000 + turn); 20]);
            rig.sleep(100);
        }
        assert!(slow.client.is_full(), "{way:?}");
        let held = rig.engine.metrics().client_bytes - before;
        // A poll's answer holds all that there was in the turn.
        let bound = if way == Way::LongPoll { 22_000 } else { 1_500 };
        assert!(held < bound, "{way:?}: {held}");
        rig.reset(&slow.client);
        rig.settle();
        assert_eq!(rig.engine.metrics().client_bytes, 0, "{way:?}");
    }
}

#[test]
fn everyone_sees_one_order_whoever_publishes() {
    let mut rig = Rig::default();
    let mut readers: Vec<_> = Way::PUSHED.map(|way| rig.subscribe(way, "a", None)).into();
    let publishers: Vec<_> = (0..5).map(|_| rig.websocket("/channel/a", None)).collect();
    let commander = rig.websocket("/channel/other", REDPOLL_V1);
    for round in 0..50 {
        for (index, publisher) in publishers.iter().enumerate() {
            let two = [frame(TEXT, format!("{round} by {index}")), frame(TEXT, format!("{round} again by {index}"))];
            rig.send(publisher, two.concat());
        }
        rig.publish("a", &format!("{round} from outside"));
        rig.post("/channel/a", "", &format!("{round} by POST"));
        rig.send(&commander, frame(TEXT, format!(r#"{{"publish":"a","data":"{round} by command"}}"#)));
        if round % 3 == 0 {
            rig.settle();
            readers.iter_mut().for_each(|reader| reader.collect(&mut rig));
        }
    }
    rig.settle();
    readers.iter_mut().for_each(|reader| reader.collect(&mut rig));
    let expected: Vec<String> = (1..=50 * 13).map(|offset| format!("{EPOCH:08x}-{offset}")).collect();
    for reader in &readers {
        assert_same(&reader.messages, &readers[0].messages, &format!("{:?}", reader.way));
        if reader.way != Way::RawSocket {
            assert_same(&reader.ids, &expected, &format!("{:?}", reader.way));
        }
    }
}

#[test]
fn a_publisher_waits_for_a_channel_with_more_members_than_a_turn_has_deliveries() {
    let config = Config { unoffered_entries_max: 4, ..Config::default() };
    let mut rig = Rig::new(config);
    let mut readers: Vec<_> = (0..20_000).map(|_| rig.subscribe(Way::RawSocket, "a", None)).collect();
    let publisher = rig.websocket("/channel/other,a", REDPOLL_V1);
    rig.settle();
    let expected = numbers(0..50);
    let commands = expected.iter().map(|text| frame(TEXT, format!(r#"{{"publish":"a","data":"{text}"}}"#)));
    rig.send(&publisher, commands.collect::<Vec<_>>().concat());
    rig.turn();
    let offered = rig.engine.metrics();
    assert_eq!(offered.published, 5, "it is held as soon as there are too many");
    assert_eq!(offered.deliveries, 16_384, "a turn delivers so many times and no more");
    rig.settle();
    for reader in &mut readers {
        reader.take();
        assert_same(&reader.messages, &expected, "a reader");
    }
}

#[test]
fn a_history_of_nothing_reaches_every_reader_whatever_its_send_buffer() {
    let history = History { entries: 0, ..History::default() };
    let expected = numbers(0..200);
    for way in Way::PUSHED {
        for capacity in CAPACITIES {
            let mut rig = Rig::new(Config { history, ..Config::default() });
            let mut reader = rig.subscribe_with(way, "a", None, capacity);
            rig.settle();
            rig.publish_all("a", &expected);
            follow(&mut rig, &mut reader, expected.len());
            assert_same(&reader.messages, &expected, &format!("{way:?}, {capacity}"));
            rig.sleep(2_000);
            let channel = rig.get("/channel/a?since=earliest", "").answer().expect("at once").json();
            assert_eq!(channel["messages"].as_array().map(Vec::len), Some(0), "{way:?}, {capacity}: nothing is kept");
        }
    }
}

/// Writes down where its client was when it left.
struct Witness(Rc<RefCell<Vec<u64>>>);

impl Consumer for Witness {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        cx.subscribe("a");
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}

    fn disconnect(&mut self, _: Reason, cx: &mut Context) {
        self.0.borrow_mut().extend(cx.cursor("a").map(|position| position.offset));
    }
}

#[test]
fn the_cursor_at_the_end_says_what_went_to_the_kernel_whole() {
    for (fields, target) in [
        (support::UPGRADE, "/witness?form=raw"),
        (support::UPGRADE, "/witness?form=json"),
        (EVENT_STREAM, "/witness?form=raw"),
        (EVENT_STREAM, "/witness?form=json"),
        ("", "/witness?wait=25"),
    ] {
        let mut sizes = Vec::new();
        // How many bytes everything takes, then every send buffer up to that.
        let mut capacity = usize::MAX;
        loop {
            let seen = Rc::new(RefCell::new(Vec::new()));
            let witness = Rc::clone(&seen);
            let mut rig = Rig::of(Server::new().route("/witness", move |_| Witness(Rc::clone(&witness))));
            let client = rig.get(target, fields);
            rig.settle();
            client.set_capacity(capacity);
            rig.publish_all("a", &["one", "two", "three"]);
            rig.settle();
            let bytes = client.bytes();
            rig.reset(&client);
            rig.settle();
            let count = ["one", "two", "three"].iter().filter(|text| whole(&bytes, text, fields)).count() as u64;
            let expected = if fields.is_empty() && capacity < usize::MAX { 0 } else { count };
            assert_eq!(*seen.borrow(), [expected], "{fields:?} {target}, {capacity}");
            sizes.push(bytes.len());
            capacity = if capacity == usize::MAX { sizes[0] - 1 } else { capacity - 1 };
            if capacity == 0 {
                break;
            }
        }
    }
}

/// Whether the message has been written with all that belongs to it.
fn whole(bytes: &[u8], text: &str, fields: &str) -> bool {
    let written = String::from_utf8_lossy(bytes).into_owned();
    let Some(at) = written.find(text) else { return false };
    let rest = &written[at + text.len()..];
    match fields {
        EVENT_STREAM => rest.contains("\n\n"),
        _ if written.contains("\"data\"") => rest.contains('}'),
        _ => true,
    }
}

#[test]
fn a_publisher_that_is_held_for_long_is_read_no_more_often_than_it_must_be() {
    let mut rig = Rig::default();
    let publisher = rig.websocket("/channel/a", None);
    let _reader = rig.subscribe(Way::RawSocket, "a", None);
    rig.settle();
    let burst: Vec<u8> = numbers(0..100_000).iter().flat_map(|text| frame(TEXT, text)).collect();
    let before = publisher.line().reads;
    rig.send(&publisher, &burst);
    let mut turns = 1;
    while rig.turn() == Some(Duration::ZERO) {
        turns += 1;
    }
    let reads = publisher.line().reads - before;
    assert_eq!(rig.engine.metrics().published, 100_000);
    assert!(reads <= turns + burst.len() / 65_536, "{reads} reads in {turns} turns");
}

#[test]
fn what_is_asked_faster_than_it_is_answered_is_not_read_ahead() {
    let mut rig = Rig::of(support::server().get("/large", |_, _| Response::text("x".repeat(60_000))));
    let client = rig.connect();
    let before = rig.engine.metrics().client_bytes;
    let requests = get("/large", "").repeat(20_000);
    rig.send(&client, &requests);
    let mut held = 0;
    for _ in 0..100 {
        held = held.max(rig.engine.metrics().client_bytes - before);
        rig.turn();
        client.bytes();
    }
    assert!(held < 200_000, "{held} bytes wait to be served");
}

#[test]
fn everything_that_was_asked_is_answered_however_much_of_it_came_at_once() {
    let mut rig = Rig::of(support::server().get("/large", |_, _| Response::text("x".repeat(30_000))));
    let client = rig.connect();
    rig.send(&client, get("/large", "").repeat(4_000));
    let mut answered = 0;
    for _ in 0..3_000 {
        rig.turn();
        answered += client.bytes().windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
    }
    assert_eq!(answered, 4_000);
}

#[test]
fn what_a_poll_was_not_given_for_its_limit_the_next_one_gets() {
    let expected = numbers(0..25);
    let mut rig = Rig::default();
    rig.publish_all("a", &expected);
    rig.settle();
    let (mut messages, mut cursor) = (Vec::new(), String::from("earliest"));
    for size in [10, 10, 5, 0] {
        let answer = rig.get(&format!("/channel/a?limit=10&since={cursor}"), "").answer().expect("at once").json();
        let batch = answer["messages"].as_array().expect("messages");
        assert_eq!((batch.len(), &answer["gap"]), (size, &false.into()));
        messages.extend(batch.iter().map(|message| message["data"].as_str().expect("text").to_owned()));
        cursor = answer["cursor"].as_str().expect("a cursor").to_owned();
    }
    assert_same(&messages, &expected, "polled");
}

#[test]
fn what_several_channels_have_in_one_turn_is_one_write() {
    for (protocol, events) in [(None, false), (REDPOLL_V1, false), (None, true)] {
        let mut rig = Rig::default();
        let client = match events {
            true => rig.event_stream("/channel/a,b,c"),
            false => rig.websocket("/channel/a,b,c", protocol),
        };
        rig.settle();
        let writes = client.line().writes;
        for channel in ["c", "b", "a", "b", "c", "a"] {
            rig.publish(channel, "news");
        }
        rig.settle();
        assert_eq!(client.line().writes - writes, 1, "{protocol:?}, {events}");
    }
}

//! Presence: who is in a channel by name, and how observers are told, the same by every transport.

mod support;

use std::collections::BTreeMap;

use redpoll::{Config, Limit};
use serde_json::Value;
use support::{Answer, Client, EVENT_STREAM, PING, PONG, REDPOLL_V1, Rig, TEXT, Way, frame, get};

/// The ways that can be told: raw forms have only payloads.
const WAYS: [Way; 4] = [Way::JsonSocket, Way::JsonEvents, Way::LongPoll, Way::ShortPoll];

const WINDOW_MS: u64 = 500;
const LINGER_MS: u64 = 50_000;

/// One who asks who comes and goes.
struct Observer {
    way: Way,
    client: Client,
    target: String,
    cursor: Option<String>,
    /// `join ann ws`, `leave ann ws`, `members 3`, `said hello`, in the order in which it was told.
    told: Vec<String>,
    gaps: usize,
}

impl Observer {
    fn new(rig: &mut Rig, way: Way, target: &str) -> Observer {
        Observer::since(rig, way, target, None)
    }

    fn since(rig: &mut Rig, way: Way, target: &str, since: Option<&str>) -> Observer {
        let client = rig.connect();
        let target = format!("{target}{}presence=1", if target.contains('?') { '&' } else { '?' });
        let mut observer =
            Observer { way, client, target, cursor: since.map(str::to_owned), told: Vec::new(), gaps: 0 };
        let begin = format!("{}&since={}", observer.target, since.unwrap_or("latest"));
        match way {
            Way::JsonSocket => rig.upgrade(&observer.client, &begin, REDPOLL_V1),
            Way::JsonEvents => {
                rig.send(&observer.client, get(&begin, EVENT_STREAM));
                assert_eq!(observer.client.answer().map(|answer| answer.status), Some(200));
            }
            Way::LongPoll => observer.poll(rig),
            _ => {}
        }
        observer.collect(rig);
        observer
    }

    fn poll(&mut self, rig: &mut Rig) {
        if self.client.is_closed() || self.client.is_shut() {
            self.client = rig.connect();
        }
        let wait = if self.way == Way::LongPoll { 100 } else { 0 };
        let since = self.cursor.as_ref().map_or(String::new(), |cursor| format!("&since={cursor}"));
        rig.send(&self.client, get(&format!("{}&wait={wait}{since}", self.target), ""));
    }

    /// Takes what there is; one that polls asks for it.
    fn collect(&mut self, rig: &mut Rig) {
        rig.settle();
        match self.way {
            Way::JsonSocket => {
                let frames = self.client.frames();
                if frames.iter().any(|frame| frame.opcode == PING) {
                    rig.send(&self.client, frame(PONG, "redpoll"));
                }
                frames.iter().filter(|frame| frame.opcode == TEXT).for_each(|frame| self.take(&frame.json()));
            }
            Way::JsonEvents => {
                for event in self.client.events() {
                    self.cursor = event.id.or(self.cursor.take());
                    let Some(data) = event.data else { continue };
                    let json: Value = serde_json::from_str(&data).expect("an envelope");
                    let named = ["join", "leave", "members", "gap"].into_iter().find(|name| json[*name].is_object());
                    assert_eq!(event.event.as_deref(), named, "{json}");
                    self.take(&json);
                }
            }
            Way::LongPoll => {
                while let Some(answer) = self.client.answer() {
                    self.take_answer(&answer);
                    self.poll(rig);
                    rig.settle();
                }
            }
            _ => {
                self.poll(rig);
                let answer = self.client.answer().expect("it is answered at once");
                self.take_answer(&answer);
            }
        }
    }

    fn take_answer(&mut self, answer: &Answer) {
        let json = answer.json();
        let cursor = json["cursor"].as_str().expect("a cursor");
        assert_eq!(answer.field("etag"), Some(&*format!("\"{cursor}\"")));
        self.cursor = Some(cursor.to_owned());
        self.gaps += usize::from(json["gap"] == true);
        json["messages"].as_array().expect("messages").iter().for_each(|envelope| self.take(envelope));
    }

    fn take(&mut self, json: &Value) {
        for change in ["join", "leave"] {
            if json[change].is_object() {
                let text = |key: &str| json[change][key].as_str().expect("a string").to_owned();
                self.told.push(format!("{change} {} {}", text("name"), text("transport")));
            }
        }
        if json["members"].is_object() {
            self.told.push(format!("members {}", json["members"]["count"]));
        }
        if let Some(data) = json["data"].as_str() {
            self.told.push(format!("said {data}"));
        }
        self.gaps += usize::from(json["gap"].is_object());
        if let Some(cursor) = json["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
    }

    /// What it has been told since it was asked last.
    fn take_told(&mut self, rig: &mut Rig) -> Vec<String> {
        self.collect(rig);
        std::mem::take(&mut self.told)
    }
}

/// Comes to channel `a` by a name.
fn come(rig: &mut Rig, way: Way, name: &str) -> Client {
    let target = format!("/channel/a?name={name}");
    match way {
        Way::RawSocket => rig.websocket(&target, None),
        Way::JsonSocket => rig.websocket(&target, REDPOLL_V1),
        Way::RawEvents | Way::JsonEvents => rig.event_stream(&target),
        Way::LongPoll => rig.ask(&format!("{target}&wait=100"), ""),
        Way::ShortPoll => rig.ask(&target, ""),
    }
}

fn members(rig: &mut Rig, channel: &str) -> Vec<String> {
    let answer = rig.ask(&format!("/channel/{channel}/members"), "").answer().expect("an answer");
    answer.body.lines().map(str::to_owned).collect()
}

#[test]
fn joins_and_leaves_are_the_same_by_every_transport() {
    let mut rig = Rig::default();
    let mut observers: Vec<Observer> = WAYS.iter().map(|way| Observer::new(&mut rig, *way, "/channel/a")).collect();
    let unnamed = rig.websocket("/channel/a", None);
    let clients = [(Way::RawSocket, "dan"), (Way::RawEvents, "cid"), (Way::LongPoll, "bob"), (Way::ShortPoll, "ann")]
        .map(|(way, name)| come(&mut rig, way, name));
    rig.sleep(WINDOW_MS - 20);
    for observer in &mut observers {
        assert!(observer.take_told(&mut rig).is_empty(), "{:?}: before the window has ended", observer.way);
    }
    rig.sleep(30);
    let (joins, all) = (
        ["join ann poll", "join bob poll", "join cid sse", "join dan ws"],
        ["ann poll", "bob poll", "cid sse", "dan ws"],
    );
    for observer in &mut observers {
        assert_eq!(observer.take_told(&mut rig), joins, "{:?}", observer.way);
        assert!(observer.cursor.as_ref().is_none_or(|cursor| cursor.contains('~')), "{:?}", observer.cursor);
    }
    assert_eq!(members(&mut rig, "a"), all);
    assert_eq!((rig.engine.metrics().members, rig.engine.metrics().channels), (4, 1));

    clients.iter().chain([&unnamed]).for_each(|client| rig.reset(client));
    rig.sleep(WINDOW_MS + 10);
    for observer in &mut observers {
        assert_eq!(observer.take_told(&mut rig), ["leave cid sse", "leave dan ws"], "{:?}", observer.way);
    }
    for _ in 0..2 {
        rig.sleep(LINGER_MS / 2 - WINDOW_MS);
        for observer in &mut observers {
            assert!(observer.take_told(&mut rig).is_empty(), "{:?}: who polls is still there", observer.way);
        }
    }
    rig.sleep(4 * WINDOW_MS);
    for observer in &mut observers {
        assert_eq!(observer.take_told(&mut rig), ["leave ann poll", "leave bob poll"], "{:?}", observer.way);
        assert_eq!(observer.gaps, 0);
    }
    assert!(members(&mut rig, "a").is_empty());
}

#[test]
fn a_name_is_one_member_however_many_connections_it_has() {
    let mut rig = Rig::default();
    let mut observer = Observer::new(&mut rig, Way::JsonSocket, "/channel/a");
    let first = come(&mut rig, Way::RawEvents, "ann");
    rig.sleep(600);
    let second = come(&mut rig, Way::JsonSocket, "ann");
    rig.sleep(600);
    rig.hang_up(&first);
    rig.sleep(600);
    assert_eq!(observer.take_told(&mut rig), ["join ann sse", "join ann ws"]);
    assert_eq!(members(&mut rig, "a"), ["ann ws"]);
    rig.reset(&second);
    rig.sleep(600);
    assert_eq!(observer.take_told(&mut rig), ["leave ann ws"]);
}

#[test]
fn who_goes_on_over_another_transport_is_told_to_be_there_by_it() {
    let mut rig = Rig::default();
    let mut observers: Vec<Observer> = WAYS.iter().map(|way| Observer::new(&mut rig, *way, "/channel/a")).collect();
    let mut expected = Vec::new();
    let ways = [(Way::RawSocket, "ws"), (Way::JsonEvents, "sse"), (Way::LongPoll, "poll"), (Way::JsonSocket, "ws")];
    for (way, word) in ways {
        let client = come(&mut rig, way, "ann");
        rig.sleep(600);
        expected.push(format!("join ann {word}"));
        assert_eq!(members(&mut rig, "a"), [format!("ann {word}")]);
        assert_eq!(rig.engine.metrics().members, 1);
        rig.reset(&client);
    }
    rig.sleep(600);
    // Of the poll, which is not over yet.
    expected.push("join ann poll".to_owned());
    for observer in &mut observers {
        assert_eq!(observer.take_told(&mut rig), expected, "{:?}", observer.way);
    }
}

#[test]
fn a_window_tells_only_what_it_has_come_to() {
    let mut rig = Rig::default();
    let mut observers: Vec<Observer> = WAYS.iter().map(|way| Observer::new(&mut rig, *way, "/channel/a")).collect();
    let page = come(&mut rig, Way::RawSocket, "ann");
    rig.sleep(600);
    observers.iter_mut().for_each(|observer| drop(observer.take_told(&mut rig)));
    // A page that is loaded anew, and one who looks in and goes.
    rig.reset(&page);
    let page = come(&mut rig, Way::JsonSocket, "ann");
    let visitor = come(&mut rig, Way::RawSocket, "bob");
    assert_eq!(members(&mut rig, "a"), ["ann ws"], "who is listed is who observers know");
    rig.reset(&visitor);
    rig.sleep(2_000);
    for observer in &mut observers {
        assert!(observer.take_told(&mut rig).is_empty(), "{:?}", observer.way);
    }
    rig.reset(&page);
    assert_eq!(members(&mut rig, "a"), ["ann ws"], "until observers are told");
    rig.sleep(600);
    assert!(members(&mut rig, "a").is_empty());
}

#[test]
fn too_many_changes_are_told_as_a_number() {
    let config = Config { presence_changes_max: 3, ..Config::default() };
    let mut rig = Rig::new(config);
    let mut observers: Vec<Observer> = WAYS.iter().map(|way| Observer::new(&mut rig, *way, "/channel/a")).collect();
    let come_all = |rig: &mut Rig, names: std::ops::Range<usize>| {
        names.map(|number| come(rig, Way::RawSocket, &format!("m{number}"))).collect::<Vec<_>>()
    };
    let first = come_all(&mut rig, 0..3);
    rig.sleep(600);
    let mut all = come_all(&mut rig, 3..7);
    rig.sleep(600);
    rig.reset(&first[0]);
    rig.sleep(600);
    for observer in &mut observers {
        let expected: &[&str] = match observer.way {
            // These come for it when it is over.
            Way::ShortPoll => &["members 6", "leave m0 ws"],
            Way::LongPoll => &["join m0 ws", "join m1 ws", "join m2 ws", "members 6", "leave m0 ws"],
            _ => &["join m0 ws", "join m1 ws", "join m2 ws", "members 7", "leave m0 ws"],
        };
        assert_eq!(observer.take_told(&mut rig), expected, "{:?}", observer.way);
        assert_eq!(observer.gaps, 0, "it is no gap");
    }
    all.extend(first);
    all.iter().for_each(|client| rig.reset(client));
    rig.sleep(600);
    for observer in &mut observers {
        assert_eq!(observer.take_told(&mut rig), ["members 0"], "{:?}", observer.way);
    }
}

#[test]
fn changes_times_observers_are_bounded_too() {
    let config = Config { presence_deliveries_max: 5, ..Config::default() };
    let mut rig = Rig::new(config);
    let mut observers: Vec<Observer> =
        [Way::JsonSocket, Way::JsonEvents].iter().map(|way| Observer::new(&mut rig, *way, "/channel/a")).collect();
    let _two = ["ann", "bob"].map(|name| come(&mut rig, Way::RawSocket, name));
    rig.sleep(600);
    let _three = ["cid", "dan", "eve"].map(|name| come(&mut rig, Way::RawSocket, name));
    rig.sleep(600);
    for observer in &mut observers {
        assert_eq!(observer.take_told(&mut rig), ["join ann ws", "join bob ws", "members 5"], "{:?}", observer.way);
    }
}

#[test]
fn an_observer_that_polls_finds_what_came_in_between() {
    let mut rig = Rig::default();
    let mut observer = Observer::new(&mut rig, Way::ShortPoll, "/channel/a");
    for round in 0..3 {
        let client = come(&mut rig, Way::RawSocket, "ann");
        rig.publish("a", "hello");
        rig.sleep(10_000);
        rig.reset(&client);
        rig.sleep(10_000);
        let told = observer.take_told(&mut rig);
        assert_eq!(told, ["said hello", "join ann ws", "leave ann ws"], "round {round}");
    }
}

#[test]
fn an_observer_whose_connection_was_lost_is_told_what_came_in_between() {
    let mut rig = Rig::default();
    let observer = Observer::new(&mut rig, Way::JsonEvents, "/channel/a");
    rig.reset(&observer.client);
    let _ann = come(&mut rig, Way::RawEvents, "ann");
    rig.sleep(3_000);
    let mut again = Observer::since(&mut rig, Way::JsonEvents, "/channel/a", observer.cursor.as_deref());
    assert_eq!(again.take_told(&mut rig), ["join ann sse"]);
}

#[test]
fn an_observer_that_has_been_away_too_long_is_told_the_number() {
    let mut rig = Rig::default();
    let _ann = come(&mut rig, Way::RawEvents, "ann");
    for away_ms in [LINGER_MS - 1_000, LINGER_MS + 1_000] {
        let mut observer = Observer::new(&mut rig, Way::ShortPoll, "/channel/a");
        assert!(observer.take_told(&mut rig).is_empty(), "it begins with what is new");
        rig.sleep(away_ms);
        let expected: &[&str] = if away_ms > LINGER_MS { &["members 1"] } else { &[] };
        assert_eq!(observer.take_told(&mut rig), expected, "{away_ms}");
        assert!(observer.take_told(&mut rig).is_empty(), "once");
        assert_eq!(observer.gaps, 0, "no message was missed");
    }
}

#[test]
fn a_position_of_another_process_or_without_a_place_is_told_the_number_on_every_transport() {
    let mut rig = Rig::default();
    let _ann = come(&mut rig, Way::RawSocket, "ann");
    for way in WAYS {
        for (since, gaps) in [("1-5~7", 1), ("00005f3a-0~99", 0), ("00005f3a-0", 0), ("00005f3a-0~0", 0)] {
            let mut observer = Observer::since(&mut rig, way, "/channel/a", Some(since));
            assert_eq!(observer.take_told(&mut rig), ["members 1"], "{way:?} {since}");
            assert_eq!(observer.gaps, gaps, "{way:?} {since}");
        }
    }
}

#[test]
fn the_place_among_joins_is_carried_only_by_observers() {
    let mut rig = Rig::default();
    rig.publish("a", "one");
    let answer = rig.ask("/channel/a?presence=1&since=earliest", "").answer().expect("an answer");
    assert_eq!(answer.json()["cursor"], "00005f3a-1~1");
    assert_eq!(answer.json()["messages"][0]["id"], "00005f3a-1", "a message's id is its own");
    let plain = rig.ask("/channel/a?since=00005f3a-0~9", "").answer().expect("an answer");
    assert_eq!(plain.json()["cursor"], "00005f3a-1");
    assert_eq!(plain.json()["gap"], false);
    let several = rig.ask("/channel/a,b?presence=1", "").answer().expect("an answer");
    assert_eq!(several.json()["cursor"], "00005f3a-1~1,00005f3a-0~1");
    assert_eq!(several.json()["gaps"], serde_json::json!([]));
    let events = rig.get("/channel/a,b?presence=1", EVENT_STREAM);
    assert!(events.text().contains("\nid: 00005f3a-1~1,00005f3a-0~1\n"));
    let socket = rig.websocket("/channel/a?presence=1", REDPOLL_V1);
    assert_eq!(socket.texts(), [r#"{"subscribed":"a","cursor":"00005f3a-1~1"}"#]);
    let entity_tag = rig.ask("/channel/a?presence=1", "If-None-Match: \"00005f3a-0~1\"\r\n").answer();
    assert_eq!(entity_tag.expect("an answer").json()["messages"].as_array().map(Vec::len), Some(1));
}

#[test]
fn presence_is_json_and_nothing_else() {
    let mut rig = Rig::default();
    for (query, fields) in [("form=raw&presence=1", ""), ("form=raw&presence=1", EVENT_STREAM), ("presence=yes", "")] {
        let answer = rig.ask(&format!("/channel/a?{query}"), fields).answer().expect("an answer");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("presence"), "{}", answer.body);
    }
    let client = rig.get("/channel/a?form=raw&presence=1", support::UPGRADE);
    assert_eq!(client.answer().map(|answer| answer.status), Some(400));
    let socket = rig.websocket("/channel/a?presence=1", None);
    rig.publish("a", "hello");
    rig.settle();
    assert_eq!(socket.texts(), [r#"{"channel":"a","id":"00005f3a-1","data":"hello"}"#]);
    let zero = rig.ask("/channel/a?form=raw&presence=0", "").answer().expect("an answer");
    assert_eq!(zero.status, 204);
    for name in ["", "a%0A", &"x".repeat(129)] {
        let answer = rig.ask(&format!("/channel/a?name={name}"), "").answer().expect("an answer");
        assert_eq!(answer.status, 400, "{name:?}");
    }
}

#[test]
fn a_command_subscribes_to_who_comes_and_goes() {
    let mut rig = Rig::default();
    let socket = rig.websocket("/channel/x?name=ann", REDPOLL_V1);
    let say = |rig: &mut Rig, text: &str| rig.send(&socket, frame(TEXT, text));
    say(&mut rig, r#"{"subscribe":"a","presence":true,"ack":1}"#);
    let _bob = come(&mut rig, Way::RawSocket, "bob");
    rig.sleep(600);
    assert_eq!(
        socket.texts()[1..],
        [
            r#"{"subscribed":"a","cursor":"00005f3a-0~1","ack":1}"#,
            r#"{"channel":"a","join":{"name":"ann","transport":"ws"}}"#,
            r#"{"channel":"a","join":{"name":"bob","transport":"ws"}}"#,
        ]
    );
    assert_eq!(rig.engine.metrics().subscriptions, 3);
    assert_eq!(rig.engine.metrics().observers, 1);
    say(&mut rig, r#"{"unsubscribe":"a"}"#);
    assert_eq!(rig.engine.metrics().subscriptions, 2);
    assert_eq!(rig.engine.metrics().observers, 0);
    rig.sleep(600);
    assert_eq!(members(&mut rig, "a"), ["bob ws"]);
    say(&mut rig, r#"{"subscribe":"a","since":"1-0~5","presence":true}"#);
    rig.settle();
    let told = socket.texts();
    assert_eq!(told[1], r#"{"subscribed":"a","cursor":"00000001-0~5"}"#, "{told:?}");
    assert!(told[2].contains("gap") && told[3] == r#"{"channel":"a","members":{"count":1}}"#, "{told:?}");
}

#[test]
fn one_who_cannot_read_is_told_the_number_when_the_log_has_passed_it() {
    for way in [Way::JsonSocket, Way::JsonEvents] {
        let mut rig = Rig::default();
        let mut observer = Observer::new(&mut rig, way, "/channel/a");
        observer.client.set_capacity(10);
        for round in 0..10 {
            let all: Vec<Client> =
                (0..30).map(|number| come(&mut rig, Way::RawSocket, &format!("m{round}-{number}"))).collect();
            rig.sleep(600);
            all.iter().for_each(|client| rig.reset(client));
            rig.sleep(600);
        }
        observer.client.set_capacity(usize::MAX);
        let _last = come(&mut rig, Way::RawSocket, "last");
        rig.sleep(600);
        let told = observer.take_told(&mut rig);
        assert_eq!(told[..2], ["join m0-0 ws", "members 0"], "{way:?}");
        assert_eq!(told.last().map(String::as_str), Some("join last ws"));
    }
}

#[test]
fn members_who_poll_are_bounded() {
    let config = Config { polling_members_max: 2, ..Config::default() };
    let mut rig = Rig::new(config);
    let status = |rig: &mut Rig, name: &str| {
        let answer = rig.ask(&format!("/channel/a?name={name}"), "").answer().expect("an answer");
        (answer.status, answer.body)
    };
    assert_eq!([status(&mut rig, "ann").0, status(&mut rig, "bob").0], [200, 200]);
    let (code, detail) = status(&mut rig, "cid");
    assert!(code == 503 && detail.contains("2 members that poll"), "{detail}");
    assert_eq!(rig.engine.metrics().limits[Limit::PollingMembers as usize], 1);
    assert_eq!(status(&mut rig, "ann").0, 200, "who is there already stays");
    assert_eq!(rig.ask("/channel/a", "").answer().map(|answer| answer.status), Some(200), "nor do others pay");
    come(&mut rig, Way::RawSocket, "cid");
    assert_eq!(members(&mut rig, "a"), ["ann poll", "bob poll", "cid ws"]);
    rig.sleep(LINGER_MS + 10);
    assert_eq!(status(&mut rig, "dan").0, 200);
}

#[test]
fn members_who_poll_take_a_part_of_the_memory_budget() {
    let mut rig = Rig::new(Config { memory_bytes_max: 1 << 20, ..Config::default() });
    let name = "x".repeat(124);
    let status = |rig: &mut Rig, number: usize| {
        let client = rig.try_connect()?;
        rig.send(&client, get(&format!("/channel/{name}{number}?name={name}{number}"), ""));
        rig.turn();
        client.answer().map(|answer| answer.status)
    };
    let statuses: Vec<_> = (0..2_000).map(|number| status(&mut rig, number)).collect();
    let present = rig.engine.metrics().members;
    assert!(present >= 200 && statuses[..present].iter().all(|status| *status == Some(200)), "{present}");
    assert!(statuses[present..].iter().all(|status| *status == Some(503)), "nobody is refused a connection");
    assert!(rig.engine.metrics().channel_bytes < 1 << 18, "{:?}", rig.engine.metrics());
}

/// Ticks wrap after 397 days, and no turn need pass while nobody is there.
#[test]
fn after_half_a_year_in_which_nobody_came_joins_and_leaves_are_told_as_ever() {
    let mut rig = Rig::default();
    rig.now.monotonic_ms += 199 * 86_400_000;
    let mut observer = Observer::new(&mut rig, Way::JsonEvents, "/channel/a");
    rig.ask("/channel/a?name=ann", "");
    rig.sleep(600);
    assert_eq!(observer.take_told(&mut rig), ["join ann poll"]);
    rig.sleep(LINGER_MS + 2 * WINDOW_MS);
    assert_eq!(observer.take_told(&mut rig), ["leave ann poll"]);
}

#[test]
fn observed_channels_are_bounded_and_do_not_count_as_channels() {
    let mut rig = Rig::new(Config { channels_max: 2, ..Config::default() });
    let first = Observer::new(&mut rig, Way::JsonSocket, "/channel/a");
    let _second = Observer::new(&mut rig, Way::JsonSocket, "/channel/b");
    assert_eq!((rig.engine.metrics().channels, rig.engine.metrics().subscriptions), (2, 2));
    let third = rig.ask("/channel/c?presence=1", "").answer().expect("an answer");
    assert_eq!(third.status, 503);
    rig.reset(&first.client);
    rig.sleep(LINGER_MS + 10);
    assert_eq!(rig.ask("/channel/c?presence=1", "").answer().map(|answer| answer.status), Some(200));
}

#[test]
fn a_poll_that_is_left_or_waits_keeps_its_member_for_two_pings() {
    let mut rig = Rig::default();
    let client = rig.get("/channel/a?name=ann&wait=100", "");
    rig.sleep(90_000);
    assert_eq!(members(&mut rig, "a"), ["ann poll"], "while it waits");
    rig.reset(&client);
    rig.sleep(LINGER_MS - 1_000);
    assert_eq!(members(&mut rig, "a"), ["ann poll"], "after it was left");
    rig.ask("/channel/a?name=ann", "");
    rig.sleep(LINGER_MS - 1_000);
    assert_eq!(members(&mut rig, "a"), ["ann poll"], "after it has polled again");
    rig.sleep(2_000);
    assert!(members(&mut rig, "a").is_empty());
}

#[test]
fn head_and_post_are_nobody() {
    let mut rig = Rig::default();
    let client = rig.connect();
    rig.send(&client, "HEAD /channel/a?name=ann HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.text().starts_with("HTTP/1.1 200 "));
    assert_eq!(rig.post("/channel/a?name=ann", "", "hello").status, 202);
    assert!(members(&mut rig, "a").is_empty());
}

/// Everything that presence holds is counted, and given back.
#[test]
fn nothing_is_left_when_all_have_gone() {
    let mut rig = Rig::default();
    let before = rig.engine.metrics();
    let mut clients = Vec::new();
    for way in WAYS {
        for name in ["ann", "bob"] {
            clients.push(come(&mut rig, way, name));
            clients.push(Observer::new(&mut rig, way, &format!("/channel/a,b?name={name}")).client);
            rig.sleep(300);
        }
    }
    assert!(rig.engine.metrics().channel_bytes > before.channel_bytes + 2_000);
    clients.iter().for_each(|client| rig.reset(client));
    rig.sleep(2 * LINGER_MS);
    let after = rig.engine.metrics();
    assert_eq!((after.members, after.observers, after.channels, after.subscriptions), (0, 0, 0, 0));
    assert_eq!((after.channel_bytes, after.client_bytes), (before.channel_bytes, before.client_bytes));
}

#[test]
fn ten_thousand_who_join_and_observe_cost_a_few_writes_each() {
    const COUNT: usize = 10_000;
    const WINDOWS: usize = 10;
    let mut rig = Rig::default();
    let mut clients = Vec::new();
    for number in 0..COUNT {
        let target = format!("/channel/a?presence=1&name=m{number}");
        clients.push(rig.websocket(&target, None));
        if number % (COUNT / WINDOWS) == 0 {
            rig.sleep(WINDOW_MS);
        }
    }
    rig.sleep(2 * WINDOW_MS);
    let metrics = rig.engine.metrics();
    assert_eq!((metrics.members, metrics.observers), (COUNT, COUNT));
    assert!(metrics.deliveries < 20 * COUNT as u64, "{} deliveries", metrics.deliveries);
    let writes: usize = clients.iter().map(|client| client.line().writes).sum();
    assert!(writes < 20 * COUNT, "{writes} writes");
    let last = clients[0].texts().pop();
    assert_eq!(last.as_deref(), Some(r#"{"channel":"a","members":{"count":10000}}"#));
}

/// Observers by every transport, with room to read or without, apply what they are told to the list that they began
/// with: in the end it is the list that there is.
#[test]
fn what_observers_know_is_the_list() {
    for seed in 0..30 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % below
        };
        let mut rig = Rig::new(Config { presence_changes_max: 4, ..Config::default() });
        let (mut clients, mut observers) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            match random(10) {
                0..4 => {
                    let way = Way::ALL[random(6)];
                    clients.push(come(&mut rig, way, &format!("m{}", random(8))));
                }
                4..7 if !clients.is_empty() => rig.reset(&clients.swap_remove(random(clients.len()))),
                7 if observers.len() < 12 => {
                    let observer = Observer::new(&mut rig, WAYS[random(4)], "/channel/a");
                    if !observer.way.is_poll() {
                        observer.client.set_capacity([usize::MAX, 60][random(2)]);
                    }
                    let list = list(&mut rig);
                    observers.push((observer, list));
                }
                8 => rig.sleep([100, 700, 3_000, 60_000][random(4)]),
                _ => {
                    if let Some((observer, view)) = observers.last_mut() {
                        follow(&mut rig, observer, view);
                        observers.rotate_right(1);
                    }
                }
            }
        }
        rig.sleep(600);
        for (observer, view) in &mut observers {
            observer.client.set_capacity(usize::MAX);
            follow(&mut rig, observer, view);
            assert_eq!(*view, list(&mut rig), "seed {seed}, {:?}", observer.way);
        }
    }
}

fn list(rig: &mut Rig) -> BTreeMap<String, String> {
    let pair = |line: &String| line.split_once(' ').map(|(name, transport)| (name.to_owned(), transport.to_owned()));
    members(rig, "a").iter().filter_map(pair).collect()
}

/// Applies what an observer is told; where that is a number, it asks for the list.
fn follow(rig: &mut Rig, observer: &mut Observer, view: &mut BTreeMap<String, String>) {
    if observer.client.is_closed() && !observer.way.is_poll() {
        // It did not read, or did not answer a ping. An event stream knows where it was.
        let since = observer.cursor.take().filter(|_| observer.way == Way::JsonEvents);
        *observer = Observer::since(rig, observer.way, "/channel/a", since.as_deref());
        if since.is_none() {
            *view = list(rig);
        }
    }
    for told in observer.take_told(rig) {
        match told.split(' ').collect::<Vec<_>>()[..] {
            ["join", name, transport] => drop(view.insert(name.to_owned(), transport.to_owned())),
            ["leave", name, _] => drop(view.remove(name)),
            _ => *view = list(rig),
        }
    }
}

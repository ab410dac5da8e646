//! Reports: what the server says of itself is published while somebody follows it, and is out of all others' reach.

mod support;

use redpoll::{Config, Context, Message, Order, Request, Response, Status};
use support::{Client, EVENT_STREAM, Rig};

const INTERVAL_MS: u64 = 1_000;

/// The usual routes, a report of how much was published to `/figures`, and a page that publishes wherever it is told.
fn rig(config: Config) -> Rig {
    let admit = |request: &Request, _: &mut Context| match request.query("key").as_deref() {
        Some("good") => Ok(()),
        _ => Err(Status::new(401).detail("a key is needed")),
    };
    let say = |request: &Request, cx: &mut Context| {
        let published = cx.publish(&request.query("to").unwrap_or_default(), "forged");
        Response::text(if published.is_some() { "published" } else { "refused" })
    };
    let list = |request: &Request, cx: &mut Context| {
        let order = match request.query("order").as_deref() {
            Some("subscribers") => Order::Subscribers,
            Some("messages") => Order::Messages,
            _ => Order::Bytes,
        };
        let limit = request.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
        let channels = cx.list_largest(&request.query("prefix").unwrap_or_default(), order, limit);
        let names: Vec<String> = channels.into_iter().map(|channel| channel.name).collect();
        Response::text(names.join(" "))
    };
    let server = support::server().report("/figures", INTERVAL_MS, admit, |metrics| metrics.published.to_string());
    Rig::of(server.get("/say", say).get("/largest", list).config(config))
}

fn reports(client: &Client) -> Vec<String> {
    client.events().into_iter().filter_map(|event| event.data).collect()
}

fn follow(rig: &mut Rig) -> Client {
    rig.event_stream("/figures?key=good")
}

#[test]
fn a_report_comes_at_once_and_then_at_its_interval() {
    let mut rig = rig(Config::default());
    let client = follow(&mut rig);
    rig.sleep(0);
    assert_eq!(reports(&client), ["0"], "the first one");
    rig.publish("a", "1");
    rig.sleep(INTERVAL_MS - 1);
    assert_eq!(reports(&client), [""; 0], "not before its time");
    rig.sleep(1);
    assert_eq!(reports(&client), ["2"], "with the first report itself");
    rig.sleep(10 * INTERVAL_MS);
    assert_eq!(reports(&client).len(), 10);
}

#[test]
fn nobody_is_woken_where_nobody_follows() {
    let mut rig = rig(Config::default());
    let client = follow(&mut rig);
    rig.sleep(10 * INTERVAL_MS);
    rig.hang_up(&client);
    rig.sleep(INTERVAL_MS);
    let before = rig.engine.metrics().published;
    rig.sleep(60 * INTERVAL_MS);
    assert_eq!(rig.engine.metrics().published, before);
}

#[test]
fn polling_fast_does_not_make_more_reports() {
    let mut rig = rig(Config::default());
    for _ in 0..50 {
        let poll = rig.ask("/figures?key=good&wait=25", "");
        rig.sleep(100);
        rig.hang_up(&poll);
    }
    let published = rig.engine.metrics().published;
    assert!((4..=6).contains(&published), "{published} in five intervals");
}

#[test]
fn all_transports_get_the_same_reports() {
    let mut rig = rig(Config::default());
    let stream = follow(&mut rig);
    let socket = rig.websocket("/figures?key=good", None);
    let poll = rig.get("/figures?key=good&wait=25&form=raw", "");
    rig.sleep(0);
    assert_eq!(reports(&stream), ["0"]);
    assert_eq!(socket.texts(), ["0"]);
    let answer = poll.answer().expect("the poll is answered");
    assert_eq!((answer.status, answer.body.as_str()), (200, "0"));
}

#[test]
fn who_is_not_admitted_follows_nothing() {
    let mut rig = rig(Config::default());
    for fields in ["", EVENT_STREAM] {
        let refused = rig.ask("/figures?key=bad", fields).answer().expect("an answer");
        assert_eq!(refused.status, 401);
    }
    rig.sleep(10 * INTERVAL_MS);
    assert_eq!(rig.engine.metrics().published, 0);
}

#[test]
fn nobody_else_publishes_there() {
    let mut rig = rig(Config::default());
    let stream = follow(&mut rig);
    rig.sleep(0);
    assert_eq!(reports(&stream), ["0"]);
    assert_eq!(rig.post("/figures?key=good", "", "forged").status, 403, "by its path");
    assert_eq!(rig.post("/channel/%2Ffigures", "", "forged").status, 400, "by the name of its channel");
    let said = rig.ask("/say?to=/figures", "").answer().expect("an answer");
    assert_eq!(said.status, 400, "by an application that takes any name: {}", said.body);
    let outside = rig.engine.publish("/figures", Message::text_of("forged"), rig.now);
    assert_eq!(outside.expect_err("it is refused").code(), 400, "from outside");
    let socket = rig.websocket("/figures?key=good", None);
    rig.send(&socket, support::frame(support::TEXT, "forged"));
    rig.sleep(0);
    assert_eq!(socket.frames().last().map(|frame| frame.code()), Some(1008), "over a WebSocket");
    assert_eq!(reports(&stream), [""; 0]);
}

#[test]
fn its_channel_is_not_listed_and_needs_no_place() {
    let mut rig = rig(Config { channels_max: 1, ..Config::default() });
    rig.publish("a", "1");
    let stream = follow(&mut rig);
    rig.sleep(0);
    assert_eq!(reports(&stream), ["1"], "also where there may be no more channels");
    assert_eq!(rig.engine.metrics().channels, 1);
    assert_eq!(rig.ask("/largest", "").answer().expect("an answer").body, "a");
}

#[test]
fn the_largest_channels_come_first() {
    let mut rig = rig(Config::default());
    rig.publish_all("many", &["1", "2", "3"]);
    rig.publish_all("big", &["0123456789", "1"]);
    rig.publish("heard", "1");
    rig.publish("bad", "1");
    let _heard = rig.event_stream("/channel/heard");
    for (query, expected) in [
        ("order=bytes", "big many bad heard"),
        ("order=messages", "many big bad heard"),
        ("order=subscribers", "heard bad big many"),
        ("order=bytes&limit=2", "big many"),
        ("order=messages&prefix=b", "big bad"),
        ("order=messages&limit=0", ""),
        ("prefix=/", ""),
    ] {
        let answer = rig.ask(&format!("/largest?{query}"), "").answer().expect("an answer");
        assert_eq!(answer.body, expected, "{query}");
    }
}

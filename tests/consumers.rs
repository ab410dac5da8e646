//! What an application can rely on: when its consumer is called, and what its calls do on each transport.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use redpoll::{CloseCode, Consumer, Context, Message, Polled, Reason, Response, Server, Since, Status};
use support::{CLOSE, EVENT_STREAM, REDPOLL_V1, Rig, TEXT, UPGRADE, frame, get, post};

/// What happened, in order.
type Story = Rc<RefCell<Vec<String>>>;

/// Subscribes as its route says, and writes down what it is told.
struct Witness {
    story: Story,
    connect: fn(&mut Context),
}

impl Consumer for Witness {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        self.story.borrow_mut().push("connect".into());
        (self.connect)(cx);
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        self.story.borrow_mut().push(format!("receive {}", message.text().unwrap_or("bytes")));
        for channel in cx.channels() {
            cx.publish(&channel, message);
        }
    }

    fn disconnect(&mut self, reason: Reason, _: &mut Context) {
        self.story.borrow_mut().push(format!("disconnect {reason:?}"));
    }
}

fn rig(connect: fn(&mut Context)) -> (Rig, Story) {
    let story = Story::default();
    let for_route = Rc::clone(&story);
    let server = Server::new().route("/x", move |_| Witness { story: Rc::clone(&for_route), connect });
    (Rig::of(server), story)
}

#[test]
fn connect_and_disconnect_bracket_each_request_also_one_that_is_refused() {
    for (fields, target, status) in [
        ("", "/x", 200),
        ("", "/x?since=bad", 400),
        ("", "/x?wait=500", 400),
        ("", "/x?limit=0", 400),
        (EVENT_STREAM, "/x?form=xml", 400),
        ("Upgrade: websocket\r\n", "/x", 400),
    ] {
        let (mut rig, story) = rig(|cx| cx.subscribe("a"));
        assert_eq!(rig.get(target, fields).answer().map(|answer| answer.status), Some(status), "{target}");
        assert_eq!(*story.borrow(), ["connect", "disconnect Answered"], "{target}");
        assert_eq!((rig.engine.metrics().subscriptions, rig.engine.metrics().transports), (0, [0; 3]), "{target}");
    }
    let (mut rig, story) = rig(|cx| cx.subscribe("not a name"));
    assert_eq!(rig.get("/x", "").answer().map(|answer| answer.status), Some(400));
    assert_eq!(rig.post("/x", "", "hello").status, 400);
    assert_eq!(*story.borrow(), ["connect", "disconnect Answered", "connect", "disconnect Answered"]);
}

#[test]
fn what_connect_sends_is_the_first_message_of_a_websocket_and_then_it_may_close() {
    let (mut rig, story) = rig(|cx| {
        cx.subscribe_since("a", Since::Earliest);
        cx.send("welcome");
        cx.send(Message::binary_of(b"\xff"));
    });
    rig.publish("a", "history");
    let client = rig.websocket("/x", None);
    rig.turn();
    let said: Vec<_> = client.frames().into_iter().map(|frame| (frame.opcode, frame.payload)).collect();
    assert_eq!(said, [(1, b"welcome".to_vec()), (2, vec![0xff]), (1, b"history".to_vec())]);
    let commands = rig.websocket("/x", REDPOLL_V1);
    let said: Vec<String> = commands.frames().iter().map(|frame| frame.text()).collect();
    assert_eq!(said[1..], [r#"{"data":"welcome"}"#, r#"{"base64":"/w=="}"#], "JSON, as everything on it");
    assert_eq!(*story.borrow(), ["connect", "connect"]);
}

#[test]
fn connect_may_close_with_any_code_and_what_may_not_be_sent_becomes_1000() {
    for (code, sent) in [(4_000, 4_000), (1_005, 1_000), (0, 1_000)] {
        let server = Server::new().route("/x", move |_| Closes(code));
        let mut rig = Rig::of(server);
        let client = rig.websocket("/x", None);
        let [welcome, close] = &client.frames()[..] else { panic!("a message and a close") };
        assert_eq!((welcome.opcode, close.opcode, close.code()), (TEXT, CLOSE, sent));
    }
}

struct Closes(u16);

impl Consumer for Closes {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        cx.subscribe("a");
        cx.send("welcome");
        cx.close(CloseCode::new(self.0));
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}
}

#[test]
fn a_channel_that_is_asked_for_twice_is_subscribed_once() {
    let (mut rig, _) = rig(|cx| {
        cx.subscribe("a");
        cx.subscribe("a");
    });
    let client = rig.websocket("/x", None);
    rig.publish("a", "once");
    rig.turn();
    assert_eq!(client.texts(), ["once"]);
    assert_eq!(rig.engine.metrics().subscriptions, 1);
}

#[test]
fn a_position_over_all_channels_is_taken_back_also_where_one_begins_elsewhere() {
    let (mut rig, _) = rig(|cx| {
        cx.subscribe("a");
        cx.subscribe_since("b", Since::Earliest);
    });
    rig.publish_all("a", &["a1", "a2"]);
    rig.publish_all("b", &["b1"]);
    let answer = rig.get("/x?since=00005f3a-1,00005f3a-1", "").answer().expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("a2") && !answer.body.contains("a1") && answer.body.contains("b1"), "{}", answer.body);
    let again = format!("/x?since={}", answer.json()["cursor"].as_str().expect("a cursor"));
    let answer = rig.get(&again, EVENT_STREAM);
    assert_eq!(answer.answer().map(|answer| answer.status), Some(200), "{again}");
}

#[test]
fn who_has_left_a_channel_by_a_command_may_come_back() {
    let (mut rig, story) = rig(|cx| cx.subscribe("a"));
    let client = rig.websocket("/x", REDPOLL_V1);
    client.frames();
    let mut say = |command: &str| {
        rig.send(&client, frame(TEXT, command));
        client.frames().pop().expect("an answer").text()
    };
    assert!(say(r#"{"unsubscribe":"a"}"#).contains("unsubscribed"));
    assert!(say(r#"{"publish":"a","data":"x","ack":1}"#).contains(r#""ack":1"#));
    assert!(say(r#"{"subscribe":"a"}"#).contains("subscribed"));
    assert!(say(r#"{"subscribe":"b"}"#).contains("403"));
    assert_eq!(*story.borrow(), ["connect", "receive x"]);
}

#[test]
fn a_command_may_carry_the_largest_payload_and_one_more_byte_is_an_error() {
    let (mut rig, _) = rig(|cx| cx.subscribe("a"));
    let client = rig.websocket("/x", REDPOLL_V1);
    client.frames();
    let mut publish = |payload: &str| {
        let json = serde_json::json!({"publish": "a", "data": payload, "ack": 7}).to_string();
        let mut bytes = Vec::new();
        redpoll::wire::frame::encode_masked(redpoll::wire::frame::Opcode::Text, json.as_bytes(), [1; 4], &mut bytes);
        rig.send(&client, bytes);
        rig.settle();
        client.frames().iter().find(|frame| frame.text().contains("ack")).expect("an answer").json()
    };
    assert!(publish(&"\u{1}".repeat(64 << 10))["id"].is_string());
    let refused = publish(&"x".repeat((64 << 10) + 1));
    assert_eq!((refused["error"]["status"].as_u64(), refused["ack"].as_u64()), (Some(413), Some(7)));
    assert!(publish("and on it goes")["id"].is_string());
}

fn render(polled: &Polled) -> Response {
    Response::text(
        polled.publications.first().and_then(|publication| publication.text()).unwrap_or("nothing").to_owned(),
    )
}

/// Ends the poll before it, as a second poll of the same person does.
struct Chaser {
    before: Rc<RefCell<Option<redpoll::ConnectionId>>>,
}

impl Consumer for Chaser {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        if let Some(before) = self.before.borrow_mut().replace(cx.id()) {
            cx.end_poll(before);
        }
        cx.subscribe_since("a", Since::Earliest);
        cx.poll(1, 10_000, render);
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}
}

#[test]
fn a_poll_that_is_ended_by_another_takes_nothing_along() {
    let before = Rc::new(RefCell::new(None));
    let mut rig = Rig::of(Server::new().poll("/x", move |_| Chaser { before: Rc::clone(&before) }));
    let first = rig.get("/x", "");
    rig.turn();
    rig.publish("a", "news");
    let second = rig.get("/x", "");
    rig.turn();
    assert_eq!(first.answer().map(|answer| answer.body).as_deref(), Some("nothing"));
    assert_eq!(second.answer().map(|answer| answer.body).as_deref(), Some("news"));
}

#[test]
fn a_route_of_polls_answers_polls_whatever_is_asked_for() {
    let before = Rc::default();
    let mut rig = Rig::of(Server::new().poll("/x", move |_| Chaser { before: Rc::clone(&before) }));
    rig.publish("a", "news");
    for (target, fields) in
        [("/x?wait=abc&limit=0&form=xml&since=bad", ""), ("/x", EVENT_STREAM), ("/x", UPGRADE), ("/x", "")]
    {
        let answer = rig.get(target, fields).answer().expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "news"), "{target} {fields}");
    }
    let client = rig.connect();
    rig.send(&client, post("/x", "", "hello"));
    let refused = client.answer().expect("an answer");
    assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn a_guard_is_asked_before_anything_else_is_looked_at() {
    let guard = |request: &redpoll::Request| match request.field("x-forwarded-for") {
        Some(_) => Err(Status::new(403)),
        None => Ok(()),
    };
    let mut rig = Rig::of(support::server().guard(guard));
    for target in ["/hello", "/nowhere", "/channel/a"] {
        let answer = rig.get(target, "X-Forwarded-For: 10.0.0.1\r\n").answer();
        assert_eq!(answer.map(|answer| answer.status), Some(403), "{target}");
    }
    let client = rig.connect();
    rig.send(&client, get("/hello", "X-Forwarded-For: 10.0.0.1\r\n").replace("GET", "OPTIONS"));
    assert_eq!(client.answer().map(|answer| answer.status), Some(403));
}

//! Tokens: what they let in, what they keep out, and that they end.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::collection::vec;
use proptest::prelude::*;
use redpoll::wire::token::{Claims, Pattern, Secret, bearer, cookie, mint, verify};
use redpoll::{Action, Config, Consumer, Context, History, Message, Reason, Server, Status};
use sha2::Sha256;
use support::{CLOSE, Client, EVENT_STREAM, PING, PONG, REDPOLL_V1, Rig, Subscriber, TEXT, Way, frame, get};

const SECRET: &[u8] = b"a secret of 32 bytes, no fewer..";

fn secret() -> Secret {
    Secret::new(SECRET).expect("it is long enough")
}

/// A token with this header and these claims, signed by another hand than the library's.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).expect("any length will do").chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// JSON that is nearly a token's claims, and other JSON.
fn claims() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<f64>()
            .prop_filter("JSON has no other", |number| number.is_finite())
            .prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "[a-z*,é ]{0,8}".prop_map(|text| format!("{text:?}")),
        "[a-z*]{0,4}".prop_map(|text| format!("[{text:?}]")),
        Just(r#"{"forever":true,"subscribe":["a"]}"#.to_owned()),
    ];
    let key = prop_oneof![Just("exp"), Just("nbf"), Just("sub"), Just("redpoll"), Just("x")];
    vec((key, value), 0..5).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    // What fails is shown, and belongs into a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_of_a_client_are_taken_for_a_token_and_none_panic(
        bytes in vec(any::<u8>(), 0..200), at in any::<u64>(),
    ) {
        let text = String::from_utf8_lossy(&bytes);
        for token in [text.as_ref(), bearer(&text).unwrap_or(""), cookie(&text, "a").unwrap_or("")] {
            prop_assert_eq!(verify(token, &[secret()], at).map_err(|status| status.code()), Err(401));
        }
    }

    #[test]
    fn nor_do_dotted_ones(
        header in "[A-Za-z0-9_=-]{0,30}", claims in "[A-Za-z0-9_=-]{0,30}", rest in "[A-Za-z0-9_.-]{0,50}",
    ) {
        let token = format!("{header}.{claims}.{rest}");
        prop_assert_eq!(verify(&token, &[secret()], 0).map_err(|status| status.code()), Err(401));
    }

    #[test]
    fn what_is_signed_is_good_or_refused_but_never_panics(
        header in vec(any::<u8>(), 0..40), garbage in vec(any::<u8>(), 0..60), claims in claims(), at in any::<u64>(),
    ) {
        prop_assert!(verify(&signed(&header, claims.as_bytes()), &[secret()], at).is_err());
        let header = br#"{"alg":"HS256"}"#;
        prop_assert!(verify(&signed(header, &garbage), &[secret()], at).is_err());
        match verify(&signed(header, claims.as_bytes()), &[secret()], at) {
            Ok(claims) => prop_assert!(claims.not_before_ms <= at && claims.expires_ms.is_none_or(|end| end > at)),
            Err(refused) => prop_assert_eq!(refused.code(), 401),
        }
    }
}

/// A client of the channel that its path names, for as long as its token is good.
struct Member {
    endings: Rc<RefCell<Vec<Reason>>>,
}

impl Consumer for Member {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let request = cx.request().expect("it is asked for by a request");
        let claims = verify(&request.query("token").unwrap_or_default(), &[secret()], cx.now().unix_ms)?;
        cx.expire_at(claims.expires_ms);
        cx.subscribe(request.param("name"));
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        cx.channels().iter().for_each(|channel| drop(cx.publish(channel, message)));
    }

    fn authorize(&mut self, _: Action, _: &str, _: &mut Context) -> Result<(), Status> {
        Ok(())
    }

    fn renew(&mut self, token: &str, cx: &mut Context) -> Result<(), Status> {
        let claims = verify(token, &[secret()], cx.now().unix_ms)?;
        cx.expire_at(claims.expires_ms);
        Ok(())
    }

    fn disconnect(&mut self, reason: Reason, _: &mut Context) {
        self.endings.borrow_mut().push(reason);
    }
}

type Endings = Rc<RefCell<Vec<Reason>>>;

fn rig() -> (Rig, Endings) {
    let endings = Endings::default();
    let for_route = Rc::clone(&endings);
    let server = Server::new().route("/channel/{name}", move |_| Member { endings: Rc::clone(&for_route) });
    (Rig::of(server), endings)
}

/// `/channel/a` with a token that is good for so long.
fn target(rig: &Rig, seconds: u64) -> String {
    format!("/channel/a?token={}", token(rig, Some(seconds)))
}

fn token(rig: &Rig, seconds: Option<u64>) -> String {
    let expires_ms = seconds.map(|seconds| rig.now.unix_ms + seconds * 1_000);
    let all = Pattern::parse("*").expect("a pattern");
    mint(&Claims { expires_ms, subscribe: [all].into(), ..Claims::default() }, &secret())
}

fn assert_closed_for_expiry(client: &Client) {
    let [close] = &client.frames()[..] else { panic!("a close and nothing else") };
    assert_eq!((close.opcode, close.code(), &close.payload[2..]), (CLOSE, 4_001, &b"the token has expired"[..]));
}

#[test]
fn an_open_websocket_is_closed_with_4001_when_its_token_expires() {
    for protocol in [None, REDPOLL_V1] {
        let (mut rig, endings) = rig();
        let client = rig.websocket(&target(&rig, 10), protocol);
        rig.sleep(9_992);
        rig.publish("a", "news");
        rig.turn();
        assert!(client.texts().last().is_some_and(|text| text.contains("news")));
        rig.sleep(8);
        rig.publish("a", "not for those who have no token");
        rig.turn();
        assert_closed_for_expiry(&client);
        assert_eq!(*endings.borrow(), [Reason::Expired]);
        assert_eq!((rig.engine.metrics().subscriptions, rig.engine.metrics().transports), (0, [0; 3]));
        rig.send(&client, frame(CLOSE, 4_001u16.to_be_bytes()));
        rig.turn();
        assert!(client.is_closed(), "the closing handshake is done");
    }
}

#[test]
fn an_event_stream_is_told_that_its_token_has_expired_and_ends() {
    for form in ["raw", "json"] {
        let (mut rig, endings) = rig();
        let client = rig.event_stream(&format!("{}&form={form}", target(&rig, 10)));
        rig.sleep(9_992);
        rig.publish("a", "news");
        rig.turn();
        assert!(
            client.events().last().and_then(|event| event.data.as_deref()).is_some_and(|data| data.contains("news"))
        );
        rig.sleep(8);
        rig.publish("a", "not for those who have no token");
        rig.turn();
        let [expired] = &client.events()[..] else { panic!("one event") };
        assert_eq!((expired.event.as_deref(), expired.id.as_deref()), (Some("expired"), None));
        let told = r#"{"error":{"status":401,"detail":"the token has expired"}}"#;
        assert_eq!(expired.data.as_deref(), Some(told));
        assert!(client.is_shut());
        assert_eq!(*endings.borrow(), [Reason::Expired]);
    }
}

#[test]
fn the_wait_of_a_poll_ends_with_its_token_and_the_next_poll_is_refused() {
    let (mut rig, endings) = rig();
    let client = rig.get(&format!("{}&wait=25", target(&rig, 10)), "");
    rig.sleep(9_992);
    assert!(client.answer().is_none());
    rig.sleep(8);
    rig.publish("a", "not for those who have no token");
    rig.turn();
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, answer.json()["messages"].as_array().map(Vec::len)), (200, Some(0)), "{}", answer.body);
    assert_eq!(*endings.borrow(), [Reason::Answered]);
    // The connection is none of the token's business.
    rig.sleep(30_000);
    rig.send(&client, get(&target(&rig, 0), ""));
    assert_eq!(client.answer().map(|answer| answer.status), Some(401));
    rig.send(&client, get(&target(&rig, 10), ""));
    assert_eq!(client.answer().map(|answer| answer.status), Some(200));
    rig.sleep(59_000);
    assert!(!client.is_shut() && !client.is_closed());
}

#[test]
fn what_a_client_says_does_not_put_its_end_off() {
    let (mut rig, _) = rig();
    let client = rig.websocket(&target(&rig, 60), None);
    for _ in 0..59 {
        rig.sleep(1_000);
        rig.send(&client, frame(TEXT, "still here"));
        rig.turn();
        assert_eq!(client.texts(), ["still here"]);
    }
    rig.sleep(1_000);
    assert_closed_for_expiry(&client);
}

#[test]
fn pings_and_comments_go_on_until_then() {
    let (mut rig, _) = rig();
    let (socket, stream) = (rig.websocket(&target(&rig, 60), None), rig.event_stream(&target(&rig, 60)));
    stream.bytes();
    for _ in 0..2 {
        rig.sleep(25_000);
        let pings = socket.frames();
        assert_eq!(pings.iter().map(|frame| frame.opcode).collect::<Vec<_>>(), [PING]);
        rig.send(&socket, frame(PONG, &pings[0].payload));
        assert_eq!(stream.text(), ":\n");
    }
    rig.sleep(10_000);
    assert_closed_for_expiry(&socket);
    assert!(stream.text().starts_with("event: expired\n"));
}

#[test]
fn a_client_of_redpoll_v1_stays_with_another_token() {
    let (mut rig, endings) = rig();
    let client = rig.websocket(&target(&rig, 10), REDPOLL_V1);
    client.frames();
    let say = |rig: &mut Rig, token: &str, ack: &str| {
        rig.send(&client, frame(TEXT, format!("{{\"token\":\"{token}\"{ack}}}")));
        rig.turn();
        client.texts()
    };
    rig.sleep(5_000);
    let longer = token(&rig, Some(20));
    assert_eq!(say(&mut rig, &longer, ",\"ack\":1"), [r#"{"ack":1}"#]);
    rig.sleep(15_000);
    let expired = token(&rig, Some(0));
    assert_eq!(
        say(&mut rig, &expired, ",\"ack\":2"),
        [r#"{"error":{"status":401,"detail":"the token expired 0 s ago"},"ack":2}"#]
    );
    let refused = say(&mut rig, "x", "");
    assert!(
        refused.len() == 1 && refused[0].starts_with(r#"{"error":{"status":401,"detail":"malformed"#),
        "{refused:?}"
    );
    let forever = token(&rig, None);
    assert_eq!(say(&mut rig, &forever, ""), [""; 0], "no ack, no answer");
    rig.sleep(20_000);
    let shorter = token(&rig, Some(3));
    say(&mut rig, &shorter, "");
    rig.sleep(2_992);
    assert!(endings.borrow().is_empty());
    rig.sleep(8);
    assert_closed_for_expiry(&client);
}

#[test]
fn without_tokens_a_token_is_an_error_and_on_a_raw_websocket_a_message() {
    let mut rig = Rig::default();
    let client = rig.websocket("/channel/a", REDPOLL_V1);
    client.frames();
    rig.send(&client, frame(TEXT, r#"{"token":"x"}"#));
    assert!(client.texts()[0].contains("does not use tokens"));
    let (mut rig, _) = self::rig();
    let client = rig.websocket(&target(&rig, 10), None);
    rig.send(&client, frame(TEXT, r#"{"token":"x"}"#));
    rig.turn();
    assert_eq!(client.texts(), [r#"{"token":"x"}"#]);
}

#[test]
fn a_client_that_takes_nothing_ends_with_its_token_and_moves_nobody_elses_position() {
    let (mut rig, endings) = rig();
    let client = rig.websocket(&target(&rig, 10), None);
    client.set_capacity(5);
    rig.publish("a", "more than five bytes");
    rig.turn();
    assert!(client.is_full());
    rig.sleep(10_000);
    assert_eq!(*endings.borrow(), [Reason::Expired]);
    // The subscription's number is now another's, who is to get what came before.
    rig.publish("a", "and then this");
    let other = rig.websocket(&format!("{}&since=00005f3a-0", target(&rig, 60)), None);
    other.set_capacity(0);
    client.set_capacity(usize::MAX);
    rig.settle();
    let frames = client.frames();
    assert_eq!(frames.iter().map(|frame| frame.opcode).collect::<Vec<_>>(), [TEXT, CLOSE]);
    assert_eq!((frames[0].text().as_str(), frames[1].code()), ("more than five bytes", 4_001));
    other.set_capacity(usize::MAX);
    rig.settle();
    assert_eq!(other.texts(), ["more than five bytes", "and then this"]);
}

#[test]
fn a_blocked_event_stream_and_one_that_never_reads_end_too() {
    let (mut rig, endings) = rig();
    let client = rig.event_stream(&target(&rig, 10));
    client.set_capacity(0);
    rig.publish("a", "news");
    rig.turn();
    rig.sleep(10_000);
    assert_eq!(*endings.borrow(), [Reason::Expired]);
    rig.sleep(60_000);
    assert!(client.is_closed());
    let metrics = rig.engine.metrics();
    assert_eq!((metrics.client_bytes, metrics.subscriptions, rig.engine.timers()), (0, 0, 0));
}

#[test]
fn a_polls_answer_arrives_also_when_its_token_has_expired_on_the_way() {
    let (mut rig, endings) = rig();
    let client = rig.get(&format!("{}&wait=25", target(&rig, 10)), "");
    client.set_capacity(10);
    rig.sleep(9_000);
    rig.publish("a", "news");
    rig.turn();
    assert!(client.is_full());
    rig.sleep(20_000);
    client.set_capacity(usize::MAX);
    rig.settle();
    assert!(client.text().ends_with("\"data\":\"news\"}]}"));
    assert_eq!(*endings.borrow(), [Reason::Answered]);
}

#[test]
fn a_token_counts_by_the_clock_that_does_not_jump() {
    let (mut rig, endings) = rig();
    let client = rig.websocket(&target(&rig, 10), None);
    for jump in [3_600_000i64, -7_200_000] {
        rig.now.unix_ms = rig.now.unix_ms.saturating_add_signed(jump);
        rig.sleep(4_000);
        assert!(endings.borrow().is_empty());
    }
    rig.sleep(2_000);
    assert_closed_for_expiry(&client);
}

#[test]
fn a_token_without_an_end_or_with_one_far_away_ends_nothing() {
    let (mut rig, endings) = rig();
    let far = mint(&Claims { expires_ms: Some(u64::MAX), ..Claims::default() }, &secret());
    let huge = signed(br#"{"alg":"HS256"}"#, br#"{"exp":1e300}"#);
    for token in [token(&rig, None), far, huge] {
        rig.get(&format!("/channel/a?token={token}"), EVENT_STREAM);
    }
    rig.sleep(86_400_000);
    assert_eq!((endings.borrow().len(), rig.engine.metrics().subscriptions), (0, 3));
}

#[test]
fn an_expiry_costs_eight_bytes_and_they_come_back() {
    let (mut rig, _) = rig();
    let forever = rig.event_stream(&format!("/channel/a?token={}", token(&rig, None)));
    rig.settle();
    let one = rig.engine.metrics().client_bytes;
    let stream = rig.event_stream(&target(&rig, 10));
    rig.settle();
    assert_eq!(rig.engine.metrics().client_bytes, 2 * one + 8);
    for client in [stream, forever] {
        rig.reset(&client);
    }
    rig.settle();
    assert_eq!(rig.engine.metrics().client_bytes, 0);
}

/// May stay for up to four seconds each time.
struct Visitor {
    random: Rc<RefCell<Random>>,
}

impl Consumer for Visitor {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        cx.expire_at(Some(cx.now().unix_ms + self.random.borrow_mut().below(4_000)));
        cx.subscribe("a");
        Ok(())
    }

    fn receive(&mut self, _: Message, _: &mut Context) {}
}

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Takes what has arrived, and comes back where it has ended.
fn follow(rig: &mut Rig, subscriber: &mut Subscriber, capacity: usize) {
    subscriber.collect(rig);
    if subscriber.closed_with.is_some() || subscriber.client.is_closed() || subscriber.client.is_shut() {
        let cursor = subscriber.cursor.clone();
        let again = rig.subscribe_with(subscriber.way, "a", cursor.as_deref(), capacity);
        let before = std::mem::replace(subscriber, again);
        subscriber.messages.splice(..0, before.messages);
        subscriber.gaps += before.gaps;
    }
}

#[test]
fn whoever_comes_back_each_time_has_lost_nothing_and_got_nothing_twice() {
    for seed in 1..200u64 {
        let random = Rc::new(RefCell::new(Random(seed * 0x9e37_79b9)));
        let history = History { entries: 1_000, bytes: 1 << 20, age_ms: 3_600_000 };
        let for_route = Rc::clone(&random);
        let server = Server::new().route("/channel/{name}", move |_| Visitor { random: Rc::clone(&for_route) });
        let mut rig = Rig::of(server.config(Config { history, ..Config::default() }));
        let below = |end: usize| random.borrow_mut().below(end as u64) as usize;
        let mut subscribers = [Way::JsonSocket, Way::RawEvents, Way::JsonEvents, Way::LongPoll]
            .map(|way| rig.subscribe(way, "a", Some("00005f3a-0")));
        let mut published = Vec::new();
        for number in 0..200 {
            let which = below(subscribers.len());
            match below(5) {
                0 | 1 => {
                    published.push(format!("{number} {}", "x".repeat(below(300))));
                    rig.publish("a", published.last().expect("there is one"));
                }
                2 => rig.sleep(below(1_500) as u64),
                3 => subscribers[which].client.set_capacity(below(400)),
                _ => follow(&mut rig, &mut subscribers[which], below(400)),
            }
            rig.turn();
        }
        for _ in 0..100 {
            for subscriber in &mut subscribers {
                subscriber.client.set_capacity(usize::MAX);
                follow(&mut rig, subscriber, usize::MAX);
            }
            rig.settle();
        }
        for subscriber in &subscribers {
            assert_eq!((&subscriber.messages, subscriber.gaps), (&published, 0), "seed {seed}, {:?}", subscriber.way);
        }
    }
}

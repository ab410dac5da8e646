//! Limits of one client: how many connections, how fast it publishes, and whose word is taken for who it is.

mod support;

use redpoll::{Config, History, Limit};
use support::{CLOSE, Client, REDPOLL_V1, Rig, TEXT, frame, get, post};

fn per_address(limit: u32, trusted_hops: u8) -> Rig {
    Rig::new(Config { address_connections_max: Some(limit), trusted_hops, ..Config::default() })
}

fn at_rate(publications_a_second: u32, trusted_hops: u8) -> Rig {
    Rig::new(Config { publications_a_second: Some(publications_a_second), trusted_hops, ..Config::default() })
}

fn reached(rig: &Rig, limit: Limit) -> u64 {
    rig.engine.metrics().limits[limit as usize]
}

/// The status of one request on a connection that stays.
fn status(rig: &mut Rig, client: &Client, request: &str) -> u16 {
    rig.send(client, request);
    rig.turn();
    client.answer().expect("an answer").status
}

/// Half of all ticks, in milliseconds: what is farther away cannot be told from the past.
const HALF_A_ROUND_MS: u64 = 8 << 31;

#[test]
fn after_any_time_in_which_nobody_came_timeouts_are_as_long_as_ever() {
    for idle_ms in [1_000, HALF_A_ROUND_MS - 5_000, HALF_A_ROUND_MS + 5_000, 3 * HALF_A_ROUND_MS] {
        let history = History { age_ms: 20_000, ..History::default() };
        let mut rig = Rig::new(Config { history, ..Config::default() });
        rig.now.monotonic_ms += idle_ms;
        let client = rig.connect();
        rig.publish("a", "kept for a while");
        rig.send(&client, "GET / HT");
        rig.sleep(9_900);
        assert_eq!(client.text(), "", "{idle_ms}");
        rig.sleep(200);
        assert!(client.text().starts_with("HTTP/1.1 408 "), "{idle_ms}");
        rig.sleep(20_000);
        assert_eq!(rig.engine.metrics().channels, 0, "{idle_ms}");
    }
}

#[test]
fn an_address_has_as_many_connections_as_it_may_and_others_are_not_harmed() {
    let mut rig = per_address(2, 0);
    let first = rig.connect_from("192.0.2.1").expect("room");
    let _second = rig.connect_from("::ffff:192.0.2.1").expect("room");
    let refused = rig.connect_from("192.0.2.1").err().expect("no room");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: "), "{refused}");
    assert!(refused.contains("2 connections from this address") && refused.contains("--max-per-address"), "{refused}");
    let _other = rig.connect_from("192.0.2.2").expect("another address has its own");
    rig.hang_up(&first);
    rig.turn();
    rig.connect_from("192.0.2.1").expect("room again");
    assert_eq!((reached(&rig, Limit::AddressConnections), reached(&rig, Limit::Connections)), (1, 0));
}

#[test]
fn an_ipv6_network_is_one_address_and_a_unix_socket_none() {
    let mut rig = per_address(1, 0);
    let _first = rig.connect_from("2001:db8::1").expect("room");
    assert!(rig.connect_from("2001:db8::ffff:2").is_err(), "the same 64 bits");
    let _next = rig.connect_from("2001:db8:0:1::1").expect("the next network");
    (0..5).for_each(|_| drop(rig.connect()));
    assert_eq!(rig.engine.metrics().connections, 7);
}

#[test]
fn without_the_limit_nothing_is_counted() {
    let mut rig = Rig::default();
    let before = rig.engine.metrics().client_bytes;
    let _client = rig.connect_from("192.0.2.1").expect("room");
    let one = rig.engine.metrics().client_bytes - before;
    let mut rig = per_address(2, 0);
    let _client = rig.connect_from("192.0.2.1").expect("room");
    assert!(rig.engine.metrics().client_bytes > one, "and what is held to count is told");
}

#[test]
fn behind_a_proxy_a_connection_is_the_client_s_whose_request_it_carries() {
    let mut rig = per_address(2, 1);
    let from = |address: &str| format!("X-Forwarded-For: 198.51.100.7, {address}\r\n");
    let proxied: Vec<Client> = (0..5).map(|_| rig.connect_from("10.0.0.1").expect("the proxy has room")).collect();
    for client in &proxied {
        // A proxy uses its connections again for anyone.
        assert_eq!(status(&mut rig, client, &get("/hello", &from("192.0.2.1"))), 200);
        assert_eq!(status(&mut rig, client, &get("/hello", &from("192.0.2.2"))), 200);
    }
    for client in &proxied[..2] {
        rig.send(client, get("/channel/a?wait=20", &from("192.0.2.1")));
    }
    rig.send(&proxied[2], get("/hello", &from("192.0.2.1")));
    let refused = proxied[2].answer().expect("an answer");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("--max-per-address"), "{}", refused.body);
    assert_eq!(status(&mut rig, &proxied[2], &get("/hello", &from("192.0.2.2"))), 200, "the connection goes on");
    assert_eq!(status(&mut rig, &proxied[2], &get("/hello", "")), 200, "what the proxy asks itself is not counted");
    rig.publish("a", "x");
    rig.turn();
    assert_eq!(status(&mut rig, &proxied[2], &get("/hello", &from("192.0.2.1"))), 200, "the polls are answered");
    assert_eq!(reached(&rig, Limit::AddressConnections), 1);
}

#[test]
fn a_websocket_behind_a_proxy_counts_until_it_ends() {
    let mut rig = per_address(1, 1);
    let from = "X-Forwarded-For: 192.0.2.1\r\n";
    let [socket, other] = [(); 2].map(|()| rig.connect_from("10.0.0.1").expect("room"));
    rig.send(&socket, get("/channel/a", &format!("{}{from}", support::UPGRADE)));
    assert_eq!(socket.answer().expect("an answer").status, 101);
    assert_eq!(status(&mut rig, &other, &get("/hello", from)), 503);
    rig.reset(&socket);
    rig.turn();
    assert_eq!(status(&mut rig, &other, &get("/hello", from)), 200);
}

#[test]
fn whose_word_cannot_be_told_from_the_client_s_is_not_taken() {
    let mut rig = per_address(2, 1);
    let client = rig.connect_from("10.0.0.1").expect("room");
    let both = "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n";
    assert_eq!(status(&mut rig, &client, &get("/hello", both)), 400);
    let mut rig = per_address(2, 0);
    let client = rig.connect_from("192.0.2.9").expect("room");
    assert_eq!(status(&mut rig, &client, &get("/hello", both)), 200, "nobody looks at it without --behind-proxy");
}

#[test]
fn a_connection_may_post_a_second_s_worth_at_once_and_then_as_many_as_the_rate() {
    let mut rig = at_rate(3, 0);
    let client = rig.connect();
    let one = post("/channel/a", "", "x");
    assert_eq!([(); 3].map(|()| status(&mut rig, &client, &one)), [202; 3]);
    rig.send(&client, &one);
    let refused = client.answer().expect("an answer");
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")));
    assert!(refused.body.contains("--publish-rate"), "{}", refused.body);
    assert_eq!(status(&mut rig, &client, &get("/channel/a", "")), 200, "who may not publish may read");
    let other = rig.connect();
    assert_eq!(status(&mut rig, &other, &one), 202, "each connection has its own");
    rig.sleep(334);
    assert_eq!([(); 2].map(|()| status(&mut rig, &client, &one)), [202, 429]);
    assert_eq!((reached(&rig, Limit::PublishRate), rig.engine.metrics().published), (2, 5));
}

#[test]
fn a_message_to_several_channels_goes_to_all_or_none_and_each_is_counted() {
    let mut rig = at_rate(2, 0);
    let client = rig.connect();
    let several = post("/channel/a,b,c,d", "", "x");
    assert_eq!(status(&mut rig, &client, &several), 202);
    rig.send(&client, &several);
    let refused = client.answer().expect("an answer");
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("2")), "4 at 2 a second, and one to come");
    assert_eq!((rig.engine.metrics().published, reached(&rig, Limit::PublishRate)), (4, 1));
    rig.sleep(1_501);
    assert_eq!(status(&mut rig, &client, &several), 202);
    assert_eq!(rig.engine.metrics().published, 8);
}

#[test]
fn a_socket_of_commands_gets_an_error_and_goes_on() {
    let mut rig = at_rate(1, 0);
    let client = rig.websocket("/channel/a", REDPOLL_V1);
    client.frames();
    for ack in 1..=2 {
        rig.send(&client, frame(TEXT, format!(r#"{{"publish":"a","data":"x","ack":{ack}}}"#)));
    }
    let answers = client.frames();
    assert_eq!((answers[0].json()["ack"].as_u64(), answers[0].json()["error"].is_null()), (Some(1), true));
    let error = answers[1].json();
    assert_eq!((error["error"]["status"].as_u64(), error["ack"].as_u64()), (Some(429), Some(2)));
    rig.sleep(1_001);
    client.frames();
    rig.send(&client, frame(TEXT, r#"{"publish":"a","data":"x","ack":3}"#));
    assert_eq!(client.frames()[0].json()["ack"], 3);
}

#[test]
fn a_raw_socket_which_has_no_errors_is_closed_with_try_again_later() {
    let mut rig = at_rate(2, 0);
    let [client, neighbour] = [(); 2].map(|()| rig.websocket("/channel/a", None));
    (0..3).for_each(|n| rig.send(&client, frame(TEXT, n.to_string())));
    rig.turn();
    let frames = client.frames();
    let close = frames.iter().find(|frame| frame.opcode == CLOSE).expect("a close");
    assert_eq!(close.code(), 1013);
    assert!(close.text().contains("--publish-rate"), "{}", close.text());
    assert_eq!(neighbour.texts(), ["0", "1"], "what came before is published, what came too fast is not");
    let echo = rig.websocket("/echo", None);
    (0..9).for_each(|_| rig.send(&echo, frame(TEXT, "x")));
    assert_eq!(echo.texts().len(), 9, "what is not published is not counted");
}

#[test]
fn what_a_proxy_passes_on_is_counted_by_the_client_whichever_connection_it_takes() {
    let mut rig = at_rate(1, 1);
    let [one, two] = [(); 2].map(|()| rig.connect_from("10.0.0.1").expect("room"));
    let from = |address: &str| post("/channel/a", &format!("X-Forwarded-For: {address}\r\n"), "x");
    assert_eq!(status(&mut rig, &one, &from("192.0.2.1")), 202);
    assert_eq!(status(&mut rig, &one, &from("192.0.2.2")), 202);
    assert_eq!(status(&mut rig, &two, &from("192.0.2.1")), 429);
}

#[test]
fn the_number_of_a_connection_that_has_gone_brings_nobody_its_rate_and_silence_costs_nothing() {
    let mut rig = at_rate(1, 0);
    let idle = rig.engine.metrics().client_bytes;
    for _ in 0..10 {
        let client = rig.connect();
        assert_eq!(status(&mut rig, &client, &post("/channel/a", "", "x")), 202);
        rig.reset(&client);
        rig.turn();
    }
    assert_eq!(rig.engine.metrics().client_bytes, idle);
    let clients: Vec<Client> = (0..50).map(|_| rig.websocket("/channel/b", None)).collect();
    rig.turn();
    let silent = rig.engine.metrics().client_bytes;
    clients.iter().for_each(|client| rig.send(client, frame(TEXT, "x")));
    rig.settle();
    assert!(rig.engine.metrics().client_bytes > silent);
    rig.sleep(Config::default().ping_interval_ms);
    assert_eq!(rig.engine.metrics().client_bytes, silent);
}

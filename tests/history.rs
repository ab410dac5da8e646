//! History: what a channel keeps for those who come later or are slow, and how they are told of what is lost.

mod support;

use redpoll::{Config, History};
use support::{CLOSE, COMMANDS, EVENT_STREAM, Rig, UPGRADE};

#[test]
fn who_falls_behind_is_told_the_gap() {
    for (target, fields, notice) in [
        ("/channel/a", COMMANDS, r#""gap":{"from":"00005f3a-"#),
        ("/channel/a?form=json", UPGRADE, r#""gap":{"from":"00005f3a-"#),
        ("/channel/a", EVENT_STREAM, "event: gap\ndata: {\"channel\":\"a\",\"gap\""),
        ("/channel/a,b", EVENT_STREAM, "event: gap\ndata: {\"channel\":\"a\",\"gap\""),
    ] {
        let mut rig = Rig::default();
        let slow = rig.join(target, fields);
        slow.set_capacity(100);
        let held = rig.engine.metrics().client_bytes;
        for number in 0..500 {
            rig.publish("a", &format!("message {number}"));
            if number % 25 == 24 {
                rig.sleep(1_000);
            }
        }
        assert!(rig.engine.metrics().client_bytes - held < 2_000, "a slow client costs one partly written message");
        slow.set_capacity(usize::MAX);
        rig.turn();
        let text = slow.text();
        assert!(text.contains(notice), "{text}");
        assert!(text.contains("message 499"), "{text}");
    }
}

#[test]
fn a_raw_websocket_that_falls_behind_is_closed_with_4008() {
    let mut rig = Rig::default();
    let slow = rig.join("/channel/a", UPGRADE);
    slow.set_capacity(100);
    for number in 0..20 {
        for part in 0..20 {
            rig.publish("a", &format!("message {}", 20 * number + part));
        }
        rig.sleep(1_000);
    }
    slow.set_capacity(usize::MAX);
    rig.turn();
    let mut got = slow.frames();
    let close = got.pop().expect("a close");
    assert_eq!((close.opcode, close.code()), (CLOSE, 4008));
    for (number, frame) in got.iter().enumerate() {
        assert_eq!(frame.text(), format!("message {number}"), "what came before is whole");
    }
}

#[test]
fn a_stranger_to_the_epoch_and_a_position_from_the_future_are_gaps() {
    for since in ["00000bad-3", "00005f3a-99"] {
        let mut rig = Rig::default();
        rig.publish("a", "kept");
        rig.turn();
        let target = format!("/channel/a?since={since}");
        let notice = format!(r#"{{"channel":"a","gap":{{"from":"{since}","to":"00005f3a-0"}}}}"#);
        let poll = rig.ask(&format!("{target}&wait=9"), "").text();
        assert!(poll.contains(r#""gap":true"#) && poll.contains("kept"), "{poll}");
        let raw = rig.ask(&format!("{target}&form=raw"), "").text();
        assert!(raw.contains("Redpoll-Gap: 1") && raw.ends_with("kept"), "{raw}");
        let stream = rig.ask(&target, EVENT_STREAM).text();
        assert!(stream.contains(&format!("id: {since}\n\n")), "first its own position: {stream}");
        assert!(
            stream.contains(&format!("id: 00005f3a-0\nevent: gap\ndata: {notice}\n\n")) && stream.contains("kept"),
            "{stream}"
        );
        let commands = rig.ask(&target, COMMANDS).text();
        assert!(commands.contains(&format!(r#"{{"subscribed":"a","cursor":"{since}"}}"#)), "{commands}");
        assert!(commands.contains(&notice) && commands.contains("kept"), "{commands}");
        let websocket = rig.ask(&target, UPGRADE).bytes();
        assert!(websocket.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == 4008u16.to_be_bytes()));
    }
}

#[test]
fn the_newest_message_is_kept_whatever_its_size() {
    let history = History { bytes: 10, ..History::default() };
    let mut rig = Rig::new(Config { history, ..Config::default() });
    for text in ["first of more than ten bytes", "second of more than ten bytes"] {
        rig.publish("a", text);
        rig.turn();
    }
    let kept = rig.ask("/channel/a?since=earliest", "").text();
    assert!(!kept.contains("first") && kept.contains("second"), "{kept}");
}

#[test]
fn a_history_of_nothing_delivers_and_keeps_nothing() {
    let history = History { entries: 0, ..History::default() };
    let mut rig = Rig::new(Config { history, ..Config::default() });
    let client = rig.join("/channel/a", UPGRADE);
    rig.publish("a", "passing by");
    rig.turn();
    assert_eq!(client.texts(), ["passing by"]);
    let kept = rig.ask("/channel/a?since=earliest", "").text();
    assert!(kept.contains(r#""gap":false,"messages":[]"#), "{kept}");
}

#[test]
fn history_ends_by_number_and_by_age() {
    let mut rig = Rig::default();
    for number in 100..250 {
        rig.publish("a", &format!("m{number}"));
        rig.turn();
    }
    let kept = rig.ask("/channel/a?since=earliest", "").text();
    assert!(!kept.contains("m149") && kept.contains("m150") && kept.contains("m249"), "{kept}");
    rig.sleep(3_601_000);
    assert_eq!((rig.engine.metrics().channels, rig.engine.metrics().channel_bytes), (0, 0), "and is forgotten");
    let later = rig.ask("/channel/a?since=00005f3a-240", "").text();
    assert!(later.contains(r#""cursor":"00005f3a-150","gap":true"#), "{later}");
    rig.publish("a", "x");
    assert!(rig.ask("/channel/a?since=last", "").text().contains("00005f3a-151"), "no offset is given twice");
}

#[test]
fn a_quiet_channel_is_no_gap_when_a_busy_one_is_forgotten() {
    let mut rig = Rig::default();
    let begun = rig.ask("/channel/quiet", "").text();
    assert!(begun.contains(r#""cursor":"00005f3a-0","gap":false"#), "{begun}");
    for _ in 0..700 {
        rig.publish("busy", "x");
    }
    let client = rig.connect();
    rig.send(&client, "DELETE /channel/busy HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.sleep(2_000);
    assert_eq!(rig.engine.metrics().channels, 0, "it is forgotten");
    let later = rig.ask("/channel/quiet?since=00005f3a-0", "").text();
    assert!(later.contains(r#""cursor":"00005f3a-0","gap":false"#), "{later}");
}

#[test]
fn a_poll_that_does_not_wait_needs_no_room_for_a_channel() {
    let mut rig = Rig::new(Config { channels_max: 1, ..Config::default() });
    rig.publish("a", "x");
    for target in ["/channel/b", "/channel/b,c", "/channel/b?form=raw"] {
        let answer = rig.get(target, "").answer().expect("an answer");
        assert!(matches!(answer.status, 200 | 204), "{target}: {}", answer.status);
    }
    assert_eq!(rig.get("/channel/b?wait=1", "").answer().map(|answer| answer.status), Some(503));
    assert_eq!(rig.post("/channel/a,b", "", "to both or to none").status, 503);
    let kept = rig.ask("/channel/a?since=earliest", "").text();
    assert!(!kept.contains("none") && rig.engine.metrics().channels == 1, "{kept}");
}

#[test]
fn who_changes_transport_with_its_position_loses_and_repeats_nothing() {
    let kinds = [("", ""), ("wait=9&", ""), ("form=json&", EVENT_STREAM), ("form=json&", UPGRADE)];
    for (leaves, (first_query, first_fields)) in kinds.iter().enumerate() {
        for (comes, (then_query, then_fields)) in kinds.iter().enumerate() {
            let mut rig = Rig::default();
            rig.publish("a", "m1");
            rig.publish("a", "m2");
            rig.turn();
            let first = rig.ask(&format!("/channel/a?{first_query}since=earliest"), first_fields);
            let text = first.text();
            let (_, id) = text.rsplit_once("00005f3a-").expect("a position");
            assert!(text.contains("m1") && text.contains("m2"), "{text}");
            let id = format!("00005f3a-{}", id.split(|end: char| !end.is_ascii_digit()).next().expect("an offset"));
            rig.hang_up(&first);
            rig.publish("a", "m3");
            rig.turn();
            let then = rig.ask(&format!("/channel/a?{then_query}since={id}"), then_fields);
            rig.publish("a", "m4");
            rig.turn();
            let mut text = then.text();
            if comes < 2 {
                let next = rig.ask("/channel/a?since=00005f3a-3", "");
                text.push_str(&next.text());
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
fn what_is_deleted_is_a_gap_to_those_who_had_not_read_it() {
    let mut rig = Rig::default();
    let reader = rig.join("/channel/a", COMMANDS);
    rig.publish("a", "read");
    rig.turn();
    let slow = rig.ask("/channel/a?since=00005f3a-0&limit=1", "").text();
    assert!(slow.contains("read"));
    rig.publish("a", "unread");
    let client = rig.connect();
    rig.send(&client, b"DELETE /channel/a HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.turn();
    assert!(client.text().starts_with("HTTP/1.1 204 "));
    let got = reader.texts();
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got[1].contains(r#""gap":{"from":"00005f3a-1","to":"00005f3a-2"}"#), "{got:?}");
    rig.publish("a", "after");
    rig.turn();
    assert!(reader.texts()[0].contains(r#""id":"00005f3a-3""#));
}

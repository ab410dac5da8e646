//! The JSON envelope: a publication, or a gap, as polls, event streams and `redpoll.v1` carry it.
//!
//! Written by hand into the caller's buffer, since it is on the path of every delivery; only strings are escaped by
//! `serde_json`.

use std::fmt::Display;
use std::io::Write;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use super::position::Position;

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// UTF-8 text, carried as `"data"`.
    Text(&'a str),
    /// Any bytes, carried as `"base64"` (RFC 4648 §4, with padding).
    Binary(&'a [u8]),
}

/// Appends `{"channel":"a","id":"0000005f-42","data":"hello"}`, with `"event"` before the payload where the publisher
/// named one.
pub fn push_envelope(out: &mut Vec<u8>, channel: &str, id: Position, event: Option<&str>, payload: Payload) {
    out.extend_from_slice(br#"{"channel":"#);
    push_string(out, channel);
    push_formatted(out, format_args!(r#","id":"{id}""#));
    if let Some(event) = event {
        out.extend_from_slice(br#","event":"#);
        push_string(out, event);
    }
    push_payload(out, payload);
    out.push(b'}');
}

/// Appends `{"data":"hello"}`: a message to one client alone, which is of no channel and has no position.
pub fn push_direct(out: &mut Vec<u8>, payload: Payload) {
    let start = out.len();
    push_payload(out, payload);
    // In place of the comma.
    out[start] = b'{';
    out.push(b'}');
}

/// Appends `{"channel":"a","gap":{"from":"0000005f-7","to":"0000005f-40"}}`: what was lost is after `from`, up to and
/// with `to`. `from` is what the client gave, so it is escaped.
pub fn push_gap(out: &mut Vec<u8>, channel: &str, from: impl Display, to: Position) {
    out.extend_from_slice(br#"{"channel":"#);
    push_string(out, channel);
    out.extend_from_slice(br#","gap":{"from":"#);
    push_string(out, &from.to_string());
    push_formatted(out, format_args!(r#","to":"{to}"}}}}"#));
}

/// Appends `{"channel":"a","join":{"name":"ann","transport":"sse"}}`, or `"leave"`, whichever `change` says.
pub fn push_change(out: &mut Vec<u8>, channel: &str, change: &str, name: &str, transport: &str) {
    out.extend_from_slice(br#"{"channel":"#);
    push_string(out, channel);
    push_formatted(out, format_args!(r#","{change}":"#));
    push_member(out, name, transport);
    out.push(b'}');
}

/// Appends `{"name":"ann","transport":"sse"}`.
pub fn push_member(out: &mut Vec<u8>, name: &str, transport: &str) {
    out.extend_from_slice(br#"{"name":"#);
    push_string(out, name);
    push_formatted(out, format_args!(r#","transport":"{transport}"}}"#));
}

/// Appends `{"channel":"a","members":{"count":10000}}`: more have come or gone than is worth telling one by one.
pub fn push_members(out: &mut Vec<u8>, channel: &str, count: usize) {
    out.extend_from_slice(br#"{"channel":"#);
    push_string(out, channel);
    push_formatted(out, format_args!(r#","members":{{"count":{count}}}}}"#));
}

/// Appends a JSON string (RFC 8259 §7), quotes and all.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes every byte, and a string is always JSON");
}

/// Bytes as text (RFC 4648 §4), with padding: what a raw event stream carries for them.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn push_payload(out: &mut Vec<u8>, payload: Payload) {
    match payload {
        Payload::Text(text) => {
            out.extend_from_slice(br#","data":"#);
            push_string(out, text);
        }
        Payload::Binary(bytes) => {
            out.extend_from_slice(br#","base64":""#);
            push_formatted(out, format_args!("{}\"", Base64Display::new(bytes, &STANDARD)));
        }
    }
}

/// Appends what needs no escaping.
pub(crate) fn push_formatted(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes every byte");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ID: Position = Position { epoch: 0x5f3a, offset: 42 };

    fn envelope(channel: &str, event: Option<&str>, payload: Payload) -> String {
        let mut out = Vec::new();
        push_envelope(&mut out, channel, ID, event, payload);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_to_one_client_has_a_payload_and_nothing_else() {
        let mut out = b"before".to_vec();
        push_direct(&mut out, Payload::Text("a\"b"));
        push_direct(&mut out, Payload::Binary(b"\xff"));
        assert_eq!(String::from_utf8(out).unwrap(), r#"before{"data":"a\"b"}{"base64":"/w=="}"#);
    }

    #[test]
    fn an_envelope_has_its_keys_in_order() {
        assert_eq!(envelope("a", None, Payload::Text("hello")), r#"{"channel":"a","id":"00005f3a-42","data":"hello"}"#);
        assert_eq!(
            envelope("a", Some("e"), Payload::Text("")),
            r#"{"channel":"a","id":"00005f3a-42","event":"e","data":""}"#
        );
        assert_eq!(
            envelope("a", None, Payload::Binary(b"\0\xff\xfe>")),
            r#"{"channel":"a","id":"00005f3a-42","base64":"AP/+Pg=="}"#
        );
        assert_eq!(base64(b"\0\xff\xfe>"), "AP/+Pg==");
        assert_eq!(envelope("a", None, Payload::Binary(b"")), r#"{"channel":"a","id":"00005f3a-42","base64":""}"#);
    }

    #[test]
    fn every_text_reads_back_from_the_envelope() {
        for text in ["\"\\/", "a\r\n\t\0\u{1}\u{1f}\u{7f}", "é\u{2028}🐦", "</script>"] {
            let json: serde_json::Value =
                serde_json::from_str(&envelope(text, Some(text), Payload::Text(text))).unwrap();
            assert_eq!(json, serde_json::json!({"channel": text, "id": "00005f3a-42", "event": text, "data": text}));
        }
    }

    #[test]
    fn presence_says_who_or_how_many() {
        let mut out = Vec::new();
        push_change(&mut out, "a", "join", "\"é", "sse");
        assert_eq!(String::from_utf8_lossy(&out), r#"{"channel":"a","join":{"name":"\"é","transport":"sse"}}"#);
        out.clear();
        push_members(&mut out, "a", 10_000);
        assert_eq!(out, br#"{"channel":"a","members":{"count":10000}}"#);
    }

    #[test]
    fn a_gap_says_from_where_to_where() {
        let mut out = Vec::new();
        push_gap(&mut out, "a", Position { offset: 7, ..ID }, Position { offset: 40, ..ID });
        assert_eq!(out, br#"{"channel":"a","gap":{"from":"00005f3a-7","to":"00005f3a-40"}}"#);
        out.clear();
        push_gap(&mut out, "a", "\"", ID);
        assert_eq!(out, br#"{"channel":"a","gap":{"from":"\"","to":"00005f3a-42"}}"#);
    }
}

//! `/lab/wire`: what went over the wire of the lab's own connections, which a browser does not tell its pages.

use std::fmt::Write;
use std::rc::Rc;

use base64::prelude::{BASE64_STANDARD, Engine};
use redpoll::wire::envelope::push_string;
use redpoll::wire::form::channel_names;
use redpoll::{Action, Context, Flow, Request, Response, Server, Status, Tap};

use super::gate::Gate;

pub(super) fn routes(server: Server, gate: &Rc<Gate>) -> Server {
    let gate = Rc::clone(gate);
    server.get("/lab/wire", move |request, cx| wire(request, cx, &gate).unwrap_or_else(Response::from))
}

/// What a subscription to `channels` asks for besides its messages: `tap=KEY` has its bytes recorded under the key,
/// `deflate=off` keeps its frames as they are.
///
/// # Errors
/// 400 for a key that could be guessed, or is very long.
pub(super) fn tap(channels: &[String], cx: &mut Context) -> Result<(), Status> {
    let Some(request) = cx.request() else { return Ok(()) };
    if request.query("deflate").is_some_and(|value| value == "off") {
        cx.decline_deflate();
    }
    if let Some(key) = request.query("tap") {
        cx.tap(&key_for(&channels.join(","), &key)?);
    }
    Ok(())
}

/// A key is good for its channel alone: who may not subscribe to that is not shown what went there.
fn key_for(channel: &str, key: &str) -> Result<String, Status> {
    let fits = KEY_CHARACTERS.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match fits {
        true => Ok(format!("{channel} {key}")),
        false => Err(Status::new(400).detail(format!(
            "tap={key:?}: a key is {} to {} letters and digits, picked at random",
            KEY_CHARACTERS.start(),
            KEY_CHARACTERS.end()
        ))),
    }
}

/// JSON for each of the keys, `null` where nothing is recorded.
fn wire(request: &Request, cx: &mut Context, gate: &Gate) -> Result<Response, Status> {
    let channel = request.query("channel").unwrap_or_default();
    gate.admit(request, cx.now(), Action::Subscribe, &channel_names(&channel)?)?;
    let keys = request.query("tap").unwrap_or_default();
    let mut json = b"[".to_vec();
    for key in keys.split(',').take(KEYS_MAX) {
        let (now_ms, key) = (cx.now().monotonic_ms, key_for(&channel, key)?);
        if json.len() > 1 {
            json.push(b',');
        }
        match cx.tapped(&key) {
            Some(tap) => push_tap(&mut json, tap, now_ms),
            None => json.extend_from_slice(b"null"),
        }
    }
    json.push(b']');
    Ok(Response::new(200).content("application/json", json).field("Cache-Control", "no-store"))
}

fn push_tap(json: &mut Vec<u8>, tap: &Tap, now_ms: u64) {
    let begin = format!(r#"{{"requests":{},"quiet_ms":{}"#, tap.requests, now_ms.saturating_sub(tap.moved_ms));
    json.extend_from_slice(begin.as_bytes());
    push_flow(json, "received", &tap.received);
    push_flow(json, "sent", &tap.sent);
    json.push(b'}');
}

fn push_flow(json: &mut Vec<u8>, name: &str, flow: &Flow) {
    let Flow { bytes, last_bytes, last_frames, .. } = flow;
    json.extend_from_slice(format!(r#","{name}":{{"bytes":{bytes},"head":"#).as_bytes());
    push_string(json, &shown(&String::from_utf8_lossy(&flow.head)));
    let last = BASE64_STANDARD.encode(&flow.last);
    let rest = format!(r#","last":"{last}","last_bytes":{last_bytes},"last_frames":{last_frames}}}"#);
    json.extend_from_slice(rest.as_bytes());
}

/// A head as it was, but for a token, which is not to be on a screen, and the values of fields that no browser's page
/// could know: a proxy may have put in what is meant for the server alone, and cookies are kept from scripts.
fn shown(head: &str) -> String {
    let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut text = without_token(first) + "\r\n";
    for line in fields.split_inclusive("\r\n") {
        match line.split_once(':') {
            Some((name, _)) if !is_shown(name) => {
                let _ = write!(text, "{name}: (not shown)\r\n");
            }
            _ => text.push_str(line),
        }
    }
    text
}

fn without_token(line: &str) -> String {
    let Some((before, token)) = line.split_once("token=") else { return line.to_owned() };
    let rest = token.find(['&', ' ']).map_or("", |end| &token[end..]);
    format!("{before}token=(not shown){rest}")
}

fn is_shown(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SHOWN.iter().any(|known| name.strip_prefix(known).is_some_and(|rest| ends(known, rest)))
}

fn ends(known: &str, rest: &str) -> bool {
    rest.is_empty() || known.ends_with('-')
}

/// Fields that browsers send or that the server does, and beginnings of such names.
const SHOWN: [&str; 28] = [
    "accept",
    "accept-",
    "access-control-",
    "cache-control",
    "connection",
    "content-",
    "date",
    "dnt",
    "etag",
    "host",
    "if-none-match",
    "keep-alive",
    "last-event-id",
    "origin",
    "pragma",
    "priority",
    "redpoll-gap",
    "referer",
    "sec-ch-",
    "sec-fetch-",
    "sec-gpc",
    "sec-websocket-",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "x-accel-buffering",
    "x-content-type-options",
];

/// 32 letters and digits cannot be guessed.
const KEY_CHARACTERS: std::ops::RangeInclusive<usize> = 32..=64;
/// Keys in one request: as many as a page has connections.
const KEYS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_pages_is_not_shown() {
        let head = "GET http://h:80/?a=b&token=c.d&e HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nAuthorization: Basic x\r\n\
            Sec-WebSocket-Key: k\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
        let expected = "GET http://h:80/?a=b&token=(not shown)&e HTTP/1.1\r\nHost: h\r\nCookie: (not shown)\r\n\
            Authorization: (not shown)\r\nSec-WebSocket-Key: k\r\nX-Real-IP: (not shown)\r\n\r\n";
        assert_eq!(shown(head), expected);
    }
}

//! RFC 6455 §4, line by line: which request opens a WebSocket, and which answer a client accepts.
//!
//! HTTP has corners in which several readings are right. A model that knows them all would be another HTTP server, so
//! this one says [`Verdict::Unsure`] there.

use crate::base64;
use crate::extensions::{self, Agreement, is_token};

/// The path that takes WebSockets.
pub const PATH: &str = "/echo";

/// The most fields of a head.
pub const FIELDS_MAX: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    Opens(T),
    Refused,
    Unsure,
}

/// What a server answers to a request that opens a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub struct Opening {
    /// The length of the request.
    pub head_bytes: usize,
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// Whether `redpoll.v1` is chosen.
    pub commands: bool,
    pub deflate: Option<Agreement>,
}

/// What a client takes from an answer that it accepts.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    pub head_bytes: usize,
    pub protocol: Option<String>,
}

/// §4.2.1 of the request that `bytes` begins with, by a server that accepts heads of `head_bytes_max` bytes.
pub fn request(bytes: &[u8], head_bytes_max: usize, deflate: bool) -> Verdict<Opening> {
    let empty_lines = 2 * bytes.chunks(2).take_while(|line| *line == b"\r\n").count();
    let Some(head) = Head::parse(&bytes[empty_lines..]) else { return Verdict::Refused };
    let whole = &bytes[empty_lines..empty_lines + head.bytes];
    if head.fields.len() > FIELDS_MAX || head.bytes > head_bytes_max || std::str::from_utf8(whole).is_err() {
        return Verdict::Refused;
    }
    let elsewhere = ["content-length", "transfer-encoding", "expect", "origin"];
    if head.first_line != format!("GET {PATH} HTTP/1.1")
        || elsewhere.iter().any(|name| head.values(name).next().is_some())
    {
        return Verdict::Unsure;
    }
    let offers = extensions::negotiate(head.values("sec-websocket-extensions"));
    let opens = matches!(head.values("host").collect::<Vec<_>>()[..], [host] if is_host(host))
        && head.has_token("upgrade", "websocket")
        && head.has_token("connection", "upgrade")
        && head.only("sec-websocket-version") == Some("13");
    match (head.only("sec-websocket-key").filter(|key| is_key(key)), offers) {
        (Some(key), Ok(offer)) if opens => Verdict::Opens(Opening {
            head_bytes: empty_lines + head.bytes,
            accept: accept(key),
            commands: head.items("sec-websocket-protocol").any(|name| name == "redpoll.v1"),
            deflate: offer.filter(|_| deflate),
        }),
        _ => Verdict::Refused,
    }
}

/// §4.1 of the answer that `bytes` begins with, for a client that offers no extensions.
pub fn answer(bytes: &[u8], key: &str, offered: &[&str]) -> Verdict<Accepted> {
    let Some(head) = Head::parse(bytes) else { return Verdict::Unsure };
    let reason_is_text = |reason: &str| reason.chars().all(is_text);
    let status_line = head.first_line.strip_prefix("HTTP/1.1 101");
    let is_101 = status_line.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ') && reason_is_text(rest));
    let fits = is_101
        && head.fields.len() <= FIELDS_MAX
        && head.has_token("upgrade", "websocket")
        && head.has_token("connection", "upgrade")
        && head.only("sec-websocket-accept") == Some(&accept(key))
        && head.values("sec-websocket-extensions").all(str::is_empty);
    let chosen = head.values("sec-websocket-protocol").collect::<Vec<_>>();
    match chosen[..] {
        [] if fits => Verdict::Opens(Accepted { head_bytes: head.bytes, protocol: None }),
        [chosen] if fits && offered.contains(&chosen) => {
            Verdict::Opens(Accepted { head_bytes: head.bytes, protocol: Some(chosen.to_owned()) })
        }
        _ => Verdict::Refused,
    }
}

/// §4.2.2, item 5.4.
pub fn accept(key: &str) -> String {
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest().bytes();
    base64::pad(base64::encode(&digest, base64::STANDARD))
}

/// Sixteen bytes in Base64: 22 digits, of which the last has only two bits, and the padding.
fn is_key(key: &str) -> bool {
    let Some(digits) = key.strip_suffix("==") else { return false };
    digits.len() == 22
        && digits.bytes().all(|digit| base64::STANDARD.contains(&digit))
        && digits.ends_with(['A', 'Q', 'g', 'w'])
}

/// RFC 9110 §7.2, or nothing.
fn is_host(host: &str) -> bool {
    host.is_empty() || redpoll::wire::origin::Authority::parse(host).is_some()
}

/// RFC 9110 §5.5.
fn is_text(character: char) -> bool {
    character == '\t' || !character.is_ascii_control()
}

/// A head in which every line ends as it should and every field is one, each byte a character.
pub struct Head {
    pub first_line: String,
    /// Names in lower case, values without the white space around them.
    fields: Vec<(String, String)>,
    pub bytes: usize,
}

impl Head {
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let length = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let text = String::from_iter(bytes[..length - 4].iter().map(|byte| char::from(*byte)));
        let mut lines = text.split("\r\n");
        let first_line = lines.next()?.to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            if !is_token(name) || !value.chars().all(is_text) {
                return None;
            }
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
        let is_line = !first_line.is_empty() && !first_line.contains(['\r', '\n']);
        is_line.then_some(Head { first_line, fields, bytes: length })
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field that is there once.
    pub fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.items(name).any(|item| item.eq_ignore_ascii_case(token))
    }

    fn items(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).flat_map(|value| value.split(',')).map(|item| item.trim_matches([' ', '\t']))
    }
}

//! What is said on a connection: a WebSocket, an event stream, long polls, or posts.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use httparse::{EMPTY_HEADER, Header as Field};
use redpoll::CloseCode;
use redpoll::wire::close::encode as encode_close;
use redpoll::wire::content::{ContentDecoder, Framing};
use redpoll::wire::deflate::Inflater;
use redpoll::wire::frame::{Header, Opcode, encode_masked};
use redpoll::wire::handshake::{
    ANSWER_BYTES_MAX, DEFLATE_OFFER, EXTENSIONS_FIELD, check_answer_with, client_request, encode_key,
};
use redpoll::wire::message::{Event, Limits, Role};

use super::link::{Heard, Link, Phase};
use crate::cli::http::{framing, invalid};
use crate::cli::retry::nonce;
use crate::cli::url::Endpoint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    WebSocket,
    EventStream,
    LongPoll,
    Post,
}

impl Protocol {
    /// As the command line names them.
    pub(super) const NAMES: [(&'static str, Protocol); 3] =
        [("ws", Protocol::WebSocket), ("sse", Protocol::EventStream), ("long-poll", Protocol::LongPoll)];

    pub(super) fn name(self) -> &'static str {
        Protocol::NAMES.iter().find(|(_, known)| *known == self).map_or("post", |(name, _)| name)
    }
}

/// What all connections of a kind say.
pub(super) struct Script {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
    /// What is said first.
    pub(super) request: Vec<u8>,
    /// How requests on the same connection begin: all but the last fields.
    pub(super) again: Vec<u8>,
    key: String,
    /// A message to be sent when the WebSocket is open.
    first_message: Option<String>,
    deflate: bool,
    /// Shared by all connections, since nothing is carried on from one message to the next.
    inflater: RefCell<Inflater>,
    /// Room for an inflated message, a request, or what was in chunks.
    scratch: RefCell<Vec<u8>>,
}

impl Script {
    pub(super) fn new(
        protocol: Protocol,
        url: &Endpoint,
        address: SocketAddr,
        deflate: bool,
        first_message: Option<String>,
    ) -> Script {
        let Endpoint { authority, target, .. } = url;
        let key = encode_key(nonce());
        let host = format!("Host: {authority}\r\n");
        let join = if target.contains('?') { '&' } else { '?' };
        let (request, again) = match protocol {
            Protocol::WebSocket => {
                let offers = [(EXTENSIONS_FIELD, DEFLATE_OFFER)];
                (client_request(authority, target, &key, &[], &offers[..usize::from(deflate)]), String::new())
            }
            Protocol::EventStream => {
                (format!("GET {target} HTTP/1.1\r\n{host}Accept: text/event-stream\r\n\r\n").into(), String::new())
            }
            // The first answer comes at once and says where to begin.
            Protocol::LongPoll => (
                format!("GET {target}{join}wait=0 HTTP/1.1\r\n{host}\r\n").into(),
                format!("GET {target}{join}wait={WAIT_S} HTTP/1.1\r\n{host}"),
            ),
            Protocol::Post => (Vec::new(), format!("POST {target} HTTP/1.1\r\n{host}Content-Type: text/plain\r\n")),
        };
        let (again, inflater, scratch) = (again.into_bytes(), RefCell::default(), RefCell::default());
        Script { protocol, address, request, again, key, first_message, deflate, inflater, scratch }
    }

    /// Takes from `bytes` what is whole, and says how many bytes that is.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub(super) fn hear(&self, link: &mut Link, bytes: &mut [u8], hear: &mut dyn FnMut(Heard)) -> io::Result<usize> {
        let begun = match (link.phase, self.protocol) {
            (Phase::Asked, Protocol::WebSocket) => self.hear_upgrade(link, bytes, hear)?,
            (Phase::Asked, Protocol::EventStream) => self.hear_begin(link, bytes, hear)?,
            _ => 0,
        };
        if begun == 0 && link.phase == Phase::Asked && !matches!(self.protocol, Protocol::LongPoll) {
            return Ok(0);
        }
        let rest = &mut bytes[begun..];
        Ok(begun
            + match self.protocol {
                Protocol::WebSocket => self.hear_frames(link, rest, hear)?,
                Protocol::EventStream => hear_events(link, rest, hear)?,
                Protocol::LongPoll | Protocol::Post => self.hear_answers(link, rest, hear)?,
            })
    }

    fn hear_upgrade(&self, link: &mut Link, bytes: &[u8], hear: &mut dyn FnMut(Heard)) -> io::Result<usize> {
        let Some(accepted) = check_answer_with(bytes, &self.key, &[], self.deflate).map_err(invalid)? else {
            return Ok(0);
        };
        link.deflate = accepted.deflate;
        if let Some(text) = &self.first_message {
            send(link, Opcode::Text, text.as_bytes());
        }
        link.phase = Phase::Open;
        hear(Heard::Opened);
        Ok(accepted.head_bytes)
    }

    fn hear_begin(&self, link: &mut Link, bytes: &[u8], hear: &mut dyn FnMut(Heard)) -> io::Result<usize> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let Some(head) = Head::parse(bytes, &mut fields)? else { return Ok(0) };
        if head.code != 200 {
            return Err(head.refusal());
        }
        if head.framing == Framing::Chunked {
            link.chunked = Some((ContentDecoder::new(Framing::Chunked), Vec::new()));
        }
        link.phase = Phase::Open;
        hear(Heard::Opened);
        Ok(head.bytes)
    }

    fn hear_frames(&self, link: &mut Link, bytes: &mut [u8], hear: &mut dyn FnMut(Heard)) -> io::Result<usize> {
        let limits = Limits { role: Role::Client, message_bytes_max: MESSAGE_BYTES_MAX, deflate: link.deflate };
        let mut at = 0;
        while let Some((header, header_bytes)) = Header::decode(&bytes[at..]).map_err(invalid)? {
            // Only whole frames are decoded: where they lie, without a copy.
            let end = (header_bytes as u64).saturating_add(header.payload_bytes).saturating_add(at as u64);
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let Some(frame) = bytes.get_mut(at..end) else { break };
            at = end;
            match link.decoder.decode(frame, &limits).map_err(invalid)?.1 {
                Some(Event::Message { deflated: false, data, .. }) => hear(Heard::Message(data)),
                Some(Event::Message { data, .. }) => {
                    let inflated = &mut *self.scratch.borrow_mut();
                    inflated.clear();
                    self.inflater.borrow_mut().inflate(data, MESSAGE_BYTES_MAX, inflated).map_err(invalid)?;
                    hear(Heard::Message(inflated));
                }
                Some(Event::Ping(payload)) => {
                    let payload = payload.to_vec();
                    send(link, Opcode::Pong, &payload);
                }
                Some(Event::Close(_)) if link.phase == Phase::Closing => return Err(ErrorKind::UnexpectedEof.into()),
                Some(Event::Close(code)) => {
                    let code = code.map_or(CloseCode::NORMAL, |(code, _)| code);
                    send(link, Opcode::Close, &encode_close(code, ""));
                    return Err(invalid(format!("the server closed with {code}")));
                }
                Some(Event::Pong(_)) | None => {}
            }
        }
        Ok(at)
    }

    fn hear_answers(&self, link: &mut Link, bytes: &[u8], hear: &mut dyn FnMut(Heard)) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let mut fields = [EMPTY_HEADER; FIELDS_MAX];
            let Some(head) = Head::parse(&bytes[at..], &mut fields)? else { return Ok(at) };
            let (mut content, mut decoder) = (Vec::new(), ContentDecoder::new(head.framing));
            let decoded = decoder.decode(&bytes[at + head.bytes..], &mut content, MESSAGE_BYTES_MAX);
            let (used, true) = decoded.map_err(|status| invalid(status.explanation()))? else { return Ok(at) };
            at += head.bytes + used;
            if self.protocol == Protocol::Post {
                hear(Heard::Answered(head.code));
                continue;
            }
            if !matches!(head.code, 200 | 204 | 304) {
                return Err(head.refusal());
            }
            self.poll_again(link, &head);
            if link.phase == Phase::Asked {
                link.phase = Phase::Open;
                hear(Heard::Opened);
            }
            hear(Heard::Message(&content));
        }
    }

    /// Where the next poll goes on is said with the validators of the last answer (RFC 9110 §13.1.2 and §13.1.3),
    /// which Redpoll and nchan both take.
    fn poll_again(&self, link: &mut Link, head: &Head) {
        let fields = [("etag", "If-None-Match"), ("last-modified", "If-Modified-Since")];
        let known = fields.map(|(answered, asked)| (asked, head.field(answered)));
        if known.iter().any(|(_, value)| value.is_some()) {
            link.validators.clear();
            for (name, value) in known.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
                [name, ": ", value, "\r\n"].iter().for_each(|part| link.validators.extend_from_slice(part.as_bytes()));
            }
        }
        let request = &mut *self.scratch.borrow_mut();
        request.clear();
        [&self.again[..], &link.validators, b"\r\n"].iter().for_each(|part| request.extend_from_slice(part));
        link.output.send(request);
    }

    /// Appends a request that publishes what `push` appends, which is `content_bytes` long.
    pub(super) fn push_post(&self, content_bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.again);
        let _ = write!(out, "Content-Length: {content_bytes}\r\n\r\n");
    }
}

/// Events, and the chunks that they may come in.
fn hear_events(link: &mut Link, bytes: &[u8], hear: &mut dyn FnMut(Heard)) -> io::Result<usize> {
    let Some((decoder, content)) = &mut link.chunked else { return Ok(hear_lines(bytes, hear)) };
    let decoded = decoder.decode(bytes, content, usize::MAX);
    let (used, _) = decoded.map_err(|status| invalid(status.explanation()))?;
    let told = hear_lines(content, hear);
    content.drain(..told);
    Ok(used)
}

/// Tells each line of data as a message: payloads have no line ends.
fn hear_lines(bytes: &[u8], hear: &mut dyn FnMut(Heard)) -> usize {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[at..]) {
        let line = &bytes[at..at + end];
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            hear(Heard::Message(data.strip_suffix(b"\r").unwrap_or(data)));
        }
        at += end + 1;
    }
    at
}

/// The connection is to end; a WebSocket says so (RFC 6455 §7.1.2).
pub(super) fn close(link: &mut Link, is_websocket: bool) {
    link.phase = Phase::Closing;
    if is_websocket {
        send(link, Opcode::Close, &encode_close(CloseCode::NORMAL, ""));
    }
}

/// Sends a small frame.
fn send(link: &mut Link, opcode: Opcode, payload: &[u8]) {
    let mut frame = Vec::new();
    let [a, b, c, d, ..] = nonce();
    encode_masked(opcode, payload, [a, b, c, d], &mut frame);
    link.output.send(&frame);
}

/// The head of an answer.
struct Head<'a> {
    bytes: usize,
    code: u16,
    reason: &'a str,
    framing: Framing,
    fields: &'a [Field<'a>],
}

impl<'a> Head<'a> {
    /// `None` where it is not whole.
    fn parse(bytes: &'a [u8], fields: &'a mut [Field<'a>]) -> io::Result<Option<Head<'a>>> {
        let mut parsed = httparse::Response::new(fields);
        let head = &bytes[..bytes.len().min(ANSWER_BYTES_MAX)];
        let status = parsed.parse(head).map_err(|error| invalid(format!("the answer is not HTTP: {error}")))?;
        let httparse::Status::Complete(bytes) = status else { return Ok(None) };
        let (code, reason) = (parsed.code.unwrap_or_default(), parsed.reason.unwrap_or_default());
        let mut head = Head { bytes, code, reason, framing: Framing::None, fields: parsed.headers };
        let [coding, length] = ["transfer-encoding", "content-length"].map(|name| head.field(name));
        // What ends with the connection is an event stream, which is read as it comes.
        head.framing = framing(code, coding, length)?.unwrap_or(Framing::None);
        Ok(Some(head))
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let field = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    }

    fn refusal(&self) -> io::Error {
        invalid(format!("the server answered {} {}", self.code, self.reason))
    }
}

/// For a poll to be answered, in seconds: as long as Redpoll lets it wait.
const WAIT_S: u32 = 120;

const FIELDS_MAX: usize = 32;

/// More than any message of a bench, with what a server may wrap around it.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

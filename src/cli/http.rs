//! A small HTTP/1.1 client on one blocking connection: what `pub` and `sub` need, and no more.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use redpoll::wire::content::{ContentDecoder, Framing};

use super::resolve::resolve;
use super::url::Url;

/// A connection to the server.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has been read and not been used yet.
    received: Vec<u8>,
}

impl Connection {
    /// Connects to the first of the host's addresses that answers.
    pub(crate) fn open(url: &Url) -> io::Result<Connection> {
        let stream = connect(&url.host, url.port)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Connection { stream, received: Vec::new() })
    }

    /// How long the server may be silent before a read fails.
    pub(crate) fn set_silence(&mut self, silence: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(silence))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// What has been read and not been used; the caller uses it all.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Reads what there is, at least one byte. The end of the connection is an error here.
    pub(crate) fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let count = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.received.extend_from_slice(&chunk[..count]);
        match count {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server ended the connection")),
            _ => Ok(()),
        }
    }

    /// Reads the head of the answer to what was sent.
    pub(crate) fn read_answer(&mut self) -> io::Result<Answer> {
        loop {
            match Answer::parse(&self.received)? {
                Some(answer) => {
                    self.received.drain(..answer.head.len());
                    // RFC 9110 §15.2: an interim answer may come before the real one.
                    if !(100..200).contains(&answer.code) || answer.code == 101 {
                        return Ok(answer);
                    }
                }
                None if self.received.len() > HEAD_BYTES_MAX => return Err(invalid("the answer's head has no end")),
                None => self.read_more()?,
            }
        }
    }

    /// Reads an answer's content to its end.
    pub(crate) fn read_content(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        let (mut content, mut bytes) = (Content::of(answer)?, Vec::new());
        while !content.read(self, &mut bytes)? {
            if bytes.len() > CONTENT_BYTES_MAX {
                return Err(invalid("the answer's content is too long"));
            }
        }
        Ok(bytes)
    }
}

/// Connects to the first of the host's addresses that answers.
pub(crate) fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in resolve(host)? {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The head of an answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    reason: String,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    /// The head itself.
    pub(crate) head: Vec<u8>,
    http10: bool,
}

impl Answer {
    /// `None` where the head is not complete.
    fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        let status = parsed.parse(bytes).map_err(|error| invalid(format!("the answer is not HTTP: {error}")))?;
        let httparse::Status::Complete(head_bytes) = status else { return Ok(None) };
        let field = |field: &httparse::Header| {
            (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned())
        };
        Ok(Some(Answer {
            code: parsed.code.unwrap_or_default(),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            fields: parsed.headers.iter().map(field).collect(),
            head: bytes[..head_bytes].to_vec(),
            http10: parsed.version == Some(0),
        }))
    }

    /// The value of a field; `name` is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// Whether the connection takes another request.
    pub(crate) fn keeps_alive(&self) -> bool {
        let connection = self.field("connection").unwrap_or_default().to_ascii_lowercase();
        !self.http10 && !connection.split(',').any(|option| option.trim() == "close")
    }

    /// How long the server asks to be left alone (RFC 9110 §10.2.3). Redpoll gives seconds; a date is not read.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.field("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs)
    }

    /// Whether the same request may well succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.code, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }

    /// Why the server refuses, for people: the problem's detail (RFC 9457) if there is one.
    pub(crate) fn refusal(&self, content: &[u8]) -> String {
        let problem = json(content);
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or_default();
        let words = if detail.is_empty() { &self.reason } else { detail };
        // Whatever a server sends: one line, and nothing that a terminal would obey.
        let words: String = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        format!("the server answered {}: {words}", self.code)
    }
}

/// The JSON that a server sends. Read as a string, like all of it: for a slice the whole reader would be there twice.
pub(crate) fn json(content: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_str(std::str::from_utf8(content).ok()?).ok()
}

/// Content as it arrives.
pub(crate) struct Content {
    /// `None` where the content ends with the connection (RFC 9112 §6.3 rule 8).
    decoder: Option<ContentDecoder>,
}

impl Content {
    pub(crate) fn of(answer: &Answer) -> io::Result<Content> {
        let framing = framing(answer.code, answer.field("transfer-encoding"), answer.field("content-length"))?;
        Ok(Content { decoder: framing.map(ContentDecoder::new) })
    }

    /// Appends what has arrived to `into`, waiting if that is nothing. Says whether this was the end.
    pub(crate) fn read(&mut self, connection: &mut Connection, into: &mut Vec<u8>) -> io::Result<bool> {
        let before = into.len();
        loop {
            let bytes = connection.take_received();
            match &mut self.decoder {
                Some(decoder) => {
                    let decoded = decoder.decode(&bytes, into, usize::MAX);
                    let (used, complete) = decoded.map_err(|status| invalid(status.explanation()))?;
                    connection.received.extend_from_slice(&bytes[used..]);
                    if complete {
                        return Ok(true);
                    }
                }
                None => into.extend_from_slice(&bytes),
            }
            if into.len() > before {
                return Ok(false);
            }
            match connection.read_more() {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.decoder.is_none() => return Ok(true),
                read => read?,
            }
        }
    }
}

/// How the content of an answer is framed, by its status and two of its fields; `None` where it ends with the
/// connection (RFC 9112 §6.3).
pub(crate) fn framing(code: u16, coding: Option<&str>, length: Option<&str>) -> io::Result<Option<Framing>> {
    Ok(Some(match (coding, length) {
        _ if matches!(code, 204 | 304) => Framing::None,
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (Some(_), _) => return Err(invalid("the answer has a transfer coding other than chunked")),
        (None, Some(length)) => {
            Framing::Length(length.parse().map_err(|_| invalid("the answer's length is no number"))?)
        }
        (None, None) => return Ok(None),
    }))
}

/// The line of a field `Authorization`; nothing where it has no value.
pub(crate) fn field_line(authorization: Option<&str>) -> String {
    authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"))
}

/// What an error says, without the words that only say which call failed.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the server is silent".to_owned(),
        ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the connection broke".to_owned(),
        _ => error.to_string(),
    }
}

/// What a server sends is of no use.
pub(crate) fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_string())
}

/// For a connection to one address to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For an answer that nothing holds back, and for the server to take what is sent.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const HEAD_BYTES_MAX: usize = 64 << 10;
const CONTENT_BYTES_MAX: usize = 256 << 20;

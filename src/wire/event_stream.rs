//! Event streams (WHATWG HTML §9.2): the lines of `text/event-stream`, written for servers and read for clients.

use std::fmt::Display;

use memchr::memchr2;

use super::envelope::push_formatted;
use super::response::push_decimal;

/// Appends `id: ID`, which begins an event or, followed by [`push_end`], sets the client's position alone. `id` must
/// write neither line ends nor NUL; positions do not.
pub fn push_id(out: &mut Vec<u8>, id: impl Display) {
    push_formatted(out, format_args!("id: {id}\n"));
}

/// Appends a block with an id and no data: the client gets a position, and dispatches no event. A stream begins with
/// one.
pub fn push_position(out: &mut Vec<u8>, id: impl Display) {
    push_id(out, id);
    push_end(out);
}

/// Appends an event's name, its data and the empty line that dispatches it. The name must have no line ends, which
/// [`check_event_name`](super::form::check_event_name) makes sure of.
///
/// Every text comes back as it is, except that the three kinds of line ends all become LF: the format has no other.
pub fn push_event(out: &mut Vec<u8>, event: Option<&str>, data: &str) {
    if let Some(event) = event {
        push_line(out, b"event: ", event.as_bytes());
    }
    let mut rest = data.as_bytes();
    while let Some(end) = memchr2(b'\r', b'\n', rest) {
        push_line(out, b"data: ", &rest[..end]);
        rest = &rest[end + if rest[end..].starts_with(b"\r\n") { 2 } else { 1 }..];
    }
    push_line(out, b"data: ", rest);
    push_end(out);
}

/// Appends how long a client that has lost the stream waits before it connects again, in milliseconds.
pub fn push_retry(out: &mut Vec<u8>, milliseconds: u64) {
    out.extend_from_slice(b"retry: ");
    push_decimal(out, milliseconds);
    out.push(b'\n');
}

/// Appends an empty comment, which keeps intermediaries from closing a silent stream.
pub fn push_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n");
}

/// Appends the empty line that ends a block.
pub fn push_end(out: &mut Vec<u8>) {
    out.push(b'\n');
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// One event that a stream dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// The last event ID, which an earlier event may have set; empty before the first.
    pub id: String,
    /// The type: `message` where the stream named none.
    pub event: String,
    /// The data lines, joined by LF.
    pub data: String,
}

/// Reads an event stream as a browser does (WHATWG HTML §9.2.6), in pieces of any size and in linear time.
#[derive(Clone, Debug)]
pub struct EventStreamParser {
    /// The line that has begun and not ended.
    line: Vec<u8>,
    /// Whether the last byte was a CR, so that an LF would belong to it.
    after_cr: bool,
    /// Whether no line has ended yet, so that a byte order mark may stand there.
    at_start: bool,
    /// The data lines of the event that has begun, each with an LF.
    data: String,
    /// The type of the event that has begun.
    event: String,
    /// The ID of the event that has begun; it is the client's position once the event's empty line has come.
    id: String,
    last_event_id: String,
    retry_ms: Option<u64>,
    event_bytes_max: usize,
}

impl EventStreamParser {
    /// A parser for a new stream that holds at most `event_bytes_max` bytes of an event and of a line.
    pub fn new(event_bytes_max: usize) -> EventStreamParser {
        EventStreamParser {
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            data: String::new(),
            event: String::new(),
            id: String::new(),
            last_event_id: String::new(),
            retry_ms: None,
            event_bytes_max,
        }
    }

    /// The ID to send as `Last-Event-ID` when connecting again; empty where the stream gave none.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The wait before connecting again that the stream asked for last, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Reads the next bytes of the stream and appends to `events` what they dispatch.
    ///
    /// # Errors
    /// [`EventTooLong`]; the parser is then of no more use.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) -> Result<(), EventTooLong> {
        let mut rest = bytes;
        while let [first, ..] = rest {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = memchr2(b'\r', b'\n', rest);
            self.hold(&rest[..end.unwrap_or(rest.len())])?;
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            events.extend(self.end_line()?);
        }
        Ok(())
    }

    /// Keeps a piece of a line.
    fn hold(&mut self, piece: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + piece.len() > self.event_bytes_max {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    /// Interprets the line that is held. The empty one dispatches.
    fn end_line(&mut self) -> Result<Option<StreamEvent>, EventTooLong> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&bytes);
        if std::mem::take(&mut self.at_start) && line.starts_with('\u{feff}') {
            line = line['\u{feff}'.len_utf8()..].to_owned().into();
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        self.set(name, value.strip_prefix(' ').unwrap_or(value));
        match self.data.len() > self.event_bytes_max {
            true => Err(EventTooLong),
            false => Ok(None),
        }
    }

    /// One field; others are ignored, and so is a comment, whose name is empty.
    fn set(&mut self, name: &str, value: &str) {
        match name {
            "data" => self.data.extend([value, "\n"]),
            "event" => self.event = value.to_owned(),
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms)
            }
            _ => {}
        }
    }

    /// Ends an event. One without a data line only sets the position.
    fn dispatch(&mut self) -> Option<StreamEvent> {
        self.last_event_id.clone_from(&self.id);
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(StreamEvent { id: self.last_event_id.clone(), event, data })
    }
}

/// An event or a line is longer than its reader wants to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLong;

impl Display for EventTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event of the stream is longer than the limit")
    }
}

impl std::error::Error for EventTooLong {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXTS: [&str; 20] = [
        "",
        " ",
        "  a",
        "a",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "a\n\rb",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\r\n\n",
        "a\r\n",
        "\r\na",
        "data: a",
        ":a",
        "id: 7\n\nevent: x",
        "\u{feff}a\0",
        "héllo \u{2028} 🐦",
    ];

    fn normal(text: &str) -> String {
        text.replace("\r\n", "\n").replace('\r', "\n")
    }

    /// The model: the whole stream at once, line by line as the standard words it. (id, type, data) of each event.
    fn read_whole(stream: &str) -> Vec<(String, String, String)> {
        let (mut id, mut event, mut data, mut events) = (String::new(), String::new(), Vec::new(), Vec::new());
        let stream = normal(stream.strip_prefix('\u{feff}').unwrap_or(stream));
        // What follows the last line end is no line.
        for line in stream.rsplit_once('\n').map_or("", |(lines, _)| lines).split('\n') {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match name {
                "id" => id = value,
                "event" => event = value,
                "data" => data.push(value),
                "" if line.is_empty() => {
                    let name =
                        Some(std::mem::take(&mut event)).filter(|name| !name.is_empty()).unwrap_or("message".into());
                    let lines = std::mem::take(&mut data);
                    events.extend((!lines.is_empty()).then(|| (id.clone(), name, lines.join("\n"))));
                }
                _ => {}
            }
        }
        events
    }

    fn parse(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> (Vec<(String, String, String)>, String, Option<u64>) {
        let (mut parser, mut events, mut start) = (EventStreamParser::new(1 << 16), Vec::new(), 0);
        for end in cuts.chain([bytes.len()]) {
            parser.push(&bytes[start..end], &mut events).unwrap();
            start = end;
        }
        let events = events.into_iter().map(|StreamEvent { id, event, data }| (id, event, data)).collect();
        (events, parser.last_event_id().to_owned(), parser.retry_ms())
    }

    fn parse_every_way(bytes: &[u8]) -> (Vec<(String, String, String)>, String, Option<u64>) {
        let whole = parse(bytes, [].into_iter());
        assert_eq!(parse(bytes, 0..bytes.len()), whole);
        for split in 0..bytes.len() {
            assert_eq!(parse(bytes, [split].into_iter()), whole, "split at {split}");
        }
        whole
    }

    #[test]
    fn every_text_comes_back_with_its_line_ends_as_lf() {
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for (number, text) in TEXTS.into_iter().enumerate() {
            push_id(&mut out, number);
            push_event(&mut out, (number % 2 == 1).then_some("odd"), text);
            let event = if number % 2 == 1 { "odd" } else { "message" };
            expected.push((number.to_string(), event.to_owned(), normal(text)));
        }
        assert_eq!(read_whole(std::str::from_utf8(&out).unwrap()), expected);
        assert_eq!(parse_every_way(&out).0, expected);
    }

    #[test]
    fn texts_of_every_mix_of_line_ends_come_back() {
        for number in 0..4_usize.pow(6) {
            let text: String = (0..6).map(|digit| ["a", "\r", "\n", " "][number / 4_usize.pow(digit) % 4]).collect();
            let mut out = Vec::new();
            push_event(&mut out, None, &text);
            let expected = vec![(String::new(), "message".to_owned(), normal(&text))];
            assert_eq!(read_whole(std::str::from_utf8(&out).unwrap()), expected, "{text:?}");
            assert_eq!(parse(&out, 0..out.len()).0, expected, "{text:?}");
        }
    }

    #[test]
    fn a_stream_begins_with_the_wait_and_the_position_and_no_event() {
        let mut out = Vec::new();
        push_retry(&mut out, 1500);
        push_position(&mut out, "0000005f-7");
        push_comment(&mut out);
        assert_eq!(out, b"retry: 1500\nid: 0000005f-7\n\n:\n");
        assert_eq!(parse_every_way(&out), (vec![], "0000005f-7".to_owned(), Some(1500)));
    }

    #[test]
    fn streams_of_other_servers_are_read_as_the_standard_says() {
        let event = |id: &str, event: &str, data: &str| (id.to_owned(), event.to_owned(), data.to_owned());
        for (stream, expected) in [
            ("\u{feff}data: a\n\n", vec![event("", "message", "a")]),
            ("data: a\n\n\u{feff}data: b\n\n", vec![event("", "message", "a")]),
            ("data:a\rdata\r\rdata\r\n\r\n", vec![event("", "message", "a\n"), event("", "message", "")]),
            ("data:  a\nDATA: b\nfoo: c\n: d\n\n", vec![event("", "message", " a")]),
            ("event: e\n\ndata: a\n\n", vec![event("", "message", "a")]),
            (
                "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
                vec![event("1", "message", "a"), event("1", "message", "b"), event("", "message", "c")],
            ),
            ("id: 1\0\ndata: a\n\n", vec![event("", "message", "a")]),
            ("data: a\n", vec![]),
            ("data: a", vec![]),
        ] {
            assert_eq!(parse_every_way(stream.as_bytes()).0, expected, "{stream:?}");
        }
        assert_eq!(parse_every_way(b"retry: 5\nretry: x\nretry: -1\nretry:\n").2, Some(5));
        assert_eq!(parse_every_way(b"data: \xff\n\n").0, vec![event("", "message", "\u{fffd}")]);
    }

    #[test]
    fn an_id_counts_when_its_event_has_ended() {
        let (_, last_event_id, _) = parse_every_way(b"id: 1\ndata: a\n\nid: 2\ndata: b\n");
        assert_eq!(last_event_id, "1");
    }

    #[test]
    fn an_event_over_the_limit_is_refused_whole_or_in_pieces() {
        for stream in ["data: 0123456789", "data: 01\ndata: 23\ndata: 45\ndata: 67\n"] {
            assert_eq!(EventStreamParser::new(10).push(stream.as_bytes(), &mut Vec::new()), Err(EventTooLong));
            let mut parser = EventStreamParser::new(10);
            assert!(stream.bytes().any(|byte| parser.push(&[byte], &mut Vec::new()).is_err()));
        }
    }
}

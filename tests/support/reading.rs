//! The three wire forms, read as a client reads them: each function takes one whole unit off the front of the bytes.

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let named = |line: &'_ str| line.split_once(": ").is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| named(line)).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Of a close frame: its code.
    pub(crate) fn code(&self) -> u16 {
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// A block of an event stream. Comments are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<String>,
}

pub(super) fn answer(bytes: &mut Vec<u8>) -> Option<Answer> {
    let head_bytes = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_bytes]).into_owned();
    let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {head}"));
    let mut answer = Answer { status, head, body: String::new() };
    let length = answer.field("content-length").map_or(0, |text| text.parse().expect("a number"));
    let body = bytes.get(head_bytes..head_bytes + length)?;
    answer.body = String::from_utf8_lossy(body).into_owned();
    bytes.drain(..head_bytes + length);
    Some(answer)
}

pub(super) fn frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let [first, second, ..] = bytes[..] else { return None };
    assert_eq!((first & 0xf0, second & 0x80), (0x80, 0), "a server's frames are whole and not masked");
    let extra = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let big_endian = bytes.get(2..2 + extra)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let length = if extra == 0 { usize::from(second) } else { big_endian };
    let payload = bytes.get(2 + extra..2 + extra + length)?.to_vec();
    bytes.drain(..2 + extra + length);
    Some(Frame { opcode: first & 0x0f, payload })
}

pub(super) fn event(bytes: &mut Vec<u8>) -> Option<Event> {
    let end = bytes.windows(2).position(|two| two == b"\n\n")? + 2;
    let block = String::from_utf8(bytes.drain(..end).collect()).expect("an event stream is UTF-8");
    let mut event = Event::default();
    for line in block.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("line {line:?}"));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match (name, event.data.take()) {
            ("data", Some(before)) => event.data = Some(format!("{before}\n{value}")),
            ("data", None) => event.data = Some(value),
            (other, data) => {
                event.data = data;
                match other {
                    "id" => event.id = Some(value),
                    "event" => event.event = Some(value),
                    "" | "retry" => {}
                    _ => panic!("line {line:?}"),
                }
            }
        }
    }
    Some(event)
}

//! RFC 6455 §5, a byte at a time: what a stream of frames says, and after which byte it has said it.

/// What the stream is measured by.
pub struct Rules {
    /// Whether every frame must be masked, as a client's are; else none may be (§5.1).
    pub masked: bool,
    /// Whether permessage-deflate was negotiated.
    pub deflate: bool,
    /// The longest message, in bytes of payload.
    pub message_bytes_max: usize,
}

impl Rules {
    /// The longest message as it is on the wire, after so many frames. What cannot be compressed becomes a little
    /// larger, with each frame by what its end costs: but not more than eight times as large.
    pub fn payload_bytes_max(&self, deflated: bool, frames: usize) -> u128 {
        let most = self.message_bytes_max as u128;
        let larger = most + most / 16 + 64 + 10 * frames as u128;
        if deflated { larger.min(8 * most + 64) } else { most }
    }
}

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Message {
        text: bool,
        deflated: bool,
        data: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// Something that answers with this close code. Like a close, it is the last.
    Violation(u16),
}

/// All that a stream says, in order, each with the number of bytes that it took to say it.
pub struct Story {
    pub said: Vec<(usize, Said)>,
    /// Whether the bytes end between two messages.
    pub complete: bool,
}

/// A frame's header.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub fin: bool,
    pub rsv1: bool,
    pub opcode: u8,
    pub masking_key: Option<[u8; 4]>,
    pub payload_bytes: u64,
}

/// Reads the one header that `bytes` begins with, and says how long it is or why it is none.
pub fn header(bytes: &[u8]) -> Result<(Header, usize), (End, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let header = reader.header();
    header.map(|header| (header, reader.at)).map_err(|end| (end, reader.at))
}

/// Tells what `bytes` says.
pub fn story(bytes: &[u8], rules: &Rules) -> Story {
    let mut reader = Reader { bytes, at: 0 };
    let (mut said, mut message) = (Vec::new(), None);
    while reader.at < bytes.len() && !matches!(said.last(), Some((_, Said::Close(_)))) {
        match reader.frame(rules, &mut message) {
            Ok(Some(what)) => said.push((reader.at, what)),
            Ok(None) => {}
            Err(End::Violation(code)) => {
                said.push((reader.at, Said::Violation(code)));
                break;
            }
            Err(End::OfBytes) => return Story { said, complete: false },
        }
    }
    Story { said, complete: message.is_none() }
}

/// Why nothing more is read.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    OfBytes,
    Violation(u16),
}

const PROTOCOL_ERROR: End = End::Violation(1002);
const NOT_UTF8: End = End::Violation(1007);
const TOO_BIG: End = End::Violation(1009);

struct Message {
    text: bool,
    deflated: bool,
    frames: usize,
    data: Vec<u8>,
    utf8: Utf8,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, End> {
        let byte = self.bytes.get(self.at).ok_or(End::OfBytes)?;
        self.at += 1;
        Ok(*byte)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, End> {
        let mut number = 0;
        for _ in 0..bytes {
            number = number << 8 | u64::from(self.byte()?);
        }
        Ok(number)
    }

    /// §5.2: a header with nothing in it that no frame may have.
    fn header(&mut self) -> Result<Header, End> {
        let first = self.byte()?;
        let (fin, rsv1, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
        let (control, begins_message) = (opcode >= 8, opcode == 1 || opcode == 2);
        if first & 0x30 != 0 || ![0, 1, 2, 8, 9, 10].contains(&opcode) {
            return Err(PROTOCOL_ERROR);
        }
        if control && !fin || rsv1 && !begins_message {
            return Err(PROTOCOL_ERROR);
        }
        let second = self.byte()?;
        let mut payload_bytes = u64::from(second & 0x7f);
        if control && payload_bytes > 125 {
            return Err(PROTOCOL_ERROR);
        }
        if payload_bytes == 126 {
            payload_bytes = self.number(2)?;
            if payload_bytes < 126 {
                return Err(PROTOCOL_ERROR);
            }
        } else if payload_bytes == 127 {
            payload_bytes = self.number(8)?;
            if !(1 << 16..1 << 63).contains(&payload_bytes) {
                return Err(PROTOCOL_ERROR);
            }
        }
        let mut masking_key = None;
        if second & 0x80 != 0 {
            masking_key = Some([self.byte()?, self.byte()?, self.byte()?, self.byte()?]);
        }
        Ok(Header { fin, rsv1, opcode, masking_key, payload_bytes })
    }

    /// One frame, and what it says if it is a control frame or the last of a message.
    fn frame(&mut self, rules: &Rules, message: &mut Option<Message>) -> Result<Option<Said>, End> {
        let Header { fin, rsv1, opcode, masking_key, payload_bytes } = self.header()?;
        if masking_key.is_some() != rules.masked || rsv1 && !rules.deflate {
            return Err(PROTOCOL_ERROR);
        }
        let key = masking_key.unwrap_or_default();
        if opcode >= 8 {
            let mut payload = Vec::new();
            for i in 0..payload_bytes as usize {
                payload.push(self.byte()? ^ key[i % 4]);
            }
            return control(opcode, payload).map(Some);
        }
        if (opcode == 0) != message.is_some() {
            return Err(PROTOCOL_ERROR);
        }
        let new = || Message { text: opcode == 1, deflated: rsv1, frames: 0, data: Vec::new(), utf8: Utf8::default() };
        let Message { text, deflated, frames, data, utf8 } = message.get_or_insert_with(new);
        if data.len() as u128 + u128::from(payload_bytes) > rules.payload_bytes_max(*deflated, *frames) {
            return Err(TOO_BIG);
        }
        *frames += 1;
        for i in 0..payload_bytes {
            let byte = self.byte()? ^ key[i as usize % 4];
            data.push(byte);
            if *text && !*deflated {
                utf8.push(byte)?;
            }
        }
        if !fin {
            return Ok(None);
        }
        utf8.complete()?;
        let said = Said::Message { text: *text, deflated: *deflated, data: std::mem::take(data) };
        *message = None;
        Ok(Some(said))
    }
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Said, End> {
    match (opcode, &payload[..]) {
        (9, _) => Ok(Said::Ping(payload)),
        (10, _) => Ok(Said::Pong(payload)),
        (_, []) => Ok(Said::Close(None)),
        (_, [_]) => Err(PROTOCOL_ERROR),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            // §7.4, and the codes that IANA has registered since.
            if ![1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014].contains(&code)
                && !(3000..5000).contains(&code)
            {
                return Err(PROTOCOL_ERROR);
            }
            let mut utf8 = Utf8::default();
            reason.iter().try_for_each(|byte| utf8.push(*byte))?;
            utf8.complete()?;
            Ok(Said::Close(Some((code, String::from_utf8_lossy(reason).into_owned()))))
        }
    }
}

/// UTF-8 by the table of well-formed byte sequences (Unicode, table 3-7).
#[derive(Default)]
struct Utf8 {
    /// The bytes of a character that has not ended.
    begun: Vec<u8>,
}

impl Utf8 {
    fn push(&mut self, byte: u8) -> Result<(), End> {
        self.begun.push(byte);
        let fits = match self.begun[..] {
            [first] => matches!(first, 0x00..=0x7f | 0xc2..=0xf4),
            [0xe0, second] => (0xa0..=0xbf).contains(&second),
            [0xed, second] => (0x80..=0x9f).contains(&second),
            [0xf0, second] => (0x90..=0xbf).contains(&second),
            [0xf4, second] => (0x80..=0x8f).contains(&second),
            _ => (0x80..=0xbf).contains(&byte),
        };
        let length = match self.begun[0] {
            0x00..=0x7f => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        if self.begun.len() == length {
            self.begun.clear();
        }
        if fits { Ok(()) } else { Err(NOT_UTF8) }
    }

    fn complete(&self) -> Result<(), End> {
        if self.begun.is_empty() { Ok(()) } else { Err(NOT_UTF8) }
    }
}

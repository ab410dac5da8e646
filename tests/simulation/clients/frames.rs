//! WebSocket frames (RFC 6455 §5.2), as a client sends and gets them.

use super::buffer::Buffer;
use crate::random::Random;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The sample key of RFC 6455 §1.3 and what a server makes of it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Frames from a server, in pieces of any size.
#[derive(Default)]
pub(crate) struct Frames {
    buffer: Buffer,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// The next whole frame: its opcode and payload.
    pub(crate) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = self.buffer.bytes();
        let [first, second, ..] = *bytes else { return None };
        assert_eq!(first & 0xf0, 0x80, "a frame that is not whole, or has reserved bits");
        assert_eq!(second & 0x80, 0, "a server's frame has a mask");
        let extra = match second {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        let extended = bytes.get(2..2 + extra)?;
        let length = match extra {
            0 => usize::from(second),
            _ => extended.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        assert!(extra == 0 || length > [125, 0xffff][usize::from(extra == 8)], "a length longer than it need be");
        let payload = bytes.get(2 + extra..2 + extra + length)?.to_vec();
        self.buffer.take(2 + extra + length);
        let opcode = first & 0x0f;
        assert!([TEXT, BINARY, CLOSE, PING, PONG].contains(&opcode), "opcode {opcode}");
        assert!(opcode < CLOSE || length <= 125, "a control frame of {length} bytes");
        Some((opcode, payload))
    }
}

/// Appends one frame of a client.
pub(crate) fn push_frame(out: &mut Vec<u8>, fin: bool, opcode: u8, payload: &[u8], random: &mut Random) {
    out.push(u8::from(fin) << 7 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let key = (random.next() as u32).to_be_bytes();
    out.extend_from_slice(&key);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
}

/// Appends a message: in one frame, or in several with a ping between them.
pub(crate) fn push_message(out: &mut Vec<u8>, opcode: u8, payload: &[u8], random: &mut Random) {
    if !random.one_in(8) {
        return push_frame(out, true, opcode, payload, random);
    }
    let (first, second) = payload.split_at(random.index(payload.len() + 1));
    push_frame(out, false, opcode, first, random);
    if random.one_in(2) {
        push_frame(out, true, PING, b"between", random);
    }
    push_frame(out, true, 0, second, random);
}

//! WebSocket frames (RFC 6455 §5.2), as a client sends and gets them.

use std::collections::VecDeque;

use super::buffer::Buffer;
use super::deflate::Inflater;
use crate::random::Random;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Bits of the first byte.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;

/// The sample key of RFC 6455 §1.3 and what a server makes of it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Frames from a server, in pieces of any size.
#[derive(Default)]
pub(crate) struct Frames {
    buffer: Buffer,
    /// For compressed messages, where they were agreed on.
    inflater: Option<Inflater>,
}

impl Frames {
    pub(crate) fn new(inflater: Option<Inflater>) -> Frames {
        Frames { buffer: Buffer::default(), inflater }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// The next whole frame: its opcode and payload.
    pub(crate) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = self.buffer.bytes();
        let [first, second, ..] = *bytes else { return None };
        let (deflated, opcode) = (first & RSV1 != 0, first & 0x0f);
        assert_eq!(first & 0xf0 & !RSV1, FIN, "a frame that is not whole, or has reserved bits");
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
        assert!([TEXT, BINARY, CLOSE, PING, PONG].contains(&opcode), "opcode {opcode}");
        assert!(opcode < CLOSE || length <= 125 && !deflated, "a control frame of {length} bytes, or compressed");
        match &self.inflater {
            Some(inflater) if opcode < CLOSE => Some((opcode, inflater.receive(payload, deflated, opcode == TEXT))),
            _ => {
                assert!(!deflated, "RSV1 without an extension");
                Some((opcode, payload))
            }
        }
    }
}

/// Appends one frame of a client.
pub(crate) fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8], random: &mut Random) {
    out.push(first);
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

/// Appends a message: in one frame, or in several with control frames between them (RFC 6455 §5.4). `first` is its opcode,
/// with RSV1 if it is compressed; payloads of pings are noted in `pings`.
pub(crate) fn push_message(
    out: &mut Vec<u8>,
    mut first: u8,
    payload: &[u8],
    pings: &mut VecDeque<Vec<u8>>,
    random: &mut Random,
) {
    if !random.one_in(4) {
        return push_frame(out, FIN | first, payload, random);
    }
    let mut rest = payload;
    loop {
        // Any cut: before the first byte, after the last, in the middle of a character.
        let length = match random.below(4) {
            0 => 0,
            1 => rest.len().min(1),
            2 => random.index(rest.len() + 1),
            _ => rest.len(),
        };
        let (fragment, after) = rest.split_at(length);
        let fin = after.is_empty() && random.one_in(2);
        push_frame(out, if fin { FIN | first } else { first }, fragment, random);
        if fin {
            return;
        }
        push_control_frames(out, pings, random);
        (first, rest) = (0, after);
    }
}

/// Appends no, one or some pings and pongs.
pub(crate) fn push_control_frames(out: &mut Vec<u8>, pings: &mut VecDeque<Vec<u8>>, random: &mut Random) {
    while random.one_in(4) {
        let length = random.pick(&[0, 1, 7, 125]);
        let payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if random.one_in(3) {
            push_frame(out, FIN | PONG, &payload, random);
        } else {
            push_frame(out, FIN | PING, &payload, random);
            pings.push_back(payload);
        }
    }
}

//! Frames: the pieces in which WebSocket messages travel (RFC 6455 §5).
//!
//! A frame is a header of 2 to 14 bytes and a payload. All that is special about it stands in the header:
//!
//! ```text
//!    byte 0             byte 1              then                 then              then
//! ┌─┬─┬─┬─┬────────┐ ┌─┬──────────────┐ ┌─────────────────┐ ┌───────────────┐ ┌─────────────┐
//! │F│R│R│R│ opcode │ │M│    length    │ │ extended length │ │  masking key  │ │   payload   │
//! │I│S│S│S│        │ │A│              │ │   0, 2 or 8     │ │    0 or 4     │ │             │
//! │N│1│2│3│ 4 bits │ │S│    7 bits    │ │     bytes       │ │    bytes      │ │             │
//! │ │ │ │ │        │ │K│              │ │                 │ │               │ │             │
//! └─┴─┴─┴─┴────────┘ └─┴──────────────┘ └─────────────────┘ └───────────────┘ └─────────────┘
//! ```
//!
//! * **FIN** is set on the last frame of a message. A message of several frames begins with a text or binary frame
//!   and goes on with continuation frames; only control frames may come in between.
//! * **RSV1** marks a message that permessage-deflate has compressed (RFC 7692 §6). **RSV2** and **RSV3** mean
//!   nothing yet.
//! * **opcode** says what the payload is: see [`Opcode`].
//! * **length**: 0 to 125 is the payload's length. 126 says that the length follows in two bytes, 127 that it follows
//!   in eight, most significant first. Only the shortest of the three forms is allowed.
//! * **MASK** says that a masking key follows, with which the payload was [masked](super::mask). Clients always mask,
//!   servers never (§5.1).
//!
//! So `81 05 H e l l o` is a whole text message from a server.

use super::close::Violation;
use super::mask;

/// The longest header, in bytes: two, eight of length and four of masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

/// What a frame's payload is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message that an earlier frame began.
    Continuation = 0x0,
    /// A message that is text in UTF-8, or the beginning of one.
    Text = 0x1,
    /// A message of any bytes, or the beginning of one.
    Binary = 0x2,
    /// The closing handshake: a close code and a reason, or nothing.
    Close = 0x8,
    /// A question for a sign of life.
    Ping = 0x9,
    /// The answer to a ping, with the same payload; or a sign of life that no one asked for.
    Pong = 0xa,
}

impl Opcode {
    /// Whether the frame is about the connection and not part of a message (RFC 6455 §5.5).
    pub const fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn decode(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return None,
        })
    }
}

/// All of a frame but its payload (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// Whether the message that begins here is compressed (RFC 7692 §6).
    pub rsv1: bool,
    /// What the payload is.
    pub opcode: Opcode,
    /// What the payload is masked with; always present from a client, never from a server.
    pub masking_key: Option<[u8; 4]>,
    /// The length of the payload; under 2⁶³.
    pub payload_bytes: u64,
}

impl Header {
    /// The header of a whole message or control frame as a server sends it: final and not masked.
    pub const fn new(opcode: Opcode, payload_bytes: u64) -> Header {
        Header { fin: true, rsv1: false, opcode, masking_key: None, payload_bytes }
    }

    /// Reads the header at the beginning of `bytes`, and says how many bytes it has. `None` when they end too early.
    ///
    /// What no frame may have is refused with 1002, as soon as the byte that shows it is there. Whether the frame fits
    /// the role and what came before is left to [`Decoder`](super::message::Decoder).
    pub fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(first) = bytes.first() else { return Ok(None) };
        let opcode = decode_opcode(*first)?;
        let Some(second) = bytes.get(1) else { return Ok(None) };
        if opcode.is_control() && usize::from(second & LENGTH) > CONTROL_BYTES_MAX {
            // §5.5
            return Err(Violation::protocol("a control frame has at most 125 bytes"));
        }
        let Some((payload_bytes, rest)) = decode_length(second & LENGTH, &bytes[2..])? else { return Ok(None) };
        let (masking_key, rest) = match rest.split_first_chunk() {
            _ if second & MASK == 0 => (None, rest),
            Some((key, rest)) => (Some(*key), rest),
            None => return Ok(None),
        };
        let (fin, rsv1) = (first & FIN != 0, first & RSV1 != 0);
        Ok(Some((Header { fin, rsv1, opcode, masking_key, payload_bytes }, bytes.len() - rest.len())))
    }

    /// Appends the header. The payload is to follow, already masked where there is a masking key.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = (u8::from(self.fin) * FIN) | (u8::from(self.rsv1) * RSV1);
        let mask = u8::from(self.masking_key.is_some()) * MASK;
        out.push(flags | self.opcode as u8);
        match self.payload_bytes {
            short @ 0..=125 => out.push(mask | short as u8),
            medium @ 126..=0xffff => {
                out.push(mask | LENGTH_IN_2_BYTES);
                out.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                out.push(mask | LENGTH_IN_8_BYTES);
                out.extend_from_slice(&long.to_be_bytes());
            }
        }
        out.extend(self.masking_key.iter().flatten());
    }

    /// The length of the header itself: 2 to [`HEADER_BYTES_MAX`] bytes.
    pub const fn header_bytes(&self) -> usize {
        let length = match self.payload_bytes {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        2 + length + if self.masking_key.is_some() { 4 } else { 0 }
    }
}

/// Appends a whole message or control frame as a server sends it.
///
/// A control frame's payload has at most [`CONTROL_BYTES_MAX`] bytes.
pub fn encode(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX, "a control frame has at most 125 bytes");
    Header::new(opcode, payload.len() as u64).encode(out);
    out.extend_from_slice(payload);
}

/// Appends a whole message or control frame as a client sends it.
///
/// `masking_key` must be fresh and not to be guessed for every frame (RFC 6455 §5.3).
pub fn encode_masked(opcode: Opcode, payload: &[u8], masking_key: [u8; 4], out: &mut Vec<u8>) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX, "a control frame has at most 125 bytes");
    Header { masking_key: Some(masking_key), ..Header::new(opcode, payload.len() as u64) }.encode(out);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::unmask(&mut out[start..], masking_key, 0);
}

/// The opcode in a frame's first byte, with all that this byte alone can show to be wrong.
fn decode_opcode(first: u8) -> Result<Opcode, Violation> {
    if first & RSV2_RSV3 != 0 {
        // §5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values".
        return Err(Violation::protocol("RSV2 and RSV3 must be 0"));
    }
    let Some(opcode) = Opcode::decode(first & OPCODE) else {
        // §5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_".
        return Err(Violation::protocol("a reserved opcode"));
    };
    if opcode.is_control() && first & FIN == 0 {
        // §5.5
        return Err(Violation::protocol("a control frame must not be fragmented"));
    }
    if first & RSV1 != 0 && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        // RFC 7692 §6.1: not on control frames, nor on any but the first frame of a message.
        return Err(Violation::protocol("RSV1 must be 0 but on the first frame of a message"));
    }
    Ok(opcode)
}

/// The payload's length, from the seven bits and the bytes after them, and what comes behind. `None` when the bytes
/// end too early.
fn decode_length(length: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, least, rest) = match length {
        LENGTH_IN_2_BYTES => {
            let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), 126, rest)
        }
        LENGTH_IN_8_BYTES => {
            let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), 0x1_0000, rest)
        }
        length => (u64::from(length), 0, bytes),
    };
    if length < least {
        // §5.2: "the minimal number of bytes MUST be used to encode the length".
        return Err(Violation::protocol("a length must have the shortest form"));
    }
    if length >> 63 != 0 {
        // §5.2: "the most significant bit MUST be 0".
        return Err(Violation::protocol("a length must be under 2^63"));
    }
    Ok(Some((length, rest)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The examples of RFC 6455 §5.7, and headers at the borders of each length.
    fn valid() -> Vec<(Vec<u8>, Header)> {
        let unmasked = Header::new;
        let masked = |opcode, bytes| Header { masking_key: Some([0x37, 0xfa, 0x21, 0x3d]), ..unmasked(opcode, bytes) };
        vec![
            (b"\x81\x05".to_vec(), unmasked(Opcode::Text, 5)),
            (b"\x81\x85\x37\xfa\x21\x3d".to_vec(), masked(Opcode::Text, 5)),
            (b"\x01\x03".to_vec(), Header { fin: false, ..unmasked(Opcode::Text, 3) }),
            (b"\x80\x02".to_vec(), unmasked(Opcode::Continuation, 2)),
            (b"\x89\x05".to_vec(), unmasked(Opcode::Ping, 5)),
            (b"\x8a\x85\x37\xfa\x21\x3d".to_vec(), masked(Opcode::Pong, 5)),
            (b"\x82\x7e\x01\x00".to_vec(), unmasked(Opcode::Binary, 256)),
            (b"\x82\x7f\0\0\0\0\0\x01\0\0".to_vec(), unmasked(Opcode::Binary, 65536)),
            (b"\x88\x7d".to_vec(), unmasked(Opcode::Close, 125)),
            (b"\xc1\x00".to_vec(), Header { rsv1: true, ..unmasked(Opcode::Text, 0) }),
            (b"\x82\x7e\x00\x7e".to_vec(), unmasked(Opcode::Binary, 126)),
            (b"\x82\xfe\xff\xff\x37\xfa\x21\x3d".to_vec(), masked(Opcode::Binary, 65535)),
            (
                b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x37\xfa\x21\x3d".to_vec(),
                masked(Opcode::Binary, u64::MAX >> 1),
            ),
        ]
    }

    #[test]
    fn a_header_is_decoded_once_its_last_byte_is_there() {
        for (mut bytes, header) in valid() {
            for end in 0..bytes.len() {
                assert_eq!(Header::decode(&bytes[..end]), Ok(None), "{end} of {bytes:02x?}");
            }
            let header_bytes = bytes.len();
            bytes.extend_from_slice(b"payload");
            assert_eq!(Header::decode(&bytes), Ok(Some((header, header_bytes))), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_header_encodes_to_the_bytes_it_came_from() {
        for (bytes, header) in valid() {
            let mut encoded = Vec::new();
            header.encode(&mut encoded);
            assert_eq!(encoded, bytes);
            assert_eq!(header.header_bytes(), bytes.len());
        }
    }

    #[test]
    fn what_no_frame_may_have_is_refused_at_the_byte_that_shows_it() {
        let table: [&[u8]; 18] = [
            b"\xa1",
            b"\x91",
            b"\x83",
            b"\x87",
            b"\x8b",
            b"\x8f",
            b"\x08",
            b"\x09",
            b"\xc8",
            b"\xc9",
            b"\xc0",
            b"\x88\x7e",
            b"\x89\xff",
            b"\x81\x7e\x00\x7d",
            b"\x82\xfe\x00\x00",
            b"\x82\x7f\0\0\0\0\0\0\xff\xff",
            b"\x82\xff\0\0\0\0\0\0\0\0",
            b"\x82\xff\x80\0\0\0\0\0\0\0",
        ];
        for bytes in table {
            assert_eq!(Header::decode(&bytes[..bytes.len() - 1]), Ok(None), "{bytes:02x?} without the last");
            let refused = Header::decode(bytes).map_err(|violation| violation.code.value());
            assert_eq!(refused, Err(1002), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_first_byte_is_a_known_frame_or_refused() {
        let accepted: Vec<u8> = (0..=255).filter(|first| Header::decode(&[*first]).is_ok()).collect();
        assert_eq!(accepted, [0x00, 0x01, 0x02, 0x41, 0x42, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0xc1, 0xc2]);
    }

    #[test]
    fn frames_are_encoded_as_in_the_examples_of_the_rfc() {
        let mut out = b"before".to_vec();
        encode(Opcode::Text, b"Hello", &mut out);
        encode_masked(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(out, b"before\x81\x05Hello\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }
}

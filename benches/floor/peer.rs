//! One client of the floor: frames in, frames out.

use std::io::Write;

use mio::net::TcpStream;

/// What a client came for.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// It has not said yet, or posts.
    Request,
    Echo,
    Member(usize),
    EventStream(usize),
}

pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) role: Role,
    /// What has arrived of something that is not whole.
    pub(super) begun: Vec<u8>,
    /// What the kernel has not taken.
    unwritten: Vec<u8>,
    /// What is still to come of the payload of an echoed frame, and its key, turned to where it goes on.
    coming: usize,
    key: [u8; 4],
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Peer {
        Peer { stream, role: Role::Request, begun: Vec::new(), unwritten: Vec::new(), coming: 0, key: [0; 4] }
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.unwritten.is_empty()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let written = if self.is_blocked() { 0 } else { self.stream.write(bytes).unwrap_or(0) };
        self.unwritten.extend_from_slice(&bytes[written..]);
    }

    /// Writes what is left. Returns whether all of it has gone.
    pub(super) fn flush(&mut self) -> bool {
        if self.is_blocked() {
            let written = self.stream.write(&self.unwritten).unwrap_or(0);
            self.unwritten.drain(..written);
        }
        !self.is_blocked()
    }

    /// Sends back what was read, in one write: each header without its key, each payload without its mask, moved up to
    /// the one before. A frame need not be whole. Returns whether the connection stays open.
    pub(super) fn echo(&mut self, read: &mut [u8]) -> bool {
        let mut joined = std::mem::take(&mut self.begun);
        let had_begun = !joined.is_empty();
        joined.extend_from_slice(if had_begun { read } else { &[] });
        let bytes = if had_begun { &mut joined[..] } else { read };
        let (mut at, mut start, mut end, mut open) = (0, 0, 0, true);
        while at < bytes.len() && open {
            if self.coming == 0 {
                let Some(header) = Header::decode(&bytes[at..]) else { break };
                open = bytes[at] & 0x0f != CLOSE;
                bytes[at + 1] &= 0x7f;
                if start == end {
                    // The first header goes next to its payload, so that a payload alone is not moved.
                    (start, end) = (at + KEY_BYTES, at + KEY_BYTES);
                }
                let shorter = header.bytes - KEY_BYTES;
                bytes.copy_within(at..at + shorter, end);
                (at, end) = (at + header.bytes, end + shorter);
                (self.coming, self.key) = (header.payload_bytes, header.key);
            } else if start == end {
                (start, end) = (at, at);
            }
            let here = self.coming.min(bytes.len() - at);
            unmask(&mut bytes[at..at + here], self.key);
            self.key.rotate_left(here % KEY_BYTES);
            if end != at {
                bytes.copy_within(at..at + here, end);
            }
            (at, end, self.coming) = (at + here, end + here, self.coming - here);
        }
        self.write(&bytes[start..end]);
        self.begun = bytes[at..].to_vec();
        open
    }

    /// Gives each whole message to `take`. Returns whether the connection stays open.
    pub(super) fn messages(&mut self, read: &mut [u8], mut take: impl FnMut(&[u8])) -> bool {
        let mut joined = std::mem::take(&mut self.begun);
        let had_begun = !joined.is_empty();
        joined.extend_from_slice(if had_begun { read } else { &[] });
        let (bytes, mut at) = (if had_begun { &mut joined[..] } else { read }, 0);
        while let Some(header) = Header::decode(&bytes[at..]) {
            let (payload, end) = (at + header.bytes, at + header.bytes + header.payload_bytes);
            if end > bytes.len() {
                break;
            }
            unmask(&mut bytes[payload..end], header.key);
            match bytes[at] & 0x0f {
                CLOSE => {
                    let mut answer = Vec::new();
                    push_header(&mut answer, 0x80 | CLOSE, header.payload_bytes);
                    answer.extend_from_slice(&bytes[payload..end]);
                    self.write(&answer);
                    return false;
                }
                TEXT | BINARY => take(&bytes[payload..end]),
                // It pings no one, and no one who measures pings it.
                _ => {}
            }
            at = end;
        }
        self.begun = bytes[at..].to_vec();
        true
    }
}

/// A client's frame header.
struct Header {
    bytes: usize,
    payload_bytes: usize,
    key: [u8; 4],
}

impl Header {
    fn decode(bytes: &[u8]) -> Option<Header> {
        let (payload_bytes, at) = match bytes.get(1)? & 0x7f {
            126 => (u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
            short => (short.into(), 2),
        };
        Some(Header { bytes: at + KEY_BYTES, payload_bytes, key: *bytes.get(at..)?.first_chunk()? })
    }
}

/// Not Redpoll's, which looks for more in passing.
fn unmask(bytes: &mut [u8], key: [u8; KEY_BYTES]) {
    let word = u64::from(u32::from_le_bytes(key));
    let word = word << 32 | word;
    let (words, rest) = bytes.as_chunks_mut();
    words.iter_mut().for_each(|bytes| *bytes = (u64::from_le_bytes(*bytes) ^ word).to_le_bytes());
    rest.iter_mut().zip(word.to_le_bytes()).for_each(|(byte, key)| *byte ^= key);
}

pub(super) fn push_header(out: &mut Vec<u8>, first: u8, payload_bytes: usize) {
    out.push(first);
    match payload_bytes {
        short @ 0..=125 => out.push(short as u8),
        medium @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
}

const KEY_BYTES: usize = 4;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

//! Compressed messages (RFC 7692 §7.2): DEFLATE (RFC 1951), without the four bytes that end every flush.
//!
//! Nothing is carried from one message to the next, so one [`Deflater`] and one [`Inflater`] serve all connections,
//! and an idle compressed connection has no memory that a plain one has not.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::close::{CloseCode, Violation};
use super::extension::Window;
use super::frame::{self, Header, Opcode};

/// Whether this build can compress.
pub const AVAILABLE: bool = true;

/// What a flush ends with: an empty stored block. The sender cuts it off, the receiver puts it back (§7.2.1, §7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses messages. About 260 KiB for a window of 15 bits and 130 KiB for one of 9, from the first use on.
#[derive(Debug)]
pub struct Deflater {
    by_window: [Option<Box<Compress>>; 2],
    /// Messages with less payload are not compressed: it would save less than it costs.
    from_bytes: usize,
    /// The payload of the message being encoded: a header, which comes before it, has to know its length.
    compressed: Vec<u8>,
}

impl Deflater {
    /// A compressor that leaves messages of less than `from_bytes` as they are.
    pub fn new(from_bytes: usize) -> Deflater {
        Deflater { by_window: [None, None], from_bytes, compressed: Vec::new() }
    }

    /// The window with which a message of so many bytes is sent where `agreed` was agreed on.
    pub fn window_for(&self, payload_bytes: usize, agreed: Option<Window>) -> Option<Window> {
        agreed.filter(|_| payload_bytes >= self.from_bytes)
    }

    /// Appends a whole message as a server sends it, compressed if that was agreed on and makes it smaller.
    pub fn encode(&mut self, opcode: Opcode, payload: &[u8], agreed: Option<Window>, out: &mut Vec<u8>) {
        match self.window_for(payload.len(), agreed) {
            Some(window) => self.encode_deflated(opcode, payload, window, out),
            None => frame::encode(opcode, payload, out),
        }
    }

    /// The same, compressed if that makes it smaller.
    fn encode_deflated(&mut self, opcode: Opcode, payload: &[u8], window: Window, out: &mut Vec<u8>) {
        let mut compressed = std::mem::take(&mut self.compressed);
        match self.deflate(payload, window, &mut compressed) {
            true => {
                Header { rsv1: true, ..Header::new(opcode, compressed.len() as u64) }.encode(out);
                out.extend_from_slice(&compressed);
            }
            false => frame::encode(opcode, payload, out),
        }
        compressed.clear();
        compressed.shrink_to(KEPT_BYTES);
        self.compressed = compressed;
    }

    /// Appends the compressed payload of one message. Returns whether it did: not where that would not be smaller.
    pub fn deflate(&mut self, payload: &[u8], window: Window, out: &mut Vec<u8>) -> bool {
        let make = || Compress::new_with_window_bits(Compression::default(), false, window.bits()).into();
        let compress: &mut Compress = self.by_window[window as usize].get_or_insert_with(make);
        compress.reset();
        let start = out.len();
        // What does not fit into this is not smaller; and a flush that leaves room has ended (zlib.h on Z_SYNC_FLUSH).
        let room = payload.len() + TAIL.len();
        out.reserve(room);
        let flushed = compress.compress_vec(payload, out, FlushCompress::Sync);
        let smaller = matches!(flushed, Ok(Status::Ok)) && out.len() - start < room && out.ends_with(&TAIL);
        out.truncate(if smaller { out.len() - TAIL.len() } else { start });
        smaller
    }
}

/// Inflates messages. About 40 KiB, from the first use on.
#[derive(Debug, Default)]
pub struct Inflater {
    decompress: Option<Box<Decompress>>,
}

impl Inflater {
    /// Appends the message that `payload` unpacks to, of at most `message_bytes_max` bytes.
    ///
    /// Fails with 1009 as soon as there is one byte more, whatever else it would have become, and with 1007 where
    /// `payload` is not DEFLATE or ends within a block. What has been appended until then is of no use.
    pub fn inflate(&mut self, payload: &[u8], message_bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Violation> {
        // The client may use the whole window, which an offer cannot rule out (§7.1.2.2).
        let make = || Decompress::new_with_window_bits(false, Window::Bits15.bits()).into();
        let decompress: &mut Decompress = self.decompress.get_or_insert_with(make);
        decompress.reset(false);
        let end = out.len().saturating_add(message_bytes_max);
        for part in [payload, &TAIL] {
            inflate_part(decompress, part, end, out)?;
        }
        check_end(decompress, out)
    }
}

/// Whether the message ends where a block does: one more can only then be understood.
fn check_end(decompress: &mut Decompress, out: &mut Vec<u8>) -> Result<(), Violation> {
    const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];
    let (input, output) = (decompress.total_in(), out.len());
    make_room(out, usize::MAX);
    let status = decompress.decompress_vec(&LAST_BLOCK, out, FlushDecompress::Sync);
    let used = decompress.total_in() - input;
    match (status, used == LAST_BLOCK.len() as u64, out.len() == output) {
        (Ok(Status::StreamEnd), true, true) => Ok(()),
        _ => Err(NOT_DEFLATE),
    }
}

/// Appends what `part` unpacks to, while `out` is no longer than `end`.
fn inflate_part(decompress: &mut Decompress, mut part: &[u8], end: usize, out: &mut Vec<u8>) -> Result<(), Violation> {
    loop {
        make_room(out, end);
        let (input, output) = (decompress.total_in(), out.len());
        let status = decompress.decompress_vec(part, out, FlushDecompress::Sync);
        part = &part[(decompress.total_in() - input) as usize..];
        if out.len() > end {
            return Err(Violation { code: CloseCode::MESSAGE_TOO_BIG, detail: "the message unpacks to too much" });
        }
        match status {
            // A block may say that it is the last, and others may follow all the same (§7.2.3.4).
            Ok(Status::StreamEnd) => decompress.reset(false),
            Ok(_) if out.len() == out.capacity() => {}
            Ok(_) if part.is_empty() => return Ok(()),
            Ok(_) if out.len() > output => {}
            Ok(_) | Err(_) => return Err(NOT_DEFLATE),
        }
    }
}

/// Sees to it that there is some. Room doubles, up to one byte beyond `end`, which shows that there is too much.
fn make_room(out: &mut Vec<u8>, end: usize) {
    if out.len() == out.capacity() {
        let most = end.saturating_add(1) - out.len();
        out.reserve_exact(out.len().max(LEAST_ROOM).min(most));
    }
}

const NOT_DEFLATE: Violation =
    Violation { code: CloseCode::INVALID_PAYLOAD, detail: "the message is not DEFLATE, or is cut short" };

/// What a buffer keeps from one message to the next, in bytes.
const KEPT_BYTES: usize = 64 << 10;

/// What is reserved first, in bytes.
const LEAST_ROOM: usize = 4 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn deflated(payload: &[u8], window: Window) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let smaller = Deflater::new(0).deflate(payload, window, &mut out);
        assert!(out.starts_with(b"before"));
        (smaller || out.len() > 6).then(|| out.split_off(6))
    }

    fn inflated(payload: &[u8], limit: usize) -> Result<Vec<u8>, u16> {
        let mut out = b"before".to_vec();
        Inflater::default().inflate(payload, limit, &mut out).map_err(|violation| violation.code.value())?;
        Ok(out.split_off(6))
    }

    /// Bytes that compress more or less well.
    fn payload(length: usize, kinds: u32, state: &mut u32) -> Vec<u8> {
        let byte = |_| {
            *state ^= *state << 13;
            *state ^= *state >> 17;
            *state ^= *state << 5;
            (*state % kinds) as u8
        };
        (0..length).map(byte).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_inflated() {
        // RFC 7692 §7.2.3.1 to §7.2.3.5: one block, one without compression, BFINAL set, two blocks.
        let table: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for bytes in table {
            assert_eq!(inflated(bytes, 5).as_deref(), Ok(&b"Hello"[..]), "{bytes:x?}");
        }
    }

    #[test]
    fn to_deflate_and_to_inflate_is_to_change_nothing() {
        let mut state = 7;
        let (mut deflater, mut inflater) = (Deflater::new(0), Inflater::default());
        for length in [0, 1, 4, 5, 100, 255, 256, 511, 512, 513, 4_095, 32_768, 65_535, 65_536, 300_000] {
            for kinds in [1, 2, 16, 100, 256] {
                let payload = payload(length, kinds, &mut state);
                for window in [Window::Bits15, Window::Bits9] {
                    let (mut small, mut large) = (Vec::new(), Vec::new());
                    if deflater.deflate(&payload, window, &mut small) {
                        assert!(small.len() < length, "{} of {length}", small.len());
                        inflater.inflate(&small, length, &mut large).unwrap();
                        assert!(large == payload, "{length} bytes of {kinds} kinds, {window:?}");
                    } else {
                        assert!(kinds == 256 || length < 256, "{length} bytes of {kinds} kinds are smaller");
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_is_compressed_from_the_given_size_on_if_that_makes_it_smaller() {
        let mut deflater = Deflater::new(100);
        let mut first_bytes = |payload: &[u8], window| {
            let mut out = Vec::new();
            deflater.encode(Opcode::Binary, payload, window, &mut out);
            [out[0], out[1]]
        };
        assert_eq!(first_bytes(&[b'x'; 99], Some(Window::Bits15)), [0x82, 99]);
        assert_eq!(first_bytes(&[b'x'; 100], None), [0x82, 100]);
        assert_eq!(first_bytes(&payload(100, 256, &mut 1), Some(Window::Bits15)), [0x82, 100]);
        let [flags, length] = first_bytes(&[b'x'; 100], Some(Window::Bits9));
        assert!(flags == 0xc2 && length < 10, "{flags:x} {length}");
    }

    #[test]
    fn a_window_of_9_bits_does_not_see_what_lies_further_back() {
        // Noise, then the same again: only a window that reaches back to it makes the second one small.
        let once = payload(20_000, 150, &mut 1);
        let length = |payload: &[u8], window| deflated(payload, window).unwrap().len();
        let twice = once.repeat(2);
        assert!(length(&twice, Window::Bits9) > length(&once, Window::Bits9) * 19 / 10);
        assert!(length(&twice, Window::Bits15) < length(&once, Window::Bits15) * 11 / 10);
    }

    #[test]
    fn what_would_not_be_smaller_is_left_alone() {
        for payload in [&b""[..], b"a", b"hello", &payload(300, 256, &mut 3)] {
            assert_eq!(deflated(payload, Window::Bits15), None);
        }
    }

    #[test]
    fn a_message_that_would_unpack_to_too_much_is_refused_before_the_memory_is_spent() {
        let bomb = deflated(&vec![0; 50 << 20], Window::Bits15).unwrap();
        assert!(bomb.len() < 64 << 10, "{}", bomb.len());
        let mut out = Vec::new();
        let refused = Inflater::default().inflate(&bomb, 64 << 10, &mut out);
        assert_eq!(refused.map_err(|violation| violation.code), Err(CloseCode::MESSAGE_TOO_BIG));
        assert!(out.capacity() <= 65 << 10, "{}", out.capacity());
        let exact = deflated(&[b'x'; 1_000], Window::Bits15).unwrap();
        assert_eq!(inflated(&exact, 1_000).map(|message| message.len()), Ok(1_000));
        assert_eq!(inflated(&exact, 999), Err(1009));
    }

    #[test]
    fn what_is_not_deflate_is_refused() {
        let cut = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9][..];
        for bytes in [&[0xff; 20][..], &[0x06, 1, 2, 3], b"\x00\x05\x00\xfb\xffHello\x00", cut, b""] {
            assert_eq!(inflated(bytes, LIMIT), Err(1007), "{bytes:x?}");
        }
    }

    #[test]
    fn blocks_that_say_they_are_the_last_may_be_many() {
        let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let many = [&hello.repeat(1_000)[..], &[0]].concat();
        assert_eq!(inflated(&many, LIMIT), Ok(b"Hello".repeat(1_000)));
        assert_eq!(inflated(&many, 4_000), Err(1009));
    }
}

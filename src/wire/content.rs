//! Request content: how its end is marked, and its bytes without the marks (RFC 9112 §6 and §7).

use super::head::{Head, Method};
use super::status::Status;
use super::syntax::{excerpt, is_token_byte, malformed};
use crate::config::Limit;

pub use crate::config::OVERHEAD_BYTES_MAX;

/// How the end of a request's content is marked (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no content.
    None,
    /// `Content-Length`, in bytes. A number beyond 64 bits is held as `u64::MAX`, and so is over every limit.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Framing {
    /// Reads the framing of a request, on the strict side wherever two readers could disagree (RFC 9112 §11.2).
    ///
    /// # Errors
    /// 400 for both kinds of length, more than one length (even equal ones), a length that is not digits,
    /// `Transfer-Encoding` in HTTP/1.0, and content on GET, HEAD and TRACE; 501 for a coding other than `chunked`.
    pub fn of(head: &Head) -> Result<Framing, Status> {
        let coding = coding(head)?;
        let framing = match (coding, length(head)?) {
            // RFC 9112 §6.3 rule 3: this is how requests are smuggled.
            (true, Some(_)) => {
                return Err(malformed("both Content-Length and Transfer-Encoding: give one (RFC 9112 §6.3)"));
            }
            (true, None) => Framing::Chunked,
            (false, Some(bytes)) => Framing::Length(bytes),
            (false, None) => Framing::None,
        };
        let forbids_content = matches!(head.method(), Method::Get | Method::Head | Method::Trace);
        match forbids_content && !matches!(framing, Framing::None | Framing::Length(0)) {
            // RFC 9110 §9.3.1: content on GET has no meaning, and some take it for an attack.
            true => Err(malformed("GET, HEAD and TRACE have no content (RFC 9110 §9.3.1)")),
            false => Ok(framing),
        }
    }

    /// Refuses content that is longer than `content_bytes_max`, before any of it has come: 413.
    pub fn check(self, content_bytes_max: usize) -> Result<(), Status> {
        match self {
            Framing::Length(bytes) if bytes > content_bytes_max as u64 => Err(too_large(content_bytes_max)),
            _ => Ok(()),
        }
    }
}

/// Whether the content is chunked. The last coding must be `chunked` (RFC 9112 §6.1); no other is implemented.
fn coding(head: &Head) -> Result<bool, Status> {
    let mut lines = head.fields("transfer-encoding");
    let Some(coding) = lines.next() else { return Ok(false) };
    if head.is_http10() {
        return Err(malformed("Transfer-Encoding in HTTP/1.0, which does not have it (RFC 9112 §6.1)"));
    }
    match coding.eq_ignore_ascii_case("chunked") && lines.next().is_none() {
        true => Ok(true),
        false => {
            Err(Status::new(501).detail(format!("transfer coding {:?} is not supported: chunked is", excerpt(coding))))
        }
    }
}

/// The one `Content-Length` (RFC 9110 §8.6). A list or a repetition is refused even where all values are equal.
fn length(head: &Head) -> Result<Option<u64>, Status> {
    let mut lines = head.fields("content-length");
    let Some(digits) = lines.next() else { return Ok(None) };
    if lines.next().is_some() || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("malformed Content-Length: it is one decimal number, once (RFC 9112 §6.3)"));
    }
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

/// Takes the marks off content as it arrives, in pieces of any size and in linear time.
#[derive(Clone, Debug)]
pub struct ContentDecoder {
    state: State,
    /// Content bytes given out so far.
    received: u64,
    /// Bytes of chunk extensions and trailers so far, which are read and thrown away.
    overhead: usize,
}

impl ContentDecoder {
    /// A decoder for the content of one request.
    pub fn new(framing: Framing) -> ContentDecoder {
        let state = match framing {
            Framing::None => State::Complete,
            Framing::Length(bytes) => State::Length { left: bytes },
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        ContentDecoder { state, received: 0, overhead: 0 }
    }

    /// Appends the content in `bytes` to `into`, which grows by what has arrived, never by what was announced. Returns
    /// how many bytes were used and whether the content is complete; what is left belongs to the next request.
    ///
    /// # Errors
    /// 413 as soon as the content is known to be over `content_bytes_max`; 400 for malformed chunks, and for more than
    /// [`OVERHEAD_BYTES_MAX`] of extensions and trailers. After an error the connection is of no more use.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        into: &mut Vec<u8>,
        content_bytes_max: usize,
    ) -> Result<(usize, bool), Status> {
        let mut used = 0;
        loop {
            self.check(content_bytes_max)?;
            match (self.state, bytes.get(used)) {
                (State::Complete | State::Length { left: 0 }, _) => return Ok((used, true)),
                (_, None) => return Ok((used, false)),
                (State::Length { left } | State::Data { left: left @ 1.. }, _) => {
                    used += self.take(left, &bytes[used..], into)
                }
                (_, Some(&byte)) => {
                    self.state = self.step(byte)?;
                    used += 1;
                }
            }
        }
    }

    /// Refuses what the state promises beyond the limit, before it comes.
    fn check(&self, content_bytes_max: usize) -> Result<(), Status> {
        let (State::Length { left } | State::Data { left }) = self.state else { return Ok(()) };
        match left.saturating_add(self.received) > content_bytes_max as u64 {
            true => Err(too_large(content_bytes_max)),
            false => Ok(()),
        }
    }

    /// Copies what is there of the `left` bytes of data that are expected, and counts them.
    fn take(&mut self, left: u64, bytes: &[u8], into: &mut Vec<u8>) -> usize {
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        into.extend_from_slice(&bytes[..count]);
        self.received += count as u64;
        self.state = match self.state {
            State::Data { .. } => State::Data { left: left - count as u64 },
            _ => State::Length { left: left - count as u64 },
        };
        count
    }

    /// One byte of a chunk's marks (RFC 9112 §7.1).
    fn step(&mut self, byte: u8) -> Result<State, Status> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => next_digit(size, digits, byte),
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { size, digits: 1.. } | State::Padding { size }, b';') => self.pass(State::Extension { size }),
            // RFC 9112 §7.1.1 has whitespace before the semicolon of an extension, and nowhere else.
            (State::Size { size, digits: 1.. } | State::Padding { size }, b' ' | b'\t') => {
                self.pass(State::Padding { size })
            }
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { .. } | State::TrailerValue, _) if is_text(byte) => self.pass(self.state),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::Data { .. }, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::LastLf),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => self.pass(State::TrailerName),
            (State::TrailerName, b':') => self.pass(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::LastLf, b'\n') => Ok(State::Complete),
            _ => Err(self.state.malformed()),
        }
    }

    /// Goes on to `state`, having thrown a byte away and counted it.
    fn pass(&mut self, state: State) -> Result<State, Status> {
        self.overhead += 1;
        match self.overhead > OVERHEAD_BYTES_MAX {
            true => Err(malformed("too many bytes of chunk extensions and trailers: send none (RFC 9112 §7.1.1)")),
            false => Ok(state),
        }
    }
}

/// Where in the content the next byte is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// In content of a known length; with none left it is complete.
    Length { left: u64 },
    /// In the hexadecimal size of a chunk.
    Size { size: u64, digits: u8 },
    /// In the whitespace between the size and a semicolon.
    Padding { size: u64 },
    /// In an extension, after its semicolon.
    Extension { size: u64 },
    /// Before the LF that ends the size.
    SizeLf { size: u64 },
    /// In a chunk's data; with none left, before the CR that follows it.
    Data { left: u64 },
    /// Before the LF that follows a chunk's data.
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the content.
    TrailerStart,
    /// In the name of a trailer field. What has no colon is none, and could be the next request to another reader.
    TrailerName,
    /// In a trailer field, after its colon.
    TrailerValue,
    /// Before the LF of a trailer line.
    TrailerLf,
    /// Before the LF of the last line.
    LastLf,
    /// Nothing more belongs to the content.
    Complete,
}

impl State {
    /// Why the next byte cannot be what it is.
    fn malformed(self) -> Status {
        match self {
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf | State::LastLf => {
                malformed("malformed trailer: it is NAME: VALUE lines, then an empty one (RFC 9112 §7.1.2)")
            }
            _ => malformed("malformed chunk: it is SIZE in hexadecimal, CR LF, the bytes, CR LF (RFC 9112 §7.1)"),
        }
    }
}

/// A chunk size of more than 16 digits would not fit 64 bits, and zeros in front of it have no use.
fn next_digit(size: u64, digits: u8, byte: u8) -> Result<State, Status> {
    match (char::from(byte).to_digit(16), digits) {
        (Some(digit), 0..16) => Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }),
        _ => Err(malformed("malformed chunk size: at most 16 hexadecimal digits (RFC 9112 §7.1)")),
    }
}

/// What an extension or a trailer line may hold: no control bytes but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

fn too_large(content_bytes_max: usize) -> Status {
    let detail = format!("the content is longer than {content_bytes_max} bytes, which --max-message decides");
    Status::new(413).detail(detail).limit(Limit::MessageBytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn framing(version: &str, fields: &str) -> Result<Framing, u16> {
        let bytes = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        Head::parse(bytes.as_bytes()).unwrap().framing().map_err(|status| status.code())
    }

    #[test]
    fn framing_is_read_as_rfc_9112_section_6_has_it() {
        for (fields, expected) in [
            ("", Ok(Framing::None)),
            ("Content-Length: 0\r\n", Ok(Framing::Length(0))),
            ("Content-Length: 0042\r\n", Ok(Framing::Length(42))),
            ("Content-Length: 99999999999999999999999\r\n", Ok(Framing::Length(u64::MAX))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Err(400)),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", Err(400)),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(400)),
            ("Content-Length: 1, 1\r\n", Err(400)),
            ("Content-Length: +1\r\n", Err(400)),
            ("Content-Length: -1\r\n", Err(400)),
            ("Content-Length: 0x1\r\n", Err(400)),
            ("Content-Length: 1 1\r\n", Err(400)),
            ("Content-Length: \u{661}\r\n", Err(400)),
            ("Content-Length:\r\n", Err(400)),
            ("Transfer-Encoding: gzip\r\n", Err(501)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(501)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(501)),
            ("Transfer-Encoding: xchunked\r\n", Err(501)),
            ("Transfer-Encoding: identity\r\n", Err(501)),
            ("Transfer-Encoding:\r\n", Err(501)),
        ] {
            assert_eq!(framing("1.1", fields), expected, "{fields:?}");
        }
        assert_eq!(framing("1.0", "Transfer-Encoding: chunked\r\n"), Err(400));
        assert_eq!(framing("1.0", "Content-Length: 5\r\n"), Ok(Framing::Length(5)));
    }

    #[test]
    fn methods_without_content_refuse_it() {
        for method in ["GET", "HEAD", "TRACE"] {
            for (fields, expected) in [
                ("", Ok(())),
                ("Content-Length: 0\r\n", Ok(())),
                ("Content-Length: 1\r\n", Err(400)),
                ("Transfer-Encoding: chunked\r\n", Err(400)),
            ] {
                let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
                let framing = Head::parse(bytes.as_bytes()).unwrap().framing();
                assert_eq!(framing.map(|_| ()).map_err(|status| status.code()), expected, "{method} {fields:?}");
            }
        }
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_before_any_byte() {
        assert_eq!(Framing::Length(8).check(8), Ok(()));
        assert_eq!(Framing::Length(9).check(8).map_err(|status| status.code()), Err(413));
        assert_eq!(Framing::Length(u64::MAX).check(usize::MAX - 1).map_err(|status| status.code()), Err(413));
        assert_eq!(Framing::Chunked.check(0), Ok(()));
        let refused = ContentDecoder::new(Framing::Length(9)).decode(b"", &mut Vec::new(), 8);
        assert_eq!(refused.map_err(|status| status.code()), Err(413));
    }

    /// The content and how many bytes are left, `None` if it is not complete, or the code of the refusal.
    fn receive(
        framing: Framing,
        bytes: &[u8],
        cuts: impl Iterator<Item = usize>,
    ) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let (mut decoder, mut content, mut start) = (ContentDecoder::new(framing), Vec::new(), 0);
        for end in cuts.chain([bytes.len()]) {
            let (used, complete) =
                decoder.decode(&bytes[start..end], &mut content, LIMIT).map_err(|status| status.code())?;
            start += used;
            if complete {
                return Ok(Some((content, bytes.len() - start)));
            }
            assert_eq!(start, end, "an incomplete content uses every byte");
        }
        Ok(None)
    }

    fn receive_every_way(framing: Framing, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let whole = receive(framing, bytes, [].into_iter());
        assert_eq!(
            receive(framing, bytes, 0..bytes.len()),
            whole,
            "byte by byte: {:?}",
            String::from_utf8_lossy(bytes)
        );
        for split in 0..bytes.len() {
            assert_eq!(
                receive(framing, bytes, [split].into_iter()),
                whole,
                "split at {split}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
    }

    const LIMIT: usize = 32;

    #[test]
    fn content_comes_out_as_it_was_however_it_arrives() {
        for (framing, bytes, content, left) in [
            (Framing::None, "GET", "", 3),
            (Framing::Length(0), "GET", "", 3),
            (Framing::Length(5), "helloGET", "hello", 3),
            (Framing::Chunked, "0\r\n\r\nGET", "", 3),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\n", "hello", 0),
            (Framing::Chunked, "3\r\nhel\r\n02\r\nlo\r\n000\r\n\r\nx", "hello", 1),
            (Framing::Chunked, "A\r\n0123\r\n6789\r\na\r\n0123456789\r\n0\r\n\r\n", "0123\r\n67890123456789", 0),
            (Framing::Chunked, "5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "hello", 0),
            (Framing::Chunked, "5 \t ;a\r\nhello\r\n0\r\n\r\n", "hello", 0),
            (Framing::Chunked, "5\r\nhello\r\n0\r\nX: y\r\nZ:\tw\r\n\r\nGET", "hello", 3),
        ] {
            assert_eq!(receive_every_way(framing, bytes.as_bytes()), Ok(Some((content.into(), left))), "{bytes:?}");
        }
    }

    #[test]
    fn unfinished_content_waits_for_more() {
        for bytes in [
            "",
            "5",
            "5\r",
            "5\r\n",
            "5\r\nhell",
            "5\r\nhello",
            "5\r\nhello\r\n",
            "5\r\nhello\r\n0\r\n",
            "0\r\n\r",
            "0\r\nX: y\r\n",
            "0;",
        ] {
            assert_eq!(receive_every_way(Framing::Chunked, bytes.as_bytes()), Ok(None), "{bytes:?}");
        }
        assert_eq!(receive_every_way(Framing::Length(5), b"hell"), Ok(None));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for (section, code, bytes) in [
            ("RFC 9112 §7.1, no size", 400, "\r\n"),
            ("RFC 9112 §7.1, sign", 400, "+5\r\nhello\r\n"),
            ("RFC 9112 §7.1, prefix", 400, "0x5\r\nhello\r\n"),
            ("RFC 9112 §7.1, no hexadecimal", 400, "g\r\n"),
            ("RFC 9112 §7.1, space first", 400, " 5\r\nhello\r\n"),
            ("RFC 9112 §7.1, space and no extension", 400, "5 \r\nhello\r\n"),
            ("RFC 9112 §7.1, underscore", 400, "1_0\r\n"),
            ("RFC 9112 §7.1, more than 64 bits", 400, "10000000000000005\r\n"),
            ("RFC 9112 §7.1, zeros without end", 400, "00000000000000005\r\n"),
            ("RFC 9112 §2.2, bare LF after the size", 400, "5\nhello\r\n"),
            ("RFC 9112 §2.2, bare CR after the size", 400, "5\rhello\r\n"),
            ("RFC 9112 §7.1, no CR LF after the data", 400, "5\r\nhello0\r\n\r\n"),
            ("RFC 9112 §2.2, bare LF after the data", 400, "5\r\nhello\n0\r\n\r\n"),
            ("RFC 9112 §7.1, data longer than its size", 400, "4\r\nhello\r\n"),
            ("RFC 9112 §2.2, bare LF in an extension", 400, "5;a\nhello\r\n"),
            ("RFC 9112 §2.2, bare CR in an extension", 400, "5;a\rb\r\nhello\r\n"),
            ("RFC 9112 §7.1.1, NUL in an extension", 400, "5;a\0\r\nhello\r\n"),
            ("RFC 9112 §7.1.2, folded trailer", 400, "0\r\n x: y\r\n\r\n"),
            ("RFC 9112 §7.1.2, trailer without a colon", 400, "0\r\nX\r\n\r\n"),
            ("RFC 9112 §5.1, space before a trailer's colon", 400, "0\r\nX : y\r\n\r\n"),
            ("RFC 9112 §2.2, bare LF in a trailer", 400, "0\r\nX: y\n\r\n"),
            ("RFC 9112 §2.2, bare LF at the end", 400, "0\r\n\n"),
            ("RFC 9112 §2.2, bare CR at the end", 400, "0\r\n\rx"),
            ("RFC 9110 §15.5.14, one chunk over the limit", 413, "21\r\n"),
            ("RFC 9110 §15.5.14, all of 64 bits", 413, "ffffffffffffffff\r\n"),
            ("RFC 9110 §15.5.14, the sum over the limit", 413, "1f\r\n0123456789012345678901234567890\r\n2\r\n"),
        ] {
            assert_eq!(receive_every_way(Framing::Chunked, bytes.as_bytes()), Err(code), "{section}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_content() {
        let chunks = |count: usize| format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(1023)).repeat(count));
        assert_eq!(receive(Framing::Chunked, chunks(4).as_bytes(), [].into_iter()), Ok(Some((b"xxxx".to_vec(), 0))));
        assert_eq!(receive(Framing::Chunked, chunks(5).as_bytes(), [].into_iter()), Err(400));
        let trailers = |count: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(receive(Framing::Chunked, trailers(1024).as_bytes(), [].into_iter()), Ok(Some((vec![], 0))));
        assert_eq!(receive(Framing::Chunked, trailers(1025).as_bytes(), [].into_iter()), Err(400));
    }

    #[test]
    fn memory_grows_with_what_arrives_not_with_what_is_announced() {
        let mut content = Vec::new();
        let mut decoder = ContentDecoder::new(Framing::Length(1 << 30));
        assert_eq!(decoder.decode(b"x", &mut content, 1 << 30), Ok((1, false)));
        assert!(content.capacity() < 64);
    }
}

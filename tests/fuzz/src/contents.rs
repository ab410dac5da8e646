//! RFC 9112 §6 and §7.1, a byte at a time: what a content is, and after which byte that is known.

/// What the bytes are, if there are no limits but these.
pub struct Rules {
    /// The longest content, if there is one.
    pub content_bytes_max: Option<usize>,
    /// The most bytes of extensions and trailers, line ends not counted.
    pub overhead_bytes_max: usize,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// After so many bytes it was complete.
    Complete(usize),
    /// After so many bytes it was to be refused with this status.
    Refused(usize, u16),
    /// There were not enough bytes.
    OfBytes,
}

/// The content, each byte with the number of bytes that had come by then, and how it ends.
pub struct Content {
    pub bytes: Vec<(usize, u8)>,
    pub end: End,
}

/// Content of a known length.
pub fn of_length(bytes: &[u8], length: u64, rules: &Rules) -> Content {
    if rules.content_bytes_max.is_some_and(|most| length > most as u64) {
        return Content { bytes: Vec::new(), end: End::Refused(0, 413) };
    }
    let content = Vec::from_iter((1..).zip(bytes.iter().copied()).take(length as usize));
    let end = if content.len() as u64 == length { End::Complete(content.len()) } else { End::OfBytes };
    Content { bytes: content, end }
}

/// Content in chunks.
pub fn of_chunks(bytes: &[u8], rules: &Rules) -> Content {
    let mut reader = Reader { bytes, at: 0, overhead: 0, rules, content: Vec::new() };
    let end = match reader.chunks() {
        Ok(()) => End::Complete(reader.at),
        Err(None) => End::OfBytes,
        Err(Some(status)) => End::Refused(reader.at, status),
    };
    Content { bytes: reader.content, end }
}

/// `None` where the bytes have ended, else why the content is refused.
type Stop = Option<u16>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    overhead: usize,
    rules: &'a Rules,
    content: Vec<(usize, u8)>,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = self.bytes.get(self.at).ok_or(None)?;
        self.at += 1;
        Ok(*byte)
    }

    fn exactly(&mut self, expected: &[u8]) -> Result<(), Stop> {
        for one in expected {
            if self.byte()? != *one {
                return Err(Some(400));
            }
        }
        Ok(())
    }

    /// A byte that is thrown away.
    fn thrown_away(&mut self) -> Result<(), Stop> {
        self.overhead += 1;
        if self.overhead > self.rules.overhead_bytes_max { Err(Some(400)) } else { Ok(()) }
    }

    /// `chunked-body`.
    fn chunks(&mut self) -> Result<(), Stop> {
        loop {
            let size = self.size_line()?;
            if size == 0 {
                return self.trailers();
            }
            let all = size + self.content.len() as u128;
            if self.rules.content_bytes_max.is_some_and(|most| all > most as u128) {
                return Err(Some(413));
            }
            for _ in 0..size {
                let byte = self.byte()?;
                self.content.push((self.at, byte));
            }
            self.exactly(b"\r\n")?;
        }
    }

    /// `chunk-size [ chunk-ext ] CRLF`, of at most 16 digits.
    fn size_line(&mut self) -> Result<u128, Stop> {
        let (mut size, mut digits) = (0, 0);
        let mut next = self.byte()?;
        while let Some(digit) = char::from(next).to_digit(16) {
            size = size * 16 + u128::from(digit);
            digits += 1;
            if digits > 16 {
                return Err(Some(400));
            }
            next = self.byte()?;
        }
        if digits == 0 {
            return Err(Some(400));
        }
        // §7.1.1: white space that is bad, and after it nothing but an extension.
        let mut padded = false;
        while next == b' ' || next == b'\t' {
            padded = true;
            self.thrown_away()?;
            next = self.byte()?;
        }
        if next == b';' {
            self.thrown_away()?;
            next = self.text()?;
        } else if padded {
            return Err(Some(400));
        }
        if next != b'\r' {
            return Err(Some(400));
        }
        self.exactly(b"\n")?;
        Ok(size)
    }

    /// Throws text away, and returns the byte after it.
    fn text(&mut self) -> Result<u8, Stop> {
        loop {
            let byte = self.byte()?;
            if byte < b' ' && byte != b'\t' || byte == 0x7f {
                return Ok(byte);
            }
            self.thrown_away()?;
        }
    }

    /// `trailer-section CRLF`.
    fn trailers(&mut self) -> Result<(), Stop> {
        loop {
            let mut next = self.byte()?;
            if next == b'\r' {
                return self.exactly(b"\n");
            }
            let mut named = false;
            while next.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&next) {
                named = true;
                self.thrown_away()?;
                next = self.byte()?;
            }
            if !named || next != b':' {
                return Err(Some(400));
            }
            self.thrown_away()?;
            if self.text()? != b'\r' {
                return Err(Some(400));
            }
            self.exactly(b"\n")?;
        }
    }
}

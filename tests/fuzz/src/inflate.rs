//! RFC 1951, a bit at a time, and RFC 7692 §7.2.2: what a compressed message unpacks to.

/// What became of a message.
pub struct Unpacked {
    /// All that came out, up to the end or to what was wrong.
    pub data: Vec<u8>,
    pub end: End,
    /// The farthest that it refers back to, in bytes.
    pub distance_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Between two blocks, where a message ends.
    Complete,
    /// In the middle of a block.
    CutShort,
    /// At something that is not DEFLATE.
    Invalid,
    /// More than was asked for came out.
    TooMuch,
}

/// Unpacks the payload of a message, up to one byte more than `bytes_max`.
pub fn inflate(payload: &[u8], bytes_max: usize) -> Unpacked {
    let bytes = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut inflater = Inflater { bytes: &bytes, bit: 0, data: Vec::new(), start: 0, bytes_max, distance_max: 0 };
    let mut end = End::Complete;
    while inflater.bit < 8 * bytes.len() {
        if let Err(other) = inflater.block() {
            end = other;
            break;
        }
    }
    Unpacked { data: inflater.data, end, distance_max: inflater.distance_max }
}

struct Inflater<'a> {
    bytes: &'a [u8],
    /// How many bits have been read.
    bit: usize,
    data: Vec<u8>,
    /// Where the data begins that may be referred to: after a block that said it was the last.
    start: usize,
    bytes_max: usize,
    distance_max: usize,
}

impl Inflater<'_> {
    fn block(&mut self) -> Result<(), End> {
        let last = self.bits(1)? == 1;
        match self.bits(2)? {
            0 => self.stored()?,
            1 => {
                let lengths = (0..288).map(|symbol| match symbol {
                    0..=143 => 8,
                    144..=255 => 9,
                    256..=279 => 7,
                    _ => 8,
                });
                self.compressed(&Code::new(lengths.collect()), &Code::new(vec![5; 32]))?;
            }
            2 => {
                let (symbols, distances) = self.codes()?;
                self.compressed(&symbols, &distances)?;
            }
            _ => return Err(End::Invalid),
        }
        if last {
            self.align();
            self.start = self.data.len();
        }
        Ok(())
    }

    /// §3.2.4
    fn stored(&mut self) -> Result<(), End> {
        self.align();
        let (length, complement) = (self.bits(16)?, self.bits(16)?);
        if length != complement ^ 0xffff {
            return Err(End::Invalid);
        }
        for _ in 0..length {
            let byte = self.bits(8)?;
            self.push(byte as u8)?;
        }
        Ok(())
    }

    /// §3.2.5
    fn compressed(&mut self, symbols: &Code, distances: &Code) -> Result<(), End> {
        loop {
            let symbol = self.symbol(symbols)?;
            match symbol {
                0..=255 => self.push(symbol as u8)?,
                256 => return Ok(()),
                257..=285 => {
                    let (extra, base) = LENGTHS[symbol - 257];
                    let length = base + self.bits(extra)?;
                    let symbol = self.symbol(distances)?;
                    let (extra, base) = *DISTANCES.get(symbol).ok_or(End::Invalid)?;
                    let distance = base + self.bits(extra)?;
                    self.repeat(length, distance)?;
                }
                _ => return Err(End::Invalid),
            }
        }
    }

    fn repeat(&mut self, length: usize, distance: usize) -> Result<(), End> {
        if distance > self.data.len() - self.start {
            return Err(End::Invalid);
        }
        self.distance_max = self.distance_max.max(distance);
        for _ in 0..length {
            self.push(self.data[self.data.len() - distance])?;
        }
        Ok(())
    }

    /// §3.2.7
    fn codes(&mut self) -> Result<(Code, Code), End> {
        let (symbols, distances, count) = (self.bits(5)? + 257, self.bits(5)? + 1, self.bits(4)? + 4);
        if symbols > 286 || distances > 30 {
            return Err(End::Invalid);
        }
        let mut lengths = vec![0; 19];
        for index in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].into_iter().take(count) {
            lengths[index] = self.bits(3)?;
        }
        let code = Code::new(lengths);
        if code.left != 0 {
            return Err(End::Invalid);
        }
        let mut lengths = Vec::new();
        while lengths.len() < symbols + distances {
            let symbol = self.symbol(&code)?;
            let (times, length) = match symbol {
                16 => (3 + self.bits(2)?, *lengths.last().ok_or(End::Invalid)?),
                17 => (3 + self.bits(3)?, 0),
                18 => (11 + self.bits(7)?, 0),
                length => (1, length),
            };
            lengths.extend(std::iter::repeat_n(length, times));
        }
        if lengths.len() > symbols + distances || lengths[256] == 0 {
            return Err(End::Invalid);
        }
        let distances = Code::new(lengths.split_off(symbols));
        let symbols = Code::new(lengths);
        if !symbols.is_usable() || !distances.is_usable() {
            return Err(End::Invalid);
        }
        Ok((symbols, distances))
    }

    fn symbol(&mut self, code: &Code) -> Result<usize, End> {
        let mut word = 0;
        for length in 1..=code.longest() {
            word = word << 1 | self.bits(1)?;
            if let Some(symbol) = code.symbol(word, length) {
                return Ok(symbol);
            }
        }
        Err(End::Invalid)
    }

    fn bits(&mut self, count: usize) -> Result<usize, End> {
        let mut bits = 0;
        for index in 0..count {
            let byte = self.bytes.get(self.bit / 8).ok_or(End::CutShort)?;
            bits |= usize::from(byte >> (self.bit % 8) & 1) << index;
            self.bit += 1;
        }
        Ok(bits)
    }

    fn align(&mut self) {
        self.bit = self.bit.next_multiple_of(8);
    }

    fn push(&mut self, byte: u8) -> Result<(), End> {
        self.data.push(byte);
        if self.data.len() > self.bytes_max { Err(End::TooMuch) } else { Ok(()) }
    }
}

/// A Huffman code (§3.2.2).
struct Code {
    /// The symbols in the order of their code words, by length.
    by_length: [Vec<usize>; 16],
    /// The first code word of each length.
    first: [usize; 16],
    /// How many words of 15 bits are left over; negative where there are too few.
    left: i32,
}

impl Code {
    fn new(lengths: Vec<usize>) -> Code {
        let mut by_length: [Vec<usize>; 16] = Default::default();
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            by_length[*length].push(symbol);
        }
        let (mut first, mut word, mut left) = ([0; 16], 0, 1 << 15);
        for length in 1..16 {
            word = (word + by_length[length - 1].len()) << 1;
            first[length] = word;
            left -= (by_length[length].len() << (15 - length)) as i32;
        }
        Code { by_length, first, left }
    }

    fn symbol(&self, word: usize, length: usize) -> Option<usize> {
        self.by_length[length].get(word.checked_sub(self.first[length])?).copied()
    }

    /// The length of the longest word. Where there is none, one bit shows that.
    fn longest(&self) -> usize {
        (1..16).rfind(|length| !self.by_length[*length].is_empty()).unwrap_or(1)
    }

    /// A code has to use all words, but one of a single word, or of none, may be (§3.2.7).
    fn is_usable(&self) -> bool {
        let count: usize = self.by_length.iter().map(Vec::len).sum();
        self.left == 0 || count == 0 || (count == 1 && self.by_length[1].len() == 1)
    }
}

/// Extra bits and the first length of the symbols from 257 on.
#[rustfmt::skip]
const LENGTHS: [(usize, usize); 29] = [
    (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (0, 9), (0, 10), (1, 11), (1, 13), (1, 15), (1, 17), (2, 19),
    (2, 23), (2, 27), (2, 31), (3, 35), (3, 43), (3, 51), (3, 59), (4, 67), (4, 83), (4, 99), (4, 115), (5, 131),
    (5, 163), (5, 195), (5, 227), (0, 258),
];

/// Extra bits and the first distance of each symbol.
#[rustfmt::skip]
const DISTANCES: [(usize, usize); 30] = [
    (0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 7), (2, 9), (2, 13), (3, 17), (3, 25), (4, 33), (4, 49), (5, 65),
    (5, 97), (6, 129), (6, 193), (7, 257), (7, 385), (8, 513), (8, 769), (9, 1025), (9, 1537), (10, 2049),
    (10, 3073), (11, 4097), (11, 6145), (12, 8193), (12, 12289), (13, 16385), (13, 24577),
];

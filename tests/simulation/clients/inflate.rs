//! DEFLATE (RFC 1951), as slow and as plain as it is specified. Unlike zlib's, it allows nothing to be referred to beyond the
//! window.

/// The message that `payload` unpacks to, with a window of `bits`. It ends as a message does, without the last four bytes
/// (RFC 7692 §7.2.2).
pub(super) fn inflate(payload: &[u8], bits: u8) -> Vec<u8> {
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    let (mut input, mut out) = (Input { bytes: &whole, at: 0 }, Vec::new());
    while input.at < 8 * whole.len() {
        assert_eq!(input.take(1), 0, "a block that says it is the last");
        match input.take(2) {
            0 => input.stored(&mut out),
            1 => {
                let lengths: Vec<u8> = (0..288).map(fixed_length).collect();
                input.compressed(&Code::new(&lengths), &Code::new(&[5; 30]), bits, &mut out);
            }
            2 => {
                let (literals, distances) = input.codes();
                input.compressed(&literals, &distances, bits, &mut out);
            }
            _ => panic!("a block of the reserved type"),
        }
    }
    out
}

/// §3.2.6.
fn fixed_length(symbol: u32) -> u8 {
    match symbol {
        0..144 | 280.. => 8,
        144..256 => 9,
        256..280 => 7,
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Input<'_> {
    /// The next bits, the least significant first.
    fn take(&mut self, count: usize) -> usize {
        let bit = |at: usize| usize::from(self.bytes[at / 8] >> (at % 8) & 1);
        let value = (0..count).map(|index| bit(self.at + index) << index).sum();
        self.at += count;
        value
    }

    /// §3.2.4.
    fn stored(&mut self, out: &mut Vec<u8>) {
        self.at = self.at.next_multiple_of(8);
        let (length, complement) = (self.take(16), self.take(16));
        assert_eq!(length, complement ^ 0xffff, "the length of a stored block");
        out.extend_from_slice(&self.bytes[self.at / 8..][..length]);
        self.at += 8 * length;
    }

    /// The codes for literals and lengths, and for distances (§3.2.7).
    fn codes(&mut self) -> (Code, Code) {
        let (literals, distances, count) = (257 + self.take(5), 1 + self.take(5), 4 + self.take(4));
        let mut lengths = [0; 19];
        for place in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].into_iter().take(count) {
            lengths[place] = self.take(3) as u8;
        }
        let code = Code::new(&lengths);
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match code.next(self) {
                16 => (*lengths.last().expect("a length to repeat"), 3 + self.take(2)),
                17 => (0, 3 + self.take(3)),
                18 => (0, 11 + self.take(7)),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(length, times));
        }
        assert_eq!(lengths.len(), literals + distances, "one length too many");
        (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
    }

    /// §3.2.5.
    fn compressed(&mut self, literals: &Code, distances: &Code, bits: u8, out: &mut Vec<u8>) {
        loop {
            let symbol = literals.next(self);
            let length = match symbol {
                0..256 => {
                    out.push(symbol as u8);
                    continue;
                }
                256 => return,
                257..265 => symbol - 254,
                265..285 => {
                    let extra = (symbol - 261) / 4;
                    ((4 + (symbol - 261) % 4) << extra) + 3 + self.take(extra)
                }
                285 => 258,
                _ => panic!("length symbol {symbol}"),
            };
            let distance = match distances.next(self) {
                symbol @ 0..4 => symbol + 1,
                symbol => {
                    let extra = symbol / 2 - 1;
                    ((2 + symbol % 2) << extra) + 1 + self.take(extra)
                }
            };
            assert!(distance <= 1 << bits && distance <= out.len(), "{distance} back with a window of {bits} bits");
            for _ in 0..length {
                out.push(out[out.len() - distance]);
            }
        }
    }
}

/// A Huffman code (§3.2.2).
struct Code {
    /// How many symbols have a code of each length.
    counts: [usize; 16],
    /// In the order of their codes.
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Code {
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|symbol| lengths[*symbol] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        let count = |length: usize| lengths.iter().filter(|known| usize::from(**known) == length).count();
        Code { counts: std::array::from_fn(|length| if length == 0 { 0 } else { count(length) }), symbols }
    }

    fn next(&self, input: &mut Input) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= input.take(1);
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("a code that stands for nothing");
    }
}

//! What a message of the bench says: who sent it, the how manieth it is, and when; with a check on every byte.
//!
//! ```text
//! ~  publisher  sequence  time in µs  check  filler
//! 1      2          5          6        2    up to --size
//! ```
//!
//! It is text of letters, digits, hyphens and underscores behind a tilde, so that it comes through a text message, a
//! line of an event stream and a string of JSON as it is, and can be found in whatever a server wraps around it.

/// The least that a message can be, in bytes.
pub(super) const HEADER_BYTES: usize = 16;

/// Sender and number of a message, and when it was sent, or was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Below 4,096.
    pub(super) publisher: u16,
    /// Below 2³⁰.
    pub(super) sequence: u32,
    /// Below 2³⁶, which is 19 hours.
    pub(super) time_us: u64,
}

/// Writes and reads payloads of one size.
pub(super) struct Payloads {
    bytes: usize,
    /// What fills payloads up. Where it is taken from depends on the number of the message.
    filler: Vec<u8>,
}

impl Payloads {
    pub(super) fn new(bytes: usize) -> Payloads {
        let digit = |index: usize| DIGITS[(index * 7 + index / 64) % DIGITS.len()];
        Payloads { bytes, filler: (0..bytes + DIGITS.len()).map(digit).collect() }
    }

    /// The size of each payload.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a payload.
    pub(super) fn push(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let mut header = [MARK; HEADER_BYTES];
        put(&mut header[1..3], u64::from(stamp.publisher));
        put(&mut header[3..8], u64::from(stamp.sequence));
        put(&mut header[8..14], stamp.time_us);
        let sums = sums(&header[1..14]).unwrap_or_default();
        put(&mut header[14..], sums);
        out.extend_from_slice(&header);
        out.extend_from_slice(self.filler_of(stamp.sequence));
    }

    /// Finds the next payload in what a server has sent: what it says, `None` if it is corrupted, and what comes after
    /// it.
    pub(super) fn find<'a>(&self, bytes: &'a [u8]) -> Option<(Option<Stamp>, &'a [u8])> {
        let found = &bytes[memchr::memchr(MARK, bytes)?..];
        match found.get(..self.bytes) {
            Some(payload) => Some((self.read(payload), &found[self.bytes..])),
            None => Some((None, &[])),
        }
    }

    fn read(&self, payload: &[u8]) -> Option<Stamp> {
        let (header, filler) = payload.split_at(HEADER_BYTES);
        if sums(&header[1..14])? != value(&header[14..])? {
            return None;
        }
        let (publisher, sequence) = (value(&header[1..3])? as u16, value(&header[3..8])? as u32);
        let stamp = Stamp { publisher, sequence, time_us: value(&header[8..14])? };
        (filler == self.filler_of(sequence)).then_some(stamp)
    }

    fn filler_of(&self, sequence: u32) -> &[u8] {
        let start = sequence as usize % DIGITS.len();
        &self.filler[start..start + self.bytes - HEADER_BYTES]
    }
}

/// Writes a number with six bits a digit, the most significant first.
fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value % 64) as usize];
        value /= 64;
    }
}

fn value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| Some((value << 6) | digit_value(*digit)?))
}

/// Two digits that change with every change of one byte, and with almost every other (Fletcher's check).
fn sums(digits: &[u8]) -> Option<u64> {
    let (first, second) = digits.iter().try_fold((1, 0), |(first, second), digit| {
        let first = first + digit_value(*digit)?;
        Some((first, second + first))
    })?;
    Some(((second % 64) << 6) | (first % 64))
}

fn digit_value(digit: u8) -> Option<u64> {
    Some(u64::from(VALUES[usize::from(digit)])).filter(|value| *value < 64)
}

const MARK: u8 = b'~';

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { publisher: 4095, sequence: (1 << 30) - 7, time_us: (1 << 36) - 1 };

    fn payload(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Payloads::new(bytes).push(STAMP, &mut out);
        assert_eq!(out.len(), bytes);
        out
    }

    #[test]
    fn a_payload_is_found_in_what_is_wrapped_around_it() {
        for bytes in [16, 17, 200, 70_000] {
            let payload = String::from_utf8(payload(bytes)).unwrap();
            let json = serde_json::json!({ "data": payload }).to_string();
            assert!(json.contains(&payload), "it is not escaped");
            let (stamp, rest) = Payloads::new(bytes).find(json.as_bytes()).unwrap();
            assert_eq!((stamp, rest), (Some(STAMP), &b"\"}"[..]));
            assert!(Payloads::new(bytes).find(rest).is_none());
        }
    }

    #[test]
    fn every_change_of_a_byte_is_noticed() {
        let (payloads, whole) = (Payloads::new(40), payload(40));
        for at in 0..whole.len() {
            for change in 1..=255 {
                let mut changed = whole.clone();
                changed[at] ^= change;
                assert!(!matches!(payloads.find(&changed), Some((Some(_), _))), "byte {at} ^ {change}");
            }
        }
        assert!(matches!(payloads.find(&whole[..39]), Some((None, []))), "cut off");
    }
}

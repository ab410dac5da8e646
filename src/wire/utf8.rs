//! UTF-8 that arrives in pieces: valid so far, or wrong at the first byte that cannot be right.

use super::close::{CloseCode, Violation};

const NOT_UTF8: Violation = Violation { code: CloseCode::INVALID_PAYLOAD, detail: "text must be UTF-8" };

/// Checks a text that is all there. Fails with 1007.
pub fn check(text: &[u8]) -> Result<(), Violation> {
    std::str::from_utf8(text).map(|_| ()).map_err(|_| NOT_UTF8)
}

/// A check of one text (RFC 6455 §8.1), however its bytes are split. Holds four bytes and allocates nothing.
///
/// The pieces themselves go to the standard library's fast check; only a character that is cut by the end
/// of a piece is carried over to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8 {
    /// The bytes of a character that has begun and is right so far.
    carried: [u8; 3],
    /// How many of them there are.
    count: u8,
}

impl Utf8 {
    /// Checks the next piece. Fails with 1007 as soon as no continuation could make the text right; a character that
    /// the piece cuts is not an error.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while self.count > 0
            && let [byte, rest @ ..] = bytes
        {
            self.push_carried(*byte)?;
            bytes = rest;
        }
        self.carry(bytes)
    }

    /// Says whether the text may end here: fails with 1007 inside a character.
    pub fn complete(&self) -> Result<(), Violation> {
        if self.count == 0 { Ok(()) } else { Err(NOT_UTF8) }
    }

    /// Checks one more byte of the character that was carried over.
    fn push_carried(&mut self, byte: u8) -> Result<(), Violation> {
        let [first, second, third] = self.carried;
        let mut character = [first, second, third, 0];
        let count = usize::from(self.count);
        character[count] = byte;
        self.count = 0;
        self.carry(&character[..=count])
    }

    /// Checks `bytes`, which begin a character, and carries over the character that they cut.
    ///
    /// At most three bytes: four that begin a character are the whole of it or an error.
    fn carry(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let Err(error) = std::str::from_utf8(bytes) else { return Ok(()) };
        // No length means that the bytes ended too early and were right until then.
        if error.error_len().is_some() {
            return Err(NOT_UTF8);
        }
        let cut = &bytes[error.valid_up_to()..];
        self.carried[..cut.len()].copy_from_slice(cut);
        self.count = cut.len() as u8;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::RangeInclusive;

    /// The well-formed byte sequences: first byte, second byte, length (Unicode, table 3-7).
    const WELL_FORMED: [(RangeInclusive<u8>, RangeInclusive<u8>, usize); 9] = [
        (0x00..=0x7f, 0x80..=0xbf, 1),
        (0xc2..=0xdf, 0x80..=0xbf, 2),
        (0xe0..=0xe0, 0xa0..=0xbf, 3),
        (0xe1..=0xec, 0x80..=0xbf, 3),
        (0xed..=0xed, 0x80..=0x9f, 3),
        (0xee..=0xef, 0x80..=0xbf, 3),
        (0xf0..=0xf0, 0x90..=0xbf, 4),
        (0xf1..=0xf3, 0x80..=0xbf, 4),
        (0xf4..=0xf4, 0x80..=0x8f, 4),
    ];

    /// Every byte at which a range of the table begins or ends, and its neighbours.
    const TELLING: [u8; 22] = [
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xef,
        0xf0, 0xf3, 0xf4, 0xf5,
    ];

    /// How many bytes pass before one cannot be right, and whether a text may end after them: by the table.
    fn by_table(bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(first) = bytes.get(at) {
            let Some((_, second, length)) = WELL_FORMED.iter().find(|(range, ..)| range.contains(first)) else {
                return (at, true);
            };
            for i in 1..*length {
                let range = if i == 1 { second } else { &(0x80..=0xbf) };
                match bytes.get(at + i) {
                    Some(byte) if range.contains(byte) => {}
                    _ => return (at + i, false),
                }
            }
            at += length;
        }
        (at, true)
    }

    /// The same, by the validator, which gets one byte at a time.
    fn by_bytes(bytes: &[u8]) -> (usize, bool) {
        let mut utf8 = Utf8::default();
        let passed = bytes.iter().take_while(|byte| {
            let mut next = utf8;
            let right = next.push(&[**byte]).is_ok();
            utf8 = if right { next } else { utf8 };
            right
        });
        (passed.count(), utf8.complete().is_ok())
    }

    #[test]
    fn it_fails_at_the_first_byte_that_cannot_be_right() {
        for index in 0..TELLING.len().pow(4) {
            let bytes = [0, 1, 2, 3].map(|digit| TELLING[index / TELLING.len().pow(digit) % TELLING.len()]);
            assert_eq!(by_bytes(&bytes), by_table(&bytes), "{bytes:02x?}");
        }
    }

    #[test]
    fn the_split_makes_no_difference() {
        let texts: [&[u8]; 5] = [
            "κόσμε, tschüß, 😀€é.".as_bytes(),
            b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80",
            b"\xed\xa0\x80",
            b"ab\xf0\x9f\x98",
            b"",
        ];
        for text in texts {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut utf8 = Utf8::default();
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let valid = pieces.iter().all(|piece| utf8.push(piece).is_ok()) && utf8.complete().is_ok();
                    assert_eq!(valid, std::str::from_utf8(text).is_ok(), "{text:02x?} at {first} and {second}");
                }
            }
        }
    }
}

//! Masking: the XOR that every payload from a client goes through (RFC 6455 §5.3).
//!
//! A page must not be able to choose the bytes that its browser puts on the wire, or it could make proxies in between
//! take them for HTTP and cache what it likes. So each frame comes with a fresh random key, and byte `i` of the
//! payload is XORed with byte `i % 4` of the key. The same step takes the mask off again.

/// Puts the mask on or takes it off, in place. Returns whether all of `bytes` are ASCII then, which is seen in passing:
/// nearly every text is, and need not be checked for UTF-8 in a second pass.
///
/// `offset` is how many bytes of the same payload came before `bytes`: with it a payload can be unmasked in pieces.
pub fn unmask(bytes: &mut [u8], key: [u8; 4], offset: usize) -> bool {
    // Eight bytes are two turns of the key, so every word of the payload meets the same word of the key. The compiler
    // makes vector instructions of this loop; one over bytes with `i % 4` would stay a loop over bytes.
    let key = u64::from(u32::from_le_bytes(key).rotate_right(offset as u32 % 4 * 8));
    let word = key << 32 | key;
    let (words, rest) = bytes.as_chunks_mut();
    let mut seen = 0;
    for bytes in words {
        let unmasked = u64::from_le_bytes(*bytes) ^ word;
        seen |= unmasked;
        *bytes = unmasked.to_le_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_le_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & NOT_ASCII == 0
}

/// The highest bit of every byte.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in RFC 6455 §5.3, to the letter.
    fn by_bytes(bytes: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[(offset + i) % 4];
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_unmasked() {
        // RFC 6455 §5.7: a single-frame masked text message.
        let mut bytes = *b"\x7f\x9f\x4d\x51\x58";
        unmask(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn words_equal_bytes_at_every_alignment_length_and_offset() {
        let source: Vec<u8> = (0..128u32).map(|i| (i * i * 31 + 7) as u8).collect();
        let key = [0x1d, 0x00, 0xff, 0x82];
        for start in 0..16 {
            for end in start..source.len() {
                for offset in [0, 1, 2, 3, 4, 5, 127, 1 << 20, usize::MAX - 200] {
                    let (mut words, mut bytes) = (source.clone(), source.clone());
                    let ascii = unmask(&mut words[start..end], key, offset);
                    by_bytes(&mut bytes[start..end], key, offset);
                    assert_eq!(words, bytes, "{start}..{end} at {offset}");
                    assert_eq!(ascii, bytes[start..end].is_ascii(), "{start}..{end} at {offset}");
                }
            }
        }
    }

    #[test]
    fn one_byte_that_is_not_ascii_is_seen_wherever_it_is() {
        let key = [0x81, 0x02, 0xf3, 0x44];
        for length in 0..40 {
            let mut masked = vec![b'a'; length];
            assert!(masked.is_ascii() && unmask(&mut masked.clone(), [0; 4], 0));
            unmask(&mut masked, key, 0);
            assert!(unmask(&mut masked.clone(), key, 0), "{length} of ASCII");
            for at in 0..length {
                let mut one = masked.clone();
                one[at] ^= 0x80;
                assert!(!unmask(&mut one, key, 0), "{at} of {length}");
            }
        }
    }

    #[test]
    fn a_payload_can_be_unmasked_in_two_pieces() {
        let source: Vec<u8> = (0..50).collect();
        let mut whole = source.clone();
        unmask(&mut whole, [9, 8, 7, 6], 0);
        for split in 0..=source.len() {
            let mut pieces = source.clone();
            let (first, second) = pieces.split_at_mut(split);
            unmask(first, [9, 8, 7, 6], 0);
            unmask(second, [9, 8, 7, 6], split);
            assert_eq!(pieces, whole, "{split}");
        }
    }
}

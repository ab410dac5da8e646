//! Base64 (RFC 4648), six bits at a time.

/// §4.
pub const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// §5.
pub const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Without padding.
pub fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().chain(&[0, 0]).take(3).fold(0, |word, byte| word << 8 | usize::from(*byte));
        for sextet in 0..=three.len() {
            text.push(char::from(alphabet[word >> (18 - 6 * sextet) & 63]));
        }
    }
    text
}

/// With the padding that belongs to it.
pub fn pad(mut text: String) -> String {
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Without padding. Bits that belong to no byte must be zero (§3.5), so there is one text for any bytes.
pub fn decode(text: &str, alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0, 0);
    for digit in text.bytes() {
        word = word << 6 | alphabet.iter().position(|known| *known == digit)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    (encode(&bytes, alphabet) == text).then_some(bytes)
}

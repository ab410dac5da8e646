//! HMAC (RFC 2104) with SHA-256 (FIPS 180-4), a word at a time.

/// The code of a message.
pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = if key.len() > 64 { sha256(key).to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let padded = |pad: u8| Vec::from_iter(block.iter().map(|byte| byte ^ pad));
    let inner = sha256(&[&padded(0x36), message].concat());
    sha256(&[&padded(0x5c), &inner[..]].concat())
}

/// §6.2.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((8 * message.len() as u64).to_be_bytes());
    let constants = roots(64, 3.0);
    let mut hash = roots(8, 2.0);
    for block in padded.chunks(64) {
        let rounds = compress(&hash, &schedule(block), &constants);
        hash.iter_mut().zip(rounds).for_each(|(word, new)| *word = word.wrapping_add(new));
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(hash.iter().flat_map(|word| word.to_be_bytes())).for_each(|(byte, new)| *byte = new);
    digest
}

fn schedule(block: &[u8]) -> Vec<u32> {
    let mut words =
        Vec::from_iter(block.chunks(4).map(|four| four.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))));
    for t in 16..64 {
        let (near, far): (u32, u32) = (words[t - 2], words[t - 15]);
        let near = near.rotate_right(17) ^ near.rotate_right(19) ^ near >> 10;
        let far = far.rotate_right(7) ^ far.rotate_right(18) ^ far >> 3;
        words.push(near.wrapping_add(words[t - 7]).wrapping_add(far).wrapping_add(words[t - 16]));
    }
    words
}

fn compress(hash: &[u32], words: &[u32], constants: &[u32]) -> [u32; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *hash else { unreachable!("eight words") };
    for (word, constant) in words.iter().zip(constants) {
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let first = h.wrapping_add(sum).wrapping_add(e & f ^ !e & g).wrapping_add(*constant).wrapping_add(*word);
        let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = sum.wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(first), c, b, a, first.wrapping_add(second));
    }
    [a, b, c, d, e, f, g, h]
}

/// §4.2.2 and §5.3.3: the first 32 bits of the fractions of roots of the first primes.
fn roots(count: usize, root: f64) -> Vec<u32> {
    let primes = (2_u32..).filter(|number| (2..*number).all(|smaller| number % smaller > 0));
    primes.take(count).map(|prime| (f64::from(prime).powf(1.0 / root).fract() * 4_294_967_296.0) as u32).collect()
}

//! Frame headers: decoding agrees with the model at every length, encoding gives back the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::frame::{self, HEADER_BYTES_MAX, Header, Opcode};
use redpoll::wire::mask::unmask;
use redpoll_fuzz::frames::{self, End};

fuzz_target!(|data: &[u8]| {
    decode(data);
    encode(data);
});

/// Whatever the bytes are.
fn decode(bytes: &[u8]) {
    for end in 0..=bytes.len().min(HEADER_BYTES_MAX + 2) {
        match (Header::decode(&bytes[..end]), frames::header(&bytes[..end])) {
            (Ok(None), Err((End::OfBytes, _))) => {}
            (Err(violation), Err((End::Violation(code), _))) => {
                assert_eq!(violation.code.value(), code);
                return;
            }
            (Ok(Some((header, header_bytes))), Ok((expected, length))) => {
                assert_eq!((in_words_of_the_model(&header), header_bytes), (expected, length));
                assert_eq!(header.header_bytes(), header_bytes);
                let mut encoded = Vec::new();
                header.encode(&mut encoded);
                assert_eq!(encoded, bytes[..header_bytes]);
            }
            (decoded, expected) => panic!("{decoded:?} instead of {expected:?}"),
        }
    }
}

fn in_words_of_the_model(header: &Header) -> frames::Header {
    let Header { fin, rsv1, opcode, masking_key, payload_bytes } = *header;
    frames::Header { fin, rsv1, opcode: opcode as u8, masking_key, payload_bytes }
}

/// A whole frame of whatever payload, and its header with whatever length.
fn encode(data: &[u8]) {
    let [kind, a, b, c, d, payload @ ..] = data else { return };
    let opcode = [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Pong, Opcode::Close][usize::from(kind % 5)];
    let payload = if opcode.is_control() { &payload[..payload.len().min(frame::CONTROL_BYTES_MAX)] } else { payload };
    let key = [*a, *b, *c, *d];
    let (mut plain, mut masked) = (Vec::new(), Vec::new());
    frame::encode(opcode, payload, &mut plain);
    frame::encode_masked(opcode, payload, key, &mut masked);
    for (frame, masking_key) in [(&plain, None), (&masked, Some(key))] {
        let expected = Header { masking_key, ..Header::new(opcode, payload.len() as u64) };
        let (header, header_bytes) = Header::decode(frame).expect("what was encoded is right").expect("and complete");
        assert_eq!(header, expected);
        let mut unmasked = frame[header_bytes..].to_vec();
        let split = usize::from(kind / 5) % (unmasked.len() + 1);
        let (first, second) = unmasked.split_at_mut(split);
        unmask(first, header.masking_key.unwrap_or_default(), 0);
        unmask(second, header.masking_key.unwrap_or_default(), split);
        assert_eq!(unmasked, payload);
    }
    announce(opcode, data);
}

/// A header that announces any length a frame may have.
fn announce(opcode: Opcode, data: &[u8]) {
    let Some(bytes) = data.last_chunk().map(|last| u64::from_be_bytes(*last)) else { return };
    let payload_bytes = if opcode.is_control() { bytes % 126 } else { bytes >> 1 >> (bytes % 64) };
    let (fin, rsv1) = (opcode.is_control() || bytes & 1 == 0, !opcode.is_control() && bytes & 2 == 0);
    let header = Header { fin, rsv1, opcode, masking_key: None, payload_bytes };
    let mut encoded = Vec::new();
    header.encode(&mut encoded);
    assert_eq!(encoded.len(), header.header_bytes());
    assert_eq!(Header::decode(&encoded), Ok(Some((header, encoded.len()))));
}

//! What must hold for any message, however it is compressed, fragmented and cut on its way.
#![cfg(feature = "deflate")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use redpoll::wire::deflate::{Deflater, Inflater};
use redpoll::wire::extension::Window;
use redpoll::wire::frame::{Header, Opcode};
use redpoll::wire::mask::unmask;
use redpoll::wire::message::{Decoder, Event, Limits, Role};

/// Noise, what compresses well, and the lengths at which a header or a window becomes another.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let edges = select(vec![0usize, 1, 2, 125, 126, 127, 511, 512, 513, 32_768, 65_535, 65_536, 70_000]);
    prop_oneof![
        vec(any::<u8>(), 0..600),
        vec(0..3u8, 0..5_000),
        (edges, any::<u8>()).prop_map(|(length, step)| (0..length).map(|at| at as u8 & step).collect()),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    select(vec![Window::Bits15, Window::Bits9])
}

/// A client's frames: `payload` cut at `cuts`, each with a mask of its own and a ping behind it.
fn fragments(payload: &[u8], deflated: bool, cuts: &[Index], key: [u8; 4]) -> Vec<u8> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    ends.push(payload.len());
    ends.sort_unstable();
    let (mut bytes, mut start) = (Vec::new(), 0);
    for (index, end) in ends.iter().enumerate() {
        let opcode = if index == 0 { Opcode::Binary } else { Opcode::Continuation };
        let (fin, rsv1) = (index + 1 == ends.len(), deflated && index == 0);
        push(&mut bytes, Header { fin, rsv1, ..Header::new(opcode, 0) }, &payload[start..*end], key);
        push(&mut bytes, Header::new(Opcode::Ping, 0), &[index as u8], key.map(|byte| !byte));
        start = *end;
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, header: Header, payload: &[u8], key: [u8; 4]) {
    Header { masking_key: Some(key), payload_bytes: payload.len() as u64, ..header }.encode(bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    unmask(&mut bytes[start..], key, 0);
}

/// What a server makes of the bytes when they arrive in such pieces: the one message, inflated, and how many pings.
fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<u8>, usize) {
    let limits = Limits { role: Role::Server, message_bytes_max: 1 << 20, deflate: true };
    let (mut decoder, mut message, mut pings) = (Decoder::default(), None, 0);
    let (mut rest, mut lengths) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(*lengths.next().expect("it is a cycle")));
        let (mut piece, mut at) = (piece.to_vec(), 0);
        loop {
            let (used, event) = decoder.decode(&mut piece[at..], &limits).expect("nothing is wrong with it");
            at += used;
            match event {
                Some(Event::Message { text: false, deflated, data }) if message.is_none() => {
                    let mut whole = Vec::new();
                    match deflated {
                        true => Inflater::default().inflate(data, 1 << 20, &mut whole).expect("it is DEFLATE"),
                        false => whole.extend_from_slice(data),
                    }
                    message = Some(whole);
                }
                Some(Event::Ping(data)) => {
                    assert_eq!(data, [pings as u8]);
                    pings += 1;
                }
                Some(other) => panic!("{other:?} was not sent"),
                None => break,
            }
        }
        rest = more;
    }
    assert_eq!(decoder.held_bytes(), 0, "nothing is left of it");
    (message.expect("the message has come"), pings)
}

proptest! {
    // What fails is shown, and belongs into a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_arrives_as_it_was_sent_however_it_is_fragmented_and_cut(
        payload in payload(), cuts in vec(any::<Index>(), 0..6), pieces in vec(1..3_000usize, 1..8), key: [u8; 4],
    ) {
        let sent = fragments(&payload, false, &cuts, key);
        prop_assert_eq!(decode(&sent, &pieces), (payload, cuts.len() + 1));
    }

    #[test]
    fn so_does_a_compressed_one(
        payload in payload(), window in window(), cuts in vec(any::<Index>(), 0..6),
        pieces in vec(1..3_000usize, 1..8), key: [u8; 4],
    ) {
        let mut compressed = Vec::new();
        if Deflater::new(0).deflate(&payload, window, &mut compressed) {
            let sent = fragments(&compressed, true, &cuts, key);
            prop_assert_eq!(decode(&sent, &pieces), (payload, cuts.len() + 1));
        }
    }

    #[test]
    fn one_compressor_is_as_good_as_a_new_one_for_each_message(payloads in vec((payload(), window()), 1..6)) {
        let (mut deflater, mut inflater) = (Deflater::new(0), Inflater::default());
        for (payload, window) in payloads {
            let (mut ours, mut new) = (Vec::new(), Vec::new());
            let smaller = deflater.deflate(&payload, window, &mut ours);
            prop_assert_eq!(smaller, Deflater::new(0).deflate(&payload, window, &mut new));
            prop_assert_eq!(&ours, &new);
            if smaller {
                let mut back = Vec::new();
                prop_assert_eq!(inflater.inflate(&ours, payload.len(), &mut back), Ok(()));
                prop_assert_eq!(back, payload);
            }
        }
    }

    #[test]
    fn what_is_no_compressed_message_is_an_error_and_no_more_than_the_limit(
        noise in vec(any::<u8>(), 0..400), limit in 0..2_000usize,
    ) {
        let mut out = Vec::new();
        if Inflater::default().inflate(&noise, limit, &mut out).is_ok() {
            prop_assert!(out.len() <= limit);
        }
        prop_assert!(out.capacity() <= limit + 1);
    }
}

//! The decoder of messages: whatever the bytes and however they arrive, it says what the model says, and as soon.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::message::{Decoder, Event, Limits, Role};
use redpoll_fuzz::frames::{Rules, Said, Story, story};
use redpoll_fuzz::input::Input;

/// The limits at which something changes, and none.
const MESSAGE_BYTES_MAX: [usize; 8] = [0, 1, 125, 126, 300, 1000, 65536, usize::MAX];

/// What a decoder may hold beside a message: itself, and a control frame that came in between.
const BESIDE_BYTES_MAX: u128 = 384;

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let limits = Limits {
        role: if input.flags & 1 == 0 { Role::Server } else { Role::Client },
        deflate: input.flags & 2 != 0,
        message_bytes_max: MESSAGE_BYTES_MAX[usize::from(input.flags >> 2) % MESSAGE_BYTES_MAX.len()],
    };
    let Limits { deflate, message_bytes_max, .. } = limits;
    let rules = Rules { masked: limits.role == Role::Server, deflate, message_bytes_max };
    let story = story(input.bytes, &rules);
    let held_bytes_max = rules.payload_bytes_max(deflate, input.bytes.len()) + BESIDE_BYTES_MAX;
    for ends in [vec![input.bytes.len()], Vec::from_iter(1..=input.bytes.len()), input.ends()] {
        listen(input.bytes, &ends, &limits, &story, held_bytes_max);
    }
});

/// Lets a decoder have the bytes in pieces that end at `ends`. With each piece it must have said what the model has
/// said by then.
fn listen(bytes: &[u8], ends: &[usize], limits: &Limits, story: &Story, held_bytes_max: u128) {
    let (mut decoder, mut heard, mut at) = (Decoder::default(), 0, 0);
    for end in ends {
        let expected = &story.said[heard..story.said.partition_point(|(at, _)| at <= end)];
        let said = hear(&mut decoder, &bytes[at..*end], limits);
        assert!(said.iter().eq(expected.iter().map(|(_, what)| what)), "{said:?} instead of {expected:?}, {at}..{end}");
        heard += said.len();
        at = *end;
        if let Some(Said::Close(_) | Said::Violation(_)) = said.last() {
            return;
        }
        let most = held_bytes_max.min(2 * at as u128 + BESIDE_BYTES_MAX);
        assert!(decoder.held_bytes() as u128 <= most, "{} bytes are held, {most} are enough", decoder.held_bytes());
    }
    assert_eq!(heard, story.said.len());
    assert_eq!(decoder.held_bytes() == 0, story.complete, "only what is unfinished is held");
}

/// All that one piece says.
fn hear(decoder: &mut Decoder, piece: &[u8], limits: &Limits) -> Vec<Said> {
    let (mut bytes, mut at, mut said) = (piece.to_vec(), 0, Vec::new());
    loop {
        let (used, what) = match decoder.decode(&mut bytes[at..], limits) {
            Ok((used, event)) => (used, event.map(in_words_of_the_model)),
            Err(violation) => (0, Some(Said::Violation(violation.code.value()))),
        };
        at += used;
        let Some(what) = what else { break };
        said.push(what);
        if let Some(Said::Close(_) | Said::Violation(_)) = said.last() {
            return said;
        }
    }
    assert_eq!(at, piece.len(), "without an event all bytes are used");
    said
}

fn in_words_of_the_model(event: Event) -> Said {
    match event {
        Event::Message { text, deflated, data } => Said::Message { text, deflated, data: data.to_vec() },
        Event::Ping(payload) => Said::Ping(payload.to_vec()),
        Event::Pong(payload) => Said::Pong(payload.to_vec()),
        Event::Close(close) => Said::Close(close.map(|(code, reason)| (code.value(), reason.to_owned()))),
    }
}

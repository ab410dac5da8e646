//! Compressed messages: to deflate and inflate is the identity, and whatever is inflated keeps to its limit and comes
//! to what the model comes to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::close::Violation;
use redpoll::wire::deflate::{Deflater, Inflater};
use redpoll::wire::extension::Window;
use redpoll::wire::frame::Opcode;
use redpoll::wire::message::{Decoder, Event, Limits, Role};
use redpoll_fuzz::inflate::{self, End};
use std::cell::RefCell;

/// The limits at which something changes, and none.
const MESSAGE_BYTES_MAX: [usize; 8] = [0, 1, 100, 4095, 4096, 4097, 9000, usize::MAX];

/// What is inflated without a limit is short, since a few bytes may become thousands.
const UNLIMITED_BYTES_MAX: usize = 64;

thread_local! {
    /// Used by all inputs, as by all connections of a server.
    static BOTH: RefCell<(Deflater, Inflater)> = RefCell::new((Deflater::new(0), Inflater::default()));
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, bytes)) = data.split_first() else { return };
    BOTH.with_borrow_mut(|(deflater, inflater)| {
        if flags & 1 == 0 {
            let message_bytes_max = MESSAGE_BYTES_MAX[usize::from(flags >> 1) % MESSAGE_BYTES_MAX.len()];
            let length = if message_bytes_max == usize::MAX { UNLIMITED_BYTES_MAX } else { bytes.len() };
            inflate_anything(inflater, &bytes[..length.min(bytes.len())], message_bytes_max);
        } else {
            let window = if flags & 2 == 0 { Window::Bits15 } else { Window::Bits9 };
            deflate_anything(deflater, inflater, bytes, window);
        }
    });
});

fn inflate_anything(inflater: &mut Inflater, payload: &[u8], message_bytes_max: usize) {
    let (before, mut message) = (b"before", Vec::from(b"before"));
    let inflated = inflater.inflate(payload, message_bytes_max, &mut message);
    assert!(message.starts_with(before));
    let most = message_bytes_max.saturating_add(2 * before.len());
    assert!(message.capacity() <= most, "{} bytes are taken, {most} are enough", message.capacity());
    let data = &message[before.len()..];
    let expected = inflate::inflate(payload, message_bytes_max);
    match (inflated.map_err(|Violation { code, .. }| code.value()), expected.end) {
        (Ok(()), End::Complete) => assert_eq!(data, expected.data),
        (Err(1007), End::CutShort | End::Invalid) | (Err(1009), End::TooMuch) => {}
        (inflated, end) => panic!("{inflated:?} instead of {end:?}"),
    }
}

fn deflate_anything(deflater: &mut Deflater, inflater: &mut Inflater, payload: &[u8], window: Window) {
    let mut frame = Vec::new();
    deflater.encode(Opcode::Binary, payload, Some(window), &mut frame);
    let limits = Limits { role: Role::Client, deflate: true, message_bytes_max: payload.len() };
    let frame_bytes = frame.len();
    let mut decoder = Decoder::default();
    let (used, event) = decoder.decode(&mut frame, &limits).expect("what was encoded is right");
    assert_eq!(used, frame_bytes);
    let Some(Event::Message { text: false, deflated, data }) = event else { panic!("{event:?} is no message") };
    if !deflated {
        return assert_eq!(data, payload);
    }
    assert!(data.len() < payload.len(), "only what is smaller is sent");
    let mut message = Vec::new();
    inflater.inflate(data, payload.len(), &mut message).expect("what was deflated can be inflated");
    assert_eq!(message, payload);
    let expected = inflate::inflate(data, payload.len());
    assert_eq!((expected.data, expected.end), (message, End::Complete));
    assert!(expected.distance_max <= 1 << window.bits(), "{} bytes back", expected.distance_max);
}

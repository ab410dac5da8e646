//! Contents, above all in chunks: however the bytes arrive, each byte of the content is there as soon as it can be, and
//! the end, or what is wrong, is known as soon as in the model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::content::{ContentDecoder, Framing, OVERHEAD_BYTES_MAX};
use redpoll_fuzz::contents::{Content, End, Rules, of_chunks, of_length};
use redpoll_fuzz::input::Input;

const CONTENT_BYTES_MAX: [Option<usize>; 4] = [None, Some(0), Some(10), Some(300)];

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let content_bytes_max = CONTENT_BYTES_MAX[usize::from(input.flags & 3)];
    let rules = Rules { content_bytes_max, overhead_bytes_max: OVERHEAD_BYTES_MAX };
    let (mut bytes, rest) = (input.bytes.to_vec(), input.flags >> 4);
    let (framing, content) = match input.flags >> 2 & 3 {
        0 => {
            let Some((length, after)) = input.bytes.split_first_chunk() else { return };
            bytes = after.to_vec();
            let length = u64::from_be_bytes(*length) >> (4 * rest);
            (Framing::Length(length), of_length(&bytes, length, &rules))
        }
        1 => {
            // Little is left of what may be thrown away.
            let extension = "x".repeat(OVERHEAD_BYTES_MAX - 1 - usize::from(rest));
            bytes.splice(0..0, format!("0001;{extension}\r\n.\r\n").into_bytes());
            (Framing::Chunked, of_chunks(&bytes, &rules))
        }
        _ => (Framing::Chunked, of_chunks(&bytes, &rules)),
    };
    for ends in [vec![bytes.len()], Vec::from_iter(0..=bytes.len()), input.ends()] {
        let decoder = ContentDecoder::new(framing);
        let ends = ends.into_iter().filter(|end| *end < bytes.len()).chain([bytes.len()]);
        listen(decoder, &bytes, ends, &content, content_bytes_max.unwrap_or(usize::MAX));
    }
});

/// Lets a decoder have the bytes in pieces that end at `ends`.
fn listen(
    mut decoder: ContentDecoder,
    bytes: &[u8],
    ends: impl Iterator<Item = usize>,
    content: &Content,
    content_bytes_max: usize,
) {
    let (mut received, mut at) = (Vec::new(), 0);
    for end in ends {
        let decoded = decoder.decode(&bytes[at..end], &mut received, content_bytes_max);
        let expected = &content.bytes[..content.bytes.partition_point(|(at, _)| *at <= end)];
        assert!(received.iter().eq(expected.iter().map(|(_, byte)| byte)), "{received:?} instead of {expected:?}");
        match (decoded.map(|(used, complete)| (at + used, complete)), &content.end) {
            (Ok((used, true)), End::Complete(known)) if used == *known => return,
            (Err(status), End::Refused(known, code)) if *known <= end && status.code() == *code => return,
            (Ok((used, false)), End::Complete(known) | End::Refused(known, _)) if used == end && *known > end => {}
            (Ok((used, false)), End::OfBytes) if used == end => {}
            (decoded, expected) => panic!("{decoded:?} with {end} bytes instead of {expected:?}"),
        }
        at = end;
    }
}

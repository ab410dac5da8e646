//! Request heads: whole, byte by byte and in any pieces they end where the model says, are refused as soon, with a
//! status that fits, or say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::content::Framing;
use redpoll::wire::head::{Head, head_length, leading_empty_lines};
use redpoll_fuzz::heads::{self, Heard, Progress};
use redpoll_fuzz::input::Input;

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    for ends in [vec![input.bytes.len()], Vec::from_iter(1..=input.bytes.len()), input.ends()] {
        listen(input.bytes, &ends);
    }
});

/// Collects pieces that end at `ends`, as a connection does.
fn listen(bytes: &[u8], ends: &[usize]) {
    let (progress, mut scanned) = (heads::progress(bytes), 0);
    for end in ends {
        match (head_length(&bytes[..*end], scanned), &progress) {
            (Ok(None), Progress::Ended(known) | Progress::NoHead(known)) if known > end => {}
            (Ok(None), Progress::Begun) => {}
            (Ok(Some(length)), Progress::Ended(known)) if known == &length => return compare(&bytes[..length]),
            (Err(status), Progress::NoHead(known)) if known <= end => return assert_eq!(status.code(), 400),
            (found, _) => panic!("{found:?} after {end} bytes, not {progress:?}"),
        }
        scanned = *end;
    }
}

/// What a whole head says.
fn compare(bytes: &[u8]) {
    let heard = heads::read(bytes);
    let head = match Head::parse(bytes) {
        Ok(head) => head,
        Err(status) => {
            let fits = heard.faults.contains(&status.code()) || heard.unsure && status.code() == 400;
            return assert!(fits, "{status}, not one of {:?}", heard.faults);
        }
    };
    assert!(heard.faults.is_empty(), "served, not refused: {:?}", heard.faults);
    assert_eq!((head.method().name(), head.is_http10()), (heard.method.as_str(), heard.http10));
    assert_eq!((head.host(), head.path(), head.query()), (&*heard.host, &*heard.path, &*heard.query));
    assert!(leading_empty_lines(bytes) < bytes.len());
    for (name, _) in heard.fields.iter().take(8) {
        assert_eq!(Vec::from_iter(head.fields(name)), heard.values(name));
        assert_eq!(head.field(name), heard.values(name).first().copied());
        for item in heard.items(name).iter().take(4) {
            assert!(head.has_token(name, item), "{name} has {item}");
        }
    }
    meaning(&head, &heard);
}

/// What follows from the fields.
fn meaning(head: &Head, heard: &Heard) {
    assert_eq!(head.keep_alive(), heard.keep_alive());
    assert_eq!(head.expects_continue().map_err(|status| status.code()), heard.expects_continue());
    match (head.framing(), heard.framing()) {
        (Ok(framing), Ok(expected)) => assert_eq!(in_words_of_the_model(framing), expected),
        (Err(status), Err(faults)) if faults.contains(&status.code()) => {}
        (framing, expected) => panic!("{framing:?} instead of {expected:?}"),
    }
    let streams = head.accepts_event_stream();
    let named = heard.items("accept").iter().any(|range| range.starts_with("text/event-stream"));
    assert!(named || !streams, "an event stream nobody has asked for");
    assert!(streams || !heard.items("accept").iter().any(|range| range == "text/event-stream"));
}

fn in_words_of_the_model(framing: Framing) -> heads::Framing {
    match framing {
        Framing::None => heads::Framing::None,
        Framing::Length(bytes) => heads::Framing::Length(bytes),
        Framing::Chunked => heads::Framing::Chunked,
    }
}

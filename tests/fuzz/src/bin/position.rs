//! Positions: they are read as by the model, alone and in rows, and what the server writes it reads again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::{Position, Since};
use redpoll_fuzz::positions;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    assert_eq!(Since::parse(&text).ok().map(positions::Since::from), positions::since(&text));
    assert_eq!(positions::Since::from(Since::of_presence(&text)), positions::presence(&text));
    let read = Position::parse(&text).ok();
    assert_eq!(read.map(|position| (position.epoch, position.offset)), positions::position(&text));
    let commas = text.matches(',').count();
    for count in [1, commas, commas + 1, commas + 2] {
        let found = Since::parse_vector(&text, count).ok();
        let found = found.map(|all| Vec::from_iter(all.into_iter().map(positions::Since::from)));
        assert_eq!(found, positions::vector(&text, count), "for {count} channels");
    }
    if let Some(read) = read {
        round_trip(read);
    }
    if let Some((epoch, rest)) = data.split_first_chunk()
        && let Some((offset, _)) = rest.split_first_chunk()
    {
        round_trip(Position { epoch: u32::from_be_bytes(*epoch), offset: u64::from_be_bytes(*offset) });
    }
});

fn round_trip(position: Position) {
    let text = position.to_string();
    assert_eq!(Position::parse(&text), Ok(position));
    assert_eq!(positions::position(&text), Some((position.epoch, position.offset)));
}

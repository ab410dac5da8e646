//! Positions: where in a channel a client is, the same on every transport.

use super::head::excerpt;
use super::status::Status;

/// A place in a channel's log: everything up to and with `offset` has been seen.
///
/// Written `EPOCH-OFFSET`, the epoch as eight hexadecimal digits and the offset in decimal. It is the `id:` of an
/// event stream, the `cursor` of a poll and the `id` of the JSON envelope. Clients pass it back and
/// may not look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which process gave the position out: offsets of another epoch say nothing here.
    pub epoch: u32,
    /// The last publication seen; 0 is before the first.
    pub offset: u64,
}

impl Position {
    /// Reads `EPOCH-OFFSET`; the epoch may be without its leading zeros. `~OFFSET` may follow, which
    /// [`Since::of_presence`] reads. Anything else is a 400 that says what is accepted.
    pub fn parse(text: &str) -> Result<Position, Status> {
        Position::parse_both(text).map(|(position, _)| position)
    }

    /// Reads a position, and the place among joins and leaves that may stand behind it.
    fn parse_both(text: &str) -> Result<(Position, Option<Position>), Status> {
        let malformed = || {
            let text = excerpt(text);
            let accepted = "EPOCH-OFFSET as the server gave it, or earliest, latest, last";
            Status::new(400).detail(format!("malformed position {text:?}: it is {accepted}"))
        };
        let (epoch, offsets) = text.split_once('-').ok_or_else(malformed)?;
        let lowercase = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if !(1..=8).contains(&epoch.len()) || !epoch.bytes().all(lowercase) {
            return Err(malformed());
        }
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| malformed())?;
        let at = |offset: &str| match offset.bytes().all(|byte| byte.is_ascii_digit()) {
            true => offset.parse().map(|offset| Position { epoch, offset }).map_err(|_| malformed()),
            false => Err(malformed()),
        };
        match offsets.split_once(PRESENCE) {
            Some((offset, of_presence)) => Ok((at(offset)?, Some(at(of_presence)?))),
            None => Ok((at(offsets)?, None)),
        }
    }
}

/// What stands between a position and the offset of an observer among joins and leaves. It needs no escaping in a
/// query (RFC 3986 §2.3), an entity tag (RFC 9110 §8.8.3) or a line of an event stream.
pub(crate) const PRESENCE: char = '~';

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.offset)
    }
}

/// Where a subscription is to begin: the `since=` of INTERFACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Only what is published from now on.
    Latest,
    /// The newest message that is kept, then what is new.
    Last,
    /// The oldest message that is kept, and on from there.
    Earliest,
    /// What comes after a position.
    After(Position),
}

impl Since {
    /// Reads one `since=` word: a keyword or a position. Anything else is a 400.
    pub fn parse(text: &str) -> Result<Since, Status> {
        Since::keyword(text).map_or_else(|| Position::parse(text).map(Since::After), Ok)
    }

    fn keyword(text: &str) -> Option<Since> {
        match text {
            "latest" => Some(Since::Latest),
            "last" => Some(Since::Last),
            "earliest" => Some(Since::Earliest),
            _ => None,
        }
    }

    /// Where presence begins for who asks for `text`, which is one channel's: after what stands behind its `~`. A word
    /// is for who begins, with what is new. A position without a place is for who comes back and cannot say where it
    /// was, since envelopes over a WebSocket do not: something may have been missed, so it is told how many are there.
    pub fn of_presence(text: &str) -> Since {
        match Position::parse_both(text) {
            Ok((_, Some(place))) => Since::After(place),
            Ok((position, None)) => Since::After(Position { offset: 0, ..position }),
            Err(_) => Since::Latest,
        }
    }

    /// Reads what `since=` says for `count` channels: a keyword for all of them, or as many positions joined by
    /// commas, in the order of the channels. Another number of them is a 400.
    pub fn parse_vector(text: &str, count: usize) -> Result<Vec<Since>, Status> {
        if let Some(keyword) = Since::keyword(text) {
            return Ok(vec![keyword; count]);
        }
        let positions: Vec<Since> =
            text.split(',').map(|part| Position::parse(part).map(Since::After)).collect::<Result<_, _>>()?;
        match positions.len() == count {
            true => Ok(positions),
            false => Err(Status::new(400).detail(format!(
                "{} positions for {count} channels: give one for each, joined by commas",
                positions.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_as_it_was_written() {
        for (epoch, offset) in [(0, 0), (0x5f3a, 42), (u32::MAX, u64::MAX)] {
            let position = Position { epoch, offset };
            assert_eq!(Position::parse(&position.to_string()), Ok(position));
        }
        assert_eq!(Position::parse("5f3a-42"), Ok(Position { epoch: 0x5f3a, offset: 42 }));
    }

    #[test]
    fn anything_but_a_position_is_refused() {
        for text in [
            "",
            "-",
            "5f3a",
            "0000005f-",
            "-7",
            "0000005F-7",
            "0000005f-+7",
            "0000005f-7 ",
            "0000005f-18446744073709551616",
            "00000005f-7",
            "0000005f-7~",
            "0000005f-~7",
            "0000005f~7",
            "0000005f-7~8~9",
            "0000005f-7~-8",
        ] {
            assert_eq!(Position::parse(text).map_err(|status| status.code()), Err(400), "{text:?}");
        }
    }

    #[test]
    fn the_place_among_joins_and_leaves_stands_behind_the_position() {
        let at = |offset| Position { epoch: 0x5f3a, offset };
        assert_eq!(Position::parse("5f3a-42~7"), Ok(at(42)));
        assert_eq!(Since::parse("5f3a-42~7"), Ok(Since::After(at(42))));
        assert_eq!(Since::of_presence("5f3a-42~7"), Since::After(at(7)));
        assert_eq!(Since::of_presence("5f3a-42"), Since::After(at(0)));
        for text in ["latest", "earliest", "", "5f3a-42~"] {
            assert_eq!(Since::of_presence(text), Since::Latest, "{text}");
        }
        assert_eq!(Since::parse_vector("5f3a-1~2,5f3a-3", 2), Ok(vec![Since::After(at(1)), Since::After(at(3))]));
    }

    #[test]
    fn a_vector_has_one_position_for_each_channel_or_a_keyword_for_all() {
        assert_eq!(Since::parse_vector("earliest", 3), Ok(vec![Since::Earliest; 3]));
        assert_eq!(Since::parse_vector("00000001-2,00000001-3", 2).map(|v| v.len()), Ok(2));
        assert!(Since::parse_vector("00000001-2", 2).is_err());
        assert!(Since::parse_vector("latest,latest", 2).is_err());
    }
}

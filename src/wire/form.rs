//! Names and values in URLs and forms: query parameters, path segments, and the names that INTERFACE restricts.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::status::Status;
use super::syntax::{excerpt, malformed};
use crate::config::{KEY_BYTES_MAX, Limit};

pub use crate::config::{CHANNEL_BYTES_MAX, CHANNELS_MAX, EVENT_BYTES_MAX, MEMBER_BYTES_MAX};

/// The value of the first parameter called `name` in a query, or in content of the type
/// `application/x-www-form-urlencoded`, decoded as [`parameters`] does it.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let begin = name.bytes().next();
    // A request is asked for a dozen names, and has few: what begins otherwise is not looked at further.
    let may_be = |first: u8| begin.is_none_or(|begin| begin == first) || is_code(first);
    let pairs = query.split('&').filter(|pair| pair.bytes().next().is_some_and(may_be));
    let found = pairs.filter_map(decode).find(|(known, _)| known == name);
    found.map(|(_, value)| value)
}

/// The parameters in their order, decoded as the WHATWG URL standard parses forms: `+` is a space, a `%` that begins no
/// escape stands for itself, and what is not UTF-8 becomes U+FFFD. Nothing is copied where nothing is encoded.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(decode)
}

/// Name and value. Most have nothing to decode.
fn decode(pair: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if pair.bytes().any(is_code) {
        return form_urlencoded::parse(pair.as_bytes()).next();
    }
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Some((name.into(), value.into()))
}

/// Whether this stands for another byte, or begins what does.
fn is_code(byte: u8) -> bool {
    matches!(byte, b'%' | b'+')
}

/// Takes the percent-encoding off one segment of a path (RFC 3986 §2.1).
///
/// # Errors
/// 400 for a `%` without two hexadecimal digits, and for what is not UTF-8 once decoded.
pub fn decode_path_segment(segment: &str) -> Result<Cow<'_, str>, Status> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !segment.split('%').skip(1).all(is_escape) {
        return Err(malformed("malformed path: a % must be followed by two hexadecimal digits (RFC 3986 §2.1)"));
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| malformed("malformed path: it must be UTF-8 once percent-decoded"))
}

/// The channels that a path segment names, joined by commas. It is split before it is decoded, so that an encoded comma
/// does not join.
///
/// # Errors
/// 400 for more than [`CHANNELS_MAX`] names, one named twice, or one that [`check_channel_name`] refuses.
pub fn channel_names(joined: &str) -> Result<Vec<String>, Status> {
    let mut names = Vec::new();
    for part in joined.split(',') {
        let name = decode_path_segment(part)?;
        check_channel_name(&name)?;
        if names.iter().any(|known| *known == name) {
            return Err(Status::new(400).detail(format!("channel {name:?} is named twice: name each once")));
        }
        if names.len() == CHANNELS_MAX {
            let detail = format!("more than {CHANNELS_MAX} channels in one request");
            return Err(Status::new(400).detail(detail).limit(Limit::RequestChannels));
        }
        names.push(name.into_owned());
    }
    Ok(names)
}

/// Refuses what is not 1 to [`CHANNEL_BYTES_MAX`] bytes of `A-Z a-z 0-9 - _ . ~ : @ ! +`: 400.
pub fn check_channel_name(name: &str) -> Result<(), Status> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@!+".contains(&byte);
    match (1..=CHANNEL_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_name_byte) {
        true => Ok(()),
        false => {
            let accepted = format!("it is 1 to {CHANNEL_BYTES_MAX} of A-Z a-z 0-9 - _ . ~ : @ ! +");
            Err(refused(name, CHANNEL_BYTES_MAX, format!("malformed channel name {:?}: {accepted}", excerpt(name))))
        }
    }
}

/// 400 for a name, which may be too long.
fn refused(name: &str, bytes_max: usize, detail: String) -> Status {
    let status = Status::new(400).detail(detail);
    if name.len() > bytes_max { status.limit(Limit::NameBytes) } else { status }
}

/// Refuses a name that a publisher may not give its event: 400. Accepted are 1 to [`EVENT_BYTES_MAX`] bytes of UTF-8
/// without control characters, except the names that mean something in the streams themselves.
pub fn check_event_name(name: &str) -> Result<(), Status> {
    if RESERVED_EVENTS.contains(&name) {
        return Err(
            Status::new(400).detail(format!("event name {name:?} is reserved, as are {}", RESERVED_EVENTS.join(", ")))
        );
    }
    check_text("event name", name, EVENT_BYTES_MAX)
}

/// Refuses a name by which nobody can be present: 400. Accepted are 1 to [`MEMBER_BYTES_MAX`] bytes of UTF-8 without
/// control characters.
pub fn check_member_name(name: &str) -> Result<(), Status> {
    check_text("name", name, MEMBER_BYTES_MAX)
}

/// Refuses what is no idempotency key: 400. Accepted are 1 to 255 bytes, whatever they are.
pub fn check_key(key: &str) -> Result<(), Status> {
    match (1..=KEY_BYTES_MAX).contains(&key.len()) {
        true => Ok(()),
        false => Err(refused(key, KEY_BYTES_MAX, format!("an idempotency key is 1 to {KEY_BYTES_MAX} bytes"))),
    }
}

fn check_text(what: &str, name: &str, bytes_max: usize) -> Result<(), Status> {
    match (1..=bytes_max).contains(&name.len()) && !name.contains(char::is_control) {
        true => Ok(()),
        false => {
            let accepted = format!("it is 1 to {bytes_max} bytes of text without control characters");
            Err(refused(name, bytes_max, format!("malformed {what} {:?}: {accepted}", excerpt(name))))
        }
    }
}

/// What the server itself says on a stream, or a browser's `EventSource` does.
const RESERVED_EVENTS: [&str; 8] = ["gap", "join", "leave", "members", "expired", "open", "error", "binary"];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, Status>) -> Result<T, u16> {
        result.map_err(|status| status.code())
    }

    #[test]
    fn the_first_parameter_of_a_name_is_decoded() {
        for (query, value) in [
            ("", None),
            ("b=1", None),
            ("a", Some("")),
            ("a=", Some("")),
            ("a=1&a=2", Some("1")),
            ("b=0&&a=1", Some("1")),
            ("%61=b+c%2Bd%3D", Some("b c+d=")),
            ("a=b=c", Some("b=c")),
            ("a=%C3%A9%0d%0A", Some("é\r\n")),
            ("a=100%", Some("100%")),
            ("a=%zz", Some("%zz")),
            ("a=%ff", Some("\u{fffd}")),
            ("+a=1&ab=2&a=3", Some("3")),
        ] {
            assert_eq!(parameter(query, "a").as_deref(), value, "{query}");
        }
    }

    #[test]
    fn a_path_segment_is_decoded_strictly() {
        for (segment, decoded) in [
            ("", Ok("")),
            ("room", Ok("room")),
            ("a%2Cb%2c", Ok("a,b,")),
            ("a+b", Ok("a+b")),
            ("%C3%A9", Ok("é")),
            ("%", Err(400)),
            ("%4", Err(400)),
            ("a%zz", Err(400)),
            ("%%41", Err(400)),
            ("%+4", Err(400)),
            ("%ff", Err(400)),
        ] {
            assert_eq!(code(decode_path_segment(segment)), decoded.map(Cow::Borrowed), "{segment}");
        }
    }

    #[test]
    fn channels_are_split_before_they_are_decoded() {
        assert_eq!(channel_names("a,%62").unwrap(), ["a", "b"]);
        for joined in ["", "a,", ",a", "a,,b", "a%2Cb", "a,a", "a,%61", "a%20b", "é", "%"] {
            assert_eq!(code(channel_names(joined)), Err(400), "{joined}");
        }
        let joined = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(channel_names(&joined(CHANNELS_MAX)).unwrap().len(), CHANNELS_MAX);
        assert_eq!(code(channel_names(&joined(CHANNELS_MAX + 1))), Err(400));
    }

    #[test]
    fn a_channel_name_has_its_length_and_its_bytes() {
        let longest = "a".repeat(CHANNEL_BYTES_MAX);
        for name in ["a", "room-1_2.3~4:5@6!7+8", "AZaz09", longest.as_str()] {
            assert_eq!(check_channel_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(CHANNEL_BYTES_MAX + 1);
        for name in ["", " ", "a/b", "a,b", "a*", "a\0", "a%41", "é", too_long.as_str()] {
            assert_eq!(code(check_channel_name(name)), Err(400), "{name}");
        }
    }

    #[test]
    fn a_member_has_a_short_name_of_text() {
        let longest = "é".repeat(MEMBER_BYTES_MAX / 2);
        for name in ["a", "Ann O'Neill", "auth0|5f7c8ec7c33c6c004bbafe82", "👩‍👩‍👧", longest.as_str()] {
            assert_eq!(check_member_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(MEMBER_BYTES_MAX + 1);
        for name in ["", "a\n", "\0", too_long.as_str()] {
            assert_eq!(code(check_member_name(name)), Err(400), "{name}");
        }
    }

    #[test]
    fn an_event_name_is_short_text_that_is_not_reserved() {
        let longest = "a".repeat(EVENT_BYTES_MAX);
        for name in ["a", "user joined", "é", "message", "Gap", longest.as_str()] {
            assert_eq!(check_event_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(EVENT_BYTES_MAX + 1);
        for name in ["", "a\r", "a\n", "a\0", "a\u{85}", too_long.as_str()].into_iter().chain(RESERVED_EVENTS) {
            assert_eq!(code(check_event_name(name)), Err(400), "{name}");
        }
    }
}

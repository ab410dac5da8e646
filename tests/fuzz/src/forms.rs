//! Queries and forms (the WHATWG URL standard, `application/x-www-form-urlencoded`), and the names in URLs.

/// The list of names and values.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for sequence in query.as_bytes().split(|byte| *byte == b'&').filter(|sequence| !sequence.is_empty()) {
        let equals = sequence.iter().position(|byte| *byte == b'=');
        let (name, value) =
            (&sequence[..equals.unwrap_or(sequence.len())], equals.map_or(&[][..], |at| &sequence[at + 1..]));
        let spaced = |bytes: &[u8]| Vec::from_iter(bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }));
        let text = |bytes: &[u8]| String::from_utf8_lossy(&decode(&spaced(bytes)).0).into_owned();
        found.push((text(name), text(value)));
    }
    found
}

/// A segment of a path, if its escapes are right and it is text.
pub fn segment(encoded: &str) -> Option<String> {
    let (bytes, right) = decode(encoded.as_bytes());
    String::from_utf8(bytes).ok().filter(|_| right)
}

/// What a channel may be called.
pub fn is_channel(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.chars().all(|one| one.is_ascii_alphanumeric() || "-_.~:@!+".contains(one))
}

/// What a publisher may call its event.
pub fn is_event(name: &str) -> bool {
    let reserved = ["gap", "join", "leave", "members", "expired", "open", "error", "binary"];
    is_name(name, 64) && !reserved.contains(&name)
}

/// By what a publication may be known again.
pub fn is_key(key: &str) -> bool {
    (1..=255).contains(&key.len())
}

/// By what a client may be present.
pub fn is_member(name: &str) -> bool {
    is_name(name, 128)
}

fn is_name(name: &str, bytes_max: usize) -> bool {
    // U+0080 to U+009F are the other control characters (Unicode, table 2-3).
    let control = |one: char| one < ' ' || ('\u{7f}'..='\u{9f}').contains(&one);
    (1..=bytes_max).contains(&name.len()) && !name.chars().any(control)
}

/// The channels that a segment names.
pub fn channels(joined: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in joined.split(',') {
        let name = segment(part).filter(|name| is_channel(name) && !names.contains(name))?;
        names.push(name);
    }
    (names.len() <= 32).then_some(names)
}

/// Takes percent-encoding off (RFC 3986 §2.1), and says whether every `%` began an escape.
fn decode(bytes: &[u8]) -> (Vec<u8>, bool) {
    let (mut decoded, mut right, mut at) = (Vec::new(), true, 0);
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                right &= byte != b'%';
                decoded.push(byte);
                at += 1;
            }
        }
    }
    (decoded, right)
}

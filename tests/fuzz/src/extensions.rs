//! RFC 6455 §9.1 and RFC 7692 §7, word by word: a list of extensions, and what a server may make of it.

/// One extension of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub name: String,
    pub parameters: Vec<(String, Option<String>)>,
}

/// What a server agrees to: permessage-deflate, always without context takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The largest window that the offer allows, if it names one.
    pub asked_bits: Option<u8>,
    /// The window that is answered.
    pub window_bits: u8,
}

enum Word {
    Token(String),
    Quoted(String),
    /// One of `,;=`.
    Delimiter(char),
}

/// Reads one field; `None` where it is no list of extensions.
pub fn parse(field: &str) -> Option<Vec<Extension>> {
    let (words, mut extensions, mut at) = (words(field)?, Vec::new(), 0);
    let token = |at: usize| if let Some(Word::Token(token)) = words.get(at) { Some(token.clone()) } else { None };
    let is = |at: usize, what: char| matches!(words.get(at), Some(Word::Delimiter(delimiter)) if *delimiter == what);
    while at < words.len() {
        if is(at, ',') {
            at += 1;
            continue;
        }
        let mut extension = Extension { name: token(at)?, parameters: Vec::new() };
        at += 1;
        while is(at, ';') {
            let (name, mut value) = (token(at + 1)?, None);
            at += 2;
            if is(at, '=') {
                value = Some(match words.get(at + 1)? {
                    Word::Token(value) => value.clone(),
                    // "the value after quoted-string unescaping MUST conform to the 'token' ABNF"
                    Word::Quoted(value) if is_token(value) => value.clone(),
                    _ => return None,
                });
                at += 2;
            }
            extension.parameters.push((name, value));
        }
        if at < words.len() && !is(at, ',') {
            return None;
        }
        extensions.push(extension);
    }
    Some(extensions)
}

/// One of the fields is no list of extensions.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// What a server that wants compression takes of all fields.
pub fn negotiate<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Option<Agreement>, Malformed> {
    let mut offers = Vec::new();
    for field in fields {
        offers.extend(parse(field).ok_or(Malformed)?);
    }
    Ok(offers.iter().find_map(agree))
}

/// The extension as a client or a server would write it, with every value in quotes if `quoted`.
pub fn encode(extension: &Extension, quoted: bool) -> String {
    let mut text = extension.name.clone();
    for (name, value) in &extension.parameters {
        text += &format!("; {name}");
        match value {
            Some(value) if quoted => text += &format!("=\"{value}\""),
            Some(value) => text += &format!("={value}"),
            None => {}
        }
    }
    text
}

/// Asserts that a client which has offered this may accept that (RFC 7692 §7.1).
pub fn assert_fits(answer: &str, agreement: &Agreement) {
    let answers = parse(answer).expect("the answer is a list of extensions");
    assert_eq!(answers.len(), 1, "an answer is one extension");
    assert_eq!(answers[0].name, "permessage-deflate");
    let mut bits = None;
    for (index, (name, value)) in answers[0].parameters.iter().enumerate() {
        assert!(answers[0].parameters[..index].iter().all(|(before, _)| before != name), "{name} is there twice");
        match (name.as_str(), value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(value)) => bits = Some(window_bits(value).expect("a window")),
            // §7.1.2.2 allows client_max_window_bits only where it was offered; Redpoll can do without.
            _ => panic!("{name} does not belong into an answer"),
        }
    }
    // §7.1.2.1: "the same or smaller value" than that of the offer, and without it in the offer it is a choice.
    assert_eq!(bits.is_some(), agreement.asked_bits.is_some());
    assert!(bits.is_none_or(|bits| Some(bits) <= agreement.asked_bits && bits == agreement.window_bits));
}

/// What an offer comes to.
fn agree(offer: &Extension) -> Option<Agreement> {
    let names = ["server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits"];
    let known = |name: &str| names.contains(&name) || name == "client_max_window_bits";
    let values = |name: &str| {
        let given = offer.parameters.iter().filter(|(known, _)| known == name);
        Vec::from_iter(given.map(|(_, value)| value.clone()))
    };
    if offer.name != "permessage-deflate" || !offer.parameters.iter().all(|(name, _)| known(name)) {
        return None;
    }
    for name in &names[..2] {
        if !matches!(values(name)[..], [] | [None]) {
            return None;
        }
    }
    match &values("client_max_window_bits")[..] {
        [] | [None] => {}
        [Some(bits)] if window_bits(bits).is_some() => {}
        _ => return None,
    }
    match &values("server_max_window_bits")[..] {
        [] => Some(Agreement { asked_bits: None, window_bits: 15 }),
        [Some(bits)] => match window_bits(bits)? {
            // A choice: zlib cannot make windows of 8 bits.
            8 => None,
            15 => Some(Agreement { asked_bits: Some(15), window_bits: 15 }),
            // A choice: two compressors serve everyone.
            bits => Some(Agreement { asked_bits: Some(bits), window_bits: 9 }),
        },
        _ => None,
    }
}

fn window_bits(text: &str) -> Option<u8> {
    (8..=15).find(|bits| bits.to_string() == text)
}

fn words(field: &str) -> Option<Vec<Word>> {
    let (mut words, mut rest) = (Vec::new(), field.chars().peekable());
    while let Some(first) = rest.next() {
        words.push(match first {
            ' ' | '\t' => continue,
            ',' | ';' | '=' => Word::Delimiter(first),
            '"' => {
                let mut value = String::new();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => value.push(rest.next()?),
                        other => value.push(other),
                    }
                }
                Word::Quoted(value)
            }
            first if is_token_character(first) => {
                let mut token = String::from(first);
                while let Some(next) = rest.next_if(|next| is_token_character(*next)) {
                    token.push(next);
                }
                Word::Token(token)
            }
            _ => return None,
        });
    }
    Some(words)
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_character)
}

/// RFC 9110 §5.6.2.
fn is_token_character(character: char) -> bool {
    character.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(character)
}

//! Extensions: what a client offers in `Sec-WebSocket-Extensions`, and the one that Redpoll takes (RFC 6455 §9,
//! RFC 7692).
//!
//! permessage-deflate is taken on one condition: that neither side carries its window from one message to the next.
//! Then a publication is compressed once for everyone, and no connection owns a compressor. Both sides may ask for that
//! in an answer whatever was offered (RFC 7692 §7.1.1), so no client has to be turned away for it.

use super::status::Status;
use super::syntax::{excerpt, is_token_byte, malformed};

/// The name of the extension (RFC 7692 §7).
const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// How far back a compressed message may refer: two sizes, so that two compressors serve everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 32 KiB, as far as DEFLATE goes.
    Bits15,
    /// 512 bytes, for clients that have little memory and ask for 9 to 14 bits: an answer may be smaller than what was
    /// asked (RFC 7692 §7.1.2.1).
    Bits9,
}

impl Window {
    /// The base-2 logarithm of its size in bytes.
    pub const fn bits(self) -> u8 {
        match self {
            Window::Bits15 => 15,
            Window::Bits9 => 9,
        }
    }
}

/// What permessage-deflate was agreed to be. Its [`Display`](std::fmt::Display) is the answer's field value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The window of what the server sends. The client may use any.
    pub window: Window,
    /// Whether the client named a window, so that the answer has to.
    names_window: bool,
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PERMESSAGE_DEFLATE}; server_no_context_takeover; client_no_context_takeover")?;
        match self.names_window {
            true => write!(f, "; server_max_window_bits={}", self.window.bits()),
            false => Ok(()),
        }
    }
}

/// Takes the first offer that can be taken, over all `Sec-WebSocket-Extensions` fields of a request in their order
/// (RFC 7692 §5). `None` where there is none: the WebSocket then goes without.
///
/// An offer with a parameter that is not known, is given twice or has a value that it may not have is declined
/// (§7.1), as is a window of 8 bits, which zlib cannot make.
///
/// # Errors
/// 400 where a field is not a list of extensions at all (RFC 6455 §9.1).
pub fn negotiate<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Option<Agreement>, Status> {
    let mut agreed = None;
    for field in fields {
        for offer in parse(field)? {
            agreed = agreed.or_else(|| agreement_on(&offer));
        }
    }
    Ok(agreed)
}

/// One extension as it is offered or answered.
#[derive(Debug, PartialEq, Eq)]
struct Extension<'a> {
    name: &'a str,
    /// In their order; a value that was quoted is without its quotes.
    parameters: Vec<(&'a str, Option<String>)>,
}

/// What an offer comes to; `None` declines it.
fn agreement_on(offer: &Extension) -> Option<Agreement> {
    if offer.name != PERMESSAGE_DEFLATE {
        return None;
    }
    let mut agreement = Agreement { window: Window::Bits15, names_window: false };
    for (index, (name, value)) in offer.parameters.iter().enumerate() {
        if offer.parameters[..index].iter().any(|(before, _)| before == name) {
            return None;
        }
        match (*name, value.as_deref()) {
            // §7.1.1: no value. Both are so in every answer.
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(bits)) => {
                agreement = Agreement { window: server_window(window_bits(bits)?)?, names_window: true };
            }
            // §7.1.2.2: a hint of what the client can do; with or without a value.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(bits)) => {
                window_bits(bits)?;
            }
            _ => return None,
        }
    }
    Some(agreement)
}

/// The window that serves a client which can read up to so many bits.
fn server_window(bits: u8) -> Option<Window> {
    match bits {
        15 => Some(Window::Bits15),
        9..=14 => Some(Window::Bits9),
        _ => None,
    }
}

/// "a decimal integer value without leading zeroes between 8 to 15 inclusive" (RFC 7692 §7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let bits: u8 = text.parse().ok()?;
    ((8..=15).contains(&bits) && text.starts_with(|first: char| matches!(first, '1'..='9'))).then_some(bits)
}

/// Reads a list of extensions (RFC 6455 §9.1), with white space where HTTP has always allowed it, and empty items
/// (RFC 9110 §5.6.1.2).
fn parse(field: &str) -> Result<Vec<Extension<'_>>, Status> {
    let mut found = Vec::new();
    let mut rest = Reader { rest: field };
    while !rest.is_at_end() {
        if rest.takes(',') {
            continue;
        }
        let mut extension = Extension { name: rest.token()?, parameters: Vec::new() };
        while rest.takes(';') {
            extension.parameters.push(rest.parameter()?);
        }
        found.push(extension);
        if !rest.takes(',') && !rest.is_at_end() {
            return Err(rest.refusal());
        }
    }
    Ok(found)
}

/// What is left of a field.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_white_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_white_space();
        self.rest.is_empty()
    }

    /// Whether `delimiter` comes next, which is then gone.
    fn takes(&mut self, delimiter: char) -> bool {
        self.skip_white_space();
        let after = self.rest.strip_prefix(delimiter);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn token(&mut self) -> Result<&'a str, Status> {
        self.skip_white_space();
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.refusal());
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(token)
    }

    fn parameter(&mut self) -> Result<(&'a str, Option<String>), Status> {
        let name = self.token()?;
        let value = match (self.takes('='), self.takes('"')) {
            (true, true) => Some(self.quoted()?),
            (true, false) => Some(self.token()?.to_owned()),
            (false, true) => return Err(self.refusal()),
            (false, false) => None,
        };
        Ok((name, value))
    }

    /// The rest of a quoted string: "the value after quoted-string unescaping MUST conform to the 'token' ABNF".
    fn quoted(&mut self) -> Result<String, Status> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            let character = match character {
                '"' if !value.is_empty() => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(value);
                }
                '\\' => characters.next().map_or('"', |(_, escaped)| escaped),
                character => character,
            };
            if !u8::try_from(character).is_ok_and(is_token_byte) {
                break;
            }
            value.push(character);
        }
        Err(malformed("a quoted parameter of Sec-WebSocket-Extensions must be a token in quotes (RFC 6455 §9.1)"))
    }

    fn refusal(&self) -> Status {
        Status::new(400).detail(format!(
            "Sec-WebSocket-Extensions is not a list of extensions (RFC 6455 §9.1) at {:?}",
            excerpt(self.rest)
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ALWAYS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    /// What comes after the parameters that every answer has; `None` if the offer is declined.
    fn answer(fields: &[&str]) -> Option<String> {
        let agreement = negotiate(fields.iter().copied()).unwrap()?;
        let answer = agreement.to_string();
        assert!(answer.ends_with(&format!("={}", agreement.window.bits())) || agreement.window == Window::Bits15);
        Some(answer.strip_prefix(ALWAYS).unwrap().to_owned())
    }

    #[test]
    fn an_offer_is_answered_as_rfc_7692_says() {
        for (offer, expected) in [
            ("permessage-deflate", Some("")),
            ("permessage-deflate; client_max_window_bits", Some("")),
            ("permessage-deflate; client_max_window_bits=8", Some("")),
            ("permessage-deflate; client_max_window_bits=15", Some("")),
            ("permessage-deflate; server_no_context_takeover", Some("")),
            ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", Some("")),
            ("permessage-deflate; server_max_window_bits=15", Some("; server_max_window_bits=15")),
            ("permessage-deflate; server_max_window_bits=14", Some("; server_max_window_bits=9")),
            ("permessage-deflate; server_max_window_bits=9", Some("; server_max_window_bits=9")),
            ("permessage-deflate;server_max_window_bits=\"1\\0\"", Some("; server_max_window_bits=9")),
            (" permessage-deflate ; server_max_window_bits = 15 ,", Some("; server_max_window_bits=15")),
            ("permessage-deflate; server_max_window_bits=8", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=7", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=09", None),
            ("permessage-deflate; server_max_window_bits=+9", None),
            ("permessage-deflate; server_max_window_bits=265", None),
            ("permessage-deflate; client_max_window_bits=x", None),
            ("permessage-deflate; client_max_window_bits=7", None),
            ("permessage-deflate; server_no_context_takeover=1", None),
            ("permessage-deflate; client_no_context_takeover=\"true\"", None),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", None),
            ("permessage-deflate; window=15", None),
            ("permessage-deflate; Server_No_Context_Takeover", None),
            ("x-webkit-deflate-frame, permessage-bzip2; level=9", None),
            ("", None),
            (" , ,", None),
        ] {
            assert_eq!(answer(&[offer]).as_deref(), expected, "{offer}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_taken_is_taken() {
        let declined = "permessage-deflate; server_max_window_bits=8";
        let small = "permessage-deflate; server_max_window_bits=10";
        let plain = "permessage-deflate";
        assert_eq!(answer(&[&format!("{declined}, {small}, {plain}")]).as_deref(), Some("; server_max_window_bits=9"));
        assert_eq!(answer(&[&format!("foo, {plain}, {small}")]).as_deref(), Some(""));
        assert_eq!(answer(&[declined, "", small, plain]).as_deref(), Some("; server_max_window_bits=9"));
        assert_eq!(answer(&[declined, declined]), None);
    }

    #[test]
    fn a_field_that_is_no_list_of_extensions_is_refused() {
        for field in [
            ";",
            "=",
            "a b",
            "a;",
            "a; ;b",
            "a; =1",
            "a; b=",
            "a; b==1",
            "a; b=1 2",
            "a; b\"1\"",
            "a; b=\"\"",
            "a; b=\"1",
            "a; b=\"1\\",
            "a; b=\"1 2\"",
            "a; b=\"1\"2",
            "a; b=\"é\"",
            "a/b",
            "é",
            "permessage-deflate, a;",
        ] {
            let refused = negotiate([field].into_iter());
            assert_eq!(refused.map_err(|status| status.code()), Err(400), "{field}");
        }
    }
}

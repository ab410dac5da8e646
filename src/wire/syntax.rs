//! What several readers of this layer share: tokens, lists, weights (RFC 9110 §5.6, §12.4.2), and how they refuse.

use super::status::Status;

/// The items of a comma-separated list, without whitespace and empty ones (RFC 9110 §5.6.1.2).
pub(crate) fn list_items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty())
}

/// `q=0`, `q=0.0` and so on: "not acceptable" (RFC 9110 §12.4.2).
pub(crate) fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q")
        && weight.trim().starts_with('0')
        && weight.trim().bytes().all(|b| matches!(b, b'0' | b'.'))
}

/// The weight that a parameter gives, in thousandths: `q=0.5` is 500 (RFC 9110 §12.4.2).
pub(crate) fn weight_of(parameter: &str) -> Option<u16> {
    let (name, weight) = parameter.trim_matches([' ', '\t']).split_once('=')?;
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let is_weight = name.eq_ignore_ascii_case("q")
        && matches!(whole, "0" | "1")
        && decimals.len() <= 3
        && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let digit = |at: usize| decimals.as_bytes().get(at).map_or(0, |byte| u16::from(byte - b'0'));
    let thousandths = || u16::from(whole == "1") * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    is_weight.then(thousandths).filter(|weight| *weight <= 1000)
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    IS_TOKEN_BYTE[usize::from(byte)]
}

/// By byte: methods, field names and extensions are looked at byte by byte, in every request.
const IS_TOKEN_BYTE: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut index) = (b"!#$%&'*+-.^_`|~", 0);
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

/// The beginning of what a client sent, short enough to be shown back to it.
pub(crate) fn excerpt(text: &str) -> &str {
    text.char_indices().nth(EXCERPT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// A 400 with its reason.
pub(crate) fn malformed(detail: &'static str) -> Status {
    Status::new(400).detail(detail)
}

/// Characters of the client's own text that an error shows back to it.
const EXCERPT_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_at_commas_without_empty_items() {
        assert_eq!(list_items(" a ,,\tb c, ").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(list_items(" , ").count(), 0);
    }

    #[test]
    fn a_weight_is_zero_in_all_its_spellings() {
        assert!(["q=0", "Q=0.0", "q = 0.000"].into_iter().all(is_zero_weight));
        assert!(!["q=0.001", "q=1", "q=", "q", "x=0", ""].into_iter().any(is_zero_weight));
    }

    #[test]
    fn a_weight_has_up_to_three_decimals_and_is_at_most_one() {
        for (parameter, weight) in [("q=1", 1000), ("Q=1.000", 1000), (" q=0.5\t", 500), ("q=0.", 0), ("q=0.015", 15)] {
            assert_eq!(weight_of(parameter), Some(weight), "{parameter}");
        }
        for parameter in
            ["", "q", "q=", "q=.5", "q=1.001", "q=2", "q=0.0001", "q=0.5x", "q=-0", "q = 1", "x=1", "q=1;q=1"]
        {
            assert_eq!(weight_of(parameter), None, "{parameter}");
        }
    }

    #[test]
    fn an_excerpt_ends_between_characters() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"é".repeat(EXCERPT_CHARS_MAX + 1)), "é".repeat(EXCERPT_CHARS_MAX));
    }
}

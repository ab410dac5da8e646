//! The opening handshake: how an HTTP request becomes a WebSocket (RFC 6455 §1.3 and §4).
//!
//! The client sends 16 random bytes in Base64, the server proves with them that it has read the request as a
//! WebSocket's: an HTTP server that does not know the protocol, or a cache, would not give this answer by accident.
//! That is all the proof is for. It keeps no secret and identifies no one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The longest head of an answer that a client reads, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The most fields of an answer that a client reads.
const ANSWER_FIELDS_MAX: usize = 64;

/// The field in which extensions are offered and chosen (RFC 6455 §11.3.2).
pub const EXTENSIONS_FIELD: &str = "Sec-WebSocket-Extensions";

/// The value of that field in a request that offers to take compressed messages, each compressed on its own.
pub const DEFLATE_OFFER: &str = "permessage-deflate; server_no_context_takeover";

/// Anything would do that no one else would append: RFC 6455 §1.3 chose this.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 §4.2.2): the key as it was sent, with the
/// magic string behind it, hashed with SHA-1, the 20 bytes in Base64.
pub fn accept_key(key: &str) -> String {
    let mut sha1 = sha1_smol::Sha1::from(key);
    sha1.update(MAGIC.as_bytes());
    STANDARD.encode(sha1.digest().bytes())
}

/// Whether a `Sec-WebSocket-Key` is what it must be: 16 bytes in Base64 (RFC 6455 §4.2.1).
pub fn key_is_valid(key: &str) -> bool {
    // Longer ones are not even decoded: 16 bytes always make 24 characters.
    key.len() == 24 && STANDARD.decode_slice(key, &mut [0; 18]).is_ok_and(|bytes| bytes == 16)
}

/// A `Sec-WebSocket-Key` for a client's request, from bytes that no one can guess.
pub fn encode_key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// A client's request (RFC 6455 §4.1), with the subprotocols it offers, the dearest first, and `extra_fields` such as
/// `Origin` or `Authorization`.
///
/// What is given is written as it is: it must be fit for HTTP, without line breaks, and `target` begins with a slash.
pub fn client_request(
    host: &str,
    target: &str,
    key: &str,
    protocols: &[&str],
    extra_fields: &[(&str, &str)],
) -> Vec<u8> {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    let protocols = protocols.join(", ");
    let own = [("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Protocol", &protocols)];
    for (name, value) in own.iter().filter(|(_, value)| !value.is_empty()).chain(extra_fields) {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// A server's answer that opens the WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The length of the answer, in bytes: frames may follow right behind it.
    pub head_bytes: usize,
    /// The subprotocol that the server chose of those offered, if any.
    pub protocol: Option<String>,
    /// Whether messages may be compressed (RFC 7692): the server's each on its own, with a window of any size.
    pub deflate: bool,
}

/// Reads a server's answer as a client must (RFC 6455 §4.1). `None` where it is not complete.
///
/// `key` and `protocols` are those of the request. Fails with the reason in words; also where a head of
/// [`ANSWER_BYTES_MAX`] bytes has no end. No extension was offered, so none is accepted.
pub fn check_answer(bytes: &[u8], key: &str, protocols: &[&str]) -> Result<Option<Accepted>, String> {
    check_answer_with(bytes, key, protocols, false)
}

/// The same for a request that may have offered [`DEFLATE_OFFER`].
pub fn check_answer_with(
    bytes: &[u8],
    key: &str,
    protocols: &[&str],
    offers_deflate: bool,
) -> Result<Option<Accepted>, String> {
    let mut fields = [httparse::EMPTY_HEADER; ANSWER_FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let head = &bytes[..bytes.len().min(ANSWER_BYTES_MAX)];
    let status = answer.parse(head).map_err(|error| format!("the answer is not HTTP: {error}"))?;
    let httparse::Status::Complete(head_bytes) = status else {
        let endless = head.len() == ANSWER_BYTES_MAX;
        return if endless { Err(format!("the answer's head has over {ANSWER_BYTES_MAX} bytes")) } else { Ok(None) };
    };
    if answer.code != Some(101) || answer.version != Some(1) {
        let (code, reason) = (answer.code.unwrap_or_default(), answer.reason.unwrap_or_default());
        return Err(format!("the server answered {code} {reason}").trim_end().to_owned());
    }
    let protocol = check_fields(answer.headers, key, protocols)?;
    let deflate = check_extensions(answer.headers, offers_deflate)?;
    Ok(Some(Accepted { head_bytes, protocol, deflate }))
}

/// Steps 2 to 6 of RFC 6455 §4.1. Returns the chosen subprotocol.
fn check_fields(fields: &[httparse::Header], key: &str, protocols: &[&str]) -> Result<Option<String>, String> {
    if !has_token(fields, "Upgrade", b"websocket") {
        return Err("the answer has no Upgrade: websocket".to_owned());
    }
    if !has_token(fields, "Connection", b"upgrade") {
        return Err("the answer has no Connection: Upgrade".to_owned());
    }
    if only(fields, "Sec-WebSocket-Accept")? != Some(accept_key(key).as_bytes()) {
        return Err("the answer's Sec-WebSocket-Accept does not fit the key".to_owned());
    }
    let Some(chosen) = only(fields, "Sec-WebSocket-Protocol")? else { return Ok(None) };
    match protocols.iter().find(|offered| offered.as_bytes() == chosen) {
        Some(offered) => Ok(Some((*offered).to_owned())),
        None => Err(format!("the server chose a subprotocol that was not offered: {}", chosen.escape_ascii())),
    }
}

/// Whether the server chose to compress. It must say that it does not carry its window on (RFC 7692 §7.1.1.1), and no
/// other extension was offered.
fn check_extensions(fields: &[httparse::Header], offers_deflate: bool) -> Result<bool, String> {
    let chosen: Vec<&[u8]> =
        values(fields, EXTENSIONS_FIELD).flat_map(|value| value.split(|byte| *byte == b',')).collect();
    let mut chosen = chosen.iter().map(|extension| extension.trim_ascii()).filter(|extension| !extension.is_empty());
    let Some(extension) = chosen.next() else { return Ok(false) };
    let mut parts = extension.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    if !offers_deflate || chosen.next().is_some() || parts.next() != Some(b"permessage-deflate") {
        return Err("the server chose an extension that was not offered".to_owned());
    }
    match parts.any(|parameter| parameter == b"server_no_context_takeover") {
        true => Ok(true),
        false => Err("the server carries its compression window on, which it was asked not to".to_owned()),
    }
}

/// The values of a field, without the white space around them.
fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

/// The value of a field that may come only once (RFC 6455 §11.3.3 and §11.3.4).
fn only<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> Result<Option<&'a [u8]>, String> {
    let mut values = values(fields, name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(format!("the answer has more than one {name}")),
    }
}

/// Whether a list of tokens, over one or several fields, has this one in any case. `token` is in lower case.
fn has_token(fields: &[httparse::Header], name: &str, token: &[u8]) -> bool {
    values(fields, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade";

    fn check(status: &str, fields: &[&str]) -> Result<Option<Accepted>, String> {
        let answer = format!("HTTP/1.1 {status}\r\n{}\r\n\r\n", fields.join("\r\n"));
        let checked = check_answer(answer.as_bytes(), KEY, &["redpoll.v1", "chat"]);
        if let Ok(Some(accepted)) = &checked {
            assert_eq!(accepted.head_bytes, answer.len());
        }
        checked
    }

    #[test]
    fn compression_is_accepted_where_it_was_offered_and_keeps_no_window() {
        let accept = accept_key("key");
        let checked = |extensions: &str, offers: bool| {
            let answer = format!(
                "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{EXTENSIONS_FIELD}: {extensions}\r\n\r\n"
            );
            check_answer_with(answer.as_bytes(), "key", &[], offers).map(|accepted| accepted.unwrap().deflate)
        };
        for good in [DEFLATE_OFFER, "permessage-deflate; server_max_window_bits=9 ;server_no_context_takeover"] {
            assert_eq!(checked(good, true), Ok(true), "{good}");
            assert!(checked(good, false).unwrap_err().contains("not offered"), "{good}");
        }
        assert_eq!((checked("", true), checked("", false)), (Ok(false), Ok(false)));
        assert!(checked("permessage-deflate", true).unwrap_err().contains("window"));
        for other in ["foo", &format!("{DEFLATE_OFFER}, foo"), &format!("foo, {DEFLATE_OFFER}")] {
            assert!(checked(other, true).unwrap_err().contains("not offered"), "{other}");
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        // RFC 6455 §1.3.
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(encode_key(*b"the sample nonce"), KEY);
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        for key in [KEY, "AAAAAAAAAAAAAAAAAAAAAA==", "/+/+/+/+/+/+/+/+/+/+/w=="] {
            assert!(key_is_valid(key), "{key:?}");
        }
        let invalid = [
            "",
            "AAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "dGhlIHNhbXBsZSBub25jZ!==",
            " dGhlIHNhbXBsZSBub25jZQ==",
            "-_-_-_-_-_-_-_-_-_-_-w==",
        ];
        for key in invalid {
            assert!(!key_is_valid(key), "{key:?}");
        }
    }

    #[test]
    fn a_request_has_what_the_rfc_demands() {
        let request = client_request(
            "example.com:81",
            "/ws/a?b",
            KEY,
            &["redpoll.v1", "chat"],
            &[("Origin", "https://x.example")],
        );
        let expected = "GET /ws/a?b HTTP/1.1\r\nHost: example.com:81\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: redpoll.v1, chat\r\nOrigin: https://x.example\r\n\r\n";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        assert!(!String::from_utf8(client_request("a", "/", KEY, &[], &[])).unwrap().contains("Protocol"));
    }

    #[test]
    fn an_answer_is_accepted_once_it_is_complete() {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{UPGRADE}\r\n{ACCEPT}\r\n\r\n\x05frames");
        let head_bytes = answer.len() - 7;
        for end in 0..head_bytes {
            assert_eq!(check_answer(&answer.as_bytes()[..end], KEY, &[]), Ok(None), "{end}");
        }
        for end in head_bytes..=answer.len() {
            let accepted = check_answer(&answer.as_bytes()[..end], KEY, &[]).unwrap().unwrap();
            assert_eq!(accepted, Accepted { head_bytes, protocol: None, deflate: false });
        }
    }

    #[test]
    fn case_white_space_and_lists_make_no_difference() {
        let spelled = [
            "upgrade: WebSocket",
            "CONNECTION: keep-alive , upgrade",
            "sec-websocket-accept:   s3pPLMBiTxaQ9kYGzzhZRbK+xOo= ",
        ];
        assert_eq!(check("101 Ok", &spelled).unwrap().unwrap().protocol, None);
        let several =
            [UPGRADE, "Connection: keep-alive", ACCEPT, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions:"];
        assert_eq!(check("101", &several).unwrap().unwrap().protocol.as_deref(), Some("chat"));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused() {
        let table: [(&str, &[&str], &str); 11] = [
            ("401 Unauthorized", &[], "answered 401 Unauthorized"),
            ("200 OK", &[UPGRADE, ACCEPT], "answered 200"),
            ("101", &["Connection: Upgrade", ACCEPT], "no Upgrade"),
            ("101", &["Upgrade: h2c", "Connection: Upgrade", ACCEPT], "no Upgrade"),
            ("101", &["Upgrade: websocket", "Connection: close", ACCEPT], "no Connection"),
            ("101", &[UPGRADE], "Sec-WebSocket-Accept"),
            ("101", &[UPGRADE, "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "does not fit"),
            ("101", &[UPGRADE, ACCEPT, ACCEPT], "more than one"),
            ("101", &[UPGRADE, ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate"], "extension"),
            ("101", &[UPGRADE, ACCEPT, "Sec-WebSocket-Protocol: Chat"], "not offered: Chat"),
            (
                "101",
                &[UPGRADE, ACCEPT, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat"],
                "more than one",
            ),
        ];
        for (status, fields, reason) in table {
            let refused = check(status, fields).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(check_answer(b"HTTP/1.0 101 Ok\r\n\r\n", KEY, &[]).is_err());
        assert!(check_answer(b"SSH-2.0-OpenSSH\r\n", KEY, &[]).is_err());
    }

    #[test]
    fn a_head_without_an_end_is_refused() {
        let mut answer = b"HTTP/1.1 101 Ok\r\nX: ".to_vec();
        answer.resize(ANSWER_BYTES_MAX - 1, b'x');
        assert_eq!(check_answer(&answer, KEY, &[]), Ok(None));
        answer.resize(ANSWER_BYTES_MAX, b'x');
        assert!(check_answer(&answer, KEY, &[]).is_err());
    }
}

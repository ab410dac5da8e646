//! Responses: what a handler answers with, and its bytes on the wire (RFC 9112 §4, RFC 9110 §15).

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use super::status::Status;
use super::syntax::is_token_byte;
use crate::config::Limit;

/// An HTTP response with all of its content.
///
/// It is built by value: `Response::text("hello").field("Cache-Control", "no-store")`. What belongs to the connection
/// (`Date`, `Content-Length`, `Transfer-Encoding`, `Connection`) is written by the server; fields of these names are
/// left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    code: u16,
    fields: Vec<(Text, Text)>,
    content: Cow<'static, [u8]>,
    /// That of the status it was made from.
    limit: Option<Limit>,
}

impl Response {
    /// A response without content. `code` is 100 to 599; any other becomes 500, which can be told on the wire.
    pub fn new(code: u16) -> Response {
        let code = if (100..=599).contains(&code) { code } else { 500 };
        Response { code, fields: Vec::new(), content: Cow::Borrowed(b""), limit: None }
    }

    /// 200 with `text/plain`.
    pub fn text(text: impl Into<Text>) -> Response {
        let bytes = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Response::new(200).content("text/plain; charset=utf-8", bytes)
    }

    /// 200 with `application/json`. `json` is sent as it is.
    pub fn json(json: String) -> Response {
        Response::new(200).content("application/json", json.into_bytes())
    }

    /// The same response with one more field; a name may be repeated.
    ///
    /// A field can never break out of its line: with a name that is no token (RFC 9110 §5.6.2) it is left out, and
    /// control bytes in the value are sent as spaces (§5.5).
    pub fn field(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Response {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The same response with `bytes` as its content, of the media type `content_type`. Content of 1xx, 204 and 304 is
    /// never sent (RFC 9110 §6.4.1).
    pub fn content(mut self, content_type: impl Into<Text>, bytes: impl Into<Cow<'static, [u8]>>) -> Response {
        self.content = bytes.into();
        self.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        self.field("Content-Type", content_type)
    }

    /// The same response with another status code, under the rule of [`Response::new`].
    pub fn status(self, code: u16) -> Response {
        Response { code: Response::new(code).code, ..self }
    }

    /// The status code, 100 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The first value set for the field `name`, in any case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }

    /// The limit that was reached, if that was the reason.
    pub(crate) fn reached(&self) -> Option<Limit> {
        self.limit
    }

    /// The content; empty where the code allows none.
    pub fn bytes(&self) -> &[u8] {
        if has_content(self.code) { &self.content } else { b"" }
    }
}

/// `application/problem+json` (RFC 9457 §3), or no content where the code allows none.
impl From<Status> for Response {
    fn from(status: Status) -> Response {
        let mut response = Response { limit: status.reached(), ..Response::new(status.code()) };
        if !status.authenticate().is_empty() {
            response = response.field("WWW-Authenticate", status.authenticate());
        }
        match has_content(status.code()) {
            true => response.content("application/problem+json", status.problem().into_bytes()),
            false => response,
        }
    }
}

/// What an answer takes from the request and the connection that it answers on.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The value of `Date`, from a [`DateField`]; empty where no clock is at hand, and then it is left out
    /// (RFC 9110 §6.6.1).
    pub date: &'a str,
    /// Whether the connection stays open after the answer.
    pub keep_alive: bool,
    /// Whether the request is HTTP/1.0, to which keeping alive must be said.
    pub http10: bool,
    /// Whether the method is HEAD: the same fields, `Content-Length` too, but no content (RFC 9110 §9.3.2).
    pub head_only: bool,
}

/// Appends a whole response, or its head alone for HEAD.
pub fn encode(response: &Response, exchange: &Exchange, out: &mut Vec<u8>) {
    encode_head(response, exchange, out);
    if !exchange.head_only {
        out.extend_from_slice(response.bytes());
    }
}

/// Appends the status line and the fields up to and with the empty line.
pub fn encode_head(response: &Response, exchange: &Exchange, out: &mut Vec<u8>) {
    push_status_line(out, response.code);
    if !exchange.date.is_empty() {
        push_field(out, "Date", exchange.date);
    }
    let interim = response.code < 200;
    for (name, value) in &response.fields {
        // 101 names its protocol in `Connection` (RFC 9110 §7.8), so in 1xx the handler's field stands.
        if !is_connection_field(name) || (interim && name.eq_ignore_ascii_case("connection")) {
            push_field(out, name, value);
        }
    }
    if has_content(response.code) {
        push_number_field(out, "Content-Length", response.content.len() as u64);
    }
    if response.code == 426 {
        // RFC 9110 §7.8: who sends `Upgrade` says so in `Connection`.
        push_field(out, "Connection", "upgrade");
    }
    if !interim {
        push_connection(out, exchange.keep_alive, exchange.http10);
    }
    push_end(out);
}

/// Appends `HTTP/1.1 200 OK` and the line's end. HTTP/1.0 clients get the same (RFC 9110 §6.2).
pub fn push_status_line(out: &mut Vec<u8>, code: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(code));
    out.push(b' ');
    out.extend_from_slice(Status::new(code).title().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends one field line, guarded as [`Response::field`] says. Does not allocate.
pub fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    if !push_name(out, name) {
        return;
    }
    let start = out.len();
    out.extend_from_slice(value.as_bytes());
    for byte in out[start..].iter_mut().filter(|byte| byte.is_ascii_control() && **byte != b'\t') {
        *byte = b' ';
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one field line with a number for its value. Does not allocate.
pub fn push_number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    if push_name(out, name) {
        push_decimal(out, value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a field's name and colon, unless it is no token.
fn push_name(out: &mut Vec<u8>, name: &str) -> bool {
    let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
    if is_token {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
    }
    is_token
}

/// Appends what RFC 9112 §9.3 wants said: `close` where the connection ends, `keep-alive` where HTTP/1.0 would end it.
pub fn push_connection(out: &mut Vec<u8>, keep_alive: bool, http10: bool) {
    match (keep_alive, http10) {
        (false, _) => push_field(out, "Connection", "close"),
        (true, true) => push_field(out, "Connection", "keep-alive"),
        (true, false) => {}
    }
}

/// Appends the empty line that ends a head.
pub fn push_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal. Does not allocate.
pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let (mut start, mut rest) = (digits.len() - 1, number);
    digits[start] += (rest % 10) as u8;
    while rest >= 10 {
        rest /= 10;
        start -= 1;
        digits[start] += (rest % 10) as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// The value of `Date` (RFC 9110 §6.6.1), formatted once a second however many answers carry it.
#[derive(Clone, Debug, Default)]
pub struct DateField {
    /// The second that `text` was formatted for.
    unix_seconds: u64,
    /// Empty before the first use.
    text: String,
}

impl DateField {
    /// The date of a second since 1970, `Tue, 15 Nov 1994 08:12:31 GMT`. A clock past the year 9999 stays at its end.
    pub fn at(&mut self, unix_seconds: u64) -> &str {
        if self.unix_seconds != unix_seconds || self.text.is_empty() {
            self.unix_seconds = unix_seconds;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(YEAR_9999_END)));
        }
        &self.text
    }
}

/// Text of a field: a literal, or made for one response.
type Text = Cow<'static, str>;

/// RFC 9110 §6.4.1: these never have content. §8.6 forbids 1xx and 204 a `Content-Length`, and 304 needs none.
fn has_content(code: u16) -> bool {
    code >= 200 && code != 204 && code != 304
}

/// Fields that say how the message is framed, which only the connection can know.
fn is_connection_field(name: &str) -> bool {
    ["date", "content-length", "transfer-encoding", "connection"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// 9999-12-31 23:59:59, the last second that the date format can say.
const YEAR_9999_END: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    const EXCHANGE: Exchange =
        Exchange { date: "Sun, 06 Nov 1994 08:49:37 GMT", keep_alive: true, http10: false, head_only: false };

    fn encoded(response: Response, exchange: Exchange) -> String {
        let mut out = Vec::new();
        encode(&response, &exchange, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_response_is_a_status_line_fields_and_content() {
        let response = Response::text("hello").field("Cache-Control", "no-store");
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                        Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(encoded(response, EXCHANGE), expected);
    }

    #[test]
    fn head_gets_the_length_without_the_content() {
        let head = encoded(Response::text("hello"), Exchange { head_only: true, ..EXCHANGE });
        assert!(head.contains("\r\nContent-Length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn interim_no_content_and_not_modified_have_neither_length_nor_content() {
        for code in [100, 101, 204, 304] {
            let text = encoded(Response::new(code).content("text/plain", b"x".as_slice()), EXCHANGE);
            assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"), "{text}");
        }
        let empty = encoded(Response::new(200), Exchange { date: "", ..EXCHANGE });
        assert_eq!(empty, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn connection_is_said_where_the_version_would_do_otherwise() {
        for (keep_alive, http10, said) in [
            (true, false, None),
            (true, true, Some("keep-alive")),
            (false, false, Some("close")),
            (false, true, Some("close")),
        ] {
            let text = encoded(Response::new(200), Exchange { keep_alive, http10, ..EXCHANGE });
            let connection = text.lines().find_map(|line| line.strip_prefix("Connection: "));
            assert_eq!(connection, said);
        }
    }

    #[test]
    fn what_frames_the_message_is_not_the_handlers_to_say() {
        let names = ["content-length", "Transfer-Encoding", "CONNECTION", "Date"];
        let response = names.into_iter().fold(Response::text("hello"), |response, name| response.field(name, "no"));
        assert!(!encoded(response, EXCHANGE).contains(": no\r\n"));
        let upgrade = Response::new(101).field("Connection", "Upgrade");
        assert!(encoded(upgrade, EXCHANGE).contains("\r\nConnection: Upgrade\r\n"));
    }

    #[test]
    fn a_field_cannot_break_out_of_its_line() {
        let response = Response::new(200)
            .field("X-One", "a\r\nSet-Cookie: b\0\u{7f}\tc")
            .field("X\r\nY", "d")
            .field("", "e")
            .field("X Z", "f");
        let text = encoded(response, EXCHANGE);
        assert!(text.contains("\r\nX-One: a  Set-Cookie: b  \tc\r\nContent-Length: 0\r\n"), "{text:?}");
    }

    #[test]
    fn a_status_becomes_problem_details() {
        let text = encoded(Status::new(404).detail("no such page").into(), EXCHANGE);
        let (head, content) = text.split_once("\r\n\r\n").unwrap_or_default();
        assert!(
            head.starts_with("HTTP/1.1 404 Not Found\r\n")
                && head.contains("\r\nContent-Type: application/problem+json\r\n")
        );
        let problem: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
        assert_eq!(problem, serde_json::json!({"status": 404, "title": "Not Found", "detail": "no such page"}));
        assert_eq!(Response::from(Status::new(304)), Response::new(304));
    }

    #[test]
    fn a_401_says_how_to_do_better() {
        let challenge = |status: Status| Response::from(status).value("WWW-Authenticate").map(str::to_owned);
        assert_eq!(challenge(Status::new(401)).as_deref(), Some("Bearer"));
        assert_eq!(challenge(Status::new(401).challenge("Basic realm=\"x\"")).as_deref(), Some("Basic realm=\"x\""));
        assert_eq!(challenge(Status::new(403)), None);
    }

    #[test]
    fn a_code_that_cannot_be_written_becomes_500() {
        for code in [0, 7, 99, 600, 1000, u16::MAX] {
            assert_eq!(Response::new(code).code(), 500);
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
        let mut out = Vec::new();
        push_number_field(&mut out, "Retry-After", 30);
        push_number_field(&mut out, "bad name", 30);
        assert_eq!(out, b"Retry-After: 30\r\n");
    }

    #[test]
    fn the_date_is_formatted_when_the_second_changes() {
        let mut date = DateField::default();
        assert_eq!(date.at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date.at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}

//! Request heads (RFC 9112 §2 to §5): where one ends, what it says, and why it is refused.
//!
//! `httparse` splits the field lines; what a request means, and what is too risky to guess, is decided here. The
//! rule is to refuse rather than to repair: two readers of the same bytes must not come to two requests
//! (RFC 9112 §11.2).

use memchr::{memchr_iter, memchr2};

use super::content::Framing;
use super::origin::Authority;
use super::request_line::RequestLine;
use super::status::Status;
use super::syntax::{is_token_byte, is_zero_weight, list_items, malformed};
use crate::config::Limit;

pub use super::request_line::Method;
pub(crate) use super::syntax::excerpt;
pub use crate::config::{FIELDS_MAX, TARGET_BYTES_MAX};

/// One request head: the request line and the fields, borrowed from the bytes that carried them.
#[derive(Debug)]
pub struct Head<'a> {
    line: RequestLine<'a>,
    /// The authority the client meant: that of an absolute-form target, else `Host`; empty where HTTP/1.0 gave none.
    host: &'a str,
    fields: Vec<httparse::Header<'a>>,
}

impl<'a> Head<'a> {
    /// Reads exactly one complete head, `bytes` being what [`head_length`] measured (it has looked at the line ends).
    ///
    /// # Errors
    /// 400 for what RFC 9112 calls malformed, 414 over [`TARGET_BYTES_MAX`], 431 over [`FIELDS_MAX`] fields, 501 for a
    /// method that Redpoll does not know and 505 for a version other than HTTP/1.0 and HTTP/1.1.
    pub fn parse(bytes: &'a [u8]) -> Result<Head<'a>, Status> {
        let bytes = &bytes[leading_empty_lines(bytes)..];
        let text = std::str::from_utf8(bytes)
            .map_err(|_| malformed("a request head must be ASCII, or UTF-8 in field values"))?;
        let line = text.split_once('\r').map_or(text, |(line, _)| line);
        let (line, fields) = (RequestLine::parse(line)?, bytes.get(line.len() + 2..).unwrap_or_default());
        let mut head = Head { line, host: "", fields: parse_fields(fields)? };
        head.host = head.effective_host()?;
        Ok(head)
    }

    /// The method; a name outside [`Method`] was refused.
    pub fn method(&self) -> Method {
        self.line.method
    }

    /// The path as it was sent, still percent-encoded: it begins with `/`, or is `*` for OPTIONS.
    pub fn path(&self) -> &'a str {
        self.line.path
    }

    /// What follows the first `?` of the target, still encoded; empty where there is none.
    pub fn query(&self) -> &'a str {
        self.line.query
    }

    /// Host and port that the request is for. Only HTTP/1.0 may leave it empty.
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Whether the request is HTTP/1.0, which knows neither chunks nor 100 (Continue).
    pub fn is_http10(&self) -> bool {
        self.line.http10
    }

    /// The value of the first field called `name`, in any case, without the whitespace around it.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields(name).next()
    }

    /// The values of all fields called `name`, in the order of the request.
    pub fn fields<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        let fields = self.fields.iter();
        // `parse` has seen that the whole head is UTF-8, so no value is lost to the default.
        fields.filter(|f| f.name.eq_ignore_ascii_case(name)).map(|f| std::str::from_utf8(f.value).unwrap_or_default())
    }

    /// Whether `token` is in the comma-separated list `name` (RFC 9110 §5.6.1), which may take several lines.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.fields(name).flat_map(list_items).any(|item| item.eq_ignore_ascii_case(token))
    }

    /// Whether the client wants to send another request on this connection (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        !self.has_token("connection", "close") && (!self.is_http10() || self.has_token("connection", "keep-alive"))
    }

    /// Whether `Accept` names `text/event-stream` with a weight above zero (RFC 9110 §12.5.1). A wildcard does not
    /// count: every browser navigation sends one.
    pub fn accepts_event_stream(&self) -> bool {
        self.fields("accept").flat_map(list_items).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().is_some_and(|media| media.eq_ignore_ascii_case("text/event-stream"))
                && !parts.any(is_zero_weight)
        })
    }

    /// Whether the client waits for 100 (Continue) before it sends its content (RFC 9110 §10.1.1). In HTTP/1.0 the
    /// field is ignored, as the same section asks. Any other expectation is a 417.
    pub fn expects_continue(&self) -> Result<bool, Status> {
        if self.is_http10() {
            return Ok(false);
        }
        match self.fields("expect").flat_map(list_items).find(|item| !item.eq_ignore_ascii_case("100-continue")) {
            Some(other) => {
                Err(Status::new(417)
                    .detail(format!("cannot meet the expectation {:?}: only 100-continue", excerpt(other))))
            }
            None => Ok(self.has_token("expect", "100-continue")),
        }
    }

    /// How the content's end is marked (RFC 9112 §6.3); see [`Framing::of`] for what is refused.
    pub fn framing(&self) -> Result<Framing, Status> {
        Framing::of(self)
    }

    /// RFC 9112 §3.2: one `Host`, no more, no less, and well formed. An absolute-form target takes its place (§3.2.2).
    fn effective_host(&self) -> Result<&'a str, Status> {
        let mut hosts = self.fields("host");
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host,
            (None, _) if self.is_http10() => "",
            (None, _) => return Err(malformed("the Host field is missing: HTTP/1.1 requires it (RFC 9112 §3.2)")),
            (Some(_), Some(_)) => return Err(malformed("more than one Host field: give one (RFC 9112 §3.2)")),
        };
        if !host.is_empty() && Authority::parse(host).is_none() {
            return Err(malformed("malformed Host field: it is a host and, after a colon, a port (RFC 9112 §3.2)"));
        }
        Ok(self.line.authority.unwrap_or(host))
    }
}

/// Splits field lines. `httparse` refuses obs-fold (RFC 9112 §5.2), space before the colon (§5.1), and control bytes
/// (RFC 9110 §5.5).
fn parse_fields(bytes: &[u8]) -> Result<Vec<httparse::Header<'_>>, Status> {
    // The last line is empty. Room for all that are allowed would be 2 KiB to fill and to move about.
    let lines = memchr_iter(b'\n', bytes).count().saturating_sub(1);
    let mut fields = vec![httparse::EMPTY_HEADER; lines.min(FIELDS_MAX)];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((length, found))) if length == bytes.len() => {
            let count = found.len();
            fields.truncate(count);
            Ok(fields)
        }
        Ok(_) => Err(malformed("the request head does not end with one empty line (RFC 9112 §2.1)")),
        Err(httparse::Error::TooManyHeaders) => {
            Err(Status::new(431).detail(format!("more than {FIELDS_MAX} header fields")).limit(Limit::Head))
        }
        Err(httparse::Error::HeaderValue) => {
            Err(malformed("malformed field: control bytes in its value (RFC 9110 §5.5)"))
        }
        Err(_) => Err(malformed(
            "malformed field: it is NAME: VALUE on one line, without space before the colon (RFC 9112 §5)",
        )),
    }
}

/// The length of the first request head in `bytes`, with its final empty line and any empty lines before it, or `None`
/// while it is incomplete. `scanned` bytes were seen by an earlier call, so that a byte at a time costs no more.
///
/// # Errors
/// 400 at once for a line that ends in a bare CR or LF (RFC 9112 §2.2), and for a first byte that begins no method.
pub fn head_length(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Status> {
    check_first_byte(bytes)?;
    // A CR that was last of the bytes seen before is judged now.
    let mut at = scanned.saturating_sub(1).min(bytes.len());
    while let Some(found) = memchr2(b'\r', b'\n', &bytes[at..]) {
        at += found;
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) if ends_head(bytes, at) => return Ok(Some(at + 2)),
            (b'\r', Some(b'\n')) => at += 2,
            (b'\r', None) => return Ok(None),
            (b'\n', _) if at > 0 && bytes[at - 1] == b'\r' => at += 1,
            _ => return Err(malformed("a line must end with CR LF, not with one of them alone (RFC 9112 §2.2)")),
        }
    }
    Ok(None)
}

/// Whether the CRLF at `at` is an empty line that follows a line with something on it.
fn ends_head(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[..at], [.., before, b'\r', b'\n'] if before != b'\n')
}

/// How many bytes of empty lines stand before the request line. RFC 9112 §2.2 has a server ignore them; who drops them
/// while a connection is idle does not take them for the start of a request.
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    2 * bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count()
}

/// What to answer when `bytes` has no end of a head and no more may be held: 414 if not even the request line has
/// ended (RFC 9112 §3), else 431.
pub fn head_too_large(bytes: &[u8], head_bytes_max: usize) -> Status {
    let line = &bytes[leading_empty_lines(bytes)..];
    let (code, what) = if line.contains(&b'\n') { (431, "request head") } else { (414, "request line") };
    let detail = format!("the {what} is longer than {head_bytes_max} bytes, which --max-head decides");
    Status::new(code).detail(detail).limit(Limit::Head)
}

/// Refuses other protocols by their first byte, instead of waiting for a line that will never end.
fn check_first_byte(bytes: &[u8]) -> Result<(), Status> {
    match bytes.first() {
        Some(0x16) => Err(malformed("this looks like TLS: the port speaks plain HTTP")),
        Some(b'\r' | b'\n') | None => Ok(()),
        Some(&byte) if is_token_byte(byte) => Ok(()),
        Some(_) => Err(malformed("this is not HTTP: a request begins with a method (RFC 9112 §3)")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a connection does: collect, measure, read. The head's summary and how many bytes are left, `None` if it is
    /// not complete, or the code of the refusal. The pieces end at `cuts`.
    fn receive(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> Result<Option<(String, usize)>, u16> {
        let mut scanned = 0;
        for end in cuts.chain([bytes.len()]) {
            if let Some(length) = head_length(&bytes[..end], scanned).map_err(|status| status.code())? {
                let head = Head::parse(&bytes[..length]).map_err(|status| status.code())?;
                return Ok(Some((format!("{:?}", head), bytes.len() - length)));
            }
            scanned = end;
        }
        Ok(None)
    }

    /// The same, whole, byte by byte and at every split: the outcome must not differ.
    fn receive_every_way(bytes: &[u8]) -> Result<Option<(String, usize)>, u16> {
        let whole = receive(bytes, [].into_iter());
        assert_eq!(receive(bytes, 1..bytes.len()), whole, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
        for split in 0..bytes.len() {
            assert_eq!(
                receive(bytes, [split].into_iter()),
                whole,
                "split at {split}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
    }

    fn request(fields: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn every_malformed_head_is_refused_with_the_code_of_its_section() {
        for (section, code, head) in [
            ("RFC 9112 §2.2, bare LF", 400, "GET / HTTP/1.1\nHost: a\n\n"),
            ("RFC 9112 §2.2, bare LF in fields", 400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
            ("RFC 9112 §2.2, bare LF at the end", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
            ("RFC 9112 §2.2, bare LF first", 400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §2.2, bare CR", 400, "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
            ("RFC 9112 §2.2, two CR", 400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §2.2, bare CR at the end", 400, "GET / HTTP/1.1\r\nHost: a\r\n\r\r"),
            ("RFC 9112 §2.2, space before the first field", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            ("RFC 9112 §2.3, HTTP/0.9", 400, "GET /\r\n\r\n"),
            ("RFC 9112 §2.3, version in lower case", 400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §2.3, short version", 400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §2.3, long version", 400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
            ("RFC 9110 §15.6.6, HTTP/1.2", 505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            ("RFC 9110 §15.6.6, HTTP/0.9 by name", 505, "GET / HTTP/0.9\r\n\r\n"),
            ("RFC 9113 §3.4, HTTP/2 preface", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("RFC 9112 §3, two spaces", 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3, tab", 400, "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3, space at the end", 400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3, space at the start", 400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3, no target", 400, "GET HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.1, method is no token", 400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9110 §9.1, unknown method", 501, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9110 §9.1, method in lower case", 501, "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9110 §9.3.6, CONNECT", 501, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2.1, no slash", 400, "GET channel/a HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2.2, unknown scheme", 400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2.2, no host", 400, "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9110 §4.2.4, user in the target", 400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2.3, authority-form", 400, "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2.4, asterisk with GET", 400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2, fragment", 400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2, raw UTF-8", 400, "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2, control byte", 400, "GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("RFC 9112 §3.2, no Host", 400, "GET / HTTP/1.1\r\n\r\n"),
            ("RFC 9112 §3.2, two Hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
            ("RFC 9112 §3.2, two Hosts in HTTP/1.0", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
            ("RFC 9112 §3.2, a list of hosts", 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
            ("RFC 9112 §3.2, Host with a path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            ("RFC 9112 §3.2, Host with a bad port", 400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
            ("RFC 9112 §3.2.2, bad Host beside an absolute form", 400, "GET http://a/ HTTP/1.1\r\nHost: @\r\n\r\n"),
            ("RFC 9112 §5.1, space before the colon", 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            ("RFC 9112 §5.1, no colon", 400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
            ("RFC 9112 §5.1, no name", 400, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
            ("RFC 9112 §5.1, name is no token", 400, "GET / HTTP/1.1\r\nHost: a\r\nX[]: b\r\n\r\n"),
            ("RFC 9112 §5.2, obs-fold", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
            ("RFC 9112 §5.2, obs-fold with a tab", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"),
            ("RFC 9110 §5.5, NUL", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
            ("RFC 9110 §5.5, escape", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: \u{1b}[0m\r\n\r\n"),
            ("RFC 9110 §5.5, delete", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: \u{7f}\r\n\r\n"),
        ] {
            assert_eq!(receive_every_way(head.as_bytes()), Err(code), "{section}");
        }
    }

    #[test]
    fn bytes_outside_utf_8_are_refused() {
        for head in
            [b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n"]
        {
            assert_eq!(receive_every_way(head), Err(400));
        }
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_byte() {
        let refusal = head_length(b"\x16", 0).unwrap_err();
        assert!(refusal.code() == 400 && refusal.explanation().contains("TLS"));
        for first in [0, 0x80, 0xff, b' ', b'{', b'('] {
            assert_eq!(head_length(&[first], 0).map_err(|status| status.code()), Err(400));
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_however_it_arrives() {
        for (head, left) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", 3),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n", 4),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nx", 1),
            ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            ("GET / HTTP/1.0\r\n\r\n", 0),
            ("GET / HTTP/1.1\r\nHost:\r\nX:\r\nY: \t \u{e9}\t \r\n\r\n", 0),
        ] {
            assert_eq!(receive_every_way(head.as_bytes()).unwrap().unwrap().1, left, "{head:?}");
        }
        for unfinished in [
            "",
            "\r",
            "\r\n",
            "\r\n\r\n\r",
            "G",
            "GET / HTTP/1.1\r",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r",
        ] {
            assert_eq!(receive_every_way(unfinished.as_bytes()), Ok(None), "{unfinished:?}");
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_counted() {
        for (bytes, length) in
            [("", 0), ("\r", 0), ("\r\n", 2), ("\r\n\r", 2), ("\r\n\r\nGET", 4), ("\n\n", 0), ("G\r\n", 0)]
        {
            assert_eq!(leading_empty_lines(bytes.as_bytes()), length, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_too_large_by_its_target_or_by_its_fields() {
        assert_eq!(head_too_large(b"\r\nGET /aaaa", 8).code(), 414);
        assert_eq!(head_too_large(b"GET / HTTP/1.1\r\nHo", 8).code(), 431);
    }

    #[test]
    fn targets_and_fields_have_limits() {
        let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 1));
        assert!(Head::parse(target(TARGET_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(Head::parse(target(TARGET_BYTES_MAX + 1).as_bytes()).unwrap_err().code(), 414);
        assert!(Head::parse(request(&"X: y\r\n".repeat(FIELDS_MAX - 1)).as_bytes()).is_ok());
        assert_eq!(Head::parse(request(&"X: y\r\n".repeat(FIELDS_MAX)).as_bytes()).unwrap_err().code(), 431);
    }

    #[test]
    fn an_absolute_form_target_takes_the_place_of_host() {
        let host = |bytes: &str| Head::parse(bytes.as_bytes()).unwrap().host().to_owned();
        assert_eq!(host("GET /c HTTP/1.1\r\nHost: a:80\r\n\r\n"), "a:80");
        assert_eq!(host("GET http://b:81/c HTTP/1.1\r\nHost: a\r\n\r\n"), "b:81");
        assert_eq!(host("GET http://b/ HTTP/1.0\r\n\r\n"), "b");
        assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), "");
    }

    #[test]
    fn fields_are_found_in_any_case_and_in_order() {
        let bytes = request("X-A:  one \r\nx-a: two\r\nConnection: keep-alive, , Upgrade\r\nconnection: x\r\n");
        let head = Head::parse(bytes.as_bytes()).unwrap();
        assert_eq!(head.field("x-A"), Some("one"));
        assert_eq!(head.fields("X-a").collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(head.field("missing"), None);
        assert!(["upgrade", "X", "keep-alive"].iter().all(|token| head.has_token("connection", token)));
        assert!(!head.has_token("connection", "up") && !head.has_token("connection", ""));
    }

    #[test]
    fn a_connection_is_kept_as_rfc_9112_section_9_3_has_it() {
        for (version, fields, keep_alive) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: Upgrade, CLOSE\r\n", false),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(Head::parse(bytes.as_bytes()).unwrap().keep_alive(), keep_alive, "{version} {fields:?}");
        }
    }

    #[test]
    fn only_an_explicit_acceptable_media_type_asks_for_an_event_stream() {
        for (accept, accepted) in [
            ("text/event-stream", true),
            ("Text/Event-Stream", true),
            ("text/html, text/event-stream;q=0.1", true),
            ("text/event-stream; charset=utf-8; q=1", true),
            ("text/event-stream;q=0", false),
            ("text/event-stream ; Q=0.000", false),
            ("text/*, */*", false),
            ("text/event-streams", false),
            ("", false),
        ] {
            let bytes = request(&format!("Accept: {accept}\r\n"));
            assert_eq!(Head::parse(bytes.as_bytes()).unwrap().accepts_event_stream(), accepted, "{accept}");
        }
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        for (version, expect, expected) in [
            ("1.1", "100-continue", Ok(true)),
            ("1.1", "100-Continue", Ok(true)),
            ("1.1", "", Ok(false)),
            ("1.1", "200-ok", Err(417)),
            ("1.1", "100-continue, x=y", Err(417)),
            ("1.0", "100-continue", Ok(false)),
            ("1.0", "200-ok", Ok(false)),
        ] {
            let bytes = format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: {expect}\r\n\r\n");
            let head = Head::parse(bytes.as_bytes()).unwrap();
            assert_eq!(head.expects_continue().map_err(|status| status.code()), expected, "{version} {expect}");
        }
    }

    #[test]
    fn a_request_of_any_bytes_is_answered_and_does_not_panic() {
        let seed = b"GET http://a:80/b?c HTTP/1.1\r\nHost: a\r\n\r\n";
        for at in 0..seed.len() {
            for byte in 0..=255 {
                let mut bytes = seed.to_vec();
                bytes[at] = byte;
                let _ = Head::parse(&bytes);
                let _ = receive(&bytes, 1..bytes.len());
            }
            let _ = Head::parse(&seed[..at]);
        }
    }
}

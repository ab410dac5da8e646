//! Request lines (RFC 9112 §3): method, target and version.

use super::origin::Authority;
use super::status::Status;
use super::syntax::{excerpt, is_token_byte, malformed};
use crate::config::{Limit, TARGET_BYTES_MAX};

/// The methods of RFC 9110 §9.3 and RFC 5789 that Redpoll knows; a route may allow fewer and answer 405.
///
/// CONNECT is not among them: it asks for a proxy, and is a 501 like any unknown name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
}

impl Method {
    /// The name as it stands on the wire, `GET`.
    pub fn name(self) -> &'static str {
        METHODS[self as usize].0
    }

    /// Method names are case-sensitive (RFC 9110 §9.1), so `get` is an unknown one.
    fn parse(name: &str) -> Result<Method, Status> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(malformed("malformed request line: it does not begin with a method (RFC 9112 §3)"));
        }
        match METHODS.iter().find(|(known, _)| *known == name) {
            Some((_, method)) => Ok(*method),
            None => Err(Status::new(501).detail(format!("method {:?} is not known here", excerpt(name)))),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The request line (RFC 9112 §3), its target taken apart.
#[derive(Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: Method,
    /// That of an absolute-form target; no other has one.
    pub(crate) authority: Option<&'a str>,
    /// Still percent-encoded; never empty.
    pub(crate) path: &'a str,
    /// What follows the first `?`; empty where there is none.
    pub(crate) query: &'a str,
    /// Whether the version is HTTP/1.0; otherwise it is HTTP/1.1.
    pub(crate) http10: bool,
}

impl<'a> RequestLine<'a> {
    /// Reads three words with one space between them. The version comes first, since it decides what the rest
    /// means: the HTTP/2 preface is a 505, not an unknown method.
    pub(crate) fn parse(line: &'a str) -> Result<RequestLine<'a>, Status> {
        let mut words = line.split(' ');
        let (Some(name), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed(
                "malformed request line: it is METHOD TARGET HTTP/1.1 with one space between (RFC 9112 §3)",
            ));
        };
        let http10 = is_version_10(version)?;
        let method = Method::parse(name)?;
        check_target_bytes(target)?;
        let (authority, path_and_query) = split_target(target, method)?;
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        // RFC 9110 §4.2.3: in an absolute form an empty path means `/`.
        Ok(RequestLine { method, authority, path: if path.is_empty() { "/" } else { path }, query, http10 })
    }
}

/// RFC 9112 §2.3. A minor version above 1 might be read as 1.1; no client sends one, so it is refused with the rest.
fn is_version_10(version: &str) -> Result<bool, Status> {
    match version.as_bytes() {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Status::new(505).detail(format!("{version} is not supported: HTTP/1.1 and HTTP/1.0 are")))
        }
        _ => Err(malformed("malformed request line: it ends with HTTP/1.1 or HTTP/1.0 (RFC 9112 §2.3)")),
    }
}

/// Visible ASCII without `#`: RFC 3986 allows less, but browsers send `|`, `{` and the like as they are typed.
fn check_target_bytes(target: &str) -> Result<(), Status> {
    if target.len() > TARGET_BYTES_MAX {
        let detail = format!("the target is longer than {TARGET_BYTES_MAX} bytes");
        return Err(Status::new(414).detail(detail).limit(Limit::Head));
    }
    // Without an early end, which is rare, the compiler looks at many bytes at once.
    match target.bytes().fold(true, |all, byte| all & byte.is_ascii_graphic() & (byte != b'#')) {
        true => Ok(()),
        false => Err(malformed(
            "malformed target: percent-encode what is not visible ASCII, and leave out the fragment (RFC 9112 §3.2)",
        )),
    }
}

/// Splits a target into authority and the rest, by the four forms of RFC 9112 §3.2. Authority-form belongs to CONNECT,
/// which was refused, so here it is malformed.
fn split_target(target: &str, method: Method) -> Result<(Option<&str>, &str), Status> {
    if target.starts_with('/') || (target == "*" && method == Method::Options) {
        return Ok((None, target));
    }
    let absolute =
        target.split_once("://").filter(|(scheme, _)| ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)));
    let Some((_, rest)) = absolute else {
        return Err(malformed("malformed target: it is /PATH, or http://HOST/PATH, or * for OPTIONS (RFC 9112 §3.2)"));
    };
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match Authority::parse(authority) {
        Some(_) => Ok((Some(authority), path_and_query)),
        None => Err(malformed("malformed target: its host and port cannot be read (RFC 9112 §3.2.2)")),
    }
}

const METHODS: [(&str, Method); 8] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("DELETE", Method::Delete),
    ("OPTIONS", Method::Options),
    ("PATCH", Method::Patch),
    ("TRACE", Method::Trace),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_names() {
        for (name, method) in METHODS {
            let line = format!("{name} / HTTP/1.1");
            assert_eq!(RequestLine::parse(&line).unwrap().method, method);
            assert_eq!(method.name(), name);
        }
    }

    #[test]
    fn a_target_is_taken_apart_by_its_form() {
        for (line, authority, path, query) in [
            ("GET / HTTP/1.1", None, "/", ""),
            ("GET /a%20b?c=d?e HTTP/1.1", None, "/a%20b", "c=d?e"),
            ("GET /? HTTP/1.1", None, "/", ""),
            ("GET //a HTTP/1.1", None, "//a", ""),
            ("GET /a?b={}|\" HTTP/1.1", None, "/a", "b={}|\""),
            ("GET http://b:81/c?d HTTP/1.1", Some("b:81"), "/c", "d"),
            ("GET HTTPS://[::1] HTTP/1.1", Some("[::1]"), "/", ""),
            ("GET http://b?d HTTP/1.1", Some("b"), "/", "d"),
            ("OPTIONS * HTTP/1.1", None, "*", ""),
            ("OPTIONS http://b HTTP/1.1", Some("b"), "/", ""),
        ] {
            let line = RequestLine::parse(line).unwrap();
            assert_eq!((line.authority, line.path, line.query), (authority, path, query));
        }
    }
}

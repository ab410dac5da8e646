//! Origins (RFC 6454): which site a browser's request comes from, and whether that is this one.

/// Host and port, as in `Host` and in an `http` URL (RFC 9110 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets, as it was written; never empty.
    pub host: &'a str,
    /// The port, where one is given.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `HOST` or `HOST:PORT` (RFC 3986 §3.2). A user name before an `@` is refused, as RFC 9110 §4.2.4 asks.
    pub fn parse(text: &'a str) -> Option<Authority<'a>> {
        let end = match text.strip_prefix('[') {
            Some(address) => address.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(end);
        let port = match port.strip_prefix(':') {
            // RFC 3986 §3.2.3: the port may be empty, and is then the default.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None if port.is_empty() => None,
            None => return None,
        };
        is_host(host).then_some(Authority { host, port })
    }
}

/// Whether `origin`, the field of a request, is the site that `host`, the request's own `Host`, names.
///
/// Host and port are compared, not the scheme: behind a proxy that ends TLS the scheme is not known here. A port that
/// `host` leaves out is the default of the origin's scheme. `null`, and a scheme other than http and https, is never
/// the same.
pub fn same_origin(origin: &str, host: &str) -> bool {
    let (Some((scheme, from)), Some(to)) = (split_origin(origin), Authority::parse(host)) else { return false };
    let Some(default_port) = default_port(scheme) else { return false };
    let (from_port, to_port) = (from.port.unwrap_or(default_port), to.port.unwrap_or(default_port));
    from.host.eq_ignore_ascii_case(to.host) && from_port == to_port
}

/// What `--origin` may be: `*`, or SCHEME://HOST or SCHEME://HOST:PORT. It comes back as a browser writes it, in lower
/// case and without a default port, so that it can be compared with the field (`eq_ignore_ascii_case`).
///
/// # Errors
/// A sentence that says what is accepted.
pub fn check_origin_flag(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    // RFC 3986 §3.2.2 lets a name have a `*`, but no browser's has: meant as a pattern, it would let nobody in.
    let split = split_origin(text).filter(|(_, authority)| !authority.host.contains('*'));
    let Some((scheme, Authority { host, port })) = split else {
        return Err("an origin is SCHEME://HOST or SCHEME://HOST:PORT without a path, or * for any".to_owned());
    };
    let origin = match port.filter(|_| port != default_port(scheme)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    Ok(origin.to_ascii_lowercase())
}

/// Splits the serialized form of RFC 6454 §6.2. `null` has no parts.
fn split_origin(origin: &str) -> Option<(&str, Authority<'_>)> {
    let (scheme, authority) = origin.split_once("://")?;
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(is_scheme_byte);
    Some((scheme, Authority::parse(authority)?)).filter(|_| is_scheme)
}

fn default_port(scheme: &str) -> Option<u16> {
    let known = [("http", 80), ("https", 443)];
    known.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name)).map(|(_, port)| port)
}

/// RFC 3986 §3.2.2: a bracketed address, or the bytes of a registered name.
fn is_host(host: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let is_address_byte = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    match host.strip_prefix('[').and_then(|address| address.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(is_address_byte),
        None => !host.is_empty() && host.bytes().all(is_name_byte),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_same_host_and_port_are_the_same_origin_whatever_the_scheme() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("https://example.com", "example.com:443"),
            ("http://example.com", "example.com:80"),
            ("http://example.com:80", "example.com"),
            ("HTTP://EXAMPLE.com", "example.COM"),
            ("http://localhost:8080", "localhost:8080"),
            ("https://localhost:8080", "localhost:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://example.com", "example.com:"),
        ] {
            assert!(same_origin(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn another_host_or_port_is_another_origin() {
        for (origin, host) in [
            ("http://example.com", "example.org"),
            ("http://example.com", "www.example.com"),
            ("http://example.com", "example.com:8080"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:443"),
            ("http://example.com.evil.org", "example.com"),
            ("http://example.com@evil.org", "evil.org"),
            ("http://example.com/", "example.com"),
            ("http://a.org http://example.com", "example.com"),
            ("capacitor://localhost", "localhost"),
            ("null", "null"),
            ("null", ""),
            ("", ""),
            ("http://", ""),
            ("example.com", "example.com"),
        ] {
            assert!(!same_origin(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn a_configured_origin_is_written_as_browsers_write_it() {
        for (text, origin) in [
            ("*", "*"),
            ("http://Example.com", "http://example.com"),
            ("HTTPS://example.com:443", "https://example.com"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(check_origin_flag(text).unwrap(), origin);
        }
        for text in [
            "",
            "null",
            "example.com",
            "http://",
            "http://a/",
            "http://a/b",
            "http://a:b",
            "http://a:65536",
            "://a",
            "http://a b",
            "1x://a",
            "https://*.example.com",
        ] {
            assert!(check_origin_flag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        assert_eq!(Authority::parse("a.b:81"), Some(Authority { host: "a.b", port: Some(81) }));
        assert_eq!(Authority::parse("[::1]"), Some(Authority { host: "[::1]", port: None }));
        for text in [
            "", ":80", "a:b", "a:-1", "a:+1", "a:1:2", "[::1", "[]", "[::1]x", "[g]", "a b", "a/b", "a@b", "a,b c", "é",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}

//! Where a request comes from, as the proxies say that have passed it on: `Forwarded` (RFC 7239) and
//! `X-Forwarded-For`.
//!
//! Each proxy appends the address that it saw. What stands before the part that known proxies have written is the
//! client's own word, and is never looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::head::Head;
use super::status::Status;
use super::syntax::{list_items, malformed};

/// Whom a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// No proxy has said anything.
    Unsaid,
    /// The proxy does not say, or not as an address (RFC 7239 §6.2, §6.3).
    Hidden,
    /// An address; one of IPv4 in an IPv6 dress is that of IPv4.
    At(IpAddr),
}

impl Source {
    /// The address that the outermost of `hops` proxies saw, the last of which is our peer. Where fewer have written,
    /// the first of them.
    ///
    /// # Errors
    /// 400 where both fields are there and name different clients: a proxy that writes one of them may pass on what
    /// the client wrote into the other. 400 for a `Forwarded` that cannot be read, which could hide what was appended.
    pub fn of(head: &Head, hops: usize) -> Result<Source, Status> {
        let mut nodes = Vec::new();
        for line in head.fields("forwarded") {
            for element in split_unquoted(line, b',').filter(|element| !element.is_empty()) {
                nodes.push(node_of(element)?);
            }
        }
        let standard = nth_from_end(&nodes, hops).map(|node| node.as_deref().map_or(Source::Hidden, Source::of_node));
        let nodes: Vec<&str> = head.fields("x-forwarded-for").flat_map(list_items).collect();
        let customary = nth_from_end(&nodes, hops).map(|node| Source::of_node(node));
        match (standard, customary) {
            (Some(one), Some(other)) if one != other => Err(malformed(
                "Forwarded and X-Forwarded-For name different clients: the proxy must write one and remove the other",
            )),
            (one, other) => Ok(one.or(other).unwrap_or(Source::Unsaid)),
        }
    }

    /// An IPv4 address, or an IPv6 address, in brackets or not, with a port or not.
    fn of_node(node: &str) -> Source {
        let bracketed = node.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let address = match bracketed {
            Some((address, port)) if is_port(port) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            Some(_) => None,
            None => node.parse().ok().or_else(|| ipv4_with_port(node)),
        };
        address.map_or(Source::Hidden, |address| Source::At(address.to_canonical()))
    }
}

fn ipv4_with_port(node: &str) -> Option<IpAddr> {
    let (address, _) = node.split_at_checked(node.find(':')?).filter(|(_, port)| is_port(port))?;
    address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// Nothing, or a colon and a port, which may be an obfuscated one (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    let is_port_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(is_port_byte))
}

/// The one that is `hops` from the end, or the first.
fn nth_from_end<T>(nodes: &[T], hops: usize) -> Option<&T> {
    nodes.get(nodes.len().saturating_sub(hops))
}

/// The value of `for` in one element; `None` where it has none.
fn node_of(element: &str) -> Result<Option<String>, Status> {
    let mut node = None;
    for pair in split_unquoted(element, b';') {
        let (name, value) = pair.split_once('=').ok_or_else(unreadable)?;
        let value = unquoted(value).ok_or_else(unreadable)?;
        if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return Err(unreadable());
        }
    }
    Ok(node)
}

fn unreadable() -> Status {
    malformed("malformed Forwarded: it is NAME=VALUE pairs, joined by semicolons, then by commas (RFC 7239 §4)")
}

/// A quoted string without its quotes, or a value without any (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else { return (!value.contains('"')).then(|| value.to_owned()) };
    let mut text = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(text),
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
}

/// The parts between separators that stand in no quoted string, without the whitespace around them.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |character| {
        let separates = !quoted && character == char::from(separator);
        quoted ^= character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
        separates
    });
    parts.map(|part| part.trim_matches([' ', '\t']))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn source(fields: &str, hops: usize) -> Result<String, u16> {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let head = Head::parse(bytes.as_bytes()).unwrap();
        Source::of(&head, hops).map_err(|status| status.code()).map(|source| match source {
            Source::At(address) => address.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn the_client_is_whom_the_outermost_trusted_proxy_saw() {
        for (fields, hops, expected) in [
            ("", 1, "Unsaid"),
            ("X-Forwarded-For: 192.0.2.1\r\n", 1, "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\n", 1, "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\n", 2, "198.51.100.9"),
            ("X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 192.0.2.1\r\n", 1, "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", 3, "192.0.2.1"),
            ("X-Forwarded-For: , ,192.0.2.1 ,\r\n", 1, "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", 1, "192.0.2.1"),
            ("X-Forwarded-For: 2001:db8::1\r\n", 1, "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]:4711\r\n", 1, "2001:db8::1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", 1, "192.0.2.1"),
            ("X-Forwarded-For: unknown\r\n", 1, "Hidden"),
            ("X-Forwarded-For: 192.0.2.1, example.com\r\n", 1, "Hidden"),
            ("X-Forwarded-For: [192.0.2.1]\r\n", 1, "Hidden"),
            ("X-Forwarded-For: 192.0.2.1:\"\r\n", 1, "Hidden"),
            ("Forwarded: for=192.0.2.60;proto=http;by=203.0.113.43\r\n", 1, "192.0.2.60"),
            ("Forwarded: For=\"[2001:db8:cafe::17]:4711\"\r\n", 1, "2001:db8:cafe::17"),
            ("Forwarded: for=192.0.2.43, for=198.51.100.17\r\n", 1, "198.51.100.17"),
            ("Forwarded: for=192.0.2.43, for=198.51.100.17\r\n", 2, "192.0.2.43"),
            ("Forwarded: for=192.0.2.43;by=\"a,b;c\\\"\", for=\"_gazonk\"\r\n", 2, "192.0.2.43"),
            ("Forwarded: for=unknown\r\n", 1, "Hidden"),
            ("Forwarded: proto=https\r\n", 1, "Hidden"),
            ("Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 203.0.113.7, 192.0.2.1\r\n", 1, "192.0.2.1"),
        ] {
            assert_eq!(source(fields, hops).as_deref(), Ok(expected), "{fields:?} {hops}");
        }
    }

    #[test]
    fn what_a_client_writes_cannot_hide_what_a_proxy_appends() {
        for fields in [
            "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n",
            "Forwarded: for=_hidden\r\nX-Forwarded-For: 192.0.2.2\r\n",
            "Forwarded: for=\", for=192.0.2.1\r\n",
            "Forwarded: for=\", for=\"[2001:db8::1]\"\r\n",
            "Forwarded: for=\"a\\, for=192.0.2.1\r\n",
            "Forwarded: for=\"a\"b, for=192.0.2.1\r\n",
            "Forwarded: for=a\"b\", for=192.0.2.1\r\n",
            "Forwarded: for, for=192.0.2.1\r\n",
            "Forwarded: ;, for=192.0.2.1\r\n",
            "Forwarded: for=192.0.2.9;for=192.0.2.1\r\n",
        ] {
            assert_eq!(source(fields, 1), Err(400), "{fields:?}");
        }
    }
}

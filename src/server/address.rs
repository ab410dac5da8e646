//! Where to listen: an IP address and a port, the loopback interface by its name, or a path.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// An address to listen on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` or `unix:PATH`.
///
/// No other name is taken. It would have to be looked up, and what a lookup says may change between two starts, while
/// who can reach the server must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first of these that can be had.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Address, String> {
        let kind = match (text.strip_prefix("unix:"), text.rsplit_once(':')) {
            (Some(""), _) => None,
            (Some(path), _) => Some(Kind::Unix(path.into())),
            (None, Some((host, port))) if host.eq_ignore_ascii_case("localhost") => loopback(port).map(Kind::Tcp),
            (None, _) => text.parse().ok().map(|address| Kind::Tcp(vec![address])),
        };
        kind.map(Address).ok_or_else(|| ACCEPTED.to_owned())
    }

    /// Whether nobody but this machine can reach it.
    pub fn is_local(&self) -> bool {
        match &self.0 {
            Kind::Tcp(addresses) => addresses.iter().all(|address| address.ip().is_loopback()),
            Kind::Unix(_) => true,
        }
    }
}

/// RFC 6761 §6.3: the name means the loopback addresses, whatever a file or a server says. IPv4 comes first, since a
/// machine without IPv6 is more common than one without IPv4.
fn loopback(port: &str) -> Option<Vec<SocketAddr>> {
    // The port is read as in every other address: `u16::from_str` would take a sign too.
    let port = format!("{}:{port}", Ipv4Addr::LOCALHOST).parse::<SocketAddr>().ok()?.port();
    Some(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
}

const ACCEPTED: &str = "accepted is IP:PORT such as 127.0.0.1:8080 or [::]:80, localhost:PORT, or unix:PATH; \
    other host names are not looked up";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_says_whether_others_can_reach_it() {
        for (text, first, is_local) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("127.8.9.10:0", "127.8.9.10:0", true),
            ("[::1]:65535", "[::1]:65535", true),
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("[::]:80", "[::]:80", false),
            ("192.0.2.1:80", "192.0.2.1:80", false),
            // The kernel takes such a socket's clients from IPv4; nothing is lost by not trusting it.
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", false),
            ("localhost:8080", "127.0.0.1:8080", true),
            ("LocalHost:0", "127.0.0.1:0", true),
        ] {
            let address = Address::parse(text);
            assert_eq!(address.as_ref().map(Address::is_local), Ok(is_local), "{text}");
            let Ok(Address(Kind::Tcp(addresses))) = address else { panic!("{text} is no path") };
            assert_eq!(addresses.first().map(SocketAddr::to_string).as_deref(), Some(first));
        }
        let localhost = ["127.0.0.1:8080", "[::1]:8080"].map(|text| text.parse().expect("an address"));
        assert_eq!(Address::parse("localhost:8080"), Ok(Address(Kind::Tcp(localhost.to_vec()))));
        for path in ["/run/redpoll", "redpoll:80", " "] {
            let address = Address::parse(&format!("unix:{path}"));
            assert!(address.as_ref().is_ok_and(Address::is_local));
            assert_eq!(address, Ok(Address(Kind::Unix(path.into()))));
        }
    }

    #[test]
    fn anything_else_is_told_what_is_accepted() {
        for text in [
            "",
            ":",
            ":80",
            "8080",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.1:80",
            "::1:80",
            "::1",
            "[::1]",
            "[::1:80",
            "[localhost]:80",
            "localhost",
            "localhost:",
            "localhost:65536",
            "localhost:+80",
            "localhost:-1",
            "localhost: 80",
            "a.localhost:80",
            "example.com:80",
            "a:80",
            "*:80",
            " 127.0.0.1:80",
            "unix:",
            "http://127.0.0.1:80",
        ] {
            assert_eq!(Address::parse(text), Err(ACCEPTED.to_owned()), "{text}");
        }
    }
}

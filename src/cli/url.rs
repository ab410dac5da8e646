//! The URL of a channel, as `pub` and `sub` take it: `http://HOST[:PORT]/channel/NAME`.

use std::net::Ipv6Addr;

use redpoll::wire::form::channel_names;
use redpoll::wire::origin::Authority;

use super::resolve::is_host;

/// Where to find which channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// What to connect to: a name or an address, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Host` field: host and port as they were written.
    pub(crate) authority: String,
    /// The path as it was written, up to and with the names.
    pub(crate) path: String,
    /// The names, decoded, in their order.
    pub(crate) channels: Vec<String>,
}

impl Url {
    /// Reads a URL. A proxy may have put a path before `/channel/`.
    ///
    /// # Errors
    /// What is accepted.
    pub(crate) fn parse(text: &str) -> Result<Url, String> {
        let (scheme, rest) = text.split_once("://").ok_or(ACCEPTED)?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err("https is not supported yet: accepted is http, which a proxy may turn into https".to_owned());
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(ACCEPTED.to_owned());
        }
        let (authority, path) = rest.split_at(rest.find('/').ok_or(ACCEPTED)?);
        let Authority { host, port } = Authority::parse(authority).ok_or(ACCEPTED)?;
        let host = bare_host(host).ok_or_else(|| format!("{ACCEPTED}, where {HOST}"))?;
        if path.contains(['?', '#']) {
            return Err(format!("{ACCEPTED}, without a query: what it would say has flags"));
        }
        let (before, joined) = path.rsplit_once("/channel/").ok_or(ACCEPTED)?;
        // It goes into a request as it is.
        if !before.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ACCEPTED.to_owned());
        }
        let channels = channel_names(joined).map_err(|status| status.explanation().to_owned())?;
        Ok(Url {
            host: host.to_owned(),
            port: port.unwrap_or(80),
            authority: authority.to_owned(),
            path: path.to_owned(),
            channels,
        })
    }
}

/// Any URL of a server: `http://HOST[:PORT][/PATH]`, or `ws` in place of `http`, which is the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// A name or an address, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Host` field: host and port as they were written.
    pub(crate) authority: String,
    /// Path and query as they were written, at least a slash.
    pub(crate) target: String,
    /// Whether it was written with `ws`.
    pub(crate) is_websocket: bool,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is accepted.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, String> {
        let accepted = || "accepted is http://HOST[:PORT]/PATH or ws://HOST[:PORT]/PATH".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(accepted)?;
        let is_websocket = scheme.eq_ignore_ascii_case("ws");
        if !is_websocket && !scheme.eq_ignore_ascii_case("http") {
            return Err(accepted());
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let target = if target.is_empty() { "/" } else { target };
        // It goes into a request as it is.
        let is_sendable = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let found = Authority::parse(authority).filter(|_| target.starts_with('/') && target.bytes().all(is_sendable));
        let Authority { host, port } = found.ok_or_else(accepted)?;
        let host = bare_host(host).ok_or_else(|| format!("{}, where {HOST}", accepted()))?.to_owned();
        let (authority, target) = (authority.to_owned(), target.to_owned());
        Ok(Endpoint { host, port: port.unwrap_or(80), authority, target, is_websocket })
    }
}

/// The host without its brackets, if it can be one.
fn bare_host(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => Some(host).filter(|host| is_host(host)),
    }
}

/// `http://127.0.0.1:8080`, for messages about the server.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// Makes any text fit for the value of a query's parameter (RFC 3986 §2.1).
pub(crate) fn encode_parameter(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

const ACCEPTED: &str = "accepted is http://HOST[:PORT]/channel/NAME";
const HOST: &str =
    "HOST is a name of letters, digits, hyphens and dots, an IPv4 address, or an IPv6 address in brackets";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_which_channels() {
        for (text, host, port, path, channels) in [
            ("http://a/channel/x", "a", 80, "/channel/x", vec!["x"]),
            ("HTTP://A.b:81/channel/x,y", "A.b", 81, "/channel/x,y", vec!["x", "y"]),
            ("http://[::1]:8080/push/channel/%78", "::1", 8080, "/push/channel/%78", vec!["x"]),
            ("http://a/channel/channel/x", "a", 80, "/channel/channel/x", vec!["x"]),
            ("http://127.0.0.1/channel/x", "127.0.0.1", 80, "/channel/x", vec!["x"]),
            ("http://my_net-1.a.:80/channel/x", "my_net-1.a.", 80, "/channel/x", vec!["x"]),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
            assert_eq!(url.channels, channels);
        }
    }

    #[test]
    fn an_endpoint_is_any_path_of_a_server() {
        for (text, host, port, target, is_websocket) in [
            ("http://a", "a", 80, "/", false),
            ("ws://[::1]:8080/a/b?c=d", "::1", 8080, "/a/b?c=d", true),
            ("WS://127.0.0.1:1/echo", "127.0.0.1", 1, "/echo", true),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.target.as_str()), (host, port, target));
            assert_eq!(endpoint.is_websocket, is_websocket);
        }
        for text in ["", "a", "wss://a/", "https://a/", "ws:///x", "ws://a/#x", "ws://a?x", "ws://a/ b", "ws://u@a/"] {
            assert!(Endpoint::parse(text).unwrap_err().contains("accepted is http://"), "{text}");
        }
    }

    #[test]
    fn a_parameter_reads_back_from_the_query() {
        assert_eq!(encode_parameter("a-Z_0.~"), "a-Z_0.~");
        for text in ["", "a b&c=d+e%20#?", "é🐦", "\r\n\0"] {
            let query = format!("event={}", encode_parameter(text));
            assert!(query.bytes().all(|byte| byte.is_ascii_graphic()), "{query}");
            assert_eq!(redpoll::wire::form::parameter(&query, "event").unwrap(), text);
        }
    }

    #[test]
    fn anything_else_is_told_what_is_accepted() {
        for text in [
            "",
            "a",
            "a/channel/x",
            "a:80/channel/x",
            "ws://a/channel/x",
            "http://a",
            "http://a/",
            "http:///channel/x",
            "http://u@a/channel/x",
            "http://a:b/channel/x",
            "http://a:65536/channel/x",
            "http://a/x",
            "http://a/channel/x?since=last",
            "http://a/ b/channel/x",
            "http://a/\r\n/channel/x",
            "unix:/x/channel/x",
        ] {
            assert!(Url::parse(text).unwrap_err().contains(ACCEPTED), "{text}");
        }
        for host in ["a..b", ".a", ".", "a!", "%61", "127.1", "127.0.0.256", "1", "[abc]", "[127.0.0.1]", "[::1%25lo]"]
        {
            let refusal = Url::parse(&format!("http://{host}:80/channel/x")).unwrap_err();
            assert!(refusal.contains(ACCEPTED), "{host}: {refusal}");
        }
        for text in ["http://a/channel/", "http://a/channel/x/y", "http://a/channel/x,x", "http://a/channel/%zz"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        assert!(Url::parse("https://a/channel/x").unwrap_err().contains("https is not supported yet"));
    }
}

//! The addresses of a URL's host: a literal, `localhost`, `/etc/hosts`, and then the DNS.
//!
//! Not by `getaddrinfo`, which is a tenth of the static binary, and there loads shared libraries of the machine, which
//! an empty root does not have. What is left out: the search list of `/etc/resolv.conf` (a name is looked up as it is
//! written), multicast DNS, and whatever else `/etc/nsswitch.conf` may bring in.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::dns::{Fault, Name};
use super::nameserver::{Failure, ask};

/// The addresses of a host, at least one, in the order in which to try them.
///
/// # Errors
/// One line that names the host and what was tried.
pub(crate) fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if is_localhost(host) {
        // In the order of `--listen localhost:PORT`.
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    // Read each time: a subscription may outlive a change of network.
    Sources { hosts: read(HOSTS), servers: nameservers(&read(RESOLV_CONF)), patience: &PATIENCE }.find(host)
}

/// Whether this can be a host: an address or a name. IPv6 has no brackets here.
pub(crate) fn is_host(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || Name::parse(host).is_some()
}

/// RFC 6761 §6.3: names for this machine, whatever a file or a server says.
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit('.').next().is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

/// Where names are looked up.
struct Sources {
    /// The text of `/etc/hosts`.
    hosts: String,
    servers: Vec<SocketAddr>,
    /// For an answer, each time that all servers are asked.
    patience: &'static [Duration],
}

impl Sources {
    fn find(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let listed = in_hosts(&self.hosts, host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let failure = |why: String| io::Error::new(ErrorKind::NotFound, format!("no address for {host}: {why}"));
        let name = Name::parse(host).ok_or_else(|| failure("that is no host name".to_owned()))?;
        self.ask_all(&name).map_err(|mut tried| {
            if !host.contains('.') {
                tried.push_str("; no search list is used");
            }
            failure(format!("it is not in {HOSTS}; {tried}"))
        })
    }

    /// Asks one server after the other, and all again, until one knows. Else it is what each said last.
    fn ask_all(&self, name: &Name) -> Result<Vec<IpAddr>, String> {
        let mut tried = Vec::new();
        for patience in self.patience {
            tried.clear();
            for server in &self.servers {
                let failure = match ask(*server, name, *patience) {
                    Ok(addresses) => return Ok(addresses),
                    Err(failure) => failure,
                };
                tried.push(format!("nameserver {}: {failure}", server.ip()));
                // They all serve the same names.
                if matches!(failure, Failure::Answer(Fault::NoSuchName | Fault::NoAddress)) {
                    return Err(tried.join("; "));
                }
            }
        }
        Err(tried.join("; "))
    }
}

/// hosts(5): an address, then its names; a # begins a comment.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    lines
        .filter_map(|mut words| {
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

/// resolv.conf(5): up to three lines `nameserver ADDRESS`. Where there is none, the machine itself is meant.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|keyword| *keyword == "nameserver").and_then(|_| words.next()?.parse().ok())
    });
    let mut servers: Vec<SocketAddr> =
        addresses.take(NAMESERVERS_MAX).map(|address: IpAddr| (address, DNS_PORT).into()).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
    }
    servers
}

/// A file that is not there, or may not be read, says nothing.
fn read(path: &str) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
const NAMESERVERS_MAX: usize = 3;

/// A datagram may be lost; a server may still be finding out what it was asked, and then has it for the next time.
const PATIENCE: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::dns::tests::{Answer, reply};
    use super::super::nameserver::tests::{FOREVER, is_v6, serve};
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    /// Long enough at some point for a server that does answer, without waiting long for one that does not.
    const GROWING: [Duration; 4] = [SHORT, Duration::from_millis(200), Duration::from_secs(2), Duration::from_secs(20)];

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn sources(hosts: &str, servers: &[SocketAddr], patience: &'static [Duration]) -> Sources {
        Sources { hosts: hosts.to_owned(), servers: servers.to_vec(), patience }
    }

    fn told(sources: &Sources, host: &str) -> String {
        let error = sources.find(host).unwrap_err();
        // Of these kinds, `explain` would not repeat the sentence.
        assert_eq!(error.kind(), ErrorKind::NotFound);
        error.to_string()
    }

    /// Answers for `a.example` with one address.
    fn knows(question: &[u8]) -> Vec<Vec<u8>> {
        let address = Answer::Address("a.example", "192.0.2.1".parse().unwrap());
        vec![reply(question, if is_v6(question) { &[] } else { std::slice::from_ref(&address) })]
    }

    fn refuses(flags: u8) -> impl Fn(&[u8]) -> Vec<Vec<u8>> {
        move |question| {
            let mut message = reply(question, &[]);
            message[3] = flags;
            vec![message]
        }
    }

    #[test]
    fn literals_and_localhost_are_never_looked_up() {
        assert_eq!(resolve("192.0.2.7").unwrap(), ips(&["192.0.2.7"]));
        assert_eq!(resolve("2001:db8::7").unwrap(), ips(&["2001:db8::7"]));
        for host in ["localhost", "LOCALHOST", "localhost.", "chat.localhost", "a.b.LocalHost."] {
            assert_eq!(resolve(host).unwrap(), ips(&["127.0.0.1", "::1"]), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "localhost..", ".", ""] {
            assert!(!is_localhost(host), "{host}");
        }
    }

    #[test]
    fn the_file_of_hosts_comes_first_and_is_not_asked_beyond() {
        let hosts = "# local\n127.0.0.1 localhost\n\n  192.0.2.1\tserver.lan server # a.example\n\
            2001:db8::1 SERVER\n192.0.2.9 other\nfe80::1%eth0 server\nnonsense server\n192.0.2.66\n";
        let sources = sources(hosts, &[], &[]);
        for (host, found) in [
            ("server", &["192.0.2.1", "2001:db8::1"][..]),
            ("Server.", &["192.0.2.1", "2001:db8::1"]),
            ("server.LAN", &["192.0.2.1"]),
            ("other", &["192.0.2.9"]),
        ] {
            assert_eq!(sources.find(host).unwrap(), ips(found), "{host}");
        }
        for host in ["a.example", "lan", "192.0.2.66", "nonsense", "#", "local"] {
            assert!(in_hosts(hosts, host).is_empty(), "{host}");
        }
    }

    #[test]
    fn nameservers_are_those_of_the_file_or_this_machine() {
        let found = |text: &str| nameservers(text).iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # x\n\
            nameserver\nnameserver x\nnameserver fe80::1%eth0\nnameservers 192.0.2.8\noptions ndots:5\n\
            nameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        assert_eq!(found(text), ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert_eq!(found("domain example\n"), ["127.0.0.1:53"]);
        assert_eq!(found(""), ["127.0.0.1:53"]);
        assert_eq!(read("/does/not/exist"), "");
    }

    #[test]
    fn a_server_that_fails_is_followed_by_the_next() {
        let (good, _questions) = serve(knows);
        for failing in [serve(|_| Vec::new()), serve(refuses(0x82)), serve(refuses(0x85))] {
            assert_eq!(sources("", &[failing.0, good], &GROWING).find("a.example").unwrap(), ips(&["192.0.2.1"]));
            assert!(failing.1.try_iter().count() > 0, "it was asked first");
        }
    }

    #[test]
    fn a_lost_datagram_is_sent_again() {
        let mut is_lost = false;
        let (server, questions) =
            serve(move |question| if std::mem::replace(&mut is_lost, true) { knows(question) } else { Vec::new() });
        assert_eq!(sources("", &[server], &[SHORT, FOREVER]).find("a.example").unwrap(), ips(&["192.0.2.1"]));
        let questions: Vec<Vec<u8>> = questions.try_iter().map(|(_, question)| question).collect();
        assert!(questions.len() == 3 && questions[0][..2] != questions[1][..2], "{questions:?}");
    }

    #[test]
    fn that_there_is_no_such_name_ends_the_search() {
        let (first, _questions) = serve(refuses(0x83));
        let (second, questions) = serve(knows);
        let sources = sources("", &[first, second], &[FOREVER, FOREVER]);
        let expected = "no address for a.example: it is not in /etc/hosts; nameserver 127.0.0.1: there is no such name";
        assert_eq!(told(&sources, "a.example"), expected);
        assert!(told(&sources, "server").ends_with("; no search list is used"));
        assert_eq!(questions.try_iter().count(), 0);
    }

    #[test]
    fn an_error_is_one_line_that_names_the_host_and_what_was_tried() {
        let (refusing, _questions) = serve(refuses(0x85));
        let (failing, questions) = serve(refuses(0x82));
        let sources = sources("", &[refusing, failing], &[FOREVER, FOREVER]);
        let expected = "no address for a.example: it is not in /etc/hosts; \
            nameserver 127.0.0.1: it refuses to say (REFUSED); nameserver 127.0.0.1: it cannot find out (SERVFAIL)";
        assert_eq!(told(&sources, "a.example"), expected);
        assert_eq!(questions.try_iter().count(), 2, "once in each round");
        assert_eq!(told(&sources, "a..b"), "no address for a..b: that is no host name");
    }
}

//! Addresses: which client each connection is counted for, and how many each client has.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ConnectionId, Visit};
use crate::config::Limit;
use crate::pages::Pages;
use crate::wire::forwarded::Source;
use crate::wire::head::Head;
use crate::wire::response::Response;
use crate::wire::status::Status;

/// A client, as far as its address tells: an IPv4 address, or the first 64 bits of an IPv6 address, behind which one
/// customer has as many as it likes. As a number, so that it takes eight bytes; 0 is nobody, who is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientAddress(u64);

impl From<IpAddr> for ClientAddress {
    /// `0000::/8` is reserved by the IETF (RFC 4291 §2.4), so its numbers are free for what is no IPv6 network.
    fn from(address: IpAddr) -> ClientAddress {
        match address.to_canonical() {
            IpAddr::V4(address) => ClientAddress(IPV4 | u64::from(u32::from(address))),
            IpAddr::V6(address) => match (u128::from(address) >> 64) as u64 {
                // The loopback address is there.
                low @ ..IPV4 => ClientAddress(IPV6_LOW | low),
                network => ClientAddress(network),
            },
        }
    }
}

const IPV4: u64 = 1 << 32;
const IPV6_LOW: u64 = 1 << 33;

impl ClientAddress {
    /// A number that is no [`ConnectionId`].
    pub(super) fn number(self) -> Option<u64> {
        Some(self.0).filter(|number| *number != 0)
    }
}

/// How many connections each client has. Beside the connections, not in them, so that it costs nothing where nobody
/// asks.
#[derive(Debug)]
pub(crate) struct Addresses {
    of: Pages<ClientAddress>,
    counts: BTreeMap<ClientAddress, u32>,
}

impl Addresses {
    pub(crate) const fn new() -> Addresses {
        Addresses { of: Pages::new(), counts: BTreeMap::new() }
    }

    /// Whether a client may have one connection more.
    pub(crate) fn has_room(&self, client: ClientAddress, limit: Option<u32>) -> bool {
        client == ClientAddress::default() || limit.is_none_or(|limit| self.count(client) < limit)
    }

    fn count(&self, client: ClientAddress) -> u32 {
        self.counts.get(&client).copied().unwrap_or(0)
    }

    /// Counts a connection for a client, and no longer for the one before.
    pub(crate) fn enter(&mut self, id: ConnectionId, client: ClientAddress) {
        self.leave(id);
        if client != ClientAddress::default() {
            self.of.reach(id.0);
            self.of[id.0] = client;
            *self.counts.entry(client).or_default() += 1;
        }
    }

    /// Counts a connection for nobody.
    pub(crate) fn leave(&mut self, id: ConnectionId) {
        let client = self.of(id);
        if client == ClientAddress::default() {
            return;
        }
        self.of[id.0] = ClientAddress::default();
        match self.counts.get_mut(&client) {
            Some(count @ 2..) => *count -= 1,
            _ => drop(self.counts.remove(&client)),
        }
    }

    /// Whom a connection is counted for.
    pub(super) fn of(&self, id: ConnectionId) -> ClientAddress {
        if (id.0 as usize) < self.of.len() { self.of[id.0] } else { ClientAddress::default() }
    }

    /// Gives back the places of connections whose numbers are `end` or higher.
    pub(super) fn shrink(&mut self, end: usize) {
        self.of.shrink(end);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.of.len() * size_of::<ClientAddress>() + self.counts.len() * size_of::<(ClientAddress, u32)>()
    }
}

impl Visit<'_> {
    /// Behind proxies, a connection is that of the client whose request it carries, for as long as that is served: the
    /// proxy uses it again for anyone.
    pub(super) fn enter_client(&mut self, head: &Head) -> Result<(), Response> {
        let config = &self.world.config;
        if config.trusted_hops == 0 {
            return Ok(());
        }
        let Source::At(address) = Source::of(head, config.trusted_hops.into())? else { return Ok(()) };
        log::debug!("{}: {} {} from {address}", self.id.0, head.method(), head.path());
        let client = ClientAddress::from(address);
        if !self.world.addresses.has_room(client, config.address_connections_max) {
            let limit = config.address_connections_max.unwrap_or_default();
            let refusal = Status::new(503).detail(too_many(limit)).limit(Limit::AddressConnections);
            return Err(Response::from(refusal).field("Retry-After", "5"));
        }
        self.world.addresses.enter(self.id, client);
        Ok(())
    }

    /// The request has been answered.
    pub(super) fn leave_client(&mut self) {
        if self.world.config.trusted_hops > 0 {
            self.world.addresses.leave(self.id);
        }
    }
}

/// What a client is told that has too many connections.
pub(crate) fn too_many(limit: u32) -> String {
    format!("{limit} connections from this address are open and --max-per-address allows no more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> ClientAddress {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.1", false),
            ("::1", "::2", true),
            ("0.0.0.0", "::", false),
        ] {
            assert_eq!(client(one) == client(other), same, "{one} {other}");
            assert!(client(one).number().is_some_and(|number| number > u64::from(u32::MAX)));
        }
    }

    #[test]
    fn connections_are_counted_for_whom_they_are_now() {
        let (mut addresses, ann, bob) = (Addresses::new(), client("192.0.2.1"), client("2001:db8::1"));
        let ids = [0, 7, 300].map(ConnectionId);
        ids.iter().for_each(|id| addresses.enter(*id, ann));
        assert!(!addresses.has_room(ann, Some(3)) && addresses.has_room(ann, Some(4)) && addresses.has_room(ann, None));
        assert!(addresses.has_room(bob, Some(1)) && addresses.has_room(ClientAddress::default(), Some(1)));
        addresses.enter(ids[1], bob);
        addresses.enter(ids[2], ClientAddress::default());
        assert_eq!((addresses.count(ann), addresses.count(bob)), (1, 1));
        ids.iter().chain(&[ConnectionId(9_999)]).for_each(|id| addresses.leave(*id));
        assert!(addresses.counts.is_empty());
    }
}

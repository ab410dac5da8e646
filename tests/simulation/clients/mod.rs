//! Clients: each knows the wire forms by itself, and the oracle what it ought to get.

mod attacker;
mod attacks;
mod buffer;
mod closing;
mod commands;
mod deflate;
mod event_stream;
pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod http;
mod inflate;
mod poll;
mod presence;
mod publisher;
mod requests;
mod rogue;
mod socket;
mod subscriber;
mod token;
mod websocket;

pub(crate) use attacker::Attacker;
pub(crate) use attacks::KINDS;
pub(crate) use publisher::Publisher;
pub(crate) use rogue::Rogue;
pub(crate) use subscriber::{Nature, Subscriber, Transport};

use std::net::SocketAddr;

use crate::network::{Arrival, LinkId, Network, Speed, Wake};
use crate::oracle::Oracle;
use crate::random::Random;

/// What the clients are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Come, go and publish.
    Busy,
    /// Come and stay, read, and publish nothing.
    Quiet,
    /// Go, and do not come back.
    Leaving,
}

/// What a client sees and touches of the world.
pub(crate) struct Scene<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) phase: Phase,
}

impl Scene<'_> {
    /// Has a client act after a while; says when that is. It may be woken before.
    pub(crate) fn wake(&mut self, id: usize, delay_ms: u64) -> u64 {
        self.network.wake_in(delay_ms, Wake::Client(id));
        self.network.now + delay_ms
    }
}

pub(crate) enum Client {
    Subscriber(Box<Subscriber>),
    Publisher(Publisher),
    Rogue(Rogue),
    Attacker(Attacker),
}

impl Client {
    /// Its time has come.
    pub(crate) fn act(&mut self, scene: &mut Scene) {
        match self {
            Client::Subscriber(subscriber) => subscriber.act(scene),
            Client::Publisher(publisher) => publisher.act(scene),
            Client::Rogue(rogue) => rogue.act(scene),
            Client::Attacker(attacker) => attacker.act(scene),
        }
    }

    /// Something has come to it. What comes on a link that it has given up is nothing to it.
    pub(crate) fn receive(&mut self, link: LinkId, arrival: Arrival, scene: &mut Scene) {
        if self.link() != Some(link) && !matches!(self, Client::Attacker(_)) {
            return;
        }
        match self {
            Client::Subscriber(subscriber) => subscriber.receive(arrival, scene),
            Client::Publisher(publisher) => publisher.receive(arrival, scene),
            Client::Rogue(rogue) => rogue.receive(arrival, scene),
            Client::Attacker(attacker) => attacker.receive(link, arrival, scene),
        }
    }

    /// The one connection of who has one.
    pub(crate) fn link(&self) -> Option<LinkId> {
        match self {
            Client::Subscriber(subscriber) => subscriber.link(),
            Client::Publisher(publisher) => publisher.link(),
            Client::Rogue(rogue) => rogue.link(),
            Client::Attacker(_) => None,
        }
    }

    /// Where it comes from: attackers from one address, the others each from their own.
    pub(crate) fn address(&self) -> SocketAddr {
        let last = match self {
            Client::Subscriber(subscriber) => subscriber.id() as u8,
            Client::Publisher(publisher) => publisher.id() as u8,
            Client::Rogue(rogue) => rogue.id() as u8,
            Client::Attacker(_) => 255,
        };
        SocketAddr::from(([192, 0, 2, last], 4711))
    }

    /// Closes, if it can, at the moment in which the server does.
    pub(crate) fn close_at_once(&mut self, scene: &mut Scene) {
        if let Client::Subscriber(subscriber) = self {
            subscriber.close_at_once(scene);
        }
    }

    /// Whether it is connected, and reads what it can.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self, Client::Subscriber(subscriber) if subscriber.nature.diligent && subscriber.link().is_some())
    }

    /// The phase has changed: it acts soon, whatever it had in mind.
    pub(crate) fn hasten(&mut self, scene: &mut Scene) {
        let delay = scene.network.random.below(200);
        match self {
            Client::Subscriber(subscriber) => subscriber.act_in(delay, scene),
            Client::Publisher(publisher) => publisher.act_in(delay, scene),
            Client::Rogue(rogue) => rogue.act_in(delay, scene),
            Client::Attacker(attacker) => attacker.act_in(delay, scene),
        }
    }
}

/// A link of somebody who reads as fast as it can.
pub(crate) fn fast(random: &mut Random) -> Speed {
    Speed {
        chunk_max: random.pick(&[4_000, 30_000]),
        delay_max_ms: random.pick(&[0, 2, 6]),
        capacity: random.pick(&[16 << 10, 60_000, 200_000]),
    }
}

/// A link that may be very slow.
pub(crate) fn any(random: &mut Random) -> Speed {
    Speed {
        chunk_max: random.pick(&[3, 50, 700, 5_000]),
        delay_max_ms: random.pick(&[0, 5, 40]),
        capacity: random.pick(&[100, 1_000, 9_000, 60_000]),
    }
}

//! Stories: who is there, under which limits, and what must be true at the end.

use std::collections::BTreeMap;

use redpoll::{Config, History, Limit};

use crate::clients::{Attacker, Client, KINDS, Nature, Phase, Publisher, Rogue, Subscriber, Transport};
use crate::network::Wake;
use crate::oracle::{Oracle, Troubles};
use crate::random::{Random, Trace};
use crate::world::World;

/// What a story came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) trace: Trace,
    published: u64,
    received: u64,
    gaps: u64,
    refused: u64,
    dropped: u64,
    seen: BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// Counts another one in.
    pub(crate) fn add(&mut self, other: Outcome) {
        self.published += other.published;
        self.received += other.received;
        self.gaps += other.gaps;
        self.refused += other.refused;
        self.dropped += other.dropped;
        for (what, count) in other.seen {
            *self.seen.entry(what).or_default() += count;
        }
    }
}

/// Clients come and go for a while, then all get what they lack, then all go.
pub(crate) fn a_story(seed: u64) -> Outcome {
    let mut world = prepare(seed, false);
    let busy_ms = world.network.borrow_mut().random.range(3_000, 30_000);
    world.run_for(busy_ms);
    everyone_catches_up(&mut world);
    world.enter(Phase::Leaving);
    everything_ends(world)
}

/// The same among attackers, where memory and descriptors run out, tokens expire and clocks jump.
pub(crate) fn a_hard_story(seed: u64) -> Outcome {
    let mut world = prepare(seed ^ 0xa77a_c4ed, true);
    let busy_ms = world.network.borrow_mut().random.range(2_000, 15_000);
    world.run_for(busy_ms);
    everyone_catches_up(&mut world);
    world.enter(Phase::Leaving);
    everything_ends(world)
}

/// The server ends in the middle.
pub(crate) fn a_story_that_drains(seed: u64) -> Outcome {
    drain(prepare(seed ^ 0xd7a1, false))
}

/// The same among attackers and troubles.
pub(crate) fn a_hard_story_that_drains(seed: u64) -> Outcome {
    drain(prepare(seed ^ 0xd7a1_c4ed, true))
}

fn drain(mut world: World) -> Outcome {
    let busy_ms = world.network.borrow_mut().random.range(1_000, 20_000);
    world.run_for(busy_ms);
    world.drain();
    world.run_for(Config::default().drain_ms);
    for client in &world.clients {
        // Who waits to be accepted, for want of a descriptor, waits for the process to end.
        let is_served = client.link().is_some_and(|link| world.network.borrow().links[link].is_open());
        assert!(!client.is_reading() || !is_served, "one who reads was not sent away: {:?}", client.link());
    }
    world.recover();
    world.enter(Phase::Leaving);
    everything_ends(world)
}

/// Few clients, for long, with the default limits.
pub(crate) fn a_day(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let config = Config::default();
    let oracle = Oracle::new(0xda7, vec![("day".into(), History::default())], &config);
    let mut world = World::new(seed, start(&mut random), config, oracle);
    let only =
        [Transport::LongPoll, Transport::LongPoll, Transport::RawPoll, Transport::RawStream, Transport::RawSocket];
    for (id, only) in only.into_iter().enumerate() {
        let nature = Nature {
            diligent: true,
            talks: false,
            pace_ms: 60_000,
            stays: 10_000,
            only: Some(only),
            name: Some(id as u64),
            observes: true,
        };
        world.clients.push(Client::Subscriber(Subscriber::new(id, nature, &[0]).into()));
    }
    world.clients.push(Client::Publisher(Publisher::new(only.len(), &[0], 600_000)));
    world.enter(Phase::Busy);
    world.run_for(24 * 3_600_000);
    everyone_catches_up(&mut world);
    world.enter(Phase::Leaving);
    everything_ends(world)
}

/// A moment from which some timers reach across the end of 32-bit ticks.
fn start(random: &mut Random) -> u64 {
    let wrap = 8 << 32;
    match random.one_in(2) {
        true => wrap - random.below(60_000),
        false => random.below(1 << 40),
    }
}

fn prepare(seed: u64, hard: bool) -> World {
    let mut random = Random::new(!seed);
    let histories = [
        History::default(),
        History { entries: random.pick(&[0, 1, 5, 100]), ..History::default() },
        History {
            entries: random.pick(&[0, 5, 100]),
            bytes: random.pick(&[0, 500, 50_000]),
            age_ms: random.pick(&[50, 2_000, 3_600_000]),
        },
    ];
    let count = 1 + random.index(3);
    let channels: Vec<(String, History)> =
        ["a", "bee", "c-3"].iter().map(|name| name.to_string()).zip(histories).take(count).collect();
    let mut config = Config {
        history_prefixes: channels.clone(),
        connections_max: random.pick(&[4, 30, 30]),
        channels_max: random.pick(&[1, 100, 100, 100, 100]),
        ping_interval_ms: random.pick(&[1_000, 5_000, 25_000]),
        keep_alive_ms: random.pick(&[3_000, 60_000]),
        poll_messages_max: random.pick(&[4, 1_000, 1_000]),
        unoffered_entries_max: random.pick(&[3, 256]),
        deflate: !random.one_in(8),
        deflate_from_bytes: random.pick(&[0, 100, 256]),
        presence_window_ms: random.pick(&[20, 500, 500]),
        presence_changes_max: random.pick(&[1, 64, 64]),
        polling_members_max: random.pick(&[1, 100, 100]),
        ..Config::default()
    };
    let troubles = if hard { harden(&mut config, &mut random) } else { Troubles::default() };
    log::debug!("{config:?} {troubles:?}");
    let operator_ms = random.pick(&[50, 200, 2_000]);
    let mut oracle = Oracle::new(seed as u32, channels, &config);
    oracle.troubles = troubles;
    let mut world = World::new(seed, start(&mut random), config, oracle);
    world.operator_ms = operator_ms;
    world.network.borrow_mut().wake_in(0, Wake::Operator);
    for id in 0..random.range(3, 12) as usize {
        world.clients.push(client(id, count, &mut random));
    }
    if hard {
        for id in world.clients.len()..world.clients.len() + random.index(4) {
            let kind = random.pick(&KINDS);
            world.clients.push(Client::Attacker(Attacker::new(id, kind, &mut random)));
        }
        world.listener.fails = troubles.descriptors;
        world.network.borrow_mut().wake_in(0, Wake::Trouble);
    }
    world.enter(Phase::Busy);
    world
}

/// Other limits, so near that they are reached, and what befalls the server.
fn harden(config: &mut Config, random: &mut Random) -> Troubles {
    config.head_timeout_ms = random.pick(&[1_500, 10_000]);
    config.content_timeout_ms = random.pick(&[2_000, 30_000]);
    config.ping_interval_ms = random.pick(&[1_000, 1_000, 5_000]);
    config.subscriptions_max = random.pick(&[40, 1_024]);
    config.idempotency_keys_max = random.pick(&[20, 16_384]);
    config.address_connections_max = random.pick(&[None, None, Some(3)]);
    config.publications_a_second = random.pick(&[None, None, Some(1), Some(20)]);
    if random.one_in(2) {
        config.memory_bytes_max = random.pick(&[1 << 20, 1 << 20, 2 << 20, 4 << 20]);
    }
    Troubles {
        wall: random.one_in(3),
        sleep: random.one_in(4),
        descriptors: random.one_in(4),
        resident: config.memory_bytes_max < usize::MAX && random.one_in(3),
        tokens: random.one_in(3),
        keys: true,
    }
}

fn client(id: usize, channels: usize, random: &mut Random) -> Client {
    let mut own: Vec<usize> = (0..channels).collect();
    // Any of them, in any order.
    own.rotate_left(random.index(channels));
    own.truncate(1 + random.index(channels));
    if random.one_in(8) {
        return Client::Rogue(Rogue::new(id));
    }
    if random.one_in(5) {
        return Client::Publisher(Publisher::new(id, &own, random.pick(&[20, 300, 2_000])));
    }
    let nature = Nature {
        diligent: random.one_in(2),
        talks: random.one_in(2),
        pace_ms: random.pick(&[60, 400, 3_000]),
        stays: random.pick(&[5, 30, 300]),
        only: None,
        name: random.one_in(2).then(|| random.below(4)),
        observes: random.one_in(2),
    };
    Client::Subscriber(Subscriber::new(id, nature, &own).into())
}

/// Nothing more is published: everybody who is connected gets all there is.
fn everyone_catches_up(world: &mut World) {
    world.enter(Phase::Quiet);
    world.recover();
    world.run_for(10_000);
    everyone_knows_who_is_there(world);
    let mut oracle = world.oracle.borrow_mut();
    for client in &world.clients {
        if let Client::Subscriber(subscriber) = client {
            subscriber.check_up_to_date(&mut oracle);
        }
    }
}

/// What observers have been told comes to the list. Between that and the look at it somebody may come or go; where that
/// is so each time, an observer knows of all others whether they are there.
fn everyone_knows_who_is_there(world: &mut World) {
    let mut puzzled: Vec<usize> = (0..world.clients.len()).collect();
    let (mut always, mut ever) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let lists = world.list();
        if round == 0 {
            (always, ever) = (lists.clone(), lists.clone());
        }
        for (channel, list) in lists.iter().enumerate() {
            always[channel] = always[channel].take().zip(list.as_ref()).map(|(always, list)| &always & list);
            ever[channel] = ever[channel].take().zip(list.as_ref()).map(|(ever, list)| &ever | list);
        }
        let mut oracle = world.oracle.borrow_mut();
        let (least, most) = if round < 5 { (&lists, &lists) } else { (&always, &ever) };
        puzzled.retain(|id| match &world.clients[*id] {
            Client::Subscriber(subscriber) => !subscriber.knows(least, most, &mut oracle),
            _ => false,
        });
    }
    assert!(puzzled.is_empty(), "{puzzled:?} do not know who is there");
}

/// All have gone, and nothing is left of them.
fn everything_ends(mut world: World) -> Outcome {
    // Two pings, a request that does not come, an idle connection, an answer that is not taken.
    world.run_until_empty(600_000);
    let metrics = world.engine.metrics();
    assert_eq!((metrics.connections, metrics.subscriptions, metrics.transports), (0, 0, [0; 3]));
    // Whose a connection is, is noted in a table that keeps its size.
    let limited = world.oracle.borrow().config.address_connections_max.is_some();
    let table_bytes = if limited { 8 * 256 } else { 0 };
    assert!(metrics.client_bytes <= table_bytes, "{} bytes are held for clients that have gone", metrics.client_bytes);
    assert_eq!(world.engine.timers(), 0, "timers of clients that have gone");
    assert_eq!(world.network.borrow().open, 0, "streams did not come back");
    assert_eq!(world.oracle.borrow().consumers, 0, "consumers were not dropped");
    let has_budget = world.oracle.borrow().has_budget();
    if has_budget {
        world.check_recovery();
    }
    world.run_for(3_700_000);
    let metrics = world.engine.metrics();
    assert_eq!((metrics.channels, metrics.channel_bytes), (0, 0), "held for channels that are empty");
    assert_eq!((metrics.members, metrics.observers), (0, 0), "somebody is left");
    let (network, oracle) = (world.network.borrow(), world.oracle.borrow());
    Outcome {
        trace: network.trace,
        published: oracle.published,
        received: oracle.received,
        gaps: oracle.gaps,
        refused: metrics.limits[Limit::Connections as usize] + metrics.shed_connections,
        dropped: metrics.dropped,
        seen: oracle.seen.clone(),
    }
}

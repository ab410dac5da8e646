//! The hub: channels as bounded logs, subscriptions as cursors into them.
//!
//! Publishing appends to a log and marks the channel dirty; it never touches a socket. Delivery
//! ([`delivery`]) is the engine's walk over the dirty channels' members at the end of a turn.

mod channel;
mod delivery;
mod idempotency;
mod listing;
mod memory;
mod observe;
mod pinned;
mod presence;
mod publication;
mod shed;
mod subscribe;
mod subscription;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use crate::config::Config;
use crate::pages::Table;
use crate::time::{Now, Tick};
use crate::timer::Wheel;
use crate::wire::deflate::Deflater;
use crate::wire::position::{Position, Since};
use crate::wire::status::Status;

use channel::Channel;
pub(crate) use delivery::Batch;
use idempotency::Answers;
pub use listing::{ChannelInfo, Order};
use memory::Memory;
use pinned::Pinned;
pub use presence::MemberInfo;
use presence::Presence;
pub(crate) use publication::Form;
pub use publication::Publication;
pub(crate) use shed::largest_first;
pub(crate) use subscription::LIST_BYTES;
use subscription::Subscriptions;
pub(crate) use subscription::{ChannelId, Subscription, SubscriptionId};
pub use subscription::{ConnectionId, Transport};

/// What a publish came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The channel's name.
    pub channel: Rc<str>,
    /// The position of the new message.
    pub position: Position,
    /// How many subscriptions the channel had at that moment.
    pub subscribers: usize,
}

/// What is to be published.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Draft<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) binary: bool,
    pub(crate) event: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The last offset that the subscriber is taken to have.
    pub(crate) cursor: u64,
    /// The subscriber's own position where it means nothing here, so that everything up to `cursor` is a gap.
    pub(crate) unknown: Option<Position>,
}

/// A subscription that is to be made.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// The channel.
    pub(crate) name: Rc<str>,
    pub(crate) start: Start,
    /// Where to begin with who comes and goes, where that is to be told.
    pub(crate) presence: Option<Since>,
}

/// All channels and all subscriptions.
#[derive(Debug)]
pub(crate) struct Hub {
    epoch: u32,
    /// In name order, which is the order of every listing.
    names: BTreeMap<Rc<str>, ChannelId>,
    channels: Table<Channel>,
    subscriptions: Subscriptions,
    /// Channels with something to deliver; the first is being walked.
    dirty: VecDeque<ChannelId>,
    /// When each channel's oldest message is to be looked at.
    ages: Wheel,
    /// The highest offset of any channel forgotten so far, for each class of names: no offset of a name is ever given
    /// out twice. One floor for all names would do as well, but whoever polls a quiet room would be told a gap
    /// whenever a busier one is forgotten.
    floors: Box<[u64; NAME_CLASSES]>,
    answers: Answers,
    /// What has been evicted and is still being written.
    pinned: Pinned,
    presence: Presence,
    /// What was delivered last.
    batch: Option<Batch>,
    /// Of all connections: no message depends on the one before.
    deflater: Deflater,
    /// Everything that is held for clients and channels.
    pub(crate) memory: Memory,
    /// Publications encoded into a wire form so far.
    encodings: u64,
    published: u64,
}

impl Hub {
    /// `epoch` is random: positions of another process must not be taken for this one's.
    pub(crate) fn new(epoch: u32, present: Tick, config: &Config) -> Hub {
        Hub {
            epoch,
            names: BTreeMap::new(),
            channels: Table::new(),
            subscriptions: Subscriptions::new(),
            dirty: VecDeque::new(),
            ages: Wheel::new(present),
            floors: Box::new([0; NAME_CLASSES]),
            answers: Answers::default(),
            pinned: Pinned::default(),
            presence: Presence::new(present),
            batch: None,
            deflater: Deflater::new(config.deflate_from_bytes),
            memory: Memory::new(config.memory_bytes_max),
            encodings: 0,
            published: 0,
        }
    }

    /// Appends a message to the channel's log, which is made if it does not exist.
    pub(crate) fn publish(&mut self, name: &str, draft: Draft, now: Now, config: &Config) -> Result<Published, Status> {
        if let Some(first) = draft.key.and_then(|key| self.answers.find(name, key)) {
            return Ok(first.clone());
        }
        self.memory.admit_publication(Publication::cost(draft.data.len(), draft.event))?;
        let id = self.open(name, config)?;
        let publication = Publication::new(draft.data, draft.binary, draft.event, now.monotonic_ms);
        self.memory.channel_bytes += publication.held_bytes();
        self.change(id, |channel, _| channel.append(publication));
        self.published += 1;
        let channel = &self.channels[id.0];
        let published = Published {
            channel: Rc::clone(&channel.name),
            position: Position { epoch: self.epoch, offset: channel.newest() },
            subscribers: channel.members.len(),
        };
        if let Some(key) = draft.key {
            self.memory.channel_bytes += self.answers.insert(key, published.clone(), now.monotonic_ms, config);
        }
        self.mark_dirty(id, now, config);
        Ok(published)
    }

    /// Evicts everything that the channel keeps. Offsets and subscribers go on.
    pub(crate) fn clear(&mut self, name: &str, now: Now, config: &Config) {
        if let Some(id) = self.names.get(name).copied() {
            self.memory.channel_bytes -= self.change(id, Channel::clear);
            self.mark_dirty(id, now, config);
        }
    }

    /// Where a subscription to `name` begins that asks for `since`. Makes nothing.
    pub(crate) fn start(&self, name: &str, since: Since) -> Start {
        let floor = self.floors[class_of(name)];
        let (evicted_through, newest) =
            self.find(name).map_or((floor, floor), |channel| (channel.evicted_through, channel.newest()));
        self.start_between(evicted_through, newest, since)
    }

    fn start_between(&self, evicted_through: u64, newest: u64, since: Since) -> Start {
        let cursor = match since {
            Since::Latest => newest,
            Since::Last => newest.saturating_sub(1).max(evicted_through),
            Since::Earliest => evicted_through,
            Since::After(position) if position.epoch == self.epoch && position.offset <= newest => position.offset,
            Since::After(unknown) => return Start { cursor: evicted_through, unknown: Some(unknown) },
        };
        Start { cursor, unknown: None }
    }

    /// Compresses what one connection alone is sent.
    pub(crate) fn deflater(&mut self) -> &mut Deflater {
        &mut self.deflater
    }

    pub(crate) fn position(&self, offset: u64) -> Position {
        Position { epoch: self.epoch, offset }
    }

    /// The connection's first subscription; [`Hub::next_subscription`] leads on, while others change the hub.
    pub(crate) fn first_subscription(&self, connection: ConnectionId) -> Option<SubscriptionId> {
        self.subscriptions.first(connection)
    }

    /// The subscription that the same connection made next.
    pub(crate) fn next_subscription(&self, id: SubscriptionId) -> Option<SubscriptionId> {
        self.subscriptions.after(id)
    }

    /// A connection's subscriptions, in the order of subscribing.
    pub(crate) fn subscriptions_of(&self, connection: ConnectionId) -> impl Iterator<Item = SubscriptionId> + '_ {
        std::iter::successors(self.subscriptions.first(connection), |id| self.subscriptions.after(*id))
    }

    /// The same, without those to who comes and goes.
    pub(crate) fn channels_of(&self, connection: ConnectionId) -> impl Iterator<Item = SubscriptionId> + '_ {
        self.subscriptions_of(connection).filter(|id| self.observed_by(*id).is_none())
    }

    /// The connection's subscription to the channel of that name, looked for where there are fewer.
    pub(crate) fn subscription_to(&self, connection: ConnectionId, name: &str) -> Option<SubscriptionId> {
        let id = *self.names.get(name)?;
        let members = &self.channels[id.0].members;
        match members.len() < self.subscriptions.count(connection) {
            true => members.iter().copied().find(|member| self.subscriptions.at(*member).connection == connection),
            false => self.subscriptions_of(connection).find(|of| self.subscriptions.at(*of).channel == id),
        }
    }

    pub(crate) fn subscription(&self, id: SubscriptionId) -> &Subscription {
        self.subscriptions.at(id)
    }

    pub(crate) fn channel_name(&self, id: ChannelId) -> &Rc<str> {
        &self.channels[id.0].name
    }

    /// Whether the connections that publish to `name` must wait until delivery has caught up.
    pub(crate) fn is_congested(&self, id: ChannelId, config: &Config) -> bool {
        self.channels.get(id.0).is_some_and(|channel| channel.is_congested(config))
    }

    pub(crate) fn channel_id(&self, name: &str) -> Option<ChannelId> {
        self.names.get(name).copied()
    }

    /// Evicts what has grown too old, and says when the next will have.
    pub(crate) fn expire(&mut self, now: Now, config: &Config) -> Option<Tick> {
        let mut due = Vec::new();
        self.ages.advance(now.tick(), &mut due);
        for id in due {
            self.trim(ChannelId(id), now, config);
        }
        self.memory.channel_bytes -= self.answers.expire(now.monotonic_ms, config) + self.pinned.sweep(SWEEP);
        let answers = self.answers.next_ms().map(|at_ms| now.tick_in(at_ms.saturating_sub(now.monotonic_ms)));
        [self.ages.next(), answers].into_iter().flatten().min_by_key(|tick| now.until_ms(*tick))
    }

    /// Somebody is there again, after however long a time.
    pub(crate) fn begin(&mut self, present: Tick) {
        self.ages.begin(present);
        self.presence.timers.begin(present);
    }

    fn find(&self, name: &str) -> Option<&Channel> {
        self.channels.get(self.names.get(name)?.0)
    }

    /// The channel of that name, which is made if it does not exist. Whether the name is allowed has been asked where
    /// it came in.
    fn open(&mut self, name: &str, config: &Config) -> Result<ChannelId, Status> {
        if let Some(id) = self.names.get(name) {
            return Ok(*id);
        }
        if !name.starts_with(OWN) {
            self.check_channels(1, config)?;
        }
        Ok(self.make(name, config))
    }

    fn make(&mut self, name: &str, config: &Config) -> ChannelId {
        let name: Rc<str> = name.into();
        let channel = Channel::new(Rc::clone(&name), config.history_of(&name), self.floors[class_of(&name)]);
        self.memory.channel_bytes += Channel::cost(&name);
        let id = ChannelId(self.channels.insert(channel));
        self.names.insert(name, id);
        id
    }

    /// Has the channel walked at the end of the turn, or trimmed at once if nobody subscribes.
    fn mark_dirty(&mut self, id: ChannelId, now: Now, config: &Config) {
        let channel = &mut self.channels[id.0];
        if channel.members.is_empty() {
            self.trim(id, now, config);
        } else if !channel.dirty {
            channel.dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn trim(&mut self, id: ChannelId, now: Now, config: &Config) {
        if self.channels.get(id.0).is_none() {
            return;
        }
        let trimmed = self.change(id, |channel, pinned| channel.trim(now.monotonic_ms, config, pinned));
        self.memory.channel_bytes -= trimmed.released_bytes;
        match trimmed.again_ms {
            Some(at_ms) => self.ages.schedule(id.0, now.tick_in(at_ms - now.monotonic_ms)),
            None => self.ages.cancel(id.0),
        }
        self.forget_if_empty(id);
    }

    /// Forgets a channel of which nothing is left but its name.
    fn forget_if_empty(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(id.0) else { return };
        if let Some(observed) = channel.of {
            return self.end_sibling_if_unobserved(id, observed);
        }
        if channel.is_forgettable()
            && let Some(channel) = self.remove(id)
        {
            let floor = &mut self.floors[class_of(&channel.name)];
            *floor = channel.newest().max(*floor);
            self.names.remove(&channel.name);
        }
    }

    fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let channel = self.channels.remove(id.0)?;
        self.ages.cancel(id.0);
        self.memory.channel_bytes -= Channel::cost(&channel.name) + channel.places().held_bytes();
        // Its number may be another channel's in the same turn.
        self.batch.take_if(|batch| batch.channel == id);
        Some(channel)
    }
}

/// How the names of the server's own channels begin, as no channel's name may that a client gives. They are not listed
/// or counted.
const OWN: &str = "/";

/// 8 KiB of floors, so that one name in a thousand shares another's.
const NAME_CLASSES: usize = 1_024;

fn class_of(name: &str) -> usize {
    // Without a random key: a run that is repeated gives out the same positions.
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish() as usize % NAME_CLASSES
}

/// Pinned bytes that one turn looks at: where there are many, a few turns more may pass until they are let go.
const SWEEP: usize = 256;

/// What a subscription costs: itself, and its place among its channel's members.
pub(crate) const SUBSCRIPTION_BYTES: usize = size_of::<Subscription>() + size_of::<SubscriptionId>();

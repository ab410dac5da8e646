//! Channels: bounded logs with members.

use std::collections::VecDeque;
use std::rc::Rc;

use super::pinned::Pinned;
use super::presence::Room;
use super::publication::{COUNTS_BYTES, Encoded, Form, Publication};
use super::subscription::{ChannelId, SubscriptionId};
use crate::config::{Config, History};
use crate::pages::heap_bytes;
use crate::timer::TIMER_BYTES;
use crate::wire::deflate::Deflater;
use crate::wire::position::Position;

/// A bounded log of publications, and who is to get them.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(super) name: Rc<str>,
    history: History,
    /// The publications after `evicted_through`, without a hole.
    log: VecDeque<Publication>,
    /// The highest offset that is not kept any more: a cursor below it has missed something.
    pub(super) evicted_through: u64,
    /// Bytes of payload in the log.
    payload_bytes: usize,
    /// Everything up to here has been offered to every member; only this may be evicted.
    offered_through: u64,
    /// Bytes of payload published after `offered_through`.
    unoffered_bytes: usize,
    /// Who subscribes, in no order.
    pub(super) members: Vec<SubscriptionId>,
    /// Members by transport.
    pub(super) transports: [u32; 3],
    /// The walk over the members that is under way.
    pub(super) pass: Option<Pass>,
    /// Whether the channel is in the hub's list of dirty ones.
    pub(super) dirty: bool,
    /// Until when some member, which could not take everything or is away between two polls, is waited for.
    lag_until_ms: u64,
    /// Who is there by name, where somebody is, or is observed.
    pub(super) room: Option<Box<Room>>,
    /// The channel whose joins and leaves this one tells.
    pub(super) of: Option<ChannelId>,
}

/// A walk over a channel's members, from the last to the first.
#[derive(Debug)]
pub(super) struct Pass {
    /// Members at and after this index have been visited.
    pub(super) next: usize,
    /// The newest offset when the walk began.
    through: u64,
    /// Bytes of payload up to that offset which no walk had offered before.
    bytes: usize,
}

/// How many publications and members a channel has places for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    publications: usize,
    members: usize,
}

impl Places {
    pub(super) fn held_bytes(self) -> usize {
        heap_bytes(self.publications * size_of::<Publication>())
            + heap_bytes(self.members * size_of::<SubscriptionId>())
    }
}

/// What the limits of a channel's log say now.
pub(super) struct Trimmed {
    /// Bytes that are not held any more.
    pub(super) released_bytes: usize,
    /// When to look again, by the monotonic clock.
    pub(super) again_ms: Option<u64>,
}

impl Channel {
    pub(super) fn new(name: Rc<str>, history: History, floor: u64) -> Channel {
        Channel {
            name,
            history,
            log: VecDeque::new(),
            evicted_through: floor,
            payload_bytes: 0,
            offered_through: floor,
            unoffered_bytes: 0,
            members: Vec::new(),
            transports: [0; 3],
            pass: None,
            dirty: false,
            lag_until_ms: 0,
            room: None,
            of: None,
        }
    }

    /// The offset of the newest publication there has been.
    pub(crate) fn newest(&self) -> u64 {
        self.evicted_through + self.log.len() as u64
    }

    pub(super) fn kept(&self) -> usize {
        self.log.len()
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// What a channel of that name costs while it is empty: itself, its name, its place in the map of names, its timer.
    /// The map is a tree of which about half the places are empty.
    pub(super) fn cost(name: &str) -> usize {
        let place = 2 * size_of::<(Rc<str>, ChannelId)>();
        size_of::<Option<Channel>>() + heap_bytes(COUNTS_BYTES + name.len()) + place + TIMER_BYTES
    }

    /// The places for publications and members, used or not.
    #[inline]
    pub(super) fn places(&self) -> Places {
        Places { publications: self.log.capacity(), members: self.members.capacity() }
    }

    pub(super) fn append(&mut self, publication: Publication) {
        self.payload_bytes += publication.data().len();
        self.unoffered_bytes += publication.data().len();
        self.log.push_back(publication);
        if self.members.is_empty() {
            self.offer_to_nobody();
        }
    }

    /// Whether delivery is so far behind that whoever publishes here must wait.
    pub(super) fn is_congested(&self, config: &Config) -> bool {
        self.newest() - self.offered_through > config.unoffered_entries_max
            || self.unoffered_bytes > config.unoffered_bytes_max
    }

    /// The publications after `cursor`, oldest first.
    pub(super) fn after(&self, cursor: u64) -> impl Iterator<Item = &Publication> {
        self.log.range(self.index_after(cursor)..)
    }

    pub(super) fn index_after(&self, cursor: u64) -> usize {
        (cursor.saturating_sub(self.evicted_through) as usize).min(self.log.len())
    }

    /// The bytes of the publication at `id` in one form, which are kept once they are made if `room_bytes` are enough.
    pub(super) fn encoded(
        &mut self,
        id: Position,
        form: Form,
        deflater: &mut Deflater,
        room_bytes: usize,
    ) -> Option<Encoded> {
        let index = id.offset.checked_sub(self.evicted_through + 1)?;
        let publication = self.log.get_mut(usize::try_from(index).ok()?)?;
        Some(publication.encoded(form, &self.name, id, deflater, room_bytes))
    }

    /// Begins a walk over the members.
    pub(super) fn begin_pass(&mut self) {
        self.pass = Some(Pass { next: self.members.len(), through: self.newest(), bytes: self.unoffered_bytes });
    }

    /// Notes that a member could not take everything yet, and is waited for until `until_ms`.
    pub(super) fn note_lag(&mut self, until_ms: u64) {
        self.lag_until_ms = until_ms;
    }

    /// Ends the walk: what it began with has been offered to everyone.
    pub(super) fn end_pass(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.offered_through = pass.through;
            self.unoffered_bytes -= pass.bytes;
        }
    }

    /// Whether something was published that no walk has offered.
    pub(super) fn has_unoffered(&self) -> bool {
        self.newest() > self.offered_through
    }

    /// Forgets a member, and keeps the walk right: the last member takes its place.
    pub(super) fn remove_member(&mut self, member: u32) -> Option<SubscriptionId> {
        self.members.swap_remove(member as usize);
        if let Some(pass) = &mut self.pass {
            pass.next = pass.next.min(self.members.len());
        }
        self.members.get(member as usize).copied()
    }

    /// Evicts what the limits do not allow any more. Only what has been offered, and while a member lags only what
    /// is old enough or too much.
    pub(super) fn trim(&mut self, now_ms: u64, config: &Config, pinned: &mut Pinned) -> Trimmed {
        let mut released_bytes = 0;
        let mut again_ms = None;
        while self.evicted_through < self.offered_through
            && let Some(oldest) = self.log.front()
        {
            let newest_only = self.log.len() == 1 && self.history.entries > 0;
            let over = self.log.len() > self.history.entries as usize
                || self.payload_bytes > self.history.bytes && !newest_only;
            let held_bytes = self.payload_bytes + self.log.len() * size_of::<Publication>();
            let spared = now_ms < self.lag_until_ms && held_bytes <= config.unoffered_bytes_max;
            let due_ms = match (over, spared) {
                (true, false) => now_ms,
                (true, true) => self.lag_until_ms.min(oldest.at_ms + config.lag_grace_ms.min(self.history.age_ms)),
                (false, _) => oldest.at_ms + self.history.age_ms,
            };
            if due_ms > now_ms {
                again_ms = Some(due_ms);
                break;
            }
            released_bytes += self.evict(pinned);
        }
        Trimmed { released_bytes, again_ms }
    }

    /// Evicts everything, offered or not.
    pub(super) fn clear(&mut self, pinned: &mut Pinned) -> usize {
        let mut released_bytes = 0;
        while !self.log.is_empty() {
            released_bytes += self.evict(pinned);
        }
        self.offer_to_nobody();
        released_bytes
    }

    /// Evicts everything, and one more that nobody can have got: whoever subscribes has missed something.
    pub(super) fn skip(&mut self, pinned: &mut Pinned) -> usize {
        let released_bytes = self.clear(pinned);
        self.evicted_through += 1;
        released_bytes
    }

    /// Takes everything as offered, also for a walk that is under way: there is nobody, or nothing, to wait for.
    fn offer_to_nobody(&mut self) {
        self.offered_through = self.newest();
        self.unoffered_bytes = 0;
        if let Some(pass) = &mut self.pass {
            (pass.through, pass.bytes) = (self.offered_through, 0);
        }
    }

    /// Evicts the oldest. Returns what is not held any more: what somebody is being written still is.
    pub(super) fn evict(&mut self, pinned: &mut Pinned) -> usize {
        let Some(gone) = self.log.pop_front() else { return 0 };
        self.payload_bytes -= gone.data().len();
        self.evicted_through += 1;
        if self.log.capacity() / 4 > self.log.len() {
            self.log.shrink_to(2 * self.log.len());
        }
        gone.held_bytes() - pinned.keep(gone)
    }

    /// Whether there are more than `kept` publications, the oldest of which has been offered to everyone.
    pub(super) fn is_longer(&self, kept: usize) -> bool {
        self.log.len() > kept && self.evicted_through < self.offered_through
    }

    /// What the publications cost to hold.
    pub(super) fn log_bytes(&self) -> usize {
        self.log.iter().map(Publication::held_bytes).sum::<usize>() + self.log.len() * size_of::<Publication>()
    }

    /// Lets go of what can be had again: forms of publications that have been delivered, places for members who have
    /// left. Returns what that had cost, but for the places.
    pub(super) fn forget_forms(&mut self) -> usize {
        if self.members.capacity() / 4 > self.members.len() {
            self.members.shrink_to(2 * self.members.len());
        }
        match self.dirty {
            true => 0,
            false => self.log.iter_mut().map(Publication::forget_forms).sum(),
        }
    }

    /// Nobody subscribes or is present, nothing is kept and nothing is to be delivered.
    pub(super) fn is_forgettable(&self) -> bool {
        self.members.is_empty() && self.log.is_empty() && !self.dirty && self.room.is_none()
    }
}

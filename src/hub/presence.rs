//! Presence: who is in a channel by name, once however many connections of that name there are.
//!
//! Only connections with a name are known here, beside the subscriptions, so that the others cost nothing. While a
//! channel is observed ([`observe`](super::observe)), who has come or gone is told a little later, and until then
//! nobody is told anything else: what observers know is the list that was given out, and what they are told after it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use super::publication::COUNTS_BYTES;
use super::{ChannelId, ConnectionId, Hub, Transport};
use crate::config::{Config, Limit};
use crate::pages::heap_bytes;
use crate::time::{Now, Tick};
use crate::timer::{TIMER_BYTES, Wheel};
use crate::wire::form::check_member_name;
use crate::wire::status::Status;

/// Someone who is present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The name.
    pub name: String,
    /// How it is connected; of several ways the first in the order of [`Transport::ALL`].
    pub transport: Transport,
}

/// What all channels share.
#[derive(Debug)]
pub(super) struct Presence {
    /// The connections that have a name.
    names: BTreeMap<ConnectionId, Rc<str>>,
    /// When each room is to be looked at.
    pub(super) timers: Wheel,
    pub(super) rooms: usize,
    /// No sibling that has been forgotten has given out this offset, nor any the 0: who says that has missed something.
    pub(super) floor: u64,
    /// Channels whose joins and leaves are told, each with a log of its own.
    pub(super) siblings: usize,
    pub(super) observers: usize,
    pub(super) members: usize,
    /// Members that stay for a while after their poll.
    polling: usize,
}

impl Presence {
    pub(super) fn new(present: Tick) -> Presence {
        Presence {
            names: BTreeMap::new(),
            timers: Wheel::new(present),
            rooms: 0,
            floor: 1,
            siblings: 0,
            observers: 0,
            members: 0,
            polling: 0,
        }
    }
}

/// Who is in one channel, and what its observers know.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Who is present, or was when observers were told last.
    members: BTreeMap<Rc<str>, Member>,
    /// How many of them observers know of.
    known: usize,
    /// The log of joins and leaves, while somebody observes.
    pub(super) sibling: Option<ChannelId>,
    /// Until when it is kept for observers who have gone.
    pub(super) observed_ms: Option<u64>,
    /// When observers are told who has come or gone since they were told last, if somebody has.
    window_ms: Option<u64>,
    /// When it is looked at next.
    alarm_ms: Option<u64>,
}

#[derive(Debug)]
struct Member {
    /// How it is connected as far as observers know, if they know of it.
    known: Option<Transport>,
    /// Subscriptions to the channel by this name, by transport.
    subscriptions: [u32; Transport::ALL.len()],
    /// Until when it stays after its last poll.
    lingers_ms: Option<u64>,
}

impl Member {
    /// How it is connected, if it is present.
    fn present(&self) -> Option<Transport> {
        let polls = || self.lingers_ms.map(|_| Transport::LongPoll);
        Transport::ALL.into_iter().find(|transport| self.subscriptions[*transport as usize] > 0).or_else(polls)
    }
}

/// Somebody who has come, or gone, or is connected in another way.
pub(super) struct Change {
    pub(super) name: Rc<str>,
    pub(super) is_present: bool,
    pub(super) transport: Transport,
}

impl Room {
    /// Has observers know whether a member is present.
    fn settle(&mut self, name: &str) {
        let Some(member) = self.members.get_mut(name) else { return };
        let (known, present) = (member.known, member.present());
        member.known = present;
        self.known = self.known + usize::from(present.is_some()) - usize::from(known.is_some());
    }

    /// Who polled last so long ago that it does not count any more; and when there will be somebody more.
    fn end_polling(&mut self, now_ms: u64) -> (Vec<Rc<str>>, Option<u64>) {
        let (mut ended, mut next_ms) = (Vec::new(), None);
        for (name, member) in &mut self.members {
            match member.lingers_ms {
                Some(until_ms) if until_ms <= now_ms => {
                    member.lingers_ms = None;
                    ended.push(Rc::clone(name));
                }
                Some(until_ms) => next_ms = Some(next_ms.unwrap_or(until_ms).min(until_ms)),
                None => {}
            }
        }
        (ended, next_ms)
    }

    /// Who is not as observers know it, in the order of names.
    fn changes(&self) -> Vec<Change> {
        let change = |(name, member): (&Rc<str>, &Member)| {
            let present = member.present();
            let transport = present.or(member.known).filter(|_| present != member.known)?;
            Some(Change { name: Rc::clone(name), is_present: present.is_some(), transport })
        };
        self.members.iter().filter_map(change).collect()
    }
}

impl Hub {
    /// Gives a connection a name: it is present in every channel that it subscribes to from now on.
    ///
    /// # Errors
    /// 400 for a name that is none, 503 without memory for it.
    pub(crate) fn name(&mut self, connection: ConnectionId, name: &str) -> Result<(), Status> {
        check_member_name(name)?;
        self.memory.admit(name_cost(name))?;
        self.forget_name(connection);
        self.memory.channel_bytes += name_cost(name);
        self.presence.names.insert(connection, name.into());
        Ok(())
    }

    pub(super) fn forget_name(&mut self, connection: ConnectionId) {
        if let Some(name) = self.presence.names.remove(&connection) {
            self.memory.channel_bytes -= name_cost(&name);
        }
    }

    pub(crate) fn has_name(&self, connection: ConnectionId) -> bool {
        self.presence.names.contains_key(&connection)
    }

    /// Whether a connection may be a member of a channel, if it has a name.
    pub(super) fn admit_member(
        &self,
        connection: ConnectionId,
        channel: &str,
        transport: Transport,
        config: &Config,
    ) -> Result<(), Status> {
        let Some(name) = self.presence.names.get(&connection) else { return Ok(()) };
        self.memory.admit(ROOM_BYTES + member_cost(name))?;
        let room = self.find(channel).and_then(|channel| channel.room.as_deref());
        let lingers = || room.and_then(|room| room.members.get(name)).is_some_and(|member| member.lingers_ms.is_some());
        let polling_max = config.polling_members_max.min(config.memory_bytes_max / POLLING_SHARE_BYTES);
        if transport == Transport::LongPoll && self.presence.polling >= polling_max && !lingers() {
            let detail = format!("{polling_max} members that poll are present, and no more may be");
            return Err(Status::new(503).detail(detail).limit(Limit::PollingMembers));
        }
        Ok(())
    }

    /// A connection has subscribed: if it has a name, that is present.
    pub(super) fn come(
        &mut self,
        connection: ConnectionId,
        id: ChannelId,
        transport: Transport,
        now: Now,
        config: &Config,
    ) {
        let Some(name) = self.presence.names.get(&connection).cloned() else { return };
        let room = self.open_room(id);
        if let Some(member) = room.members.get_mut(&name) {
            member.subscriptions[transport as usize] += 1;
        } else {
            let mut member = Member { known: None, subscriptions: Default::default(), lingers_ms: None };
            member.subscriptions[transport as usize] = 1;
            room.members.insert((*name).into(), member);
            self.presence.members += 1;
            self.memory.channel_bytes += member_cost(&name);
        }
        self.note_poll(id, &name, transport, now, config);
        self.note_change(id, &name, now, config);
    }

    /// A subscription has ended: its name is present for a while after a poll, and else if there is another one.
    pub(super) fn go(
        &mut self,
        connection: ConnectionId,
        id: ChannelId,
        transport: Transport,
        now: Now,
        config: &Config,
    ) {
        let Some(name) = self.presence.names.get(&connection).cloned() else { return };
        let Some(member) = self.room_mut(id).and_then(|room| room.members.get_mut(&name)) else { return };
        member.subscriptions[transport as usize] -= 1;
        self.note_poll(id, &name, transport, now, config);
        self.note_change(id, &name, now, config);
    }

    /// Has a member stay that polls, from now on.
    fn note_poll(&mut self, id: ChannelId, name: &str, transport: Transport, now: Now, config: &Config) {
        let until_ms = now.monotonic_ms + config.presence_linger_ms();
        let Some(room) = self.room_mut(id).filter(|_| transport == Transport::LongPoll) else { return };
        let Some(member) = room.members.get_mut(name) else { return };
        if member.lingers_ms.replace(until_ms).is_none() {
            self.presence.polling += 1;
            self.look_at(id, until_ms, now);
        }
    }

    /// Takes note that a member may have come or gone: at once, or where somebody observes when the window ends.
    fn note_change(&mut self, id: ChannelId, name: &str, now: Now, config: &Config) {
        let Some(room) = self.room_mut(id) else { return };
        if room.sibling.is_none() {
            room.settle(name);
        } else if room.window_ms.is_none() {
            let end_ms = now.monotonic_ms + config.presence_window_ms;
            room.window_ms = Some(end_ms);
            self.look_at(id, end_ms, now);
        }
        self.forget_member_if_gone(id, name);
    }

    /// Forgets a member who is not present, and of whom no observer knows.
    fn forget_member_if_gone(&mut self, id: ChannelId, name: &str) {
        let Some(room) = self.room_mut(id) else { return };
        if room.members.get(name).is_some_and(|member| member.present().is_none() && member.known.is_none()) {
            room.members.remove(name);
            self.presence.members -= 1;
            self.memory.channel_bytes -= member_cost(name);
            self.forget_room_if_empty(id);
        }
    }

    /// Ends a window: what it has come to, all of which observers know from now on.
    pub(super) fn end_window(&mut self, id: ChannelId) -> Vec<Change> {
        let Some(room) = self.room_mut(id) else { return Vec::new() };
        room.window_ms = None;
        let changes = room.changes();
        changes.iter().for_each(|change| room.settle(&change.name));
        changes.iter().for_each(|change| self.forget_member_if_gone(id, &change.name));
        changes
    }

    /// Has a room looked at when the time comes, if it is not before.
    pub(super) fn look_at(&mut self, id: ChannelId, at_ms: u64, now: Now) {
        let Some(room) = self.room_mut(id) else { return };
        if room.alarm_ms.is_none_or(|alarm_ms| at_ms < alarm_ms) {
            room.alarm_ms = Some(at_ms);
            self.presence.timers.schedule(id.0, now.tick_in(at_ms.saturating_sub(now.monotonic_ms)));
        }
    }

    /// Looks at all rooms whose time has come.
    pub(crate) fn tell_presence(&mut self, now: Now, config: &Config) {
        let mut due = Vec::new();
        self.presence.timers.advance(now.tick(), &mut due);
        for id in due {
            self.look(ChannelId(id), now, config);
        }
    }

    /// Looks at a room: members who have not polled again, a window that ends, observers who have not come back.
    fn look(&mut self, id: ChannelId, now: Now, config: &Config) {
        let Some(room) = self.room_mut(id) else { return };
        room.alarm_ms = None;
        let (ended, next_ms) = room.end_polling(now.monotonic_ms);
        self.presence.polling -= ended.len();
        ended.iter().for_each(|name| self.note_change(id, name, now, config));
        let is_over = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now.monotonic_ms);
        if self.room_mut(id).is_some_and(|room| is_over(room.window_ms)) {
            self.tell(id, now, config);
        }
        if self.room_mut(id).is_some_and(|room| is_over(room.observed_ms)) {
            self.end_observing(id);
        }
        let Some(room) = self.room_mut(id) else { return };
        // All members are looked at for who has not polled again, so not more often than windows end.
        let next_ms = next_ms.map(|next_ms| next_ms.max(now.monotonic_ms + config.presence_window_ms));
        let next_ms = [next_ms, room.window_ms, room.observed_ms].into_iter().flatten().min();
        if let Some(next_ms) = next_ms {
            self.look_at(id, next_ms, now);
        }
    }

    /// When presence is to be looked at next.
    pub(crate) fn next_presence(&self) -> Option<Tick> {
        self.presence.timers.next()
    }

    /// Up to `limit` members of a channel that come after `after`, in the order of their names, as observers know them.
    pub(crate) fn list_members(&self, channel: &str, after: &str, limit: usize) -> Vec<MemberInfo> {
        let Some(room) = self.find(channel).and_then(|channel| channel.room.as_deref()) else { return Vec::new() };
        let members = room.members.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let known = members.filter_map(|(name, member)| Some((name, member.known?)));
        known.take(limit).map(|(name, transport)| MemberInfo { name: (**name).into(), transport }).collect()
    }

    /// How many members a channel has, as observers know them.
    pub(crate) fn count_members(&self, channel: &str) -> usize {
        self.find(channel).and_then(|channel| channel.room.as_deref()).map_or(0, |room| room.known)
    }

    pub(super) fn room_mut(&mut self, id: ChannelId) -> Option<&mut Room> {
        self.channels.get_mut(id.0)?.room.as_deref_mut()
    }

    pub(super) fn open_room(&mut self, id: ChannelId) -> &mut Room {
        let room = &mut self.channels[id.0].room;
        if room.is_none() {
            self.presence.rooms += 1;
            self.memory.channel_bytes += ROOM_BYTES;
        }
        room.get_or_insert_default()
    }

    /// Forgets who is in a channel when nobody is, and nobody observes.
    pub(super) fn forget_room_if_empty(&mut self, id: ChannelId) {
        if self.room_mut(id).is_some_and(|room| room.members.is_empty() && room.sibling.is_none()) {
            self.channels[id.0].room = None;
            self.presence.rooms -= 1;
            self.presence.timers.cancel(id.0);
            self.memory.channel_bytes -= ROOM_BYTES;
            self.forget_if_empty(id);
        }
    }
}

/// A member that polls for so many bytes of the memory budget: they are not shed, since observers know them, nor do
/// connections bound them. Each in a channel of its own, they take at most a fifth of it.
const POLLING_SHARE_BYTES: usize = 4 << 10;

/// A room in which nobody is, and its timer.
pub(super) const ROOM_BYTES: usize = heap_bytes(size_of::<Room>()) + TIMER_BYTES;

/// A connection's name. Trees have about half of their places empty.
fn name_cost(name: &str) -> usize {
    2 * size_of::<(ConnectionId, Rc<str>)>() + heap_bytes(COUNTS_BYTES + name.len())
}

/// A member, with a copy of the name, which may outlive the connection.
fn member_cost(name: &str) -> usize {
    2 * size_of::<(Rc<str>, Member)>() + heap_bytes(COUNTS_BYTES + name.len())
}

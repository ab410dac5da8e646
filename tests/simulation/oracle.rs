//! The oracle: what every channel holds, and whether a client got what it should.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::UNIX_EPOCH;

use redpoll::{Config, ConnectionId, History, Now, Position, Published, Reason};

use crate::random::Random;

/// One message that the server has taken.
pub(crate) struct Entry {
    pub(crate) data: Vec<u8>,
    pub(crate) binary: bool,
    pub(crate) event: Option<String>,
    at: u64,
    deleted: bool,
}

/// All that was ever published on one channel.
pub(crate) struct ChannelLog {
    pub(crate) name: String,
    history: History,
    entries: BTreeMap<u64, Entry>,
    by_payload: HashMap<Vec<u8>, u64>,
}

pub(crate) struct Oracle {
    pub(crate) epoch: u32,
    pub(crate) now: u64,
    pub(crate) channels: Vec<ChannelLog>,
    made: HashSet<Vec<u8>>,
    /// Payloads that were sent only after a Close.
    forbidden: HashSet<Vec<u8>>,
    pub(crate) departures: Vec<Departure>,
    pub(crate) endings: Vec<Ending>,
    /// Consumers that exist.
    pub(crate) consumers: usize,
    /// The server's limits.
    pub(crate) config: Config,
    /// What befalls the server.
    pub(crate) troubles: Troubles,
    /// How far the wall clock is from where it began, from each of these moments on.
    skews: Vec<(u64, i64)>,
    /// When the clocks last stood at a much later time at once: whoever was connected then may have been dropped.
    pub(crate) slept_at: u64,
    /// When history was last shed for want of memory.
    pub(crate) shed_at: Option<u64>,
    /// From which size the server compresses, if it does.
    pub(crate) deflate_from_bytes: Option<usize>,
    /// Who was present when a client subscribed to a channel, or when they were listed last.
    pub(crate) listed: BTreeMap<(Option<usize>, usize), BTreeSet<String>>,
    /// Clients began to be told that the server ends.
    pub(crate) draining: bool,
    pub(crate) published: u64,
    pub(crate) received: u64,
    pub(crate) gaps: u64,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

/// What befalls the server in a story.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    /// The wall clock jumps.
    pub(crate) wall: bool,
    /// The machine sleeps.
    pub(crate) sleep: bool,
    /// Descriptors run out, and accepting fails.
    pub(crate) descriptors: bool,
    /// The process takes more memory than is held, where there is a budget.
    pub(crate) resident: bool,
    /// Clients come with tokens that expire.
    pub(crate) tokens: bool,
    /// Idempotency keys may be forgotten early, so that nobody relies on them.
    pub(crate) keys: bool,
}

/// What is to be published.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) data: Vec<u8>,
    pub(crate) binary: bool,
}

/// Which losses may be announced to a client. What the history must keep is never lost, whoever the client is.
#[derive(Clone, Copy)]
pub(crate) struct Excuse {
    /// Which client.
    pub(crate) who: usize,
    /// It reads all the time, so it may lose nothing.
    pub(crate) diligent: bool,
    /// It was away until then.
    pub(crate) away_until: u64,
}

/// What the server knew of a client's progress when its subscription ended.
pub(crate) struct Departure {
    pub(crate) connection: ConnectionId,
    pub(crate) channel: usize,
    pub(crate) cursor: Position,
}

/// What an application was told of the end of a connection, and the newest on each channel at that time.
pub(crate) struct Ending {
    pub(crate) connection: ConnectionId,
    pub(crate) reason: Reason,
    pub(crate) newest: Vec<u64>,
    /// More was held than the memory budget allows, after all had been shed that may be.
    pub(crate) overdrawn: bool,
}

impl Oracle {
    pub(crate) fn new(epoch: u32, channels: Vec<(String, History)>, config: &Config) -> Oracle {
        let channel =
            |(name, history)| ChannelLog { name, history, entries: BTreeMap::new(), by_payload: HashMap::new() };
        Oracle {
            epoch,
            now: 0,
            channels: channels.into_iter().map(channel).collect(),
            made: HashSet::new(),
            forbidden: HashSet::new(),
            departures: Vec::new(),
            endings: Vec::new(),
            consumers: 0,
            config: config.clone(),
            troubles: Troubles::default(),
            skews: vec![(0, 0)],
            slept_at: 0,
            shed_at: None,
            deflate_from_bytes: (config.deflate && cfg!(feature = "deflate")).then_some(config.deflate_from_bytes),
            listed: BTreeMap::new(),
            draining: false,
            published: 0,
            received: 0,
            gaps: 0,
            seen: BTreeMap::new(),
        }
    }

    /// A channel of which everything is known; `None` for those that attackers make.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.channels.iter().position(|channel| channel.name == name)
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        self.find(name).unwrap_or_else(|| panic!("channel {name:?}?"))
    }

    /// What the clocks say.
    pub(crate) fn clocks(&self, monotonic_ms: u64) -> Now {
        let skew = self.skews.last().map_or(0, |(_, skew)| *skew);
        Now { monotonic_ms, unix_ms: wall_ms(monotonic_ms, skew) }
    }

    /// The wall clock jumps, to so far from where it would be.
    pub(crate) fn jump(&mut self, skew_ms: i64) {
        self.skews.push((self.now, skew_ms));
        self.note("the wall clock jumps");
    }

    /// The `Date` of an answer to what was asked at `since` is a second that the wall clock has shown meanwhile.
    pub(crate) fn check_date(&self, date: Option<&str>, since: u64) {
        let Some(date) = date else { return };
        let date = httpdate::parse_http_date(date).expect("a date");
        let seconds = date.duration_since(UNIX_EPOCH).expect("not before 1970").as_secs();
        let ends = self.skews.iter().skip(1).map(|(from, _)| *from).chain([self.now]);
        let mut shown = self.skews.iter().zip(ends).map(|((from, skew), end)| {
            let seconds = |ms| wall_ms(ms, *skew) / 1000;
            (end >= since).then(|| seconds(since.max(*from))..=seconds(end))
        });
        assert!(shown.any(|range| range.is_some_and(|range| range.contains(&seconds))), "the Date is {date:?}");
    }

    /// Whether a client that came at `came_at` may have been dropped since the machine has slept.
    pub(crate) fn is_shaken(&self, came_at: u64) -> bool {
        came_at < self.slept_at
    }

    pub(crate) fn has_budget(&self) -> bool {
        self.config.memory_bytes_max < usize::MAX
    }

    /// Counts that something happened, so that what the seeds cover can be seen.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A payload that no other is like, unless it is empty.
    pub(crate) fn payload(&mut self, random: &mut Random, bytes_max: usize) -> Payload {
        if random.one_in(30) {
            return Payload { data: Vec::new(), binary: random.one_in(2) };
        }
        let size = match random.below(100) {
            0 => 40_000,
            1..10 => random.index(4_000),
            _ => random.index(100),
        };
        self.payload_of(size.min(bytes_max), random)
    }

    /// The same, of so many bytes or a few more.
    pub(crate) fn payload_of(&mut self, size: usize, random: &mut Random) -> Payload {
        let mut data = format!("{}.", self.made.len()).into_bytes();
        let binary = random.one_in(4);
        while data.len() < size {
            match binary {
                true => data.extend_from_slice(&random.next().to_le_bytes()),
                false => data.extend_from_slice(random.pick(&PIECES).as_bytes()),
            }
        }
        assert!(self.made.insert(data.clone()), "a payload is made once");
        Payload { data, binary }
    }

    /// It must not be published.
    pub(crate) fn forbid(&mut self, payload: &Payload) {
        if !payload.data.is_empty() {
            self.forbidden.insert(payload.data.clone());
        }
    }

    /// The server has published, or answered a retry as it had before.
    pub(crate) fn record(&mut self, payload: &Payload, event: Option<&str>, published: &Published, keyed: bool) {
        let now = self.now;
        assert_eq!(published.position.epoch, self.epoch, "the epoch changed");
        let offset = published.position.offset;
        let Some(channel) = self.find(&published.channel) else { return };
        let sent = payload.data.is_empty() || self.made.contains(&payload.data);
        assert!(sent, "nobody has sent {:?} to {}", String::from_utf8_lossy(&payload.data), published.channel);
        assert!(!self.forbidden.contains(&payload.data), "published what was sent after a Close");
        let log = &mut self.channels[channel];
        if let Some(known) = log.entries.get(&offset) {
            assert!(keyed, "{} {offset} was given out twice", log.name);
            assert_eq!(known.data, payload.data, "a retried publish was answered with another's position");
            self.note("retried publish answered again");
            return;
        }
        if let Some((newest, _)) = log.entries.last_key_value() {
            assert!(offset > *newest, "{}: {offset} was given out after {newest}", log.name);
        }
        if !payload.data.is_empty() {
            let before = log.by_payload.insert(payload.data.clone(), offset);
            assert!(before.is_none(), "{}: {before:?} was published again as {offset}", log.name);
        }
        let entry = Entry {
            data: payload.data.clone(),
            binary: payload.binary,
            event: event.map(str::to_owned),
            at: now,
            deleted: false,
        };
        log::debug!("{now}: {} {offset}, {} bytes", log.name, entry.data.len());
        log.entries.insert(offset, entry);
        self.published += 1;
    }

    /// The history of a channel was deleted.
    pub(crate) fn clear(&mut self, name: &str) {
        let Some(channel) = self.find(name) else { return };
        for entry in self.channels[channel].entries.values_mut() {
            entry.deleted = true;
        }
        self.note("DELETE");
    }

    pub(crate) fn newest(&self, channel: usize) -> u64 {
        self.channels[channel].entries.last_key_value().map_or(0, |(offset, _)| *offset)
    }

    pub(crate) fn position(&self, offset: u64) -> String {
        Position { epoch: self.epoch, offset }.to_string()
    }

    /// The offset of a position that the server gave.
    pub(crate) fn offset(&self, text: &str) -> u64 {
        let (epoch, offset) = text.split_once('-').unwrap_or_else(|| panic!("position {text:?}"));
        assert_eq!(u32::from_str_radix(epoch, 16), Ok(self.epoch), "a foreign epoch: {text:?}");
        offset.parse().unwrap_or_else(|_| panic!("position {text:?}"))
    }

    pub(crate) fn offset_of_payload(&self, channel: usize, data: &[u8]) -> Option<u64> {
        self.channels[channel].by_payload.get(data).copied()
    }

    pub(crate) fn entry(&self, channel: usize, offset: u64) -> &Entry {
        let log = &self.channels[channel];
        log.entries.get(&offset).unwrap_or_else(|| panic!("{} {offset} was never published", log.name))
    }

    /// The first message after `offset`.
    pub(crate) fn after(&self, channel: usize, offset: u64) -> Option<(u64, &Entry)> {
        self.channels[channel].entries.range(offset + 1..).next().map(|(offset, entry)| (*offset, entry))
    }

    /// Messages after `from`, before or at `to`.
    pub(crate) fn between(&self, channel: usize, from: u64, to: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        let entries = &self.channels[channel].entries;
        entries.range(from + 1..to.max(from) + 1).map(|(offset, entry)| (*offset, entry))
    }

    /// Fails if a client is told that `offset` is lost and it ought not to be.
    pub(crate) fn check_loss(&self, channel: usize, offset: u64, excuse: Excuse) {
        if let Err(fault) = self.loss(channel, offset, excuse) {
            panic!("{fault}");
        }
    }

    /// Whether `offset` may be lost to a client, or why not.
    pub(crate) fn loss(&self, channel: usize, offset: u64, excuse: Excuse) -> Result<(), String> {
        let log = &self.channels[channel];
        let entry = self.entry(channel, offset);
        if entry.deleted || entry.at + log.history.age_ms <= self.now {
            return Ok(());
        }
        let what = format!("{} {offset} of {} ms ago was lost to {}", log.name, self.now - entry.at, excuse.who);
        if let Some(shed_at) = self.shed_at.filter(|shed_at| *shed_at >= entry.at) {
            // The newest of a channel that has subscribers is never shed.
            let followed = self.after(channel, offset).is_some_and(|(_, next)| next.at <= shed_at);
            let subscribed = excuse.diligent && entry.at > excuse.away_until;
            if followed || !subscribed {
                return Ok(());
            }
        }
        if self.must_be_kept(channel, offset) {
            return Err(format!("{what} within the history"));
        }
        // A machine that sleeps does not read, nor do its clients.
        let away_until = excuse.away_until.max(self.slept_at);
        // One channel's flood holds up the others of the same connection.
        let is_flooded = || (0..self.channels.len()).any(|channel| self.is_flooded(channel));
        match excuse.diligent && entry.at > away_until && !is_flooded() {
            true => Err(format!("{what} who reads all the time")),
            false => Ok(()),
        }
    }

    /// Whether the limits of the channel's history have never been reached from this message on.
    fn must_be_kept(&self, channel: usize, offset: u64) -> bool {
        let log = &self.channels[channel];
        let (mut count, mut bytes) = (0, 0);
        for entry in log.entries.range(offset..).map(|(_, entry)| entry) {
            count += 1;
            bytes += entry.data.len();
            if count > log.history.entries as usize || bytes > log.history.bytes && count > 1 {
                return false;
            }
        }
        true
    }

    /// Whether so much was published of late that somebody who reads all the time may not have read it all.
    fn is_flooded(&self, channel: usize) -> bool {
        let entries = self.channels[channel].entries.values().rev();
        let recent = entries.take_while(|entry| entry.at + 2_500 >= self.now);
        recent.map(|entry| entry.data.len() + 100).sum::<usize>() > 300_000
    }
}

/// The wall clock begins some years after the other one.
fn wall_ms(monotonic_ms: u64, skew_ms: i64) -> u64 {
    (1_700_000_000_000 + monotonic_ms).saturating_add_signed(skew_ms)
}

const PIECES: [&str; 13] = ["a", "b", "hello", " ", "\n", "\r\n", "\r", "\"", "\\", "é", "漢", "👋", "data: x"];

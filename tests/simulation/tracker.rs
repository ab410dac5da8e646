//! How far one client is on one channel, and whether what it is told agrees with the oracle.

use crate::oracle::{Excuse, Oracle};

/// One client's progress on one channel.
pub(crate) struct Tracker {
    pub(crate) channel: usize,
    /// Everything up to here has come or was announced as lost. `None` until the client knows its position.
    pub(crate) position: Option<u64>,
    /// A position that means nothing here, with which the client came: it must be told a gap before all else.
    pub(crate) foreign: Option<String>,
    /// Nothing up to here may come to a client that asked for only what is new.
    unwanted_through: u64,
    /// Everything after this must come to a client that is not told where delivery begins.
    opened_at: u64,
    /// Payloads that came to a client which does not know its position yet.
    unplaced: Vec<Vec<u8>>,
}

impl Tracker {
    pub(crate) fn new(channel: usize) -> Tracker {
        Tracker {
            channel,
            position: None,
            foreign: None,
            unwanted_through: 0,
            opened_at: u64::MAX - 1,
            unplaced: Vec::new(),
        }
    }

    /// Forgets where the client is. `latest` is whether it now asks for only what is new.
    pub(crate) fn restart(&mut self, latest: bool, oracle: &Oracle) {
        *self = Tracker::new(self.channel);
        self.unwanted_through = if latest { oracle.newest(self.channel) } else { 0 };
    }

    /// Whether the client can say where it is.
    pub(crate) fn is_placed(&self) -> bool {
        self.position.is_some() || self.foreign.is_some()
    }

    /// The position as the client gives it to the server.
    pub(crate) fn text(&self, oracle: &Oracle) -> String {
        match &self.foreign {
            Some(foreign) => foreign.clone(),
            None => oracle.position(self.position.unwrap_or(0)),
        }
    }

    /// The server has confirmed the subscription of a client that is not told where delivery begins.
    pub(crate) fn open_without_position(&mut self, oracle: &Oracle) {
        self.opened_at = oracle.newest(self.channel);
        self.unplaced.clear();
    }

    /// The server says where delivery begins.
    pub(crate) fn begin(&mut self, text: &str, oracle: &Oracle) {
        if let Some(foreign) = &self.foreign {
            assert_eq!(text, foreign, "a foreign position begins elsewhere");
            return;
        }
        let offset = oracle.offset(text);
        match self.position {
            Some(position) => assert_eq!(offset, position, "delivery begins elsewhere than asked"),
            None => {
                let first = oracle.after(self.channel, offset).map_or(u64::MAX, |(first, _)| first);
                assert!(first > self.unwanted_through, "`latest` begins at {offset}, before the newest");
            }
        }
        self.position = Some(offset);
    }

    /// A message with its id has come.
    pub(crate) fn message(&mut self, offset: u64, data: &[u8], lines: bool, oracle: &mut Oracle) {
        oracle.received += 1;
        let entry = oracle.entry(self.channel, offset);
        match lines && !entry.binary {
            true => assert_eq!(normalised(data), normalised(&entry.data), "the payload of {offset}"),
            false => assert!(data == entry.data, "the payload of {offset}"),
        }
        assert!(self.foreign.is_none(), "a message before the gap of a foreign position");
        if let Some(position) = self.position {
            assert!(offset > position, "{offset} after {position}: not in order, or twice");
        }
        assert!(offset > self.unwanted_through, "{offset} came to one who wanted what is new");
        let lost = oracle.between(self.channel, self.position.unwrap_or(self.opened_at), offset - 1).next();
        assert!(lost.is_none(), "silent loss of {:?} before {offset}", lost.map(|(lost, _)| lost));
        self.position = Some(offset);
    }

    /// A loss was announced, after `from`, up to and with `to`.
    pub(crate) fn gap(&mut self, from: Option<&str>, to: u64, excuse: Excuse, oracle: &mut Oracle) {
        oracle.gaps += 1;
        if let Some(foreign) = self.foreign.take() {
            assert!(from.is_none_or(|from| from == foreign), "a gap from {from:?}, not {foreign}");
            oracle.note("gap for a foreign position");
            self.position = Some(to);
            return;
        }
        if let Some(at) = self.position {
            assert!(from.is_none_or(|from| from == oracle.position(at)), "a gap from {from:?}, not {at}");
            assert!(to > at, "a gap from {at} to {to}");
        }
        log::debug!("{}: client {} has a gap from {:?} to {to}", oracle.now, excuse.who, self.position);
        for (offset, _) in oracle.between(self.channel, self.position.unwrap_or(self.opened_at), to) {
            oracle.check_loss(self.channel, offset, excuse);
        }
        self.position = Some(to);
    }

    /// The client now has everything up to `offset`, as the server's cursor says.
    pub(crate) fn advance(&mut self, offset: u64, oracle: &Oracle) {
        assert!(self.foreign.is_none(), "no gap was told for a foreign position");
        if let Some(position) = self.position {
            assert!(offset >= position, "the cursor went back from {position} to {offset}");
            let lost = oracle.between(self.channel, position, offset).next();
            assert!(lost.is_none(), "silent loss of {:?}: the cursor is {offset}", lost.map(|(lost, _)| lost));
        } else {
            let first = oracle.after(self.channel, offset).map_or(u64::MAX, |(first, _)| first);
            assert!(first > self.unwanted_through, "`latest` begins at {offset}, before the newest");
        }
        self.position = Some(offset);
    }

    /// A payload without id has come, to a client that gets every one in order.
    pub(crate) fn payload(&mut self, data: &[u8], binary: bool, oracle: &mut Oracle) {
        assert!(self.foreign.is_none(), "a payload in spite of a gap");
        oracle.received += 1;
        let Some(position) = self.position else {
            self.unplaced.push(data.to_vec());
            match oracle.offset_of_payload(self.channel, data) {
                Some(last) => self.place(last, oracle),
                None => assert!(data.is_empty(), "a payload that was never published"),
            }
            return;
        };
        let Some((offset, entry)) = oracle.after(self.channel, position) else {
            panic!("a payload after the newest");
        };
        let shown = String::from_utf8_lossy(&data[..data.len().min(20)]);
        assert!(entry.data == data, "after {position} comes {offset}, not {shown:?}");
        assert_eq!(entry.binary, binary, "the kind of {offset}");
        self.position = Some(offset);
    }

    /// Finds where the payloads that came so far belong.
    fn place(&mut self, last: u64, oracle: &Oracle) {
        let mut entries = oracle.between(self.channel, 0, last).rev();
        let mut first = last;
        for data in self.unplaced.drain(..).rev() {
            let Some((offset, entry)) = entries.next() else { panic!("more payloads than were published") };
            assert!(entry.data == data, "{offset} is not what came");
            first = offset;
        }
        assert!(first > self.unwanted_through, "{first} came to one who wanted what is new");
        let lost = oracle.between(self.channel, self.opened_at, first - 1).next();
        assert!(lost.is_none(), "{:?} did not come", lost.map(|(lost, _)| lost));
        self.position = Some(last);
    }

    /// A client without positions was told that something is lost, of what was published up to `through`.
    pub(crate) fn closed_for_gap(&mut self, through: u64, excuse: Excuse, oracle: &mut Oracle) {
        oracle.gaps += 1;
        oracle.note("4008");
        if self.foreign.take().is_some() {
            return;
        }
        let at = self.position.unwrap_or(self.unwanted_through);
        let losses = oracle.between(self.channel, at, through);
        let losses: Vec<_> = losses.map(|(offset, _)| oracle.loss(self.channel, offset, excuse)).collect();
        // One who does not know where it began may have lost anything since it asked.
        let excused = if self.position.is_some() { losses.first() } else { losses.iter().find(|loss| loss.is_ok()) };
        assert!(excused.is_some_and(Result::is_ok), "closed for nothing: {losses:?}");
    }

    /// Everything has come.
    pub(crate) fn check_up_to_date(&self, oracle: &Oracle) {
        assert!(self.foreign.is_none(), "a foreign position was never answered");
        let at = self.position.unwrap_or(self.opened_at);
        if let Some((offset, _)) = oracle.between(self.channel, at, u64::MAX - 1).nth(self.unplaced.len()) {
            panic!("{} {offset} never came to a client at {at}", oracle.channels[self.channel].name);
        }
    }
}

/// Event streams know one kind of line end.
fn normalised(data: &[u8]) -> String {
    String::from_utf8_lossy(data).replace("\r\n", "\n").replace('\r', "\n")
}

//! One connection of a subscriber: which transport, and what has been parsed of it.

use super::events::Events;
use super::frames::Frames;
use super::http::Responses;
use crate::network::LinkId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A WebSocket with payloads.
    Raw,
    /// A WebSocket with envelopes.
    Json,
    /// A WebSocket of `redpoll.v1`.
    Commands,
    EventsRaw,
    EventsJson,
    LongPoll,
    ShortPoll,
    /// A poll for one payload.
    RawPoll,
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Raw,
        Kind::Json,
        Kind::Commands,
        Kind::EventsRaw,
        Kind::EventsJson,
        Kind::LongPoll,
        Kind::ShortPoll,
        Kind::RawPoll,
    ];

    /// Whether it can have more than one channel.
    pub(crate) fn takes_several(self) -> bool {
        !matches!(self, Kind::Raw | Kind::EventsRaw | Kind::RawPoll)
    }

    pub(crate) fn is_poll(self) -> bool {
        matches!(self, Kind::LongPoll | Kind::ShortPoll | Kind::RawPoll)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Kind::Raw | Kind::Json | Kind::Commands)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "session: raw websocket",
            Kind::Json => "session: json websocket",
            Kind::Commands => "session: redpoll.v1",
            Kind::EventsRaw => "session: raw events",
            Kind::EventsJson => "session: json events",
            Kind::LongPoll => "session: long poll",
            Kind::ShortPoll => "session: short poll",
            Kind::RawPoll => "session: raw poll",
        }
    }
}

/// What a `redpoll.v1` client does with one of its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Asked for, not confirmed.
    Asked,
    Subscribed,
    Unsubscribing,
    Unsubscribed,
}

pub(crate) struct Session {
    pub(crate) link: LinkId,
    pub(crate) kind: Kind,
    pub(crate) responses: Responses,
    pub(crate) frames: Frames,
    pub(crate) events: Events,
    /// The server has accepted: what follows is a stream.
    pub(crate) open: bool,
    pub(crate) opened_at: u64,
    /// This side has sent its Close, or has ended.
    pub(crate) leaving: bool,
    /// The code of the server's Close.
    pub(crate) closed: Option<u16>,
    /// A poll is under way, and since when.
    pub(crate) polling_since: Option<u64>,
    /// For how long it may wait.
    pub(crate) wait_ms: u64,
    /// The client asked for only what is new.
    pub(crate) latest: bool,
    /// What this client has sent, to be published in this order.
    pub(crate) sent: Vec<Vec<u8>>,
    /// Publishes that were not answered: ack, channel, payload.
    pub(crate) acks: Vec<(u64, usize, Vec<u8>)>,
    /// By tracker, for `redpoll.v1`.
    pub(crate) standing: Vec<Standing>,
    /// The event stream's own position has come.
    pub(crate) positioned: bool,
    /// It has read slowly.
    pub(crate) slow: bool,
}

impl Session {
    pub(crate) fn new(link: LinkId, kind: Kind, channels: usize, now: u64) -> Session {
        Session {
            link,
            kind,
            responses: Responses::default(),
            frames: Frames::default(),
            events: Events::default(),
            open: false,
            opened_at: now,
            leaving: false,
            closed: None,
            polling_since: None,
            wait_ms: 0,
            latest: false,
            sent: Vec::new(),
            acks: Vec::new(),
            standing: vec![Standing::Asked; channels],
            positioned: false,
            slow: false,
        }
    }
}

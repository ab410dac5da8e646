//! Every limit, with its default and its reason.

/// What the server allows and how long it waits. `Config::default()` is what the command line starts from.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a channel keeps for those who come later.
    pub history: History,
    /// Other histories for names that begin with a prefix; the longest prefix that fits decides.
    pub history_prefixes: Vec<(String, History)>,
    /// Open connections; a further client gets 503 with `Retry-After`. The binary sets it from the descriptor limit.
    pub connections_max: usize,
    /// Of these, from one IPv4 address or IPv6 network of 64 bits, so that one client cannot take them all. None, since
    /// an office, or a proxy, is one address too. 503 with `Retry-After`.
    pub address_connections_max: Option<u32>,
    /// Publications a second from one connection, or through proxies by POST from one address; a second's worth may
    /// come at once. One client must not fill a channel's history alone. None, since a back end publishes as fast as
    /// it can. 429, an error on a WebSocket of commands, close 1013 on any other.
    pub publications_a_second: Option<u32>,
    /// How many proxies stand before the server, each of which appends to `X-Forwarded-For` or `Forwarded` whom it
    /// serves. None: then a client could write there what it likes.
    pub trusted_hops: u8,
    /// What may be held for clients and channels, all together, in bytes as the heap gives them out. When it is
    /// reached, something is shed, in an order that is always the same: see the `shed` counters of
    /// [`Metrics`](crate::Metrics).
    /// `usize::MAX` is no limit: then only the others count, and they multiply.
    pub memory_bytes_max: usize,
    /// Channels that exist at once: each costs about 400 bytes and what it keeps. Further ones are refused with 503.
    pub channels_max: usize,
    /// Subscriptions of one connection, two for each channel of which it is told who comes and goes: a client that
    /// wants more wants another design. Refused with 503.
    pub subscriptions_max: usize,
    /// One message: content of a POST, payload of a WebSocket message. 413, or close 1009.
    pub message_bytes_max: usize,
    /// Whether WebSocket clients that offer permessage-deflate get it (RFC 7692). A build without the feature `deflate`
    /// never does.
    pub deflate: bool,
    /// From how many bytes of payload a message to them is compressed: below, the saving is less than a packet.
    pub deflate_from_bytes: usize,
    /// A request's head. Browsers send under 2 KiB; cookies make it more. 431.
    pub head_bytes_max: usize,
    /// How long a poll may wait: longer than any proxy's usual limit of 60 s makes no sense. 400.
    pub wait_s_max: u32,
    /// Messages of a channel in one poll's answer, so that an answer has a bounded size; 64 KiB of payload end it too.
    pub poll_messages_max: u16,
    /// WebSocket pings and event stream comments; home routers forget idle connections after 30 s and more.
    pub ping_interval_ms: u64,
    /// From the first byte of a request to the last of its head; 408.
    pub head_timeout_ms: u64,
    /// From the end of the head to the end of the content; 408.
    pub content_timeout_ms: u64,
    /// An HTTP connection without a request.
    pub keep_alive_ms: u64,
    /// How long a peer may take to answer a Close, or to end the connection after us.
    pub linger_ms: u64,
    /// What is read and thrown away on an event stream, where a peer has nothing to say.
    pub discard_bytes_max: usize,
    /// The same after the last answer. Time is what bounds it ([`Config::linger_ms`]): not to read what a peer still
    /// sends would reset the connection, and take the answer away from it.
    pub linger_bytes_max: usize,
    /// What SIGTERM gives connections to end.
    pub drain_ms: u64,
    /// Origins besides the server's own that may subscribe and publish; `*` is any. The first 255 count: a waiting poll
    /// keeps the number of its own in a byte.
    pub origins: Vec<String>,
    /// How long an `Idempotency-Key` is remembered.
    pub idempotency_ms: u64,
    /// How many of them; the oldest is forgotten first. Each costs about 350 bytes, and all of them together at most a
    /// twelfth of [`Config::memory_bytes_max`].
    pub idempotency_keys_max: usize,
    /// Entries of one channel that delivery has not passed yet. While there are more, whoever publishes to it is not
    /// read.
    pub unoffered_entries_max: u64,
    /// The same in bytes; also what a channel may keep beyond its history for a subscriber that is about to read it.
    pub unoffered_bytes_max: usize,
    /// How long an entry outlives its history's limits while some subscriber's socket is full: a burst must reach
    /// a reader whose window is shut for a moment.
    pub lag_grace_ms: u64,
    /// How long joins and leaves are collected before observers are told what they have come to: a page that is loaded
    /// anew has not left, and a thousand who come at once are told in one write.
    pub presence_window_ms: u64,
    /// Joins and leaves of one window that are told one by one; of more, observers are told how many members there
    /// are. It is about as many names as a person reads, and an answer to `GET .../members` is shorter.
    pub presence_changes_max: usize,
    /// The same for joins and leaves times observers: of large channels a few changes cost as much as many of small
    /// ones.
    pub presence_deliveries_max: usize,
    /// Members that polled last and are not forgotten yet. Each outlives its connection, so connections do not bound
    /// them; each costs about 250 bytes, with a channel of its own 800, and all of them together at most a fifth of
    /// [`Config::memory_bytes_max`]. 503.
    pub polling_members_max: usize,
}

/// What a channel keeps; whichever limit is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Messages; 0 delivers and keeps nothing.
    pub entries: u32,
    /// Bytes of payload. The newest message is kept whatever its size.
    pub bytes: usize,
    /// How long a message is kept.
    pub age_ms: u64,
}

impl Default for History {
    fn default() -> History {
        History { entries: 100, bytes: 64 << 10, age_ms: 3_600_000 }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            history: History::default(),
            history_prefixes: Vec::new(),
            connections_max: 100_000,
            address_connections_max: None,
            publications_a_second: None,
            trusted_hops: 0,
            memory_bytes_max: usize::MAX,
            channels_max: 65_536,
            subscriptions_max: 1_024,
            message_bytes_max: 64 << 10,
            deflate: true,
            deflate_from_bytes: 256,
            head_bytes_max: 8 << 10,
            wait_s_max: 120,
            poll_messages_max: 1_000,
            ping_interval_ms: 25_000,
            head_timeout_ms: 10_000,
            content_timeout_ms: 30_000,
            keep_alive_ms: 60_000,
            linger_ms: 2_000,
            discard_bytes_max: 256 << 10,
            linger_bytes_max: 256 << 20,
            drain_ms: 5_000,
            origins: Vec::new(),
            idempotency_ms: 300_000,
            idempotency_keys_max: 16_384,
            unoffered_entries_max: 256,
            unoffered_bytes_max: 1 << 20,
            lag_grace_ms: 1_000,
            presence_window_ms: 500,
            presence_changes_max: 64,
            presence_deliveries_max: 100_000,
            polling_members_max: 16_384,
        }
    }
}

impl Config {
    /// How long a member stays who has polled: one poll that is late, or lost, is no reason to leave. For as long,
    /// joins and leaves are collected for observers who have gone.
    pub(crate) fn presence_linger_ms(&self) -> u64 {
        self.ping_interval_ms.saturating_mul(2)
    }

    /// What is kept of joins and leaves for observers who are away between two polls: of those who come back later,
    /// nobody knows where they are.
    pub(crate) fn presence_history(&self) -> History {
        History { entries: PRESENCE_ENTRIES, bytes: PRESENCE_BYTES, age_ms: self.presence_linger_ms() }
    }

    /// What the channel `name` keeps.
    pub fn history_of(&self, name: &str) -> History {
        let fitting = self.history_prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(self.history, |(_, history)| *history)
    }
}

/// A limit that refuses or ends something when it is reached. [`Metrics::limits`](crate::Metrics::limits) counts how
/// often that was. What a memory budget sheds has counters of its own, and who is dropped because it is silent or takes
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Config::connections_max`].
    Connections,
    /// The operating system lets no more connections in.
    Descriptors,
    /// [`Config::address_connections_max`].
    AddressConnections,
    /// [`Config::channels_max`].
    Channels,
    /// [`Config::subscriptions_max`].
    Subscriptions,
    /// [`Config::message_bytes_max`].
    MessageBytes,
    /// [`Config::head_bytes_max`], [`TARGET_BYTES_MAX`] and [`FIELDS_MAX`].
    Head,
    /// [`Config::head_timeout_ms`].
    HeadTime,
    /// [`Config::content_timeout_ms`].
    ContentTime,
    /// [`Config::keep_alive_ms`].
    KeepAlive,
    /// [`Config::publications_a_second`].
    PublishRate,
    /// [`Config::wait_s_max`].
    Wait,
    /// [`CHANNELS_MAX`].
    RequestChannels,
    /// [`CHANNEL_BYTES_MAX`], [`MEMBER_BYTES_MAX`], [`EVENT_BYTES_MAX`] and that of an `Idempotency-Key`.
    NameBytes,
    /// [`Config::polling_members_max`].
    PollingMembers,
    /// [`Config::idempotency_keys_max`]: of keys that were forgotten before their time.
    IdempotencyKeys,
}

impl Limit {
    /// All of them, in the order of their counts.
    pub const ALL: [Limit; 16] = [
        Limit::Connections,
        Limit::Descriptors,
        Limit::AddressConnections,
        Limit::Channels,
        Limit::Subscriptions,
        Limit::MessageBytes,
        Limit::Head,
        Limit::HeadTime,
        Limit::ContentTime,
        Limit::KeepAlive,
        Limit::PublishRate,
        Limit::Wait,
        Limit::RequestChannels,
        Limit::NameBytes,
        Limit::PollingMembers,
        Limit::IdempotencyKeys,
    ];

    /// The name used in metrics.
    pub fn name(self) -> &'static str {
        [
            "connections",
            "descriptors",
            "address_connections",
            "channels",
            "subscriptions",
            "message_bytes",
            "head",
            "head_time",
            "content_time",
            "keep_alive",
            "publish_rate",
            "wait",
            "request_channels",
            "name_bytes",
            "polling_members",
            "idempotency_keys",
        ][self as usize]
    }
}

/// Channels in one request: each costs a subscription or a publication before anything is answered. 400.
pub const CHANNELS_MAX: usize = 32;

/// Bytes in a channel's name, which every envelope and every list of channels has. 400.
pub const CHANNEL_BYTES_MAX: usize = 128;

/// Bytes in the name of a member: the tutorial's 32 characters, whatever they are, or an identifier of a token. 400.
pub const MEMBER_BYTES_MAX: usize = 128;

/// Bytes in the name of an event, kept with each of its messages. 400.
pub const EVENT_BYTES_MAX: usize = 64;

/// Bytes in an `Idempotency-Key`, as long as any client needs: a UUID has 36. 400.
pub(crate) const KEY_BYTES_MAX: usize = 255;

/// Bytes of a token's header in Base64url, which is read before it is known who has signed it, and would take a hundred
/// times as much. With `alg`, `typ` and a `kid` it has about 100. 401.
pub(crate) const TOKEN_HEADER_BYTES_MAX: usize = 1024;

/// Bytes in a target. A `since=` of 32 positions and a token are below 2 KB. 414.
pub const TARGET_BYTES_MAX: usize = 4096;

/// Fields in one head. Browsers send about 20; proxies add a handful. 431.
pub const FIELDS_MAX: usize = 64;

/// Bytes of chunk extensions and trailers in one request. Nobody needs them, and each costs time to skip. 400.
pub const OVERHEAD_BYTES_MAX: usize = 4096;

/// What one `read` takes at most: the size of the one receive buffer, lent to one connection at a time. It is twice the
/// largest message, so that of many such in a row every other one comes whole and need not be collected.
pub(crate) const RECEIVE_BYTES: usize = 128 << 10;

/// Input of a connection that waits to be served: with more, it is not read.
pub(crate) const WAITING_BYTES: usize = 64 << 10;

/// About what a connection's answers may hold before they are written: what one read can complete, sent back, leaves in
/// one write.
pub(crate) const ANSWER_BYTES: usize = 192 << 10;

/// How often one connection is read in a turn before the others have theirs.
pub(crate) const READS_A_TURN: usize = 4;

/// About what is delivered to a connection in one write.
pub(crate) const OUTPUT_BYTES: usize = 64 << 10;

/// Subscribers that one turn offers messages to, so that a channel of a million does not stop the rest.
pub(crate) const DELIVERIES_A_TURN: usize = 16_384;

/// Bytes that one turn delivers, and a few writes more: the kernel copies them in some milliseconds, which the rest
/// waits.
pub(crate) const DELIVERY_BYTES_A_TURN: u64 = 8 << 20;

/// Joins and leaves that are kept: of a few windows.
const PRESENCE_ENTRIES: u32 = 256;

/// The same in bytes: with names of usual lengths they are as much.
const PRESENCE_BYTES: usize = 32 << 10;

/// Keys under which something is recorded at once: a page that shows four transports and frames has five. For those
/// of one that comes too late nothing is.
pub(crate) const TAPS_MAX: usize = 80;

/// What is kept of a head that is recorded: as much as [`Config::head_bytes_max`] is by default.
pub(crate) const TAP_HEAD_BYTES: usize = 8 << 10;

/// What is kept of a frame that is recorded: more bytes than anyone looks at one by one.
pub(crate) const TAP_SAMPLE_BYTES: usize = 256;

/// How long a recording is kept that nobody asks for and nothing is added to: a page that has gone does not say so.
pub(crate) const TAP_IDLE_MS: u64 = 60_000;

/// About how much payload the answer of one poll has, of all its channels; the rest comes with the next poll.
pub(crate) const POLL_BYTES: usize = 64 << 10;

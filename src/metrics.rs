//! What is counted, for `/metrics` and for people who measure.

use crate::config::Limit;

/// Counters since the start and gauges of this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Connections accepted.
    pub accepted: u64,
    /// How often each limit was reached, in the order of [`Limit::ALL`].
    pub limits: [u64; Limit::ALL.len()],
    /// Connections open now.
    pub connections: usize,
    /// Of these, by transport, in the order of [`Transport::ALL`](crate::Transport::ALL).
    pub transports: [usize; 3],
    /// HTTP requests answered or upgraded.
    pub requests: u64,
    /// HTTP answers with 400 and above.
    pub refusals: u64,
    /// Messages that WebSocket clients sent.
    pub messages: u64,
    /// WebSockets closed for what the peer did wrong.
    pub violations: u64,
    /// Messages published.
    pub published: u64,
    /// Publications encoded into a wire form.
    pub encodings: u64,
    /// Deliveries: writes of one or more publications to one subscriber.
    pub deliveries: u64,
    /// Gaps told to subscribers.
    pub gaps: u64,
    /// Peers dropped because they were silent or took nothing.
    pub dropped: u64,
    /// Connections closed for want of memory, since they read nothing of what was held for them alone.
    pub shed_readers: u64,
    /// Messages forgotten for want of memory, older than the newest of their channel.
    pub shed_history: u64,
    /// Newest messages forgotten for want of memory, of channels without subscribers.
    pub shed_unheard: u64,
    /// Requests refused for want of memory before all of them had arrived.
    pub shed_requests: u64,
    /// WebSockets closed for want of memory in the middle of a message.
    pub shed_messages: u64,
    /// New connections refused for want of memory.
    pub shed_connections: u64,
    /// Publications refused for want of memory.
    pub shed_publications: u64,
    /// Bytes read from clients.
    pub received_bytes: u64,
    /// Bytes written to clients.
    pub sent_bytes: u64,
    /// Channels that exist now.
    pub channels: usize,
    /// Subscriptions that exist now.
    pub subscriptions: usize,
    /// Members now: names in channels, each once in each.
    pub members: usize,
    /// Subscriptions now that are told who comes and goes.
    pub observers: usize,
    /// Bytes held for clients now: their connections, unfinished input, output that they have not taken.
    pub client_bytes: usize,
    /// Bytes held for channels now: messages, their encodings, subscriptions, idempotency keys.
    pub channel_bytes: usize,
    /// Bytes of tables now that are not used: a table keeps the size that it once needed.
    pub table_bytes: usize,
}

impl Metrics {
    /// Counts that a limit was reached, if one was.
    pub(crate) fn reach(&mut self, limit: impl Into<Option<Limit>>) {
        if let Some(limit) = limit.into() {
            self.limits[limit as usize] += 1;
        }
    }
}

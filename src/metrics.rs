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
    /// HTTP answers with 400 and above, in the order of [`REFUSALS`].
    pub refusals: [u64; REFUSALS.len()],
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
    /// How long deliveries took.
    pub delivery: Durations,
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
    /// Bytes of tables now that are not used: whole pages of a table are held while one of their places is.
    pub table_bytes: usize,
    /// What the whole process took when that was last looked at, in bytes; 0 where nobody says it.
    pub resident_bytes: usize,
    /// [`Config::memory_bytes_max`](crate::Config::memory_bytes_max).
    pub memory_bytes_max: usize,
    /// Since the engine was made, in milliseconds.
    pub uptime_ms: u64,
}

impl Metrics {
    /// Counts that a limit was reached, if one was.
    pub(crate) fn reach(&mut self, limit: impl Into<Option<Limit>>) {
        if let Some(limit) = limit.into() {
            self.limits[limit as usize] += 1;
        }
    }

    /// Counts an answer with 400 or above.
    pub(crate) fn refuse(&mut self, code: u16) {
        if let Some(index) = REFUSALS.iter().position(|known| *known == code || *known == OTHER_REFUSALS) {
            self.refusals[index] += 1;
        }
    }
}

/// Statuses that are counted each. The last one is for all others, which only applications give.
pub const REFUSALS: [u16; 18] =
    [400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 426, 429, 431, 500, 501, 503, 505, OTHER_REFUSALS];

const OTHER_REFUSALS: u16 = 599;

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many took no longer than each of [`Durations::BOUNDS_US`], and longer than the one before. The last are
    /// those that took longer than all.
    pub counts: [u64; Durations::BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// In microseconds: from less than a message to one subscriber takes, to what a person calls a hang.
    pub const BOUNDS_US: [u64; 14] =
        [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

    pub(crate) fn note(&mut self, took_us: u64) {
        self.counts[Durations::BOUNDS_US.partition_point(|bound| *bound < took_us)] += 1;
        self.sum_us += took_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_counted_below_its_bound() {
        let mut durations = Durations::default();
        [0, 50, 51, 1_000_000, 1_000_001].into_iter().for_each(|took_us| durations.note(took_us));
        assert_eq!((durations.counts[0], durations.counts[1]), (2, 1));
        assert_eq!((durations.counts[13], durations.counts[14], durations.sum_us), (1, 1, 2_000_102));
    }

    #[test]
    fn a_status_that_only_an_application_gives_is_counted_with_the_others() {
        let mut metrics = Metrics::default();
        [404, 418, 418, 599].into_iter().for_each(|code| metrics.refuse(code));
        assert_eq!((metrics.refusals[3], metrics.refusals[REFUSALS.len() - 1]), (1, 3));
    }
}

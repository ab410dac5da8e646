//! One run: when it ends, what it costs, what is shown meanwhile.

use std::time::Duration;

use super::latency::Latency;
use super::process::{OWN, cpu_seconds, kernel_tcp_bytes, resident_bytes};
use super::receiver::Faults;
use super::swarm::{Swarm, TICK};
use super::timeline::Timeline;
use crate::cli::progress::Progress;

/// What a run has found out.
pub(super) struct Tally {
    /// Connections that were opened before it began.
    pub(super) opened: usize,
    /// Messages that came; of churn, connections that were opened and closed again.
    pub(super) messages: u64,
    /// Messages that were sent, each to many.
    pub(super) publications: u64,
    pub(super) faults: Faults,
    /// From sending to receiving; of churn and idle, from connecting to being accepted.
    pub(super) latency: Latency,
    pub(super) timeline: Timeline,
    /// While connections were opened.
    pub(super) memory: Vec<Memory>,
    pub(super) cost: Cost,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            opened: 0,
            messages: 0,
            publications: 0,
            faults: Faults::default(),
            latency: Latency::new(),
            timeline: Timeline::default(),
            memory: Vec::new(),
            cost: Cost::default(),
        }
    }

    /// A message, or an answer, has come at `now_us`, so long after it was due.
    pub(super) fn record(&mut self, now_us: u64, since_us: u64) {
        let us = now_us.saturating_sub(since_us);
        self.latency.record(us);
        self.timeline.record(now_us, us);
        self.messages += 1;
    }
}

/// What so many connections take, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) connections: usize,
    /// Of the server's process, where that is known.
    pub(super) server: Option<u64>,
    /// In the kernel's buffers.
    pub(super) kernel: Option<u64>,
}

impl Memory {
    pub(super) fn now(pid: Option<&str>, connections: usize) -> Memory {
        Memory { connections, server: pid.and_then(resident_bytes), kernel: kernel_tcp_bytes() }
    }
}

/// When a run ends.
pub(super) struct End {
    /// After how much is enough.
    pub(super) count: u64,
    /// When no more is begun.
    until_us: u64,
    /// When something last happened, and how much there was then.
    moved: (u64, u64),
}

impl End {
    pub(super) fn new(count: Option<u64>, duration_ms: Option<u64>, now_us: u64) -> End {
        let duration_ms = duration_ms.or(if count.is_some() { None } else { Some(DURATION_MS) });
        let until_us = duration_ms.map_or(u64::MAX, |duration_ms| now_us + duration_ms * 1_000);
        End { count: count.unwrap_or(u64::MAX), until_us, moved: (now_us, 0) }
    }

    pub(super) fn is_over(&self, swarm: &Swarm) -> bool {
        swarm.is_interrupted() || swarm.now_us() >= self.until_us
    }

    /// Whether nothing has come for so long that nothing will; `progress` is anything that grows.
    pub(super) fn is_stuck(&mut self, now_us: u64, progress: u64, silence_us: u64) -> bool {
        if self.moved.1 != progress {
            self.moved = (now_us, progress);
        }
        now_us - self.moved.0 > silence_us
    }

    /// How long a turn may wait: not beyond the end.
    pub(super) fn wait(&self, now_us: u64) -> Duration {
        TICK.min(Duration::from_micros(self.until_us.saturating_sub(now_us).max(1_000)))
    }
}

/// Processor time and memory, from one moment to another.
pub(super) struct Meter<'a> {
    pid: Option<&'a str>,
    begun_us: u64,
    server_cpu_seconds: Option<f64>,
    own_cpu_seconds: Option<f64>,
    before: Memory,
    progress: Progress,
}

/// What a [`Meter`] has measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) server_cpu_seconds: Option<f64>,
    pub(super) own_cpu_seconds: Option<f64>,
    pub(super) before: Memory,
    pub(super) after: Memory,
}

impl<'a> Meter<'a> {
    pub(super) fn begin(pid: Option<&'a str>, swarm: &Swarm) -> Meter<'a> {
        let before = Memory::now(pid, swarm.open);
        let (server_cpu_seconds, own_cpu_seconds) = (pid.and_then(cpu_seconds), cpu_seconds(OWN));
        Meter { pid, begun_us: swarm.now_us(), server_cpu_seconds, own_cpu_seconds, before, progress: Progress::new() }
    }

    pub(super) fn end(&self, swarm: &Swarm) -> Cost {
        let spent = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Cost {
            seconds: (swarm.now_us() - self.begun_us) as f64 / 1e6,
            server_cpu_seconds: spent(self.pid.and_then(cpu_seconds), self.server_cpu_seconds),
            own_cpu_seconds: spent(cpu_seconds(OWN), self.own_cpu_seconds),
            before: self.before,
            after: Memory::now(self.pid, swarm.open),
        }
    }

    /// A line on the terminal that tells how far it is, a few times a second.
    pub(super) fn show(&mut self, swarm: &Swarm, messages: u64) {
        let (open, seconds) = (swarm.open, (swarm.now_us() - self.begun_us) / 1_000_000);
        self.progress.show(|| format!("{open} connections, {messages} messages, {seconds} s"));
    }
}

/// Without --duration and --count.
const DURATION_MS: u64 = 10_000;

/// Silence after which what was sent counts as lost.
pub(super) const LOST_AFTER_US: u64 = 2_000_000;

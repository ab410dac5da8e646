//! What a run has shown: a table, JSON, curves, and the sentence that a failure ends with.

use std::fmt::Write;

use serde_json::{Value, json};

use super::plot::{Axis, Chart, Curve, Scale, draw};
use super::run::Tally;
use super::{Bench, Pace, Scenario};
use crate::cli::figures::{bytes, decimal, grouped, time};

pub(super) struct Report<'a> {
    pub(super) options: &'a Bench,
    pub(super) tally: &'a Tally,
    /// Why the first connection ended that did, or could not be opened.
    pub(super) trouble: Option<&'a str>,
}

impl Report<'_> {
    /// A table for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.title());
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<16} {value}");
        };
        let Report { options, tally, .. } = self;
        if tally.opened < options.connections {
            let why = self.trouble.unwrap_or("no more were wanted");
            row(
                "opened",
                format!("{} of {}: {why}", grouped(tally.opened as u64), grouped(options.connections as u64)),
            );
        }
        if tally.publications > 0 {
            row("publications", self.each_second(tally.publications));
        }
        match options.scenario {
            Scenario::Idle => row("held for", format!("{} s", decimal(tally.cost.seconds, 1))),
            Scenario::Churn => row("connections", self.each_second(tally.messages)),
            _ => row("messages", self.each_second(tally.messages)),
        }
        let faults: Vec<String> =
            self.faults().iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
        row("faults", faults.join(", "));
        if !tally.latency.is_empty() {
            row(
                self.latency_name(),
                PERCENTILES.map(|(name, part)| format!("{name} {}", time(tally.latency.at(part)))).join("  "),
            );
        }
        self.costs().into_iter().for_each(|(name, value)| row(name, value));
        if let Some(limit) = self.limit() {
            row("note", limit);
        }
        text
    }

    fn title(&self) -> String {
        let Bench { scenario, transport, size, depth, pace, url, .. } = self.options;
        let connections = grouped(self.tally.opened as u64);
        let (size, transport) = (bytes(*size as u64), transport.name());
        match (scenario, pace) {
            (Scenario::Idle | Scenario::Churn, _) => {
                format!("{} {}: {connections} connections, {transport}", scenario.name(), url.authority)
            }
            (Scenario::Echo, _) => {
                format!("echo {}: {connections} connections, {size}, {depth} in flight on each", url.authority)
            }
            (_, Pace::InFlight(count)) => {
                format!("fanout {}: {connections} subscribers, {transport}, {size}, {count} in flight", url.authority)
            }
            (_, Pace::Rate(rate)) => {
                format!("fanout {}: {connections} subscribers, {transport}, {size}, {rate} a second", url.authority)
            }
        }
    }

    fn each_second(&self, count: u64) -> String {
        let rate = count as f64 / self.tally.cost.seconds.max(1e-6);
        format!("{} in {} s, {} a second", grouped(count), decimal(self.tally.cost.seconds, 2), grouped(rate as u64))
    }

    fn latency_name(&self) -> &'static str {
        match self.options.scenario {
            Scenario::Idle | Scenario::Churn => "time to open",
            Scenario::Echo => "round trip",
            Scenario::Fanout | Scenario::LongPoll => "time to arrive",
        }
    }

    fn faults(&self) -> [(&'static str, u64); 6] {
        let faults = self.tally.faults;
        [
            ("lost", faults.lost),
            ("repeated", faults.repeated),
            ("disordered", faults.disordered),
            ("corrupted", faults.corrupted),
            ("closed", faults.closed),
            ("refused", faults.refused),
        ]
    }

    fn costs(&self) -> Vec<(&'static str, String)> {
        let (cost, mut costs) = (self.tally.cost, Vec::new());
        let unit = if self.options.scenario == Scenario::Churn { "connection" } else { "message" };
        let processor = |seconds: f64| {
            let each = match self.tally.messages {
                count if count > 0 && self.options.scenario != Scenario::Idle => {
                    format!(", {} µs a {unit}", decimal(seconds * 1e6 / count as f64, 2))
                }
                _ => String::new(),
            };
            format!("{} % of a processor{each}", decimal(100.0 * seconds / cost.seconds.max(1e-6), 1))
        };
        costs.extend(cost.server_cpu_seconds.map(|seconds| ("server", processor(seconds))));
        costs.extend(cost.own_cpu_seconds.map(|seconds| ("load", processor(seconds))));
        if let (Some(before), Some(after)) = (self.memory_before().0, cost.after.server) {
            costs.push(("resident", format!("{}, before {}", bytes(after), bytes(before))));
        }
        if self.options.scenario != Scenario::Idle {
            return costs;
        }
        // Other programs have buffers too: this says something where there are many connections and little else.
        if let (Some(before), Some(after)) = (self.memory_before().1, cost.after.kernel) {
            costs.push(("TCP buffers", format!("{}, before {}", bytes(after), bytes(before))));
        }
        if let Some(each) = self.bytes_per_connection() {
            costs.push(("a connection", format!("{} B resident, from half of them to all", decimal(each, 1))));
        }
        costs
    }

    /// Of the server and of the kernel, before there was any connection where that is known.
    fn memory_before(&self) -> (Option<u64>, Option<u64>) {
        let first = self.tally.memory.first().unwrap_or(&self.tally.cost.before);
        (first.server, first.kernel)
    }

    /// From half of the connections to all: what is made once for all is in both.
    fn bytes_per_connection(&self) -> Option<f64> {
        let memory = &self.tally.memory;
        let all = memory.last()?;
        let half = memory.iter().find(|memory| memory.connections * 2 >= all.connections)?;
        let more = all.connections.checked_sub(half.connections).filter(|more| *more > 0)?;
        Some((all.server? as f64 - half.server? as f64) / more as f64)
    }

    /// Whether the load, not the server, was what could not go faster.
    fn limit(&self) -> Option<String> {
        let cost = self.tally.cost;
        let (own, server) = (cost.own_cpu_seconds? / cost.seconds, cost.server_cpu_seconds.map(|it| it / cost.seconds));
        let is_limit = cost.seconds > SECONDS_MIN
            && own > BUSY
            && server.is_none_or(|server| server < own)
            && self.options.scenario != Scenario::Idle;
        is_limit.then(|| {
            let beside = server.map_or("; what the server used, --pid tells".to_owned(), |server| {
                format!(", the server {} %", decimal(100.0 * server, 0))
            });
            format!("the load was the limit: it used {} % of a processor{beside}", decimal(100.0 * own, 0))
        })
    }

    /// One object, on one line.
    pub(super) fn json(&self) -> Value {
        let Report { options, tally, trouble } = self;
        let cost = tally.cost;
        let mut object = json!({
            "scenario": options.scenario.name(),
            "transport": options.transport.name(),
            "connections": tally.opened,
            "connections_wanted": options.connections,
            "size": options.size,
            "messages": tally.messages,
            "publications": tally.publications,
            "seconds": cost.seconds,
            "server_cpu_seconds": cost.server_cpu_seconds,
            "own_cpu_seconds": cost.own_cpu_seconds,
            "server_rss_bytes_before": self.memory_before().0,
            "server_rss_bytes_after": cost.after.server,
            "kernel_tcp_bytes_before": self.memory_before().1,
            "kernel_tcp_bytes_after": cost.after.kernel,
            "rss_bytes_per_connection": self.bytes_per_connection(),
            "trouble": trouble,
            "limit": self.limit(),
        });
        self.faults().iter().for_each(|(name, count)| object[name] = json!(count));
        if !tally.latency.is_empty() {
            PERCENTILES.iter().for_each(|(name, part)| object["latency_us"][name] = json!(tally.latency.at(*part)));
        }
        object
    }

    /// Why the command fails, if it does.
    pub(super) fn fault(&self) -> Option<String> {
        let found = self
            .faults()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>();
        let is_silent = self.tally.messages == 0;
        let sentence = match (found.is_empty(), is_silent) {
            (false, _) => found.join(", "),
            (true, true) => "no message has come".to_owned(),
            (true, false) => return None,
        };
        let why = self.trouble.map_or(String::new(), |why| format!(" ({why})"));
        Some(format!("{sentence}{why}"))
    }

    /// The curves, as SVG.
    pub(super) fn plot(&self) -> String {
        let mut charts = Vec::new();
        if self.tally.memory.len() > 1 {
            charts.push(self.memory_chart());
        }
        if !self.tally.latency.is_empty() {
            charts.push(self.percentile_chart());
            charts.push(self.timeline_chart());
        }
        draw(&charts)
    }

    fn memory_chart(&self) -> Chart {
        let memory = &self.tally.memory;
        let curve = |name: &str, of: fn(&super::run::Memory) -> Option<u64>| {
            let points = memory.iter().filter_map(|at| Some((at.connections as f64, of(at)? as f64)));
            Curve { name: name.to_owned(), points: points.collect() }
        };
        let curves = vec![curve("resident", |at| at.server), curve("TCP buffers of the kernel", |at| at.kernel)];
        let curves: Vec<Curve> = curves.into_iter().filter(|curve| !curve.points.is_empty()).collect();
        let most = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).fold(0.0, f64::max);
        let x = Axis { label: "connections", scale: Scale::linear(self.tally.opened as f64) };
        Chart { title: self.title(), x, y: Axis { label: "bytes", scale: Scale::linear(most) }, curves }
    }

    fn percentile_chart(&self) -> Chart {
        let latency = &self.tally.latency;
        // A nine more than there are messages for would only repeat the last.
        let count = (latency.total() as f64).log10().floor().clamp(1.0, 5.0) as u32;
        let parts = (0..=count * 20).map(|step| 1.0 - 0.1_f64.powf(f64::from(step) / 20.0));
        let points = parts.map(|part| (part, latency.at(part) as f64)).collect();
        let curves = vec![Curve { name: self.latency_name().to_owned(), points }];
        let x = Axis { label: "so many took no longer", scale: Scale::Nines { count } };
        Chart { title: self.title(), x, y: self.time_axis(), curves }
    }

    fn timeline_chart(&self) -> Chart {
        let timeline = &self.tally.timeline;
        let slices = || {
            let second = |index: usize| (index as u64 * timeline.slice_us) as f64 / 1e6;
            timeline
                .slices
                .iter()
                .enumerate()
                .map(move |(index, slice)| (second(index), slice))
                .filter(|(_, slice)| slice.count > 0)
        };
        let mean = slices().map(|(at, slice)| (at, slice.sum_us as f64 / slice.count as f64)).collect();
        let longest = slices().map(|(at, slice)| (at, slice.max_us as f64)).collect();
        let curves = vec![
            Curve { name: "mean".to_owned(), points: mean },
            Curve { name: "longest".to_owned(), points: longest },
        ];
        let seconds = (timeline.slices.len() as u64 * timeline.slice_us) as f64 / 1e6;
        let x = Axis { label: "seconds since the start", scale: Scale::linear(seconds) };
        Chart { title: format!("{} over the run", self.latency_name()), x, y: self.time_axis(), curves }
    }

    fn time_axis(&self) -> Axis {
        let latency = &self.tally.latency;
        Axis { label: "µs", scale: Scale::logarithmic(latency.at(0.0) as f64, latency.max_us() as f64) }
    }
}

const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// Part of a processor beyond which a program has no time left.
const BUSY: f64 = 0.93;

/// In less there is too little to tell.
const SECONDS_MIN: f64 = 0.2;

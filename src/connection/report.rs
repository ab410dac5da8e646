//! What the server says of itself: figures, and reports that are published while somebody follows them.

use std::rc::Rc;

use super::World;
use crate::consumer::{Consumer, Context, Message, Wanted};
use crate::hub::{ChannelInfo, Draft, Order};
use crate::metrics::Metrics;
use crate::router::Request;
use crate::wire::status::Status;

/// A report: see [`Server::report`](crate::Server::report).
pub(crate) struct Report {
    /// Its channel, whose name no client can give.
    channel: Rc<str>,
    interval_ms: u64,
    render: Box<dyn Fn(&Metrics) -> String>,
    /// When it was published last.
    published_ms: Option<u64>,
    /// When it is to be published next; `None` while nobody follows it.
    due_ms: Option<u64>,
}

impl Report {
    pub(crate) fn new(path: &str, interval_ms: u64, render: Box<dyn Fn(&Metrics) -> String>) -> Report {
        Report { channel: path.into(), interval_ms, render, published_ms: None, due_ms: None }
    }
}

/// Who follows a report.
pub(crate) struct Follower<A> {
    admit: Rc<A>,
    number: usize,
}

impl<A> Follower<A> {
    pub(crate) fn new(admit: &Rc<A>, number: usize) -> Follower<A> {
        Follower { admit: Rc::clone(admit), number }
    }
}

impl<A: Fn(&Request, &mut Context) -> Result<(), Status>> Consumer for Follower<A> {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let Some(request) = cx.request() else { return Ok(()) };
        (self.admit)(request, cx)?;
        let name = cx.world.follow(self.number);
        cx.call.wanted.push(Wanted { name, since: None });
        Ok(())
    }

    fn receive(&mut self, _: Message, cx: &mut Context) {
        cx.refuse(Status::new(403).detail("only the server itself publishes here"));
    }
}

impl World {
    /// Has a report published as soon as its interval allows it. Returns its channel.
    fn follow(&mut self, number: usize) -> Rc<str> {
        let report = &mut self.reports[number];
        let earliest_ms = report.published_ms.map_or(0, |published_ms| published_ms + report.interval_ms);
        report.due_ms = report.due_ms.or(Some(earliest_ms.max(self.now.monotonic_ms)));
        Rc::clone(&report.channel)
    }

    /// Publishes the reports that are due. Returns when the next one is, in milliseconds of the monotonic clock.
    pub(crate) fn publish_reports(&mut self) -> Option<u64> {
        let now_ms = self.now.monotonic_ms;
        for number in 0..self.reports.len() {
            if self.reports[number].due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
                self.publish_report(number);
            }
        }
        self.reports.iter().filter_map(|report| report.due_ms).min()
    }

    fn publish_report(&mut self, number: usize) {
        let report = &self.reports[number];
        if !self.hub.has_subscribers(&report.channel) {
            self.reports[number].due_ms = None;
            return;
        }
        let text = (report.render)(&self.metrics());
        let draft = Draft { data: text.as_bytes(), ..Draft::default() };
        let channel = Rc::clone(&report.channel);
        // Where memory is spent the report is not the last that should go without: its followers see that it is late.
        if let Err(refusal) = self.hub.publish(&channel, draft, self.now, &self.config) {
            log::debug!("the report of {channel} was not published: {refusal}");
        }
        let report = &mut self.reports[number];
        report.published_ms = Some(self.now.monotonic_ms);
        report.due_ms = Some(self.now.monotonic_ms + report.interval_ms);
    }
}

impl Context<'_> {
    /// Up to `limit` channels whose names begin with `prefix` and come after `after`, in name order.
    pub fn list_channels(&self, prefix: &str, after: &str, limit: usize) -> Vec<ChannelInfo> {
        self.world.hub.list(prefix, after, limit)
    }

    /// Up to `limit` channels whose names begin with `prefix`, the first in `order`. It looks at each of them.
    pub fn list_largest(&self, prefix: &str, order: Order, limit: usize) -> Vec<ChannelInfo> {
        self.world.hub.list_largest(prefix, order, limit)
    }

    /// The server's counters and gauges.
    pub fn metrics(&self) -> Metrics {
        self.world.metrics()
    }
}

//! `bench churn`: connects, is accepted, disconnects, and again.

use std::io;

use super::connect::explain;
use super::link::{Heard, Link, Phase};
use super::protocol::{Protocol, close};
use super::run::{End, LOST_AFTER_US, Meter, Tally};
use super::swarm::{Listener, Swarm};
use super::{Bench, SCRIPT_OF_CONNECTIONS};

struct Churn {
    tally: Tally,
    is_websocket: bool,
    /// Links that make room for another.
    ended: Vec<usize>,
    has_begun: bool,
}

pub(super) fn run(options: &Bench, swarm: &mut Swarm) -> io::Result<Tally> {
    let is_websocket = options.transport == Protocol::WebSocket;
    let (tally, ended) = (Tally::new(), Vec::new());
    let mut churn = Churn { tally, is_websocket, ended, has_begun: false };
    // The first round shows that it works, and is not measured.
    swarm.open_up_to(options.connections, SCRIPT_OF_CONNECTIONS, &mut churn)?;
    (churn.tally.opened, churn.has_begun) = (swarm.open, true);
    let mut meter = Meter::begin(options.pid.as_deref(), swarm);
    let mut end = End::new(options.count, options.duration_ms, swarm.now_us());
    for at in 0..swarm.links.len() {
        churn.disconnect(at, &mut swarm.links[at]);
    }
    let mut begun = 0;
    while swarm.trouble.is_none() {
        let now_us = swarm.now_us();
        let is_over = end.is_over(swarm);
        while !is_over && begun < end.count {
            let Some(at) = churn.ended.pop() else { break };
            match swarm.begin_anew(at) {
                Ok(()) => begun += 1,
                Err(error) => swarm.trouble = Some(explain(&error)),
            }
        }
        let is_complete = (is_over || begun >= end.count) && churn.tally.messages >= begun;
        if is_complete || end.is_stuck(now_us, churn.tally.messages, LOST_AFTER_US) {
            break;
        }
        swarm.turn(&mut churn, Some(end.wait(now_us)))?;
        meter.show(swarm, churn.tally.messages);
    }
    let mut tally = churn.tally;
    tally.cost = meter.end(swarm);
    // Connections are what is lost here.
    tally.faults.lost = begun.saturating_sub(tally.messages);
    Ok(tally)
}

impl Churn {
    fn disconnect(&mut self, at: usize, link: &mut Link) {
        close(link, self.is_websocket);
        if !self.is_websocket {
            self.ended.push(at);
        }
    }
}

impl Listener for Churn {
    fn hear(&mut self, _at: usize, _heard: Heard, _now_us: u64) {}

    /// It is open: that is enough.
    fn reply(&mut self, at: usize, link: &mut Link, now_us: u64) {
        if self.has_begun && link.phase == Phase::Open {
            self.tally.record(now_us, link.began_us);
            self.disconnect(at, link);
        }
    }

    fn close(&mut self, at: usize) {
        self.ended.push(at);
    }
}

//! `bench fanout` and `bench long-poll`: what is published must come to every subscriber.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::link::{Heard, Masks};
use super::payload::{Payloads, Stamp};
use super::protocol::Protocol;
use super::receiver::Receiver;
use super::run::{End, LOST_AFTER_US, Meter, Tally};
use super::swarm::{Listener, Swarm};
use super::{Bench, Pace, SCRIPT_OF_CONNECTIONS, SCRIPT_OF_PUBLISHER};

struct Fanout {
    payloads: Payloads,
    masks: Masks,
    tally: Tally,
    /// Behind them is the publisher.
    receivers: Vec<Receiver>,
    /// Whose payloads count: there may be others on the channel, now or before.
    run: u16,
    /// For each publication from `settled` on: how many have not got it, and nothing after it.
    awaited: VecDeque<u32>,
    settled: u32,
    published: u32,
    answered: u32,
    /// The status of the first answer that refuses one.
    refusal: Option<u16>,
    requests: Vec<u8>,
}

pub(super) fn run(options: &Bench, swarm: &mut Swarm) -> io::Result<Tally> {
    let mut fanout = Fanout::new(options);
    swarm.open_up_to(options.connections, SCRIPT_OF_CONNECTIONS, &mut fanout)?;
    fanout.tally.opened = swarm.open;
    fanout.receivers.resize(swarm.links.len(), Receiver::new());
    let publisher = swarm.open_one(SCRIPT_OF_PUBLISHER, &mut fanout)?;
    if options.subscribe.is_some() {
        let until_us = swarm.now_us() + SUBSCRIBING_US;
        while swarm.now_us() < until_us {
            swarm.turn(&mut fanout, Some(Duration::from_millis(1)))?;
        }
    }
    let mut meter = Meter::begin(options.pid.as_deref(), swarm);
    let begun_us = swarm.now_us();
    let mut end = End::new(options.count, options.duration_ms, begun_us);
    let mut messages_when_stuck = None;
    loop {
        let now_us = swarm.now_us();
        let is_over = end.is_over(swarm) || u64::from(fanout.published) >= end.count;
        let is_settled = fanout.awaited.is_empty();
        if (is_over && is_settled) || swarm.is_closed(publisher) || swarm.open <= 1 {
            break;
        }
        if end.is_stuck(now_us, fanout.tally.messages + u64::from(fanout.published), LOST_AFTER_US) && !is_settled {
            if messages_when_stuck.replace(fanout.tally.messages) == Some(fanout.tally.messages) {
                break;
            }
            fanout.give_up();
        }
        let due = if is_over { 0 } else { fanout.due(options.pace, now_us - begun_us, end.count) };
        fanout.publish(due, options.pace, begun_us, publisher, swarm);
        let wait = end.wait(now_us).min(fanout.pause(options.pace, now_us - begun_us));
        swarm.turn(&mut fanout, Some(wait))?;
        meter.show(swarm, fanout.tally.messages);
    }
    let mut tally = fanout.end(swarm);
    tally.cost = meter.end(swarm);
    Ok(tally)
}

impl Fanout {
    fn new(options: &Bench) -> Fanout {
        Fanout {
            payloads: Payloads::new(options.size),
            masks: Masks(options.seed),
            tally: Tally::new(),
            receivers: Vec::new(),
            run: (options.seed >> 8) as u16 % RUNS,
            awaited: VecDeque::new(),
            settled: 0,
            published: 0,
            answered: 0,
            refusal: None,
            requests: Vec::new(),
        }
    }

    /// How many are to be published now.
    fn due(&self, pace: Pace, elapsed_us: u64, count: u64) -> u64 {
        let due = match pace {
            Pace::Rate(rate) => (u128::from(elapsed_us) * u128::from(rate) / 1_000_000) as u64 + 1,
            Pace::InFlight(in_flight) => u64::from(self.settled) + in_flight,
        };
        due.min(count).min(SEQUENCES_MAX).saturating_sub(self.published.into())
    }

    /// How long nothing is due.
    fn pause(&self, pace: Pace, elapsed_us: u64) -> Duration {
        match pace {
            // A poll waits for whole milliseconds: the last one is spent awake.
            Pace::Rate(rate) => Duration::from_millis(due_us(self.published, rate).saturating_sub(elapsed_us) / 1_000),
            Pace::InFlight(_) => Duration::MAX,
        }
    }

    fn publish(&mut self, count: u64, pace: Pace, begun_us: u64, publisher: usize, swarm: &mut Swarm) {
        self.requests.clear();
        let script = swarm.script_of(publisher);
        for sequence in self.published..self.published + count as u32 {
            let time_us = match pace {
                Pace::Rate(rate) => begun_us + due_us(sequence, rate),
                Pace::InFlight(_) => swarm.now_us(),
            };
            let stamp = Stamp { publisher: self.run, sequence, time_us };
            match script.protocol {
                Protocol::Post => {
                    script.push_post(self.payloads.bytes(), &mut self.requests);
                    self.payloads.push(stamp, &mut self.requests);
                }
                _ => self.masks.push(&self.payloads, stamp, &mut self.requests),
            }
            self.awaited.push_back((swarm.open - 1) as u32);
            self.published += 1;
        }
        if count > 0 {
            swarm.links[publisher].output.send(&self.requests);
        }
    }

    /// One subscriber has got `sequence`, or never will.
    fn pass(&mut self, sequences: std::ops::Range<u32>) {
        for sequence in sequences {
            let awaited = sequence.checked_sub(self.settled).and_then(|index| self.awaited.get_mut(index as usize));
            if let Some(awaited) = awaited {
                *awaited = awaited.saturating_sub(1);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        while self.awaited.front() == Some(&0) {
            self.awaited.pop_front();
            self.settled += 1;
        }
    }

    /// What has not come so far is lost.
    fn give_up(&mut self) {
        self.awaited.iter_mut().for_each(|awaited| *awaited = 0);
        self.settle();
    }

    fn end(mut self, swarm: &mut Swarm) -> Tally {
        let faults = &mut self.tally.faults;
        let open = (0..self.receivers.len()).filter(|at| !swarm.is_closed(*at));
        let refused = faults.refused;
        open.for_each(|at| {
            self.receivers[at].end(self.published, faults);
            // What the server has refused, no one was to get.
            faults.lost = faults.lost.saturating_sub(refused);
        });
        if let Some(code) = self.refusal {
            swarm.trouble = Some(format!("the server answered {code} to a publication"));
        }
        self.tally.publications = self.published.into();
        self.tally
    }

    fn hear_answer(&mut self, code: u16) {
        let index = self.answered.checked_sub(self.settled);
        self.answered += 1;
        if (200..300).contains(&code) {
            return;
        }
        self.tally.faults.refused += 1;
        self.refusal.get_or_insert(code);
        if let Some(awaited) = index.and_then(|index| self.awaited.get_mut(index as usize)) {
            *awaited = 0;
            self.settle();
        }
    }
}

impl Listener for Fanout {
    fn hear(&mut self, at: usize, heard: Heard, now_us: u64) {
        let mut rest = match heard {
            Heard::Message(content) if at < self.receivers.len() => content,
            Heard::Answered(code) => return self.hear_answer(code),
            _ => return,
        };
        while let Some((stamp, after)) = self.payloads.find(rest) {
            rest = after;
            match stamp {
                Some(stamp) if stamp.publisher == self.run && stamp.sequence < self.published => {
                    let before = self.receivers[at].next();
                    if self.receivers[at].take(stamp.sequence, &mut self.tally.faults) {
                        self.tally.record(now_us, stamp.time_us);
                    }
                    self.pass(before..stamp.sequence + 1);
                }
                Some(_) => {}
                None => self.tally.faults.corrupted += 1,
            }
        }
    }

    /// It gets no more.
    fn close(&mut self, at: usize) {
        if let Some(receiver) = self.receivers.get(at) {
            let missing = receiver.next()..self.published;
            receiver.end(self.published, &mut self.tally.faults);
            self.pass(missing);
        }
    }
}

/// When a publication is due, from the beginning.
fn due_us(sequence: u32, rate: u64) -> u64 {
    u64::from(sequence) * 1_000_000 / rate
}

/// For a server to take the first message as what it is.
const SUBSCRIBING_US: u64 = 500_000;

const RUNS: u16 = 4_096;
const SEQUENCES_MAX: u64 = 1 << 30;

//! `bench echo`: each connection keeps some messages in flight, and each must come back to it.

use std::io;

use super::link::{Heard, Link, Masks};
use super::payload::{Payloads, Stamp};
use super::receiver::Receiver;
use super::run::{End, LOST_AFTER_US, Meter, Tally};
use super::swarm::{Listener, Swarm};
use super::{Bench, SCRIPT_OF_CONNECTIONS};

struct Echo {
    payloads: Payloads,
    masks: Masks,
    tally: Tally,
    senders: Vec<Sender>,
    /// Messages of all connections that were sent, and may be.
    sent: u64,
    sent_max: u64,
    /// Messages without a payload are the server's own affair.
    ignores_others: bool,
    /// Frames to be sent in one write.
    frames: Vec<u8>,
}

/// One connection's side.
struct Sender {
    receiver: Receiver,
    sent: u32,
    /// Messages that came and make room for others.
    due: u32,
}

pub(super) fn run(options: &Bench, swarm: &mut Swarm) -> io::Result<Tally> {
    let mut echo = Echo {
        payloads: Payloads::new(options.size),
        masks: Masks(options.seed),
        tally: Tally::new(),
        senders: Vec::new(),
        sent: 0,
        sent_max: options.count.unwrap_or(u64::MAX),
        ignores_others: options.subscribe.is_some(),
        frames: Vec::new(),
    };
    let sender = || Sender { receiver: Receiver::new(), sent: 0, due: options.depth };
    echo.senders.extend((0..options.connections).map(|_| sender()));
    swarm.open_up_to(options.connections, SCRIPT_OF_CONNECTIONS, &mut echo)?;
    echo.tally.opened = swarm.open;
    let mut meter = Meter::begin(options.pid.as_deref(), swarm);
    let mut end = End::new(options.count, options.duration_ms, swarm.now_us());
    for at in 0..swarm.links.len() {
        let now_us = swarm.now_us();
        echo.reply(at, &mut swarm.links[at], now_us);
    }
    loop {
        let now_us = swarm.now_us();
        if end.is_over(swarm) {
            echo.sent_max = echo.sent;
        }
        let is_complete = echo.sent >= echo.sent_max && echo.tally.messages >= echo.sent;
        let progress = echo.tally.messages + swarm.closed;
        if is_complete || swarm.open == 0 || end.is_stuck(now_us, progress, LOST_AFTER_US) {
            break;
        }
        swarm.turn(&mut echo, Some(end.wait(now_us)))?;
        meter.show(swarm, echo.tally.messages);
    }
    let Echo { senders, mut tally, .. } = echo;
    tally.cost = meter.end(swarm);
    senders.iter().for_each(|sender| sender.receiver.end(sender.sent, &mut tally.faults));
    Ok(tally)
}

impl Listener for Echo {
    fn hear(&mut self, at: usize, heard: Heard, now_us: u64) {
        let Heard::Message(mut rest) = heard else { return };
        let (sender, tally) = (&mut self.senders[at], &mut self.tally);
        let mut found_any = false;
        while let Some((stamp, after)) = self.payloads.find(rest) {
            (rest, found_any) = (after, true);
            match stamp.filter(|stamp| stamp.publisher == publisher(at) && stamp.sequence < sender.sent) {
                Some(stamp) if sender.receiver.take(stamp.sequence, &mut tally.faults) => {
                    tally.record(now_us, stamp.time_us);
                    sender.due += 1;
                }
                Some(_) => {}
                // It was answered all the same: the next may go.
                None => {
                    tally.faults.corrupted += 1;
                    sender.due += 1;
                }
            }
        }
        if !found_any && !self.ignores_others {
            tally.faults.corrupted += 1;
        }
    }

    fn reply(&mut self, at: usize, link: &mut Link, now_us: u64) {
        let Some(sender) = self.senders.get_mut(at) else { return };
        let room = u64::from(sender.due).min(self.sent_max.saturating_sub(self.sent)) as u32;
        if room == 0 || sender.sent + room > SEQUENCES_MAX {
            return;
        }
        self.frames.clear();
        for sequence in sender.sent..sender.sent + room {
            let stamp = Stamp { publisher: publisher(at), sequence, time_us: now_us };
            self.masks.push(&self.payloads, stamp, &mut self.frames);
        }
        sender.sent += room;
        sender.due -= room;
        self.sent += u64::from(room);
        link.output.send(&self.frames);
    }
}

fn publisher(at: usize) -> u16 {
    (at % 4096) as u16
}

const SEQUENCES_MAX: u32 = 1 << 30;

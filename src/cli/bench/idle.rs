//! `bench idle`: opens connections, holds them, and watches what they take.

use std::io;

use super::link::{Heard, Link, Phase};
use super::run::{End, Memory, Meter, Tally};
use super::swarm::{Listener, Swarm};
use super::{Bench, SCRIPT_OF_CONNECTIONS};

struct Idle {
    tally: Tally,
    /// Whether it is told as accepted in this turn, and not counted yet.
    accepted: bool,
}

pub(super) fn run(options: &Bench, swarm: &mut Swarm) -> io::Result<Tally> {
    let mut idle = Idle { tally: Tally::new(), accepted: false };
    let pid = options.pid.as_deref();
    idle.tally.memory.push(Memory::now(pid, 0));
    for step in 1..=STEPS {
        let wanted = options.connections * step / STEPS;
        swarm.open_up_to(wanted, SCRIPT_OF_CONNECTIONS, &mut idle)?;
        idle.tally.memory.push(Memory::now(pid, swarm.open));
    }
    idle.tally.opened = swarm.open;
    let mut meter = Meter::begin(pid, swarm);
    let end = End::new(None, options.duration_ms, swarm.now_us());
    while !end.is_over(swarm) && swarm.open > 0 {
        swarm.turn(&mut idle, Some(end.wait(swarm.now_us())))?;
        meter.show(swarm, 0);
    }
    let mut tally = idle.tally;
    tally.cost = meter.end(swarm);
    Ok(tally)
}

impl Listener for Idle {
    fn hear(&mut self, _at: usize, heard: Heard, _now_us: u64) {
        self.accepted |= matches!(heard, Heard::Opened);
    }

    fn reply(&mut self, _at: usize, link: &mut Link, now_us: u64) {
        if std::mem::take(&mut self.accepted) && link.phase == Phase::Open {
            self.tally.record(now_us, link.began_us);
        }
    }
}

/// Points of the curve.
const STEPS: usize = 20;

//! A timer for each connection: a hierarchical wheel.
//!
//! Six levels of 64 slots, each level's slot as long as the whole level below it. A node lies in the level of the
//! highest digit (base 64) in which its deadline differs from the present, so that scheduling, cancelling and
//! finding the next slot are a few instructions each, whatever the number of timers (Varghese and Lauck, "Hashed
//! and hierarchical timing wheels", 1987). A node of a higher level moves down when its slot's time has come.
//!
//! A deadline that moves away, as every byte from a peer makes its deadline do, is only noted: the node stays in
//! its slot and is looked at again when the slot's time has come.

use crate::pages::Pages;
use crate::time::Tick;

/// The wheel. Timers are known by small dense numbers: a connection's, a channel's.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Everything up to here has expired.
    present: u32,
    /// One bit a slot that is not empty.
    occupied: [u64; LEVELS],
    /// The first node of each slot's list.
    heads: [[u32; SLOTS]; LEVELS],
    nodes: Pages<Node>,
    scheduled: usize,
}

#[derive(Debug)]
struct Node {
    /// The node before, `FIRST` and the slot's number for a slot's first, or `NONE` while not scheduled.
    previous: u32,
    next: u32,
    /// At or after the time of the slot it lies in.
    deadline: u32,
}

const LEVELS: usize = 6;
const SLOTS: usize = 64;
const NONE: u32 = u32::MAX;
const FIRST: u32 = 1 << 31;

/// What each timer costs to hold.
pub(crate) const TIMER_BYTES: usize = size_of::<Node>();
const _: () = assert!(TIMER_BYTES == 12);

impl Default for Node {
    fn default() -> Node {
        Node { previous: NONE, next: NONE, deadline: 0 }
    }
}

impl Wheel {
    pub(crate) fn new(present: Tick) -> Wheel {
        Wheel {
            present: present.0,
            occupied: [0; LEVELS],
            heads: [[NONE; SLOTS]; LEVELS],
            nodes: Pages::new(),
            scheduled: 0,
        }
    }

    /// Has a wheel on which nothing runs begin at `present`, which may be any time later: ticks wrap, and only half of
    /// them can be told from the past.
    pub(crate) fn begin(&mut self, present: Tick) {
        if self.scheduled == 0 {
            self.present = present.0;
        }
    }

    /// How many timers run.
    pub(crate) fn len(&self) -> usize {
        self.scheduled
    }

    /// Gives back the places of timers whose numbers are `end` or higher, none of which runs.
    pub(crate) fn shrink(&mut self, end: usize) {
        let rest = end as u32..self.nodes.len() as u32;
        debug_assert!(rest.into_iter().all(|id| self.nodes[id].previous == NONE), "a timer of nobody runs");
        self.nodes.shrink(end);
    }

    /// What the wheel takes beyond `timers` of its nodes.
    pub(crate) fn spare_bytes(&self, timers: usize) -> usize {
        self.nodes.held_bytes().saturating_sub(timers * TIMER_BYTES)
    }

    /// Sets timer `id` to `deadline`, whether it runs or not. The deadline is less than 2³¹ ticks away.
    pub(crate) fn schedule(&mut self, id: u32, deadline: Tick) {
        self.nodes.reach(id);
        let node = &mut self.nodes[id];
        let moves_away = node.previous != NONE && Tick(node.deadline).reached_by(deadline);
        if !moves_away {
            self.cancel(id);
        }
        self.nodes[id].deadline = deadline.0;
        if !moves_away {
            self.link(id);
        }
    }

    /// Stops timer `id`; nothing happens if it does not run.
    pub(crate) fn cancel(&mut self, id: u32) {
        if (id as usize) < self.nodes.len() && self.nodes[id].previous != NONE {
            self.unlink(id);
        }
    }

    /// Moves the present to `to` and appends every timer whose deadline has come to `expired`.
    pub(crate) fn advance(&mut self, to: Tick, expired: &mut Vec<u32>) {
        while let Some((level, slot, start)) = self.next_slot() {
            if !start.reached_by(to) {
                break;
            }
            self.present = start.0;
            let mut id = self.heads[level][slot];
            while id != NONE {
                let next = self.nodes[id].next;
                self.unlink(id);
                match Tick(self.nodes[id].deadline).reached_by(start) {
                    true => expired.push(id),
                    false => self.link(id),
                }
                id = next;
            }
        }
        if Tick(self.present).reached_by(to) {
            self.present = to.0;
        }
    }

    /// When to look again: at or before the next deadline, and never so early that nothing is to be done.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.next_slot().map(|(_, _, start)| start)
    }

    /// The occupied slot that comes first, and the tick at which its time comes. A lower level's slots all
    /// come before a higher level's.
    fn next_slot(&self) -> Option<(usize, usize, Tick)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let shift = 6 * level as u32;
        let digit = (self.present >> shift) as usize % SLOTS;
        // Slots before the present's are occupied only in the highest level, where time wraps.
        let ahead = self.occupied[level] >> digit << digit;
        let slot = if ahead != 0 { ahead.trailing_zeros() } else { self.occupied[level].trailing_zeros() };
        let above = if level + 1 < LEVELS { self.present >> (shift + 6) << (shift + 6) } else { 0 };
        let start = above | slot << shift;
        let start = if level == 0 { start.max(self.present) } else { start };
        Some((level, slot as usize, Tick(start)))
    }

    fn link(&mut self, id: u32) {
        let deadline = self.nodes[id].deadline;
        // What is overdue lies in the present's slot and expires next.
        let overdue = Tick(deadline).reached_by(Tick(self.present));
        let place = if overdue { self.present } else { deadline };
        let level = (31 - (place ^ self.present | 1).leading_zeros()) as usize / 6;
        let slot = (place >> (6 * level)) as usize % SLOTS;
        let head = std::mem::replace(&mut self.heads[level][slot], id);
        if head != NONE {
            self.nodes[head].previous = id;
        }
        self.nodes[id].next = head;
        self.nodes[id].previous = FIRST | (level * SLOTS + slot) as u32;
        self.occupied[level] |= 1 << slot;
        self.scheduled += 1;
    }

    fn unlink(&mut self, id: u32) {
        let Node { previous, next, .. } = self.nodes[id];
        if next != NONE {
            self.nodes[next].previous = previous;
        }
        if previous & FIRST == 0 {
            self.nodes[previous].next = next;
        } else {
            let (level, slot) = ((previous ^ FIRST) as usize / SLOTS, (previous ^ FIRST) as usize % SLOTS);
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        }
        self.nodes[id].previous = NONE;
        self.scheduled -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn random(state: &mut u64) -> u32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as u32
    }

    /// Delays of every size, so that every level is used.
    fn delay(state: &mut u64) -> u32 {
        let bits = random(state) % 30;
        random(state) & ((1 << bits) - 1)
    }

    #[test]
    fn the_wheel_does_what_a_sorted_map_does_also_across_the_wrap() {
        for seed in 1..40u64 {
            let mut state = seed * 0x9e37_79b9;
            let mut present = 0u32.wrapping_sub(random(&mut state) % 100_000);
            let mut wheel = Wheel::new(Tick(present));
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            for _ in 0..3_000 {
                let id = random(&mut state) % 50;
                match random(&mut state) % 8 {
                    0 => {
                        wheel.cancel(id);
                        model.remove(&id);
                    }
                    1 => {
                        let to = present.wrapping_add(delay(&mut state) / 4);
                        let mut expired = Vec::new();
                        wheel.advance(Tick(to), &mut expired);
                        expired.sort_unstable();
                        let due: Vec<u32> = model
                            .iter()
                            .filter(|(_, deadline)| Tick(**deadline).reached_by(Tick(to)))
                            .map(|(id, _)| *id)
                            .collect();
                        assert_eq!(expired, due, "seed {seed}");
                        model.retain(|_, deadline| !Tick(*deadline).reached_by(Tick(to)));
                        present = to;
                    }
                    _ => {
                        let deadline = present.wrapping_add(delay(&mut state));
                        wheel.schedule(id, Tick(deadline));
                        model.insert(id, deadline);
                    }
                }
                assert_eq!(wheel.len(), model.len(), "seed {seed}");
                let first = model.values().map(|deadline| deadline.wrapping_sub(present).cast_signed().max(0)).min();
                let next = wheel.next().map(|tick| tick.0.wrapping_sub(present).cast_signed());
                assert_eq!(first.is_some(), next.is_some(), "seed {seed}");
                assert!(next <= first && next.is_none_or(|ticks| ticks >= 0), "seed {seed}: {next:?} {first:?}");
            }
        }
    }

    #[test]
    fn a_deadline_that_moves_away_is_kept_and_one_that_comes_nearer_too() {
        let mut wheel = Wheel::new(Tick(10));
        let mut expired = Vec::new();
        wheel.schedule(3, Tick(20));
        wheel.schedule(3, Tick(500));
        wheel.advance(Tick(499), &mut expired);
        assert!(expired.is_empty());
        wheel.schedule(4, Tick(9_000));
        wheel.schedule(4, Tick(500));
        wheel.advance(Tick(500), &mut expired);
        expired.sort_unstable();
        assert_eq!(expired, [3, 4]);
    }
}

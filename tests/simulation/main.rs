//! A simulated network, clients and clock around the real engine: each seed is another story, and the same every time.
//!
//! `REDPOLL_SEEDS=N` plays N seeds instead of 200 (and of the other stories as many more), from `REDPOLL_FIRST_SEED=S`
//! where that is given; `REDPOLL_SEED=S` replays one and says what came of it.

mod clients;
mod listener;
mod network;
mod oracle;
mod random;
mod scenario;
mod server;
mod tracker;
mod troubles;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use scenario::{Outcome, a_day, a_hard_story, a_hard_story_that_drains, a_story, a_story_that_drains};

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Plays a story with many seeds, on every processor, and says which failed.
fn play(name: &str, count: u64, story: fn(u64) -> Outcome) {
    if let Some(seed) = variable("REDPOLL_SEED") {
        // RUST_LOG=debug says what happens.
        let _ = simple_logger::SimpleLogger::new().with_level(log::LevelFilter::Off).env().init();
        println!("{:#?}", story(seed));
        return;
    }
    let count = variable("REDPOLL_SEEDS").map_or(count, |seeds| (count * seeds).div_ceil(200));
    let begin = variable("REDPOLL_FIRST_SEED").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let outcomes: Vec<Result<Outcome, u64>> = std::thread::scope(|scope| {
        let play = move |seed| play_one(name, seed, story);
        let part = move |first| (begin + first..begin + count).step_by(threads as usize).map(play);
        let spawn = |first| scope.spawn(move || part(first).collect::<Vec<_>>());
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("failures are caught")).collect()
    });
    let mut all = Outcome::default();
    let failed: Vec<u64> = outcomes.into_iter().filter_map(|outcome| outcome.map(|one| all.add(one)).err()).collect();
    println!("{count} seeds: {all:#?}");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
}

/// Plays a story once; gives the seed back if it failed.
fn play_one(name: &str, seed: u64, story: fn(u64) -> Outcome) -> Result<Outcome, u64> {
    let outcome = catch_unwind(AssertUnwindSafe(|| story(seed)));
    outcome.map_err(|_| {
        eprintln!("seed {seed} failed; replay: REDPOLL_SEED={seed} cargo test --test simulation {name} -- --nocapture");
        seed
    })
}

#[test]
fn nothing_is_lost_in_silence_and_nothing_is_left() {
    play("nothing_is_lost_in_silence_and_nothing_is_left", 200, a_story);
}

#[test]
fn nothing_is_lost_in_silence_among_attackers_and_troubles() {
    play("nothing_is_lost_in_silence_among_attackers_and_troubles", 100, a_hard_story);
}

#[test]
fn draining_tells_everyone_and_ends() {
    play("draining_tells_everyone_and_ends", 60, a_story_that_drains);
}

#[test]
fn draining_among_attackers_and_troubles_ends() {
    play("draining_among_attackers_and_troubles_ends", 60, a_hard_story_that_drains);
}

#[test]
fn a_day_of_polls_and_pings_passes() {
    play("a_day_of_polls_and_pings_passes", 2, a_day);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..10 {
        assert_eq!(a_story(seed), a_story(seed), "seed {seed}");
        assert_eq!(a_hard_story(seed), a_hard_story(seed), "seed {seed}");
        assert_eq!(a_story_that_drains(seed), a_story_that_drains(seed), "seed {seed}");
        assert_eq!(a_hard_story_that_drains(seed), a_hard_story_that_drains(seed), "seed {seed}");
    }
    assert_ne!(a_story(1).trace, a_story(2).trace);
}

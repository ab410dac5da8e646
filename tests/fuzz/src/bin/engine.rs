//! The whole engine: a schedule of connections, bytes, time and faults. Whatever happens, it does not spin, every client
//! can read what it gets, loses nothing without being told, and ends; and nothing is left of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll_fuzz::world::play;

fuzz_target!(|data: &[u8]| play(data));

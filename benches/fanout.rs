//! What a delivery costs: a message of 128 bytes to everyone on a channel, over WebSocket and as an event stream.
//!
//! `cargo bench --bench fanout [-- [--rounds N] [--quick] [CASE]]`

mod floor;
mod harness;

use harness::{Case, Load};

fn main() {
    harness::main(&[
        case("1,000 WebSockets, one in flight", 1_000, 1_000, &["--size", "128", "--inflight", "1"]),
        case("1,000 WebSockets, eight in flight", 1_000, 4_000, &["--size", "128", "--inflight", "8"]),
        case("10,000 WebSockets, one in flight", 10_000, 100, &["--size", "128", "--inflight", "1"]),
        case(
            "1,000 event streams, one in flight",
            1_000,
            1_000,
            &["--size", "128", "--inflight", "1", "--transport", "sse"],
        ),
        case(
            "1,000 event streams, eight in flight",
            1_000,
            4_000,
            &["--size", "128", "--inflight", "8", "--transport", "sse"],
        ),
    ]);
}

fn case(name: &'static str, connections: u64, count: u64, options: &'static [&'static str]) -> Case {
    let load = Load { scenario: "fanout", path: "/channel/a", connections, count, options };
    Case { name, load, floor: load }
}

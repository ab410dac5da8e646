//! What a delivery by long polling costs, with the poll that comes after it: against a delivery of the floor by
//! WebSocket, which nobody has to ask for again.
//!
//! `cargo bench --bench long_poll [-- [--rounds N] [--quick] [CASE]]`

mod floor;
mod harness;

use harness::{Case, Load};

fn main() {
    let floor = Load {
        scenario: "fanout",
        path: "/channel/a",
        connections: 1_000,
        count: 500,
        options: &["--size", "128", "--inflight", "1"],
    };
    let load = Load { options: &["--size", "128", "--inflight", "1", "--transport", "long-poll"], ..floor };
    harness::main(&[Case { name: "1,000 polls, one message in flight", load, floor }]);
}

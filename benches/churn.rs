//! What it costs to come and go: connect, opening handshake, close, again and again on 64 connections at a time.
//!
//! `cargo bench --bench churn [-- [--rounds N] [--quick] [CASE]]`

mod floor;
mod harness;

use harness::{Case, Load};

fn main() {
    let case = |name, path| {
        let load = Load { scenario: "churn", path, connections: 64, count: 20_000, options: &[] };
        Case { name, load, floor: load }
    };
    harness::main(&[case("handshake and close", "/echo"), case("with a subscription", "/channel/a")]);
}

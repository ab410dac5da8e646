//! What it costs to send back a message: `/echo` on 64 WebSockets, small and large, one at a time and sixteen.
//!
//! `cargo bench --bench echo [-- [--rounds N] [--quick] [CASE]]`

mod floor;
mod harness;

use harness::{Case, Load};

fn main() {
    harness::main(&[
        case("16 B, one in flight", 200_000, &["--size", "16", "--depth", "1"]),
        case("16 B, sixteen in flight", 1_000_000, &["--size", "16", "--depth", "16"]),
        case("1 KiB, one in flight", 200_000, &["--size", "1024", "--depth", "1"]),
        case("1 KiB, sixteen in flight", 500_000, &["--size", "1024", "--depth", "16"]),
        case("64 KiB, sixteen in flight", 20_000, &["--size", "65536", "--depth", "16"]),
    ]);
}

fn case(name: &'static str, count: u64, options: &'static [&'static str]) -> Case {
    let load = Load { scenario: "echo", path: "/echo", connections: 64, count, options };
    Case { name, load, floor: load }
}

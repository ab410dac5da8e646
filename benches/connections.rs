//! What an idle connection costs: opens many to the real binary, each subscribed to a channel, and reads the server's
//! resident memory with half of them and with all. What is made once for all is in both, and not in the difference.
//!
//! `cargo bench --bench connections [-- NUMBER | --quick]`, 10,000 if nothing is said. Linux only: memory is read from
//! `/proc`. There is no floor to this: it holds no subscription, cursor or timer, and so has nothing to be compared in.

#[path = "harness/process.rs"]
mod process;

use process::Server;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let number: u64 = given.unwrap_or(if quick { 500 } else { 10_000 });
    println!(
        "{:<22} {:>11} {:>10} {:>12} {:>16}",
        "transport", "connections", "KiB before", "KiB with all", "bytes each"
    );
    for (name, options) in [
        ("WebSocket", &["--transport", "ws"][..]),
        ("WebSocket, compressed", &["--transport", "ws", "--deflate"]),
        ("event stream", &["--transport", "sse"]),
        ("long poll", &["--transport", "long-poll"]),
    ] {
        measure(name, options, number);
    }
}

/// Opens `number` connections, and prints what they cost the server.
fn measure(name: &str, options: &[&str], number: u64) {
    let (server, wanted) = (Server::redpoll(), number.to_string());
    let outcome = server.load("idle", "/channel/a", &[&["-n", &wanted, "--duration", "1ms"], options].concat());
    let figure = |key: &str| outcome[key].as_f64().unwrap_or_else(|| panic!("{key} is in {outcome}"));
    assert!(outcome["connections"] == number && figure("closed") == 0.0, "all are open: {outcome}");
    println!(
        "{name:<22} {number:>11} {:>10} {:>12} {:>16.1}",
        figure("server_rss_bytes_before") / 1024.0,
        figure("server_rss_bytes_after") / 1024.0,
        figure("rss_bytes_per_connection"),
    );
}

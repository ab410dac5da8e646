//! What Linux says about processes and sockets in `/proc`: processor time, memory.

use std::fs::read_to_string;

/// The load generator itself.
pub(super) const OWN: &str = "self";

/// Processor time of all threads of a process so far, in seconds. To the nanosecond where the kernel counts that,
/// else in ticks of 10 ms.
pub(super) fn cpu_seconds(pid: &str) -> Option<f64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanoseconds = |thread: std::fs::DirEntry| number(&read_to_string(thread.path().join("schedstat")).ok()?, 0);
    let precise: Option<u64> = threads.flatten().map(nanoseconds).sum();
    precise.map(|nanoseconds| nanoseconds as f64 / 1e9).or_else(|| cpu_ticks(pid))
}

/// proc(5), `/proc/PID/stat`: user and system time are the 12th and 13th field behind the name in parentheses.
fn cpu_ticks(pid: &str) -> Option<f64> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some((number(fields, 11)? + number(fields, 12)?) as f64 / 100.0)
}

/// Memory of a process that is in RAM.
pub(super) fn resident_bytes(pid: &str) -> Option<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(number(after(&status, "VmRSS:")?, 0)? << 10)
}

/// What the kernel holds in the buffers of all TCP sockets of this network. It counts them in pages.
pub(super) fn kernel_tcp_bytes() -> Option<u64> {
    let sockstat = read_to_string("/proc/net/sockstat").ok()?;
    let tcp = after(&sockstat, "TCP:")?.lines().next()?;
    Some(number(after(tcp, " mem ")?, 0)? << 12)
}

fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split_once(name).map(|(_, after)| after)
}

fn number(text: &str, index: usize) -> Option<u64> {
    text.split_ascii_whitespace().nth(index)?.parse().ok()
}

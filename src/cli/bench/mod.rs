//! `redpoll bench`: loads a server, and checks what comes back.

mod connect;
mod echo;
mod latency;
mod link;
mod payload;
mod process;
mod protocol;
mod receiver;
mod run;
mod swarm;

use super::url::Endpoint;

/// What `redpoll bench` is to do.
pub(crate) struct Bench {
    pub(crate) url: Endpoint,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) depth: u32,
    pub(crate) count: Option<u64>,
    pub(crate) duration_ms: Option<u64>,
    /// The server's process.
    pub(crate) pid: Option<String>,
    pub(crate) subscribe: Option<String>,
    /// For masking keys; not 0.
    pub(crate) seed: u64,
}

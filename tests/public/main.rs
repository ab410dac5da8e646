//! The binary as it stands at a public address: what its answers say besides their content, and what it refuses; and, the other
//! way round, what `redpoll bench` tells of servers.

mod bench;
#[cfg(target_os = "linux")]
mod confinement;
#[cfg(target_os = "linux")]
mod descriptors;
mod fields;
mod lab;
mod limits;
mod members;
mod outsiders;
#[cfg(target_os = "linux")]
mod overload;
mod reached;
mod served;
mod status;

//! The binary as it stands at a public address: what its answers say besides their content, and what it refuses.

#[cfg(target_os = "linux")]
mod descriptors;
mod fields;
mod limits;
mod served;

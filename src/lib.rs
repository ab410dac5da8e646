//! Redpoll.
pub mod wire;

//! Bytes to values and back: HTTP, WebSocket, event streams, the JSON envelope. No input or output, no state kept.

pub mod position;
pub mod status;

//! Bytes to values and back: HTTP, WebSocket, event streams, the JSON envelope. No input or output, no state kept.

pub mod close;
pub mod coding;
pub mod command;
pub mod content;
#[cfg_attr(not(feature = "deflate"), path = "no_deflate.rs")]
pub mod deflate;
pub mod envelope;
pub mod event_stream;
pub mod extension;
pub mod form;
pub mod forwarded;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod mask;
pub mod message;
pub mod origin;
pub mod position;
pub mod request_line;
pub mod response;
pub mod status;
pub mod syntax;
pub mod token;
pub mod utf8;

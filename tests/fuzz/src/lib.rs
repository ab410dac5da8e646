//! What the fuzz targets share: how an input arrives in pieces, and the RFCs in the plainest words there are.
//!
//! A model here is to be compared with what Redpoll does. It is written from the RFC and not from Redpoll: it takes a
//! byte at a time, copies whatever it likes, and knows nothing of limits on memory.

pub mod base64;
pub mod commands;
pub mod contents;
pub mod extensions;
pub mod forms;
pub mod frames;
pub mod handshakes;
pub mod heads;
pub mod hmac;
pub mod inflate;
pub mod input;
pub mod json;
pub mod ledger;
pub mod line;
pub mod listening;
pub mod positions;
pub mod schedule;
pub mod server;
pub mod tokens;
pub mod world;

//! A tiny push server: one thread, one event loop, four transports on the same channels.
//!
//! ```no_run
//! use redpoll::{Consumer, Context, Message, Server, Status};
//!
//! struct Chat { room: String }
//!
//! impl Consumer for Chat {
//!     fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
//!         cx.subscribe(&self.room);
//!         Ok(())
//!     }
//!     fn receive(&mut self, message: Message, cx: &mut Context) {
//!         cx.publish(&self.room, message);
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     Server::new()
//!         .route("/chat/{room}", |request| Chat { room: request.param("room").into() })
//!         .run("127.0.0.1:8080")
//! }
//! ```
//!
//! A route names a consumer, not a transport: clients reach `/chat/tea` by short polling, long polling, Server-Sent
//! Events or WebSocket, publish to it by POST or over their WebSocket, and all see the same messages in the same
//! order.
//!
//! # How it works
//!
//! A channel is a bounded log, a subscriber a cursor into it. Publishing appends to the log; at the end of each turn
//! of the loop everyone who can take bytes is written what lies after its cursor. There is no queue for each client.
//!
//! ```text
//! poll ─> Engine::ready(id)
//!           stream.read          into the engine's one receive buffer
//!           Connection::receive  its state machine: Request, Poll, EventStream, WebSocket, ...
//!             consumer.receive
//!               cx.publish ─────> Hub: append to the channel's log, mark it dirty
//!               cx.send ────────> this connection's output
//!           stream.write         the output; what is left waits for the next readiness
//! ...every event of the batch...
//!       Engine::turn
//!           1 unfinished reads   2 expired timers   3 deliver the dirty channels   4 recycle closed ids
//! ```
//!
//! The modules in layers, each using only those below it: [`Server`] (sockets, clocks, signals) - [`Engine`] (all
//! connections; what a turn is) - `connection`, `router`, `consumer` (one client's state machine; paths;
//! what applications see) - `hub` (logs and cursors) - [`wire`] (bytes to values and back) - `timer`, `time`, `config`.

//!
//! # Features
//!
//! `deflate`, on unless default features are off: WebSocket messages are compressed for clients that offer it
//! (RFC 7692).

#![forbid(unsafe_code)]

mod config;
mod connection;
mod consumer;
mod engine;
mod hub;
mod metrics;
mod pages;
mod router;
mod server;
mod time;
mod timer;
pub mod wire;

pub use config::{Config, History, Limit};
pub use connection::{Flow, Tap};
pub use consumer::{Action, Consumer, Context, Message, Polled, Reason, Render};
pub use engine::{Engine, Readiness, Seed, Stream};
pub use hub::{ChannelInfo, ConnectionId, MemberInfo, Order, Publication, Published, Transport};
pub use metrics::{Durations, Metrics, REFUSALS};
pub use router::Request;
pub use server::{Address, Error, Publisher, Server};
pub use time::Now;
pub use wire::close::CloseCode;
pub use wire::head::Method;
pub use wire::position::{Position, Since};
pub use wire::response::Response;
pub use wire::status::Status;

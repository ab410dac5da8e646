//! The opening handshake, as the server checks and answers it (RFC 6455 §4.2).

use crate::config::Config;
use crate::router::Request;
use crate::wire::deflate;
use crate::wire::extension::{self, Agreement};
use crate::wire::handshake::{accept_key, key_is_valid};
use crate::wire::head::Method;
use crate::wire::response::Response;
use crate::wire::status::Status;
use crate::wire::syntax::list_items;

/// The subprotocol of commands and envelopes.
pub(super) const SUBPROTOCOL: &str = "redpoll.v1";

/// A request that may become a WebSocket.
pub(super) struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    pub(super) accept: String,
    /// Whether the client offers [`SUBPROTOCOL`].
    pub(super) subprotocol: bool,
    /// How messages are compressed, if the client offers it and the server wants it.
    pub(super) deflate: Option<Agreement>,
}

/// Checks a request that asks for a WebSocket; `None` if it does not ask.
///
/// # Errors
/// 426 with the version for any other than 13, 400 for a key that is not 16 bytes, for a missing `Connection:
/// upgrade`, for HTTP/1.0 (§4.2.1), and for extensions that cannot be read (§9.1).
pub(super) fn handshake_of(request: &Request, config: &Config) -> Result<Option<Handshake>, Response> {
    let head = request.head();
    if !head.has_token("upgrade", "websocket") || request.method() != Method::Get {
        return Ok(None);
    }
    if head.is_http10() {
        return refuse("a WebSocket needs HTTP/1.1 (RFC 6455 §4.1)");
    }
    if !head.has_token("connection", "upgrade") {
        return refuse(
            "the opening handshake has no \"Connection: Upgrade\" (RFC 6455 §4.2.1); a proxy may have removed it",
        );
    }
    if head.field("sec-websocket-version") != Some("13") || head.fields("sec-websocket-version").count() != 1 {
        return Err(upgrade_required("the WebSocket version must be 13 (RFC 6455 §4.2.1)"));
    }
    let offered = extension::negotiate(head.fields("sec-websocket-extensions"))?;
    let mut keys = head.fields("sec-websocket-key");
    match (keys.next(), keys.next()) {
        (Some(key), None) if key_is_valid(key) => Ok(Some(Handshake {
            accept: accept_key(key),
            // In its very case: the client compares the answer with what it offered (§4.1).
            subprotocol: head.fields("sec-websocket-protocol").flat_map(list_items).any(|name| name == SUBPROTOCOL),
            deflate: offered.filter(|_| config.deflate && deflate::AVAILABLE),
        })),
        _ => refuse("Sec-WebSocket-Key must be given once and be 16 bytes in Base64 (RFC 6455 §4.2.1)"),
    }
}

fn refuse(detail: &'static str) -> Result<Option<Handshake>, Response> {
    Err(Status::new(400).detail(detail).into())
}

/// 426, naming the protocol to change to (RFC 9110 §15.5.22) and its version (RFC 6455 §4.4).
pub(super) fn upgrade_required(detail: &'static str) -> Response {
    let response = Response::from(Status::new(426).detail(detail));
    response.field("Upgrade", "websocket").field("Sec-WebSocket-Version", "13")
}

//! Tokens that expire: when a connection may end with its token, and when it must.

use super::Scene;
use super::socket::SLACK_MS;
use super::subscriber::{Line, Session};

/// How long a connection may stay, from the moment at which the server is shown the token.
#[derive(Clone, Copy)]
pub(super) struct Token {
    /// When it was sent.
    pub(super) since: u64,
    pub(super) lasts_ms: u64,
    /// When the client heard that it has been seen.
    pub(super) seen_by: Option<u64>,
}

impl Token {
    pub(super) fn new(lasts_ms: u64, scene: &Scene) -> Token {
        Token { since: scene.network.now, lasts_ms, seen_by: None }
    }
}

impl Line {
    /// The server says that the token has expired.
    pub(super) fn receive_expiry(&mut self, scene: &mut Scene) {
        let token = self.token.expect("4001 and `expired` are for those who came with a token");
        let now = scene.network.now;
        assert!(now >= token.since + token.lasts_ms, "expired after {} ms, not {}", now - token.since, token.lasts_ms);
        scene.oracle.note("expired");
        self.server_closes = true;
    }

    /// Nobody who is told everything at once outlives its token.
    pub(super) fn check_token(&self, scene: &Scene) {
        let open = matches!(self.session, Session::WebSocket(_) | Session::EventStream(_));
        let over = scene.oracle.is_shaken(self.came_at) || self.server_closes || self.going_until.is_some();
        // A command that is under way may renew it.
        let Some(token) = self.token.filter(|_| open && !over && self.commands.is_empty()) else { return };
        let Some(seen_by) = token.seen_by else { return };
        assert!(scene.network.now <= seen_by + token.lasts_ms + SLACK_MS, "a connection outlives its token");
    }

    /// The server has answered what the token came with.
    pub(super) fn note_token_seen(&mut self, scene: &Scene) {
        if let Some(token) = &mut self.token {
            token.seen_by = Some(scene.network.now);
        }
    }
}

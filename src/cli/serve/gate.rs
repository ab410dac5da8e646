//! The gate: who may do what. Without a secret everyone may do everything; with one, whoever has a token for it.

use std::borrow::Cow;

use redpoll::wire::origin::same_origin;
use redpoll::wire::token::{Claims, Secret, bearer, cookie, verify};
use redpoll::{Action, Now, Request, Status};

/// What is asked of each request.
pub(super) struct Gate {
    /// None of them: the gate is open.
    secrets: Vec<Secret>,
    /// Those of `--origin`.
    origins: Vec<String>,
}

impl Gate {
    pub(super) fn new(secrets: Vec<Secret>, origins: Vec<String>) -> Gate {
        Gate { secrets, origins }
    }

    /// Whether everyone may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Lets a request in that may do this on all of the channels, and says what its token says. On an open gate that is
    /// nothing.
    ///
    /// # Errors
    /// 401 without a good token, 403 for the first channel that it does not allow.
    pub(super) fn admit(
        &self,
        request: &Request,
        now: Now,
        action: Action,
        channels: &[impl AsRef<str>],
    ) -> Result<Option<Claims>, Status> {
        if self.is_open() {
            return Ok(None);
        }
        let claims = self.claims(request, now)?;
        channels.iter().try_for_each(|channel| check(&claims, action, channel.as_ref()))?;
        Ok(Some(claims))
    }

    /// Lets a request in that may see what the server does, and says what its token says, like [`Gate::admit`].
    ///
    /// # Errors
    /// 401 without a good token, 403 where it does not say `"status":true`.
    pub(super) fn admit_to_status(&self, request: &Request, now: Now) -> Result<Option<Claims>, Status> {
        if self.is_open() {
            return Ok(None);
        }
        let claims = self.claims(request, now)?;
        match claims.status {
            true => Ok(Some(claims)),
            false => Err(forbidden("this needs a token with \"redpoll\":{\"status\":true}".to_owned())),
        }
    }

    /// What the token of a request says. Only for a gate that is not open.
    pub(super) fn claims(&self, request: &Request, now: Now) -> Result<Claims, Status> {
        match self.token_of(request) {
            Some(token) => verify(&token, &self.secrets, now.unix_ms),
            // RFC 6750 §3.1: who has said nothing is told no error code.
            None => Err(Status::new(401).detail(NEEDED)),
        }
    }

    /// What a token says that comes on an open connection.
    pub(super) fn renew(&self, token: &str, now: Now) -> Result<Claims, Status> {
        verify(token, &self.secrets, now.unix_ms)
    }

    fn token_of<'a>(&self, request: &Request<'a>) -> Option<Cow<'a, str>> {
        let in_field = || request.field("authorization").and_then(bearer).map(Cow::Borrowed);
        let in_cookie = || cookie(request.field("cookie")?, COOKIE).map(Cow::Borrowed);
        in_field().or_else(|| request.query("token")).or_else(|| in_cookie().filter(|_| self.trusts_cookie(request)))
    }

    /// A browser sends a cookie whichever page asks: it counts for our own pages and those of origins that are named,
    /// not for all that `--origin *` lets in.
    fn trusts_cookie(&self, request: &Request) -> bool {
        request.field("origin").is_none_or(|origin| {
            same_origin(origin, request.field("host").unwrap_or_default())
                || self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
        })
    }
}

/// Whether a token allows this on a channel.
///
/// # Errors
/// 403 that names the channel.
pub(super) fn check(claims: &Claims, action: Action, channel: &str) -> Result<(), Status> {
    let (allowed, verb) = match action {
        Action::Subscribe => (claims.may_subscribe(channel), "subscribe"),
        Action::Publish => (claims.may_publish(channel), "publish"),
    };
    match allowed {
        true => Ok(()),
        false => Err(forbidden(format!("the token does not let you {verb} to {channel:?}"))),
    }
}

fn forbidden(detail: String) -> Status {
    // RFC 6750 §3.1
    Status::new(403).detail(detail).challenge("Bearer error=\"insufficient_scope\"")
}

const COOKIE: &str = "redpoll_token";
const NEEDED: &str = "a token is needed: as Authorization: Bearer TOKEN, as token=TOKEN in the query, or as the cookie \
    redpoll_token";

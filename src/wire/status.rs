//! Statuses: what an HTTP answer says first, and how a refusal explains itself.
//!
//! Every error of Redpoll that HTTP can carry is a [`Status`] with a `detail`, and is answered as
//! `application/problem+json` (RFC 9457 §3).

use std::borrow::Cow;

use crate::config::Limit;

/// An HTTP status (RFC 9110 §15) and, where it refuses something, the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: u16,
    detail: Cow<'static, str>,
    /// Empty where there is none.
    challenge: &'static str,
    limit: Option<Limit>,
}

impl Status {
    /// A status without a detail. `code` is 100 to 599.
    pub const fn new(code: u16) -> Status {
        // RFC 9110 §15.5.2: a 401 has a challenge.
        let challenge = if code == 401 { "Bearer" } else { "" };
        Status { code, detail: Cow::Borrowed(""), challenge, limit: None }
    }

    /// The same status with `detail`: what was wrong and what is accepted.
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Status {
        Status { detail: detail.into(), ..self }
    }

    /// The same status with another value for `WWW-Authenticate` (RFC 9110 §11.6.1): how the client may prove who it
    /// is. Without, a 401 has `Bearer`, and other statuses have none.
    pub const fn challenge(mut self, challenge: &'static str) -> Status {
        self.challenge = challenge;
        self
    }

    /// The same status, to be counted for the limit that was reached.
    pub(crate) const fn limit(mut self, limit: Limit) -> Status {
        self.limit = Some(limit);
        self
    }

    /// The limit that was reached, if that was the reason.
    pub(crate) fn reached(&self) -> Option<Limit> {
        self.limit
    }

    /// The value of `WWW-Authenticate`; empty where there is none.
    pub(crate) fn authenticate(&self) -> &'static str {
        self.challenge
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What was wrong and what is accepted; empty where the code says it all.
    pub fn explanation(&self) -> &str {
        &self.detail
    }

    /// The reason phrase of RFC 9110 §15 (of RFC 6585 for 429 and 431).
    pub fn title(&self) -> &'static str {
        TITLES.iter().find(|(code, _)| *code == self.code).map_or("Unknown", |(_, title)| title)
    }

    /// The problem details of RFC 9457 §3.1: `{"status":404,"title":"Not Found","detail":"..."}`.
    pub fn problem(&self) -> String {
        let detail = serde_json::to_string(self.explanation()).expect("a string is always JSON");
        format!(r#"{{"status":{},"title":"{}","detail":{detail}}}"#, self.code, self.title())
    }
}

/// `415 text must be UTF-8`, for logs and terminals.
impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = if self.detail.is_empty() { self.title() } else { self.explanation() };
        write!(f, "{} {words}", self.code)
    }
}

impl std::error::Error for Status {}

const TITLES: [(u16, &str); 31] = [
    (100, "Continue"),
    (101, "Switching Protocols"),
    (200, "OK"),
    (201, "Created"),
    (202, "Accepted"),
    (204, "No Content"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (417, "Expectation Failed"),
    (426, "Upgrade Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (503, "Service Unavailable"),
    (505, "HTTP Version Not Supported"),
];

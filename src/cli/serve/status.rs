//! `/status`: the page for whoever runs the server, and what it is told each second.

use std::path::PathBuf;
use std::rc::Rc;

use redpoll::{Context, Request, Response, Server, Status};

use super::gate::Gate;
use super::metrics::samples;
use super::outsider;
use super::pages;

/// To whom the page is shown.
#[derive(Clone)]
pub(super) enum Audience {
    /// Who has a token for it.
    Tokens(Rc<Gate>),
    /// Who is on this machine: nobody has said who else may.
    ThisMachine,
    Everyone,
    /// An open server that others can reach, of which nobody has said that they may.
    Nobody,
}

impl Audience {
    pub(super) fn admit(&self, request: &Request, cx: &mut Context) -> Result<(), Status> {
        match self {
            Audience::Tokens(gate) => {
                let claims = gate.admit_to_status(request, cx.now())?;
                cx.expire_at(claims.and_then(|claims| claims.expires_ms));
                Ok(())
            }
            Audience::ThisMachine => outsider(request).map_or(Ok(()), |why| {
                let detail = format!("this request {why}, and without --status this machine alone is shown its status");
                Err(Status::new(403).detail(detail))
            }),
            Audience::Everyone => Ok(()),
            Audience::Nobody => Err(Status::new(403).detail(OFF)),
        }
    }
}

pub(super) fn routes(server: Server, audience: Audience, html: Option<PathBuf>) -> Server {
    let (shows, page) = (audience.clone(), pages::status(html));
    let admit = move |request: &Request, cx: &mut Context| audience.admit(request, cx);
    server
        .report("/status/events", INTERVAL_MS, admit, samples)
        .get("/status", move |request, cx| shows.admit(request, cx).map_or_else(Response::from, |()| page(request)))
}

const INTERVAL_MS: u64 = 1_000;

const OFF: &str = "an open server that others can reach does not show its status: --status has everyone see it, or \
    --secret-file those who have a token with \"status\":true";

//! From a whole request to whoever answers it.

use std::rc::Rc;

use super::Visit;
use super::respond::{Persistence, Terms};
use crate::consumer::Call;
use crate::router::{Request, Route, Router};
use crate::wire::form::check_event_name;
use crate::wire::head::{Head, Method};
use crate::wire::origin::same_origin;
use crate::wire::response::Response;
use crate::wire::status::Status;

/// Whose page a request comes from (Fetch §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// No browser says so, or the server's own.
    Own,
    /// One of the configured ones, counted from 1.
    Allowed(u8),
    /// Any other, `null` too.
    Foreign,
}

impl Origin {
    /// The number of the configured one; 0 where no field has to allow anything.
    fn allowed(self) -> u8 {
        if let Origin::Allowed(number) = self { number } else { 0 }
    }
}

impl Visit<'_> {
    /// Answers one request, or begins the subscription that it asks for.
    pub(super) fn dispatch(&mut self, head: &Head, content: &[u8]) {
        self.world.counters.requests += 1;
        let origin = self.origin_of(head);
        let terms = self.terms(head, origin.allowed());
        let router = Rc::clone(&self.world.router);
        if let Err(refusal) = self.route(&router, head, content, origin, terms) {
            self.respond(refusal, terms);
        }
    }

    fn route(
        &mut self,
        router: &Router,
        head: &Head,
        content: &[u8],
        origin: Origin,
        terms: Terms,
    ) -> Result<(), Response> {
        check_guard(router, head, content)?;
        self.enter_client(head)?;
        if head.method() == Method::Options {
            self.respond(options(router, head, origin)?, terms);
            return Ok(());
        }
        let (route, parameters) = router.find(head.path())?;
        let request = Request::new(head, &parameters, content);
        admit(route, &request, origin)?;
        match (route.handler(head.method()), &route.consumer) {
            (Some(handler), _) => {
                let mut call = Call::default();
                let response = handler(&request, &mut self.context(&mut call, Some(&request)));
                let answer = call.refused.map_or(response, Response::from);
                self.respond(answer, terms);
                Ok(())
            }
            (None, Some(factory)) => match head.method() {
                Method::Post | Method::Put => self.receive_post(factory(&request), &request, terms),
                _ => self.subscribe(factory(&request), &request, route.only_polls, terms),
            },
            (None, None) => Err(method_not_allowed(route)),
        }
    }

    /// What can be refused before the content is there: everything that does not depend on it.
    pub(super) fn refusal_before_content(&mut self, head: &Head) -> Option<Response> {
        let router = Rc::clone(&self.world.router);
        let admit = || {
            check_guard(&router, head, b"")?;
            let (route, parameters) = router.find(head.path())?;
            admit(route, &Request::new(head, &parameters, b""), self.origin_of(head))
        };
        admit().err()
    }

    /// Answers bytes that are no request, or one whose content nobody will read, and ends the connection: what follows
    /// on it could be anything. `head` is the request's, as far as it was understood.
    pub(super) fn refuse_and_close(&mut self, refusal: impl Into<Response>, head: Option<&Head>) {
        let terms = match head {
            Some(head) => self.terms(head, self.origin_of(head).allowed()),
            None => Terms { persistence: Persistence::Close, head_only: false, allowed_origin: 0 },
        };
        self.respond(refusal.into(), Terms { persistence: Persistence::Close, ..terms });
    }

    fn origin_of(&self, head: &Head) -> Origin {
        let mut origins = head.fields("origin");
        let Some(origin) = origins.next() else { return Origin::Own };
        let configured = &self.world.config.origins;
        let listed = configured.iter().position(|known| known == "*" || known.eq_ignore_ascii_case(origin));
        match listed.and_then(|index| u8::try_from(index + 1).ok()) {
            // A browser sends one: of two, another reader could believe the other.
            _ if origins.next().is_some() => Origin::Foreign,
            // Before the own: one on another scheme, which is not known here, needs the field to read the answer.
            Some(number) => Origin::Allowed(number),
            None if same_origin(origin, head.host()) => Origin::Own,
            None => Origin::Foreign,
        }
    }
}

/// What the application's guard says, before anything else is looked at.
fn check_guard(router: &Router, head: &Head, content: &[u8]) -> Result<(), Response> {
    let request = Request::new(head, &[], content);
    router.guard.as_ref().map_or(Ok(()), |guard| guard(&request)).map_err(Response::from)
}

/// Whether a request may go to its route: its method, and its origin.
fn admit(route: &Route, request: &Request, origin: Origin) -> Result<(), Response> {
    let method = request.method();
    if route.handler(method).is_none() && !route.consumes(method) {
        return Err(method_not_allowed(route));
    }
    let changes = !matches!(method, Method::Get | Method::Head) || request.head().has_token("upgrade", "websocket");
    if origin == Origin::Foreign && changes {
        let detail =
            "this origin may not publish here or open a WebSocket: the server's own may, and those of --origin";
        return Err(Status::new(403).detail(detail).into());
    }
    Ok(())
}

fn method_not_allowed(route: &Route) -> Response {
    let allow = route.allow();
    Response::from(Status::new(405).detail(format!("this path allows {allow}"))).field("Allow", allow)
}

/// OPTIONS: what a path allows (RFC 9110 §9.3.7), and to a browser that asks for a page of another origin, whether it
/// may (Fetch §4.8).
fn options(router: &Router, head: &Head, origin: Origin) -> Result<Response, Response> {
    let allow = match head.path() {
        "*" => "GET, HEAD, POST, PUT, DELETE, OPTIONS".to_owned(),
        path => router.find(path)?.0.allow(),
    };
    let response = Response::new(204).field("Allow", allow.clone());
    if head.field("access-control-request-method").is_none() {
        return Ok(response);
    }
    if origin == Origin::Foreign {
        return Err(Status::new(403).detail("this origin is not one of --origin").into());
    }
    Ok(response
        .field("Access-Control-Allow-Methods", allow)
        .field(
            "Access-Control-Allow-Headers",
            "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID",
        )
        .field("Access-Control-Max-Age", "86400")
        .field("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"))
}

/// The event name that a publisher gives with `event=`.
pub(super) fn event_of(request: &Request) -> Result<Option<String>, Status> {
    let Some(name) = request.query("event") else { return Ok(None) };
    check_event_name(&name)?;
    Ok(Some(name.into_owned()))
}

//! Routes: from a path to a consumer or a handler.

use std::borrow::Cow;

use crate::connection::Report;
use crate::consumer::{Consumer, Context};
use crate::wire::coding::prefers_gzip;
use crate::wire::form::{decode_path_segment, parameter};
use crate::wire::head::{Head, Method};
use crate::wire::response::Response;
use crate::wire::status::Status;

/// One HTTP request: what a route's factory and handlers see.
#[derive(Debug)]
pub struct Request<'a> {
    head: &'a Head<'a>,
    parameters: &'a [Parameter<'a>],
    content: &'a [u8],
}

/// What a `{name}` of the pattern stands for in a path.
#[derive(Debug)]
pub(crate) struct Parameter<'a> {
    name: &'a str,
    raw: &'a str,
    decoded: Cow<'a, str>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(head: &'a Head<'a>, parameters: &'a [Parameter<'a>], content: &'a [u8]) -> Request<'a> {
        Request { head, parameters, content }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// The path as it was sent.
    pub fn path(&self) -> &'a str {
        self.head.path()
    }

    /// What the pattern's `{name}` stands for, percent-decoded; empty if the pattern has no such name.
    pub fn param(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|found| found.name == name).map_or("", |found| &found.decoded)
    }

    /// The same as it was sent, for what is split before it is decoded.
    pub fn param_raw(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|found| found.name == name).map_or("", |found| found.raw)
    }

    /// The first value of `name` in the query, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        parameter(self.head.query(), name)
    }

    /// The first value of the form field `name` in the content, decoded.
    pub fn form(&self, name: &str) -> Option<Cow<'a, str>> {
        parameter(std::str::from_utf8(self.content).ok()?, name)
    }

    /// The first value of the field `name`, in any case.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.head.field(name)
    }

    /// Whether the client is better served with a response in gzip than with one in no coding, by its
    /// `Accept-Encoding` (RFC 9110 §12.5.3).
    pub fn prefers_gzip(&self) -> bool {
        prefers_gzip(self.head.fields("accept-encoding"))
    }

    /// The content; empty where there is none.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    pub(crate) fn head(&self) -> &'a Head<'a> {
        self.head
    }
}

/// Makes the consumer of one connection.
pub(crate) type Factory = Box<dyn Fn(&Request) -> Box<dyn Consumer>>;
/// Answers one request.
pub(crate) type Handler = Box<dyn Fn(&Request, &mut Context) -> Response>;
/// Says whether a request may go to its route at all.
pub(crate) type Guard = Box<dyn Fn(&Request) -> Result<(), Status>>;

/// What a path leads to.
#[derive(Default)]
pub(crate) struct Route {
    pattern: Vec<Segment>,
    pub(crate) consumer: Option<Factory>,
    /// Its consumers answer polls and nothing else.
    pub(crate) only_polls: bool,
    handlers: Vec<(Method, Handler)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// `{name}`: one segment that is not empty.
    One(Box<str>),
    /// `{*name}`: the rest of the path.
    Rest(Box<str>),
}

/// All routes, and what is asked before them.
#[derive(Default)]
pub(crate) struct Router {
    routes: Vec<Route>,
    pub(crate) guard: Option<Guard>,
    /// What is published at some of them while somebody follows it.
    pub(crate) reports: Vec<Report>,
}

impl Router {
    /// The route of a pattern, which is made if it does not exist. Patterns are tried in the order in which they were
    /// made.
    pub(crate) fn route(&mut self, pattern: &str) -> &mut Route {
        let pattern = parse_pattern(pattern);
        let known = self.routes.iter().position(|route| route.pattern == pattern);
        let index = known.unwrap_or_else(|| {
            self.routes.push(Route { pattern, ..Route::default() });
            self.routes.len() - 1
        });
        &mut self.routes[index]
    }

    /// The route of a path and what its parameters stand for.
    ///
    /// # Errors
    /// 404 where no pattern fits, 400 where a parameter cannot be decoded.
    pub(crate) fn find<'a>(&'a self, path: &'a str) -> Result<(&'a Route, Vec<Parameter<'a>>), Status> {
        for route in &self.routes {
            if let Some(raw) = matches(&route.pattern, path) {
                return Ok((route, decode(&raw)?));
            }
        }
        Err(Status::new(404).detail(format!("nothing is at {:?}", crate::wire::head::excerpt(path))))
    }
}

impl Route {
    /// Adds a handler. HEAD is answered by that of GET.
    pub(crate) fn handle(&mut self, method: Method, handler: Handler) {
        self.handlers.push((method, handler));
    }

    /// What answers a method, if a handler does.
    pub(crate) fn handler(&self, method: Method) -> Option<&Handler> {
        let method = if method == Method::Head { Method::Get } else { method };
        self.handlers.iter().find(|(known, _)| *known == method).map(|(_, handler)| handler)
    }

    /// Whether the route's consumer is who answers a method.
    pub(crate) fn consumes(&self, method: Method) -> bool {
        let consumed = if self.only_polls { &CONSUMED[..2] } else { &CONSUMED[..] };
        self.consumer.is_some() && consumed.contains(&method) && self.handler(method).is_none()
    }

    /// The value of `Allow` (RFC 9110 §10.2.1).
    pub(crate) fn allow(&self) -> String {
        let all = [Method::Get, Method::Head, Method::Post, Method::Put, Method::Delete, Method::Patch];
        let allowed = all.into_iter().filter(|method| self.consumes(*method) || self.handler(*method).is_some());
        allowed.chain([Method::Options]).map(Method::name).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| &route.pattern)).finish()
    }
}

/// What a consumer answers: a subscription by GET, a message by POST or PUT.
const CONSUMED: [Method; 4] = [Method::Get, Method::Head, Method::Post, Method::Put];

fn parse_pattern(pattern: &str) -> Vec<Segment> {
    let segment = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) => {
            name.strip_prefix('*').map_or_else(|| Segment::One(name.into()), |rest| Segment::Rest(rest.into()))
        }
        None => Segment::Literal(part.into()),
    };
    pattern.strip_prefix('/').unwrap_or(pattern).split('/').map(segment).collect()
}

/// The parameters of a path that fits, as they were sent.
fn matches<'p>(pattern: &'p [Segment], path: &'p str) -> Option<Vec<(&'p str, &'p str)>> {
    let mut found = Vec::new();
    let mut rest = Some(path.strip_prefix('/')?);
    for segment in pattern {
        let left = rest?;
        if let Segment::Literal(literal) = segment
            && !left.starts_with(&**literal)
        {
            // So ends the look at most patterns: there is nothing to split.
            return None;
        }
        let (part, after) = left.split_once('/').map_or((left, None), |(part, after)| (part, Some(after)));
        match segment {
            Segment::Literal(literal) if **literal == *part => {}
            Segment::One(name) if !part.is_empty() => found.push((&**name, part)),
            Segment::Rest(name) => {
                found.push((name, left));
                return Some(found);
            }
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(found)
}

fn decode<'a>(raw: &[(&'a str, &'a str)]) -> Result<Vec<Parameter<'a>>, Status> {
    let parameter = |(name, raw): &(&'a str, &'a str)| Ok(Parameter { name, raw, decoded: decode_path_segment(raw)? });
    raw.iter().map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Result<String, u16> {
        let mut router = Router::default();
        for pattern in ["/", "/channels", "/channel/{name}", "/channel/{name}/members", "/files/{*path}"] {
            router.route(pattern);
        }
        let (route, parameters) = router.find(path).map_err(|status| status.code())?;
        let values: Vec<String> =
            parameters.iter().map(|found| format!("{}={}|{}", found.name, found.raw, found.decoded)).collect();
        Ok(format!("{} {}", route.pattern.len(), values.join(" ")).trim().to_owned())
    }

    #[test]
    fn a_path_leads_to_the_pattern_that_it_fits() {
        for (path, expected) in [
            ("/", Ok("1")),
            ("/channels", Ok("1")),
            ("/channel/a%2Cb", Ok("2 name=a%2Cb|a,b")),
            ("/channel/a/members", Ok("3 name=a|a")),
            ("/files/x/y.css", Ok("2 path=x/y.css|x/y.css")),
            ("/channel/", Err(404)),
            ("/channel", Err(404)),
            ("/channels/", Err(404)),
            ("/channel/a/b", Err(404)),
            ("*", Err(404)),
            ("/channel/%zz", Err(400)),
        ] {
            assert_eq!(found(path).as_deref(), expected.as_deref(), "{path}");
        }
    }
}

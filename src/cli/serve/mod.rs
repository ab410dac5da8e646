//! `redpoll serve`: the server with its pages and routes, built from the library's public parts alone.

mod channels;
mod echo;
mod gate;
mod guarded;
mod lab;
mod metrics;
mod pages;
mod privileges;
mod status;
mod tutorial;

use std::io::Write;
use std::net::Ipv4Addr;
use std::rc::Rc;

use redpoll::wire::origin::Authority;
use redpoll::wire::token::SECRET_BYTES_ADVISED;
use redpoll::{Address, Request, Response, Server, Status};

use super::Error;
use super::args::Serve;
use super::logger;
use gate::Gate;
use privileges::Confinement;
use status::Audience;

/// Serves until a signal ends it.
///
/// # Errors
/// A sentence for the terminal: an address that cannot be had, or one that is open to others without `--open` or a
/// secret.
pub(crate) fn serve(options: Serve) -> Result<(), Error> {
    logger::begin(options.log);
    let everywhere_local = options.listen.iter().all(|address| is_local(address));
    check_access(&options, everywhere_local)?;
    if options.secrets.is_one_short {
        log::warn!("a secret has fewer than {SECRET_BYTES_ADVISED} bytes: it may be guessed from a token");
    }
    let confinement = Confinement::new(options.user, options.chroot)?;
    let html = options.html.map(|folder| confinement.path_within(folder)).transpose()?;
    let gate = Rc::new(Gate::new(options.secrets.all, options.config.origins.clone()));
    let (is_open, measures) = (gate.is_open(), Rc::clone(&gate));
    let audience = match (is_open, options.status, everywhere_local) {
        (false, _, _) => Audience::Tokens(Rc::clone(&gate)),
        (true, true, _) => Audience::Everyone,
        (true, false, true) => Audience::ThisMachine,
        (true, false, false) => Audience::Nobody,
    };
    let tutorial = tutorial::routes(Server::new(), html.clone(), &options.config, &gate);
    let mut server = lab::routes(channels::routes(tutorial, &gate, &audience), &gate)
        .get("/healthz", |_, _| Response::text("ok\n").field("Cache-Control", "no-store"))
        .get("/metrics", move |request, cx| metrics::metrics(request, cx, &measures).unwrap_or_else(Response::from));
    if options.echo {
        server = echo::routes(server, &gate);
    }
    server = status::routes(server, audience, html.clone());
    // Last, since a folder of `--html` answers every path that is left.
    server = pages::routes(server, html).config(options.config).end_on_signals();
    if !options.open && is_open {
        server = server.guard(refuse_outsiders);
    }
    let mut bound = Vec::new();
    for address in &options.listen {
        bound.push(server.bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?);
    }
    confinement.enter()?;
    bound.iter().for_each(|address| say(&format!("Redpoll listens on {address}")));
    say(who_may(options.open, is_open));
    Ok(server.serve().map_err(|error| format!("cannot serve: {error}"))?)
}

/// Prints a line, for whoever may read it: a script that has read the address and closed the pipe is no reason to end.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Whether it has been said who may come in: everyone, or who has a token, but not both.
fn check_access(options: &Serve, everywhere_local: bool) -> Result<(), Error> {
    if options.status && !options.secrets.all.is_empty() {
        let refusal = "--status and a secret exclude each other: with a secret, a token with \"status\":true shows it";
        return Err(Error::Usage(refusal.to_owned()));
    }
    match (options.open, options.secrets.all.is_empty()) {
        (true, false) => {
            let refusal = "--open and a secret exclude each other: one lets anyone in, the other whoever has a token";
            Err(Error::Usage(refusal.to_owned()))
        }
        (false, true) if !everywhere_local => {
            let refusal = "refusing to listen where others can reach it without --open, which lets anyone publish and \
                subscribe, or --secret-file, which asks for tokens";
            Err(Error::Usage(refusal.to_owned()))
        }
        _ => Ok(()),
    }
}

fn is_local(address: &str) -> bool {
    Address::parse(address).is_ok_and(|address| address.is_local())
}

/// What is open to whom, in a sentence.
fn who_may(said_open: bool, is_open: bool) -> &'static str {
    match (said_open, is_open) {
        (_, false) => "Closed: who publishes or subscribes needs a token that allows it.",
        (true, true) => "Open: anyone who can reach it may publish and subscribe.",
        (false, true) => {
            "Open to this machine alone, as localhost and not through a proxy: anyone on it may publish and read."
        }
    }
}

/// A proxy on this machine brings in everyone, which `--open` was not given for. So does a page whose name its owner
/// has made to mean this machine (DNS rebinding): to a browser that page and this server are then the same site, and
/// the name it asks for is all that tells them apart.
fn refuse_outsiders(request: &Request) -> Result<(), Status> {
    outsider(request).map_or(Ok(()), |why| {
        let detail = format!("this request {why}, and without --open the server serves its own machine alone");
        Err(Status::new(403).detail(detail))
    })
}

/// Why a request comes from outside this machine, if it does.
fn outsider(request: &Request) -> Option<String> {
    if let Some(name) = ["forwarded", "x-forwarded-for"].iter().find(|name| request.field(name).is_some()) {
        return Some(format!("came through a proxy ({name})"));
    }
    let authority = request.field("host").and_then(Authority::parse)?;
    let other = !is_own_name(authority.host);
    other.then(|| format!("is for {:?}, not for localhost or an IP address", authority.host))
}

/// Whether a host is one that no name server decides about (RFC 6761 §6.3).
fn is_own_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = host.strip_suffix('.').unwrap_or(&host);
    name == "localhost" || name.ends_with(".localhost") || host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()
}

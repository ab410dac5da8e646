//! `redpoll serve`: the server with its pages and routes, built from the library's public parts alone.

mod channels;
mod metrics;
mod pages;
mod tutorial;

use std::io::Write;

use redpoll::{Address, Context, Message, Request, Response, Server, Status};

use super::Error;
use super::args::Serve;
use super::logger;

/// Serves until a signal ends it.
///
/// # Errors
/// A sentence for the terminal: an address that cannot be had, or one that is open to others without `--open`.
pub(crate) fn serve(options: Serve) -> Result<(), Error> {
    logger::begin(options.log);
    let everywhere_local = options.listen.iter().all(|address| is_local(address));
    if !options.open && !everywhere_local {
        let refusal =
            "refusing to listen where others can reach it without --open, which lets anyone publish and subscribe";
        return Err(Error::Usage(refusal.to_owned()));
    }
    let tutorial = tutorial::routes(Server::new(), options.html.clone(), &options.config);
    let mut server = channels::routes(tutorial)
        .get("/healthz", |_, _| Response::text("ok\n").field("Cache-Control", "no-store"))
        .get("/metrics", metrics::metrics);
    if options.echo {
        server = server.route("/echo", |_| echo);
    }
    // Last, since a folder of `--html` answers every path that is left.
    server = pages::routes(server, options.html).config(options.config).end_on_signals();
    if !options.open {
        server = server.guard(refuse_proxied);
    }
    for address in &options.listen {
        let bound = server.bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        say(&format!("Redpoll listens on {bound}"));
    }
    say(who_may(options.open));
    Ok(server.serve().map_err(|error| format!("cannot serve: {error}"))?)
}

/// Prints a line, for whoever may read it: a script that has read the address and closed the pipe is no reason to end.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Sends back what it gets.
fn echo(message: Message, cx: &mut Context) {
    cx.send(message);
}

fn is_local(address: &str) -> bool {
    Address::parse(address).is_ok_and(|address| address.is_local())
}

/// What is open to whom, in a sentence.
fn who_may(open: bool) -> &'static str {
    match open {
        true => "Open: anyone who can reach it may publish and subscribe.",
        false => {
            "Open to this machine alone, but to nothing that comes through a proxy: anyone on it may publish and read."
        }
    }
}

/// A proxy on this machine brings in everyone, which `--open` was not given for.
fn refuse_proxied(request: &Request) -> Result<(), Status> {
    match ["forwarded", "x-forwarded-for"].iter().find(|name| request.field(name).is_some()) {
        Some(name) => Err(Status::new(403).detail(format!(
            "this request came through a proxy ({name}), and without --open the server serves its own machine alone"
        ))),
        None => Ok(()),
    }
}

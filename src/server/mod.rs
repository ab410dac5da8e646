//! The server: routes and limits in, a running event loop out.
//!
//! Here, and only here, the operating system is met: sockets, `epoll` or `kqueue` through mio, clocks, signals.

mod accept;
mod address;
mod delay;
mod publisher;
mod resident;
mod run;
mod socket;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Config;
use crate::connection::{Follower, Report};
use crate::consumer::{Consumer, Context};
use crate::engine::{Engine, Seed, Stream};
use crate::metrics::Metrics;
use crate::router::{Request, Router};
use crate::time::Now;
use crate::wire::head::Method;
use crate::wire::response::Response;
use crate::wire::status::Status;

pub use address::Address;
use publisher::Mailbox;
pub use publisher::{Error, Publisher};
use resident::Resident;
use socket::Listener;

/// A push server being put together, then run.
///
/// Nothing of it needs to be `Send`: it runs on the thread that calls [`Server::run`] or [`Server::serve`].
#[derive(Debug, Default)]
pub struct Server {
    router: Router,
    config: Config,
    listeners: Vec<Listener>,
    /// Opened before the server runs: by then the application may have left the root directory that has it.
    resident: Resident,
    mailbox: Arc<Mailbox>,
    ends_on_signals: bool,
}

impl Server {
    /// A server without routes and with the default limits.
    pub fn new() -> Server {
        Server::default()
    }

    /// Sets all limits.
    pub fn config(mut self, config: Config) -> Server {
        self.resident = Resident::new(if config.memory_bytes_max < usize::MAX { 1 } else { RESIDENT_INTERVAL_MS });
        self.config = config;
        self
    }

    /// Adds a route to consumers, reached by every transport: `{name}` in the pattern stands for one segment of the
    /// path,
    /// `{*name}` at its end for the rest. Of several patterns that fit, the first one added is taken.
    pub fn route<C: Consumer + 'static>(mut self, pattern: &str, consumer: impl Fn(&Request) -> C + 'static) -> Server {
        self.router.route(pattern).consumer = Some(Box::new(move |request| Box::new(consumer(request))));
        self
    }

    /// Adds a route whose consumers answer polls and nothing else: GET and HEAD, whatever transport a request asks for.
    /// For polls of one's own shape: see [`Context::poll`].
    pub fn poll<C: Consumer + 'static>(self, pattern: &str, consumer: impl Fn(&Request) -> C + 'static) -> Server {
        let mut server = self.route(pattern, consumer);
        server.router.route(pattern).only_polls = true;
        server
    }

    /// Adds a plain handler for GET, and so for HEAD.
    pub fn get(self, pattern: &str, handler: impl Fn(&Request, &mut Context) -> Response + 'static) -> Server {
        self.handle(Method::Get, pattern, handler)
    }

    /// Adds a plain handler for POST.
    pub fn post(self, pattern: &str, handler: impl Fn(&Request, &mut Context) -> Response + 'static) -> Server {
        self.handle(Method::Post, pattern, handler)
    }

    /// Adds a plain handler for DELETE.
    pub fn delete(self, pattern: &str, handler: impl Fn(&Request, &mut Context) -> Response + 'static) -> Server {
        self.handle(Method::Delete, pattern, handler)
    }

    fn handle(
        mut self,
        method: Method,
        pattern: &str,
        handler: impl Fn(&Request, &mut Context) -> Response + 'static,
    ) -> Server {
        self.router.route(pattern).handle(method, Box::new(handler));
        self
    }

    /// Adds a route to what the server says of itself: what `render` makes of its figures is published there every
    /// `interval_ms`, while somebody follows it by whichever transport. It is a channel that has no name for clients,
    /// and keeps a history like others. `admit` says who may follow it.
    pub fn report(
        mut self,
        path: &str,
        interval_ms: u64,
        admit: impl Fn(&Request, &mut Context) -> Result<(), Status> + 'static,
        render: impl Fn(&Metrics) -> String + 'static,
    ) -> Server {
        let number = self.router.reports.len();
        self.router.reports.push(Report::new(path, interval_ms, Box::new(render)));
        let admit = Rc::new(admit);
        self.route(path, move |_| Follower::new(&admit, number))
    }

    /// Asks `guard` before anything else is looked at, for every path and method; its refusal is the answer. It sees a
    /// request without parameters of its route.
    pub fn guard(mut self, guard: impl Fn(&Request) -> Result<(), Status> + 'static) -> Server {
        self.router.guard = Some(Box::new(guard));
        self
    }

    /// Has SIGTERM and SIGINT end the server: connections are drained, and [`Server::serve`] returns. A second signal
    /// ends it at once.
    pub fn end_on_signals(mut self) -> Server {
        self.ends_on_signals = true;
        self
    }

    /// A handle through which any thread may publish, before and while the server runs.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.mailbox))
    }

    /// Binds an [`Address`]: `127.0.0.1:8080` or `[::1]:8080`, where port 0 is any free one, `localhost:8080`, which is
    /// 127.0.0.1 or, where that cannot be bound, `[::1]`, or `unix:PATH`. May be called several times. Returns the
    /// address as clients write it: `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for anything else, other host names included. Those of the operating system,
    /// when the address cannot be bound.
    pub fn bind(&mut self, address: &str) -> io::Result<String> {
        let invalid = |accepted| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?}: {accepted}"));
        let listener = Listener::bind(Address::parse(address).map_err(invalid)?)?;
        let name = listener.to_string();
        self.listeners.push(listener);
        Ok(name)
    }

    /// Runs on the bound addresses until it is ended by a signal or by [`Publisher::end`].
    ///
    /// # Errors
    /// Those of the operating system, when the event loop cannot be set up or polled.
    pub fn serve(self) -> io::Result<()> {
        run::run(self)
    }

    /// Binds one address and serves.
    ///
    /// # Errors
    /// Those of [`Server::bind`] and [`Server::serve`].
    pub fn run(mut self, address: &str) -> io::Result<()> {
        let address = self.bind(address)?;
        log::info!("listening on {address}");
        self.serve()
    }

    /// The engine alone, for those who bring their own streams, loop and clock. Addresses and publishers are not used.
    pub fn into_engine<S: Stream>(self, seed: Seed, now: Now) -> Engine<S> {
        Engine::new(self.router, self.config, seed, now)
    }
}

/// How often memory is looked at that has no budget, only to tell how much it is.
const RESIDENT_INTERVAL_MS: u64 = 100;

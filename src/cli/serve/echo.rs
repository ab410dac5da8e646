//! `/echo`: a WebSocket that sends back what it gets, for tests and benchmarks.

use std::rc::Rc;

use redpoll::{Consumer, Context, Message, Server, Status};

use super::gate::Gate;

pub(super) fn routes(server: Server, gate: &Rc<Gate>) -> Server {
    let gate = Rc::clone(gate);
    match gate.is_open() {
        // Of no size: that is what is measured.
        true => server.route("/echo", |_| echo),
        false => server.route("/echo", move |_| Guarded(Rc::clone(&gate))),
    }
}

fn echo(message: Message, cx: &mut Context) {
    cx.send(message);
}

/// It asks for a token, but for no right in it.
struct Guarded(Rc<Gate>);

impl Consumer for Guarded {
    fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
        let Some(request) = cx.request() else { return Ok(()) };
        let claims = self.0.claims(request, cx.now())?;
        cx.expire_at(claims.expires_ms);
        Ok(())
    }

    fn receive(&mut self, message: Message, cx: &mut Context) {
        echo(message, cx);
    }
}

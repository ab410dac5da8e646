//! `redpoll sub`: prints what channels get, or runs a command for each message. Over any transport; where it was, it
//! comes back by itself.

mod event_stream;
mod output;
mod poll;
mod session;
mod websocket;

use std::time::{Duration, Instant};

use super::Error;
use super::http::{Answer, Connection, explain};
use super::retry::Backoff;
use super::url::Url;
pub(crate) use output::Output;
use session::Session;

/// What `redpoll sub` is to do.
pub(crate) struct Subscribe {
    pub(crate) url: Url,
    pub(crate) transport: Transport,
    /// Where to begin: a keyword, or positions.
    pub(crate) since: String,
    /// Print envelopes instead of payloads.
    pub(crate) json: bool,
    pub(crate) output: Output,
    /// Tell who comes and goes: as envelopes with the others, else on standard error.
    pub(crate) presence: bool,
    /// Under which name to be present.
    pub(crate) name: Option<String>,
    /// How many messages to take before the end.
    pub(crate) count: Option<u64>,
    /// The value of `Authorization`, with the token.
    pub(crate) authorization: Option<String>,
}

/// Which transport to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Auto,
    WebSocket,
    EventStream,
    LongPoll,
    Poll,
}

impl Transport {
    /// As the command line names them.
    pub(crate) const NAMES: [(&str, Transport); 5] = [
        ("auto", Transport::Auto),
        ("ws", Transport::WebSocket),
        ("sse", Transport::EventStream),
        ("long-poll", Transport::LongPoll),
        ("poll", Transport::Poll),
    ];
}

/// Why a connection's work ends.
enum Ending {
    /// Everything that was asked for is printed, or no one reads it any more.
    Done,
    /// To be taken up again, not before the server's time if it gave one.
    Lost(String, Option<Duration>),
    /// What was to be done with a message cannot be done.
    Failed(String),
    /// The server refuses, and will refuse again.
    Refused(String),
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Ending {
        Ending::Lost(explain(&error), None)
    }
}

/// Subscribes until there is nothing more to do.
///
/// # Errors
/// Why the server refuses.
pub(crate) fn subscribe(options: Subscribe) -> Result<(), Error> {
    let candidates: &[Transport] = match options.transport {
        Transport::Auto => &[Transport::WebSocket, Transport::EventStream, Transport::LongPoll],
        Transport::WebSocket => &[Transport::WebSocket],
        Transport::EventStream => &[Transport::EventStream],
        Transport::LongPoll => &[Transport::LongPoll],
        Transport::Poll => &[Transport::Poll],
    };
    let mut candidates = candidates.iter();
    let mut transport = candidates.next().copied().unwrap_or(Transport::WebSocket);
    let mut session = Session::new(options);
    let mut backoff = Backoff::default();
    while !session.is_done() {
        let began = Instant::now();
        let printed = session.printed();
        match run(&mut session, transport) {
            Ending::Done => break,
            Ending::Failed(why) => return Err(Error::Failed(why)),
            Ending::Refused(why) => match candidates.next() {
                Some(next) => transport = *next,
                None => return Err(Error::Failed(why)),
            },
            Ending::Lost(why, asked) => {
                // Being let in alone proves nothing: a server may accept and close again at once.
                if session.printed() > printed || began.elapsed() > STABLE {
                    backoff.reset();
                }
                let wait = backoff.next(asked.or(session.retry()));
                session.lost(&why, wait);
                std::thread::sleep(wait);
            }
        }
    }
    Ok(())
}

/// One connection, or as many polls as go well.
fn run(session: &mut Session, transport: Transport) -> Ending {
    let ended = match transport {
        Transport::WebSocket | Transport::Auto => websocket::run(session),
        Transport::EventStream => event_stream::run(session),
        Transport::LongPoll => poll::run(session, poll::WAIT_S),
        Transport::Poll => poll::run(session, 0),
    };
    match ended {
        Ok(never) => match never {},
        Err(ending) => ending,
    }
}

/// What to do about an answer that is not what was asked for.
fn refused(connection: &mut Connection, answer: &Answer) -> Ending {
    let content = connection.read_content(answer).unwrap_or_default();
    match answer.is_passing() {
        true => Ending::Lost(answer.refusal(&content), answer.retry_after()),
        false => Ending::Refused(answer.refusal(&content)),
    }
}

/// A connection that held this long was a good one.
const STABLE: Duration = Duration::from_secs(10);

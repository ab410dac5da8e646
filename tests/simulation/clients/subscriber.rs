//! A subscriber: comes by one transport, goes in one way or another, and comes back by another with its position.

use std::collections::VecDeque;

use super::closing::PATIENCE_MS;
use super::commands::Command;
use super::deflate::Offer;
use super::events::Events;
use super::http::{Response, Responses};
use super::presence::View;
use super::socket::Socket;
use super::token::Token;
use super::{Phase, Scene, any, fast};
use crate::network::{Arrival, LinkId};
use crate::oracle::{Excuse, Oracle};
use crate::tracker::Tracker;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    RawSocket,
    /// Envelopes, but no commands.
    JsonSocket,
    /// `redpoll.v1`
    Commands,
    RawStream,
    JsonStream,
    RawPoll,
    LongPoll,
    ShortPoll,
}

impl Transport {
    pub(super) fn is_websocket(self) -> bool {
        matches!(self, Transport::RawSocket | Transport::JsonSocket | Transport::Commands)
    }

    pub(super) fn is_poll(self) -> bool {
        matches!(self, Transport::RawPoll | Transport::LongPoll | Transport::ShortPoll)
    }
}

/// How a client behaves.
#[derive(Clone, Copy)]
pub(crate) struct Nature {
    /// It reads all the time, and comes back soon.
    pub(crate) diligent: bool,
    /// It sends messages where its transport can.
    pub(crate) talks: bool,
    /// The longest time between two acts.
    pub(crate) pace_ms: u64,
    /// It goes once in so many acts.
    pub(crate) stays: u64,
    /// The one transport it uses, if it does not change.
    pub(crate) only: Option<Transport>,
    /// By which name it is present, if it is.
    pub(crate) name: Option<u64>,
    /// It asks who comes and goes, where its transport can say it.
    pub(crate) observes: bool,
}

pub(crate) struct Subscriber {
    pub(super) id: usize,
    pub(super) nature: Nature,
    pub(super) trackers: Vec<Tracker>,
    /// What it knows of presence, for each of them.
    pub(super) views: Vec<View>,
    pub(super) line: Option<Line>,
    /// When it acts next.
    due: u64,
}

/// A connection, as the client sees it.
pub(super) struct Line {
    pub(super) link: LinkId,
    pub(super) transport: Transport,
    pub(super) session: Session,
    pub(super) responses: Responses,
    /// What was published up to then may be lost: the client was not there.
    pub(super) away_until: u64,
    pub(super) came_at: u64,
    pub(super) asked_at: u64,
    /// How many messages of a channel the answer may have.
    pub(super) limit: usize,
    /// When the last answer came, if it left nothing behind.
    pub(super) complete_at: Option<u64>,
    /// What the client was let in with.
    pub(super) token: Option<Token>,
    /// The client is going, and waits for the end until then.
    pub(super) going_until: Option<u64>,
    /// The client has ended its side.
    pub(super) half_closed: bool,
    /// The server has no room.
    refused: bool,
    /// The server has no memory for what is still to be written.
    pub(super) given_up: bool,
    /// The server has begun to close.
    pub(super) server_closes: bool,
    /// It has asked to be told who comes and goes.
    pub(super) observes: bool,
    /// Which channels are subscribed to now, by their trackers' indices.
    pub(super) joined: Vec<bool>,
    /// Commands that have not been answered.
    pub(super) commands: VecDeque<Command>,
    /// The newest on each channel when the server's application was told of the end.
    pub(super) ended_at: Option<Vec<u64>>,
    /// The extension that was asked for.
    pub(super) offer: Option<Offer>,
    /// Messages that were sent, to be published before a closing handshake ends.
    pub(super) sent: Vec<Vec<u8>>,
}

pub(super) enum Session {
    /// A request has been sent, and its answer has not come.
    Asking,
    /// A poll was answered.
    Answered,
    WebSocket(Box<Socket>),
    EventStream(Events),
}

impl Subscriber {
    pub(crate) fn new(id: usize, nature: Nature, channels: &[usize]) -> Subscriber {
        let trackers = channels.iter().map(|channel| Tracker::new(*channel)).collect();
        let views = channels.iter().map(|_| View::default()).collect();
        Subscriber { id, nature, trackers, views, line: None, due: 0 }
    }

    /// When it came; the end of time while it is not there.
    pub(crate) fn came_at(&self) -> u64 {
        self.line.as_ref().map_or(u64::MAX, |line| line.came_at)
    }

    pub(crate) fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.line.as_ref().map(|line| line.link)
    }

    pub(crate) fn act_in(&mut self, delay_ms: u64, scene: &mut Scene) {
        self.due = scene.wake(self.id, delay_ms);
    }

    pub(crate) fn act(&mut self, scene: &mut Scene) {
        if scene.network.now < self.due {
            return;
        }
        self.act_now(scene);
        if self.line.is_some() || scene.phase != Phase::Leaving && !scene.oracle.draining {
            let delay = 1 + scene.network.random.below(self.nature.pace_ms);
            self.act_in(delay, scene);
        }
    }

    fn act_now(&mut self, scene: &mut Scene) {
        let Some(line) = &mut self.line else {
            if scene.phase != Phase::Leaving && !scene.oracle.draining {
                self.connect(scene);
            }
            return;
        };
        let idle = matches!(line.session, Session::Answered);
        let asking = matches!(line.session, Session::Asking);
        if self.nature.diligent {
            line.check_token(scene);
        }
        let stays = match scene.phase {
            Phase::Leaving => 1,
            _ if line.is_quiet() => u64::MAX,
            _ => self.nature.stays,
        };
        match line.going_until {
            Some(until) if until <= scene.network.now => self.give_up(scene),
            Some(_) => {}
            None if scene.oracle.draining && !idle && scene.phase != Phase::Leaving => {}
            None if scene.phase != Phase::Quiet && scene.network.random.one_in(stays) => self.go(scene),
            None if idle && !scene.oracle.draining => self.ask(scene),
            None if scene.phase == Phase::Busy && !asking => self.live(scene),
            None => line.flush(scene),
        }
    }

    /// What one does while connected: talk, and read more slowly than one could.
    fn live(&mut self, scene: &mut Scene) {
        if !self.nature.diligent && scene.network.random.one_in(8) {
            let pause = scene.network.random.pick(&[100, 1_500, 10_000]);
            if let Some(line) = &self.line {
                scene.network.pause(line.link, pause);
            }
        }
        if let Some(line) = self.line.as_mut().filter(|line| !line.is_quiet()) {
            line.flush(scene);
        }
        self.talk(scene);
    }

    fn connect(&mut self, scene: &mut Scene) {
        let several = self.trackers.len() > 1;
        let random = &mut scene.network.random;
        let transport = self.nature.only.unwrap_or_else(|| match several {
            true => random.pick(&SEVERAL),
            false => random.pick(&SINGLE),
        });
        let speed = if self.nature.diligent || scene.phase == Phase::Quiet { fast(random) } else { any(random) };
        let link = scene.network.connect(self.id, speed);
        log::debug!("{}: client {} comes by {transport:?} on link {link}", scene.network.now, self.id);
        self.line = Some(Line {
            link,
            transport,
            session: Session::Asking,
            responses: Responses::default(),
            away_until: u64::MAX,
            came_at: scene.network.now,
            asked_at: 0,
            limit: 0,
            complete_at: None,
            token: None,
            going_until: None,
            half_closed: false,
            refused: false,
            given_up: false,
            server_closes: false,
            observes: false,
            joined: vec![false; self.trackers.len()],
            commands: VecDeque::new(),
            ended_at: None,
            offer: None,
            sent: Vec::new(),
        });
        self.ask(scene);
    }

    /// The end did not come in time.
    fn give_up(&mut self, scene: &mut Scene) {
        let Some(line) = &self.line else { return };
        let shaken = scene.oracle.is_shaken(line.came_at);
        let accepted_at = scene.network.links[line.link].accepted_at;
        let unattended = accepted_at.is_none_or(|at| at + PATIENCE_MS > scene.network.now);
        let excused = shaken || unattended || !self.nature.diligent;
        assert!(excused, "the server never ended the connection of one who went");
        scene.network.close(line.link);
        self.leave(scene);
    }

    /// Forgets the connection, and is away for a while.
    pub(super) fn leave(&mut self, scene: &mut Scene) {
        log::debug!("{}: client {} has gone", scene.network.now, self.id);
        self.line = None;
        let away = match (self.nature.diligent, scene.phase) {
            (_, Phase::Quiet) | (true, _) => 500,
            _ => scene.network.random.pick(&[100, 3_000, 20_000]),
        };
        let delay = scene.network.random.below(away);
        self.act_in(delay, scene);
    }

    pub(crate) fn receive(&mut self, arrival: Arrival, scene: &mut Scene) {
        match arrival {
            Arrival::Bytes(bytes) => self.receive_bytes(&bytes, scene),
            Arrival::End => self.receive_end(scene),
            Arrival::Reset => {
                let Some(mut line) = self.line.take() else { return };
                let by_the_book = match &line.session {
                    Session::WebSocket(socket) => !socket.unruly && !socket.is_silent() && !line.given_up,
                    _ => !is_ending(&line, scene),
                };
                let shaken = scene.oracle.is_shaken(line.came_at);
                assert!(!by_the_book || !self.nature.diligent || shaken, "reset by the server");
                self.end(&mut line, scene);
                self.leave(scene);
            }
        }
    }

    fn receive_bytes(&mut self, bytes: &[u8], scene: &mut Scene) {
        let Some(mut line) = self.line.take() else { return };
        match &mut line.session {
            Session::Asking | Session::Answered => line.responses.push(bytes),
            Session::WebSocket(socket) => socket.receive(bytes, scene.network.now),
            Session::EventStream(events) => events.push(bytes),
        }
        let goes_on = self.receive_all(&mut line, scene);
        match goes_on {
            true => self.line = Some(line),
            false => {
                scene.network.close(line.link);
                self.leave(scene);
                if line.refused {
                    let delay = scene.network.random.below(RETRY_MS);
                    self.act_in(delay, scene);
                }
            }
        }
    }

    /// Takes in what is complete. Returns whether the connection goes on.
    fn receive_all(&mut self, line: &mut Line, scene: &mut Scene) -> bool {
        if let Session::Asking | Session::Answered = line.session
            && let Some(response) = line.responses.next()
            && !self.receive_response(line, response, scene)
        {
            return false;
        }
        match &line.session {
            Session::WebSocket(_) => self.receive_frames(line, scene),
            Session::EventStream(_) => self.receive_events(line, scene),
            Session::Asking | Session::Answered => true,
        }
    }

    fn receive_response(&mut self, line: &mut Line, response: Response, scene: &mut Scene) -> bool {
        let polls = line.transport.is_poll();
        let shaken = scene.oracle.is_shaken(line.came_at);
        scene.oracle.check_date(response.field("date"), line.asked_at);
        match response.status {
            503 => {
                scene.oracle.note("503");
                line.refused = true;
                return false;
            }
            408 if shaken || !self.nature.diligent || matches!(line.session, Session::Answered) => return false,
            101 => self.open_websocket(line, &response, scene),
            200 if !polls => {
                assert_eq!(response.field("content-type"), Some("text/event-stream"));
                let mut events = Events::default();
                events.push(&line.responses.take_rest());
                line.session = Session::EventStream(events);
                line.away_until = scene.network.now;
                line.note_token_seen(scene);
                line.joined.fill(true);
            }
            200 | 204 if polls => return self.receive_answer(line, &response, scene),
            status => panic!("{status} for {:?}: {}", line.transport, String::from_utf8_lossy(&response.body)),
        }
        true
    }

    /// The server has ended the connection. It does so to one who reads only when it has said so.
    fn receive_end(&mut self, scene: &mut Scene) {
        let Some(mut line) = self.line.take() else { return };
        assert!(is_ending(&line, scene) || !self.nature.diligent, "{:?} was ended by the server", line.transport);
        if scene.oracle.draining && self.nature.diligent && !ends_anyway(&line, scene) {
            let is_open = matches!(line.session, Session::WebSocket(_));
            assert!(!is_open, "a WebSocket was ended without a Close");
            assert!(line.responses.is_empty(), "an answer was cut off");
            scene.oracle.note("ended by drain");
        }
        self.end(&mut line, scene);
        scene.network.close(line.link);
        self.leave(scene);
    }

    /// A WebSocket has ended as it should.
    fn end(&self, line: &mut Line, scene: &mut Scene) {
        let Session::WebSocket(socket) = &line.session else { return };
        socket.check_end(line.going_until.is_some(), scene);
        // What was sent before the end is served, with or without a Close.
        let whole = line.half_closed && !line.server_closes && socket.is_flushed();
        if whole && self.nature.diligent && !scene.oracle.is_shaken(line.came_at) {
            scene.oracle.note("ended without Close");
            self.check_served(line, scene);
        }
    }

    pub(super) fn excuse(&self, line: &Line) -> Excuse {
        Excuse { who: self.id, diligent: self.nature.diligent, away_until: line.away_until }
    }

    /// Its connection, if it has been there for long enough to have got everything.
    pub(super) fn settled_line(&self, oracle: &Oracle) -> Option<&Line> {
        let line = self.line.as_ref().filter(|line| line.going_until.is_none() && !line.server_closes)?;
        let polls = line.transport.is_poll();
        let is_new = oracle.now < line.came_at + 3_000 || matches!(line.session, Session::Asking) && !polls;
        (!is_new).then_some(line)
    }

    /// Everything has come to whoever is connected.
    pub(crate) fn check_up_to_date(&self, oracle: &mut Oracle) {
        let Some(line) = self.settled_line(oracle) else { return };
        oracle.note("up to date");
        log::debug!("client {} on link {}, {:?}, ought to be up to date", self.id, line.link, line.transport);
        for (tracker, _) in self.trackers.iter().zip(&line.joined).filter(|(_, joined)| **joined) {
            tracker.check_up_to_date(oracle);
        }
    }

    /// The server cannot have taken less to be delivered than what came.
    pub(crate) fn check_departure(&self, link: LinkId, channel: usize, cursor: u64) {
        if self.link() != Some(link) {
            return;
        }
        for tracker in self.trackers.iter().filter(|tracker| tracker.channel == channel && tracker.foreign.is_none()) {
            let position = tracker.position.unwrap_or(0);
            assert!(position <= cursor, "disconnect was told {cursor} of one who has {position}");
        }
    }
}

/// Whether the server may end the connection of somebody who reads.
fn is_ending(line: &Line, scene: &Scene) -> bool {
    scene.oracle.draining || ends_anyway(line, scene)
}

fn ends_anyway(line: &Line, scene: &Scene) -> bool {
    let refused = scene.network.links[line.link].refused;
    let silent = matches!(&line.session, Session::WebSocket(socket) if socket.is_silent());
    let given_up = line.given_up && scene.oracle.has_budget();
    silent
        || refused
        || given_up
        || scene.oracle.is_shaken(line.came_at)
        || line.going_until.is_some()
        || line.server_closes
}

const SINGLE: [Transport; 8] = [
    Transport::RawSocket,
    Transport::JsonSocket,
    Transport::Commands,
    Transport::RawStream,
    Transport::JsonStream,
    Transport::RawPoll,
    Transport::LongPoll,
    Transport::ShortPoll,
];
const SEVERAL: [Transport; 5] =
    [Transport::JsonSocket, Transport::Commands, Transport::JsonStream, Transport::LongPoll, Transport::ShortPoll];

/// How long one who was refused waits at most.
const RETRY_MS: u64 = 2_000;

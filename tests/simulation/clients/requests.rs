//! What a subscriber asks for: the transport, the channels, and where to begin.

use super::deflate;
use super::frames::KEY;
use super::subscriber::{Session, Subscriber, Transport};
use super::token::Token;
use super::{Phase, Scene};
use crate::random::Random;
use crate::tracker::Tracker;

/// Where the position stands in a request.
enum Place {
    Since,
    LastEventId,
    IfNoneMatch,
}

impl Subscriber {
    /// Sends a request on the connection.
    pub(super) fn ask(&mut self, scene: &mut Scene) {
        let Some(line) = &mut self.line else { return };
        let transport = line.transport;
        // What the URL does not name is subscribed to by commands.
        let count = match transport {
            Transport::Commands => 1 + scene.network.random.index(self.trackers.len()),
            _ => self.trackers.len(),
        };
        let asked = &mut self.trackers[..count];
        if scene.phase == Phase::Busy {
            forget_or_mistake(asked, scene);
        }
        let since = since(asked, scene);
        let names: Vec<&str> =
            asked.iter().map(|tracker| scene.oracle.channels[tracker.channel].name.as_str()).collect();
        let mut target = format!("/channel/{}?", names.join(","));
        let mut fields = format!("X-Client: {}\r\n", self.id);
        if let Some(name) = self.nature.name {
            target.push_str(&format!("name=m{name}&"));
        }
        let is_raw = matches!(transport, Transport::RawSocket | Transport::RawStream | Transport::RawPoll);
        let observes = self.nature.observes && !is_raw && !scene.network.random.one_in(4);
        if observes {
            target.push_str("presence=1&");
        }
        let since = self.with_places(since, observes, scene);
        let Some(line) = &mut self.line else { return };
        line.observes = observes;
        push_transport(transport, count > 1, &mut target, &mut fields, &mut scene.network.random);
        if transport.is_websocket() {
            line.offer = deflate::offer(&mut fields, &mut scene.network.random);
        }
        if matches!(transport, Transport::RawPoll | Transport::LongPoll) {
            let waits = if self.nature.pace_ms > 10_000 { [25, 60, 120] } else { [0, 2, 25] };
            target.push_str(&format!("wait={}&", scene.network.random.pick(&waits)));
        }
        line.limit = usize::from(scene.oracle.config.poll_messages_max);
        if matches!(transport, Transport::LongPoll | Transport::ShortPoll) && scene.network.random.one_in(3) {
            let limit = scene.network.random.pick(&[1, 2, 50]);
            line.limit = line.limit.min(limit);
            target.push_str(&format!("limit={limit}&"));
        }
        line.token = None;
        // When all are to know who is there, they stay.
        if scene.oracle.troubles.tokens && scene.phase == Phase::Busy && scene.network.random.one_in(2) {
            let lasts_ms = scene.network.random.pick(&[1, 900, 5_000, 20_000]);
            line.token = Some(Token::new(lasts_ms, scene));
            target.push_str(&format!("token={lasts_ms}&"));
        }
        push_since(transport, since, &mut target, &mut fields, &mut scene.network.random);
        line.joined[..count].fill(true);
        line.session = Session::Asking;
        line.asked_at = scene.network.now;
        let head = format!("GET {target} HTTP/1.1\r\nHost: redpoll\r\n{fields}\r\n");
        scene.network.send(line.link, head.as_bytes());
    }
}

/// Now and then a client does not know where it was, or was told by another server.
fn forget_or_mistake(trackers: &mut [Tracker], scene: &mut Scene) {
    for tracker in trackers {
        if tracker.is_placed() && scene.network.random.one_in(15) {
            tracker.restart(false, scene.oracle);
        }
        if scene.network.random.one_in(25) {
            tracker.restart(false, scene.oracle);
            let future = scene.oracle.position(1 << 60);
            tracker.foreign = Some(if scene.network.random.one_in(2) { "0badcafe-3".into() } else { future });
        }
    }
}

/// The positions, or where one of them is not known a keyword for all.
pub(super) fn since(trackers: &mut [Tracker], scene: &mut Scene) -> Option<String> {
    if trackers.iter().all(Tracker::is_placed) {
        let positions: Vec<String> = trackers.iter().map(|tracker| tracker.text(scene.oracle)).collect();
        return Some(positions.join(","));
    }
    let keyword = scene.network.random.pick(&[None, Some("latest"), Some("earliest"), Some("last")]);
    for tracker in trackers {
        tracker.restart(matches!(keyword, None | Some("latest")), scene.oracle);
    }
    keyword.map(str::to_owned)
}

fn push_transport(transport: Transport, several: bool, target: &mut String, fields: &mut String, random: &mut Random) {
    match transport {
        Transport::RawSocket | Transport::JsonSocket | Transport::Commands => {
            fields.push_str("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
            fields.push_str(&format!("Sec-WebSocket-Key: {KEY}\r\n"));
        }
        Transport::RawStream | Transport::JsonStream => fields.push_str("Accept: text/event-stream\r\n"),
        Transport::ShortPoll | Transport::RawPoll | Transport::LongPoll => {}
    }
    match transport {
        Transport::Commands => fields.push_str("Sec-WebSocket-Protocol: redpoll.v1\r\n"),
        Transport::RawPoll => target.push_str("form=raw&"),
        Transport::JsonSocket | Transport::JsonStream if !several => target.push_str("form=json&"),
        _ => {}
    }
    let is_poll = matches!(transport, Transport::RawPoll | Transport::LongPoll | Transport::ShortPoll);
    if is_poll && random.one_in(10) {
        fields.push_str("Connection: close\r\n");
    }
}

fn push_since(
    transport: Transport,
    since: Option<String>,
    target: &mut String,
    fields: &mut String,
    random: &mut Random,
) {
    let Some(since) = since else { return };
    let place = match transport {
        Transport::RawStream | Transport::JsonStream => random.pick(&[&Place::Since, &Place::LastEventId]),
        Transport::RawPoll | Transport::LongPoll | Transport::ShortPoll => {
            random.pick(&[&Place::Since, &Place::LastEventId, &Place::IfNoneMatch])
        }
        _ => &Place::Since,
    };
    match place {
        Place::Since => target.push_str(&format!("since={since}")),
        Place::LastEventId => fields.push_str(&format!("Last-Event-ID: {since}\r\n")),
        Place::IfNoneMatch => fields.push_str(&format!("If-None-Match: \"{since}\"\r\n")),
    }
}

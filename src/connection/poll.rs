//! Poll: a request that waits for a publication (RFC 6202 §2), or is answered at once.

use super::respond::{Persistence, Terms};
use super::{State, Visit, World};
use crate::config::POLL_BYTES;
use crate::consumer::{Polled, Render};
use crate::hub::{ChannelId, ConnectionId, Form, Subscription, SubscriptionId};
use crate::wire::envelope::push_string;
use crate::wire::response;

/// A poll, while it waits and as it is answered.
#[derive(Clone, Copy)]
pub(crate) struct Poll {
    /// How many messages of each channel it takes.
    limit: u16,
    raw: bool,
    terms: Terms,
}

impl Poll {
    pub(super) fn new(limit: u16, raw: bool, terms: Terms) -> Poll {
        Poll { limit, raw, terms }
    }
}

/// The last JSON answer that was made, for the next poll that is to get the same.
#[derive(Debug, Default)]
pub(crate) struct PollBody {
    /// Channel, cursor, where the messages begin, newest offset, limit and gap of the one channel; `None` if it
    /// cannot be shared.
    of: Option<(ChannelId, u64, u64, u64, u16, bool)>,
    bytes: Vec<u8>,
    /// The terms of the head before it, and the second of its date; `None` if there is none yet.
    head_of: Option<(Terms, u64)>,
    head: Vec<u8>,
}

impl PollBody {
    /// At the end of a turn one that is larger than most is not kept: it would outlive the history.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > BODY_CAPACITY {
            *self = PollBody::default();
        }
    }
}

/// What a poll gets of one channel.
struct Share {
    subscription: SubscriptionId,
    channel: ChannelId,
    /// It is of joins and leaves: its gap is told as one of the messages.
    is_presence: bool,
    gap: bool,
    /// The messages after `from`, up to and with `through`.
    from: u64,
    through: u64,
}

impl Visit<'_> {
    /// Answers with what there is: the wait is over, or there is something. `unknown` are the subscriptions that began
    /// behind a gap.
    pub(crate) fn answer_poll(&mut self, unknown: &[SubscriptionId]) {
        let State::Poll(mut poll, render) = self.connection.state else { return };
        if self.world.draining {
            poll.terms.persistence = Persistence::Close;
        }
        match (render, poll.raw) {
            (Some(render), _) => self.answer_rendered(poll, render, true),
            (None, true) => self.answer_raw(poll, unknown),
            (None, false) => self.answer_json(poll, unknown),
        }
        self.leave_transport();
        self.respond_when_flushed(poll.terms);
    }

    /// Ends the wait of a poll, if there is one. An answer of the application's own shape has nothing in it then:
    /// another poll may be there for what was published in this turn.
    pub(crate) fn end_poll(&mut self) {
        match self.connection.state {
            State::Poll(poll, Some(render)) => {
                self.answer_rendered(poll, render, false);
                self.leave_transport();
                self.respond_when_flushed(poll.terms);
            }
            State::Poll(..) => self.answer_poll(&[]),
            _ => {}
        }
    }

    fn answer_json(&mut self, poll: Poll, unknown: &[SubscriptionId]) {
        let mut body = std::mem::take(&mut self.world.poll_body);
        self.world.prepare_body(&mut body, self.id, poll, unknown);
        self.push_shared_head(poll, unknown, &mut body);
        if !poll.terms.head_only {
            self.world.output.extend_from_slice(&body.bytes);
        }
        self.world.poll_body = body;
        self.pass_messages(poll, unknown);
    }

    /// The head of a JSON answer: many polls wait for the same on the same terms, and then theirs are the same.
    fn push_shared_head(&mut self, poll: Poll, unknown: &[SubscriptionId], body: &mut PollBody) {
        let head_of = Some((poll.terms, self.world.now.unix_ms / 1000));
        if body.head_of != head_of {
            let start = self.world.output.len();
            self.push_poll_head(poll, unknown, "application/json", body.bytes.len());
            body.head.clear();
            body.head.extend_from_slice(&self.world.output[start..]);
            body.head_of = head_of.filter(|_| body.of.is_some());
            return;
        }
        self.world.output.extend_from_slice(&body.head);
    }

    /// One payload, or none. A gap is a field.
    fn answer_raw(&mut self, poll: Poll, unknown: &[SubscriptionId]) {
        let poll = Poll { limit: 1, ..poll };
        let Some(share) =
            self.world.hub.first_subscription(self.id).map(|id| self.world.share(id, poll.limit, unknown))
        else {
            return;
        };
        let name = self.world.hub.channel_name(share.channel).clone();
        let publication = self.world.hub.publications_after(&name, share.from).next();
        let found = publication.map(|publication| (publication.is_binary(), publication.data().to_vec()));
        match found {
            Some((binary, payload)) => {
                let media_type = if binary { "application/octet-stream" } else { "text/plain; charset=utf-8" };
                self.push_poll_head(poll, unknown, media_type, payload.len());
                if !poll.terms.head_only {
                    self.world.output.extend_from_slice(&payload);
                }
            }
            None => self.push_poll_head(poll, unknown, "", 0),
        }
        self.pass_messages(poll, unknown);
    }

    /// The application's own answer, for the first channel. A gap comes alone, so that it can be told in the
    /// application's own way. Without a channel, or not `with_news`, it is the answer to a wait for nothing.
    fn answer_rendered(&mut self, poll: Poll, render: Render, with_news: bool) {
        let first = self.world.hub.first_subscription(self.id).filter(|_| with_news);
        let Some(share) = first.map(|id| self.world.share(id, poll.limit, &[])) else {
            let nothing = render(&Polled { publications: Vec::new(), missed: 0 });
            return self.push_response(nothing, poll.terms);
        };
        let name = self.world.hub.channel_name(share.channel).clone();
        let missed = share.from - self.world.hub.subscription(share.subscription).cursor;
        let count = if missed > 0 { 0 } else { (share.through - share.from) as usize };
        let publications = self.world.hub.publications_after(&name, share.from).take(count).collect();
        let response = render(&Polled { publications, missed });
        self.push_response(response, poll.terms);
        self.world.counters.gaps += u64::from(missed > 0);
        self.world.mark(share.subscription, share.from + count as u64);
        self.world.hub.note_lag(share.channel, self.world.now, &self.world.config);
    }

    /// The status line and fields; 204 where there is no media type.
    fn push_poll_head(&mut self, poll: Poll, unknown: &[SubscriptionId], media_type: &str, content_bytes: usize) {
        response::push_status_line(&mut self.world.output, if media_type.is_empty() { 204 } else { 200 });
        self.push_common_fields(poll.terms);
        let mut gap = false;
        self.world.output.extend_from_slice(b"ETag: \"");
        gap |= self.world.push_vector(self.id, poll.limit, unknown);
        self.world.output.extend_from_slice(b"\"\r\n");
        let output = &mut self.world.output;
        if gap && poll.raw {
            response::push_field(output, "Redpoll-Gap", "1");
        }
        if !media_type.is_empty() {
            response::push_field(output, "Content-Type", media_type);
            response::push_number_field(output, "Content-Length", content_bytes as u64);
        }
        response::push_connection(output, poll.terms.keep_alive(), poll.terms.http10());
        response::push_end(output);
    }

    /// Moves the cursors past what the output now holds.
    fn pass_messages(&mut self, poll: Poll, unknown: &[SubscriptionId]) {
        let mut next = self.world.hub.first_subscription(self.id);
        while let Some(subscription) = next {
            let share = self.world.share(subscription, poll.limit, unknown);
            self.world.counters.gaps += u64::from(share.gap && !share.is_presence);
            self.world.mark(subscription, share.through);
            // The client is away until its next poll: what is published meanwhile must wait for it.
            self.world.hub.note_lag(share.channel, self.world.now, &self.world.config);
            next = self.world.hub.next_subscription(subscription);
        }
    }
}

impl World {
    fn share(&self, subscription: SubscriptionId, limit: u16, unknown: &[SubscriptionId]) -> Share {
        let Subscription { cursor, channel, connection, .. } = *self.hub.subscription(subscription);
        let gap = self.hub.gap(subscription);
        let from = gap.map_or(cursor, |(_, to)| to.offset);
        let through = self.hub.last_within(channel, from, limit, POLL_BYTES / self.hub.count_of(connection).max(1));
        let is_presence = self.hub.observed_by(subscription).is_some();
        Share {
            subscription,
            channel,
            is_presence,
            gap: gap.is_some() || unknown.contains(&subscription),
            from,
            through,
        }
    }

    /// Appends the cursors after the answer, joined by commas, to the output; says whether there is a gap.
    fn push_vector(&mut self, connection: ConnectionId, limit: u16, unknown: &[SubscriptionId]) -> bool {
        let mut output = std::mem::take(&mut self.output);
        let gap = self.push_vector_to(&mut output, connection, limit, unknown);
        self.output = output;
        gap
    }

    fn push_vector_to(
        &self,
        out: &mut Vec<u8>,
        connection: ConnectionId,
        limit: u16,
        unknown: &[SubscriptionId],
    ) -> bool {
        let mut gap = false;
        for (index, subscription) in self.hub.subscriptions_of(connection).enumerate() {
            let share = self.share(subscription, limit, unknown);
            gap |= share.gap && !share.is_presence;
            self.push_place(out, subscription, self.hub.position(share.through), index == 0);
        }
        gap
    }

    /// Has `body` hold what this poll is to get: made anew only if it holds something else.
    fn prepare_body(&mut self, body: &mut PollBody, connection: ConnectionId, poll: Poll, unknown: &[SubscriptionId]) {
        let mut shares = self.hub.subscriptions_of(connection).map(|id| self.share(id, poll.limit, unknown));
        let (first, is_alone) = (shares.next(), shares.next().is_none());
        drop(shares);
        let of = first.filter(|_| is_alone).map(|share| {
            let cursor = self.hub.subscription(share.subscription).cursor;
            (share.channel, cursor, share.from, self.hub.newest_of(share.channel), poll.limit, share.gap)
        });
        if of.is_some() && body.of == of {
            return;
        }
        (body.of, body.head_of) = (of, None);
        body.bytes.clear();
        body.bytes.extend_from_slice(br#"{"cursor":""#);
        let gap = self.push_vector_to(&mut body.bytes, connection, poll.limit, unknown);
        body.bytes.extend_from_slice(if gap { br#"","gap":true"# } else { br#"","gap":false"# });
        if self.hub.channels_of(connection).nth(1).is_some() {
            self.push_gaps(&mut body.bytes, connection, poll.limit, unknown);
        }
        body.bytes.extend_from_slice(br#","messages":["#);
        self.push_messages(&mut body.bytes, connection, poll.limit, unknown);
        body.bytes.extend_from_slice(b"]}");
    }

    /// `,"gaps":["a"]`
    fn push_gaps(&self, out: &mut Vec<u8>, connection: ConnectionId, limit: u16, unknown: &[SubscriptionId]) {
        out.extend_from_slice(br#","gaps":["#);
        let mut first = true;
        for share in self.hub.channels_of(connection).map(|id| self.share(id, limit, unknown)).filter(|share| share.gap)
        {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            push_string(out, self.hub.channel_name(share.channel));
        }
        out.push(b']');
    }

    fn push_messages(&mut self, out: &mut Vec<u8>, connection: ConnectionId, limit: u16, unknown: &[SubscriptionId]) {
        let mut next = self.hub.first_subscription(connection);
        let start = out.len();
        while let Some(subscription) = next {
            let share = self.share(subscription, limit, unknown);
            if share.gap && share.is_presence {
                push_comma(out, start);
                self.push_members(out, subscription);
            }
            for offset in share.from + 1..=share.through {
                if let Some(envelope) = self.hub.encode(share.channel, offset, Form::Envelope) {
                    push_comma(out, start);
                    out.extend_from_slice(&envelope);
                }
            }
            next = self.hub.next_subscription(subscription);
        }
    }
}

/// Between the elements of the array that begins at `start`.
fn push_comma(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

/// What the shared body keeps between turns.
const BODY_CAPACITY: usize = 256 << 10;

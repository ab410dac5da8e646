//! Reading and writing: between a connection and its stream.

use std::io::ErrorKind;
use std::rc::Rc;

use super::{Engine, Slot, Stream};
use crate::config::READS_A_TURN;
use crate::connection::{ConnectionId, Mark, State, TapNumber, Visit, World};
use crate::consumer::Reason;

/// How far a write went.
pub(super) enum Wrote {
    All,
    /// So many bytes; the stream is full.
    Part(usize),
    /// The peer is gone.
    Nothing,
}

impl Wrote {
    /// What has gone of the bytes that were to go.
    pub(super) fn bytes_of<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        match self {
            Wrote::All => bytes,
            Wrote::Part(written) => &bytes[..*written],
            Wrote::Nothing => &[],
        }
    }
}

impl<S: Stream> Engine<S> {
    /// Reads what has arrived and serves it, a few buffers at most.
    pub(super) fn read(&mut self, id: ConnectionId) {
        let mut buffer = std::mem::take(&mut self.receive_buffer);
        for round in 0..READS_A_TURN {
            if self.world.hub.memory.is_pressed() {
                // It goes on when the turn has delivered what there is, and shed.
                self.world.unread.push(id);
                break;
            }
            let drained = self.on_slot(id, |slot, world| read_once(id, slot, world, &mut buffer));
            if drained.unwrap_or(true) {
                break;
            }
            if round + 1 == READS_A_TURN {
                self.world.unread.push(id);
            }
        }
        self.receive_buffer = buffer;
    }

    /// Goes on with the connections that had to wait: for their turn, for their answers to be written, for a channel to
    /// be delivered.
    pub(super) fn read_unread(&mut self) {
        let mut waiting = std::mem::take(&mut self.world.unread);
        // Some are there for several reasons: served once for each, they would be there for more in every turn.
        waiting.sort_unstable();
        waiting.dedup();
        for id in waiting {
            let free = self.on_slot(id, |slot, world| release(slot, world));
            match free {
                Some(false) => self.world.unread.push(id),
                Some(true) => {
                    self.visit_input(id);
                    self.read(id);
                }
                None => {}
            }
        }
    }

    /// Serves the input that waits in a connection's backlog.
    fn visit_input(&mut self, id: ConnectionId) {
        self.on_slot(id, |slot, world| {
            if slot.connection.has_input() && slot.connection.may_serve() {
                Visit { id, connection: &mut slot.connection, world }.receive(&mut []);
                settle(id, slot, world);
                hold(id, slot, world);
            }
        });
    }

    /// Writes what the stream could not take before. When all of it has gone, the connection is read and delivered to
    /// again.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        self.on_slot(id, |slot, world| {
            if slot.connection.is_blocked() && write_backlog(id, slot, world) {
                slot.connection.tidy();
                Visit { id, connection: &mut slot.connection, world }.unblock();
                settle(id, slot, world);
                world.unread.push(id);
                world.note_behind(id);
            }
        });
    }
}

/// Reads once. Returns whether nothing more is to be read now.
fn read_once<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World, buffer: &mut [u8]) -> bool {
    if !slot.connection.may_read() {
        return true;
    }
    let received = match slot.stream.read(buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == ErrorKind::Interrupted => return false,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
        Err(error) => {
            log::debug!("{}: {error}", id.0);
            Visit { id, connection: &mut slot.connection, world }.drop_for(Reason::PeerGone);
            return true;
        }
    };
    if received == 0 && slot.connection.has_unserved() {
        // It is read again when that has been served.
        world.unread.push(id);
        return true;
    }
    world.counters.received_bytes += received as u64;
    let mut visit = Visit { id, connection: &mut slot.connection, world };
    match received {
        0 => visit.receive_end(),
        _ => visit.receive(&mut buffer[..received]),
    }
    if received < buffer.len() {
        visit.has_been_read();
    }
    settle(id, slot, world);
    let held = hold(id, slot, world);
    // A short read has drained the stream, but for the end that was told with its last bytes.
    held || received == 0 || (received < buffer.len() && !slot.ended)
}

/// Stops reading a connection that publishes faster than its channel is delivered.
fn hold<S>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World) -> bool {
    let Some(channel) = world.congested.take() else { return false };
    if !matches!(slot.connection.state, State::Gone) {
        slot.connection.backlog_mut().held = Some(channel);
        world.unread.push(id);
    }
    true
}

/// Lets a held connection go on if its channel has been delivered. Returns whether it may be read.
fn release<S>(slot: &mut Slot<S>, world: &World) -> bool {
    let Some(backlog) = &mut slot.connection.backlog else { return true };
    if backlog.held.is_some_and(|channel| world.hub.is_congested(channel, &world.config)) {
        return false;
    }
    backlog.held = None;
    slot.connection.tidy();
    true
}

/// Writes what a visit has left in the output, and does what follows when all of it has gone.
pub(super) fn settle<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World) {
    if !world.output.is_empty() {
        write_output(id, slot, world, false);
    }
    if slot.connection.is_blocked() {
        return;
    }
    Visit { id, connection: &mut slot.connection, world }.flushed();
    if (Visit { id, connection: &mut slot.connection, world }).take_shutdown() && slot.stream.shutdown().is_err() {
        slot.connection.state = State::Gone;
    }
}

/// Writes the output. What the stream does not take goes to the backlog; but of output that was assembled from the
/// log, only the publication of which a part has been written: the rest stays where it is, and the cursors go back to
/// it.
pub(super) fn write_output<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World, assembled: bool) {
    let mut output = std::mem::take(&mut world.output);
    let mut marks = std::mem::take(&mut world.marks);
    let wrote = match slot.connection.is_blocked() {
        true => Wrote::Part(0),
        false => write(&mut slot.stream, slot.connection.tap(), &output, world),
    };
    match wrote {
        Wrote::All => {}
        Wrote::Nothing => {
            take_back(&marks, world);
            Visit { id, connection: &mut slot.connection, world }.drop_for(Reason::PeerGone);
        }
        Wrote::Part(written) => {
            let whole = marks.iter().take_while(|mark| mark.end <= written).count();
            take_back(&marks[whole..], world);
            let start = marks[..whole].last().map_or(0, |mark| mark.end);
            let end = match (assembled, marks.get(whole)) {
                (false, _) | (_, None) => output.len(),
                (true, Some(partial)) if written > start => partial.end,
                (true, Some(_)) => start,
            };
            Visit { id, connection: &mut slot.connection, world }.block();
            let backlog = slot.connection.backlog_mut();
            backlog.keep(&mut output, written, end);
            backlog.marks.extend(marks[whole..].iter().filter(|mark| mark.end <= end && end > written));
        }
    }
    output.clear();
    output.shrink_to(OUTPUT_CAPACITY);
    marks.clear();
    (world.output, world.marks) = (output, marks);
}

/// Moves the cursors back, the last first.
fn take_back(marks: &[Mark], world: &mut World) {
    for mark in marks.iter().rev() {
        world.hub.set_cursor(mark.subscription, mark.before);
    }
}

/// Writes once: a stream that takes less is full.
fn write<S: Stream>(stream: &mut S, tap: Option<TapNumber>, bytes: &[u8], world: &mut World) -> Wrote {
    let wrote = write_uncounted(stream, bytes);
    let written = wrote.bytes_of(bytes);
    world.counters.sent_bytes += written.len() as u64;
    world.tap_sent(tap, written);
    wrote
}

pub(super) fn write_uncounted<S: Stream>(stream: &mut S, bytes: &[u8]) -> Wrote {
    loop {
        return match stream.write(bytes) {
            Ok(written) if written == bytes.len() => Wrote::All,
            Ok(0) => Wrote::Nothing,
            Ok(written) => Wrote::Part(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Wrote::Part(0),
            Err(_) => Wrote::Nothing,
        };
    }
}

/// Writes the backlog: first the rest of a publication, then what came after it. Returns whether all of it has gone.
fn write_backlog<S: Stream>(id: ConnectionId, slot: &mut Slot<S>, world: &mut World) -> bool {
    let tap = slot.connection.tap();
    let Some(mut backlog) = slot.connection.backlog.take() else { return true };
    let mut wrote = Wrote::All;
    if let Some((bytes, written)) = backlog.pinned.take() {
        wrote = write(&mut slot.stream, tap, &bytes[written..], world);
        if let Wrote::Part(more) = wrote {
            backlog.note_taken(more, world.now.monotonic_ms);
            backlog.pinned = Some((Rc::clone(&bytes), written + more));
        }
    }
    if let Wrote::All = wrote
        && !backlog.is_written()
    {
        wrote = write(&mut slot.stream, tap, &backlog.output[backlog.written..], world);
        backlog.written += match wrote {
            Wrote::All => backlog.output.len() - backlog.written,
            Wrote::Part(written) => written,
            Wrote::Nothing => 0,
        };
        backlog.note_taken(usize::from(!matches!(wrote, Wrote::Part(0))), world.now.monotonic_ms);
    }
    match wrote {
        Wrote::All => {
            (backlog.blocked, backlog.stalled, backlog.written) = (false, false, 0);
            backlog.output = Vec::new();
            for mark in backlog.marks.drain(..) {
                world.hub.set_cursor(mark.subscription, mark.after);
            }
        }
        Wrote::Part(_) => {}
        Wrote::Nothing => {
            Visit { id, connection: &mut slot.connection, world }.drop_for(Reason::PeerGone);
            return false;
        }
    }
    let done = matches!(wrote, Wrote::All);
    slot.connection.backlog = Some(backlog);
    done
}

/// What the output buffer keeps between visits.
const OUTPUT_CAPACITY: usize = 256 << 10;

//! One connection: what is to be sent and what has come, without a buffer of its own while it keeps up.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use redpoll::wire::content::ContentDecoder;
use redpoll::wire::frame::{Header, Opcode};
use redpoll::wire::mask;
use redpoll::wire::message::Decoder;

use super::payload::{Payloads, Stamp};
use super::protocol::{Protocol, Script};

/// What a link has to tell.
pub(super) enum Heard<'a> {
    /// The server has accepted it.
    Opened,
    /// A message, or the content of an answer: payloads, and whatever the server wraps around them.
    Message(&'a [u8]),
    /// An answer to a POST has this status.
    Answered(u16),
}

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The kernel connects.
    Connecting,
    /// The request is sent.
    Asked,
    Open,
    /// It was open and is to end.
    Closing,
    Closed,
}

pub(super) struct Link {
    pub(super) output: Output,
    pub(super) phase: Phase,
    /// Which of the run's scripts it follows.
    pub(super) script: usize,
    pub(super) began_us: u64,
    /// What has come of something that is not whole yet.
    partial: Vec<u8>,
    /// Puts fragments together.
    pub(super) decoder: Decoder,
    /// Whether messages may be compressed.
    pub(super) deflate: bool,
    /// The fields of the last poll's answer that say where the next one goes on.
    pub(super) validators: Vec<u8>,
    /// Where an event stream comes in chunks: what takes them apart, and what is not whole yet.
    pub(super) chunked: Option<(ContentDecoder, Vec<u8>)>,
}

impl Link {
    pub(super) fn new(stream: TcpStream, script: usize, began_us: u64) -> Link {
        let output = Output { stream, unsent: Vec::new() };
        let (phase, partial, decoder) = (Phase::Connecting, Vec::new(), Decoder::default());
        let (deflate, validators, chunked) = (false, Vec::new(), None);
        Link { output, phase, script, began_us, partial, decoder, deflate, validators, chunked }
    }

    /// It can be written to: it is connected, or takes more.
    pub(super) fn write(&mut self, script: &Script) -> io::Result<()> {
        if self.phase == Phase::Connecting {
            // A connection that failed says why at the first write.
            match (&self.output.stream).write(&script.request) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                count => self.output.unsent.extend_from_slice(&script.request[count?..]),
            }
            self.phase = if script.protocol == Protocol::Post { Phase::Open } else { Phase::Asked };
            return Ok(());
        }
        self.output.flush()
    }

    /// Reads all there is into `buffer`, and tells what is in it.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub(super) fn read(
        &mut self,
        script: &Script,
        buffer: &mut [u8],
        mut is_ended: bool,
        hear: &mut dyn FnMut(Heard),
    ) -> io::Result<()> {
        if self.phase == Phase::Connecting {
            return Ok(());
        }
        loop {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            self.partial.clear();
            let count = match self.output.stream.read(&mut buffer[kept..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.partial.extend_from_slice(&buffer[..kept]);
                    return Ok(());
                }
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                count => count?,
            };
            let used = script.hear(self, &mut buffer[..kept + count], hear)?;
            let (is_full, left) = (kept + count == buffer.len(), &buffer[used..kept + count]);
            if left.len() == buffer.len() {
                return Err(io::Error::new(ErrorKind::InvalidData, "the server sent more than was asked for"));
            }
            self.partial.extend_from_slice(left);
            // epoll(7): what ends short has emptied the socket, unless the end itself is still to be read.
            if !is_full && !std::mem::take(&mut is_ended) {
                return Ok(());
            }
        }
    }
}

/// The way out of a connection.
pub(super) struct Output {
    pub(super) stream: TcpStream,
    unsent: Vec<u8>,
}

impl Output {
    /// Sends `bytes`, and keeps what the kernel does not take. An error comes up again when the link is read.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let count = match self.unsent.is_empty() {
            true => self.stream.write(bytes).unwrap_or_default(),
            false => 0,
        };
        self.unsent.extend_from_slice(&bytes[count..]);
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                count => drop(self.unsent.drain(..count?)),
            }
        }
        Ok(())
    }
}

/// Makes frames. Masking keys come from a cheap generator (Marsaglia's xorshift): no one has to be kept from guessing
/// them.
pub(super) struct Masks(pub(super) u64);

impl Masks {
    /// Appends a payload as a text message of a client.
    pub(super) fn push(&mut self, payloads: &Payloads, stamp: Stamp, out: &mut Vec<u8>) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let key = (self.0 as u32).to_le_bytes();
        Header { masking_key: Some(key), ..Header::new(Opcode::Text, payloads.bytes() as u64) }.encode(out);
        let start = out.len();
        payloads.push(stamp, out);
        mask::unmask(&mut out[start..], key, 0);
    }
}

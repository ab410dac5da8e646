//! Publishing from other threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::consumer::Message;
use crate::wire::form::{check_channel_name, check_event_name};
use crate::wire::status::Status;

/// Publishes from any thread, into the server that it came from.
///
/// Messages of one thread are published in their order. They are on their way when `publish` returns, not yet in
/// the channel.
#[derive(Clone, Debug)]
pub struct Publisher {
    mailbox: Arc<Mailbox>,
}

/// Why a message was not taken. Nothing of it is published then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The channel's or the event's name is not allowed.
    Refused(Status),
    /// 16 MiB are waiting for the server already: try again later.
    Full,
    /// The server has ended.
    Ended,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Refused(status) => status.fmt(f),
            Error::Full => f.write_str("the server has 16 MiB of messages waiting"),
            Error::Ended => f.write_str("the server has ended"),
        }
    }
}

impl std::error::Error for Error {}

impl Publisher {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Publisher {
        Publisher { mailbox }
    }

    /// Publishes a message to a channel.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn publish<'m>(&self, channel: &str, message: impl Into<Message<'m>>) -> Result<(), Error> {
        let message = message.into();
        check_channel_name(channel)
            .and_then(|()| message.event().map_or(Ok(()), check_event_name))
            .map_err(Error::Refused)?;
        let letter = Letter {
            channel: channel.into(),
            data: message.data().into(),
            binary: message.is_binary(),
            event: message.event().map(Into::into),
        };
        self.mailbox.put(letter)
    }

    /// Ends the server as SIGTERM would.
    pub fn end(&self) {
        let mut post = self.mailbox.post();
        post.ending = true;
        wake(&post);
    }
}

/// What other threads have for the server.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    post: Mutex<Post>,
}

#[derive(Debug, Default)]
struct Post {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// There once the server runs.
    waker: Option<Waker>,
    ending: bool,
    ended: bool,
}

/// A message with its channel.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) channel: Box<str>,
    data: Box<[u8]>,
    binary: bool,
    event: Option<Box<str>>,
}

impl Letter {
    pub(super) fn message(&self) -> Message<'_> {
        let message = match std::str::from_utf8(&self.data) {
            Ok(text) if !self.binary => Message::text_of(text),
            _ => Message::binary_of(&self.data),
        };
        message.with_event(self.event.as_deref())
    }

    fn bytes(&self) -> usize {
        size_of::<Letter>() + self.channel.len() + self.data.len()
    }
}

impl Mailbox {
    fn put(&self, letter: Letter) -> Result<(), Error> {
        let mut post = self.post();
        if post.ended {
            return Err(Error::Ended);
        }
        if post.bytes + letter.bytes() > MAILBOX_BYTES_MAX {
            return Err(Error::Full);
        }
        post.bytes += letter.bytes();
        post.letters.push_back(letter);
        if post.letters.len() == 1 {
            wake(&post);
        }
        Ok(())
    }

    /// From now on the server is woken by what comes; what came before is there at once.
    pub(super) fn open(&self, waker: Waker) {
        let mut post = self.post();
        post.waker = Some(waker);
        wake(&post);
    }

    /// Takes what is there, up to a turn's worth, and wakes again for the rest.
    pub(super) fn take(&self) -> Vec<Letter> {
        let mut post = self.post();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < TURN_BYTES
            && taken.len() < TURN_LETTERS
            && let Some(letter) = post.letters.pop_front()
        {
            bytes += letter.bytes();
            taken.push(letter);
        }
        post.bytes -= bytes;
        if !post.letters.is_empty() {
            wake(&post);
        }
        taken
    }

    pub(super) fn is_ending(&self) -> bool {
        self.post().ending
    }

    /// Nothing is taken any more.
    pub(super) fn close(&self) {
        let mut post = self.post();
        *post = Post { ended: true, ..Post::default() };
    }

    fn post(&self) -> MutexGuard<'_, Post> {
        // A thread that panicked while it held the lock left the queue whole.
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(post: &Post) {
    if let Some(waker) = &post.waker
        && let Err(error) = waker.wake()
    {
        log::error!("the server cannot be woken to publish: {error}");
    }
}

const MAILBOX_BYTES_MAX: usize = 16 << 20;
/// As much as one channel may have before delivery.
const TURN_LETTERS: usize = 256;
const TURN_BYTES: usize = 1 << 20;

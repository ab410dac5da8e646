//! `redpoll pub`: publishes, once each, over one connection.

use std::fmt::Write;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::Error;
use super::figures::{bytes, grouped, seconds};
use super::http::{Answer, Connection, explain, field_line};
use super::progress::Progress;
use super::retry::{Backoff, nonce};
use super::url::{Url, encode_parameter};

/// What `redpoll pub` is to do.
pub(crate) struct Publish {
    pub(crate) url: Url,
    /// `None` publishes the lines of standard input.
    pub(crate) message: Option<Vec<u8>>,
    pub(crate) event: Option<String>,
    pub(crate) binary: bool,
    /// The value of `Authorization`, with the token.
    pub(crate) authorization: Option<String>,
}

/// Publishes, and says nothing unless it fails; a long input shows how far it is to who sits at a terminal.
///
/// # Errors
/// Why the server refuses a message, or cannot be reached, and in which line. All before it is published, and nothing
/// after it.
pub(crate) fn publish(options: &Publish) -> Result<(), Error> {
    let mut publisher = Publisher { options, connection: None, progress: Progress::new() };
    if let Some(message) = &options.message {
        return Ok(publisher.publish(message)?);
    }
    let (mut input, mut line, mut messages, mut taken) = (std::io::stdin().lock(), Vec::new(), 0, 0);
    let length = file_length();
    loop {
        line.clear();
        let count = input.read_until(b'\n', &mut line).map_err(|error| format!("cannot read the input: {error}"))?;
        if count == 0 {
            return Ok(());
        }
        let published = publisher.publish(line.strip_suffix(b"\n").unwrap_or(&line));
        published.map_err(|why| format!("line {}: {why}", messages + 1))?;
        (messages, taken) = (messages + 1, taken + count as u64);
        publisher.progress.show(|| so_far(messages, taken, length));
    }
}

struct Publisher<'a> {
    options: &'a Publish,
    /// Kept between messages.
    connection: Option<Connection>,
    progress: Progress,
}

/// Why an attempt failed.
enum Failure {
    /// There was no connection, or no answer on it.
    Broken(String),
    /// The server says that another attempt may succeed, and perhaps when.
    Passing(String, Option<Duration>),
    /// It would refuse every other attempt too.
    Refused(String),
}

impl Publisher<'_> {
    fn publish(&mut self, message: &[u8]) -> Result<(), String> {
        let request = self.request(message);
        let (mut backoff, began) = (Backoff::default(), Instant::now());
        for attempt in 1.. {
            let is_reused = self.connection.is_some();
            let may_wait = |asked: Option<Duration>| {
                attempt < ATTEMPTS && began.elapsed().saturating_add(asked.unwrap_or_default()) < KEY_TIME
            };
            match self.attempt(&request) {
                Ok(()) => return Ok(()),
                // A connection that was idle may have been closed by right: nothing is wrong with the server.
                Err(Failure::Broken(_)) if is_reused => {}
                Err(Failure::Broken(why)) if may_wait(None) => self.wait(&mut backoff, &why, None),
                Err(Failure::Passing(why, asked)) if may_wait(asked) => self.wait(&mut backoff, &why, asked),
                Err(Failure::Broken(why) | Failure::Passing(why, _) | Failure::Refused(why)) => {
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    /// One and the same for all attempts, key included: a message whose answer was lost is not published again.
    fn request(&self, message: &[u8]) -> Vec<u8> {
        let Publish { url, event, binary, authorization, .. } = self.options;
        let authorization = field_line(authorization.as_deref());
        let query = event.as_ref().map_or(String::new(), |event| format!("?event={}", encode_parameter(event)));
        let media_type = if *binary { "application/octet-stream" } else { "text/plain; charset=utf-8" };
        let key = nonce().iter().fold(String::new(), |mut key, byte| {
            let _ = write!(key, "{byte:02x}");
            key
        });
        let head = format!(
            "POST {}{query} HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\
             Idempotency-Key: {key}\r\n{authorization}\r\n",
            url.path,
            url.authority,
            message.len()
        );
        [head.as_bytes(), message].concat()
    }

    fn wait(&mut self, backoff: &mut Backoff, why: &str, asked: Option<Duration>) {
        let wait = backoff.next(asked);
        self.progress.clear();
        super::tell(&format!("{why}; trying again in {}", seconds(wait)));
        std::thread::sleep(wait);
    }

    /// Sends the request and reads its answer. The connection is kept only where both went well.
    fn attempt(&mut self, request: &[u8]) -> Result<(), Failure> {
        let broken = |error: std::io::Error| Failure::Broken(explain(&error));
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.options.url).map_err(broken)?,
        };
        // A server that refuses a message may say why and close before it has read it all.
        let sent = connection.send(request);
        let answer = connection.read_answer().map_err(|error| broken(sent.err().unwrap_or(error)))?;
        let content = connection.read_content(&answer).map_err(broken)?;
        if answer.keeps_alive() {
            self.connection = Some(connection);
        }
        check(&answer, &content)
    }
}

/// How long the standard input is, where it is a file.
fn file_length() -> Option<u64> {
    let input = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let metadata = File::from(input).metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}

fn so_far(messages: u64, taken: u64, length: Option<u64>) -> String {
    let of = length.map_or(String::new(), |length| format!(" of {}", bytes(length)));
    format!("{} messages published, {}{of}", grouped(messages), bytes(taken))
}

fn check(answer: &Answer, content: &[u8]) -> Result<(), Failure> {
    match answer.code {
        200..=299 => Ok(()),
        _ if answer.is_passing() => Err(Failure::Passing(answer.refusal(content), answer.retry_after())),
        _ => Err(Failure::Refused(answer.refusal(content))),
    }
}

/// With the waits between them 8 to 16 seconds: a restart of the server passes, a server that is gone is told.
const ATTEMPTS: u32 = 6;

/// Within the five minutes for which the server knows a key, with room for the last attempt: after them a message whose
/// answer was lost would be published again.
const KEY_TIME: Duration = Duration::from_secs(240);

#[cfg(test)]
mod tests {
    use super::so_far;

    #[test]
    fn how_far_it_is_says_of_how_much_where_that_is_known() {
        assert_eq!(so_far(1_234, 3 << 20, None), "1,234 messages published, 3.0 MiB");
        assert_eq!(so_far(0, 0, Some(2_048)), "0 messages published, 0 B of 2.0 KiB");
    }
}

//! Where messages go: to standard output, or each to a command of its own.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use redpoll::Position;

use super::Ending;

/// What is done with a message.
pub(crate) enum Output {
    Print,
    /// For the shell, which gets each message on its standard input.
    Run(String),
}

impl Output {
    /// Hands `content` on, and waits until it has been taken.
    pub(super) fn take(
        &self,
        channel: &str,
        id: Position,
        event: Option<&str>,
        content: Vec<u8>,
    ) -> Result<(), Ending> {
        match self {
            Output::Print => print(content),
            Output::Run(command) => run(command, channel, id, event, &content),
        }
    }
}

/// Flushed each time: the reader may be a program that waits for this line. One that has gone has read enough.
pub(super) fn print(mut line: Vec<u8>) -> Result<(), Ending> {
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ending::Done,
        _ => Ending::Failed(format!("cannot write the message: {error}")),
    })
}

/// One after the other, so that they run in the order of the messages. What a command makes of its message is its own
/// affair: that it fails is told, and the next message goes to the next one.
fn run(command: &str, channel: &str, id: Position, event: Option<&str>, content: &[u8]) -> Result<(), Ending> {
    let failed = |error: std::io::Error| Ending::Failed(format!("cannot run {SHELL}: {error}"));
    let mut child = Command::new(SHELL)
        .args(["-c", command])
        .env("REDPOLL_CHANNEL", channel)
        .env("REDPOLL_ID", id.to_string())
        .env("REDPOLL_EVENT", event.unwrap_or_default())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // It need not read its message; that the pipe breaks then is no error.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(content));
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        crate::cli::tell(&format!("the command ended with {status}, for message {id} of {channel:?}"));
    }
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

const SHELL: &str = "/bin/sh";

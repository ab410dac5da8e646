//! The commands of `redpoll.v1`: they are read, or refused, as by the model, and the answers are JSON that says what it
//! is to say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::command::{Ack, Command, Data, parse, push_ack, push_error, push_subscribed, push_unsubscribed};
use redpoll::wire::envelope::{Payload, push_change, push_envelope, push_gap};
use redpoll::{Position, Status};
use redpoll_fuzz::json::{self, Value};
use redpoll_fuzz::{base64, commands};

const POSITION: Position = Position { epoch: 0x5f3a, offset: 42 };

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let parsed = parse(&text);
    match (&parsed, commands::read(&text)) {
        (Ok((command, ack)), Some(told)) => {
            assert_eq!(Some(in_words_of_the_model(command)), told.command);
            assert_eq!(repeated(ack), told.ack);
        }
        (Err((status, ack)), Some(told)) => {
            assert_eq!((status.code(), told.command), (400, None), "{status}");
            assert_eq!(repeated(ack), told.ack);
        }
        // Of what is no JSON the ack may have been read, or not.
        (Err((status, ack)), None) => {
            assert_eq!(status.code(), 400);
            assert!(repeated(ack).is_none_or(|ack| text.contains(&ack)));
        }
        (Ok(parsed), None) => panic!("{parsed:?} is no JSON"),
    }
    answers(&text, &parsed);
});

/// The ack as an answer repeats it.
fn repeated(ack: &Ack) -> Option<String> {
    let mut answer = Vec::new();
    push_ack(&mut answer, ack, None);
    assert_eq!(answer.is_empty(), !ack.is_some());
    let answer = String::from_utf8(answer).expect("JSON is text");
    (!answer.is_empty()).then(|| {
        let object = json::parse(&answer).expect("an ack is JSON");
        let [ack] = object.members().expect("an object") else { panic!("{answer}") };
        assert_eq!(ack.name, "ack");
        ack.raw.clone()
    })
}

fn answers(text: &str, parsed: &Result<(Command, Ack), (Status, Ack)>) {
    let (command, ack) = match parsed {
        Ok((command, ack)) => (Some(command), ack),
        Err((status, ack)) => {
            let error = encoded(|out| push_error(out, status, ack));
            assert_eq!(
                error.member("error").and_then(|error| error.member("detail")?.string()),
                Some(status.explanation())
            );
            (None, ack)
        }
    };
    let acked =
        [encoded(|out| push_subscribed(out, text, POSITION, ack)), encoded(|out| push_unsubscribed(out, text, ack))];
    for (answer, name) in acked.iter().zip(["subscribed", "unsubscribed"]) {
        assert_eq!(answer.member(name).and_then(Value::string), Some(text));
        assert_eq!(answer.member("ack").is_some(), ack.is_some());
    }
    let gap = encoded(|out| push_gap(out, "a", text, POSITION));
    assert_eq!(gap.member("gap").and_then(|gap| gap.member("from")?.string()), Some(text));
    let join = encoded(|out| push_change(out, "a", "join", text, "ws"));
    assert_eq!(join.member("join").and_then(|join| join.member("name")?.string()), Some(text));
    let envelope = encoded(|out| push_envelope(out, "a", POSITION, Some(text), Payload::Text(text)));
    assert_eq!(envelope.member("event").and_then(Value::string), Some(text));
    assert_eq!(envelope.member("data").and_then(Value::string), Some(text));
    if let Some(Command::Publish { data: Data::Binary(bytes), .. }) = command {
        let envelope = encoded(|out| push_envelope(out, "a", POSITION, None, Payload::Binary(bytes)));
        let padded = base64::pad(base64::encode(bytes, base64::STANDARD));
        assert_eq!(envelope.member("base64").and_then(Value::string), Some(padded.as_str()));
    }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    encode(&mut out);
    let text = String::from_utf8(out).expect("JSON is text");
    json::parse(&text).unwrap_or_else(|| panic!("no JSON: {text}"))
}

fn in_words_of_the_model(command: &Command) -> commands::Command {
    match command.clone() {
        Command::Subscribe { channel, since, presence } => {
            commands::Command::Subscribe(channel, since.into(), presence.map(Into::into))
        }
        Command::Unsubscribe { channel } => commands::Command::Unsubscribe(channel),
        Command::Publish { channel, data: Data::Text(text), event, key } => {
            commands::Command::Publish(channel, Ok(text), event, key)
        }
        Command::Publish { channel, data: Data::Binary(bytes), event, key } => {
            commands::Command::Publish(channel, Err(bytes), event, key)
        }
        Command::Token(token) => commands::Command::Token(token),
    }
}

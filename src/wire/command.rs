//! The subprotocol `redpoll.v1`: the commands a client sends on its WebSocket, and the answers to them.
//!
//! One text message is one JSON object (RFC 8259 §4). It is read strictly, so that a misspelt key is told rather than
//! ignored; what is wrong is answered with an error, and the connection goes on.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::envelope::{push_formatted, push_string};
use super::form::{check_channel_name, check_event_name, check_key};
use super::position::{Position, Since};
use super::status::Status;
use super::syntax::excerpt;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `{"subscribe":"a","since":"latest","presence":true}`
    Subscribe {
        /// A valid name.
        channel: String,
        /// Where to begin; [`Since::Latest`] where the client does not say.
        since: Since,
        /// Where to begin with who comes and goes; `None` where the client does not ask for that.
        presence: Option<Since>,
    },
    /// `{"unsubscribe":"a"}`
    Unsubscribe {
        /// A valid name.
        channel: String,
    },
    /// `{"publish":"a","data":"hi","event":"e","key":"k"}`
    Publish {
        /// A valid name.
        channel: String,
        /// What to publish.
        data: Data,
        /// A valid name for the event, where the client gives one.
        event: Option<String>,
        /// By which the server knows it again: the same as an `Idempotency-Key`.
        key: Option<String>,
    },
    /// `{"token":"..."}`, not looked into.
    Token(String),
}

/// What a client publishes, as `"data"` or as `"base64"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Text.
    Text(String),
    /// Bytes, decoded from base64 (RFC 4648 §4, with padding).
    Binary(Vec<u8>),
}

/// The client's mark on a command, which the answer repeats to the letter: a JSON number or string, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack(Option<Box<str>>);

impl Ack {
    /// Whether the client asked for an answer.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// Reads a command. `text` is one message, so its length is limited by the caller.
///
/// # Errors
/// 400 for what is no JSON object, an unknown or repeated key, a value of another type than its key takes, and anything
/// but exactly one command with the keys that belong to it. The ack comes with the error where it could be read.
pub fn parse(text: &str) -> Result<(Command, Ack), (Status, Ack)> {
    let mut members = Members::default();
    match members.read(text).and_then(|()| members.command()) {
        Ok(command) => Ok((command, members.ack)),
        Err(status) => Err((status, members.ack)),
    }
}

/// Appends `{"subscribed":"a","cursor":"0000005f-42"}`, where `cursor` is where delivery begins.
pub fn push_subscribed(out: &mut Vec<u8>, channel: &str, cursor: impl Display, ack: &Ack) {
    out.extend_from_slice(br#"{"subscribed":"#);
    push_string(out, channel);
    push_formatted(out, format_args!(r#","cursor":"{cursor}""#));
    push_ack_member(out, ack);
    out.push(b'}');
}

/// Appends `{"unsubscribed":"a"}`.
pub fn push_unsubscribed(out: &mut Vec<u8>, channel: &str, ack: &Ack) {
    out.extend_from_slice(br#"{"unsubscribed":"#);
    push_string(out, channel);
    push_ack_member(out, ack);
    out.push(b'}');
}

/// Appends `{"ack":1,"id":"0000005f-43"}`, without the id where nothing was published; nothing at all where the client
/// asked for no answer.
pub fn push_ack(out: &mut Vec<u8>, ack: &Ack, id: Option<Position>) {
    let Ack(Some(raw)) = ack else { return };
    push_formatted(out, format_args!(r#"{{"ack":{raw}"#));
    if let Some(id) = id {
        push_formatted(out, format_args!(r#","id":"{id}""#));
    }
    out.push(b'}');
}

/// Appends `{"error":{"status":403,"detail":"..."},"ack":1}`. A status without a detail says its title.
pub fn push_error(out: &mut Vec<u8>, status: &Status, ack: &Ack) {
    push_formatted(out, format_args!(r#"{{"error":{{"status":{},"detail":"#, status.code()));
    push_string(out, if status.explanation().is_empty() { status.title() } else { status.explanation() });
    out.push(b'}');
    push_ack_member(out, ack);
    out.push(b'}');
}

fn push_ack_member(out: &mut Vec<u8>, ack: &Ack) {
    if let Ack(Some(raw)) = ack {
        push_formatted(out, format_args!(r#","ack":{raw}"#));
    }
}

/// The members of the object: a text for each key of [`KEYS`] that was given, and the ack as it was written.
#[derive(Default)]
struct Members {
    values: [Option<String>; KEYS.len()],
    ack: Ack,
}

impl Members {
    /// Reads the object to its end even when something in it is wrong, since the ack may be its last member; the first
    /// error counts.
    fn read(&mut self, text: &str) -> Result<(), Status> {
        let mut outcome = Ok(());
        let rest = go_through(token(text, '{').ok_or_else(no_object)?, '}', |member| {
            let (key, _, after_key) = value(member)?;
            let (value, raw, rest) = value(token(after_key, ':').ok_or_else(no_object)?)?;
            let set = self.set(key, value, raw);
            if outcome.is_ok() {
                outcome = set;
            }
            Ok(rest)
        })?;
        match rest.trim_start_matches(WHITESPACE).is_empty() {
            true => outcome,
            false => Err(no_object()),
        }
    }

    /// Takes one member; each may come once.
    fn set(&mut self, key: Value, value: Value, raw: &str) -> Result<(), Status> {
        let Value::String(key) = key else { return Err(no_object()) };
        if key == "ack" {
            return self.set_ack(&value, raw);
        }
        let Some(index) = KEYS.iter().position(|known| *known == key) else {
            return Err(refused(format!("unknown key {:?}: known are {} and ack", excerpt(&key), KEYS.join(", "))));
        };
        let value = match value {
            Value::Bool(flag) if key == "presence" => flag.to_string(),
            _ if key == "presence" => return Err(refused("presence must be true or false")),
            Value::String(text) => text,
            _ => return Err(refused(format!("{key} must be a string"))),
        };
        match self.values[index].replace(value) {
            Some(_) => Err(refused(format!("{key} is given twice"))),
            None => Ok(()),
        }
    }

    fn set_ack(&mut self, value: &Value, raw: &str) -> Result<(), Status> {
        if self.ack.is_some() {
            return Err(refused("ack is given twice"));
        }
        if !value.is_number() && !value.is_string() {
            return Err(refused("ack must be a number or a string"));
        }
        self.ack = Ack(Some(raw.into()));
        Ok(())
    }

    /// Makes the command of the one key that names it, out of the keys that belong to it.
    fn command(&mut self) -> Result<Command, Status> {
        let command = match &mut self.values {
            [Some(channel), None, None, None, since, None, None, None, None, presence] => Command::Subscribe {
                channel: checked_channel(channel)?,
                since: since.as_ref().map_or(Ok(Since::Latest), |since| Since::parse(since))?,
                presence: presence
                    .as_ref()
                    .filter(|flag| *flag == "true")
                    .map(|_| since.as_ref().map_or(Since::Latest, |since| Since::of_presence(since))),
            },
            [None, Some(channel), None, None, None, None, None, None, None, None] => {
                Command::Unsubscribe { channel: checked_channel(channel)? }
            }
            [None, None, Some(channel), None, None, text, base64, event, key, None] => Command::Publish {
                channel: checked_channel(channel)?,
                data: publication(text.take(), base64.take())?,
                event: checked(event.take(), check_event_name)?,
                key: checked(key.take(), check_key)?,
            },
            [None, None, None, Some(token), None, None, None, None, None, None] => {
                Command::Token(std::mem::take(token))
            }
            values => return Err(no_command(values)),
        };
        Ok(command)
    }
}

fn checked_channel(channel: &mut String) -> Result<String, Status> {
    check_channel_name(channel)?;
    Ok(std::mem::take(channel))
}

fn checked(name: Option<String>, check: fn(&str) -> Result<(), Status>) -> Result<Option<String>, Status> {
    name.as_deref().map_or(Ok(()), check)?;
    Ok(name)
}

fn publication(text: Option<String>, base64: Option<String>) -> Result<Data, Status> {
    match (text, base64) {
        (Some(text), None) => Ok(Data::Text(text)),
        (None, Some(base64)) => match STANDARD.decode(base64) {
            Ok(bytes) => Ok(Data::Binary(bytes)),
            Err(_) => Err(refused("malformed base64: it is the alphabet of RFC 4648 §4, with padding")),
        },
        _ => Err(refused("publish needs either data or base64")),
    }
}

/// Why the keys that were given make no command.
fn no_command(values: &[Option<String>; KEYS.len()]) -> Status {
    let given = || KEYS.iter().zip(values).filter(|(_, value)| value.is_some()).map(|(key, _)| *key);
    match (given().filter(|key| COMMANDS.contains(key)).count(), given().find(|key| !COMMANDS.contains(key))) {
        (1, Some(stray)) => refused(format!("{stray} does not belong to {}", given().next().unwrap_or_default())),
        (0, _) => refused(format!("no command: give one of {}", COMMANDS.join(", "))),
        _ => refused(format!("more than one command: give one of {}", COMMANDS.join(", "))),
    }
}

/// Reads one JSON value: the value, its text, and what comes after it. No key takes an object or a list, and as values
/// they are up to a hundred times as large as in the message: one is gone through, and null stands for it.
fn value(text: &str) -> Result<(Value, &str, &str), Status> {
    let text = text.trim_start_matches(WHITESPACE);
    if !text.starts_with(['{', '[']) {
        return scalar(text);
    }
    let rest = pass_over(text, LEVELS_MAX)?;
    Ok((Value::Null, &text[..text.len() - rest.len()], rest))
}

fn scalar(text: &str) -> Result<(Value, &str, &str), Status> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next().and_then(Result::ok).ok_or_else(no_object)?;
    let (raw, rest) = text.split_at_checked(values.byte_offset()).ok_or_else(no_object)?;
    Ok((value, raw, rest))
}

/// What comes after a value that may have up to `levels` of lists and objects in each other.
fn pass_over(text: &str, levels: usize) -> Result<&str, Status> {
    let (inside, end) = match (token(text, '['), token(text, '{')) {
        (Some(inside), _) => (inside, ']'),
        (None, Some(inside)) => (inside, '}'),
        (None, None) => return scalar(text.trim_start_matches(WHITESPACE)).map(|(_, _, rest)| rest),
    };
    let levels = levels.checked_sub(1).ok_or_else(no_object)?;
    go_through(inside, end, |one| pass_over(if end == '}' { after_key(one)? } else { one }, levels))
}

fn after_key(text: &str) -> Result<&str, Status> {
    let key = Some(text.trim_start_matches(WHITESPACE)).filter(|text| text.starts_with('"')).ok_or_else(no_object)?;
    let (_, _, rest) = scalar(key)?;
    token(rest, ':').ok_or_else(no_object)
}

/// Goes through a list, or the members of an object, up to its `end`, and says what comes after that. `each` does so
/// for one of them.
fn go_through<'a>(
    text: &'a str,
    end: char,
    mut each: impl FnMut(&'a str) -> Result<&'a str, Status>,
) -> Result<&'a str, Status> {
    if let Some(rest) = token(text, end) {
        return Ok(rest);
    }
    let mut rest = each(text)?;
    while let Some(next) = token(rest, ',') {
        rest = each(next)?;
    }
    token(rest, end).ok_or_else(no_object)
}

/// As deep as `serde_json` goes: what is read calls itself.
const LEVELS_MAX: usize = 127;

/// What comes after `token` and the whitespace before it.
fn token(text: &str, token: char) -> Option<&str> {
    text.trim_start_matches(WHITESPACE).strip_prefix(token)
}

fn no_object() -> Status {
    refused("malformed command: a message is one JSON object (RFC 8259 §4)")
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Status {
    Status::new(400).detail(detail)
}

/// RFC 8259 §2.
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The keys but for `ack`, the commands first; [`Members::command`] matches them by this order. All take a string, but
/// for `presence`.
const KEYS: [&str; 10] =
    ["subscribe", "unsubscribe", "publish", "token", "since", "data", "base64", "event", "key", "presence"];

/// The keys that name a command.
const COMMANDS: &[&str] = KEYS.split_at(4).0;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ack(raw: &str) -> Ack {
        Ack(Some(raw.into()))
    }

    #[test]
    fn every_command_of_the_subprotocol_is_read() {
        let position = Position { epoch: 0x5f3a, offset: 42 };
        let publish = |data, event: Option<&str>, key: Option<&str>| Command::Publish {
            channel: "a".into(),
            data,
            event: event.map(Into::into),
            key: key.map(Into::into),
        };
        let longest = "é".repeat(127) + "!";
        let subscribe = |since, presence| Command::Subscribe { channel: "a".into(), since, presence };
        for (text, command) in [
            (r#"{"subscribe":"a"}"#, subscribe(Since::Latest, None)),
            (r#"{"since":"00005f3a-42","subscribe":"a"}"#, subscribe(Since::After(position), None)),
            (r#"{"subscribe":"a","since":"earliest","presence":false}"#, subscribe(Since::Earliest, None)),
            (r#"{"subscribe":"a","presence":true}"#, subscribe(Since::Latest, Some(Since::Latest))),
            (
                r#"{"presence":true,"subscribe":"a","since":"5f3a-42~7"}"#,
                subscribe(Since::After(position), Some(Since::After(Position { offset: 7, ..position }))),
            ),
            (r#"{"unsubscribe":"a"}"#, Command::Unsubscribe { channel: "a".into() }),
            (r#"{"publish":"a","data":"hi\n\u0041"}"#, publish(Data::Text("hi\nA".into()), None, None)),
            (r#"{"publish":"a","data":"","event":"e"}"#, publish(Data::Text(String::new()), Some("e"), None)),
            (r#"{"key":"k 1","publish":"a","data":""}"#, publish(Data::Text(String::new()), None, Some("k 1"))),
            (
                &format!(r#"{{"publish":"a","key":"{longest}","data":"","event":"e"}}"#),
                publish(Data::Text(String::new()), Some("e"), Some(&longest)),
            ),
            (r#"{"publish":"a","base64":"AP/+Pg=="}"#, publish(Data::Binary(b"\0\xff\xfe>".to_vec()), None, None)),
            (" {\t\"token\" :\r\n\"x.y.z\" } \n", Command::Token("x.y.z".into())),
            (r#"{"\u0074oken":""}"#, Command::Token(String::new())),
        ] {
            assert_eq!(parse(text), Ok((command, Ack::default())), "{text}");
        }
    }

    #[test]
    fn an_ack_is_repeated_to_the_letter() {
        for raw in [
            "1",
            "-0",
            "1.50",
            "1e3",
            "12345678901234567890123",
            "0.1000000000000000055",
            "\"\"",
            r#""x\u0041\"""#,
            "\"é\"",
        ] {
            for text in [format!(r#"{{"token":"t","ack":{raw}}}"#), format!("{{\"ack\": {raw} ,\"token\":\"t\"}}")] {
                let (_, ack) = parse(&text).unwrap();
                let mut out = Vec::new();
                push_ack(&mut out, &ack, None);
                assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{{"ack":{raw}}}"#));
            }
        }
    }

    #[test]
    fn a_bad_command_is_refused_by_name() {
        let too_long = format!(r#"{{"publish":"a","data":"b","key":"{}"}}"#, "k".repeat(256));
        for (text, named) in [
            ("", "JSON object"),
            ("hello", "JSON object"),
            ("[]", "JSON object"),
            ("\"subscribe\"", "JSON object"),
            ("{", "JSON object"),
            (r#"{"subscribe":"a""#, "JSON object"),
            (r#"{"subscribe":"a",}"#, "JSON object"),
            (r#"{"subscribe" "a"}"#, "JSON object"),
            (r#"{"subscribe":"a"}}"#, "JSON object"),
            (r#"{"subscribe":"a"}{"token":"b"}"#, "JSON object"),
            (r#"{subscribe:"a"}"#, "JSON object"),
            (r#"{1:"a"}"#, "JSON object"),
            (r#"{"token":"\ud800"}"#, "JSON object"),
            ("{\"token\":\"a\nb\"}", "JSON object"),
            (r#"{"token":"a","ack":01}"#, "JSON object"),
            (r#"{"token":"a","ack":1e999}"#, "JSON object"),
            ("{}", "no command"),
            (r#"{"ack":1}"#, "no command"),
            (r#"{"data":"a"}"#, "no command"),
            (r#"{"subscribe":"a","unsubscribe":"b"}"#, "more than one command"),
            (r#"{"subscribe":"a","publish":"b","data":"c"}"#, "more than one command"),
            (r#"{"subscribe":"a","subscribe":"b"}"#, "subscribe is given twice"),
            (r#"{"subscribe":"a","ack":1,"ack":2}"#, "ack is given twice"),
            (r#"{"subscribe":"a","sence":"latest"}"#, "\"sence\""),
            (r#"{"Subscribe":"a"}"#, "\"Subscribe\""),
            (r#"{"subscribe":["a"]}"#, "subscribe must be a string"),
            (r#"{"subscribe":null}"#, "subscribe must be a string"),
            (r#"{"publish":"a","data":7}"#, "data must be a string"),
            (r#"{"subscribe":"a","ack":null}"#, "ack must be a number or a string"),
            (r#"{"subscribe":"a","ack":[1]}"#, "ack must be a number or a string"),
            (r#"{"subscribe":"a","presence":"true"}"#, "presence must be true or false"),
            (r#"{"subscribe":"a","presence":1}"#, "presence must be true or false"),
            (r#"{"subscribe":"a","presence":true,"presence":true}"#, "presence is given twice"),
            (r#"{"unsubscribe":"a","presence":true}"#, "presence does not belong to unsubscribe"),
            (r#"{"subscribe":"a","data":"b"}"#, "data does not belong to subscribe"),
            (r#"{"unsubscribe":"a","since":"last"}"#, "since does not belong to unsubscribe"),
            (r#"{"publish":"a","data":"b","since":"last"}"#, "since does not belong to publish"),
            (r#"{"token":"a","event":"b"}"#, "event does not belong to token"),
            (r#"{"publish":"a"}"#, "either data or base64"),
            (r#"{"publish":"a","data":"b","base64":"Yg=="}"#, "either data or base64"),
            (r#"{"publish":"a","base64":"Yg"}"#, "base64"),
            (r#"{"publish":"a","base64":"Y g=="}"#, "base64"),
            (r#"{"publish":"a","data":"b","event":"gap"}"#, "reserved"),
            (r#"{"publish":"a","data":"b","key":""}"#, "idempotency key is 1 to 255 bytes"),
            (&too_long, "idempotency key is 1 to 255 bytes"),
            (r#"{"publish":"a","data":"b","key":7}"#, "key must be a string"),
            (r#"{"publish":"a","data":"b","key":"k","key":"k"}"#, "key is given twice"),
            (r#"{"subscribe":"a","key":"k"}"#, "key does not belong to subscribe"),
            (r#"{"token":"a","key":"k"}"#, "key does not belong to token"),
            (r#"{"subscribe":"a,b"}"#, "channel name"),
            (r#"{"subscribe":""}"#, "channel name"),
            (r#"{"subscribe":"a","since":"yesterday"}"#, "position"),
        ] {
            let (status, _) = parse(text).unwrap_err();
            assert!(status.code() == 400 && status.explanation().contains(named), "{text}: {status}");
        }
    }

    #[test]
    fn an_error_repeats_the_ack_wherever_it_stands() {
        for text in [
            r#"{"ack":7,"subscribe":"a","sence":1}"#,
            r#"{"sence":[{}],"subscribe":"a","ack":7}"#,
            r#"{"subscribe":1,"ack":7}"#,
            r#"{"ack":7,"subscribe":"a,b"}"#,
            r#"{"ack":7}"#,
            r#"{"ack":7,"subscribe":"#,
        ] {
            assert_eq!(parse(text).unwrap_err().1, ack("7"), "{text}");
        }
        assert_eq!(parse(r#"{"ack":{},"subscribe":"a"}"#).unwrap_err().1, Ack::default());
    }

    #[test]
    fn nesting_is_limited() {
        for (open, close) in [("[", "]"), ("{\"\":", "}"), ("{", "}")] {
            let nested =
                |levels| format!(r#"{{"subscribe":{}0{},"ack":7}}"#, open.repeat(levels), close.repeat(levels));
            assert_eq!(parse(&nested(127)).unwrap_err().1 == ack("7"), open != "{", "{open}");
            for levels in [128, 100_000] {
                let (status, known) = parse(&nested(levels)).unwrap_err();
                assert_eq!((status.code(), known), (400, Ack::default()), "{open} {levels}");
            }
        }
    }

    #[test]
    fn what_no_key_takes_is_read_as_strictly_as_the_rest() {
        for nested in ["[]", "[ ]", "{}", "{ }", "[1 , \"]\"]", r#"{"a":[{}],"b\"":{"c":null}}"#] {
            let text = format!(r#"{{"subscribe":{nested},"ack":7}}"#);
            let (status, known) = parse(&text).unwrap_err();
            assert_eq!((status.explanation(), known), ("subscribe must be a string", ack("7")), "{text}");
        }
        for nested in
            ["[1,]", "[,1]", "[1 2]", "[}", "{]", "{1:2}", "{[]:2}", "{\"a\"}", "{\"a\":}", "[01]", "[", "{", "[\""]
        {
            let (status, known) = parse(&format!(r#"{{"subscribe":{nested},"ack":7}}"#)).unwrap_err();
            assert!(status.explanation().contains("JSON object") && known == Ack::default(), "{nested}: {status}");
        }
    }

    #[test]
    fn every_beginning_of_a_command_is_refused() {
        let text = r#" {"publish":"a","data":"é\u0041","ack":"x","event":"e"}"#;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert!(parse(&text[..end]).is_err());
        }
        assert!(parse(text).is_ok());
    }

    #[test]
    fn answers_have_their_forms_with_and_without_an_ack() {
        let cursor = Position { epoch: 0x5f3a, offset: 42 };
        let forbidden = Status::new(403).detail("not \"a\"");
        let written = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            String::from_utf8(out).unwrap()
        };
        let (none, one) = (Ack::default(), ack("1"));
        for (text, expected) in [
            (written(&|out| push_subscribed(out, "a", cursor, &none)), r#"{"subscribed":"a","cursor":"00005f3a-42"}"#),
            (
                written(&|out| push_subscribed(out, "a", cursor, &one)),
                r#"{"subscribed":"a","cursor":"00005f3a-42","ack":1}"#,
            ),
            (written(&|out| push_unsubscribed(out, "a", &none)), r#"{"unsubscribed":"a"}"#),
            (written(&|out| push_unsubscribed(out, "a", &one)), r#"{"unsubscribed":"a","ack":1}"#),
            (written(&|out| push_ack(out, &one, Some(cursor))), r#"{"ack":1,"id":"00005f3a-42"}"#),
            (written(&|out| push_ack(out, &one, None)), r#"{"ack":1}"#),
            (written(&|out| push_ack(out, &none, Some(cursor))), ""),
            (written(&|out| push_error(out, &forbidden, &none)), r#"{"error":{"status":403,"detail":"not \"a\""}}"#),
            (
                written(&|out| push_error(out, &forbidden, &one)),
                r#"{"error":{"status":403,"detail":"not \"a\""},"ack":1}"#,
            ),
            (
                written(&|out| push_error(out, &Status::new(404), &none)),
                r#"{"error":{"status":404,"detail":"Not Found"}}"#,
            ),
        ] {
            assert_eq!(text, expected);
        }
    }
}

//! The commands of `redpoll.v1`, as INTERFACE has them.

use crate::json::{self, Member, Value};
use crate::positions::{self, Since};
use crate::{base64, forms};

#[derive(Debug, PartialEq)]
pub enum Command {
    /// Channel, where messages begin, where presence does.
    Subscribe(String, Since, Option<Since>),
    Unsubscribe(String),
    /// Channel, text or bytes, event, key.
    Publish(String, Result<String, Vec<u8>>, Option<String>, Option<String>),
    Token(String),
}

/// What a message says, and the ack that it wants as it was written.
pub struct Told {
    /// `None` is an error.
    pub command: Option<Command>,
    pub ack: Option<String>,
}

/// Reads a message. `None` where it is no JSON object.
pub fn read(text: &str) -> Option<Told> {
    let object = json::parse(text)?;
    let members = object.members()?;
    let wants = |member: &&Member| member.name == "ack" && matches!(member.value, Value::String(_) | Value::Number(..));
    let ack = members.iter().find(wants).map(|member| member.raw.clone());
    Some(Told { command: command(members), ack })
}

fn command(members: &[Member]) -> Option<Command> {
    let mut names = Vec::from_iter(members.iter().map(|member| member.name.as_str()));
    names.sort_unstable();
    let value = |name: &str| members.iter().find(|member| member.name == name).map(|member| &member.value);
    let string = |name: &str| value(name).and_then(Value::string).map(str::to_owned);
    let acks = members.iter().filter(|member| member.name == "ack");
    if acks.clone().count() > 1 || !acks.clone().all(|ack| matches!(ack.value, Value::String(_) | Value::Number(..))) {
        return None;
    }
    names.retain(|name| *name != "ack");
    let channel = |name: &str| string(name).filter(|channel| forms::is_channel(channel));
    // A member that need not be there: `None` where it is wrong.
    let once =
        |name: &str, is_right: fn(&str) -> bool| match members.iter().filter(|member| member.name == name).count() {
            0 => Some(None),
            1 => string(name).filter(|text| is_right(text)).map(Some),
            _ => None,
        };
    match names[..] {
        ["subscribe"] | ["presence", "subscribe"] => {
            let presence = asks(value("presence"))?.then_some(Since::Latest);
            Some(Command::Subscribe(channel("subscribe")?, Since::Latest, presence))
        }
        ["since", "subscribe"] | ["presence", "since", "subscribe"] => {
            let since = string("since")?;
            let presence = asks(value("presence"))?.then(|| positions::presence(&since));
            Some(Command::Subscribe(channel("subscribe")?, positions::since(&since)?, presence))
        }
        ["unsubscribe"] => channel("unsubscribe").map(Command::Unsubscribe),
        ["token"] => string("token").map(Command::Token),
        ["data", .., "publish"] | ["base64", .., "publish"] => {
            names.retain(|name| !["event", "key"].contains(name));
            let data = match names[..] {
                ["data", "publish"] => Ok(string("data")?),
                ["base64", "publish"] => Err(bytes(&string("base64")?)?),
                _ => return None,
            };
            let (event, key) = (once("event", forms::is_event)?, once("key", forms::is_key)?);
            Some(Command::Publish(channel("publish")?, data, event, key))
        }
        _ => None,
    }
}

/// Whether presence is asked for.
fn asks(presence: Option<&Value>) -> Option<bool> {
    match presence {
        None => Some(false),
        Some(Value::Word("true")) => Some(true),
        Some(Value::Word("false")) => Some(false),
        Some(_) => None,
    }
}

/// With padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let bytes = base64::decode(text.trim_end_matches('='), base64::STANDARD)?;
    (base64::pad(base64::encode(&bytes, base64::STANDARD)) == text).then_some(bytes)
}

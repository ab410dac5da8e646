//! Positions as INTERFACE has them: `EPOCH-OFFSET`, behind which a place among joins and leaves may stand, `~OFFSET`, and
//! the words that stand for some.

use redpoll::Position;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Latest,
    Last,
    Earliest,
    After(u32, u64),
}

impl From<redpoll::Since> for Since {
    fn from(since: redpoll::Since) -> Since {
        match since {
            redpoll::Since::Latest => Since::Latest,
            redpoll::Since::Last => Since::Last,
            redpoll::Since::Earliest => Since::Earliest,
            redpoll::Since::After(Position { epoch, offset }) => Since::After(epoch, offset),
        }
    }
}

/// One word.
pub fn since(text: &str) -> Option<Since> {
    match text {
        "latest" => Some(Since::Latest),
        "last" => Some(Since::Last),
        "earliest" => Some(Since::Earliest),
        _ => position(text).map(|(epoch, offset)| Since::After(epoch, offset)),
    }
}

/// A word for all of `count` channels, or a position for each.
pub fn vector(text: &str, count: usize) -> Option<Vec<Since>> {
    match since(text) {
        Some(word @ (Since::Latest | Since::Last | Since::Earliest)) => Some(vec![word; count]),
        _ => {
            let positions = text.split(',').map(position).collect::<Option<Vec<_>>>()?;
            let all = positions.into_iter().map(|(epoch, offset)| Since::After(epoch, offset));
            Some(Vec::from_iter(all)).filter(|all| all.len() == count)
        }
    }
}

/// Where presence begins for who is at one position.
pub fn presence(text: &str) -> Since {
    match (position(text), text.split_once('~').and_then(|(_, place)| number(place))) {
        (Some((epoch, _)), place) => Since::After(epoch, place.unwrap_or(0)),
        (None, _) => Since::Latest,
    }
}

/// The epoch in up to eight hexadecimal digits in lower case, the offset in decimal.
pub fn position(text: &str) -> Option<(u32, u64)> {
    let (text, place) = text.split_once('~').map_or((text, None), |(text, place)| (text, Some(place)));
    if place.is_some_and(|place| number(place).is_none()) {
        return None;
    }
    let mut parts = text.split('-');
    let (epoch, offset) = (parts.next()?, parts.next()?);
    let is_epoch = (1..=8).contains(&epoch.len()) && epoch.chars().all(|digit| "0123456789abcdef".contains(digit));
    if parts.next().is_some() || !is_epoch {
        return None;
    }
    let epoch = epoch.chars().try_fold(0, |number, digit| Some(number * 16 + digit.to_digit(16)?))?;
    Some((epoch, number(offset)?))
}

fn number(text: &str) -> Option<u64> {
    let mut digits = text.chars();
    let more = |number: u64, digit: char| number.checked_mul(10)?.checked_add(u64::from(digit.to_digit(10)?));
    if text.is_empty() { None } else { digits.try_fold(0, more) }
}

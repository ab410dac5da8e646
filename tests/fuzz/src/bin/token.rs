//! Tokens: one is good if the model's own HMAC over its exact bytes is, and its time has come and not passed; and it
//! says what the model reads in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::token::{Claims, Pattern, Secret, bearer, cookie, mint, verify};
use redpoll_fuzz::input::Input;
use redpoll_fuzz::tokens;

const SECRETS: [&[u8]; 2] =
    [b"sixteen bytes are enough", b"the other one of those that are good at the same time, which is hashed first"];
const UNKNOWN: &[u8] = b"one that is not among them";
const UNIX_MS: u64 = 1_700_000_000_000;

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let text = String::from_utf8_lossy(input.bytes);
    fields(&text);
    match input.flags & 3 {
        0 => check(&text),
        1 => check(&mint(&invented(&input), &secret(SECRETS[usize::from(input.flags >> 2 & 1)]))),
        _ => {
            let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, &text));
            let secrets = [SECRETS[0], SECRETS[1], UNKNOWN, b""];
            let token = tokens::sign(header, claims, secrets[usize::from(input.flags >> 2 & 3)]);
            check(&token);
            check(&changed(&token, &input));
        }
    }
});

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes).expect("it is long enough")
}

/// Whether a token is good, and what it says.
fn check(token: &str) {
    let verified = verify(token, &SECRETS.map(secret), UNIX_MS);
    let expected = tokens::read(token, &SECRETS);
    let now = UNIX_MS as f64;
    match (verified, expected) {
        (Ok(claims), Some(expected)) => {
            assert!(expected.expires.is_none_or(|at| at > now - 1.0), "good though it has expired");
            assert!(expected.not_before < now + 1.0, "good before its time");
            compare(&claims, &expected);
        }
        (Err(status), expected) => {
            assert_eq!(status.code(), 401);
            let untimely =
                |it: &tokens::Claims| it.expires.is_some_and(|at| at < now + 1.0) || it.not_before > now - 1.0;
            assert!(expected.as_ref().is_none_or(untimely), "{status}: {expected:?}");
        }
        (Ok(claims), None) => panic!("{claims:?} in a token that is not good"),
    }
}

fn compare(claims: &Claims, expected: &tokens::Claims) {
    let near = |ms: u64, expected: f64| (ms as f64 - expected.min(u64::MAX as f64)).abs() <= 1.0 + expected / 1e15;
    match (claims.expires_ms, expected.expires) {
        (Some(ms), Some(expected)) => assert!(near(ms, expected), "{ms} instead of {expected}"),
        (found, expected) => assert_eq!((found, expected), (None, None)),
    }
    assert!(near(claims.not_before_ms, expected.not_before));
    assert_eq!(claims.subject.as_deref(), expected.subject.as_deref());
    assert_eq!(claims.status, expected.status);
    for (patterns, expected) in [(&claims.subscribe, &expected.subscribe), (&claims.publish, &expected.publish)] {
        assert!(patterns.iter().map(Pattern::to_string).eq(expected.iter().cloned()), "{patterns:?}, not {expected:?}");
    }
    for channel in expected.publish.iter().chain(&expected.subscribe).take(8) {
        let channel = channel.trim_end_matches('*');
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => channel.as_bytes().starts_with(prefix.as_bytes()),
            None => channel == pattern,
        };
        assert_eq!(claims.may_publish(channel), expected.publish.iter().any(fits));
        assert_eq!(claims.may_subscribe(channel), expected.subscribe.iter().any(fits));
    }
}

/// A token in which one byte is another.
fn changed(token: &str, input: &Input) -> String {
    let at = input.ends()[0] * 7 % token.len();
    let other = char::from(b"A.-_9=z "[usize::from(input.flags >> 5)]);
    token.char_indices().map(|(index, character)| if index == at { other } else { character }).collect()
}

/// Claims that mean something, whatever the bytes.
fn invented(input: &Input) -> Claims {
    let (times, names) = input.bytes.split_at(input.bytes.len().min(16));
    let time =
        |at: usize| times.get(at..at + 8).map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("eight")));
    let names = String::from_utf8_lossy(names);
    let patterns = || names.split('\n').filter_map(Pattern::parse).collect();
    Claims {
        expires_ms: (input.flags & 8 == 0).then(|| time(0) >> (time(0) % 64)),
        not_before_ms: time(8) >> (time(8) % 64),
        subject: names.split('\n').next().map(Into::into),
        subscribe: patterns(),
        publish: patterns(),
        status: input.flags & 16 == 0,
    }
}

/// Where a token may stand.
fn fields(text: &str) {
    let words = Vec::from_iter(text.splitn(2, ' '));
    let expected = match words[..] {
        [scheme, rest] if scheme.eq_ignore_ascii_case("bearer") => Some(rest.trim_matches(' ')),
        _ => None,
    };
    assert_eq!(bearer(text), expected);
    if let Some(value) = cookie(text, "redpoll_token") {
        assert!(
            text.contains(&format!("redpoll_token={value}")) || text.contains(&format!("redpoll_token=\"{value}\""))
        );
    }
    assert_eq!(Secret::new(text.as_bytes()).is_some(), text.len() >= 16);
}

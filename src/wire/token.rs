//! Tokens: who may do what, signed by whoever knows the secret. A JSON Web Token (RFC 7519) in its compact form
//! (RFC 7515 §7.1), with HMAC and SHA-256 (RFC 7518 §3.2) and nothing else.
//!
//! ```json
//! {"exp": 1735689600, "sub": "ann", "redpoll": {"subscribe": ["room-*"], "publish": ["room-1"], "status": true}}
//! ```
//!
//! In an application the consumer's `connect` looks at the token:
//!
//! ```
//! use redpoll::wire::token::{Secret, bearer, verify};
//! use redpoll::{Consumer, Context, Message, Status};
//!
//! struct Room { secret: Secret }
//!
//! impl Consumer for Room {
//!     fn connect(&mut self, cx: &mut Context) -> Result<(), Status> {
//!         let token = cx.request().and_then(|request| bearer(request.field("authorization")?)).unwrap_or("");
//!         let claims = verify(token, std::slice::from_ref(&self.secret), cx.now().unix_ms)?;
//!         if !claims.may_subscribe("room") {
//!             return Err(Status::new(403).detail("the token is for other rooms"));
//!         }
//!         cx.expire_at(claims.expires_ms);
//!         cx.subscribe("room");
//!         Ok(())
//!     }
//!     fn receive(&mut self, message: Message, cx: &mut Context) {
//!         cx.publish("room", message);
//!     }
//! }
//! ```
//!
//! A choice of algorithms is how such tokens were broken: one that says `none`, or has a public key taken for a secret
//! (RFC 8725 §2.1). Here the header only says what it must say.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::envelope::{push_formatted, push_string};
use super::form::check_channel_name;
use super::status::Status;
use super::syntax::excerpt;
use crate::config::TOKEN_HEADER_BYTES_MAX;

/// What signs tokens and checks them. What it was made of cannot be had back, nor is it shown.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// The shortest secret that is taken, in bytes: a shorter one is found by whoever has a token and some time.
pub const SECRET_BYTES_MIN: usize = 16;

/// What a secret should have at least, in bytes: as many as the hash (RFC 7518 §3.2).
pub const SECRET_BYTES_ADVISED: usize = 32;

impl Secret {
    /// A secret of any bytes, used as they are. `None` for fewer than [`SECRET_BYTES_MIN`].
    pub fn new(bytes: &[u8]) -> Option<Secret> {
        // A longer one is hashed by HMAC itself (RFC 2104 §3), so that any length will do.
        Hmac::new_from_slice(bytes).ok().filter(|_| bytes.len() >= SECRET_BYTES_MIN).map(Secret)
    }

    fn of(&self, signed: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(signed)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a token says. Claims that are not here mean nothing to Redpoll (RFC 7519 §4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `exp`: from this moment on it is good no more, in milliseconds since 1970. `None` never ends, which a token says
    /// by `"redpoll":{"forever":true}`.
    pub expires_ms: Option<u64>,
    /// `nbf`: before this moment it is not good yet, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// `sub`: whom it was made for.
    pub subject: Option<Box<str>>,
    /// The channels that its bearer may subscribe to.
    pub subscribe: Box<[Pattern]>,
    /// The channels that its bearer may publish to and clear.
    pub publish: Box<[Pattern]>,
    /// Whether its bearer may see the list of channels and the metrics.
    pub status: bool,
}

impl Claims {
    /// Whether the bearer may subscribe to a channel.
    pub fn may_subscribe(&self, channel: &str) -> bool {
        self.subscribe.iter().any(|pattern| pattern.fits(channel))
    }

    /// Whether the bearer may publish to a channel.
    pub fn may_publish(&self, channel: &str) -> bool {
        self.publish.iter().any(|pattern| pattern.fits(channel))
    }
}

/// Which channels: a name, or how names begin, with a `*` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern. `None` for what could fit no channel, such as a `*` that is not at the end.
    pub fn parse(text: &str) -> Option<Pattern> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let fits_some = text == "*" || check_channel_name(name).is_ok();
        fits_some.then(|| Pattern(text.into()))
    }

    /// Whether a channel is one of them.
    pub fn fits(&self, channel: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => *self.0 == *channel,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a token.
pub fn mint(claims: &Claims, secret: &Secret) -> String {
    let (header, claims) = (URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(encode(claims)));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(secret.of(&signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// The claims as JSON.
fn encode(claims: &Claims) -> Vec<u8> {
    let mut json = vec![b'{'];
    if let Some(expires_ms) = claims.expires_ms {
        push_formatted(&mut json, format_args!(r#""exp":{},"#, expires_ms / 1000));
    }
    if claims.not_before_ms > 0 {
        push_formatted(&mut json, format_args!(r#""nbf":{},"#, claims.not_before_ms / 1000));
    }
    if let Some(subject) = &claims.subject {
        json.extend_from_slice(br#""sub":"#);
        push_string(&mut json, subject);
        json.push(b',');
    }
    let list = |patterns: &[Pattern]| patterns.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(",");
    let (subscribe, publish) = (list(&claims.subscribe), list(&claims.publish));
    push_formatted(&mut json, format_args!(r#""redpoll":{{"subscribe":[{subscribe}],"publish":[{publish}]"#));
    for (name, is_set) in [("status", claims.status), ("forever", claims.expires_ms.is_none())] {
        if is_set {
            push_formatted(&mut json, format_args!(r#","{name}":true"#));
        }
    }
    json.extend_from_slice(b"}}");
    json
}

/// Checks a token, and says what it says. One of the secrets must have signed it: of several, one can be on its way
/// out. `unix_ms` is the present, in milliseconds since 1970.
///
/// # Errors
/// 401 that says what is wrong with it.
pub fn verify(token: &str, secrets: &[Secret], unix_ms: u64) -> Result<Claims, Status> {
    let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or_else(malformed)?;
    if header.len() > TOKEN_HEADER_BYTES_MAX {
        return Err(refused(format!("the token's header is longer than {TOKEN_HEADER_BYTES_MAX} bytes")));
    }
    check_header(&object(header)?)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
    // `verify_slice` takes the same time wherever the first difference is.
    if !secrets.iter().any(|secret| secret.of(signed).verify_slice(&signature).is_ok()) {
        return Err(refused("the token's signature is wrong: it was made with another secret, or changed"));
    }
    let claims = read_claims(&object(claims)?)?;
    if let Some(expires_ms) = claims.expires_ms.filter(|expires_ms| *expires_ms <= unix_ms) {
        return Err(refused(format!("the token expired {} s ago", (unix_ms - expires_ms) / 1000)));
    }
    if claims.not_before_ms > unix_ms {
        let wait_s = (claims.not_before_ms - unix_ms).div_ceil(1000);
        return Err(refused(format!("the token is good only from its nbf on, which is in {wait_s} s")));
    }
    Ok(claims)
}

/// The token in the value of `Authorization`, if that has one (RFC 6750 §2.1).
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// The value of one of the cookies in a field `Cookie` (RFC 6265 §4.2.1).
pub fn cookie<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = field.split(';').filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(known, _)| *known == name)?.1;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// RFC 8725 §3.1: the algorithm is ours to choose. RFC 7515 §4.1.11: who does not know what is critical refuses.
fn check_header(header: &Map<String, Value>) -> Result<(), Status> {
    match header.get("alg").and_then(Value::as_str) {
        Some("HS256") if header.contains_key("crit") => Err(refused("the token's crit is not understood")),
        Some("HS256") => Ok(()),
        Some(other) => Err(refused(format!("the token's alg is {:?}: accepted is HS256", excerpt(other)))),
        None => Err(refused("the token has no alg: accepted is HS256")),
    }
}

fn read_claims(claims: &Map<String, Value>) -> Result<Claims, Status> {
    let nothing = Map::new();
    let own = match claims.get("redpoll") {
        None => &nothing,
        Some(own) => own.as_object().ok_or_else(|| refused("the token's redpoll is no object"))?,
    };
    let expires_ms = date(claims, "exp")?;
    if expires_ms.is_none() && !flag(own, "forever")? {
        return Err(refused("the token has no exp, which says when it expires (RFC 7519 §4.1.4)"));
    }
    let subject = match claims.get("sub") {
        None => None,
        Some(Value::String(subject)) => Some(subject.as_str().into()),
        Some(_) => return Err(refused("the token's sub is no string")),
    };
    Ok(Claims {
        expires_ms,
        not_before_ms: date(claims, "nbf")?.unwrap_or(0),
        subject,
        subscribe: patterns(own, "subscribe")?,
        publish: patterns(own, "publish")?,
        status: flag(own, "status")?,
    })
}

/// RFC 7519 §2: a `NumericDate` is in seconds since 1970, and need not be whole.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Status> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_u64().map(|seconds| seconds.saturating_mul(1000));
    // A float becomes the nearest integer that there is: 0 for what was before 1970.
    let ms = whole.or_else(|| value.as_f64().map(|seconds| (seconds * 1000.0) as u64));
    ms.map(Some).ok_or_else(|| refused(format!("the token's {name} is no number of seconds since 1970")))
}

fn flag(own: &Map<String, Value>, name: &str) -> Result<bool, Status> {
    let value = own.get(name).map_or(Some(false), Value::as_bool);
    value.ok_or_else(|| refused(format!("the token's redpoll.{name} is neither true nor false")))
}

fn patterns(own: &Map<String, Value>, name: &str) -> Result<Box<[Pattern]>, Status> {
    let Some(value) = own.get(name) else { return Ok(Box::default()) };
    let all = value.as_array().and_then(|all| all.iter().map(|one| Pattern::parse(one.as_str()?)).collect());
    all.ok_or_else(|| {
        refused(format!("the token's redpoll.{name} is no list of channels: each is a name, or a prefix and a *"))
    })
}

fn object(part: &str) -> Result<Map<String, Value>, Status> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed())?;
    match std::str::from_utf8(&json).map(serde_json::from_str) {
        Ok(Ok(Value::Object(object))) => Ok(object),
        _ => Err(malformed()),
    }
}

fn malformed() -> Status {
    refused("malformed token: it is a header, claims and a signature in Base64url, joined by dots (RFC 7515 §7.1)")
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Status {
    // RFC 6750 §3.1
    Status::new(401).detail(detail).challenge("Bearer error=\"invalid_token\"")
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// RFC 7515 §A.1.1.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const EXPIRES_MS: u64 = 1_300_819_380_000;
    const NOW_MS: u64 = 1_300_000_000_000;

    fn key() -> Secret {
        Secret::new(&URL_SAFE_NO_PAD.decode(KEY).unwrap()).unwrap()
    }

    fn other() -> Secret {
        Secret::new(&[7; 32]).unwrap()
    }

    /// A token with this header and these claims, signed as it should be.
    fn signed(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key().of(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// What is wrong with it, which is a 401 with a challenge.
    fn refusal(token: &str) -> String {
        let status = verify(token, &[key()], NOW_MS).unwrap_err();
        assert_eq!((status.code(), status.authenticate()), (401, "Bearer error=\"invalid_token\""));
        status.explanation().to_owned()
    }

    #[test]
    fn the_example_of_rfc_7515_is_good_until_it_expires() {
        let claims = verify(TOKEN, &[key()], NOW_MS).unwrap();
        assert_eq!(claims, Claims { expires_ms: Some(EXPIRES_MS), ..Claims::default() });
        assert!(verify(TOKEN, &[key()], EXPIRES_MS - 1).is_ok());
        let late = verify(TOKEN, &[key()], EXPIRES_MS + 5_000).unwrap_err();
        assert_eq!(late.to_string(), "401 the token expired 5 s ago");
        assert!(verify(TOKEN, &[key()], EXPIRES_MS).is_err(), "on or after exp (RFC 7519 §4.1.4)");
    }

    #[test]
    fn a_changed_token_is_refused_wherever_it_was_changed() {
        for index in 0..TOKEN.len() {
            let mut bytes = TOKEN.as_bytes().to_vec();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            assert!(verify(std::str::from_utf8(&bytes).unwrap(), &[key()], NOW_MS).is_err(), "byte {index}");
        }
        for length in 0..TOKEN.len() {
            assert!(verify(&TOKEN[..length], &[key()], NOW_MS).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn any_of_the_secrets_will_do_and_no_other() {
        assert!(verify(TOKEN, &[other(), key()], NOW_MS).is_ok());
        assert!(verify(TOKEN, &[key(), other()], NOW_MS).is_ok());
        for secrets in [vec![], vec![other()]] {
            let refused = verify(TOKEN, &secrets, NOW_MS).unwrap_err();
            assert!(refused.explanation().contains("another secret"), "{refused}");
        }
    }

    #[test]
    fn an_algorithm_other_than_hs256_is_refused_also_with_a_good_signature() {
        let claims = r#"{"exp":1300819380}"#;
        for alg in ["none", "None", "", "hs256", "HS384", "HS512", "RS256", "ES256"] {
            let refused = refusal(&signed(&format!(r#"{{"alg":"{alg}"}}"#), claims));
            assert!(refused.contains(&format!("{alg:?}: accepted is HS256")), "{refused}");
        }
        let unsecured = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims));
        assert!(refusal(&unsecured).contains("accepted is HS256"), "RFC 7519 §6.1");
        assert!(refusal(&signed(r#"{"typ":"JWT"}"#, claims)).contains("no alg"));
        assert!(refusal(&signed(r#"{"alg":256}"#, claims)).contains("no alg"));
        assert!(refusal(&signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, claims)).contains("crit"));
    }

    #[test]
    fn a_header_is_bounded() {
        let with_kid = |bytes: usize| signed(&format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(bytes - 24)), "{}");
        assert!(refusal(&with_kid(768)).contains("no exp"), "it has been read");
        assert!(refusal(&with_kid(769)).contains("longer than 1024 bytes"));
    }

    #[test]
    fn each_refusal_says_what_is_wrong() {
        for (claims, words) in [
            ("{}", "no exp"),
            (r#"{"exp":null}"#, "exp is no number"),
            (r#"{"exp":"1300819380"}"#, "exp is no number"),
            (r#"{"exp":1299999999}"#, "expired 1 s ago"),
            (r#"{"exp":1299999999.5}"#, "expired 0 s ago"),
            (r#"{"exp":-1}"#, "expired 1300000000 s ago"),
            (r#"{"exp":1300819380,"nbf":1300000060}"#, "in 60 s"),
            (r#"{"exp":1300819380,"nbf":1300000000.001}"#, "in 1 s"),
            (r#"{"exp":1300819380,"nbf":"x"}"#, "nbf is no number"),
            (r#"{"exp":1300819380,"sub":7}"#, "sub is no string"),
            (r#"{"exp":1300819380,"redpoll":[]}"#, "redpoll is no object"),
            (r#"{"exp":1300819380,"redpoll":{"subscribe":"a"}}"#, "redpoll.subscribe is no list"),
            (r#"{"exp":1300819380,"redpoll":{"subscribe":[1]}}"#, "redpoll.subscribe is no list"),
            (r#"{"exp":1300819380,"redpoll":{"publish":["a*b"]}}"#, "redpoll.publish is no list"),
            (r#"{"exp":1300819380,"redpoll":{"publish":["a","a,b"]}}"#, "redpoll.publish is no list"),
            (r#"{"exp":1300819380,"redpoll":{"status":1}}"#, "redpoll.status is neither"),
            (r#"{"redpoll":{"forever":"yes"}}"#, "redpoll.forever is neither"),
            (r#"{"redpoll":{"forever":false}}"#, "no exp"),
            (r#"{"exp":1,"redpoll":{"forever":true}}"#, "expired"),
            ("[]", "malformed"),
            ("", "malformed"),
            ("{\"exp\":1300819380}x", "malformed"),
        ] {
            let refused = refusal(&signed(HEADER, claims));
            assert!(refused.contains(words), "{claims}: {refused}");
        }
        for token in
            ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "é.é.é", " ", &format!("{TOKEN}="), &format!("{TOKEN}.")]
        {
            assert!(refusal(token).contains("malformed"), "{token}");
        }
    }

    #[test]
    fn what_is_minted_is_read_back() {
        let pattern = |text| Pattern::parse(text).unwrap();
        let claims = Claims {
            expires_ms: Some(EXPIRES_MS),
            not_before_ms: NOW_MS,
            subject: Some("ann \"é\"".into()),
            subscribe: [pattern("room-*"), pattern("lobby")].into(),
            publish: [pattern("*")].into(),
            status: true,
        };
        let forever = Claims { subscribe: [pattern("a")].into(), ..Claims::default() };
        for claims in [claims, forever] {
            assert_eq!(verify(&mint(&claims, &key()), &[key()], NOW_MS), Ok(claims));
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        for (text, fit, others) in [
            ("room-1", vec!["room-1"], vec!["room-11", "room-", "Room-1", ""]),
            ("room-*", vec!["room-", "room-1", "room-1-2"], vec!["room", "aroom-1", "ROOM-1"]),
            ("*", vec!["a", "room-1"], vec![]),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert!(fit.iter().all(|name| pattern.fits(name)), "{text}");
            assert!(!others.iter().any(|name| pattern.fits(name)), "{text}");
        }
        for text in ["", "**", "a*b", "*a", "a**", "a b", "a,b", "a/b", "é"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_found_where_requests_carry_one() {
        for (field, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Basic YTpi", None),
            ("Bearerabc", None),
            ("", None),
        ] {
            assert_eq!(bearer(field), token, "{field:?}");
        }
        for (field, value) in [
            ("redpoll_token=abc", Some("abc")),
            ("a=b; redpoll_token=\"abc\"; redpoll_token=later", Some("abc")),
            ("a=redpoll_token;redpoll_token=a=b", Some("a=b")),
            ("my_redpoll_token=abc; Redpoll_Token=abc", None),
            ("redpoll_token", None),
            ("", None),
        ] {
            assert_eq!(cookie(field, "redpoll_token"), value, "{field:?}");
        }
    }

    #[test]
    fn a_secret_has_a_length_and_is_not_shown() {
        assert!(Secret::new(&[0; SECRET_BYTES_MIN]).is_some() && Secret::new(&[0; 4096]).is_some());
        assert!(Secret::new(&[0; SECRET_BYTES_MIN - 1]).is_none());
        assert_eq!(format!("{:?}", key()), "Secret");
    }
}

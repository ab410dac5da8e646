//! JSON Web Tokens (RFC 7519) with HS256 and the claims of Redpoll.

use crate::json::{self, Value};
use crate::{base64, forms, hmac};

/// What a token says.
#[derive(Debug, PartialEq)]
pub struct Claims {
    /// In milliseconds; so is the next.
    pub expires: Option<f64>,
    pub not_before: f64,
    pub subject: Option<String>,
    pub subscribe: Vec<String>,
    pub publish: Vec<String>,
    pub status: bool,
}

/// What is read of a token before its signature is checked is bounded.
const HEADER_BYTES_MAX: usize = 1024;

/// The three parts, signed.
pub fn sign(header: &str, claims: &str, secret: &[u8]) -> String {
    let encode = |part: &[u8]| base64::encode(part, base64::URL_SAFE);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = encode(&hmac::hmac(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// What a token says that one of the secrets has signed, whenever that is good.
pub fn read(token: &str, secrets: &[&[u8]]) -> Option<Claims> {
    let parts = Vec::from_iter(token.split('.'));
    let [header, claims, signature] = parts[..] else { return None };
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let signed = &token.as_bytes()[..header.len() + 1 + claims.len()];
    let signature = base64::decode(signature, base64::URL_SAFE)?;
    if !secrets.iter().any(|secret| hmac::hmac(secret, signed)[..] == signature) {
        return None;
    }
    let header = object(header)?;
    if header.member("alg")?.string()? != "HS256" || header.member("crit").is_some() {
        return None;
    }
    read_claims(&object(claims)?)
}

fn object(part: &str) -> Option<Value> {
    let text = String::from_utf8(base64::decode(part, base64::URL_SAFE)?).ok()?;
    json::parse(&text).filter(|value| value.members().is_some())
}

fn read_claims(claims: &Value) -> Option<Claims> {
    let nothing = Value::Object(Vec::new());
    let own = claims.member("redpoll").unwrap_or(&nothing);
    own.members()?;
    let expires = date(claims.member("exp"))?;
    if !flag(own.member("forever"))? && expires.is_none() {
        return None;
    }
    Some(Claims {
        expires,
        not_before: date(claims.member("nbf"))?.unwrap_or(0.0),
        subject: claims
            .member("sub")
            .map_or(Some(None), |subject| subject.string().map(|text| Some(text.to_owned())))?,
        subscribe: patterns(own.member("subscribe"))?,
        publish: patterns(own.member("publish"))?,
        status: flag(own.member("status"))?,
    })
}

/// §2: seconds.
fn date(value: Option<&Value>) -> Option<Option<f64>> {
    match value {
        None => Some(None),
        Some(Value::Number(_, seconds)) => Some(Some((seconds * 1000.0).max(0.0))),
        Some(_) => None,
    }
}

fn flag(value: Option<&Value>) -> Option<bool> {
    match value {
        None | Some(Value::Word("false")) => Some(false),
        Some(Value::Word("true")) => Some(true),
        Some(_) => None,
    }
}

fn patterns(value: Option<&Value>) -> Option<Vec<String>> {
    let values = match value {
        None => return Some(Vec::new()),
        Some(Value::Array(values)) => values,
        Some(_) => return None,
    };
    let fits = |text: &&str| *text == "*" || forms::is_channel(text.strip_suffix('*').unwrap_or(text));
    values.iter().map(|value| value.string().filter(fits).map(str::to_owned)).collect()
}

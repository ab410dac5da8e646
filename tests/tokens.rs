//! Tokens: what they let in, what they keep out, and that they end.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::collection::vec;
use proptest::prelude::*;
use redpoll::wire::token::{Secret, bearer, cookie, verify};
use sha2::Sha256;

const SECRET: &[u8] = b"a secret of 32 bytes, no fewer..";

fn secret() -> Secret {
    Secret::new(SECRET).expect("it is long enough")
}

/// A token with this header and these claims, signed by another hand than the library's.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).expect("any length will do").chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// JSON that is nearly a token's claims, and other JSON.
fn claims() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<f64>()
            .prop_filter("JSON has no other", |number| number.is_finite())
            .prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "[a-z*,é ]{0,8}".prop_map(|text| format!("{text:?}")),
        "[a-z*]{0,4}".prop_map(|text| format!("[{text:?}]")),
        Just(r#"{"forever":true,"subscribe":["a"]}"#.to_owned()),
    ];
    let key = prop_oneof![Just("exp"), Just("nbf"), Just("sub"), Just("redpoll"), Just("x")];
    vec((key, value), 0..5).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    // What fails is shown, and belongs into a test of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_of_a_client_are_taken_for_a_token_and_none_panic(
        bytes in vec(any::<u8>(), 0..200), at in any::<u64>(),
    ) {
        let text = String::from_utf8_lossy(&bytes);
        for token in [text.as_ref(), bearer(&text).unwrap_or(""), cookie(&text, "a").unwrap_or("")] {
            prop_assert_eq!(verify(token, &[secret()], at).map_err(|status| status.code()), Err(401));
        }
    }

    #[test]
    fn nor_do_dotted_ones(
        header in "[A-Za-z0-9_=-]{0,30}", claims in "[A-Za-z0-9_=-]{0,30}", rest in "[A-Za-z0-9_.-]{0,50}",
    ) {
        let token = format!("{header}.{claims}.{rest}");
        prop_assert_eq!(verify(&token, &[secret()], 0).map_err(|status| status.code()), Err(401));
    }

    #[test]
    fn what_is_signed_is_good_or_refused_but_never_panics(
        header in vec(any::<u8>(), 0..40), garbage in vec(any::<u8>(), 0..60), claims in claims(), at in any::<u64>(),
    ) {
        prop_assert!(verify(&signed(&header, claims.as_bytes()), &[secret()], at).is_err());
        let header = br#"{"alg":"HS256"}"#;
        prop_assert!(verify(&signed(header, &garbage), &[secret()], at).is_err());
        match verify(&signed(header, claims.as_bytes()), &[secret()], at) {
            Ok(claims) => prop_assert!(claims.not_before_ms <= at && claims.expires_ms.is_none_or(|end| end > at)),
            Err(refused) => prop_assert_eq!(refused.code(), 401),
        }
    }
}

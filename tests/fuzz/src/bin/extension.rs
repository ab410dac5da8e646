//! Offers of extensions, one field a line: they are read and answered as the model does, however they are written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::extension::negotiate;
use redpoll_fuzz::extensions::{self, Agreement, Malformed};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let agreed = check(text.split('\n'));
    let Some(lists) = text.split('\n').map(extensions::parse).collect::<Option<Vec<_>>>() else { return };
    let offers = lists.concat();
    for quoted in [false, true] {
        let written = Vec::from_iter(offers.iter().map(|offer| extensions::encode(offer, quoted)));
        let again = extensions::parse(&written.join(",")).expect("what was written can be read");
        assert_eq!(again, offers);
        assert_eq!(check(written.iter().map(String::as_str)), agreed, "one field for each offer");
        assert_eq!(check([written.join(" ,\t").as_str()].into_iter()), agreed, "one field for all offers");
    }
});

/// Negotiates, and asserts that the model agrees and that the answer is one that the client may accept.
fn check<'a>(fields: impl Iterator<Item = &'a str> + Clone) -> Option<Agreement> {
    let expected = extensions::negotiate(fields.clone());
    let agreed = match negotiate(fields) {
        Ok(agreed) => agreed,
        Err(status) => {
            assert_eq!((status.code(), expected), (400, Err(Malformed)));
            return None;
        }
    };
    let expected = expected.expect("it is a list of extensions");
    assert_eq!(agreed.map(|agreement| agreement.window.bits()), expected.map(|agreement| agreement.window_bits));
    if let (Some(agreed), Some(expected)) = (agreed, expected) {
        extensions::assert_fits(&agreed.to_string(), &expected);
    }
    expected
}

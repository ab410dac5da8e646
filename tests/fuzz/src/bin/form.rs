//! Queries, forms and the names in URLs: they are decoded, or refused, as by the model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::wire::form::{
    channel_names, check_channel_name, check_event_name, check_member_name, decode_path_segment, parameter, parameters,
};
use redpoll_fuzz::forms;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let expected = forms::parameters(&text);
    let found = Vec::from_iter(parameters(&text).map(|(name, value)| (name.into_owned(), value.into_owned())));
    assert_eq!(found, expected);
    for (name, _) in expected.iter().take(8) {
        let first = expected.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(parameter(&text, name).as_deref(), first);
    }
    for segment in text.split('/') {
        assert_eq!(decode_path_segment(segment).ok().map(|text| text.into_owned()), forms::segment(segment));
        assert_eq!(channel_names(segment).ok(), forms::channels(segment));
        assert_eq!(check_channel_name(segment).is_ok(), forms::is_channel(segment));
        assert_eq!(check_member_name(segment).is_ok(), forms::is_member(segment));
        assert_eq!(check_event_name(segment).is_ok(), forms::is_event(segment));
    }
});

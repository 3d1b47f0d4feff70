//! The text of a filter, and a record of attributes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_index::Predicate;
use ocelli_index::attributes::record;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(fields) = record::decode(bytes) {
        assert_eq!(record::encode(&fields).expect("a record"), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(predicate) = text.parse::<Predicate>() {
        let again = predicate.to_string();
        let read: Predicate = again.parse().expect("what it displays");
        assert_eq!(read.to_string(), again);
    }
});

//! PyTorch's legacy files from the pickle of the objects on: what stands before it is the same in
//! all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_weights::convert::{ConvertOptions, convert};

/// Magic number, protocol, and the system, of which nothing is said.
const HEAD: &[u8] =
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

fuzz_target!(|bytes: &[u8]| {
    let file = [HEAD, bytes].concat();
    let Ok(converted) = convert(&file, &ConvertOptions::default()) else { return };
    assert!(!converted.tensors.is_empty());
    for (name, array) in &converted.tensors {
        assert!(array.is_float(), "{name}");
        let values = array.to_f64().expect("floating-point numbers");
        assert_eq!(values.len(), array.shape.iter().product::<usize>(), "{name}");
        // Nothing but a whitening is computed, and that from arrays in the file.
        assert!(array.bytes.len() <= 2 * file.len(), "{name}");
    }
});

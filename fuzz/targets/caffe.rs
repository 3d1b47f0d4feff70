//! Caffe's models, and whatever else is told apart by its first bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_weights::convert::{ConvertOptions, convert};

fuzz_target!(|bytes: &[u8]| {
    let Ok(converted) = convert(bytes, &ConvertOptions::default()) else { return };
    for (name, array) in &converted.tensors {
        let values = array.to_f64().expect("floating-point numbers");
        assert_eq!(values.len(), array.shape.iter().product::<usize>(), "{name}");
        assert!(array.bytes.len() <= 2 * bytes.len(), "{name}");
    }
});

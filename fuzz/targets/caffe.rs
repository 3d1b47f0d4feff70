//! Caffe's models, and whatever else is told apart by its first bytes. The converter's own source.

#![no_main]
#![allow(dead_code, reason = "the reader is used, not everything around it")]

#[path = "../../encoder/src/convert/mod.rs"]
mod convert;

use convert::{ConvertOptions, convert};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(converted) = convert(bytes, &ConvertOptions::default()) else { return };
    for (name, array) in &converted.tensors {
        let values = array.to_f64().expect("floating-point numbers");
        assert_eq!(values.len(), array.shape.iter().product::<usize>(), "{name}");
        assert!(array.bytes.len() <= 2 * bytes.len(), "{name}");
    }
});

//! Text of a descriptor spec. What parses has one canonical text, and that is its own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_index::DescriptorSpec;

fuzz_target!(|text: &str| {
    let Ok(spec) = DescriptorSpec::parse(text) else { return };
    let canonical = spec.canonical();
    let again = DescriptorSpec::parse(&canonical).expect("a canonical text parses");
    assert_eq!(again, spec);
    assert_eq!(again.canonical(), canonical);
    assert_eq!(again.hash(), spec.hash());
    assert!(spec.dim() > 0);
    assert!(spec.differences(&again).is_empty());
    DescriptorSpec::same_or_err("itself", &spec, &again).expect("equal specs");
});

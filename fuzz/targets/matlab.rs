//! Files of MATLAB of level 5: every array, with everything in it and as numbers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::file;
use ocelli_index::foreign::matlab::{MatClass, MatFile};

fuzz_target!(|bytes: &[u8]| {
    let path = file("a.mat", bytes);
    let Ok(matlab) = MatFile::open(&path) else { return };
    for variable in matlab.variables().iter().take(50) {
        let elements = variable.dims.iter().try_fold(1usize, |len, &side| len.checked_mul(side));
        if let Ok(array) = matlab.read(&variable.name) {
            assert!(array.texts().is_none_or(|texts| texts.len() <= 1 << 24));
        }
        if let Ok(numbers) = matlab.read_f32(&variable.name)
            && variable.class == MatClass::Numbers
            && matlab.variables().iter().filter(|other| other.name == variable.name).count() == 1
        {
            assert_eq!(Some(numbers.len()), elements);
        }
    }
});

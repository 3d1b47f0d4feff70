//! HDF5 files: every data set, as numbers and as text.

#![no_main]

use std::panic;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::file;
use ocelli_index::foreign::hdf5::Hdf5File;

/// The reader turns panics of the crates below into errors, so only panics of our own code count.
fn excuse_the_hdf5_crates() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = |file: &str| file.contains("foreign/hdf5.rs") || file.contains("targets/");
            if info.location().is_none_or(|at| ours(at.file())) {
                abort(info);
            }
        }));
    });
}

fuzz_target!(|bytes: &[u8]| {
    excuse_the_hdf5_crates();
    let path = file("a.h5", bytes);
    let Ok(hdf5) = Hdf5File::open(&path) else { return };
    for set in hdf5.sets().iter().take(50) {
        if let Ok(numbers) = hdf5.read_f32(&set.name) {
            assert_eq!(numbers.len() as u64, set.shape.iter().product::<u64>());
        }
        let _ = hdf5.read_texts(&set.name);
    }
});

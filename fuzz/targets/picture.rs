//! Image files of every format, told apart by their first bytes.

#![no_main]

use std::panic;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use ocelli_pictures::decode;

/// Most pixels of an image that is decoded here.
const MAX_PIXELS: u64 = 1 << 18;

/// Panics of the decoders that are other people's are errors to `decode`, so only panics of our own
/// code count.
fn excuse_the_decoders() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = |file: &str| file.contains("pictures/src") || file.contains("targets/");
            if info.location().is_none_or(|at| ours(at.file())) {
                abort(info);
            }
        }));
    });
}

fuzz_target!(|bytes: &[u8]| {
    excuse_the_decoders();
    let Ok(decoded) = decode(bytes, MAX_PIXELS) else { return };
    let (width, height) = decoded.pixels.dimensions();
    assert!(width > 0 && height > 0);
    assert!(u64::from(width) * u64::from(height) <= MAX_PIXELS);
});

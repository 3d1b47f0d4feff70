//! Sections of a whitening, which is then applied.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{chunks, folder, write_container};
use ocelli_index::Whitening;
use ocelli_index::container::FileKind;

fuzz_target!(|bytes: &[u8]| {
    let path = folder().join("a.whitening");
    write_container(&path, FileKind::Whitening, &chunks(bytes));
    let Ok(whitening) = Whitening::open(&path) else { return };
    let y = whitening.apply(&vec![0.5; whitening.dim_in()]).expect("a vector that fits");
    assert_eq!(y.len(), whitening.dim_out());
    assert!(whitening.apply(&vec![0.5; whitening.dim_in() + 1]).is_err());
    let again = folder().join("b.whitening");
    assert_eq!(whitening.write(&again).expect("written"), whitening.hash());
    assert_eq!(Whitening::open(&again).expect("a good file"), whitening);
});

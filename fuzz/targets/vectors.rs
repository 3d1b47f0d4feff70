//! Files of vectors: fvecs, bvecs, npy, fbin, u8bin. The first byte chooses the format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::file;
use ocelli_index::{Checks, VectorFile, VectorFormat};

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let names = VectorFormat::NAMES;
    let path = file(&format!("a.{}", names[usize::from(which) % names.len()]), bytes);
    let Ok(vectors) = VectorFile::open(&path) else { return };
    let (rows, dim) = (vectors.rows(), vectors.dim());
    assert!(dim > 0);
    let vectors = vectors.with_checks(Checks { zero_norm: which >= 128 });
    if let Ok(x) = vectors.read(0..rows) {
        assert_eq!(x.len(), rows * dim);
        assert!(x.iter().all(|x| x.is_finite()));
    }
    for row in 0..rows.min(50) {
        if let Ok(x) = vectors.read(row..row + 1) {
            assert_eq!(x.len(), dim);
        }
    }
    assert!(vectors.read(rows..rows + 1).is_err() && vectors.read(0..usize::MAX).is_err());
});

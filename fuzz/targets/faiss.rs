//! FAISS's files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_indexer::import::faiss::{IvfPq, code_bytes};

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = IvfPq::parse(bytes, bytes.len() as u64, &|_| ()) else { return };
    assert_eq!(index.lists.len(), index.nlist);
    assert_eq!(index.coarse.len(), index.nlist * index.d);
    assert_eq!(index.codebooks.len(), index.ksub * index.d);
    let code_bytes = code_bytes(index.m, index.ksub);
    assert!(index.lists.iter().all(|list| list.codes.len() == list.ids.len() * code_bytes));
    if let Ok(transform) = index.transform() {
        assert!(transform.mean.is_none_or(|mean| mean.len() == index.dim));
        match transform.rotation {
            Some(rotation) => assert_eq!(rotation.len(), index.d * index.dim),
            None => assert_eq!(index.d, index.dim),
        }
    }
});

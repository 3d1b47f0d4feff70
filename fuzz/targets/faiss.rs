//! FAISS's files. The importer's own source, compiled here, since the crate that it lives in links
//! FAISS.

#![no_main]
#![allow(dead_code, reason = "the parser is used, not everything around it")]

#[path = "../../indexer/src/import/cursor.rs"]
mod cursor;
#[path = "../../indexer/src/import/fast_scan.rs"]
mod fast_scan;
#[path = "../../indexer/src/import/faiss_file.rs"]
mod faiss_file;
#[path = "../../indexer/src/import/transform.rs"]
mod transform;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut cursor = cursor::Cursor::new(bytes, bytes.len() as u64);
    let Ok(index) = faiss_file::read(&mut cursor, &|_| ()) else { return };
    assert_eq!(index.lists.len(), index.nlist);
    assert_eq!(index.coarse.len(), index.nlist * index.d);
    assert_eq!(index.codebooks.len(), index.ksub * index.d);
    let code_bytes = faiss_file::code_bytes(index.m, index.ksub);
    assert!(index.lists.iter().all(|list| list.codes.len() == list.ids.len() * code_bytes));
    if let Ok(transform) = transform::compose(&index.stages, index.dim, index.metric) {
        assert!(transform.mean.is_none_or(|mean| mean.len() == index.dim));
        match transform.rotation {
            Some(rotation) => assert_eq!(rotation.len(), index.d * index.dim),
            None => assert_eq!(index.d, index.dim),
        }
    }
});

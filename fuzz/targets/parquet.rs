//! Columns of vectors in Parquet files.
//!
//! The first byte chooses the columns that are asked for.

#![no_main]

use std::panic;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::file;
use ocelli_index::Checks;
use ocelli_indexer::import::{ParquetColumns, ParquetFile};

/// The reader turns panics of the `parquet` crate into errors, so only panics of our own code
/// count.
fn excuse_the_parquet_crate() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = |file: &str| file.contains("parquet_file.rs") || file.contains("targets/");
            if info.location().is_none_or(|at| ours(at.file())) {
                abort(info);
            }
        }));
    });
}

fuzz_target!(|bytes: &[u8]| {
    excuse_the_parquet_crate();
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let path = file("a.parquet", bytes);
    let name = |bit: u8, name: &str| (which & bit != 0).then(|| name.to_owned());
    let columns =
        ParquetColumns { vectors: name(1, "emb"), ids: name(2, "id"), keys: name(4, "key") };
    let checks = Checks { zero_norm: which & 8 != 0 };
    let Ok(parquet) = ParquetFile::open(&path, &columns, checks) else { return };
    let dim = parquet.dim();
    let mut rows = 0;
    let all = parquet.for_each(7, |block| {
        assert_eq!(block.first, rows);
        let n = block.n;
        assert!(block.x.len() == n * dim && block.x.iter().all(|x| x.is_finite()));
        assert!(block.ids.is_none_or(|ids| ids.len() == n));
        assert!(block.keys.is_none_or(|keys| keys.len() == n));
        assert!(block.bad.iter().all(|bad| (rows..rows + n).contains(&bad.row)));
        assert!(dim > 0 || block.bad.len() == n);
        rows += n;
        Ok(())
    });
    assert!(all.is_err() || rows == parquet.rows());
});

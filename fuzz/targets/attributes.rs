//! A section of attributes with any number of rows.
//!
//! The first two bytes are the rows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{folder, write_container};
use ocelli_index::Predicate;
use ocelli_index::attributes::{Columns, record};
use ocelli_index::container::{FileKind, Reader, SectionKind};

fuzz_target!(|bytes: &[u8]| {
    let Some((&rows, bytes)) = bytes.split_first_chunk() else { return };
    let rows = u32::from(u16::from_le_bytes(rows));
    let path = folder().join("a.attributes");
    write_container(&path, FileKind::Shard, &[(SectionKind::Attributes, bytes.to_vec())]);
    let reader = Reader::open(&path, FileKind::Shard).expect("a good container");
    let Ok(Some(columns)) = Columns::open(&reader, rows) else { return };
    let sound = columns.verify(&reader).is_ok();
    for slot in 0..rows.min(400) {
        let found = columns.record(&reader, slot);
        assert!(found.is_ok() || !sound);
        if let Ok(found) = found {
            record::decode(&found).expect("a record");
        }
    }
    assert!(columns.record(&reader, rows).is_err());
    for column in columns.schema().columns() {
        let text = format!("{0} is null or {0} = \"a\" or {0} > 1 or {0}", column.name);
        let tests = text.split(" or ").map(|test| test.parse::<Predicate>().expect("a test"));
        for predicate in tests {
            if let Ok(bound) = predicate.bind(columns.schema()) {
                let found = bound.slots(&reader, &columns);
                assert!(found.is_ok() || !sound);
            }
        }
    }
});

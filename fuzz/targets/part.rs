//! Sections of a part: opened, proven, and read row by row.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{chunks, folder, write_container};
use ocelli_index::Part;
use ocelli_index::container::FileKind;

fuzz_target!(|bytes: &[u8]| {
    let path = folder().join("a.part");
    write_container(&path, FileKind::Part, &chunks(bytes));
    let Ok(part) = Part::open(&path) else { return };
    let good = part.verify().is_ok();
    for image in 0..part.images().min(300) {
        let rows = part.rows_of(image);
        assert!(rows.start <= rows.end && rows.end <= part.rows());
        let read = part.read(rows.clone());
        assert!(read.is_ok() || !good);
        if let Ok(x) = read {
            assert_eq!(x.len(), rows.len() * part.dim());
        }
        assert!(part.key(image).is_ok() || !good);
        assert!(part.id(image).is_ok());
    }
    assert_eq!(part.rows_of(part.images()), 0..0);
    assert_eq!(part.rows_of(usize::MAX), 0..0);
    assert!(part.key(part.images()).is_err() && part.read(0..part.rows() + 1).is_err());
});

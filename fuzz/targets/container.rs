//! Raw bytes of a container, with checksums that fit them or as they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{file, seal};
use ocelli_index::container::Reader;
use ocelli_index::inspect;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    // Most are sealed; the others show what an unsealed file can reach.
    let sealed = how % 8 != 0;
    if sealed {
        seal(&mut bytes);
    }
    let path = file("a.container", &bytes);
    if let Ok(reader) = Reader::open_any(&path) {
        for section in reader.sections() {
            if let Ok(content) = reader.read(section, 0, section.len) {
                assert_eq!(content.len() as u64, section.len);
            }
            let past = reader.read(section, section.len, 1);
            assert!(past.is_err(), "a byte behind a section was read");
            assert!(reader.read(section, u64::MAX, 2).is_err());
        }
        reader.intact().expect("nobody has cut it");
        let _ = reader.verify();
    }
    let _ = inspect(&path, true);
});

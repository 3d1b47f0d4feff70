//! A section of keys with any count, and packed arrays of any width.
//!
//! The first two bytes are the count, the third is the width.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{folder, write_container};
use ocelli_index::container::{FileKind, Reader, SectionKind};
use ocelli_index::keys::Keys;
use ocelli_index::packed::{Packed, bytes_for, pack};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[low, high, width], bytes)) = bytes.split_first_chunk() else { return };
    let count = usize::from(u16::from_le_bytes([low, high]));
    let path = folder().join("a.keys");
    write_container(&path, FileKind::Part, &[(SectionKind::Keys, bytes.to_vec())]);
    let reader = Reader::open(&path, FileKind::Part).expect("a good container");
    if let Ok(keys) = Keys::open(&reader, count) {
        let all = keys.all(&reader);
        for i in 0..count.min(400) {
            let one = keys.get(&reader, i);
            if let Ok(all) = &all {
                assert_eq!(one.as_ref().ok(), Some(&all[i]));
                assert!(keys.is(&reader, i, &all[i]).expect("read before"));
            }
        }
        assert!(keys.get(&reader, count).is_err());
        assert!(all.map_or(true, |all| all.len() == count));
    }
    let width = u32::from(width);
    if let Some(packed) = Packed::new(bytes, width, count) {
        assert_eq!(bytes.len(), bytes_for(count, width));
        let values: Vec<u64> = (0..count).map(|i| packed.get(i)).collect();
        let again = pack(values.iter().copied(), width);
        let again = Packed::new(&again, width, count).expect("as many bytes");
        assert!((0..count).all(|i| again.get(i) == values[i]));
        if let Some(found) = packed.binary_search(0, count, values.first().copied().unwrap_or(0)) {
            assert!(found < count);
        }
    }
});

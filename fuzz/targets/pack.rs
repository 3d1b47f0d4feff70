//! Sections of a pack, which is then used.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{chunks, folder, write_container};
use ocelli_index::Pack;
use ocelli_index::container::FileKind;

fuzz_target!(|bytes: &[u8]| {
    let path = folder().join("a.pack");
    write_container(&path, FileKind::Pack, &chunks(bytes));
    let Ok(pack) = Pack::open(&path) else { return };
    assert_eq!(pack.variant(None).expect("the default").code_bytes(), {
        pack.card().default_code_bytes
    });
    for variant in pack.variants() {
        let found = pack.variant_of(variant.spec(), Some(variant.code_bytes()));
        assert_eq!(found.expect("its own spec").card(), variant.card());
        let dim = variant.whitening().map_or(pack.network().dim as usize, |w| w.dim_out());
        assert_eq!(variant.model().parts().dim, dim);
    }
    let _ = (pack.weights(), pack.verify());
});

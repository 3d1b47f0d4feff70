//! A set of tombstones (a roaring bitmap), and a search among the rows that are left.

#![no_main]

use std::fs;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{Place, ask_everything, model};
use ocelli_index::{Hash, ShardBuilder, ShardEntry, Snapshot};

fn shard(place: &Place) -> &'static ShardEntry {
    static ENTRY: OnceLock<ShardEntry> = OnceLock::new();
    ENTRY.get_or_init(|| {
        let mut shard = ShardBuilder::new(model(0));
        for i in 0..200u16 {
            let code = [i as u8 % 16, (i / 16) as u8 % 16, 2, 1];
            shard.push_code(7 * u64::from(i), "", u32::from(i) % 5, &code).expect("a row");
        }
        place.dir.put_shard(shard, Hash::of(b"plan"), 0).expect("written")
    })
}

fuzz_target!(|bytes: &[u8]| {
    let place = Place::get();
    let hash = Hash::of(bytes);
    let path = place.dir.root().join(format!("tombstones/{hash}.roaring"));
    fs::write(&path, bytes).expect("a folder in memory");
    // No generation is made with tombstones that cannot be read.
    let made = place.commit(model(0), shard(place).clone(), Some(hash));
    if made.is_ok()
        && let Ok(snapshot) = Snapshot::open(place.dir.root(), None)
    {
        assert!(snapshot.rows() <= 200);
        ask_everything(&snapshot);
    }
    fs::remove_file(path).expect("it was written");
});

//! Sections of a shard: opened, proven, searched, asked everything.
//!
//! The first byte chooses the model; the meta chunk begins behind the two hashes, which are put in
//! front of it, since no mutation would find them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{Place, ask_everything, chunks, model, write_container};
use ocelli_index::container::{FileKind, SectionKind};
use ocelli_index::{Hash, Shard, ShardEntry, Snapshot};

fuzz_target!(|bytes: &[u8]| {
    let Some((&number, bytes)) = bytes.split_first() else { return };
    let (place, model) = (Place::get(), model(number));
    let mut sections = chunks(bytes);
    for (kind, content) in &mut sections {
        if *kind == SectionKind::Meta {
            let head =
                format!("{{\"model\":\"{}\",\"plan\":\"{}\",", model.hash(), Hash::of(b"plan"));
            *content = [head.as_bytes(), content].concat();
        }
    }
    let path = place.shard();
    write_container(&path, FileKind::Shard, &sections);
    let Ok(shard) = Shard::open(&path, model) else { return };
    let _ = shard.verify();
    let entry = ShardEntry {
        name: "fuzz.shard".into(),
        bytes: shard.file().bytes(),
        checksum: shard.file().checksum(),
        rows: shard.rows().into(),
        plan: shard.meta().plan,
        task: shard.meta().task,
        seal: shard.file().seal(),
    };
    drop(shard);
    // Its ids are looked at.
    if place.commit(model, entry, None).is_ok() {
        ask_everything(&Snapshot::open(place.dir.root(), None).expect("it opened before"));
    }
});

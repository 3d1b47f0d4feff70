//! A generation's JSON and CURRENT. The two stand in the bytes one after the other, with a zero
//! between.
//!
//! The JSON is that of the generation alone; its checksum is put beside it. CURRENT is taken as it
//! is if there is one, and is right otherwise.

#![no_main]

use std::fs;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{Place, ask_everything, model};
use ocelli_index::{Hash, ShardBuilder, Snapshot};

/// An index with a shard that a generation may name.
fn place() -> &'static Place {
    static READY: OnceLock<()> = OnceLock::new();
    let place = Place::get();
    READY.get_or_init(|| {
        let mut shard = ShardBuilder::new(model(0));
        for i in 0..40u16 {
            let code = [i as u8 % 16, 3, 2, 1];
            shard
                .push_code(7 * u64::from(i), &format!("k{i}"), u32::from(i) % 5, &code)
                .expect("a row");
        }
        place.dir.put_shard(shard, Hash::of(b"plan"), 0).expect("written");
    });
    place
}

fuzz_target!(|bytes: &[u8]| {
    let place = place();
    let root = place.dir.root();
    let at = bytes.iter().position(|&b| b == 0);
    let (json, current) = at.map_or((bytes, &b""[..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let write = |checksum: &str| {
        let file =
            [b"{\"generation\":", json, b",\"checksum\":\"", checksum.as_bytes(), b"\"}"].concat();
        fs::write(root.join("generations/1.json"), file).expect("a folder in memory");
    };
    write(&"0".repeat(64));
    let _ = fs::remove_file(root.join("CURRENT"));
    let mut checksum = "0".repeat(64);
    if let Err(error) = place.dir.generation(1)
        && let Some((_, found)) = error.to_string().split_once("corrupt: checksum ")
        && let Some(found) = found.get(..64)
    {
        checksum = found.to_owned();
        write(&checksum);
    }
    let current =
        if current.is_empty() { format!("1 {checksum}\n").into_bytes() } else { current.to_vec() };
    fs::write(root.join("CURRENT"), current).expect("a folder in memory");
    if let Ok(Some(generation)) = place.dir.current() {
        assert_eq!(place.dir.generation(generation.number).expect("it is current"), generation);
    }
    if let Ok(snapshot) = Snapshot::open(root, None) {
        ask_everything(&snapshot);
    }
});

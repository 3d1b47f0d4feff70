//! What keys cost: `./bench keys`. Prints tables and ends with one JSON object.
//!
//! Usage: `keys FOLDER ROWS`. Makes indexes of random codes with keys of five kinds under FOLDER,
//! once, and measures on them how many bytes a key takes, how long reading keys of random rows
//! takes, and finding a key.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod shard;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ocelli_index::container::SectionKind;
use ocelli_index::{Row, Snapshot};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shard::{Result, forget, made, median, only_shard};

// As the server: a key is an allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DIM: usize = 16;
const M: usize = 8;
const NLIST: usize = 1024;
/// Keys of one answer.
const ANSWERS: [usize; 2] = [1_000, 10_000];
/// How often an answer's keys are read.
const REPEATS: usize = 11;

/// Key number `i` of a kind.
type Kind = (&'static str, fn(u64, &mut ChaCha8Rng) -> String);
const KINDS: [Kind; 5] = [
    ("paths", |i, rng| {
        // Photos of twenty years in the order in which they were taken.
        let second = i * 600 + rng.random_range(0..600);
        let (day, second) = (second / 86_400, second % 86_400);
        let (year, month, day) = (2005 + day / 365, day % 365 / 31 + 1, day % 365 % 31 + 1);
        let clock = format!("{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60);
        format!("photos/{year}/{month:02}/IMG_{year}{month:02}{day:02}_{clock}.jpg")
    }),
    // The same in no order.
    ("paths, mixed", |i, rng| KINDS[0].1(i.wrapping_mul(7_368_787) % 1_000_003, rng)),
    ("urls", |_, rng| {
        let shelf = ["shoes", "furniture/chairs", "kitchen", "toys", "sport/outdoor"];
        let hash: u32 = rng.random();
        format!(
            "https://images{}.example-shop.com/media/catalog/{}/{:02x}/{:02x}/\
                 product-{}-{hash:08x}_large.jpg?v={}",
            hash % 4,
            shelf[hash as usize / 7 % shelf.len()],
            hash >> 24,
            hash >> 16 & 255,
            rng.random_range(0..5_000_000),
            rng.random_range(1_500_000_000..1_700_000_000),
        )
    }),
    ("sha-256", |_, rng| {
        let hash: [u64; 4] = rng.random();
        hash.iter().map(|word| format!("{word:016x}")).collect::<String>() + ".jpg"
    }),
    ("integers", |i, _| (100_000 + 3 * i).to_string()),
];

fn main() -> Result<()> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [folder, rows] = args.as_slice() else { return Err("usage: keys FOLDER ROWS".into()) };
    let rows: u64 = rows.parse()?;
    println!("keys of {rows} rows: bytes, and ns a key of random rows");
    println!(
        "{:<13} {:>6} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "kind", "plain", "stored", "map", "k=1000", "k=10000", "untouched", "find"
    );
    let mut parts = Vec::new();
    for (number, (name, _)) in KINDS.iter().enumerate() {
        let root = Path::new(folder).join(format!("keys-{rows}-{number}"));
        let index = made::<M>(root, rows, DIM, NLIST, KINDS[number].1)?;
        let [plain, stored, map] = bytes(&index)?;
        let warm =
            ANSWERS.map(|k| median(REPEATS, || read(&Snapshot::open(&index, None)?, k, true)));
        let [short, long] = warm;
        let (short, long) = (short?, long?);
        let cold = median(5, || {
            let path = only_shard(&Snapshot::open(&index, None)?)?.path().to_owned();
            forget(&path)?;
            read(&Snapshot::open(&index, None)?, ANSWERS[0], false)
        })?;
        let found = median(REPEATS, || find(&Snapshot::open(&index, None)?))?;
        println!(
            "{name:<13} {plain:>6.1} {stored:>7.2} {map:>7.2} {short:>9.0} {long:>9.0} \
             {cold:>9.0} {found:>9.0}"
        );
        parts.push(format!(
            "\"{name}\": {{\"plain\": {plain:.2}, \"stored\": {stored:.2}, \"map\": {map:.2}, \
             \"ns_1000\": {short:.0}, \
             \"ns_10000\": {long:.0}, \"ns_untouched\": {cold:.0}, \"ns_find\": {found:.0}}}"
        ));
    }
    println!("{{{}}}", parts.join(", "));
    Ok(())
}

/// Bytes a key: as text, as stored, and of the map from keys to rows.
fn bytes(index: &Path) -> Result<[f64; 3]> {
    let snapshot = Snapshot::open(index, None)?;
    let shard = snapshot.shards().next().ok_or("no shard")?;
    let rows = f64::from(shard.rows());
    let of = |kind| shard.file().find(kind).map_or(0.0, |s| s.len as f64 / rows);
    let mut plain = 0;
    for ordinal in (0..shard.rows()).step_by(997) {
        plain += shard.key(ordinal)?.len();
    }
    let plain = plain as f64 / f64::from(shard.rows().div_ceil(997));
    Ok([plain, of(SectionKind::Keys), of(SectionKind::KeyMap)])
}

fn some_rows(snapshot: &Snapshot, k: usize) -> Vec<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(k as u64);
    let rows = snapshot.shards().next().map_or(1, |shard| shard.rows());
    (0..k).map(|_| Row { shard: 0, ordinal: rng.random_range(0..rows) }).collect()
}

/// Nanoseconds a key for the keys of `k` random rows. Warm: all tiles are proven, and others' keys
/// were read.
fn read(snapshot: &Snapshot, k: usize, warm: bool) -> Result<f64> {
    if warm {
        assert!(snapshot.warm().is_empty());
        for row in some_rows(snapshot, 7_777) {
            black_box(snapshot.key(row)?);
        }
    }
    let rows = some_rows(snapshot, k);
    let start = Instant::now();
    let keys: Vec<String> =
        rows.into_iter().map(|row| snapshot.key(row)).collect::<ocelli_index::Result<_>>()?;
    let seconds = start.elapsed().as_secs_f64();
    black_box(keys);
    Ok(seconds * 1e9 / k as f64)
}

/// Nanoseconds for finding the row of a key.
fn find(snapshot: &Snapshot) -> Result<f64> {
    assert!(snapshot.warm().is_empty());
    let rows = some_rows(snapshot, ANSWERS[0]);
    let keys =
        rows.iter().map(|&row| snapshot.key(row)).collect::<ocelli_index::Result<Vec<_>>>()?;
    let start = Instant::now();
    for (key, row) in keys.iter().zip(rows) {
        assert_eq!(snapshot.find_key(key)?, Some(row));
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / keys.len() as f64)
}

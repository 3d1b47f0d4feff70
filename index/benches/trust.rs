//! What trusting a shard costs: `./bench trust`. Prints tables and ends with one JSON object.
//!
//! Usage: `trust FOLDER ROWS…`. Makes an index of random codes for each number of rows under
//! FOLDER, once, and measures on it how long opening takes, how many bytes a vector takes, how much
//! memory a few lists take, and how much of a search goes into checksums.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod shard;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::container::SectionKind;
use ocelli_index::shard::ListEntry;
use ocelli_index::{IndexDir, Model, Scratch, SearchParams, Shard, Snapshot};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use shard::{Result, draw, forget, made, median, only_shard};

/// A probed list: its number and its line of the list table.
type Probed = (u32, ListEntry);

const DIM: usize = 128;
const M: usize = 16;
const K: usize = 100;
/// How often the reads of a query are repeated to time them.
const REPEATS: usize = 8;

fn main() -> Result<()> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (folder, rows) = args.split_first().ok_or("usage: trust FOLDER ROWS…")?;
    let rows: Vec<u64> = rows.iter().map(|r| r.parse()).collect::<std::result::Result<_, _>>()?;
    let (Some(&smallest), Some(&largest)) = (rows.iter().min(), rows.iter().max()) else {
        return Err("usage: trust FOLDER ROWS…".into());
    };
    let make = |&rows: &u64| {
        let root = Path::new(folder).join(format!("trust-{rows}"));
        made::<M>(root, rows, DIM, nlist(rows), |_, _| String::new())
    };
    let places: Vec<PathBuf> = rows.iter().map(make).collect::<Result<_>>()?;
    let place = |wanted: u64| {
        let found = rows.iter().zip(&places).find(|(r, _)| **r == wanted);
        found.map(|(_, p)| p.as_path()).ok_or("no index")
    };
    let parts = [
        opening(&rows, &places)?,
        bytes(place(smallest)?)?,
        memory(place(largest)?)?,
        checksums(place(smallest)?)?,
    ];
    println!("{{{}}}", parts.join(", "));
    Ok(())
}

/// Lists as one would choose them for so many rows.
fn nlist(rows: u64) -> usize {
    if rows <= 2_000_000 { 2048 } else { 16_384 }
}

/// Seconds that `work` takes.
fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    black_box(work()?);
    Ok(start.elapsed().as_secs_f64())
}

fn object(name: &str, entries: &[(String, f64)]) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("\"{key}\": {value:.4}")).collect();
    format!("\"{name}\": {{{}}}", entries.join(", "))
}

fn opening(rows: &[u64], places: &[PathBuf]) -> Result<String> {
    println!(
        "opening, ms: a shard (from the page cache; from disk), and a snapshot with its model"
    );
    println!(
        "{:>10} {:>6} {:>12} {:>8} {:>8} {:>9}",
        "rows", "nlist", "bytes", "shard", "cold", "snapshot"
    );
    let (mut warm, mut cold, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for (&rows, index) in rows.iter().zip(places) {
        let snapshot = Snapshot::open(index, None)?;
        let path = only_shard(&snapshot)?.path().to_owned();
        let model = IndexDir::open(index)?.model_path(&snapshot.generation().model)?;
        let model = Model::open(&model)?;
        let bytes = only_shard(&snapshot)?.file().bytes();
        // Nobody maps it while it is to leave the cache.
        drop(snapshot);
        let open = || seconds(|| Ok(Shard::open(&path, &model)?)).map(|s| s * 1e3);
        let ms = [
            median(21, open)?,
            median(5, || {
                forget(&path)?;
                open()
            })?,
            median(5, || seconds(|| Ok(Snapshot::open(index, None)?)).map(|s| s * 1e3))?,
        ];
        println!(
            "{rows:>10} {:>6} {bytes:>12} {:>8.2} {:>8.2} {:>9.2}",
            nlist(rows),
            ms[0],
            ms[1],
            ms[2]
        );
        warm.push((rows.to_string(), ms[0]));
        cold.push((rows.to_string(), ms[1]));
        whole.push((rows.to_string(), ms[2]));
    }
    let all = [("open_ms", warm), ("open_cold_ms", cold), ("open_snapshot_ms", whole)];
    Ok(all.map(|(name, entries)| object(name, &entries)).join(", "))
}

fn bytes(index: &Path) -> Result<String> {
    let snapshot = Snapshot::open(index, None)?;
    let shard = only_shard(&snapshot)?;
    let rows = f64::from(shard.rows());
    let of = |kind| shard.file().find(kind).map_or(0.0, |s| s.len as f64 / rows);
    let maps = [
        ("ordinal_to_id", of(SectionKind::Ids)),
        ("id_to_ordinal", of(SectionKind::IdMap)),
        ("ordinal_to_list", of(SectionKind::ListOf)),
    ];
    let keys = of(SectionKind::Keys) + of(SectionKind::KeyMap);
    let searched =
        shard.file().bytes() as f64 / rows - maps.iter().map(|m| m.1).sum::<f64>() - keys;
    let model = IndexDir::open(index)?.model_path(&snapshot.generation().model)?;
    let model = std::fs::metadata(model)?.len() as f64 / rows;
    println!("\nbytes a vector, {rows} rows, m = {M}, dense ids, no keys");
    let parts = [
        ("codes", SectionKind::Codes),
        ("scalars (L2)", SectionKind::Scalars),
        ("ordinals", SectionKind::Ordinals),
        ("list table", SectionKind::ListTable),
    ];
    let mut rest = searched;
    for (name, kind) in parts {
        println!("  {name:<34} {:>7.3}", of(kind));
        rest -= of(kind);
    }
    println!("  {:<34} {rest:>7.3}", "checksums, padding, meta, footer");
    println!("  {:<34} {searched:>7.3}", "= what a search needs");
    for (name, value) in maps.iter().chain([&("model", model)]) {
        println!("  beside it: {name:<23} {value:>7.3}");
    }
    let beside: Vec<(String, f64)> =
        maps.iter().chain([&("model", model)]).map(|m| (m.0.to_owned(), m.1)).collect();
    Ok(format!("\"bytes_per_vector\": {searched:.4}, {}", object("bytes_beside", &beside)))
}

/// KiB of a mapped file that are in memory, for this process.
fn resident_kib(path: &Path) -> Result<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let name = path.canonicalize()?;
    let (mut ours, mut sum) = (false, 0);
    for line in maps.lines() {
        // A mapping begins with its addresses; its fields follow, one a line.
        if line.split_whitespace().next().is_some_and(|word| word.contains('-')) {
            ours = line.ends_with(&*name.to_string_lossy());
        } else if let Some(kib) = line.strip_prefix("Rss:").filter(|_| ours) {
            sum += kib.trim().trim_end_matches("kB").trim().parse::<u64>()?;
        }
    }
    Ok(sum)
}

fn memory(index: &Path) -> Result<String> {
    let path = only_shard(&Snapshot::open(index, None)?)?.path().to_owned();
    forget(&path)?;
    let snapshot = Snapshot::open(index, None)?;
    let shard = only_shard(&snapshot)?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("\nmemory of a mapped shard of {:.1} MiB", shard.file().bytes() as f64 / 1048576.0);
    println!("{:>24} {:>10} {:>14} {:>14}", "", "lists", "their MiB", "resident MiB");
    let opened = resident_kib(&path)?;
    println!("{:>24} {:>10} {:>14} {:>14.2}", "opened", 0, "", mib(opened));
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut scratch = Scratch::default();
    let mut touched = std::collections::BTreeSet::new();
    let mut series = vec![("0".to_owned(), mib(opened))];
    for upto in [1, 4, 16, 64] {
        while touched.len() < 16 * upto {
            let query = draw(&mut rng, DIM, 1.0);
            let params = SearchParams {
                k: 10,
                nprobe: 16,
                refine_candidates: 0,
                allow_partial: false,
                ..SearchParams::default()
            };
            snapshot.search_with(&query, &params, &mut scratch)?;
            let prepared = snapshot.model().prepare(&query)?;
            touched.extend(snapshot.model().probe(&prepared, 16).into_iter().map(|l| l.0));
        }
        let mut theirs = 0;
        for &list in &touched {
            let entry = shard.list(list)?;
            theirs += shard.list_codes(&entry)?.len() + entry.len as usize;
        }
        let resident = resident_kib(&path)?;
        println!(
            "{:>24} {:>10} {:>14.2} {:>14.2}",
            "searched",
            touched.len(),
            theirs as f64 / 1048576.0,
            mib(resident)
        );
        series.push((touched.len().to_string(), mib(resident)));
    }
    let file = shard.file().bytes() as f64 / 1048576.0;
    Ok(format!("\"shard_mib\": {file:.1}, {}", object("resident_mib_by_lists", &series)))
}

/// What a search of these lists reads of the shard, by the calls that the engine makes: each list
/// once, and the ordinals of the hits.
fn with_proofs(shard: &Shard, lists: &[Probed]) -> Result<()> {
    for &(list, _) in lists {
        black_box(shard.list_rows(list)?);
    }
    for slot in slots(lists) {
        black_box(shard.ordinal_in_list(slot)?);
    }
    Ok(shard.intact()?)
}

/// The same from plain slices, which nobody asks for proofs or faults: list table, codes, scalars,
/// ordinals.
fn without_proofs(
    [table, codes, scalars, ordinals]: [&[u8]; 4],
    lists: &[Probed],
    bits: u64,
) -> Result<()> {
    let table: &[ListEntry] = bytemuck::try_cast_slice(table).map_err(|_| "not aligned")?;
    for &(list, _) in lists {
        let e = table.get(list as usize).ok_or("outside")?;
        let len = (u64::from(e.len).next_multiple_of(16) * M as u64).next_multiple_of(64) as usize;
        let at = e.codes_offset as usize;
        black_box(codes.get(at..at + len).ok_or("outside")?);
        let at = e.first as usize;
        black_box(scalars.get(at..at + e.len as usize).ok_or("outside")?);
    }
    for slot in slots(lists) {
        let bit = u64::from(slot) * bits;
        let at = (bit / 8) as usize;
        let word = ordinals.get(at..).and_then(|b| b.first_chunk::<8>()).ok_or("outside")?;
        black_box((u64::from_le_bytes(*word) >> (bit % 8)) & ((1 << bits) - 1));
    }
    Ok(())
}

/// Slots of the hits: here and there in the lists.
fn slots(lists: &[Probed]) -> impl Iterator<Item = u32> + '_ {
    let hits = (0..K as u32).zip(lists.iter().cycle());
    hits.map(|(hit, (_, e))| e.first + hit * 37 % e.len.max(1))
}

/// The lists that each query probes.
fn probed(
    snapshot: &Snapshot,
    shard: &Shard,
    queries: &[Vec<f32>],
    nprobe: usize,
) -> Result<Vec<Vec<Probed>>> {
    let lists = |query: &Vec<f32>| -> Result<Vec<Probed>> {
        let prepared = snapshot.model().prepare(query)?;
        let probed = snapshot.model().probe(&prepared, nprobe).into_iter();
        probed.map(|l| Ok((l.0, shard.list(l.0)?))).collect()
    };
    queries.iter().map(lists).collect()
}

/// Seconds to read the lists of all queries once. A search asks for the memory of what it reads
/// before it needs it, and this does not: by reading the same several times, what is compared is
/// proofs and not misses of the cache.
fn repeated(lists: &[Vec<Probed>], read: impl Fn(&[Probed]) -> Result<()>) -> Result<f64> {
    let again = |lists: &Vec<_>| (0..REPEATS).try_for_each(|_| read(lists));
    Ok(seconds(|| lists.iter().try_for_each(again))? / REPEATS as f64)
}

fn checksums(index: &Path) -> Result<String> {
    let snapshot = Snapshot::open(index, None)?;
    let shard = only_shard(&snapshot)?;
    let bits = u64::from(shard.meta().ordinal_bits);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let queries: Vec<Vec<f32>> = (0..500).map(|_| draw(&mut rng, DIM, 1.0)).collect();
    let mut scratch = Scratch::default();
    shard.verify()?; // Warm: every tile is in memory and proven.
    let plain = |kind| -> Result<&[u8]> { Ok(shard.file().read_all(kind)?) };
    let slices = [
        plain(SectionKind::ListTable)?,
        plain(SectionKind::Codes)?,
        plain(SectionKind::Scalars)?,
        plain(SectionKind::Ordinals)?,
    ];
    println!("\nchecksums in a warm search, µs a query, {} rows, k = {K}", shard.rows());
    println!(
        "{:>7} {:>9} {:>9} {:>10} {:>9} {:>7}",
        "nprobe", "search", "reads", "no proofs", "proofs", "share"
    );
    let mut shares = Vec::new();
    let mut costs = Vec::new();
    for nprobe in [4, 16, 64] {
        let params = SearchParams { k: K, nprobe, ..SearchParams::default() };
        let lists = probed(&snapshot, shard, &queries, nprobe)?;
        let us = 1e6 / queries.len() as f64;
        // In turn, so that what the machine does besides meets all three.
        let (mut search, mut proven, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..9 {
            let ask = || -> Result<()> {
                for query in &queries {
                    black_box(snapshot.search_with(query, &params, &mut scratch)?);
                }
                Ok(())
            };
            search.push(us * seconds(ask)?);
            proven.push(us * repeated(&lists, |lists| with_proofs(shard, lists))?);
            bare.push(us * repeated(&lists, |lists| without_proofs(slices, lists, bits))?);
        }
        let middle = |all: &mut Vec<f64>| {
            all.sort_unstable_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (search, proven, bare) = (middle(&mut search), middle(&mut proven), middle(&mut bare));
        let share = (proven - bare) / search;
        println!(
            "{nprobe:>7} {search:>9.2} {proven:>9.3} {bare:>10.3} {:>9.3} {:>6.2}%",
            proven - bare,
            100.0 * share
        );
        shares.push((nprobe.to_string(), share));
        costs.push((nprobe.to_string(), proven - bare));
    }
    Ok([object("checksum_share", &shares), object("checksum_us", &costs)].join(", "))
}

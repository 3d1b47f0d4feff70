//! The self-join of an index: pairs of rows that are compared in a second, at every instruction
//! level.
//!
//! Usage: `join INDEX NPROBE THRESHOLD SECONDS [LEVEL…]`. Lists are taken at random and compared as
//! [`Snapshot::join_list`] does it, with tables, scores and all; levels take turns list by list for
//! SECONDS in all. The last line is one JSON object.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::time::{Duration, Instant};

use ocelli_index::{Scratch, Snapshot};
use ocelli_vector::{Level, Simd};

/// A failure of the bench.
type Error = Box<dyn std::error::Error>;

/// What one level has done.
struct Reading {
    simd: Simd,
    scanned: u64,
    scored: u64,
    rows: u64,
    time: Duration,
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [index, nprobe, threshold, seconds, only @ ..] = args.as_slice() else {
        return Err("usage: join INDEX NPROBE THRESHOLD SECONDS [LEVEL…]".into());
    };
    let snapshot = Snapshot::open(Path::new(index), None)?;
    if let Some(failure) = snapshot.warm().first() {
        return Err(failure.error.to_string().into());
    }
    let threshold: f32 = threshold.parse()?;
    let plan = snapshot.join_plan(nprobe.parse()?, None, &mut Scratch::default())?;
    let reading = |simd| Reading { simd, scanned: 0, scored: 0, rows: 0, time: Duration::ZERO };
    let mut readings: Vec<Reading> = Simd::all()
        .filter(|simd| simd.level() != Level::Scalar)
        .filter(|simd| only.is_empty() || only.iter().any(|o| o == simd.level().name()))
        .map(reading)
        .collect();
    let nlist = snapshot.model().parts().nlist as u64;
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds.parse()?));
    let (mut number, mut pairs) = (0u64, Vec::new());
    while start.elapsed() < limit {
        // Every list once in some order that has none.
        number += 1;
        let list = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % nlist) as u32;
        for reading in &mut readings {
            let mut scratch = Scratch::at(reading.simd);
            pairs.clear();
            let start = Instant::now();
            let some = |_| Some(threshold);
            let counts = snapshot.join_list(&plan, list, some, None, &mut scratch, &mut pairs)?;
            reading.time += start.elapsed();
            reading.scanned += counts.scanned;
            reading.scored += counts.scored;
            for shard in snapshot.shards() {
                reading.rows += u64::from(shard.list(list)?.len);
            }
        }
    }
    let mut json = Vec::new();
    for Reading { simd, scanned, scored, rows, time } in readings {
        let (level, time) = (simd.level().name(), time.as_secs_f64());
        let rate = scanned as f64 / time / 1e9;
        println!(
            "{level:<12}{rate:>7.2} G pairs/s; {:.0} pairs a row, {:.2} scored; {:.2} µs a row",
            scanned as f64 / rows as f64,
            scored as f64 / rows as f64,
            time * 1e6 / rows as f64
        );
        json.push(format!("\"{level}_gpairs_s\": {rate:.2}"));
        json.push(format!("\"{level}_pairs_a_row\": {:.0}", scanned as f64 / rows as f64));
    }
    println!("{{{}}}", json.join(", "));
    Ok(())
}

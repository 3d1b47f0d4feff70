//! Batches whose queries share lists, beside the same batches where each query scans its own: the
//! queries' time at every instruction level.
//!
//! Usage: `batches INDEX QUERIES NPROBE K [LEVEL|never|where-pays…]`, all of them or those named.
//! Windows of all variants take turns; printed are medians and the best. The last line is one JSON
//! object.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::time::Instant;

use ocelli_index::{Scratch, SearchParams, Sharing, Snapshot, VectorFile};
use ocelli_vector::{Level, Simd};

/// A failure of the bench.
type Error = Box<dyn std::error::Error>;

/// Windows of each variant, an odd number.
const WINDOWS: usize = 5;

/// Batches that do not share lists, and batches that do.
const SHARING: [(&str, Sharing); 2] =
    [("never", Sharing::Never), ("where-pays", Sharing::WherePays)];

/// One way to answer, and its readings.
struct Variant {
    simd: Simd,
    name: &'static str,
    sharing: Sharing,
    times_us: Vec<f64>,
    /// Rows that were scored, for each query.
    scored: u64,
}

impl Variant {
    fn new(simd: Simd, name: &'static str, sharing: Sharing) -> Self {
        Self { simd, name, sharing, times_us: Vec::new(), scored: 0 }
    }
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [index, queries, nprobe, k, only @ ..] = args.as_slice() else {
        return Err("usage: batches INDEX QUERIES NPROBE K [LEVEL|never|where-pays…]".into());
    };
    let snapshot = Snapshot::open(Path::new(index), None)?;
    let failed = snapshot.warm();
    if let Some(failure) = failed.first() {
        return Err(failure.error.to_string().into());
    }
    let file = VectorFile::open(Path::new(queries))?;
    let x = file.read(0..file.rows())?;
    let params = SearchParams { k: k.parse()?, nprobe: nprobe.parse()?, ..SearchParams::default() };
    let wanted = |all: &[&str], name: &str| {
        let named = |o: &String| all.contains(&o.as_str());
        !only.iter().any(named) || only.iter().any(|o| o == name)
    };
    let levels = Level::ALL.map(Level::name);
    let mut variants: Vec<Variant> = Simd::all()
        .filter(|simd| simd.level() != Level::Scalar)
        .filter(|simd| wanted(&levels, simd.level().name()))
        .flat_map(|simd| SHARING.map(|(name, sharing)| Variant::new(simd, name, sharing)))
        .filter(|variant| wanted(&SHARING.map(|s| s.0), variant.name))
        .collect();
    for _ in 0..WINDOWS {
        for variant in &mut variants {
            let mut scratch = Scratch::at(variant.simd).sharing(variant.sharing);
            let start = Instant::now();
            let found = snapshot.search_batch(&x, &params, &mut scratch)?;
            variant.times_us.push(start.elapsed().as_secs_f64() * 1e6 / found.len() as f64);
            variant.scored = scratch.counts().survived / found.len() as u64;
        }
    }
    let mut json = Vec::new();
    for Variant { simd, name, mut times_us, scored, .. } in variants {
        times_us.sort_by(f64::total_cmp);
        let (best, median) = (times_us[0], times_us[WINDOWS / 2]);
        let level = simd.level().name();
        println!("{level:<12}{name:<12}{median:>9.2} µs a query (best {best:.2}), {scored} scored");
        json.push(format!("\"{level}_{}_us\": {median:.2}", name.replace('-', "_")));
    }
    println!("{{{}}}", json.join(", "));
    Ok(())
}

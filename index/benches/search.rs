//! Answers timed searches over standard input, one thread: our side of `./bench search`.
//!
//! Usage: `search INDEX_DIR QUERIES`. Each line of input is a request, each line of output its JSON
//! answer, so that a driver can let two systems take turns:
//!
//! - `batch NPROBE K`: all queries in one call; `{"qps": …}`
//! - `single NPROBE K N`: the first N queries one by one;
//!   `{"qps": …, "stages_us": {…}, "scanned": …, "survived": …}`
//! - `threads NPROBE K T`: all queries in one call each on T threads; `{"qps": …}` of all together
//! - `ids NPROBE K FILE`: writes the found ids as ivecs (−1 where there are fewer than K)

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use ocelli_index::{Scratch, SearchParams, Snapshot, Stage, VectorFile};

/// As the search server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [index, queries] = args.as_slice() else {
        return Err("usage: search INDEX_DIR QUERIES".into());
    };
    let opening = Instant::now();
    let snapshot = Snapshot::open(Path::new(index), None)?;
    let open_ms = opening.elapsed().as_secs_f64() * 1e3;
    let queries = VectorFile::open(Path::new(queries))?;
    let dim = queries.dim();
    let x = queries.read(0..queries.rows())?;
    let mut scratch = Scratch::default();
    let mut pool: Vec<Scratch> = Vec::new();
    println!(
        "{{\"open_ms\": {open_ms:.3}, \"rows\": {}, \"simd\": \"{}\"}}",
        snapshot.rows(),
        ocelli_index::simd().level()
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| -> Result<usize, Box<dyn std::error::Error>> {
            Ok(words.get(i).ok_or("a number is missing")?.parse()?)
        };
        let params = SearchParams {
            nprobe: number(1)?,
            k: number(2)?,
            refine: 0,
            allow_partial: false,
            ..SearchParams::default()
        };
        let start = Instant::now();
        match words[0] {
            "batch" => {
                let found = snapshot.search_batch(&x, &params, &mut scratch)?;
                println!("{{\"qps\": {:.1}}}", found.len() as f64 / start.elapsed().as_secs_f64());
            }
            "single" => {
                let n = number(3)?;
                let mut stages = [0f64; 3];
                scratch.take_counts();
                for q in x.chunks_exact(dim).take(n) {
                    let t = snapshot.search_with(q, &params, &mut scratch)?.times;
                    let measured = [Stage::Probe, Stage::Lut, Stage::Scan];
                    for (sum, stage) in stages.iter_mut().zip(measured) {
                        *sum += t[stage].as_secs_f64() * 1e6 / n as f64;
                    }
                }
                let done = n.min(queries.rows()) as f64;
                let qps = done / start.elapsed().as_secs_f64();
                let [probe, lut, scan] = stages;
                let counts = scratch.take_counts();
                let (scanned, survived) =
                    (counts.scanned as f64 / done, counts.survived as f64 / done);
                println!(
                    "{{\"qps\": {qps:.1}, \"stages_us\": {{\"probe\": {probe:.2}, \"lut\": {lut:.2}, \"scan\": {scan:.2}}}, \
                     \"scanned\": {scanned:.0}, \"survived\": {survived:.0}}}"
                );
            }
            "threads" => {
                let threads = number(3)?.max(1);
                pool.resize_with(pool.len().max(threads), Scratch::default);
                // Each asks for everything, so that one thread and several do the same to the
                // caches.
                let answers: Result<Vec<usize>, ocelli_index::Error> =
                    std::thread::scope(|scope| {
                        let searchers: Vec<_> = pool[..threads]
                            .iter_mut()
                            .map(|scratch| {
                                let (snapshot, x, params) = (&snapshot, &x, &params);
                                scope.spawn(move || {
                                    snapshot.search_batch(x, params, scratch).map(|f| f.len())
                                })
                            })
                            .collect();
                        searchers.into_iter().filter_map(|s| s.join().ok()).collect()
                    });
                let done: usize = answers?.iter().sum();
                println!("{{\"qps\": {:.1}}}", done as f64 / start.elapsed().as_secs_f64());
            }
            "ids" => {
                let found = snapshot.search_batch(&x, &params, &mut scratch)?;
                let mut out = std::io::BufWriter::new(std::fs::File::create(words[3])?);
                for result in found {
                    out.write_all(&(params.k as i32).to_le_bytes())?;
                    for i in 0..params.k {
                        let id = result.hits.get(i).map_or(-1, |h| h.id as i32);
                        out.write_all(&id.to_le_bytes())?;
                    }
                }
                out.flush()?;
                println!("{{}}");
            }
            other => return Err(format!("unknown request {other:?}").into()),
        }
    }
    Ok(())
}

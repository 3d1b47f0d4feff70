//! Answers timed searches with and without finer codes over standard input, one thread: our side of
//! `./bench frontier`.
//!
//! Usage: `frontier INDEX_DIR QUERIES`. Each line of input is a request, each line of output its
//! JSON answer:
//!
//! - `batch NPROBE K REFINE N`: the first N queries in one call; `{"us": …}` a query
//! - `single NPROBE K REFINE N`: the first N queries one by one; `{"us": …, "refine_us": …}` a
//!   query
//! - `ids NPROBE K REFINE FILE`: writes the found ids of all queries as ivecs (−1 if there are
//!   fewer)

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ocelli_index::{Scratch, SearchParams, Snapshot, Stage, VectorFile};

/// As the search server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [index, queries] = args.as_slice() else {
        return Err("usage: frontier INDEX_DIR QUERIES".into());
    };
    let snapshot = Snapshot::open(Path::new(index), None)?;
    let queries = VectorFile::open(Path::new(queries))?;
    let dim = queries.dim();
    let x = queries.read(0..queries.rows())?;
    let mut scratch = Scratch::default();
    println!(
        "{{\"rows\": {}, \"simd\": \"{}\", \"refinement\": \"{}\"}}",
        snapshot.rows(),
        ocelli_index::simd().level(),
        snapshot.fine_codec().map_or_else(String::new, |r| r.name())
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| -> Result<usize, Box<dyn std::error::Error>> {
            Ok(words.get(i).ok_or("a number is missing")?.parse()?)
        };
        let (nprobe, k, refine) = (number(1)?, number(2)?, number(3)?);
        let params = SearchParams {
            nprobe,
            k,
            refine_candidates: refine,
            allow_partial: false,
            ..SearchParams::default()
        };
        match words[0] {
            "batch" => {
                let n = number(4)?.min(queries.rows());
                let start = Instant::now();
                let found = snapshot.search_batch(&x[..n * dim], &params, &mut scratch)?;
                println!("{{\"us\": {:.3}}}", us(start.elapsed(), found.len()));
            }
            "single" => {
                let n = number(4)?.min(queries.rows());
                let mut refined = Duration::ZERO;
                let start = Instant::now();
                for q in x.chunks_exact(dim).take(n) {
                    refined += snapshot.search_with(q, &params, &mut scratch)?.times[Stage::Refine];
                }
                let (all, refined) = (us(start.elapsed(), n), us(refined, n));
                println!("{{\"us\": {all:.3}, \"refine_us\": {refined:.3}}}");
            }
            "ids" => {
                let found = snapshot.search_batch(&x, &params, &mut scratch)?;
                let path = words.get(4).ok_or("a file is missing")?;
                let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
                for result in found {
                    out.write_all(&(k as i32).to_le_bytes())?;
                    for i in 0..k {
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

/// Microseconds of one of `n`.
fn us(time: Duration, n: usize) -> f64 {
    time.as_secs_f64() * 1e6 / n.max(1) as f64
}

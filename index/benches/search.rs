//! Answers timed searches over standard input, one thread: our side of `./bench search`.
//!
//! Usage: `search INDEX_DIR QUERIES`. Each line of input is a request, each line of output its JSON
//! answer, so that a driver can let two systems take turns:
//!
//! - `batch NPROBE K`: all queries in one call; `{"qps": …}`
//! - `single NPROBE K N`: the first N queries one by one;
//!   `{"qps": …, "stages_us": {…}, "scanned": …, "survived": …}`
//! - `threads NPROBE K T`: all queries in one call each on T threads; `{"qps": …}` of all together
//! - `ids NPROBE K FILE`: writes the found ids as ivecs (−1 if there are fewer than K)

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use ocelli_index::{Scratch, SearchParams, Snapshot, Stage, StageTimes, VectorFile};

/// As the search server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An index, its queries and the buffers of its threads.
struct Bench {
    snapshot: Snapshot,
    /// Queries (n, dim).
    x: Vec<f32>,
    dim: usize,
    scratch: Scratch,
    pool: Vec<Scratch>,
}

fn main() -> Result<()> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [index, queries] = args.as_slice() else {
        return Err("usage: search INDEX_DIR QUERIES".into());
    };
    let opening = Instant::now();
    let snapshot = Snapshot::open(Path::new(index), None)?;
    let open_ms = opening.elapsed().as_secs_f64() * 1e3;
    let queries = VectorFile::open(Path::new(queries))?;
    println!(
        "{{\"open_ms\": {open_ms:.3}, \"rows\": {}, \"simd\": \"{}\", \
         \"kernels_without_level\": \"{}\"}}",
        snapshot.rows(),
        ocelli_index::simd().level(),
        ocelli_index::simd().kernels_without().join(", ")
    );
    let (dim, x) = (queries.dim(), queries.read(0..queries.rows())?);
    let mut bench = Bench { snapshot, x, dim, scratch: Scratch::default(), pool: Vec::new() };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let number =
            |i: usize| -> Result<usize> { Ok(words.get(i).ok_or("a number is missing")?.parse()?) };
        let params = SearchParams { nprobe: number(1)?, k: number(2)?, ..SearchParams::default() };
        match words[0] {
            "batch" => bench.batch(&params)?,
            "single" => bench.single(&params, number(3)?)?,
            "threads" => bench.threads(&params, number(3)?.max(1))?,
            "ids" => bench.ids(&params, Path::new(words[3]))?,
            other => return Err(format!("unknown request {other:?}").into()),
        }
    }
    Ok(())
}

impl Bench {
    fn batch(&mut self, params: &SearchParams) -> Result<()> {
        let start = Instant::now();
        let found = self.snapshot.search_batch(&self.x, params, &mut self.scratch)?;
        println!("{{\"qps\": {:.1}}}", found.len() as f64 / start.elapsed().as_secs_f64());
        Ok(())
    }

    fn single(&mut self, params: &SearchParams, n: usize) -> Result<()> {
        let start = Instant::now();
        let mut times = StageTimes::default();
        self.scratch.take_counts();
        for q in self.x.chunks_exact(self.dim).take(n) {
            times += self.snapshot.search_with(q, params, &mut self.scratch)?.times;
        }
        let done = n.min(self.x.len() / self.dim) as f64;
        let qps = done / start.elapsed().as_secs_f64();
        let us = |stage| times[stage].as_secs_f64() * 1e6 / n as f64;
        let [probe, lut, scan] = [Stage::Probe, Stage::Lut, Stage::Scan].map(us);
        let counts = self.scratch.take_counts();
        let (scanned, survived) = (counts.scanned as f64 / done, counts.survived as f64 / done);
        println!(
            "{{\"qps\": {qps:.1}, \"stages_us\": {{\"probe\": {probe:.2}, \"lut\": {lut:.2}, \
             \"scan\": {scan:.2}}}, \"scanned\": {scanned:.0}, \"survived\": {survived:.0}}}"
        );
        Ok(())
    }

    /// Each thread asks for everything, so that one thread and several do the same to the caches.
    fn threads(&mut self, params: &SearchParams, threads: usize) -> Result<()> {
        self.pool.resize_with(self.pool.len().max(threads), Scratch::default);
        let (snapshot, x) = (&self.snapshot, &self.x);
        let start = Instant::now();
        let answers: std::result::Result<Vec<usize>, ocelli_index::Error> =
            std::thread::scope(|scope| {
                let ask = |scratch| {
                    scope.spawn(move || snapshot.search_batch(x, params, scratch).map(|f| f.len()))
                };
                let searchers: Vec<_> = self.pool[..threads].iter_mut().map(ask).collect();
                searchers.into_iter().filter_map(|s| s.join().ok()).collect()
            });
        let done: usize = answers?.iter().sum();
        println!("{{\"qps\": {:.1}}}", done as f64 / start.elapsed().as_secs_f64());
        Ok(())
    }

    fn ids(&mut self, params: &SearchParams, path: &Path) -> Result<()> {
        let found = self.snapshot.search_batch(&self.x, params, &mut self.scratch)?;
        let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
        for result in found {
            out.write_all(&(params.k as i32).to_le_bytes())?;
            for i in 0..params.k {
                let id = result.hits.get(i).map_or(-1, |h| h.id as i32);
                out.write_all(&id.to_le_bytes())?;
            }
        }
        out.flush()?;
        println!("{{}}");
        Ok(())
    }
}

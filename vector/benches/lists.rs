//! How long the choice of a query's lists takes, at every level beside each other.
//!
//! Usage: `lists [CENTROIDS QUERIES]`, files of fvecs; without them rows of 2,048 × 128 that vary
//! in few directions, as centroids do. For each nprobe, one query and four at a time: the time of
//! the shortlist, and of the floats and the sorting that decide among it. Centroids are in the
//! second-level cache, and for `cold` one in the third: before each query other memory is read, as
//! a scan of lists does. Readings take turns in
//! short windows, so that a busy machine slows all of them alike; printed is the best window.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use ocelli_vector::ranked::Ranked;
use ocelli_vector::shortlist::{Buffers, ByteRows};
use ocelli_vector::{Level, Metric, Simd, relative};

/// Queries of a window.
const WINDOW: usize = 64;
/// Windows of each reading.
const ROUNDS: usize = 200;
/// Queries in a tile.
const TILE: usize = 4;

/// Kinds of readings.
const KINDS: [&str; 3] = ["one", "one cold", "four"];

/// Rows (n, d).
struct Table {
    rows: Vec<f32>,
    d: usize,
}

impl Table {
    fn read(path: &str) -> std::io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let d = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let row = |row: &[u8]| -> Vec<f32> {
            row[4..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        Ok(Self { rows: bytes.chunks_exact(4 + 4 * d).flat_map(row).collect(), d })
    }

    /// Sums of sixteen random directions and a little of all.
    fn random(n: usize, d: usize, seed: u64) -> Self {
        let directions: Vec<f32> = numbers(16 * d, 1);
        let weights = numbers(n * 16, seed);
        let mut rows = numbers(n * d, seed + 1);
        rows.iter_mut().for_each(|x| *x *= 0.5);
        for (row, weights) in rows.chunks_exact_mut(d).zip(weights.chunks_exact(16)) {
            for (direction, weight) in directions.chunks_exact(d).zip(weights) {
                row.iter_mut().zip(direction).for_each(|(x, y)| *x += weight * y);
            }
        }
        Self { rows, d }
    }

    fn len(&self) -> usize {
        self.rows.len() / self.d
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.rows[i % self.len() * self.d..][..self.d]
    }
}

/// Pseudo-random numbers in −1..1 (splitmix64).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed << 32;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Centroids in both forms, and the buffers of a thread.
struct Bench {
    centroids: Table,
    queries: Table,
    bytes: ByteRows,
    buffers: [Buffers; TILE],
    scores: Vec<f32>,
    ranked: Vec<Ranked>,
    /// What drives all else out of the second-level cache.
    other: Vec<u64>,
}

/// Nanoseconds a query, and candidates a query.
#[derive(Clone, Copy, Default)]
struct Reading {
    shortlist: f64,
    decision: f64,
    candidates: f64,
}

impl Bench {
    /// A window of queries from number `first` on, `Q` at a time.
    fn window<const Q: usize>(
        &mut self,
        simd: Simd,
        nprobe: usize,
        first: usize,
        cold: bool,
    ) -> Reading {
        let mut reading = Reading::default();
        let share = 1.0 / WINDOW as f64;
        for i in (first..first + WINDOW).step_by(Q) {
            let q: [&[f32]; Q] = std::array::from_fn(|k| self.queries.row(i + k));
            let mut buffers = self.buffers.iter_mut();
            let tile = std::array::from_fn(|_| buffers.next().expect("a tile has four"));
            if cold {
                black_box(self.other.iter().step_by(8).fold(0, |a, b| a ^ b));
            }
            let start = Instant::now();
            let short = self.bytes.shortlists(simd, Metric::L2, q, nprobe, tile);
            let middle = Instant::now();
            for (q, buffers) in q.iter().zip(&mut self.buffers) {
                let candidates = &mut buffers.rows;
                if !short {
                    candidates.clear();
                    candidates.extend(0..self.centroids.len() as u32);
                }
                let Table { rows, d } = &self.centroids;
                relative::prefetch(rows, *d, &candidates[..candidates.len().min(512)]);
                Metric::L2.of_rows(simd, q, rows, candidates, &mut self.scores);
                self.ranked.clear();
                let costs = candidates.iter().zip(&self.scores);
                self.ranked.extend(costs.map(|(&list, &cost)| Ranked::new(cost, list)));
                Ranked::keep_best(simd, &mut self.ranked, nprobe);
                black_box(&self.ranked);
                reading.candidates += candidates.len() as f64 * share;
            }
            reading.decision += middle.elapsed().as_nanos() as f64 * share;
            reading.shortlist += (middle - start).as_nanos() as f64 * share;
        }
        reading
    }
}

fn main() -> std::io::Result<()> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (centroids, queries) = match args.as_slice() {
        [centroids, queries] => (Table::read(centroids)?, Table::read(queries)?),
        _ => (Table::random(2048, 128, 2), Table::random(4096, 128, 4)),
    };
    let bytes = ByteRows::new(&centroids.rows, centroids.d);
    let (scores, ranked) = (Vec::new(), Vec::new());
    let mut bench = Bench {
        centroids,
        queries,
        bytes,
        buffers: Default::default(),
        scores,
        ranked,
        other: vec![1; 512 << 10],
    };
    let levels: Vec<Simd> = Simd::all().filter(|s| s.level() > Level::Scalar).collect();
    println!("level, queries, nprobe: ns a query, shortlist and decision; candidates");
    for nprobe in [4, 16, 64] {
        let mut best = vec![
            [Reading { shortlist: f64::MAX, ..Reading::default() }; KINDS.len()];
            levels.len()
        ];
        for round in 0..ROUNDS {
            for (simd, best) in levels.iter().zip(&mut best) {
                let first = round * WINDOW;
                let found = [
                    bench.window::<1>(*simd, nprobe, first, false),
                    bench.window::<1>(*simd, nprobe, first, true),
                    bench.window::<TILE>(*simd, nprobe, first, false),
                ];
                for (best, found) in best.iter_mut().zip(found) {
                    let candidates = best.candidates + found.candidates / ROUNDS as f64;
                    let sum = |r: &Reading| r.shortlist + r.decision;
                    if sum(&found) < sum(best) {
                        *best = found;
                    }
                    best.candidates = candidates;
                }
            }
        }
        for (simd, best) in levels.iter().zip(&best) {
            for (kind, r) in KINDS.into_iter().zip(best) {
                let (level, all) = (simd.level(), r.shortlist + r.decision);
                println!(
                    "{level:10} {kind:8} {nprobe:3}: {all:6.0} = {:6.0} + {:5.0}; {:6.1}",
                    r.shortlist, r.decision, r.candidates
                );
            }
        }
    }
    Ok(())
}

//! How fast the integer scan is, beside a plain read of the same bytes; and the scan of many
//! queries with interleaved tables: `./bench kernels`.
//!
//! Lists of random codes are scanned through [`scan::survivors`] with a threshold that about one
//! vector in ten thousand passes, at every level of this processor, in cache (16,384 vectors, again
//! and again) and out of cache (512 MB, front to back). A code is one vector, whatever its bytes.
//! Readings take turns in rounds, so that a busy machine slows all of them alike; printed are
//! medians over the rounds. The last line is one JSON object.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod interleaved;

use std::hint::black_box;
use std::time::{Duration, Instant};

use ocelli_vector::codes::CodeLayout;
use ocelli_vector::scan::{self, List, Scalars};
use ocelli_vector::{Level, Simd};

/// Vectors of a list that stays in the second-level cache.
const CACHE_VECTORS: usize = 16_384;
/// Bytes of codes that no cache holds.
const MEMORY_BYTES: usize = 512 << 20;
/// Rounds; an odd number, so that the median is one of them.
const ROUNDS: usize = 7;
/// A reading lasts at least this long.
const WINDOW: Duration = Duration::from_millis(40);

/// The shape of the codes that are scanned.
#[derive(Clone, Copy)]
struct Shape {
    bits: u32,
    m: usize,
    /// With the byte a vector that the L2 metric adds.
    scalars: bool,
}

const SHAPES: [Shape; 5] = [
    Shape { bits: 8, m: 8, scalars: false },
    Shape { bits: 8, m: 16, scalars: false },
    Shape { bits: 8, m: 16, scalars: true },
    Shape { bits: 8, m: 32, scalars: false },
    Shape { bits: 4, m: 32, scalars: false },
];

/// Pseudo-random bytes (splitmix64). The kernels' time does not depend on the values, except
/// through the survivors; but pages that were never written would all be one page.
fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed;
    for word in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..word.len()]);
    }
}

/// Random bytes that start at a cache line, as lists do in a shard.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn random(len: usize, seed: u64) -> Self {
        let mut bytes = vec![0; len + 64];
        fill(&mut bytes, seed);
        let start = bytes.as_ptr().align_offset(64);
        Self { bytes, start }
    }

    fn first(&self, len: usize) -> &[u8] {
        &self.bytes[self.start..][..len]
    }
}

/// Adds up 64-bit words in `STREAMS` runs side by side: with one, as a list is read; with several,
/// the prefetchers have more to do, and on some machines that is the faster read.
#[inline(always)]
fn sum<const STREAMS: usize>(bytes: &[u8]) -> u64 {
    const STEP: usize = 256;
    let (steps, _) = bytes.as_chunks::<STEP>();
    let run = steps.len() / STREAMS;
    let mut sums = [0u64; STEP / 8];
    for i in 0..run {
        for stream in 0..STREAMS {
            let (words, _) = steps[stream * run + i].as_chunks::<8>();
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(u64::from_le_bytes(*word));
            }
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2<const STREAMS: usize>(bytes: &[u8]) -> u64 {
    sum::<STREAMS>(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sum_avx512<const STREAMS: usize>(bytes: &[u8]) -> u64 {
    sum::<STREAMS>(bytes)
}

/// A plain read with the widest registers up to `simd`'s.
fn read<const STREAMS: usize>(simd: Simd, bytes: &[u8]) -> u64 {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { sum_avx512::<STREAMS>(bytes) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { sum_avx2::<STREAMS>(bytes) }
        }
        _ => sum::<STREAMS>(bytes),
    }
}

/// Times that `work` is done in a second.
fn rate(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut times = 0u32;
    loop {
        work();
        times += 1;
        let taken = start.elapsed();
        if taken >= WINDOW {
            return f64::from(times) / taken.as_secs_f64();
        }
    }
}

/// A way to read, and the registers for it.
type Reader = (Simd, fn(Simd, &[u8]) -> u64);

/// Bytes per second of a plain read.
fn read_rate((simd, read): Reader, bytes: &[u8]) -> f64 {
    let passes = rate(|| {
        black_box(read(simd, black_box(bytes)));
    });
    passes * bytes.len() as f64
}

/// The plain read that is fastest for `bytes`: each way is tried a few times, its best reading
/// counts.
fn fastest_reader(bytes: &[u8]) -> Reader {
    let mut best: (f64, Reader) = (0.0, (Simd::detect(), read::<1>));
    for _ in 0..3 {
        // VBMI adds nothing to loads.
        for simd in Simd::all().filter(|s| s.level() != Level::Avx512Vbmi) {
            for reader in [(simd, read::<1> as fn(Simd, &[u8]) -> u64), (simd, read::<4>)] {
                let rate = read_rate(reader, bytes);
                if rate > best.0 {
                    best = (rate, reader);
                }
            }
        }
    }
    best.1
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The readings of one shape, level and place; one entry a round.
struct Row {
    simd: Simd,
    shape: Shape,
    layout: CodeLayout,
    in_cache: bool,
    len: usize,
    threshold: u16,
    codes_s: Vec<f64>,
    bytes_s: Vec<f64>,
    read_share: Vec<f64>,
}

impl Row {
    fn new(
        simd: Simd,
        shape: Shape,
        in_cache: bool,
        memory: &Aligned,
        table: &[u8],
    ) -> Option<Self> {
        let layout = CodeLayout::new(shape.m, 1 << shape.bits)?;
        let mut row = Self {
            simd,
            shape,
            layout,
            in_cache,
            len: CACHE_VECTORS,
            threshold: 0,
            codes_s: Vec::new(),
            bytes_s: Vec::new(),
            read_share: Vec::new(),
        };
        // The second smallest bound of a sample.
        let mut bounds = Vec::new();
        scan::bounds(simd, layout, row.list(memory), row.table(table), &mut bounds);
        let bounds: &mut [u16] = bounds.as_flattened_mut();
        bounds.sort_unstable();
        row.threshold = bounds.get(1).copied()?;
        if !in_cache {
            row.len = MEMORY_BYTES / layout.columns();
        }
        Some(row)
    }

    fn table<'a>(&self, table: &'a [u8]) -> &'a [u8] {
        &table[..self.shape.m << self.shape.bits]
    }

    /// The codes, and behind them the scalars, which no other bytes then bring into the cache.
    fn list<'a>(&self, memory: &'a Aligned) -> List<'a> {
        let codes = self.layout.list_bytes(self.len);
        let scalars = self.len * usize::from(self.shape.scalars);
        let (codes, scalars) = memory.first(codes + scalars).split_at(codes);
        let scalars = self.shape.scalars.then_some(Scalars { bytes: scalars, factor: 256 });
        List { codes, len: self.len, scalars, next: &[] }
    }

    fn measure(&mut self, memory: &Aligned, table: &[u8], read: f64, out: &mut Vec<u32>) {
        let (list, table) = (self.list(memory), self.table(table));
        let passes = rate(|| {
            out.clear();
            scan::survivors(self.simd, self.layout, black_box(list), table, self.threshold, out);
            black_box(&out);
        });
        let bytes = list.codes.len() + list.scalars.map_or(0, |s| s.bytes.len());
        self.codes_s.push(passes * self.len as f64);
        self.bytes_s.push(passes * bytes as f64);
        self.read_share.push(passes * bytes as f64 / read);
    }

    fn print(&self) {
        let scalar = if self.shape.scalars { " + L2 byte" } else { "" };
        let name = format!("{}-bit m = {}{scalar}", self.shape.bits, self.shape.m);
        let best = format!("({:.2})", self.codes_s.iter().copied().fold(0.0, f64::max) / 1e9);
        println!(
            "  {name:<24}{:<12}{:>11.3}{best:>10}{:>9.1}{:>8.2}",
            self.simd.level().name(),
            median(&self.codes_s) / 1e9,
            median(&self.bytes_s) / 1e9,
            median(&self.read_share),
        );
    }
}

fn main() {
    // The scalars of the largest row lie behind its codes.
    let memory = Aligned::random(MEMORY_BYTES + MEMORY_BYTES / 8, 1);
    let mut table = vec![0; 32 << 8];
    fill(&mut table, 2);
    let mut out = Vec::with_capacity(1 << 20);
    let mut rows: Vec<Row> = Vec::new();
    for in_cache in [true, false] {
        for shape in SHAPES {
            rows.extend(
                Simd::all().filter_map(|simd| Row::new(simd, shape, in_cache, &memory, &table)),
            );
        }
    }
    // As many bytes as a list of 16-byte codes has.
    let cached = memory.first(CACHE_VECTORS * 16);
    let all = memory.first(MEMORY_BYTES);
    let readers = [(cached, fastest_reader(cached)), (all, fastest_reader(all))];
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for row in &mut rows {
            // Right before each scan, since what else runs on the machine comes and goes.
            let place = usize::from(!row.in_cache);
            let (bytes, reader) = readers[place];
            let read = read_rate(reader, bytes);
            reads[place].push(read);
            row.measure(&memory, &table, read, &mut out);
        }
    }

    println!("Scan of PQ codes, one thread; medians of {ROUNDS} rounds, in brackets the best.");
    println!(
        "G codes/s: 10⁹ vectors a second. Share: bytes a second over a plain read just before."
    );
    for (in_cache, reads) in [true, false].into_iter().zip(&reads) {
        let place = if in_cache { "In cache (16,384 vectors)" } else { "Out of cache (512 MB)" };
        let best = reads.iter().copied().fold(0.0, f64::max);
        println!("\n{place}: plain read {:.1} GB/s ({:.1})", median(reads) / 1e9, best / 1e9);
        println!(
            "  {:<24}{:<12}{:>11}{:>10}{:>9}{:>8}",
            "code", "level", "G codes/s", "", "GB/s", "share"
        );
        rows.iter().filter(|r| r.in_cache == in_cache).for_each(Row::print);
    }
    println!();
    let together = interleaved::measure(&memory);
    let find = |level, bits, m, in_cache| {
        rows.iter().find(|r| {
            let s = r.shape;
            (r.simd.level(), s.bits, s.m, s.scalars, r.in_cache)
                == (level, bits, m, false, in_cache)
        })
    };
    let json = |row: Option<&Row>, value: fn(&Row) -> f64| {
        row.map_or("null".to_owned(), |r| format!("{:.3}", value(r)))
    };
    println!(
        "{{\"vbmi8_gcodes_s_cache\": {}, \"vbmi8_read_share\": {}, \
         \"avx2_4bit_gcodes_s_cache\": {}, \"avx2_8bit_gcodes_s_cache\": {}, \
         \"interleaved_gpairs_s_avx2\": {}, \"interleaved_gpairs_s_avx512\": {}}}",
        json(find(Level::Avx512Vbmi, 8, 16, true), |r| median(&r.codes_s) / 1e9),
        json(find(Level::Avx512Vbmi, 8, 16, false), |r| median(&r.read_share)),
        json(find(Level::Avx2, 4, 32, true), |r| median(&r.codes_s) / 1e9),
        json(find(Level::Avx2, 8, 16, true), |r| median(&r.codes_s) / 1e9),
        interleaved::gpairs_s(&together, Level::Avx2),
        interleaved::gpairs_s(&together, Level::Avx512),
    );
}

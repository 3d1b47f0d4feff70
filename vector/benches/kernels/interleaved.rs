//! Interleaved tables: pairs of a query and a code in a second.

use std::hint::black_box;

use ocelli_vector::codes::CodeLayout;
use ocelli_vector::interleaved::{self, Found, List, MAX_LANES, Tables};
use ocelli_vector::{Level, Simd};

use super::{Aligned, CACHE_VECTORS, MEMORY_BYTES, ROUNDS, fill, median, rate};

/// Sub-quantizers.
const M: usize = 16;
/// Entries of a query's table, and bytes from one table to the next.
const ENTRIES: usize = M * 256;
const APART: usize = ENTRIES + 64;

/// The readings of one level, number of queries and place; one entry a round.
pub(super) struct Row {
    simd: Simd,
    queries: usize,
    in_cache: bool,
    thresholds: [u16; MAX_LANES],
    tables: Tables,
    pairs_s: Vec<f64>,
    /// Microseconds that interleaving takes.
    fill_us: Vec<f64>,
}

/// Tables of the queries, in which an entry is 30 on average.
struct Queries(Vec<u8>);

impl Queries {
    fn random() -> Self {
        let mut bytes = vec![0; MAX_LANES * APART];
        fill(&mut bytes, 3);
        bytes.iter_mut().for_each(|byte| *byte /= 4);
        Self(bytes)
    }

    fn tables(&self, queries: usize) -> Vec<&[u8]> {
        (0..queries).map(|q| &self.0[q * APART..][..ENTRIES]).collect()
    }
}

impl Row {
    /// Rows of every level but the scalar one.
    fn all(memory: &Aligned, own: &Queries) -> Vec<Self> {
        let mut rows = Vec::new();
        for in_cache in [true, false] {
            // Above AVX-512's first level nothing changes.
            for simd in Simd::all().filter(|s| [Level::Avx2, Level::Avx512].contains(&s.level())) {
                for queries in [32, MAX_LANES] {
                    let mut tables = Tables::default();
                    tables.fill(simd, &own.tables(queries));
                    rows.push(Self {
                        simd,
                        queries,
                        in_cache,
                        thresholds: [0; MAX_LANES],
                        tables,
                        pairs_s: Vec::new(),
                        fill_us: Vec::new(),
                    });
                }
            }
        }
        rows.iter_mut().for_each(|row| row.choose_threshold(memory));
        rows
    }

    fn layout() -> CodeLayout {
        CodeLayout::new(M, 256).expect("8 bits are a size of codes")
    }

    fn list<'a>(&self, memory: &'a Aligned) -> List<'a> {
        let len = if self.in_cache { CACHE_VECTORS } else { MEMORY_BYTES / M };
        List { codes: memory.first(Self::layout().list_bytes(len)), len, terms: &[], next: &[] }
    }

    /// Thresholds that about one pair in a thousand passes.
    fn choose_threshold(&mut self, memory: &Aligned) {
        let sample = List { len: 4096, ..self.list(memory) };
        let mut found = Vec::new();
        for threshold in 0.. {
            self.thresholds = [threshold; MAX_LANES];
            found.clear();
            let simd = self.simd;
            let (layout, tables) = (Self::layout(), &self.tables);
            interleaved::survivors(simd, layout, sample, tables, &self.thresholds, &mut found);
            let passed: u32 = found.iter().map(|f| f.lanes.count_ones()).sum();
            if passed as usize * 1000 >= sample.len * self.queries {
                return;
            }
        }
    }

    fn measure(&mut self, memory: &Aligned, own: &Queries, found: &mut Vec<Found>) {
        let list = self.list(memory);
        let passes = rate(|| {
            found.clear();
            let (layout, tables) = (Self::layout(), &self.tables);
            let list = black_box(list);
            interleaved::survivors(self.simd, layout, list, tables, &self.thresholds, found);
            black_box(&found);
        });
        self.pairs_s.push(passes * (list.len * self.queries) as f64);
        let own = own.tables(self.queries);
        self.fill_us.push(1e6 / rate(|| self.tables.fill(self.simd, black_box(&own))));
    }

    fn print(&self) {
        let best = format!("({:.2})", self.pairs_s.iter().copied().fold(0.0, f64::max) / 1e9);
        println!(
            "  {:<24}{:<12}{:>11.3}{best:>10}{:>9.2}",
            format!("{} queries", self.queries),
            self.simd.level().name(),
            median(&self.pairs_s) / 1e9,
            median(&self.fill_us),
        );
    }
}

/// Measures all rows and prints them.
pub(super) fn measure(memory: &Aligned) -> Vec<Row> {
    let own = Queries::random();
    let mut rows = Row::all(memory, &own);
    let mut found = Vec::with_capacity(1 << 20);
    for _ in 0..ROUNDS {
        rows.iter_mut().for_each(|row| row.measure(memory, &own, &mut found));
    }
    println!("Interleaved tables, 8-bit m = 16: 10⁹ pairs of a query and a vector a second; and");
    println!("the microseconds that interleaving the queries' tables takes.");
    for in_cache in [true, false] {
        let place = if in_cache { "In cache" } else { "Out of cache" };
        println!("\n{place}");
        println!("  {:<24}{:<12}{:>11}{:>10}{:>9}", "", "level", "G pairs/s", "", "µs");
        rows.iter().filter(|r| r.in_cache == in_cache).for_each(Row::print);
    }
    println!();
    rows
}

/// Pairs a second of 64 queries and codes from memory, in 10⁹, as JSON.
pub(super) fn gpairs_s(rows: &[Row], level: Level) -> String {
    let of = |r: &&Row| r.simd.level() == level && r.queries == MAX_LANES && !r.in_cache;
    let found = rows.iter().find(of);
    found.map_or("null".to_owned(), |r| format!("{:.3}", median(&r.pairs_s) / 1e9))
}

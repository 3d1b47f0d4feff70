//! Filtered searches beside unfiltered ones: recall against exact filtered neighbours, lists and
//! time, for shares of allowed rows from a half to 10⁻⁵.
//!
//! Usage: `filtered INDEX BASE QUERIES NPROBE REFINE [N]`: an index whose ids are the rows of BASE,
//! and N queries (200). Two kinds of filters: rows that have nothing to do with places, and rows on
//! one side of a plane. Where the index has attributes, reading the first three columns of the hits
//! is timed too. The last line is one JSON object.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ocelli_index::{Filter, Name, Row, RowFilter, Scratch, SearchParams, Snapshot, VectorFile};
use ocelli_vector::l2_sq;

/// A failure of the bench.
type Error = Box<dyn std::error::Error>;

/// Hits wanted.
const K: usize = 10;

/// A number that has nothing to do with the row, 0 to 1.
fn draw(row: usize) -> f64 {
    let mut x = (row as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) as f64 / u64::MAX as f64
}

/// The exact K nearest of some rows.
fn nearest(base: &[f32], dim: usize, q: &[f32], rows: &[usize]) -> Vec<u64> {
    let mut best: Vec<(f32, usize)> =
        rows.iter().map(|&row| (l2_sq(&base[row * dim..][..dim], q), row)).collect();
    let k = K.min(best.len());
    if k < best.len() {
        best.select_nth_unstable_by(k, |a, b| {
            a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    best[..k].iter().map(|&(_, row)| row as u64).collect()
}

struct Bench {
    snapshot: Snapshot,
    base: Vec<f32>,
    queries: Vec<f32>,
    dim: usize,
    params: SearchParams,
}

/// Recall, time in µs, lists, and hits of a query on average.
struct Measured {
    recall: f64,
    us: f64,
    lists: f64,
    hits: f64,
    /// Share of the true neighbours that lie in the probed lists.
    covered: f64,
}

impl Bench {
    fn measure(&self, rows: &[usize], filter: Option<RowFilter>) -> Result<Measured, Error> {
        let params = SearchParams { filter: filter.map(Arc::new), ..self.params.clone() };
        let mut scratch = Scratch::default();
        let mut out = Measured { recall: 0.0, us: 0.0, lists: 0.0, hits: 0.0, covered: 0.0 };
        let direct = self.snapshot.is_direct(&params);
        let shard = self.snapshot.shards().next().ok_or("no shard")?;
        let n = (self.queries.len() / self.dim) as f64;
        for q in self.queries.chunks(self.dim) {
            let truth = nearest(&self.base, self.dim, q, rows);
            let start = Instant::now();
            let hits = self.snapshot.search_with(q, &params, &mut scratch)?.hits;
            out.us += start.elapsed().as_secs_f64() * 1e6 / n;
            let found = hits.iter().filter(|hit| truth.contains(&hit.id)).count();
            out.recall += found as f64 / truth.len() as f64 / n;
            out.hits += hits.len() as f64 / n;
            let lists = self.snapshot.probed_lists(q, &params, &mut scratch)?;
            out.lists += if direct { 0.0 } else { lists.len() as f64 / n };
            let mut covered = 0;
            for id in &truth {
                let ordinal = shard.find_id(*id)?.ok_or("an id that is not there")?;
                let list = shard.code(ordinal)?.0;
                covered += usize::from(direct || lists.iter().any(|l| l.0 == list));
            }
            out.covered += covered as f64 / truth.len() as f64 / n;
        }
        Ok(out)
    }
}

/// Columns, and the time in µs that a query takes more to read them of its hits, on average.
fn reading(bench: &Bench) -> Result<(usize, f64), Error> {
    let mut columns = bench.snapshot.schema()?.select(&["*".to_owned()])?;
    columns.truncate(3);
    let (mut scratch, mut us) = (Scratch::default(), 0.0);
    for q in bench.queries.chunks(bench.dim) {
        let hits = bench.snapshot.search_with(q, &bench.params, &mut scratch)?.hits;
        let rows: Vec<Row> = hits.iter().map(|hit| hit.row).collect();
        let start = Instant::now();
        for values in bench.snapshot.values(&rows, &columns) {
            std::hint::black_box(values?);
        }
        us += start.elapsed().as_secs_f64() * 1e6;
    }
    Ok((columns.len(), us * bench.dim as f64 / bench.queries.len() as f64))
}

/// Searches with filters that allow fewer and fewer rows, wherever they lie or on one side of a
/// plane through the rows; its normal is the first query. Returns the most recall that is lost.
fn selective(
    bench: &Bench,
    plain: &Measured,
    print: &dyn Fn(&str, f64, &Measured),
) -> Result<f64, Error> {
    let dim = bench.dim;
    let all: Vec<usize> = (0..bench.base.len() / dim).collect();
    let mut worst: f64 = 0.0;
    let normal = &bench.queries[..dim];
    let side = |row: usize| -> f32 {
        bench.base[row * dim..][..dim].iter().zip(normal).map(|(a, b)| a * b).sum()
    };
    let mut sides: Vec<f32> = all.iter().map(|&row| side(row)).collect();
    let by_side = sides.clone();
    sides.sort_unstable_by(f32::total_cmp);
    for share in [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 1e-3, 1e-4, 1e-5] {
        let least =
            sides[sides.len() - 1 - ((sides.len() as f64 * share) as usize).min(sides.len() - 1)];
        let kinds: [(&str, Vec<usize>); 2] = [
            ("any place", all.iter().copied().filter(|&row| draw(row) < share).collect()),
            ("one side", all.iter().copied().filter(|&row| by_side[row] > least).collect()),
        ];
        for (kind, rows) in kinds {
            if rows.is_empty() {
                continue;
            }
            let allow = Some(rows.iter().map(|&row| Name::Id(row as u64)).collect());
            let filter = bench.snapshot.resolve(&Filter { allow, ..Filter::default() })?;
            let m = bench.measure(&rows, Some(filter))?;
            print(kind, share, &m);
            worst = worst.max(plain.recall - m.recall);
            if m.hits + 1e-9 < K.min(rows.len()) as f64 {
                return Err(format!("{kind}, {share}: {} hits", m.hits).into());
            }
        }
    }
    Ok(worst)
}

fn main() -> Result<(), Error> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [index, base, queries, nprobe, refine, rest @ ..] = args.as_slice() else {
        return Err("usage: filtered INDEX BASE QUERIES NPROBE REFINE [N]".into());
    };
    let (base, queries) =
        (VectorFile::open(Path::new(base))?, VectorFile::open(Path::new(queries))?);
    let n: usize = rest.first().map_or(Ok(200), |n| n.parse())?;
    let dim = base.dim();
    let params = SearchParams {
        k: K,
        nprobe: nprobe.parse()?,
        refine_candidates: refine.parse()?,
        ..SearchParams::default()
    };
    let bench = Bench {
        snapshot: Snapshot::open(Path::new(index), None)?,
        base: base.read(0..base.rows())?,
        queries: queries.read(0..n.min(queries.rows()))?,
        dim,
        params,
    };
    let all: Vec<usize> = (0..base.rows()).collect();
    let plain = bench.measure(&all, None)?;
    println!(
        "{:>10} {:>8} {:>7} {:>7} {:>8} {:>8} {:>6}",
        "kind", "share", "recall", "covered", "us", "lists", "hits"
    );
    let print = |kind: &str, share: f64, m: &Measured| {
        println!(
            "{kind:>10} {share:>8.5} {:>7.4} {:>7.4} {:>8.1} {:>8.1} {:>6.2}",
            m.recall, m.covered, m.us, m.lists, m.hits
        );
    };
    print("none", 1.0, &plain);
    let (columns, us) = reading(&bench)?;
    if columns > 0 {
        println!("{columns} attributes of {K} hits: {us:.1} us");
    }
    let worst = selective(&bench, &plain, &print)?;
    println!("{{\"recall\": {:.4}, \"largest_loss\": {worst:.4}}}", plain.recall);
    Ok(())
}

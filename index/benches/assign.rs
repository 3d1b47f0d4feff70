//! Benchmark of putting rows in lists and encoding them, one thread.
//!
//! Usage: `assign CENTROIDS ROWS [M]`, both files of vectors. Beside the time: the share of rows
//! whose list is that of the nearest of all centroids, and the error that the others add.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    DescriptorSpec, Encoded, Metric, Model, ModelParts, RowEncoder, RowEncoderScratch, VectorFile,
    simd,
};
use ocelli_vector::dense;
use ocelli_vector::nearest::{NearestRows, NearestScratch};

/// A failure of the bench.
type Error = Box<dyn std::error::Error>;

/// Rows that are encoded, and those of them that meet all centroids.
const ROWS: usize = 40_000;
const EXACT_ROWS: usize = 4_000;
const ROUNDS: usize = 5;

/// A model of these centroids. Its codebooks are rows: what they hold does not matter for the time.
fn model_of(centroids: &Path, rows: &[f32], m: usize) -> Result<Model, Error> {
    let file = VectorFile::open(centroids)?;
    let d = file.dim();
    Ok(Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("bench", u32::try_from(d)?)?,
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: d,
        d,
        nlist: file.rows(),
        coarse: file.read(0..file.rows())?.into(),
        m,
        ksub: 256,
        codebooks: rows[..256 * d].to_vec(),
        training: BTreeMap::new(),
    })?)
}

/// Microseconds a row, least of some rounds, and the list of each row.
fn assign(model: &Model, x: &[f32]) -> Result<(f64, Vec<u32>), Error> {
    let d = model.parts().d;
    let start = Instant::now();
    let encoder = RowEncoder::new(model);
    let prepared = start.elapsed().as_secs_f64();
    println!("{} lists, d = {d}: prepared in {prepared:.2} s", model.parts().nlist);
    let (mut scratch, mut out) = (RowEncoderScratch::default(), Encoded::default());
    let (mut lists, mut best) = (Vec::new(), f64::INFINITY);
    for _ in 0..ROUNDS {
        lists.clear();
        let start = Instant::now();
        for x in x.chunks(encoder.rows_at_a_time() * d) {
            encoder.encode(x, &mut scratch, &mut out)?;
            lists.extend_from_slice(&out.lists);
            black_box(&out);
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((best * 1e6 / lists.len() as f64, lists))
}

/// Compares the lists of the first rows with those that the nearest of all centroids gives.
fn compare(model: &Model, x: &[f32], lists: &[u32]) {
    let p = model.parts();
    let few = lists.len().min(EXACT_ROWS);
    let exact = NearestRows::new(&p.coarse, p.d);
    let mut found = vec![(0, 0.0); few];
    let start = Instant::now();
    exact.assign(simd(), &x[..few * p.d], &mut found, &mut NearestScratch::default());
    let seconds = start.elapsed().as_secs_f64();
    let same = found.iter().zip(lists).filter(|(found, list)| found.0 == **list).count();
    let reached: f64 = x
        .chunks_exact(p.d)
        .zip(&lists[..few])
        .map(|(x, &list)| f64::from(dense::l2_sq(x, model.centroid(list))))
        .sum();
    let least: f64 = found.iter().map(|found| f64::from(found.1)).sum();
    println!("all centroids, without encoding: {:.3} us a row", seconds * 1e6 / few as f64);
    println!("lists that are the nearest: {:.4}", same as f64 / few as f64);
    println!("error over the least: {:.5}", reached / least);
}

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let (Some(centroids), Some(rows)) = (args.next(), args.next()) else {
        println!("usage: assign CENTROIDS ROWS [M]");
        return Ok(());
    };
    let m = args.next().map_or(Ok(16), |m| m.parse())?;
    let file = VectorFile::open(Path::new(&rows))?;
    let x = file.read(0..file.rows().min(ROWS))?;
    let model = model_of(Path::new(&centroids), &x, m)?;
    let (us, lists) = assign(&model, &x)?;
    println!("assigned and encoded into {m} bytes: {us:.3} us a row");
    compare(&model, &x, &lists);
    Ok(())
}

//! What it costs to put rows in lists and to encode them, stage by stage, one thread.
//!
//!     assign CENTROIDS.fvecs ROWS.fvecs [M]
//!
//! Beside the clock: the share of rows whose list is that of the nearest of all centroids.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    DescriptorSpec, Encoded, Metric, Model, ModelParts, RowEncoder, RowEncoderScratch, simd,
};
use ocelli_vector::nearest::{NearestRows, NearestScratch};

/// Rows that are encoded.
const ROWS: usize = 40_000;
const ROUNDS: usize = 5;

/// The vectors of a file (n, d), at most `most`, and d.
fn read(path: &Path, most: usize) -> Result<(Vec<f32>, usize), Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let d = u32::from_le_bytes(*bytes.first_chunk().ok_or("an empty file")?) as usize;
    let record = 4 * (d + 1);
    let n = bytes.len() / record;
    let step = (n / most).max(1);
    let mut out = Vec::new();
    for row in (0..n).step_by(step).take(most) {
        let row = &bytes[row * record + 4..(row + 1) * record];
        out.extend(row.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)));
    }
    Ok((out, d))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let (Some(centroids), Some(rows)) = (args.next(), args.next()) else {
        println!("usage: assign CENTROIDS.fvecs ROWS.fvecs [M]");
        return Ok(());
    };
    let m = args.next().map_or(Ok(16), |m| m.parse())?;
    let (coarse, d) = read(Path::new(&centroids), usize::MAX)?;
    let (x, _) = read(Path::new(&rows), ROWS)?;
    let nlist = coarse.len() / d;
    // Codebooks cost the same whatever they hold.
    let codebooks = x[..256 * d].to_vec();
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("bench", d as u32)?,
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: d,
        d,
        nlist,
        coarse: coarse.clone().into(),
        m,
        ksub: 256,
        codebooks,
        training: Default::default(),
    })?;
    let start = Instant::now();
    let encoder = RowEncoder::new(&model);
    println!("{nlist} lists, d {d}: prepared in {:.2} s", start.elapsed().as_secs_f64());
    let mut scratch = RowEncoderScratch::default();
    let mut out = Encoded::default();
    let mut lists = Vec::new();
    let mut best = f64::INFINITY;
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
    let rows = lists.len();
    println!("assigned and encoded: {:.3} us a row", best * 1e6 / rows as f64);
    let exact = NearestRows::new(&coarse, d);
    let few = rows.min(4000);
    let mut found = vec![(0, 0.0); few];
    let start = Instant::now();
    exact.assign(simd(), &x[..few * d], &mut found, &mut NearestScratch::default());
    let seconds = start.elapsed().as_secs_f64();
    let same = found.iter().zip(&lists).filter(|(found, list)| found.0 == **list).count();
    let of_list = |(x, &list): (&[f32], &u32)| {
        f64::from(ocelli_vector::dense::l2_sq(x, model.centroid(list)))
    };
    let reached: f64 = x.chunks_exact(d).zip(&lists).take(few).map(of_list).sum();
    let least: f64 = found.iter().map(|found| f64::from(found.1)).sum();
    println!(
        "all centroids: {:.3} us a row; {:.4} of the lists are the nearest; error {:.5} of the least",
        seconds * 1e6 / few as f64,
        same as f64 / few as f64,
        reached / least
    );
    Ok(())
}

//! Makes the vectors of `./bench scale` as they are needed, so that no file ever holds them.
//!
//! - `scale train PART ROWS`: a part of vectors to train on, which nobody else gets;
//! - `scale codes MODEL PART FIRST ROWS`: a part of the codes of the vectors with these numbers;
//! - `scale exact-codes MODEL PART FIRST ROWS`: the same, with each vector in the nearest of all
//!   lists, whatever their number;
//! - `scale queries FILE ROWS`: queries, as fvecs;
//! - `scale nearest QUERIES K FIRST ROWS FILE`: the K nearest to each query of the vectors with
//!   these numbers, by comparing all: a line of JSON each, `[[number, squared distance], …]`;
//! - `scale read BYTES PIECE`: what it takes to read pieces of so many bytes at places of so many
//!   bytes of memory that nothing foretells, as the scan of a list does.
//!
//! One thread; several processes take ranges of their own. Each prints its seconds, and `codes`
//! those that it took to make the vectors and to encode them.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use ocelli_bench_data::regional::{DIM, QUERIES, Regional, TRAINING};
use ocelli_index::{
    CodeForm, DescriptorSpec, Dtype, Encoded, Model, Part, PartImage, PartKind, PartRow,
    PartWriter, RowEncoder, RowEncoderScratch, VectorFile, simd,
};
use ocelli_vector::dense;
use ocelli_vector::encode::{encode, transpose};
use ocelli_vector::nearest::{NearestRows, NearestScratch};

/// A failure of the worker.
type Error = Box<dyn std::error::Error>;

const SEED: u64 = 1;
/// Vectors that are in memory at a time.
const BLOCK: u64 = 16_384;

/// The numbers of a range, block by block.
fn blocks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(BLOCK as usize).map(move |first| first..(first + BLOCK).min(end))
}

fn spec() -> Result<DescriptorSpec, Error> {
    Ok(DescriptorSpec::foreign("regional", DIM as u32)?)
}

fn train(out: &Path, rows: u64) -> Result<(), Error> {
    let source = Regional::new(SEED);
    let mut part = PartWriter::create(out, PartKind::Descriptors, Dtype::F32, &spec()?)?;
    let mut x = Vec::new();
    for block in blocks(TRAINING..TRAINING + rows) {
        x.clear();
        source.append(block, &mut x);
        x.chunks_exact(DIM).try_for_each(|x| part.push("", None, x))?;
    }
    part.finish()?;
    Ok(())
}

/// Seconds of making the vectors and of encoding them.
fn codes(model: &Path, out: &Path, range: Range<u64>) -> Result<(f64, f64), Error> {
    let (source, model) = (Regional::new(SEED), Model::open(model)?);
    let mut part = PartWriter::create_codes(out, &spec()?, &CodeForm::of(&model))?;
    let encoder = RowEncoder::new(&model);
    let (mut scratch, mut encoded) = (RowEncoderScratch::default(), Encoded::default());
    let mut x = Vec::new();
    let m = model.parts().m;
    let (mut making_s, mut encoding_s) = (0.0, 0.0);
    for block in blocks(range) {
        x.clear();
        let start = Instant::now();
        source.append(block, &mut x);
        making_s += start.elapsed().as_secs_f64();
        let start = Instant::now();
        encoder.encode(&x, &mut scratch, &mut encoded)?;
        encoding_s += start.elapsed().as_secs_f64();
        for (&list, code) in encoded.lists.iter().zip(encoded.codes.chunks_exact(m)) {
            push(&mut part, list, code)?;
        }
    }
    part.finish()?;
    Part::open(out)?;
    Ok((making_s, encoding_s))
}

/// Codes of vectors that are compared with all centroids, under a model without a transform.
fn exact_codes(model: &Path, out: &Path, range: Range<u64>) -> Result<(), Error> {
    let (source, model) = (Regional::new(SEED), Model::open(model)?);
    let mut part = PartWriter::create_codes(out, &spec()?, &CodeForm::of(&model))?;
    let p = model.parts();
    let centroids = NearestRows::new(&p.coarse, p.d);
    let mut scratch = NearestScratch::default();
    let (mut x, mut residuals) = (Vec::new(), Vec::new());
    let (mut found, mut codes, mut distances) = (Vec::new(), Vec::new(), Vec::new());
    let transposed = transpose(&p.codebooks, p.m, p.ksub);
    for block in blocks(range) {
        x.clear();
        source.append(block, &mut x);
        let n = x.len() / p.d;
        found.resize(n, (0, 0.0));
        centroids.assign(simd(), &x, &mut found, &mut scratch);
        residuals.clear();
        for (x, &(list, _)) in x.chunks_exact(p.d).zip(&found) {
            let centroid = &p.coarse[list as usize * p.d..][..p.d];
            residuals.extend(x.iter().zip(centroid).map(|(x, c)| x - c));
        }
        codes.resize(n * p.m, 0);
        distances.resize(n * p.m, 0.0);
        encode(simd(), &residuals, &transposed, p.m, p.ksub, &mut codes, &mut distances);
        for (&(list, _), code) in found.iter().zip(codes.chunks_exact(p.m)) {
            push(&mut part, list, code)?;
        }
    }
    part.finish()?;
    Ok(())
}

fn push(part: &mut PartWriter, list: u32, code: &[u8]) -> Result<(), Error> {
    let image = PartImage { key: "", id: None, attributes: None, record: &[] };
    Ok(part.push_image(&image, PartRow::Code { list, code, fine: &[] })?)
}

fn queries(out: &Path, rows: u64) -> Result<(), Error> {
    let mut x = Vec::new();
    Regional::new(SEED).append(QUERIES..QUERIES + rows, &mut x);
    let mut file = BufWriter::new(std::fs::File::create(out)?);
    for x in x.chunks_exact(DIM) {
        file.write_all(&(DIM as u32).to_le_bytes())?;
        for x in x {
            file.write_all(&x.to_le_bytes())?;
        }
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// The nearest vectors so far, by distance and number.
struct Nearest {
    k: usize,
    /// Ascending; at most twice k.
    found: Vec<(f32, u64)>,
    /// No vector as far as this is wanted any more.
    limit: f32,
}

impl Nearest {
    fn push(&mut self, distance: f32, number: u64) {
        if distance > self.limit {
            return;
        }
        self.found.push((distance, number));
        if self.found.len() == 2 * self.k {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.found.truncate(self.k);
        if self.found.len() == self.k {
            self.limit = self.found.last().map_or(f32::INFINITY, |last| last.0);
        }
    }
}

fn nearest(queries: &Path, k: usize, range: Range<u64>, out: &Path) -> Result<(), Error> {
    let file = VectorFile::open(queries)?;
    let queries = file.read(0..file.rows())?;
    let source = Regional::new(SEED);
    let nearest = || Nearest { k, found: Vec::with_capacity(2 * k), limit: f32::INFINITY };
    let mut all: Vec<Nearest> = queries.chunks_exact(DIM).map(|_| nearest()).collect();
    let (mut x, mut distances) = (Vec::new(), Vec::new());
    for block in blocks(range) {
        x.clear();
        source.append(block.clone(), &mut x);
        let rows: Vec<u32> = (0..(block.end - block.start) as u32).collect();
        for (query, nearest) in queries.chunks_exact(DIM).zip(&mut all) {
            // Vectors that the near cache holds: for all queries one after the other.
            dense::l2_sqs_of(simd(), query, &x, &rows, &mut distances);
            for (number, &distance) in block.clone().zip(&distances) {
                nearest.push(distance, number);
            }
        }
    }
    let mut file = BufWriter::new(std::fs::File::create(out)?);
    for mut nearest in all {
        nearest.cut();
        let found: Vec<String> = nearest
            .found
            .iter()
            .map(|(distance, number)| format!("[{number}, {distance}]"))
            .collect();
        writeln!(file, "[{}]", found.join(", "))?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// Nanoseconds a byte of reading pieces of memory, the best of several runs.
fn read(bytes: usize, piece: usize) -> f64 {
    const PIECES: usize = 20_000;
    let memory = vec![1u64; bytes / size_of::<u64>()];
    let words = piece / size_of::<u64>();
    let mut random = 1u64;
    let mut best = f64::INFINITY;
    for _ in 0..9 {
        let starts: Vec<usize> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % (memory.len() - words)
        })
        .take(PIECES)
        .collect();
        let start = Instant::now();
        let sum: u64 = starts.iter().map(|&at| memory[at..at + words].iter().sum::<u64>()).sum();
        let ns = start.elapsed().as_nanos() as f64;
        assert_eq!(std::hint::black_box(sum), (PIECES * words) as u64);
        best = best.min(ns / sum as f64 / size_of::<u64>() as f64);
    }
    best
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let range = |first: &str, rows: &str| -> Result<Range<u64>, Error> {
        let first: u64 = first.parse()?;
        Ok(first..first + rows.parse::<u64>()?)
    };
    let start = Instant::now();
    match args.as_slice() {
        ["train", part, rows] => train(Path::new(part), rows.parse()?)?,
        ["codes", model, part, first, rows] => {
            let (making_s, encoding_s) =
                codes(Path::new(model), Path::new(part), range(first, rows)?)?;
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "{{\"seconds\": {seconds:.3}, \"making_s\": {making_s:.3}, \
                 \"encoding_s\": {encoding_s:.3}}}"
            );
            return Ok(());
        }
        ["exact-codes", model, part, first, rows] => {
            exact_codes(Path::new(model), Path::new(part), range(first, rows)?)?;
        }
        ["queries", file, rows] => queries(Path::new(file), rows.parse()?)?,
        ["nearest", file, k, first, rows, out] => {
            nearest(Path::new(file), k.parse()?, range(first, rows)?, Path::new(out))?;
        }
        ["read", bytes, piece] => {
            println!("{{\"ns_per_byte\": {:.5}}}", read(bytes.parse()?, piece.parse()?));
            return Ok(());
        }
        _ => {
            println!("usage: scale train|codes|exact-codes|queries|nearest|read …: see its source");
            return Ok(());
        }
    }
    println!("{{\"seconds\": {:.3}}}", start.elapsed().as_secs_f64());
    Ok(())
}

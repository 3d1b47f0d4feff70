//! What a round of query expansion and what diffusion cost beside a plain query: a million random
//! codes of 32 bytes, d = 256 behind a rotation, 1,024 lists, nprobe 64, 10 hits, AQE and αQE with
//! 5 hits, diffusion of 200. One thread; `./bench rerank` runs it.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    DescriptorSpec, Diffusion, Expansion, ExpansionMethod, Hash, IndexDir, Metric, Model,
    ModelParts, NewGeneration, Scratch, SearchParams, ShardBuilder, Snapshot,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One search in a way of its own, with the buffers of the thread.
type Ask<'a> = Box<dyn Fn(&[f32], &mut Scratch) -> Result<()> + 'a>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROWS: u64 = 1_000_000;
const NLIST: usize = 1024;
const DIM: usize = 256;
const M: usize = 32;
const QUERIES: usize = 300;
/// Interleaved windows; odd, for the median.
const WINDOWS: usize = 7;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let folder = args.first().ok_or("usage: expand FOLDER")?;
    let snapshot = Snapshot::open(&made(Path::new(folder))?, None)?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let queries = draw(&mut rng, QUERIES * DIM, 1.0);
    let params = SearchParams { k: 10, nprobe: 64, ..SearchParams::default() };
    let (snapshot, params) = (&snapshot, &params);
    let expanded = |method, rounds| -> Ask<'_> {
        let expansion = Expansion { method, k: 5, rounds };
        Box::new(move |x, scratch| {
            black_box(snapshot.search_expanded(x, params, &expansion, scratch)?);
            Ok(())
        })
    };
    let diffusion = Diffusion::default();
    let variants: [(&str, Ask<'_>); 5] = [
        (
            "plain",
            Box::new(|x, scratch| {
                black_box(snapshot.search_with(x, params, scratch)?);
                Ok(())
            }),
        ),
        ("AQE, 1 round", expanded(ExpansionMethod::Average, 1)),
        ("AQE, 2 rounds", expanded(ExpansionMethod::Average, 2)),
        ("αQE, 1 round", expanded(ExpansionMethod::Alpha(3.0), 1)),
        (
            "diffusion of 200 hits",
            Box::new(|x, scratch| {
                let params = SearchParams { k: diffusion.candidates, ..params.clone() };
                let hits = snapshot.search_with(x, &params, scratch)?.hits;
                let vectors = snapshot.vectors(hits.iter().map(|hit| hit.row))?.into_iter();
                let vectors: Vec<Vec<f32>> = vectors.collect::<std::result::Result<_, _>>()?;
                black_box(diffusion.order(ocelli_index::simd(), x, &vectors)?);
                Ok(())
            }),
        ),
    ];
    let medians = medians_us(&variants, &queries)?;
    let [plain, aqe, aqe2, alpha, diffused] = medians[..] else {
        return Err("five variants".into());
    };
    for ((name, _), us) in variants.iter().zip(&medians) {
        println!("{name}: {us:.0} us a query, {:.2} times plain more", us / plain - 1.0);
    }
    println!(
        "{{\"plain_us\": {plain:.1}, \"aqe_round\": {:.3}, \"aqe_second_round\": {:.3}, \
         \"alpha_round\": {:.3}, \
         \"diffusion_us\": {:.0}}}",
        (aqe - plain) / plain,
        (aqe2 - aqe) / plain,
        (alpha - plain) / plain,
        diffused - plain
    );
    Ok(())
}

/// Microseconds a query of each variant: medians of windows in turn.
fn medians_us(variants: &[(&str, Ask<'_>)], queries: &[f32]) -> Result<Vec<f64>> {
    let mut scratch = Scratch::default();
    let mut times = vec![Vec::new(); variants.len()];
    // The first window only warms.
    for window in 0..=WINDOWS {
        for ((_, ask), times) in variants.iter().zip(&mut times) {
            let start = Instant::now();
            for query in queries.chunks_exact(DIM) {
                ask(query, &mut scratch)?;
            }
            if window > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e6 / QUERIES as f64);
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times.get(WINDOWS / 2).copied().unwrap_or(f64::NAN)
    };
    Ok(times.iter_mut().map(median).collect())
}

fn draw(rng: &mut ChaCha8Rng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}

/// The index, made if it is not there.
fn made(folder: &Path) -> Result<std::path::PathBuf> {
    let root = folder.join("expand.index");
    if root.join("CURRENT").exists() {
        return Ok(root);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // A rotation that costs what any does: axes in another order.
    let mut rotation = vec![0.0; DIM * DIM];
    for (row, values) in rotation.chunks_exact_mut(DIM).enumerate() {
        values[(row * 77 + 5) % DIM] = 1.0;
    }
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("random", DIM as u32)?,
        metric: Metric::InnerProduct,
        mean: None,
        rotation: Some(rotation),
        renormalize: false,
        dim: DIM,
        d: DIM,
        nlist: NLIST,
        coarse: draw(&mut rng, NLIST * DIM, 1.0).into(),
        m: M,
        ksub: 256,
        codebooks: draw(&mut rng, 256 * DIM, 0.5),
        training: BTreeMap::new(),
    })?;
    let dir = IndexDir::create(&root)?;
    dir.put_model(&model)?;
    let mut shard = ShardBuilder::new(&model);
    for id in 0..ROWS {
        let code: [u8; M] = rng.random();
        shard.push_code(id, "", rng.random_range(0..NLIST as u32), &code)?;
    }
    let shards = vec![dir.put_shard(shard, Hash::of(b"random"), 0)?];
    let new = NewGeneration {
        model: model.hash(),
        shards,
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: ROWS,
    };
    dir.commit(None, new)?;
    Ok(root)
}

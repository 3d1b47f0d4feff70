//! Builds an index of random vectors in a folder and searches it.
//!
//! ```text
//! cargo run --release -p ocelli-index --example random_vectors -- /tmp/random-index
//! ```
//!
//! A real model is trained (`ocelli train`). This one takes some of the vectors for its centroids
//! and codewords, which is enough to see how the pieces fit together.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use ocelli_index::{
    DescriptorSpec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration, SearchParams,
    ShardBuilder, Snapshot,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Vectors, and their dimension.
const ROWS: usize = 20_000;
const DIM: usize = 32;
/// Lists, bytes of a code, and codewords of each byte.
const NLIST: usize = 64;
const M: usize = 8;
const KSUB: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("usage: random_vectors FOLDER")?;
    let root = Path::new(&root);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let vectors: Vec<f32> = (0..ROWS * DIM).map(|_| rng.random_range(-1.0..1.0)).collect();
    let model = model(&vectors)?;

    let dir = IndexDir::create(root)?;
    let parent = dir.current()?;
    dir.put_model(&model)?;
    let first_id = dir.next_id(parent.as_ref())?;
    let mut shard = ShardBuilder::new(&model);
    for (id, x) in (first_id..).zip(vectors.chunks_exact(DIM)) {
        shard.push(id, &format!("vector {}", id - first_id), x)?;
    }
    let shard = dir.put_shard(shard, Hash::of(b"random vectors"), 0)?;
    println!("{}: {} vectors in {} bytes", shard.name, shard.rows, shard.bytes);
    let generation = dir.commit(
        parent.map(|generation| generation.number),
        NewGeneration {
            model: model.hash(),
            shards: vec![shard],
            tombstones: BTreeMap::new(),
            deletes: None,
            next_id: first_id + ROWS as u64,
        },
    )?;
    println!("generation {} is current", generation.number);

    let snapshot = Snapshot::open(root, None)?;
    let params = SearchParams { k: 3, nprobe: 16, ..SearchParams::default() };
    for row in [0, 777, 19_999] {
        let found = snapshot.search(&vectors[row * DIM..][..DIM], &params)?;
        println!("query: vector {row}");
        for hit in found.hits {
            println!("  {} at squared distance {:.3}", snapshot.key(hit.row)?, hit.score);
        }
    }
    Ok(())
}

/// A model whose centroids are the first vectors, and whose codewords are parts of differences
/// between vectors.
fn model(vectors: &[f32]) -> Result<Model, ocelli_index::Error> {
    let (coarse, rest) = vectors.split_at(NLIST * DIM);
    let dsub = DIM / M;
    let codebooks = (0..M * KSUB * dsub).map(|i| {
        let (book, word, at) = (i / (KSUB * dsub), i / dsub % KSUB, i % dsub);
        0.7 * rest[word * DIM + book * dsub + at]
    });
    Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("random", DIM as u32)?,
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: DIM,
        d: DIM,
        nlist: NLIST,
        coarse: coarse.to_vec().into(),
        m: M,
        ksub: KSUB,
        codebooks: codebooks.collect(),
        training: BTreeMap::new(),
    })
}

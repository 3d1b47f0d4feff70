//! An index of two shards, and copies of it to destroy.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use ocelli_index::attributes::Value;
use ocelli_index::attributes::record::{Fields, encode};
use ocelli_index::{
    DescriptorSpec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration, ShardBuilder,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const DIM: usize = 16;
pub const NLIST: usize = 24;
pub const SMALL: u64 = 500;
/// Rows of a shard whose codes and maps fill a few dozen tiles.
pub const LARGE: u64 = 40_000;

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn vector(rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub fn model() -> Model {
    let mut rng = rng(1);
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
    let parts = ModelParts {
        spec: DescriptorSpec::foreign("test", DIM as u32).unwrap(),
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: DIM,
        d: DIM,
        nlist: NLIST,
        coarse: draw(NLIST * DIM).into(),
        m: DIM,
        ksub: 256,
        codebooks: draw(256 * DIM),
        training: BTreeMap::new(),
    };
    Model::from_parts(parts).unwrap()
}

/// Attributes of a row: numbers, texts and bytes, some of them null.
pub fn record(i: u64) -> Vec<u8> {
    let mut fields = Fields::from([
        ("width".to_owned(), Value::Int((i * 7 % 4000) as i64)),
        ("sha256".to_owned(), Value::Bytes32([i as u8; 32])),
    ]);
    if !i.is_multiple_of(3) {
        fields.insert("camera".to_owned(), Value::Text(format!("camera {}", i % 11)));
    }
    encode(&fields).unwrap()
}

/// Ids of the large shard: not affine, so that ids and their map are in the file.
pub fn id_of(i: u64) -> u64 {
    1_000_000 + 3 * (LARGE - i)
}

/// Builds an index of two shards at `root` and returns the large one's file.
pub fn build(root: &Path) -> PathBuf {
    build_shards(root, &[SMALL, LARGE])
}

/// Builds an index of one shard, whose ids and keys are in the file, and returns its file.
pub fn build_one(root: &Path, rows: u64) -> PathBuf {
    build_shards(root, &[0, rows])
}

/// Shards of so many rows, none for 0. Returns the last one's file.
fn build_shards(root: &Path, rows: &[u64]) -> PathBuf {
    let dir = IndexDir::create(root).unwrap();
    let model = model();
    dir.put_model(&model).unwrap();
    let mut rng = rng(2);
    let mut shard = |rows: u64, task| {
        let mut b = ShardBuilder::new(&model);
        for i in 0..rows {
            let (id, key) =
                if task == 0 { (i, String::new()) } else { (id_of(i), format!("photo/{i}")) };
            let code: [u8; DIM] = std::array::from_fn(|_| rng.random());
            b.push_code(id, &key, rng.random_range(0..NLIST as u32), &code).unwrap();
            b.set_record(&record(i)).unwrap();
        }
        dir.put_shard(b, Hash::of(b"plan"), task).unwrap()
    };
    let shards: Vec<_> =
        (0u32..).zip(rows).filter(|(_, n)| **n > 0).map(|(task, &n)| shard(n, task)).collect();
    let last = dir.shard_path(&shards.last().unwrap().name).unwrap();
    let new = NewGeneration {
        model: model.hash(),
        shards,
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: id_of(0) + 1,
    };
    dir.commit(None, new).unwrap();
    last
}

/// Puts a whole file in the place of one that was cut: another file of the same name.
pub fn put_back(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, bytes).unwrap();
    fs::rename(fresh, path).unwrap();
}

pub fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Places to cut a file: at pages, inside them, at the very ends; every `stride`-th of a kind.
pub fn places(bytes: u64, stride: usize) -> Vec<u64> {
    let pages = (0..bytes).step_by(4096 * stride);
    let mut at: Vec<u64> = pages.clone().chain(pages.map(|p| p + 1 + p / 7 % 4095)).collect();
    at.extend([1, 100, bytes - 1, bytes - 8, bytes - 17, bytes - 200]);
    at.retain(|&at| at < bytes);
    at
}

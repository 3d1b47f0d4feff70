//! An index of random codes in one shard, and what measuring on it takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocelli_index::{
    DescriptorSpec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration, Shard, ShardBuilder,
    Snapshot,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// `n` numbers from `-scale` to `scale`.
pub fn draw(rng: &mut ChaCha8Rng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}

/// The index in `root`, made if it is not there: `rows` random codes of `M` bytes for `dim`
/// dimensions in one shard, in `nlist` lists, dense ids, L2. `key` gives the key of each row.
pub fn made<const M: usize>(
    root: PathBuf,
    rows: u64,
    dim: usize,
    nlist: usize,
    mut key: impl FnMut(u64, &mut ChaCha8Rng) -> String,
) -> Result<PathBuf> {
    if root.join("CURRENT").exists() {
        return Ok(root);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(rows);
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("random", dim as u32)?,
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim,
        d: dim,
        nlist,
        coarse: draw(&mut rng, nlist * dim, 1.0).into(),
        m: M,
        ksub: 256,
        codebooks: draw(&mut rng, 256 * dim, 0.5),
        training: BTreeMap::new(),
    })?;
    let dir = IndexDir::create(&root)?;
    dir.put_model(&model)?;
    let mut shard = ShardBuilder::new(&model);
    for id in 0..rows {
        let code: [u8; M] = rng.random();
        let key = key(id, &mut rng);
        shard.push_code(id, &key, rng.random_range(0..nlist as u32), &code)?;
    }
    let shards = vec![dir.put_shard(shard, Hash::of(b"random"), 0)?];
    let tombstones = BTreeMap::new();
    let new =
        NewGeneration { model: model.hash(), shards, tombstones, deletes: None, next_id: rows };
    dir.commit(None, new)?;
    Ok(root)
}

/// The shard of such an index.
pub fn only_shard(snapshot: &Snapshot) -> Result<&Shard> {
    Ok(snapshot.shards().next().ok_or("no shard")?)
}

/// Takes a file out of the page cache, which `dd` can ask for.
pub fn forget(path: &Path) -> Result<()> {
    let file = format!("of={}", path.display());
    let flags =
        ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none", "if=/dev/null"];
    let done = Command::new("dd").arg(file).args(flags).status()?;
    if done.success() { Ok(()) } else { Err("dd failed".into()) }
}

/// The middle of so many measurements, of which one before does not count.
pub fn median(n: usize, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    measure()?;
    let mut all = (0..n).map(|_| measure()).collect::<Result<Vec<f64>>>()?;
    all.sort_unstable_by(f64::total_cmp);
    Ok(all[n / 2])
}

//! Small models, an index directory for shards of theirs, and everything that can be asked of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use ocelli_index::{
    DescriptorSpec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration, Result, Scratch,
    SearchParams, ShardEntry, Snapshot,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Dimension of every model here.
const DIM: usize = 12;
/// Number of models.
pub const MODELS: u8 = 4;

/// Both metrics with 4-bit and 8-bit codes; odd numbers of sub-quantizers too.
pub fn model(number: u8) -> &'static Model {
    static CACHE: [OnceLock<Model>; MODELS as usize] = [const { OnceLock::new() }; MODELS as usize];
    let number = number % MODELS;
    CACHE[usize::from(number)].get_or_init(|| {
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(number));
        let (metric, m, ksub) = [
            (Metric::L2, 4, 16),
            (Metric::InnerProduct, 3, 16),
            (Metric::L2, 3, 256),
            (Metric::InnerProduct, 4, 256),
        ][usize::from(number)];
        let nlist = 5;
        let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let parts = ModelParts {
            spec: DescriptorSpec::foreign("fuzz", DIM as u32).expect("a good name"),
            metric,
            mean: (number % 2 == 1).then(|| draw(DIM)),
            rotation: None,
            renormalize: false,
            dim: DIM,
            d: DIM,
            nlist,
            coarse: draw(nlist * DIM).into(),
            m,
            ksub,
            codebooks: draw(ksub * DIM),
            training: BTreeMap::new(),
        };
        Model::from_parts(parts).expect("parts that fit")
    })
}

/// An index directory of one shard, used again and again.
pub struct Place {
    /// The directory.
    pub dir: IndexDir,
}

impl Place {
    /// This process's one, with all models.
    pub fn get() -> &'static Self {
        static PLACE: OnceLock<Place> = OnceLock::new();
        PLACE.get_or_init(|| {
            let dir = IndexDir::create(&crate::folder().join("index")).expect("a folder in memory");
            for number in 0..MODELS {
                let model = model(number);
                dir.put_model(&model).expect("written");
            }
            Self { dir }
        })
    }

    /// Path of its shard.
    pub fn shard(&self) -> PathBuf {
        self.dir.root().join("shards/fuzz.shard")
    }

    /// Makes a generation of the shard, with the tombstones that `tombstones` names, the only one.
    pub fn commit(&self, model: &Model, shard: ShardEntry, tombstones: Option<Hash>) -> Result<()> {
        for name in ["CURRENT", "generations/1.json"] {
            let _ = std::fs::remove_file(self.dir.root().join(name));
        }
        let tombstones = tombstones.map(|hash| (shard.name.clone(), hash)).into_iter().collect();
        let new = NewGeneration {
            model: model.hash(),
            shards: vec![shard],
            tombstones,
            deletes: None,
            next_id: 1 << 40,
        };
        self.dir.commit(None, new).map(drop)
    }
}

/// Searches, looks up and reads whatever the snapshot has. Errors are fine, panics are not; and two
/// ways to the same thing must agree.
pub fn ask_everything(snapshot: &Snapshot) {
    let mut scratch = Scratch::default();
    let queries = [[0.25f32; DIM], std::array::from_fn(|i| if i % 2 == 0 { 0.7 } else { -0.9 })];
    for query in &queries {
        for (k, nprobe) in [(1, 1), (7, 3), (1000, 1000)] {
            let allow_partial = k == 7;
            let params = SearchParams { k, nprobe, allow_partial, ..SearchParams::default() };
            let Ok(answer) = snapshot.search_with(query, &params, &mut scratch) else { continue };
            assert!(answer.hits.len() <= k);
            for hit in answer.hits.iter().take(20) {
                let _ = (snapshot.key(hit.row), snapshot.vector(hit.row));
                assert_eq!(snapshot.id(hit.row).ok(), Some(hit.id));
            }
            let _ = snapshot.search_naive(query, &params);
        }
    }
    for shard in snapshot.shards() {
        for ordinal in 0..shard.rows().min(60) + 1 {
            let _ = shard.code(ordinal);
            if let Ok(id) = shard.id(ordinal) {
                let _ = snapshot.find_id(id);
            }
            if let Ok(key) = shard.key(ordinal) {
                let _ = snapshot.find_key(&key);
            }
        }
    }
    let _ = (snapshot.find_id(u64::MAX), snapshot.find_key("no such key"), snapshot.rows());
    // A snapshot that verifies is as good as one that was built: everything leads back to itself.
    if snapshot.verify().is_ok() {
        for (number, shard) in (0u32..).zip(snapshot.shards()) {
            for ordinal in 0..shard.rows().min(60) {
                let id = shard.id(ordinal).expect("verified");
                assert_eq!(shard.find_id(id).expect("verified"), Some(ordinal), "shard {number}");
                shard.code(ordinal).expect("verified");
                shard.key(ordinal).expect("verified");
            }
        }
    }
}

//! One storage is the only way to an index: a whole build, commit, search, rollback and proof
//! passes through one that keeps its objects in memory, whose root is no folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ocelli_index::container::NewFile;
use ocelli_index::{
    DescriptorSpec, Error, FineCodec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration,
    ObjectFacts, Result, SearchParams, ShardBuilder, Snapshot, Storage, Version,
};

/// A root that no file system has: code that passes the storage by finds nothing.
const ROOT: &str = "/no-such-folder/index-in-memory";

/// State that the storage shares with the files that are being written to it.
#[derive(Debug, Default)]
struct Shared {
    objects: BTreeMap<String, Vec<u8>>,
    /// Objects that were brought to a local file.
    brought: BTreeSet<String>,
}

/// Objects in memory. Those that are mapped are brought to a folder of their own first.
#[derive(Debug)]
struct MemoryStorage {
    shared: Arc<Mutex<Shared>>,
    local: tempfile::TempDir,
}

#[derive(Debug)]
struct MemoryFile {
    shared: Arc<Mutex<Shared>>,
    folder: String,
    name: Option<String>,
    bytes: Vec<u8>,
}

impl NewFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn publish(self: Box<Self>, name: Option<&str>) -> Result<PathBuf> {
        let name = name.map(str::to_owned).or(self.name).expect("a name");
        let name = format!("{}/{name}", self.folder);
        let path = Path::new(ROOT).join(&name);
        self.shared.lock().unwrap().objects.insert(name, self.bytes);
        Ok(path)
    }
}

impl MemoryStorage {
    fn new() -> Self {
        Self { shared: Arc::default(), local: tempfile::tempdir().unwrap() }
    }

    /// Number of objects by folder.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for name in self.shared.lock().unwrap().objects.keys() {
            *counts.entry(name.split('/').next().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    fn brought(&self) -> Vec<String> {
        self.shared.lock().unwrap().brought.iter().cloned().collect()
    }

    fn put_if(&self, name: &str, fits: impl Fn(Option<&[u8]>) -> bool, new: &[u8]) -> Result<()> {
        let mut shared = self.shared.lock().unwrap();
        if !fits(shared.objects.get(name).map(Vec::as_slice)) {
            return Err(Error::Conflict { what: format!("{name} is another one") });
        }
        shared.objects.insert(name.to_owned(), new.to_vec());
        Ok(())
    }
}

impl Storage for MemoryStorage {
    fn root(&self) -> &Path {
        Path::new(ROOT)
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let shared = self.shared.lock().unwrap();
        Ok(shared.objects.get(name).map(|bytes| {
            let end = (bytes.len() as u64).min(range.end) as usize;
            bytes[(range.start as usize).min(end)..end].to_vec()
        }))
    }

    fn start(&self, folder: &str, name: Option<&str>) -> Result<Box<dyn NewFile>> {
        Ok(Box::new(MemoryFile {
            shared: Arc::clone(&self.shared),
            folder: folder.to_owned(),
            name: name.map(str::to_owned),
            bytes: Vec::new(),
        }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put_if(name, |found| found.is_none_or(|found| found == bytes), bytes)
    }

    fn swap(&self, name: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<()> {
        self.put_if(name, |found| found == expected, new)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let shared = self.shared.lock().unwrap();
        let names = shared.objects.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.map(str::to_owned).collect())
    }

    fn version(&self, name: &str) -> Result<Option<Version>> {
        let shared = self.shared.lock().unwrap();
        Ok(shared.objects.get(name).map(|bytes| Version::new(Hash::of(bytes).to_string())))
    }

    fn facts(&self, name: &str) -> Result<Option<ObjectFacts>> {
        let shared = self.shared.lock().unwrap();
        let facts =
            |bytes: &Vec<u8>| ObjectFacts { bytes: bytes.len() as u64, age: Duration::ZERO };
        Ok(shared.objects.get(name).map(facts))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.shared.lock().unwrap().objects.remove(name);
        Ok(())
    }

    fn local_path(&self, name: &str) -> Result<PathBuf> {
        let path = self.local.path().join(name.replace('/', "-"));
        let mut shared = self.shared.lock().unwrap();
        if let Some(bytes) = shared.objects.get(name).filter(|_| !path.exists()) {
            fs::write(&path, bytes).map_err(|e| Error::io(&path, "write", e))?;
            shared.brought.insert(name.to_owned());
        }
        Ok(path)
    }
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
}

/// A model of dimension 8 with a fine codec.
fn model() -> Model {
    let (d, nlist, m, ksub) = (8, 5, 4, 16);
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", d as u32).unwrap(),
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: d,
        d,
        nlist,
        coarse: numbers(nlist * d, 1).into(),
        m,
        ksub,
        codebooks: numbers(ksub * d, 2),
        training: BTreeMap::new(),
    })
    .unwrap();
    let codec = FineCodec::sq8(model.hash(), &[0.01; 8], &[0.0; 8]).unwrap();
    model.with_fine_codec(codec).unwrap()
}

#[test]
fn an_index_is_built_and_searched_through_its_storage_alone() {
    let storage = Arc::new(MemoryStorage::new());
    let dir = IndexDir::create_in(Arc::clone(&storage) as Arc<dyn Storage>).unwrap();
    assert_eq!(dir.current().unwrap(), None);
    let model = model();
    dir.put_model(&model).unwrap();
    let row = |i: u64| numbers(8, i as usize);
    let shards: Vec<_> = [0..60, 60..100u64]
        .into_iter()
        .enumerate()
        .map(|(task, ids)| {
            let mut shard = ShardBuilder::new(&model);
            ids.for_each(|id| shard.push(id, &format!("key {id}"), &row(id)).unwrap());
            dir.put_shard(shard, Hash::of(b"plan"), task as u32).unwrap()
        })
        .collect();
    let deleted = dir.put_tombstones(&[3u32, 7].into_iter().collect()).unwrap();
    let mut new = NewGeneration {
        model: model.hash(),
        shards,
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: 100,
    };
    dir.commit(None, new.clone()).unwrap();
    new.tombstones.insert(new.shards[0].name.clone(), deleted);
    let second = dir.commit(Some(1), new.clone()).unwrap();
    assert!(matches!(dir.commit(Some(1), new), Err(Error::Conflict { .. })));

    let snapshot = Snapshot::open_in(&dir, None).unwrap();
    snapshot.verify().unwrap();
    assert_eq!((snapshot.generation(), snapshot.rows()), (&second, 98));
    let params = SearchParams { k: 5, nprobe: 5, refine_candidates: 20, ..SearchParams::default() };
    for id in [0, 42, 99] {
        let hits = snapshot.search(&row(id), &params).unwrap().hits;
        assert_eq!(hits.len(), 5);
        assert_eq!(snapshot.key(hits[0].row).unwrap(), format!("key {}", hits[0].id));
    }
    assert_eq!(snapshot.find_key("key 3").unwrap(), None);
    assert_eq!(dir.activate(2, 1).unwrap().number, 1);
    assert_eq!(Snapshot::open_in(&dir, None).unwrap().rows(), 100);

    let counts = storage.counts();
    let want =
        [("CURRENT", 1), ("generations", 2), ("models", 2), ("shards", 2), ("tombstones", 1)];
    assert_eq!(counts, want.into_iter().map(|(folder, n)| (folder.to_owned(), n)).collect());
    // Mapped are models and shards; the rest is read.
    let brought = storage.brought();
    assert_eq!(brought.iter().filter(|name| name.starts_with("models/")).count(), 2);
    assert_eq!(brought.iter().filter(|name| name.starts_with("shards/")).count(), 2);
    assert_eq!(brought.len(), 4);
    assert!(!Path::new(ROOT).exists());
}

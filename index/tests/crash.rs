//! A process that dies at any step of a change, or within one, leaves the generation before the
//! change or the one after it, whole.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ocelli_index::container::NewFile;
use ocelli_index::{
    Cause, Change, CommitOptions, DescriptorSpec, Error, Hash, IndexDir, Keep, LocalStorage,
    Metric, Model, ModelParts, Names, NewGeneration, ObjectFacts, Result, ShardBuilder, ShardEntry,
    Snapshot, Source, Storage, Version, WayBack,
};

/// A folder on which everything fails after so many steps that write. The step at which the process
/// dies leaves half of a temporary file.
#[derive(Debug)]
struct Mortal {
    inner: LocalStorage,
    steps: AtomicI64,
}

impl Mortal {
    fn step(&self, folder: &str) -> Result<()> {
        match self.steps.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => Ok(()),
            left => {
                if left == 0 {
                    let path = self.root().join(folder).join(".half.tmp");
                    let _ = fs::File::create(path).and_then(|mut file| file.write_all(b"half"));
                }
                Err(Error::Invalid { what: "the process is dead".to_owned() })
            }
        }
    }

    fn folder(name: &str) -> &str {
        name.split_once('/').map_or("", |(folder, _)| folder)
    }
}

impl Storage for Mortal {
    fn root(&self) -> &Path {
        self.inner.root()
    }

    fn check(&self) -> Result<()> {
        self.inner.check()
    }

    fn prepare(&self) -> Result<()> {
        self.inner.prepare()
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        self.inner.read_range(name, range)
    }

    fn start(&self, folder: &str, name: Option<&str>) -> Result<Box<dyn NewFile>> {
        self.step(folder)?;
        self.inner.start(folder, name)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.step(Self::folder(name))?;
        self.inner.create(name, bytes)?;
        // It may also die behind the step.
        self.step(Self::folder(name))
    }

    fn swap(&self, name: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<()> {
        self.step(Self::folder(name))?;
        self.inner.swap(name, expected, new)?;
        self.step(Self::folder(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn version(&self, name: &str) -> Result<Option<Version>> {
        self.inner.version(name)
    }

    fn facts(&self, name: &str) -> Result<Option<ObjectFacts>> {
        self.inner.facts(name)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.step(Self::folder(name))?;
        self.inner.remove(name)
    }

    fn guard(&self, sole: bool) -> Result<Box<dyn Any + Send>> {
        self.inner.guard(sole)
    }

    fn local_path(&self, name: &str) -> Result<PathBuf> {
        self.inner.local_path(name)
    }
}

fn model() -> Model {
    Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("example", 2).unwrap(),
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: 2,
        d: 2,
        nlist: 2,
        coarse: vec![0.0, 0.0, 4.0, 4.0].into(),
        m: 1,
        ksub: 16,
        codebooks: (0..32).map(|i| i as f32 / 16.0).collect(),
        training: BTreeMap::new(),
    })
    .unwrap()
}

fn shard(dir: &IndexDir, model: &Model, ids: Range<u64>) -> Result<ShardEntry> {
    let mut shard = ShardBuilder::new(model);
    for id in ids {
        shard.push(id, &format!("k{id}"), &[id as f32 / 10.0, 1.0])?;
    }
    dir.put_shard(shard, Hash::of(b"plan"), 0)
}

/// An index of ids 0 to 9 in two shards, of which 3 is deleted: generation 2.
fn index(root: &Path) -> IndexDir {
    let (dir, model) = (IndexDir::create(root).unwrap(), model());
    dir.put_model(&model).unwrap();
    let shards = [0..5, 5..10].map(|ids| shard(&dir, &model, ids).unwrap()).to_vec();
    let (tombstones, deletes) = (BTreeMap::new(), None);
    let new = NewGeneration { model: model.hash(), shards, tombstones, deletes, next_id: 10 };
    dir.commit(None, new).unwrap();
    delete(&dir, &[3]).unwrap();
    dir
}

fn delete(dir: &IndexDir, ids: &[u64]) -> Result<()> {
    let names = Names { ids: ids.to_vec(), keys: vec!["k4".to_owned()] };
    let change = Change::Delete { names, cause: Cause::Delete };
    dir.commit_change(&change, &CommitOptions::default()).map(drop)
}

/// Ids of the current generation, which must be whole.
fn ids(root: &Path) -> Vec<u64> {
    let snapshot = Snapshot::open(root, None).unwrap();
    snapshot.verify().unwrap();
    (0..20).filter(|&id| snapshot.find_id(id).unwrap().is_some()).collect()
}

/// Makes a change that dies after 0, 1, 2, … steps until it comes through.
fn dies_everywhere(change: impl Fn(&IndexDir) -> Result<()>, after: &[u64]) {
    let before = [0, 1, 2, 5, 6, 7, 8, 9];
    let mut steps = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        index(folder.path());
        let inner = LocalStorage::new(folder.path());
        let mortal = Arc::new(Mortal { inner, steps: AtomicI64::new(steps) });
        let done = change(&IndexDir::open_in(mortal).unwrap());
        let found = ids(folder.path());
        match &done {
            Ok(()) => assert_eq!(found, after),
            Err(error) => {
                assert!(error.to_string().contains("is dead"), "{error}");
                assert!(found == before || found == after, "{steps} steps: {found:?}");
            }
        }
        // The next process does it, or finds it done.
        let again = change(&IndexDir::open(folder.path()).unwrap());
        assert!(again.is_ok() || found == after, "{steps} steps: {again:?}");
        assert_eq!(ids(folder.path()), after, "{steps} steps");
        if done.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 0);
}

#[test]
fn a_deletion_dies_anywhere() {
    dies_everywhere(|dir| delete(dir, &[0, 9]), &[1, 2, 5, 6, 7, 8]);
}

#[test]
fn an_addition_dies_anywhere() {
    let add = |dir: &IndexDir| {
        let model = model();
        let shards = vec![shard(dir, &model, 8..12)?];
        let (model, first_id) = (model.hash(), None);
        let (parent, next_id, supersede) = (2, 12, true);
        let add = Change::Add { parent, model, shards, first_id, next_id, supersede };
        dir.commit_change(&add, &CommitOptions::default()).map(drop)
    };
    dies_everywhere(add, &[0, 1, 2, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_compaction_dies_anywhere() {
    let compact = |dir: &IndexDir| {
        let (model, current) = (model(), dir.current()?.unwrap());
        let mut shard = ShardBuilder::new(&model);
        let mut sources = Vec::new();
        for entry in &current.shards {
            let tombstones = current.tombstones.get(&entry.name).copied();
            let path = dir.shard_path(&entry.name)?;
            let source = ocelli_index::Shard::open(&path, &model)?;
            let dead = match &tombstones {
                Some(hash) => dir.tombstones(hash, source.rows())?,
                None => Default::default(),
            };
            source.each_row(&dead, |row| shard.push_row(row))?;
            sources.push(Source { entry: entry.clone(), tombstones });
        }
        let shards = vec![dir.put_shard(shard, Hash::of(b"compact"), 0)?];
        let change = Change::Compact { sources, shards };
        dir.commit_change(&change, &CommitOptions::default()).map(drop)
    };
    dies_everywhere(compact, &[0, 1, 2, 5, 6, 7, 8, 9]);
}

#[test]
fn garbage_is_removed_by_a_process_that_dies_anywhere() {
    let collect =
        |dir: &IndexDir| dir.collect_garbage(&dir.alone()?, &Keep::default(), true).map(drop);
    dies_everywhere(collect, &[0, 1, 2, 5, 6, 7, 8, 9]);
}

#[test]
fn a_way_back_over_a_lost_generation_dies_anywhere() {
    let mut steps = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        index(folder.path());
        fs::remove_file(folder.path().join("generations/2.json")).unwrap();
        let way = WayBack { from: 1, to: 1, undo_deletes: false, above: 2, next_id: 20 };
        let back = |dir: &IndexDir| dir.go_back(&way, &CommitOptions::default());
        let inner = LocalStorage::new(folder.path());
        let mortal = Arc::new(Mortal { inner, steps: AtomicI64::new(steps) });
        let done = back(&IndexDir::open_in(mortal).unwrap());
        let dir = IndexDir::open(folder.path()).unwrap();
        if let Err(error) = &done {
            assert!(error.to_string().contains("is dead"), "{error}");
            // Lost as before, or back.
            if dir.lost_current().unwrap().is_some() {
                back(&dir).unwrap();
            }
        }
        assert_eq!(ids(folder.path()), (0..10).collect::<Vec<u64>>(), "{steps} steps");
        // Neither the lost number nor the ids are given again.
        let current = dir.current().unwrap().unwrap();
        assert!(*dir.generations().unwrap().last().unwrap() > 2, "{steps} steps");
        assert_eq!(dir.next_id(Some(&current)).unwrap(), 20, "{steps} steps");
        if done.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps > 0);
}

//! Proves generations of an index with all cores: that the bytes are those that were written, and
//! that the files agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use ocelli_index::container::{FileKind, Reader};
use ocelli_index::{Generation, IndexDir, Proof, ShardEntry, Snapshot};
use rayon::prelude::*;
use serde::Serialize;

use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

/// The generations that are proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The current one.
    #[default]
    Current,
    /// The one of this number.
    Number(u64),
    /// All that exist; files that they share are proven once.
    All,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The generation in which it was found.
    pub generation: u64,
    /// The file, where one file is the cause.
    pub path: Option<PathBuf>,
    /// The fault in one line: expected and found.
    pub what: String,
}

/// Report of a proof.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The index directory.
    pub index: PathBuf,
    /// Numbers of the generations that were proven.
    pub generations: Vec<u64>,
    /// Shards that were proven.
    pub shards: usize,
    /// Rows of these shards, deleted ones included.
    pub rows: u64,
    /// Bytes of the files that were proven.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// Megabytes a second: 10⁶ bytes.
    pub mb_per_s: f64,
    /// All that is wrong; nothing in a sound index.
    pub faults: Vec<Fault>,
}

impl VerifyReport {
    /// Whether nothing was found to be wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Proves generations of the index at `root`: checksums of all files, numbers of rows, ids and keys
/// that are there once among rows that are not deleted, order of lists and maps, model and spec.
/// Damage does not end it: the report has every fault.
///
/// # Errors
/// No such index directory or generation; no generation at all.
pub fn verify(
    root: &Path,
    which: Which,
    threads: usize,
    progress: ProgressFn<'_>,
) -> Result<VerifyReport> {
    let start = Instant::now();
    let dir = IndexDir::open(root)?;
    let numbers = match which {
        Which::Number(number) => {
            if let Err(error @ ocelli_index::Error::NotFound { .. }) = dir.generation(number) {
                return Err(error.into());
            }
            vec![number]
        }
        Which::All => dir.generations()?,
        Which::Current => dir.current()?.into_iter().map(|current| current.number).collect(),
    };
    if numbers.is_empty() {
        dir.refuse_lost_current()?;
        let what = format!("{}: the index has no generation yet", root.display());
        return Err(ocelli_index::Error::not_found(what).into());
    }
    let mut proven = prove(&dir, &numbers, threads, progress)?;
    let mut numbers = numbers;
    if !matches!(which, Which::Number(_)) {
        // Another became current meanwhile, and `gc` removed these.
        let there = dir.generations()?;
        numbers.retain(|number| there.contains(number));
        proven.faults.retain(|(number, _)| there.contains(number));
    }
    let fault = |(generation, error): &(u64, ocelli_index::Error)| Fault {
        generation: *generation,
        path: error.path().map(Path::to_owned),
        what: error.to_string(),
    };
    let mut faults: Vec<Fault> = proven.faults.iter().map(fault).collect();
    if which == Which::All {
        faults.extend(fault_of_current(&dir, &numbers));
    }
    faults.sort_unstable();
    faults.dedup();
    let seconds = start.elapsed().as_secs_f64();
    Ok(VerifyReport {
        index: root.to_owned(),
        generations: numbers,
        shards: proven.known.len(),
        rows: proven.rows,
        bytes: proven.bytes,
        seconds,
        mb_per_s: proven.bytes as f64 / 1e6 / seconds.max(1e-9),
        faults,
    })
}

/// The fault of an index that does not say which generation is current: it cannot be served. It is
/// told of the newest generation.
fn fault_of_current(dir: &IndexDir, numbers: &[u64]) -> Option<Fault> {
    let path = dir.root().join("CURRENT");
    let what = match dir.current() {
        Ok(Some(_)) => return None,
        Ok(None) => {
            format!("{}: there is no such file, so no generation is current", path.display())
        }
        Err(error) => format!("{}: names no sound generation: {error}", path.display()),
    };
    let generation = numbers.last().copied().unwrap_or(0);
    Some(Fault { generation, path: Some(path), what })
}

/// The outcome of a proof.
#[derive(Debug, Default)]
pub(super) struct Proven {
    /// Names of shards that were proven.
    known: BTreeSet<String>,
    /// Rows of these shards.
    rows: u64,
    /// Bytes of the files that were proven.
    pub(super) bytes: u64,
    /// Faults, each with the generation in which it was found. A shard that several generations
    /// share is told once, in the newest of them.
    pub(super) faults: Vec<(u64, ocelli_index::Error)>,
}

/// Proves generations, ascending `numbers`, the newest first: it is the one that matters.
///
/// # Errors
/// Threads that cannot be started; a directory that cannot be listed.
pub(super) fn prove(
    dir: &IndexDir,
    numbers: &[u64],
    threads: usize,
    progress: ProgressFn<'_>,
) -> Result<Proven> {
    let mut proven = Proven::default();
    pool(threads)?.install(|| {
        numbers.iter().rev().try_for_each(|&number| proven.generation(dir, number, progress))
    })?;
    Ok(proven.without_echoes())
}

impl Proven {
    fn generation(&mut self, dir: &IndexDir, number: u64, progress: ProgressFn<'_>) -> Result<()> {
        let generation = match dir.generation(number) {
            Ok(generation) => generation,
            Err(error) => {
                // `gc` may take one away meanwhile.
                let is_gone = matches!(error, ocelli_index::Error::NotFound { .. })
                    && !dir.generations()?.contains(&number);
                if !is_gone {
                    self.faults.push((number, error));
                }
                return Ok(());
            }
        };
        let snapshot = match Snapshot::open_degraded(dir.root(), Some(number), None) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.faults.push((number, error));
                self.files_alone(dir, &generation);
                return Ok(());
            }
        };
        let proofs = snapshot.proofs(|entry| self.known.contains(&entry.name));
        let faults = prove_all(&snapshot, &proofs, progress);
        self.bytes += proofs.iter().map(Proof::bytes).sum::<u64>();
        self.faults.extend(faults.into_iter().map(|error| (number, error)));
        for entry in generation.shards {
            if self.known.insert(entry.name) {
                self.rows += entry.rows;
            }
        }
        Ok(())
    }

    /// Drops what is said of a file's hash, where something else says more about the file.
    fn without_echoes(mut self) -> Self {
        let is_hash = |error: &ocelli_index::Error| {
            matches!(error, ocelli_index::Error::Misplaced { what: "SHA-256", .. })
        };
        let told: BTreeSet<PathBuf> = self
            .faults
            .iter()
            .filter(|(_, error)| !is_hash(error))
            .filter_map(|(_, error)| error.path().map(Path::to_owned))
            .collect();
        self.faults.retain(|(_, error)| {
            !is_hash(error) || error.path().is_none_or(|path| !told.contains(path))
        });
        self
    }

    /// Proves the bytes of shards that cannot be opened together with their model.
    fn files_alone(&mut self, dir: &IndexDir, generation: &Generation) {
        let unknown: Vec<&ShardEntry> =
            generation.shards.iter().filter(|entry| !self.known.contains(&entry.name)).collect();
        let bytes: Vec<_> = unknown.par_iter().map(|entry| file_alone(dir, entry)).collect();
        for outcome in bytes {
            match outcome {
                Ok(bytes) => self.bytes += bytes,
                Err(error) => self.faults.push((generation.number, error)),
            }
        }
    }
}

/// Proves the bytes of a shard, and returns how many they are.
fn file_alone(dir: &IndexDir, entry: &ShardEntry) -> ocelli_index::Result<u64> {
    let path = dir.shard_path(&entry.name)?;
    let file = Reader::open(&path, FileKind::Shard)?;
    file.verify()?;
    let found = file.checksum();
    file.intact()?;
    if found == entry.checksum {
        return Ok(file.bytes());
    }
    Err(ocelli_index::Error::Misplaced {
        path,
        what: "SHA-256",
        expected: entry.checksum.to_string(),
        found: found.to_string(),
    })
}

/// Does all pieces, on all threads of the pool.
fn prove_all(
    snapshot: &Snapshot,
    proofs: &[Proof],
    progress: ProgressFn<'_>,
) -> Vec<ocelli_index::Error> {
    let total = proofs.iter().map(Proof::bytes).sum();
    let done = AtomicU64::new(0);
    // One by one, in order: the pieces that cannot be split come first.
    let next = AtomicUsize::new(0);
    let work = |_: rayon::BroadcastContext<'_>| {
        let mut faults = Vec::new();
        while let Some(proof) = proofs.get(next.fetch_add(1, Ordering::Relaxed)) {
            faults.extend(snapshot.prove(proof));
            let done = done.fetch_add(proof.bytes(), Ordering::Relaxed) + proof.bytes();
            if proof.bytes() > 0 {
                progress(Progress { stage: "verify", done, total });
            }
        }
        faults
    };
    let faults = rayon::broadcast(work);
    faults.into_iter().flatten().collect()
}

/// An error for a report that has faults.
///
/// # Errors
/// [`Error::Invalid`] with the number of faults, where there are any.
pub fn require_sound(report: &VerifyReport) -> Result<()> {
    match report.faults.len() {
        0 => Ok(()),
        faults => Err(Error::Invalid(format!(
            "{}: {} found; `ocelli doctor {}` says how to mend it",
            report.index.display(),
            ocelli_text::counted(faults as u64, "fault"),
            report.index.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ocelli_index::attributes::record;
    use ocelli_index::{Hash, ShardBuilder, Value, object_names};

    use super::*;
    use crate::lifecycle::fixture::{bury, force, index, model, shard, upsert};
    use crate::silent;

    /// Damage of CURRENT, or of one generation, does not end the proof of the others.
    #[test]
    fn no_damage_ends_the_proof_of_all_generations() {
        let (tmp, dir) = index();
        let shard = dir.shard_path(&dir.current().unwrap().unwrap().shards[1].name).unwrap();
        std::fs::remove_file(&shard).unwrap();
        // A name that leads nowhere.
        std::os::unix::fs::symlink("nowhere", tmp.path().join("generations/2.json.new")).unwrap();
        let two = tmp.path().join("generations/2.json");
        std::fs::rename(tmp.path().join("generations/2.json.new"), &two).unwrap();
        let damages: [fn(&Path); 3] = [
            |current| std::fs::remove_file(current).unwrap(),
            |current| std::fs::write(current, "?").unwrap(),
            |current| std::fs::write(current, "7 x\n").unwrap(),
        ];
        for damage in damages {
            damage(&tmp.path().join("CURRENT"));
            let report = verify(tmp.path(), Which::All, 2, &silent).unwrap();
            let has = |text: &str| report.faults.iter().any(|fault| fault.what.contains(text));
            assert!(has("CURRENT") && has("no generation 2"), "{:?}", report.faults);
            assert!(has(&shard.display().to_string()), "{:?}", report.faults);
        }
        assert!(verify(tmp.path(), Which::Number(9), 2, &silent).is_err());
        let health = crate::lifecycle::health::examine(
            tmp.path(),
            &crate::lifecycle::health::HealthOptions::default(),
            &silent,
        );
        let findings = health.unwrap().findings;
        assert!(findings.iter().any(|finding| finding.path == shard), "{findings:#?}");
    }

    fn faults(dir: &IndexDir) -> Vec<String> {
        let report = verify(dir.root(), Which::Current, 2, &silent).unwrap();
        report.faults.into_iter().map(|fault| fault.what).collect()
    }

    /// The one fault of a generation that no commit makes: one after the current one, changed.
    fn fault_of(dir: &IndexDir, change: impl FnOnce(&mut Generation)) -> String {
        let mut generation = dir.current().unwrap().unwrap();
        generation.parent = Some(generation.number);
        generation.number += 1;
        change(&mut generation);
        force(dir, &generation);
        let faults = faults(dir);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    }

    fn with_column(dir: &IndexDir, task: u32, value: Value) -> ShardEntry {
        let model = model(0);
        let mut builder = ShardBuilder::new(&model);
        let id = 1000 + u64::from(task);
        builder.push(id, "", &[0.1, 0.2, 0.3, 0.4]).unwrap();
        let fields = record::Fields::from([("camera".to_owned(), value)]);
        builder.set_record(&record::encode(&fields).unwrap()).unwrap();
        dir.put_shard(builder, Hash::of(b"columns"), task).unwrap()
    }

    #[test]
    fn a_column_of_two_types_is_a_fault() {
        let (_tmp, dir) = index();
        let one = with_column(&dir, 0, Value::Int(5));
        let other = with_column(&dir, 1, Value::Text("x".to_owned()));
        let names = [one.name.clone(), other.name.clone()];
        let fault = fault_of(&dir, |generation| {
            generation.shards.extend([one, other]);
            generation.next_id = 2000;
        });
        assert!(fault.contains("\"camera\" is int64 in shard"), "{fault}");
        assert!(names.iter().all(|name| fault.contains(name)), "{fault}");
    }

    #[test]
    fn a_next_id_that_is_in_use_is_a_fault() {
        let (_tmp, dir) = index();
        let fault = fault_of(&dir, |generation| generation.next_id = 119);
        assert!(fault.contains("id 119") && fault.contains("is in use"), "{fault}");
    }

    #[test]
    fn a_deleted_row_that_is_found_is_a_fault() {
        let (_tmp, dir) = index();
        bury(&dir, &[70]);
        // A row of the same key in another shard is another row.
        let again = shard(&dir, &model(0), 9, 70, 1);
        upsert(&dir, again, 120);
        assert_eq!(faults(&dir), [""; 0]);
        let made_by = dir.current().unwrap().unwrap().made_by;
        let fault = fault_of(&dir, |generation| {
            let shard = generation.shards[1].name.clone();
            assert!(generation.tombstones.remove(&shard).is_some());
            generation.shards.pop();
            generation.made_by = made_by;
        });
        assert!(fault.contains("id 70 (key \"photo 70\")"), "{fault}");
        assert!(fault.contains("was deleted in generation 4"), "{fault}");
    }

    #[test]
    fn a_log_of_later_deletions_is_a_fault() {
        let (_tmp, dir) = index();
        let head = r#"{"format":1,"before":null,"rows":1}"#;
        let row = r#"{"id":99,"generation":9,"cause":"delete"}"#;
        let bytes = format!("{head}\n{row}\n");
        let log = Hash::of(bytes.as_bytes());
        std::fs::write(dir.root().join(object_names::deletes(&log)), bytes).unwrap();
        let fault = fault_of(&dir, |generation| generation.deletes = Some(log));
        assert!(fault.contains("deleted in generation 9"), "{fault}");
    }

    /// A shard under the name of another one: its entry has the content that it has.
    #[test]
    fn a_name_that_is_that_of_other_content_is_a_fault() {
        let (_tmp, dir) = index();
        let fault = fault_of(&dir, |generation| {
            let [first, second] = &mut generation.shards[..] else { panic!("two shards") };
            let path = |name: &str| dir.shard_path(name).unwrap();
            let name = first.name.replace("-00000-", "-00005-");
            std::fs::copy(path(&second.name), path(&name)).unwrap();
            second.name = name;
        });
        assert!(fault.contains("name"), "{fault}");
    }

    #[test]
    fn tombstones_of_rows_that_are_not_there_are_a_fault() {
        let (_tmp, dir) = index();
        let hash = dir.put_tombstones(&[60u32].into_iter().collect()).unwrap();
        let fault = fault_of(&dir, |generation| {
            let shard = generation.shards[0].name.clone();
            generation.tombstones = BTreeMap::from([(shard, hash)]);
        });
        assert!(fault.contains("ordinal 60 of 60 rows"), "{fault}");
    }
}

//! Open generations of an index, and the slot that holds the current one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use ocelli_index::{
    FineCodec, Hash, IndexDir, Metric, Row, Scratch, SearchParams, ShardFailure, Snapshot, Version,
};
use ocelli_proto::status::Code;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::leaf::Leaf;
use crate::options::Options;
use crate::pool::Work;
use crate::root::{Faults, Root};

/// The time between two checks whether the last query on an earlier generation has ended.
const RETIRE: Duration = Duration::from_millis(20);
/// The number of queries that warm a generation's caches, after its bytes are read.
const WARM_QUERIES: usize = 16;

/// An open generation of an index, with the facts that queries are checked against.
pub struct OpenIndex {
    pub(super) name: String,
    pub(super) generation: u64,
    /// Hash of the model's descriptor spec.
    pub(super) spec: Hash,
    pub(super) dim: usize,
    pub(super) nlist: usize,
    pub(super) rows: u64,
    /// Whether the index has finer codes.
    pub(super) refined: bool,
    pub(super) metric: Metric,
    pub(super) root: Arc<Root>,
    /// The files that answer from an earlier mapping because they cannot be opened again.
    pub(super) kept: Faults,
    snapshot: Arc<Snapshot>,
    /// The version of each shard's file when it was opened; `None` if it could not be looked at.
    pub(super) files: BTreeMap<String, Option<Version>>,
    pub(super) open_time: Duration,
}

/// The versions of the files that an index needs to be opened; none if there is no such folder.
type Versions = Vec<(String, Option<Version>)>;

fn versions(folder: &Path) -> Versions {
    IndexDir::open(folder).map(|dir| dir.versions()).unwrap_or_default()
}

/// The demand on a generation that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// All shards must be sound.
    Whole,
    /// Shards may fail. A shard whose file cannot be opened again answers from its earlier mapping.
    Degraded,
}

impl OpenIndex {
    /// Opens a generation (the current one, or the one asked for) and warms it: its bytes are
    /// checked and in memory, and a few searches have run. This blocks, for long if the index is
    /// large.
    pub(super) fn open(
        name: &str,
        folder: &Path,
        generation: Option<u64>,
        demand: Demand,
        warm: bool,
        before: Option<&OpenIndex>,
    ) -> ocelli_index::Result<OpenIndex> {
        let start = Instant::now();
        let dir = IndexDir::open(folder)?;
        let before = before.map(|index| &*index.snapshot);
        let snapshot = match demand {
            Demand::Whole => Snapshot::open_after(folder, generation, before)?,
            Demand::Degraded => Snapshot::open_degraded(folder, generation, before)?,
        };
        let new_shards = snapshot.shards().len() - snapshot.reused();
        let mut files = BTreeMap::new();
        for entry in &snapshot.generation().shards {
            let version = dir.shard_version(&entry.name).ok().flatten();
            files.insert(entry.name.clone(), version);
        }
        let mut failures: Vec<_> = snapshot.missing().collect();
        if warm && new_shards > 0 {
            // Files that are open already are warm.
            // On Linux, this sets the niceness of this thread alone: searches go first. If the
            // system refuses it, the niceness stays the same. The thread ends with this work.
            let _ = rustix::process::nice(19);
            failures.extend(snapshot.warm());
            warm_up(&snapshot);
        }
        if demand == Demand::Whole && !failures.is_empty() {
            return Err(failures.swap_remove(0).error);
        }
        let (faults, kept) = (faults_of(failures), faults_of(snapshot.kept().to_vec()));
        log_faults(name, &faults, &kept);
        let open_time = start.elapsed();
        log_opened(name, folder, &snapshot, open_time);
        let parts = snapshot.model().parts();
        let (spec, dim, nlist, metric) = (parts.spec.hash(), parts.dim, parts.nlist, parts.metric);
        let (rows, refined) = (snapshot.rows(), snapshot.fine_codec().is_some());
        let generation = snapshot.generation().number;
        let snapshot = Arc::new(snapshot);
        let leaf: Arc<dyn Leaf> = Arc::<Snapshot>::clone(&snapshot);
        let root = Arc::new(Root::new(vec![leaf], metric, faults));
        Ok(OpenIndex {
            name: name.to_owned(),
            generation,
            spec,
            dim,
            nlist,
            rows,
            refined,
            metric,
            root,
            kept,
            snapshot,
            files,
            open_time,
        })
    }

    /// The size of a query: the codes of the lists that it probes, as if all lists were equally
    /// long. With a filter or a diffusion, the size is unknown.
    pub(super) fn work(&self, options: &Options) -> Work {
        if options.filter.is_some() || options.diffusion.is_some() {
            return Work::unknown(1);
        }
        let nprobe = options.search.nprobe.min(self.nlist) as u64;
        let lists = nprobe * u64::from(options.searches());
        let codes = u128::from(self.rows) * u128::from(lists) / self.nlist.max(1) as u128;
        Work { queries: 1, codes: usize::try_from(codes).unwrap_or(usize::MAX) }
    }
}

/// Logs the shards that fail, and the files that answer from an earlier mapping.
fn log_faults(index: &str, faults: &Faults, kept: &Faults) {
    for (shard, (reason, error)) in faults {
        let reason = reason.as_str_name();
        tracing::error!(index, shard, reason, error, "a shard fails");
    }
    for (shard, (reason, error)) in kept {
        let reason = reason.as_str_name();
        let message = "a file cannot be opened again; its mapping still answers";
        tracing::warn!(index, shard, reason, error, "{message}");
    }
}

/// Logs a generation that was opened.
fn log_opened(index: &str, folder: &Path, snapshot: &Snapshot, open_time: Duration) {
    let (generation, model) = (snapshot.generation(), snapshot.model());
    let parts = model.parts();
    tracing::info!(
        index,
        folder = %folder.display(),
        generation = generation.number,
        rows = snapshot.rows(),
        shards = generation.shards.len(),
        dim = parts.dim,
        nlist = parts.nlist,
        bytes_per_code = parts.m,
        finer_codes = snapshot.fine_codec().map(FineCodec::name),
        model = %model.hash(),
        spec = %parts.spec.hash(),
        open_ms = open_time.as_millis() as u64,
        "index opened"
    );
}

/// Failures by name, with reason and message.
fn faults_of(failures: Vec<ShardFailure>) -> Faults {
    let fault = |failure: ShardFailure| {
        let error = Error::from(failure.error);
        (failure.name, (error.reason, error.message))
    };
    failures.into_iter().map(fault).collect()
}

/// Searches a few of the snapshot's own vectors, to fill what is made when it is first needed.
fn warm_up(snapshot: &Snapshot) {
    let mut scratch = Scratch::default();
    let params = SearchParams { allow_partial: true, ..SearchParams::default() };
    let rows: Vec<u32> = snapshot.shards().map(|shard| shard.rows()).collect();
    for number in 0..WARM_QUERIES {
        let shard = number % rows.len().max(1);
        let Some(rows) = rows.get(shard) else { return };
        let ordinal = (u64::from(*rows) * number as u64 / WARM_QUERIES as u64) as u32;
        // Failures are reported elsewhere; this only warms the rest.
        let Ok(x) = snapshot.vector(Row { shard: shard as u32, ordinal }) else { continue };
        let _ = snapshot.search_with(&x, &params, &mut scratch);
    }
}

/// A served index: the current generation, and earlier ones that queries still use.
pub struct Slot {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    warm: bool,
    /// `None` if no generation could be opened since the server started.
    current: ArcSwapOption<OpenIndex>,
    retired: Arc<Mutex<Vec<Weak<OpenIndex>>>>,
    /// Held while the current generation is changed.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// The error of the newest attempt to open a generation.
    reload_error: Mutex<Option<Error>>,
    /// The files as they were before the newest attempt that failed.
    tried: Mutex<Versions>,
}

impl Slot {
    /// Opens the current generation of the index in `folder`. This blocks. If the index cannot be
    /// opened, the error is returned beside the slot, which refuses queries until it is opened.
    pub(super) fn open(name: &str, folder: &Path, warm: bool) -> (Slot, Option<Error>) {
        let slot = Slot {
            name: name.to_owned(),
            folder: folder.to_owned(),
            warm,
            current: ArcSwapOption::empty(),
            retired: Arc::default(),
            changing: tokio::sync::Mutex::default(),
            reload_error: Mutex::default(),
            tried: Mutex::new(versions(folder)),
        };
        match OpenIndex::open(name, folder, None, Demand::Degraded, warm, None) {
            Ok(index) => {
                slot.current.store(Some(Arc::new(index)));
                (slot, None)
            }
            Err(error) => {
                let error = Error::from(error);
                slot.set_reload_error(Some(error.clone()));
                (slot, Some(error))
            }
        }
    }

    /// The generation that answers now, if there is one.
    pub(super) fn current(&self) -> Option<Arc<OpenIndex>> {
        self.current.load_full()
    }

    /// The generation that answers now.
    ///
    /// # Errors
    /// If there is none: the error of opening it.
    pub(super) fn serving(&self) -> Result<Arc<OpenIndex>> {
        self.current().ok_or_else(|| {
            let cause = self.reload_error.lock().clone();
            let cause = cause.unwrap_or_else(|| Error::new(Code::Internal, "nobody said why"));
            let message = format!("index {:?} is not open: {}", self.name, cause.message);
            // The index exists, but its generation does not.
            let code = match cause.code {
                Code::NotFound => Code::FailedPrecondition,
                code => code,
            };
            Error { code, message, ..cause }
        })
    }

    /// Whether the files have changed since the newest failed attempt to open them.
    pub(super) fn is_worth_a_try(&self) -> bool {
        let now = versions(&self.folder);
        *self.tried.lock() != now
    }

    /// The number of earlier generations that queries still run on.
    pub(super) fn retired(&self) -> usize {
        let retired = self.retired.lock();
        retired.iter().filter(|index| index.strong_count() > 0).count()
    }

    /// The error of the newest attempt to open a generation; empty if it succeeded.
    pub(super) fn reload_error(&self) -> String {
        let error = self.reload_error.lock();
        error.as_ref().map(|error| error.message.clone()).unwrap_or_default()
    }

    pub(super) fn set_reload_error(&self, error: Option<Error>) {
        *self.reload_error.lock() = error;
    }

    /// Opens a generation on a thread of its own. Reading the bytes of new files has a lower
    /// priority than searches; what is left, such as a deletion, does not wait for them.
    pub(super) async fn open_aside(
        &self,
        generation: Option<u64>,
        demand: Demand,
    ) -> Result<OpenIndex> {
        let (name, folder, warm) = (self.name.clone(), self.folder.clone(), self.warm);
        let before = self.current();
        if before.is_none() {
            let now = versions(&self.folder);
            *self.tried.lock() = now;
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("open-index".to_owned());
        let spawned = thread.spawn(move || {
            let _ = sender.send(OpenIndex::open(
                &name,
                &folder,
                generation,
                demand,
                warm,
                before.as_deref(),
            ));
        });
        spawned.map_err(|error| {
            Error::new(Code::Internal, format!("cannot start a thread to open the index: {error}"))
        })?;
        let opened = receiver.await.map_err(|_| {
            Error::new(Code::Internal, "opening the index failed; the server's log says why")
        })?;
        Ok(opened?)
    }

    /// Makes `index` the current generation. Running queries end on the generation before it, which
    /// is then unmapped. That takes a while for a large index, so it happens on a thread that
    /// nobody waits for.
    pub(super) fn replace(&self, index: OpenIndex) -> Arc<OpenIndex> {
        let (name, generation) = (self.name.clone(), index.generation);
        let new = Arc::new(index);
        let old = self.current.swap(Some(Arc::clone(&new)));
        let before = old.as_ref().map(|old| old.generation);
        tracing::info!(index = name, generation, before, "generation answers");
        let Some(mut old) = old else { return new };
        let mut retired = self.retired.lock();
        retired.retain(|index| index.strong_count() > 0);
        retired.push(Arc::downgrade(&old));
        drop(retired);
        tokio::spawn(async move {
            let gone = loop {
                match Arc::try_unwrap(old) {
                    Ok(index) => break index,
                    Err(shared) => old = shared,
                }
                tokio::time::sleep(RETIRE).await;
            };
            // Jobs that nobody waits for hold the root. It is dropped with the last of them.
            let generation = gone.generation;
            let dropped = tokio::task::spawn_blocking(move || drop(gone)).await;
            tracing::info!(index = name, generation, ok = dropped.is_ok(), "generation closed");
        });
        new
    }
}

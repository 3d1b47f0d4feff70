//! The administration: which generation of an index answers, and whether the server wants traffic.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ocelli_index::{Generation, Hash, IndexDir};
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;

use super::Searcher;
use super::index::{Demand, Slot};
use crate::error::{Error, Result};
use crate::root::Faults;

/// The time between two checks whether queries still run.
const DRAIN: Duration = Duration::from_millis(10);

/// The state of an index. An index that could not be opened has a name, a reload error, and zeros.
#[derive(Clone, Debug)]
pub struct IndexState {
    /// The index's name in requests.
    pub name: String,
    /// The generation that answers; 0 if none does.
    pub generation: u64,
    /// The number of vectors that are not deleted.
    pub rows: u64,
    /// Dimension of the descriptors.
    pub dim: usize,
    /// The number of lists of its model.
    pub nlist: usize,
    /// Hash of its descriptor spec.
    pub spec: Option<Hash>,
    /// The number of shards of the generation.
    pub shards: usize,
    /// The shards that fail, by name, each with its reason.
    pub faults: Faults,
    /// The files that answer from an earlier mapping because they cannot be opened again.
    pub kept: Faults,
    /// The number of earlier generations that queries still run on.
    pub retired: usize,
    /// The error of the newest attempt to open the current generation; empty if it succeeded.
    pub reload_error: String,
}

/// The generations of an index on disk.
#[derive(Debug)]
pub struct Generations {
    /// All generations, ascending by number.
    pub all: Vec<GenerationState>,
    /// The current one on disk; 0 if there is none.
    pub current: u64,
    /// The one that answers; 0 if none does.
    pub serving: u64,
}

/// A generation on disk: its number, and its file or the error of reading it.
pub type GenerationState = (u64, ocelli_index::Result<Generation>);

/// The result of a change of generations.
#[derive(Clone, Debug)]
pub struct Change {
    /// The generation that answers.
    pub generation: u64,
    /// Time for opening and warming it.
    pub open_time: Duration,
    /// The shards that fail.
    pub faults: Faults,
}

impl Searcher {
    /// The state of every index, by name.
    pub fn states(&self) -> Vec<IndexState> {
        self.indexes.values().map(state).collect()
    }

    /// The generations of an index.
    ///
    /// # Errors
    /// [`Code::NotFound`] if there is no such index; [`Code::DataLoss`] if its directory cannot be
    /// read.
    pub async fn generations(&self, name: &str) -> Result<Generations> {
        let slot = self.slot(name)?;
        let folder = slot.folder.clone();
        let serving = slot.current().map_or(0, |index| index.generation);
        blocking(move || {
            let dir = IndexDir::open(&folder)?;
            let current = dir.current()?.map_or(0, |generation| generation.number);
            let numbers = dir.generations()?;
            let all = numbers.into_iter().map(|number| (number, dir.generation(number))).collect();
            Ok(Generations { all, current, serving })
        })
        .await
    }

    /// Makes `generation` current, on disk and here, if `expected` is current on disk.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for 0; [`Code::NotFound`]; [`Code::Aborted`] if another generation
    /// is current; errors of opening the whole generation. After an error, nothing has changed.
    pub async fn activate(&self, name: &str, expected: u64, generation: u64) -> Result<Change> {
        let slot = self.slot(name)?;
        for (field, number) in [("expected", expected), ("generation", generation)] {
            if number == 0 {
                let message = format!("{field} is 0; expected a generation, 1 or more");
                return Err(Error::invalid(message).at(field));
            }
        }
        let _changing = slot.changing.lock().await;
        let folder = slot.folder.clone();
        // Before the expensive part: most errors show here.
        blocking(move || {
            let dir = IndexDir::open(&folder)?;
            dir.generation(generation).map_err(|error| {
                let error = Error::from(error);
                match error.code {
                    Code::NotFound => error.because(ErrorReason::GenerationNotFound),
                    _ => error,
                }
                .at("generation")
            })?;
            let current = dir.current()?.map_or(0, |generation| generation.number);
            if current != expected {
                let message = format!("generation {expected} was expected; {current} is current");
                return Err(Error::new(Code::Aborted, message).at("expected"));
            }
            Ok(())
        })
        .await?;
        let opened = slot.open_aside(Some(generation), Demand::Whole).await?;
        let folder = slot.folder.clone();
        blocking(move || Ok(IndexDir::open(&folder)?.activate(expected, generation)?)).await?;
        slot.set_reload_error(None);
        Ok(change(slot, opened))
    }

    /// Activates the parent of the current generation, if `expected` is current on disk.
    ///
    /// # Errors
    /// As [`Searcher::activate`]; [`Code::FailedPrecondition`] if it has no parent.
    pub async fn rollback(&self, name: &str, expected: u64) -> Result<Change> {
        let folder = self.slot(name)?.folder.clone();
        let parent = blocking(move || {
            let dir = IndexDir::open(&folder)?;
            let current = dir.current()?.map_or(0, |generation| generation.number);
            if current != expected {
                let message = format!("generation {expected} was expected; {current} is current");
                return Err(Error::new(Code::Aborted, message).at("expected"));
            }
            let parent = dir.generation(expected)?.parent;
            parent.ok_or_else(|| {
                let message = format!("generation {expected} has no parent to go back to");
                Error::new(Code::FailedPrecondition, message).at("expected")
            })
        })
        .await?;
        self.activate(name, expected, parent).await
    }

    /// Opens the current generation of an index again.
    ///
    /// # Errors
    /// [`Code::NotFound`]; errors of opening it. After an error, the generation that answered
    /// before goes on.
    pub async fn reload(&self, name: &str) -> Result<Change> {
        let slot = self.slot(name)?;
        let _changing = slot.changing.lock().await;
        match slot.open_aside(None, Demand::Degraded).await {
            Ok(opened) => {
                slot.set_reload_error(None);
                Ok(change(slot, opened))
            }
            Err(error) => {
                slot.set_reload_error(Some(error.clone()));
                Err(error)
            }
        }
    }

    /// [`Searcher::reload`] of every index, for SIGHUP; errors are logged.
    pub async fn reload_all(&self) {
        for name in self.indexes.keys() {
            if let Err(error) = self.reload(name).await {
                let message = "the index cannot be opened; the generation before it still answers";
                tracing::error!(index = name, %error, "{message}");
            }
        }
    }

    /// Declares that the server wants no traffic (`drain`), or that it wants traffic again. With
    /// `drain`, waits up to `timeout` until no request runs. Returns the number of requests that
    /// still run.
    pub async fn drain(&self, drain: bool, timeout: Duration) -> usize {
        self.draining.store(drain, Ordering::SeqCst);
        tracing::info!(drain, "traffic");
        let end = Instant::now() + timeout;
        while drain && self.in_flight() > 0 && Instant::now() < end {
            tokio::time::sleep(DRAIN).await;
        }
        self.in_flight()
    }
}

fn state(slot: &Slot) -> IndexState {
    let index = slot.current();
    let index = index.as_deref();
    IndexState {
        name: slot.name.clone(),
        generation: index.map_or(0, |index| index.generation),
        rows: index.map_or(0, |index| index.rows),
        dim: index.map_or(0, |index| index.dim),
        nlist: index.map_or(0, |index| index.nlist),
        spec: index.map(|index| index.spec),
        shards: index.map_or(0, |index| index.files.len()),
        faults: index.map(|index| index.root.faults()).unwrap_or_default(),
        kept: index.map(|index| index.kept.clone()).unwrap_or_default(),
        retired: slot.retired(),
        reload_error: slot.reload_error(),
    }
}

fn change(slot: &Slot, opened: super::OpenIndex) -> Change {
    let index = slot.replace(opened);
    Change { generation: index.generation, open_time: index.open_time, faults: index.root.faults() }
}

/// Runs `work`, which reads and writes files, on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Code::Internal, format!("the work failed: {error}")))?
}

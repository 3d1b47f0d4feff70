//! Watches the served indexes: for another current generation, for files that vanish, and for files
//! that were repaired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{Hash, IndexDir};
use ocelli_proto::status::Code;
use tokio::task::JoinSet;

use super::Searcher;
use super::index::Slot;
use crate::error::Error;

/// The time between two looks at the files of shards.
const WHOLE: Duration = Duration::from_secs(5);

/// The result of a look at an index.
enum Found {
    Nothing,
    Reload(&'static str),
}

/// A generation by number and checksum.
type Named = (u64, Hash);
/// Generations by the names of their indexes.
type Others = BTreeMap<String, Named>;

impl Searcher {
    /// Looks at every index each `interval`, for ever. A look reads CURRENT; where that has
    /// changed, and every few seconds, it goes through the files of shards too.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        let mut whole = Instant::now();
        // Generations that could not be opened wait for the next whole look.
        let mut vain = Others::new();
        loop {
            tokio::time::sleep(interval).await;
            let is_new = |(index, name): (&String, &Named)| vain.get(index) != Some(name);
            if whole.elapsed() >= WHOLE || self.others().await.iter().any(is_new) {
                whole = Instant::now();
                self.look().await;
                vain = self.others().await;
            }
        }
    }

    /// The indexes whose CURRENT names another generation than the one that answers, with that
    /// name.
    async fn others(self: &Arc<Self>) -> Others {
        let searcher = Arc::clone(self);
        let look = move || {
            let other = |(index, slot): (&String, &Slot)| {
                let answers = slot.current()?.generation;
                let on_disk = IndexDir::open(&slot.folder).and_then(|dir| dir.current_name());
                let named = on_disk.ok().flatten().filter(|(number, _)| *number != answers)?;
                Some((index.clone(), named))
            };
            searcher.indexes.iter().filter_map(other).collect()
        };
        // A panic was logged; the next look comes.
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Looks at every index once, while queries go on. An index that could not be opened is opened
    /// if its files have changed. An open index is opened again if another generation is current on
    /// disk, if the file of a failing shard or of a kept mapping has changed, or if a shard's file
    /// is gone; that shard then fails alone.
    pub async fn look(self: &Arc<Self>) {
        // At the same time: one that takes long to open does not keep another's deletions waiting.
        let mut looks = JoinSet::new();
        for name in self.indexes.keys().cloned() {
            looks.spawn(Arc::clone(self).look_at_index(name));
        }
        // A panic was logged; the next look comes.
        while looks.join_next().await.is_some() {}
    }

    async fn look_at_index(self: Arc<Self>, name: String) {
        let searcher = Arc::clone(&self);
        let looking = name.clone();
        let look = move || searcher.indexes.get(&looking).map_or(Found::Nothing, look_at);
        // A panic was logged; the next look comes.
        if let Ok(Found::Reload(why)) = tokio::task::spawn_blocking(look).await {
            tracing::info!(index = name, why, "opening the index again");
            if let Err(error) = self.reload(&name).await {
                let message = "the index cannot be opened; the generation before it still answers";
                tracing::error!(index = name, %error, "{message}");
            }
        }
    }
}

fn look_at(slot: &Slot) -> Found {
    let Some(current) = slot.current() else {
        return match slot.is_worth_a_try() {
            true => Found::Reload("the files of an index that could not be opened have changed"),
            false => Found::Nothing,
        };
    };
    let dir = IndexDir::open(&slot.folder);
    let on_disk = dir.as_ref().map_err(Clone::clone).and_then(|dir| dir.current());
    let readable = matches!(on_disk, Ok(Some(_)));
    match on_disk {
        Ok(Some(generation)) if generation.number != current.generation => {
            return Found::Reload("another generation is current");
        }
        Ok(Some(_)) => slot.set_reload_error(None),
        Ok(None) => {
            let gone = Error::new(Code::FailedPrecondition, "CURRENT is gone");
            slot.set_reload_error(Some(gone));
        }
        Err(error) => slot.set_reload_error(Some(error.into())),
    }
    let faults = current.root.faults();
    let Ok(dir) = dir else { return Found::Nothing };
    for (shard, before) in &current.files {
        let (fails, kept) = (faults.contains_key(shard), current.kept.contains_key(shard));
        if fails || kept {
            let now = dir.shard_version(shard).ok().flatten();
            if now.is_some() && now != *before {
                return Found::Reload(
                    "the file of a shard that failed, or could not be opened again, has changed",
                );
            }
        }
        if !fails && readable && (kept || before.is_some()) && is_gone(&dir, shard) {
            // The mapping would answer until the process ends, and the shard would be missing after
            // a restart.
            return Found::Reload("the file of a shard is gone");
        }
    }
    Found::Nothing
}

/// Whether there is no such file. A file with another error may come back by itself.
fn is_gone(dir: &IndexDir, shard: &str) -> bool {
    matches!(dir.shard_version(shard), Ok(None))
}

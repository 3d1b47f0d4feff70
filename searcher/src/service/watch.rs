//! Looks after what is served: another current generation, files that vanish, files that are whole
//! again.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocelli_index::IndexDir;
use ocelli_proto::status::Code;

use super::Searcher;
use super::index::{Slot, identity};
use crate::error::Error;

/// What a look at an index found.
enum Found {
    Nothing,
    Reload(&'static str),
}

impl Searcher {
    /// Looks at every index each `interval` for ever.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.look().await;
        }
    }

    /// Looks at every index once: opens one that could not be opened if its files have changed
    /// since, and one that is open again if another generation is current on disk, or if the file
    /// of a shard that fails, or could not be opened again, has changed, or if a shard's file is
    /// gone, which then fails alone. Queries go on meanwhile.
    pub async fn look(self: &Arc<Self>) {
        for name in self.indexes.keys().cloned().collect::<Vec<_>>() {
            let searcher = Arc::clone(self);
            let looking = name.clone();
            let look = move || searcher.indexes.get(&looking).map_or(Found::Nothing, look_at);
            // A panic in there was logged; the next look comes.
            if let Ok(Found::Reload(why)) = tokio::task::spawn_blocking(look).await {
                tracing::info!(index = name, why, "opening the index again");
                if let Err(error) = self.reload(&name).await {
                    tracing::error!(index = name, %error, "the index cannot be opened; what answered before goes on");
                }
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
    let on_disk = IndexDir::open(&slot.folder).and_then(|dir| dir.current());
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
    for (shard, (path, before)) in &current.files {
        let (fails, kept) = (faults.contains_key(shard), current.kept.contains_key(shard));
        if fails || kept {
            let now = identity(path);
            if now.is_some() && now != *before {
                return Found::Reload(
                    "the file of a shard that failed, or could not be opened again, has changed",
                );
            }
        }
        if !fails && readable && (kept || before.is_some()) && is_gone(path) {
            // What is mapped would answer until the process ends, and be missed when it starts
            // again.
            return Found::Reload("the file of a shard is gone");
        }
    }
    Found::Nothing
}

/// Whether there is no such file; one that cannot be looked at for another reason may come back by
/// itself.
fn is_gone(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

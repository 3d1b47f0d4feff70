//! Looks after what is served: another current generation, files that vanish, files that are whole again.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocelli_index::IndexDir;

use super::Searcher;
use super::index::{Slot, identity};

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

    /// Looks at every index once: opens it again if another generation is current on disk, or if the file
    /// of a shard that fails, or could not be opened again, has changed, or if a shard's file is gone, which then fails alone. Queries go on
    /// meanwhile.
    pub async fn look(self: &Arc<Self>) {
        for name in self.indexes.keys().cloned().collect::<Vec<_>>() {
            let searcher = Arc::clone(self);
            let looking = name.clone();
            let look = move || searcher.indexes.get(&looking).map_or(Found::Nothing, look_at);
            // A panic in there was logged; the next look comes.
            if let Ok(Found::Reload(why)) = tokio::task::spawn_blocking(look).await {
                tracing::info!(index = name, why, "opening the index again");
                if let Err(error) = self.reload(&name).await {
                    tracing::error!(index = name, %error, "the index cannot be opened again; the generation before goes on");
                }
            }
        }
    }
}

fn look_at(slot: &Slot) -> Found {
    let current = slot.current();
    let on_disk = IndexDir::open(&slot.folder).and_then(|dir| dir.current());
    match &on_disk {
        Ok(Some(generation)) if generation.number != current.generation => {
            return Found::Reload("another generation is current");
        }
        Ok(Some(_)) => slot.set_reload_error(String::new()),
        Ok(None) => slot.set_reload_error("CURRENT is gone".to_owned()),
        Err(error) => slot.set_reload_error(error.to_string()),
    }
    let readable = matches!(on_disk, Ok(Some(_)));
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
            // What is mapped would answer until the process ends, and be missed when it starts again.
            return Found::Reload("the file of a shard is gone");
        }
    }
    Found::Nothing
}

/// Whether there is no such file; one that cannot be looked at for another reason may come back by itself.
fn is_gone(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

//! Files that may be replaced while a server runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::role::read_at_most;

/// Largest file in bytes; a larger one is a wrong name.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Parses the files' contents, which come in the order of their paths.
type Parse<T> = dyn Fn(&[Vec<u8>]) -> Result<T> + Send + Sync;

/// The value that some files hold. Contents that cannot be parsed leave the value as it was.
pub(crate) struct Watched<T> {
    /// The name of the value in logs.
    what: &'static str,
    paths: Vec<PathBuf>,
    parse: Box<Parse<T>>,
    value: ArcSwap<T>,
    seen: Mutex<Seen>,
}

/// The result of the last look at the files.
struct Seen {
    /// The hash of the contents that the value was parsed from. The contents themselves are not
    /// kept: they may hold keys.
    contents: [u8; 32],
    /// The error of the last look; empty: none.
    fault: String,
}

impl<T> Watched<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read; errors of `parse`.
    pub(crate) fn open(
        what: &'static str,
        paths: Vec<PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Watched<T>> {
        let contents = read(&paths)?;
        let value = ArcSwap::from_pointee(parse(&contents)?);
        let seen = Mutex::new(Seen { contents: hash(&contents), fault: String::new() });
        Ok(Watched { what, paths, parse: Box::new(parse), value, seen })
    }

    /// The paths of the files.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The present value.
    pub(crate) fn get(&self) -> Guard<Arc<T>> {
        self.value.load()
    }

    /// Reads the files again. A new value is in use from now on; if the files have a fault, the old
    /// value stays. The log has one line for each change or new fault.
    pub(crate) fn look(&self) {
        let mut seen = self.seen.lock();
        let found = read(&self.paths).and_then(|contents| {
            let now = hash(&contents);
            let changed = now != seen.contents;
            Ok((now, changed.then(|| (self.parse)(&contents)).transpose()?))
        });
        let (what, files) = (self.what, &self.paths);
        match found {
            Ok((_, None)) => seen.fault.clear(),
            Ok((contents, Some(value))) => {
                self.value.store(Arc::new(value));
                *seen = Seen { contents, fault: String::new() };
                tracing::info!(?files, "new {what} are in use");
            }
            Err(error) => {
                // A certificate and its key are replaced one after the other; between the two, they
                // do not match.
                let fault = format!("{error:#}");
                if fault != seen.fault {
                    tracing::warn!(
                        error = fault,
                        "{what} cannot be read again; those before stay in use"
                    );
                    seen.fault = fault;
                }
            }
        }
    }
}

/// Logs a warning if everybody on this machine can read a file with a secret.
pub(crate) fn warn_if_readable_by_others(secret: &Path) {
    let mode = std::fs::metadata(secret).map_or(0, |metadata| metadata.mode());
    if mode & 0o004 != 0 {
        let file = secret.display();
        tracing::warn!(%file, "everybody on this machine can read this secret: chmod 600 {file}");
    }
}

/// Without the value, which may be secret.
impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| {
        read_at_most(path, MAX_FILE_BYTES)
            .with_context(|| format!("cannot read {}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn hash(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for bytes in contents {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

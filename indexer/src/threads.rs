//! The threads of a job.

use crate::{Error, Result};

/// A pool of `threads` threads; 0: one for each core.
///
/// # Errors
/// [`Error::Invalid`] where the system refuses a thread.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::Invalid(format!("cannot start {threads} threads: {e}")))
}

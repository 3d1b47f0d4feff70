//! Ends a search before it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::base::error::{Error, Result};

/// Ends searches early: looked at between two lists. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// Cancels by itself at `deadline`.
    pub fn at(deadline: Instant) -> Self {
        Self { flag: Arc::default(), deadline: Some(deadline) }
    }

    /// Ends the searches that look at this or a clone of it.
    pub fn cancel(&self) {
        // Relaxed: no other memory depends on it.
        self.flag.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Error::Cancelled`] once it was cancelled or its time is over.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.flag.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { what: "the caller waits no longer".into() });
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::Cancelled { what: "its deadline has passed".into() });
        }
        Ok(())
    }
}

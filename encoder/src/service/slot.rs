//! The place of an encoder that is still being made.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;
use tokio::sync::watch;

use super::{Encoder, ServiceError};

/// When a client that comes before the network is read may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The place of an encoder whose network may still be on its way from the disk.
pub struct Slot {
    encoder: OnceLock<Arc<Encoder>>,
    begun: Instant,
    stopping: watch::Sender<bool>,
}

impl Slot {
    /// A place that [`fill`](Slot::fill) fills.
    #[must_use]
    pub fn empty() -> Slot {
        let stopping = watch::Sender::new(false);
        Slot { encoder: OnceLock::new(), begun: Instant::now(), stopping }
    }

    /// Puts the encoder in its place. A second one is dropped.
    pub fn fill(&self, encoder: Arc<Encoder>) {
        let _ = self.encoder.set(encoder);
    }

    /// The encoder.
    ///
    /// # Errors
    /// `Unavailable` with the reason NOT_READY while the network is being read.
    pub fn get(&self) -> Result<&Arc<Encoder>, ServiceError> {
        self.encoder.get().ok_or_else(|| {
            let seconds = self.begun.elapsed().as_secs();
            let message = format!("the network is still being read, since {seconds} s");
            ServiceError {
                reason: ErrorReason::NotReady,
                retry_after: Some(RETRY_AFTER),
                ..ServiceError::new(Code::Unavailable, message)
            }
        })
    }

    /// Whether the service takes requests: the network is read, and the service is not stopped.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.encoder.get().is_some() && !*self.stopping.borrow()
    }

    /// Ends the reading of streams: what was read is still answered.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when [`stop`](Slot::stop) is called.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

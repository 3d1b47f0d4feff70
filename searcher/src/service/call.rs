//! The time of a request: its deadline, and the end of its work when nobody waits for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocelli_index::Cancel;
use ocelli_proto::status::{Code, name};

use super::Searcher;
use crate::error::{Error, Result};

/// The arrival and the deadline of a request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The arrival.
    pub arrival: Instant,
    /// The end of its time.
    pub deadline: Instant,
    /// Ends its searches, at the deadline or before.
    pub cancel: Cancel,
}

/// Cancels the searches when it is dropped: after the answer, or when nobody waits for it.
struct Guard {
    cancel: Cancel,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Searcher {
    /// Runs `answer` for a request that arrived at `arrival`. `time_left` is the time that the
    /// client waits, counted from then; it is cut to the server's maximum. When it is over, or when
    /// this future is dropped, a search that has not begun never runs, and a running search ends at
    /// its next list.
    pub(super) async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        arrival: Instant,
        time_left: Option<Duration>,
        answer: impl FnOnce(Call) -> F,
    ) -> Result<T> {
        let max_time = Duration::from_millis(self.config.max_time_ms);
        // tonic's own timer answers CANCELLED at the client's limit. Our limit is a millisecond
        // earlier.
        let ours = time_left.map(|left| left.saturating_sub(Duration::from_millis(1)));
        let limit = ours.map_or(max_time, |ours| ours.min(max_time));
        let deadline = arrival + limit;
        let cancel = Cancel::at(deadline);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let in_flight = Arc::clone(&self.in_flight);
        let _guard = Guard { cancel: cancel.clone(), in_flight };
        let over = |_| {
            let message = format!("the query's {} ms are over", limit.as_millis());
            Error::new(Code::DeadlineExceeded, message)
        };
        let answer = answer(Call { arrival, deadline, cancel });
        let result = tokio::time::timeout_at(deadline.into(), answer).await;
        let result = result.map_err(over).flatten();
        match &result {
            Ok(_) => {
                tracing::debug!(total_us = arrival.elapsed().as_micros() as u64, "query");
            }
            Err(error) => {
                let status = name(error.code.grpc());
                match error.code {
                    Code::Internal => tracing::error!(status, %error, "query"),
                    // A damaged shard is logged once, when it is found.
                    _ => tracing::debug!(status, %error, "query"),
                }
            }
        }
        result
    }
}

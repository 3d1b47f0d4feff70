//! A request's time: its deadline, and that its work ends when nobody waits for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocelli_index::Cancel;
use ocelli_proto::status::{Code, name};

use super::Searcher;
use crate::error::{Error, Result};

/// When a request came and until when it must be answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came.
    pub arrival: Instant,
    /// When its answer is worth nothing any more.
    pub deadline: Instant,
    /// Ends its searches; also by itself at the deadline.
    pub cancel: Cancel,
}

/// Cancels when it is dropped: when the answer is there, or nobody waits for it.
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
    /// Runs `answer` for a request that arrived at `arrival`. `time_left`, counted from then, is
    /// what the client still gives; it is cut to the server's maximum. When it is over, or when
    /// this future is dropped, what has not begun never runs, and a search that runs ends at its
    /// next list.
    pub(super) async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        arrival: Instant,
        time_left: Option<Duration>,
        answer: impl FnOnce(Call) -> F,
    ) -> Result<T> {
        let max_time = Duration::from_millis(self.config.max_time_ms);
        // tonic's own timer says CANCELLED at the client's limit; a millisecond earlier it is ours.
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
                    // A damaged shard is logged once, where it is found.
                    _ => tracing::debug!(status, %error, "query"),
                }
            }
        }
        result
    }
}

//! The rate at which a token may send requests.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use governor::clock::{Clock, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// The largest rate.
const MAX_RATE_PER_S: f64 = 1e6;
/// The longest period of a rate, in seconds.
const MAX_PERIOD_S: f64 = 86_400.0;

/// A number of requests per second on average, and a number at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    per_s: f64,
    burst: NonZeroU32,
}

impl Rate {
    /// A rate with a burst. Without a burst: the requests of one second, at least one.
    ///
    /// # Errors
    /// A value that is out of range.
    pub(super) fn new(per_s: f64, burst: Option<u32>) -> Result<Rate> {
        ensure!(
            (1.0 / MAX_PERIOD_S..=MAX_RATE_PER_S).contains(&per_s),
            "expected a rate of one a day to a million a second"
        );
        let burst = burst.unwrap_or(per_s.ceil() as u32);
        let burst = NonZeroU32::new(burst).context("expected a burst of at least 1")?;
        Ok(Rate { per_s, burst })
    }

    /// Parses the words `rate_per_s=N` and `burst=N`, in any order. `None` without words.
    ///
    /// # Errors
    /// Other words, values that are not numbers, a burst without a rate. No message quotes a word.
    pub(super) fn parse(words: &[&str]) -> Result<Option<Rate>> {
        let (mut per_s, mut burst) = (None, None);
        for word in words {
            match word.split_once('=') {
                Some(("rate_per_s", value)) if per_s.is_none() => {
                    per_s = Some(value.parse().ok().context("expected a number in rate_per_s=")?);
                }
                Some(("burst", value)) if burst.is_none() => {
                    burst = Some(value.parse().ok().context("expected a whole number in burst=")?);
                }
                _ => anyhow::bail!("expected rate_per_s=N and burst=N after SHA256, each once"),
            }
        }
        match per_s {
            Some(per_s) => Rate::new(per_s, burst).map(Some),
            None => {
                ensure!(burst.is_none(), "expected rate_per_s=N together with burst=N");
                Ok(None)
            }
        }
    }

    /// The words that [`Rate::parse`] reads.
    pub(super) fn words(self) -> String {
        format!("rate_per_s={} burst={}", self.per_s, self.burst)
    }
}

/// Limits requests to a rate.
#[derive(Debug)]
pub(super) struct Limiter(RateLimiter<NotKeyed, InMemoryState, MonotonicClock>);

impl Limiter {
    /// A limiter with its whole burst.
    pub(super) fn new(rate: Rate) -> Option<Limiter> {
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate.per_s))?;
        Some(Limiter(RateLimiter::direct_with_clock(quota.allow_burst(rate.burst), MonotonicClock)))
    }

    /// Counts one request.
    ///
    /// # Errors
    /// The request comes too early; the error is the time to wait.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.0.check().map_err(|early| early.wait_time_from(self.0.clock().now()))
    }
}

//! Calls at a given number at a time, or at a given rate.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use prost::bytes::Bytes;
use tokio::task::LocalSet;
use tonic::codegen::http::uri::Uri;
use tonic::{Code, Status};

use crate::wire::{Wire, timeout};

/// A call that does nothing.
pub const EMPTY: &str = "/grpc.health.v1.Health/Check";
pub const BATCH_SEARCH: &str = "/ocelli.v1.SearchService/BatchSearch";
/// Connections over which calls are spread.
const CONNECTIONS: usize = 4;

/// Some connections to a server.
pub struct Asker {
    wires: Vec<Wire>,
}

/// What became of some calls.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub answered: usize,
    pub refused: usize,
    pub late: usize,
    pub errors: usize,
    pub p50_us: f64,
    pub p99_us: f64,
    pub seconds: f64,
}

impl Summary {
    fn of(mut times: Vec<Duration>, seconds: f64) -> Summary {
        times.sort_unstable();
        let at = |share: f64| {
            let place = (times.len().saturating_sub(1) as f64 * share) as usize;
            times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        let (p50_us, p99_us) = (at(0.5), at(0.99));
        Summary { answered: times.len(), p50_us, p99_us, seconds, ..Summary::default() }
    }

    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    pub fn failed(&self) -> usize {
        self.refused + self.late + self.errors
    }

    pub fn line(&self) -> String {
        format!(
            "{:.0}/s answered, p50 {:.0} us, p99 {:.0} us, {} refused, {} late, {} errors",
            self.rate(),
            self.p50_us,
            self.p99_us,
            self.refused,
            self.late,
            self.errors
        )
    }
}

impl Asker {
    pub async fn connect(url: &str) -> Result<Asker> {
        let mut wires = Vec::new();
        for _ in 0..CONNECTIONS {
            wires.push(Wire::connect(url).await?);
        }
        Ok(Asker { wires })
    }

    /// Connection `number`, with the calls of `path` on it.
    fn wire(&self, number: usize, path: &str) -> Result<(Wire, Uri)> {
        let wire = self.wires[number % CONNECTIONS].clone();
        let method = wire.method(path)?;
        Ok((wire, method))
    }

    /// `n` calls one after the other, with the messages from `from` on.
    pub async fn one_by_one(
        &self,
        path: &str,
        messages: &[Bytes],
        n: usize,
        from: usize,
    ) -> Result<Summary> {
        let (wire, method) = self.wire(0, path)?;
        let mut times = Vec::with_capacity(n);
        let all = Instant::now();
        for message in messages.iter().cycle().skip(from % messages.len()).take(n) {
            let start = Instant::now();
            wire.clone().call(method.clone(), message.clone(), None).await?;
            times.push(start.elapsed());
        }
        Ok(Summary::of(times, all.elapsed().as_secs_f64()))
    }
}

/// What calls that end report to.
#[derive(Default)]
struct Tally {
    times: Vec<Duration>,
    summary: Summary,
}

impl Tally {
    fn take(&mut self, start: Instant, result: &Result<usize, Status>, limit: Option<Duration>) {
        let took = start.elapsed();
        match result {
            Ok(_) if limit.is_none_or(|limit| took <= limit) => self.times.push(took),
            Ok(_) => self.summary.late += 1,
            Err(status) => match status.code() {
                Code::ResourceExhausted => self.summary.refused += 1,
                Code::DeadlineExceeded | Code::Cancelled => self.summary.late += 1,
                _ => self.summary.errors += 1,
            },
        }
    }

    fn done(&mut self, seconds: f64) -> Summary {
        let Summary { refused, late, errors, .. } = self.summary;
        let times = std::mem::take(&mut self.times);
        Summary { refused, late, errors, ..Summary::of(times, seconds) }
    }
}

/// `concurrency` calls at any time, for `time`.
pub async fn closed_loop(
    asker: &Asker,
    path: &str,
    messages: &[Bytes],
    concurrency: usize,
    time: Duration,
) -> Result<Summary> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let start = Instant::now();
    let tasks = LocalSet::new();
    for number in 0..concurrency {
        let (wire, method) = asker.wire(number, path)?;
        let (tally, messages) = (Rc::clone(&tally), messages.to_vec());
        tasks.spawn_local(async move {
            for message in messages.iter().cycle().skip(number * 37 % messages.len()) {
                if start.elapsed() >= time {
                    return;
                }
                let begin = Instant::now();
                let result = wire.clone().call(method.clone(), message.clone(), None).await;
                tally.borrow_mut().take(begin, &result, None);
            }
        });
    }
    tasks.await;
    let seconds = start.elapsed().as_secs_f64();
    Ok(tally.borrow_mut().done(seconds))
}

/// `rate` calls per second for `time`, whatever becomes of those before. Times count from the
/// moment when a call was due. An answer is worth something for `worth`, which the server is told.
pub async fn open_loop(
    asker: &Asker,
    path: &str,
    messages: &[Bytes],
    rate: f64,
    time: Duration,
    worth: Option<Duration>,
) -> Result<Summary> {
    let wires: Result<Vec<_>> = (0..CONNECTIONS).map(|number| asker.wire(number, path)).collect();
    let wires = wires?;
    let told = worth.map(timeout).transpose()?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let tasks = LocalSet::new();
    let (tally_in, messages) = (Rc::clone(&tally), messages.to_vec());
    tasks
        .run_until(async move {
            let start = Instant::now();
            let mut number = 0usize;
            let mut running = tokio::task::JoinSet::new();
            while start.elapsed() < time {
                let due = (start.elapsed().as_secs_f64() * rate) as usize;
                while number < due {
                    let at = start + Duration::from_secs_f64(number as f64 / rate);
                    let (wire, method) = wires[number % CONNECTIONS].clone();
                    let message = messages[number % messages.len()].clone();
                    let (told, tally) = (told.clone(), Rc::clone(&tally_in));
                    running.spawn_local(async move {
                        let call = wire.call(method, message, told);
                        let result = match worth {
                            // What is over is taken back, as clients do it.
                            Some(worth) => tokio::time::timeout(worth, call)
                                .await
                                .unwrap_or_else(|_| Err(Status::deadline_exceeded(""))),
                            None => call.await,
                        };
                        tally.borrow_mut().take(at, &result, worth);
                    });
                    number += 1;
                }
                while running.try_join_next().is_some() {}
                tokio::task::yield_now().await;
            }
            while running.join_next().await.is_some() {}
        })
        .await;
    let mut tally = tally.borrow_mut();
    Ok(tally.done(time.as_secs_f64()))
}

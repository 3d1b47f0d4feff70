//! Calls at a given number at a time, or at a given rate.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use prost::bytes::Bytes;
use tokio::task::LocalSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::raw::Raw;

/// A call that does nothing.
pub const EMPTY: &str = "/grpc.health.v1.Health/Check";
pub const BATCH_SEARCH: &str = "/ocelli.v1.SearchService/BatchSearch";
/// Connections over which calls are spread.
const CONNECTIONS: usize = 4;
/// Answers of batches are large.
const MAX_ANSWER: usize = 64 << 20;

/// Some connections to a server.
pub struct Asker {
    channels: Vec<Channel>,
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
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
            channels.push(endpoint.connect().await?);
        }
        Ok(Asker { channels })
    }

    async fn call(
        channel: Channel,
        path: PathAndQuery,
        message: Bytes,
        limit: Option<Duration>,
    ) -> Result<usize, Status> {
        let mut client = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(message);
        if let Some(limit) = limit {
            request.set_timeout(limit);
        }
        Ok(client.unary(request, path, Raw).await?.into_inner())
    }

    /// `n` calls one after the other, with the messages from `from` on.
    pub async fn one_by_one(
        &self,
        path: &str,
        messages: &[Bytes],
        n: usize,
        from: usize,
    ) -> Result<Summary> {
        let path = PathAndQuery::try_from(path.to_owned())?;
        let mut times = Vec::with_capacity(n);
        let all = Instant::now();
        for message in messages.iter().cycle().skip(from % messages.len()).take(n) {
            let start = Instant::now();
            let channel = self.channels[0].clone();
            Asker::call(channel, path.clone(), message.clone(), None).await?;
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
    let path = PathAndQuery::try_from(path.to_owned())?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let start = Instant::now();
    let tasks = LocalSet::new();
    for number in 0..concurrency {
        let channel = asker.channels[number % CONNECTIONS].clone();
        let (path, tally, messages) = (path.clone(), Rc::clone(&tally), messages.to_vec());
        tasks.spawn_local(async move {
            for message in messages.iter().cycle().skip(number * 37 % messages.len()) {
                if start.elapsed() >= time {
                    return;
                }
                let begin = Instant::now();
                let call = Asker::call(channel.clone(), path.clone(), message.clone(), None);
                let result = call.await;
                tally.borrow_mut().take(begin, &result, None);
            }
        });
    }
    tasks.await;
    let seconds = start.elapsed().as_secs_f64();
    Ok(tally.borrow_mut().done(seconds))
}

/// `rate` calls per second for `time`, whatever becomes of those before. Times count from the moment when a
/// call was due. An answer is worth something for `worth`, which the server is told.
pub async fn open_loop(
    asker: &Asker,
    path: &str,
    messages: &[Bytes],
    rate: f64,
    time: Duration,
    worth: Option<Duration>,
) -> Summary {
    let Ok(path) = PathAndQuery::try_from(path.to_owned()) else { return Summary::default() };
    let tally = Rc::new(RefCell::new(Tally::default()));
    let tasks = LocalSet::new();
    let (sender, tally_in) = (asker.channels.clone(), Rc::clone(&tally));
    let messages = messages.to_vec();
    tasks
        .run_until(async move {
            let start = Instant::now();
            let mut number = 0usize;
            let mut running = tokio::task::JoinSet::new();
            while start.elapsed() < time {
                let due = (start.elapsed().as_secs_f64() * rate) as usize;
                while number < due {
                    let at = start + Duration::from_secs_f64(number as f64 / rate);
                    let channel = sender[number % CONNECTIONS].clone();
                    let message = messages[number % messages.len()].clone();
                    let (path, tally) = (path.clone(), Rc::clone(&tally_in));
                    running.spawn_local(async move {
                        let result = Asker::call(channel, path, message, worth).await;
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
    tally.borrow_mut().done(time.as_secs_f64())
}

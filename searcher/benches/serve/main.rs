//! The load of `./bench serve`: a server on one core, this client on another.
//!
//! - `serve load INDEX QUERIES SERVER CORE IDS [PART...]`: starts SERVER (the program) for INDEX on
//!   CORE, asks it with QUERIES (a file of vectors) in every way, writes the found ids to IDS
//!   (ivecs), and prints one JSON object. Pin this process to another core.
//! - `serve at INDEX QUERIES SERVER CORE FOLDER [EFFORT...]`: only what single queries and batches
//!   take, with each EFFORT: `64`, lists, or `64*100`, lists and candidates that finer codes score
//!   again. Writes the ids found with each to FOLDER. An EFFORT with a `?` before it is not timed.
//! - `serve local INDEX QUERIES`: searches in this process, for the comparison; a line of input is
//!   a request.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod connections;
mod efforts;
mod load;
mod local;
mod server;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use efforts::Effort;
use load::{Asker, closed_loop, open_loop};
use local::Worker;
use ocelli_index::VectorFile;
use ocelli_proto::v1;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use prost::Message;
use prost::bytes::Bytes;
use serde_json::{Value, json};
use server::Server;
use tonic::transport::{Channel, Endpoint};
use wire::framed;

/// The load must cost less than what it loads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lists of each query.
pub const NPROBE: u32 = 64;
/// Lists of each longer query, of some 150 µs: beside it, what HTTP/2 costs matters less, and
/// pauses of the machine too.
const LONG_NPROBE: u32 = 512;
/// Hits of each query.
pub const K: u32 = 10;
/// Queries of a batch.
pub const BATCH: usize = 1000;
/// Turns of each kind, whose median is told.
const WINDOWS: usize = 7;
/// Single queries of a turn.
const SINGLES: usize = 2000;
/// How long a query is worth an answer under overload.
const WORTH: Duration = Duration::from_millis(500);
const SEARCH: &str = "/ocelli.v1.SearchService/Search";

fn main() -> Result<()> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Sockets are looked at often, since the loop that keeps the rate never sleeps.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().event_interval(7).build()?;
    let found = match args.as_slice() {
        ["local", index, queries] => return local::serve(Path::new(index), Path::new(queries)),
        ["at", index, queries, program, core, folder, efforts @ ..] => {
            let (index, queries, folder) =
                (Path::new(index), Path::new(queries), Path::new(folder));
            runtime.block_on(efforts::at(index, queries, program, core, folder, efforts))?
        }
        ["load", index, queries, program, core, ids, parts @ ..] => {
            let (index, queries, ids) = (Path::new(index), Path::new(queries), Path::new(ids));
            runtime.block_on(load_all(index, queries, program, core, ids, parts))?
        }
        _ => bail!("usage: serve load INDEX QUERIES SERVER CORE IDS [PART...], or serve at …"),
    };
    println!("{found}");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn terms(x: &[f32]) -> Vec<v1::QueryTerm> {
    let vector = v1::QueryVector { values: x.to_vec(), spec_hash: String::new() };
    vec![v1::QueryTerm { weight: None, term: Some(v1::query_term::Term::Vector(vector)) }]
}

fn options(effort: Effort) -> Option<v1::SearchOptions> {
    let Effort { nprobe, candidates: refine_candidates } = effort;
    Some(v1::SearchOptions { k: K, nprobe, refine_candidates, ..Default::default() })
}

fn search(x: &[f32], effort: Effort) -> v1::SearchRequest {
    v1::SearchRequest { terms: terms(x), options: options(effort), ..Default::default() }
}

/// One query of each row, as messages.
fn searches(rows: &[&[f32]], effort: Effort) -> Vec<Bytes> {
    rows.iter().map(|x| framed(&search(x, effort).encode_to_vec())).collect()
}

fn batch(x: &[&[f32]], effort: Effort) -> v1::BatchSearchRequest {
    let queries = x.iter().map(|x| v1::BatchQuery { terms: terms(x) });
    v1::BatchSearchRequest {
        queries: queries.collect(),
        options: options(effort),
        ..Default::default()
    }
}

fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// What is measured against one server.
struct Bench<'a> {
    rows: &'a [&'a [f32]],
    messages: Vec<Bytes>,
    server: Server,
    asker: Asker,
    found: BTreeMap<&'static str, Value>,
}

/// The parts of a run, in their order.
const PARTS: [&str; 6] = ["single", "half", "overload", "swap", "long", "connections"];

async fn load_all(
    index: &Path,
    queries: &Path,
    program: &str,
    core: &str,
    ids: &Path,
    parts: &[&str],
) -> Result<Value> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("no part is called {unknown:?}; there are {PARTS:?}");
    }
    let vectors = VectorFile::open(queries)?;
    let x = vectors.read(0..vectors.rows())?;
    let rows: Vec<&[f32]> = x.chunks_exact(vectors.dim()).collect();
    let worker = Worker::start(index, queries, core)?;
    let server = Server::start(program, index, core)?;
    let mut bench = Bench {
        rows: &rows,
        messages: searches(&rows, Effort::DEFAULT),
        asker: Asker::connect(&server.url).await?,
        server,
        found: BTreeMap::new(),
    };
    write_ids(&bench.server.url, &rows, Effort::DEFAULT, ids).await?;
    bench.asker.one_by_one(SEARCH, &bench.messages, SINGLES, 0).await?;
    let chosen = |part| parts.is_empty() || parts.contains(&part);
    if chosen("single") {
        bench.single(worker).await?;
    }
    if ["half", "overload", "swap"].into_iter().any(chosen) {
        let most = bench.most(&bench.messages).await?;
        bench.tell("queries_per_s", most, 0);
        if chosen("half") {
            let [ratio, p99, floor] = bench.half(&bench.messages, most).await?;
            bench.tell("p99_over_p50", ratio, 2);
            bench.tell("p99_us_at_half", p99, 0);
            bench.tell("empty_p99_us_at_half", floor, 0);
        }
        if chosen("overload") {
            let share = bench.overload(&bench.messages, most).await?;
            bench.tell("goodput_share_at_3x", share, 3);
        }
        if chosen("swap") {
            bench.swap(index, most).await?;
        }
    }
    if chosen("long") {
        say(format!("queries of {LONG_NPROBE} lists:"));
        let long = searches(&rows, Effort::lists(LONG_NPROBE));
        let most = bench.most(&long).await?;
        let [ratio, ..] = bench.half(&long, most).await?;
        let share = bench.overload(&long, most).await?;
        bench.tell("long_queries_per_s", most, 0);
        bench.tell("long_p99_over_p50", ratio, 2);
        bench.tell("long_goodput_share_at_3x", share, 3);
    }
    if chosen("connections") {
        bench.connections().await?;
    }
    say(format!("server: {} MiB resident", bench.server.resident_bytes() >> 20));
    Ok(json!(bench.found))
}

impl Bench<'_> {
    fn tell(&mut self, name: &'static str, value: f64, digits: i32) {
        self.found.insert(name, json!(round(value, digits)));
    }

    /// What a query costs over an empty call and the search itself, and batches beside the search
    /// itself: all take turns.
    async fn single(&mut self, mut worker: Worker) -> Result<()> {
        let Bench { rows, messages, asker, .. } = &*self;
        let batches: Vec<Bytes> = rows
            .chunks(BATCH)
            .map(|x| framed(&batch(x, Effort::DEFAULT).encode_to_vec()))
            .collect();
        let (mut empty, mut local, mut remote, mut added) = (vec![], vec![], vec![], vec![]);
        let (mut local_batch, mut remote_batch, mut share) = (vec![], vec![], vec![]);
        let mut tails = vec![];
        for window in 0..WINDOWS {
            let from = window * SINGLES;
            let e = asker.one_by_one(load::EMPTY, &[framed(&[])], SINGLES, 0).await?.p50_us;
            let l = worker.single(SINGLES, from)?;
            let searched = asker.one_by_one(SEARCH, messages, SINGLES, from).await?;
            let r = searched.p50_us;
            tails.push(searched.p99_us);
            added.push(r - e - l);
            empty.push(e);
            local.push(l);
            remote.push(r);
            let l = worker.batch()?;
            let start = Instant::now();
            asker.one_by_one(load::BATCH_SEARCH, &batches, batches.len(), 0).await?;
            let r = rows.len() as f64 / start.elapsed().as_secs_f64();
            share.push(r / l);
            local_batch.push(l);
            remote_batch.push(r);
        }
        let (added, share) = (median(added), median(share));
        let (remote, remote_batch) = (median(remote), median(remote_batch));
        let (empty, tail) = (median(empty), median(tails));
        say(format!(
            "single query, p50: {remote:.1} us over gRPC (p99 {tail:.1}); an empty call \
             {empty:.1}, the search in process {:.1}: {added:.1} us added",
            median(local)
        ));
        say(format!(
            "batches of {BATCH}: {remote_batch:.0} queries/s over gRPC, {:.0} in process: \
             {share:.3}",
            median(local_batch)
        ));
        self.tell("added_p50_us", added, 1);
        self.tell("empty_p50_us", empty, 1);
        self.tell("single_p50_us", remote, 1);
        self.tell("single_p99_us", tail, 1);
        self.tell("batch_share", share, 3);
        self.tell("batch_queries_per_s", remote_batch, 0);
        Ok(())
    }

    /// The most that it can do, in queries per second.
    async fn most(&self, messages: &[Bytes]) -> Result<f64> {
        let mut most = 0.0f64;
        for concurrency in [4, 16, 64, 256] {
            let time = Duration::from_secs(2);
            let found = closed_loop(&self.asker, SEARCH, messages, concurrency, time).await?;
            say(format!("{concurrency} at a time: {}", found.line()));
            most = most.max(found.rate());
        }
        Ok(most)
    }

    /// Tails at half load, medians of windows, since other tenants of the machine have tails too:
    /// p99 over p50, p99 in µs, and p99 of empty calls at the same rate.
    async fn half(&self, messages: &[Bytes], most: f64) -> Result<[f64; 3]> {
        let (mut ratios, mut p99, mut floors) = (vec![], vec![], vec![]);
        for _ in 0..WINDOWS {
            let time = Duration::from_secs(2);
            let nothing = [framed(&[])];
            let empty =
                open_loop(&self.asker, load::EMPTY, &nothing, most / 2.0, time, None).await?;
            floors.push(empty.p99_us);
            let half = open_loop(&self.asker, SEARCH, messages, most / 2.0, time, None).await?;
            say(format!("half of {most:.0}/s offered: {}", half.line()));
            ratios.push(half.p99_us / half.p50_us);
            p99.push(half.p99_us);
        }
        let (ratio, p99, floor) = (median(ratios), median(p99), median(floors));
        say(format!(
            "p99 / p50 {ratio:.2}, p99 {p99:.0} us; of empty calls at the same rate {floor:.0} us"
        ));
        Ok([ratio, p99, floor])
    }

    /// The answers in time at three times what it can answer, as a share of the most there were.
    async fn overload(&self, messages: &[Bytes], most: f64) -> Result<f64> {
        let (mut best, mut last) = (most, 0.0);
        for times in [1.0, 2.0, 3.0] {
            let time = Duration::from_secs(4);
            let rate = times * most;
            let found = open_loop(&self.asker, SEARCH, messages, rate, time, Some(WORTH)).await?;
            say(format!("{times} x {most:.0}/s offered: {}", found.line()));
            last = found.rate();
            best = best.max(last);
        }
        say(format!("goodput at 3 x: {:.3} of {best:.0}/s", last / best));
        Ok(last / best)
    }

    /// Generations change under half of the load.
    async fn swap(&mut self, index: &Path, most: f64) -> Result<()> {
        let Bench { asker, messages, server, .. } = &*self;
        let mut admin = server.admin().await?;
        let (generations, time) = (server::two_generations(index)?, Duration::from_secs(4));
        let load = || open_loop(asker, SEARCH, messages, most / 2.0, time, None);
        let before = load().await?;
        let changes = server::change(&mut admin, generations, time);
        let (during, changes) = tokio::join!(load(), changes);
        let (changes, during) = (changes?, during?);
        let failed = during.failed();
        let ratio = during.p99_us / before.p99_us;
        say(format!("before changes of generations: {}", before.line()));
        say(format!(
            "during {changes} changes: {}; p99 {ratio:.2} x, {failed} failed",
            during.line()
        ));
        self.tell("failed_during_swap", failed as f64, 0);
        self.tell("swap_p99_ratio", ratio, 2);
        Ok(())
    }

    async fn connections(&mut self) -> Result<()> {
        let idle = connections::idle(&self.server.address, 10_000).await?;
        let beside = self.asker.one_by_one(SEARCH, &self.messages, SINGLES, 0).await?;
        let alive = connections::ping(idle).await;
        say(format!("10,000 idle connections: {alive} alive; beside them {}", beside.line()));
        let streams = connections::streams(&self.server.url, self.rows, 1000).await?;
        say(format!("1,000 streams at a time: {streams} got every answer"));
        self.found.insert("idle_alive", json!(alive));
        self.found.insert("streams_served", json!(streams));
        Ok(())
    }
}

async fn channel(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await?)
}

/// Writes the ids that the server finds for every query.
async fn write_ids(url: &str, rows: &[&[f32]], effort: Effort, path: &Path) -> Result<()> {
    let client = SearchServiceClient::new(channel(url).await?);
    let mut client = client.max_decoding_message_size(64 << 20);
    let mut out = Vec::new();
    for x in rows.chunks(BATCH) {
        for result in client.batch_search(batch(x, effort)).await?.into_inner().results {
            anyhow::ensure!(result.error.is_none(), "{:?}", result.error);
            out.extend((K as i32).to_le_bytes());
            for rank in 0..K as usize {
                let id = result.ids.get(rank).map_or(-1, |id| *id as i32);
                out.extend(id.to_le_bytes());
            }
        }
    }
    Ok(std::fs::write(path, out)?)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

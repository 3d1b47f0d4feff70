//! The load of `./bench serve`: a server on one core, this client on another.
//!
//! - `serve load INDEX QUERIES SERVER CORE IDS`: starts SERVER (the program) for INDEX on CORE, asks it with QUERIES
//!   (a file of vectors) in every way, writes the found ids to IDS (ivecs), and prints one JSON object. Pin this
//!   process to another core.
//! - `serve raw ADDRESS PATH MESSAGES SECONDS`: sends the messages of a file (each a 32-bit length, little-endian, and
//!   bytes) to a method of any gRPC server, one by one and then many at a time; prints one JSON object.
//! - `serve local INDEX QUERIES`: searches in this process, for the comparison; a line of input is a request.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod connections;
mod load;
mod local;
#[path = "../../tests/service/raw.rs"]
mod raw;
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use load::{Asker, Summary, closed_loop, open_loop};
use local::Worker;
use ocelli_index::VectorFile;
use ocelli_proto::v1;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use prost::Message;
use prost::bytes::Bytes;
use serde_json::{Value, json};
use server::Server;
use tonic::transport::{Channel, Endpoint};

/// Lists of each query.
pub const NPROBE: u32 = 64;
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
        ["load", index, queries, program, core, ids] => {
            let (index, queries, ids) = (Path::new(index), Path::new(queries), Path::new(ids));
            runtime.block_on(load_all(index, queries, program, core, ids))?
        }
        ["raw", address, path, messages, seconds] => {
            let messages = read_messages(Path::new(messages))?;
            let time = Duration::from_secs_f64(seconds.parse()?);
            runtime.block_on(raw(address, path, &messages, time))?
        }
        _ => bail!(
            "usage: serve load INDEX QUERIES SERVER CORE IDS | raw ADDRESS PATH MESSAGES SECONDS"
        ),
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

fn search(x: &[f32]) -> v1::SearchRequest {
    v1::SearchRequest { terms: terms(x), k: K, nprobe: NPROBE, ..Default::default() }
}

fn batch(x: &[&[f32]]) -> v1::BatchSearchRequest {
    let queries = x.iter().map(|x| v1::BatchQuery { terms: terms(x) });
    v1::BatchSearchRequest {
        queries: queries.collect(),
        k: K,
        nprobe: NPROBE,
        ..Default::default()
    }
}

fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

async fn load_all(
    index: &Path,
    queries: &Path,
    program: &str,
    core: &str,
    ids: &Path,
) -> Result<Value> {
    let vectors = VectorFile::open(queries)?;
    let x = vectors.read(0..vectors.rows())?;
    let rows: Vec<&[f32]> = x.chunks_exact(vectors.dim()).collect();
    let messages: Vec<Bytes> = rows.iter().map(|x| search(x).encode_to_vec().into()).collect();
    let batches: Vec<Bytes> = rows.chunks(BATCH).map(|x| batch(x).encode_to_vec().into()).collect();
    let mut worker = Worker::start(index, queries, core)?;
    let server = Server::start(program, index, core)?;
    let asker = Asker::connect(&server.url).await?;

    write_ids(&server.url, &rows, ids).await?;

    // What a query costs over an empty call and the search itself: the three take turns.
    let (mut empty, mut local, mut remote, mut added) = (vec![], vec![], vec![], vec![]);
    let (mut local_batch, mut remote_batch, mut share) = (vec![], vec![], vec![]);
    asker.one_by_one(SEARCH, &messages, SINGLES, 0).await?;
    for window in 0..WINDOWS {
        let from = window * SINGLES;
        let e = asker.one_by_one(load::EMPTY, &[Bytes::new()], SINGLES, 0).await?.p50_us;
        let l = worker.single(SINGLES, from)?;
        let r = asker.one_by_one(SEARCH, &messages, SINGLES, from).await?.p50_us;
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
    let added_p50_us = median(added);
    let batch_share = median(share);
    say(format!(
        "single query, p50: {:.1} us over gRPC; an empty call {:.1}, the search in process {:.1}: {added_p50_us:.1} us added",
        median(remote),
        median(empty),
        median(local)
    ));
    say(format!(
        "batches of {BATCH}: {:.0} queries/s over gRPC, {:.0} in process: {batch_share:.3}",
        median(remote_batch.clone()),
        median(local_batch)
    ));

    if std::env::var_os("OCELLI_BENCH_SINGLE").is_some() {
        return Ok(
            json!({"added_p50_us": round(added_p50_us, 1), "batch_share": round(batch_share, 3)}),
        );
    }

    // The most that it can do.
    let mut most = 0.0f64;
    for concurrency in [4, 16, 64, 256] {
        let found =
            closed_loop(&asker, SEARCH, &messages, concurrency, Duration::from_secs(2)).await?;
        say(format!("{concurrency} at a time: {}", found.line()));
        most = most.max(found.rate());
    }
    let half = open_loop(&asker, SEARCH, &messages, most / 2.0, Duration::from_secs(4), None).await;
    let p99_over_p50 = half.p99_us / half.p50_us;
    say(format!("half of {most:.0}/s offered: {}; p99 / p50 {p99_over_p50:.2}", half.line()));
    let mut overload = Vec::new();
    for times in [1.0, 2.0, 3.0] {
        let time = Duration::from_secs(4);
        let found = open_loop(&asker, SEARCH, &messages, times * most, time, Some(WORTH)).await;
        say(format!("{times} x {most:.0}/s offered: {}", found.line()));
        overload.push(found);
    }
    let best = overload.iter().map(Summary::rate).fold(most, f64::max);
    let goodput = overload.last().map_or(0.0, Summary::rate) / best;
    say(format!("goodput at 3 x: {goodput:.3} of {best:.0}/s"));

    // Generations change under half of the load.
    let mut admin = server.admin().await?;
    let (generations, swap_time) = (server::two_generations(index)?, Duration::from_secs(4));
    let before = open_loop(&asker, SEARCH, &messages, most / 2.0, swap_time, None).await;
    let changes = server::change(&mut admin, generations, swap_time);
    let load = open_loop(&asker, SEARCH, &messages, most / 2.0, swap_time, None);
    let (during, changes) = tokio::join!(load, changes);
    let changes = changes?;
    let failed = during.failed();
    say(format!("before changes of generations: {}", before.line()));
    say(format!(
        "during {changes} changes: {}; p99 {:.2} x, {failed} failed",
        during.line(),
        during.p99_us / before.p99_us
    ));

    let idle = connections::idle(&server.address, 10_000).await?;
    let beside = asker.one_by_one(SEARCH, &messages, SINGLES, 0).await?;
    let alive = connections::ping(idle).await;
    say(format!("10,000 idle connections: {alive} alive; beside them {}", beside.line()));
    let streams = connections::streams(&server.url, &rows, 1000).await?;
    say(format!("1,000 streams at a time: {streams} got every answer"));
    let memory = server.resident_bytes();
    say(format!("server: {} MiB resident", memory >> 20));
    Ok(json!({
        "added_p50_us": round(added_p50_us, 1),
        "batch_share": round(batch_share, 3),
        "p99_over_p50": round(p99_over_p50, 2),
        "goodput_share_at_3x": round(goodput, 3),
        "failed_during_swap": failed,
        "swap_p99_ratio": round(during.p99_us / before.p99_us, 2),
        "idle_alive": alive,
        "streams_served": streams,
        "queries_per_s": round(most, 0),
        "batch_queries_per_s": round(median(remote_batch), 0),
        "single_p50_us": round(beside.p50_us, 1),
    }))
}

async fn channel(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await?)
}

/// Writes the ids that the server finds for every query.
async fn write_ids(url: &str, rows: &[&[f32]], path: &Path) -> Result<()> {
    let client = SearchServiceClient::new(channel(url).await?);
    let mut client = client.max_decoding_message_size(64 << 20);
    let mut out = Vec::new();
    for x in rows.chunks(BATCH) {
        for result in client.batch_search(batch(x)).await?.into_inner().results {
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

/// Another server's side: single calls, and as many as it can do.
async fn raw(address: &str, path: &str, messages: &[Bytes], time: Duration) -> Result<Value> {
    let asker = Asker::connect(&format!("http://{address}")).await?;
    asker.one_by_one(path, messages, SINGLES / 10, 0).await?;
    let single = asker.one_by_one(path, messages, SINGLES, 0).await?;
    let mut most = 0.0f64;
    for concurrency in [4, 16, 64] {
        let found = closed_loop(&asker, path, messages, concurrency, time).await?;
        anyhow::ensure!(found.failed() == 0, "{} calls failed", found.failed());
        most = most.max(found.rate());
    }
    Ok(
        json!({"p50_us": round(single.p50_us, 1), "p99_us": round(single.p99_us, 1), "per_s": round(most, 1)}),
    )
}

fn read_messages(path: &Path) -> Result<Vec<Bytes>> {
    let all = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut messages = Vec::new();
    let mut rest = all.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let message = tail.get(..length).context("the file ends within a message")?;
        messages.push(Bytes::copy_from_slice(message));
        rest = &tail[length..];
    }
    Ok(messages)
}

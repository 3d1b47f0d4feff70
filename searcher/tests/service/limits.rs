//! Limits of one request: it never waits for itself, an answer that would not fit a message is
//! refused with a remedy, and damage costs no more than its shard.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use ocelli_index::Snapshot;
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use ocelli_proto::v1::stream_search_response::Outcome;
use prost::Message;
use tokio_stream::{StreamExt, iter};
use tonic::{Code, Status};

use crate::api::{exact_batch, terms};
use crate::process::Process;
use crate::query::{World, id, one, vector};
use crate::raw::Raw;
use crate::support::{
    DIM, ROWS_PER_SHARD, Running, WithOptions, build, config, flip, key, numbers,
};

/// An expansion of ten rounds.
fn long_expansion() -> Option<v1::Expansion> {
    let method = v1::ExpansionMethod::Average as i32;
    Some(v1::Expansion { method, k: 100, rounds: 10, alpha: None })
}

/// On a server where no query may wait longer than one millisecond, any single request is answered
/// whole: a full batch, a long stream, expansions of both, a range, vectors. (The default limit is
/// as tight for a machine a hundred times slower.) Queries before them have taught the pool how
/// slow it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_alone_is_answered_however_slow_the_machine() -> Result<()> {
    let world = World::new()?;
    let mut settings = config(world.folder.path(), "")?;
    (settings.max_queue_ms, settings.threads, settings.max_k) = (1, 4, 1000);
    settings.max_time_ms = 3_600_000;
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?.max_decoding_message_size(64 << 20);

    let slow = one(vector(numbers(1, DIM))).with(|o| o.k = 1000);
    let slow = slow.with(|o| {
        o.expansion = long_expansion();
        o.with_keys = true
    });
    for _ in 0..5 {
        client.search(slow.clone()).await?;
    }
    let n = 200;
    let asked = Vec::from_iter((0..n).map(|tag| {
        let terms = terms(numbers(tag, DIM));
        v1::StreamSearchRequest { tag, search: Some(v1::SearchRequest { terms, ..slow.clone() }) }
    }));
    let mut answers = client.stream_search(iter(asked)).await?.into_inner();
    let mut seen = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        match answer.outcome.context("an outcome")? {
            Outcome::Response(response) => assert_eq!(response.ids.len(), 1000),
            Outcome::Error(error) => panic!("{}: {error:?}", answer.tag),
        }
        assert!(seen.insert(answer.tag));
    }
    assert_eq!(seen.len() as u64, n);

    for (size, k, expansion) in [(10_000, 10, None), (10_000, 1, None), (200, 10, long_expansion())]
    {
        let queries = (0..size).map(|seed| numbers(seed, DIM));
        let batch = exact_batch(queries, k).with(|o| o.expansion = expansion);
        let results = client.batch_search(batch).await?.into_inner().results;
        assert_eq!(results.len() as u64, size);
        assert!(results.iter().all(|result| result.ids.len() == k as usize));
    }
    let range = all_of(numbers(5, DIM), 0);
    let mut responses = client.range_search(range).await?.into_inner();
    let mut hits = 0;
    while let Some(response) = responses.message().await? {
        hits += response.ids.len() as u64;
    }
    assert_eq!(hits, 2 * ROWS_PER_SHARD);
    let images = (0..10_000).map(v1::image_name::Name::Id);
    let images = images.map(|name| v1::ImageName { name: Some(name) }).collect();
    let request = v1::GetVectorsRequest { images, ..Default::default() };
    assert_eq!(client.get_vectors(request).await?.into_inner().vectors.len(), 10_000);
    client.explain(v1::ExplainRequest { search: Some(slow) }).await?;
    Ok(())
}

/// A range search for all images, at most k of them, with their keys.
fn all_of(x: Vec<f32>, k: u32) -> v1::RangeSearchRequest {
    let range = v1::RangeSearchRequest { terms: terms(x), ..Default::default() };
    range.with(|o| {
        (o.k, o.score_threshold) = (k, Some(-1e9));
        (o.exact, o.with_keys) = (true, true);
    })
}

fn check_too_large(status: &Status, words: &[&str]) {
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(reason(status).0, ErrorReason::AnswerTooLarge, "{status}");
    for word in words {
        assert!(status.message().contains(word), "{word:?} in {}", status.message());
    }
}

/// For every call: an answer larger than a message may be is refused with a remedy, the largest
/// that fits is sent, and a range search fits its hits into its messages.
#[tokio::test]
async fn answers_beyond_the_message_limit_say_what_to_make_smaller() -> Result<()> {
    const LIMIT: usize = 20_000;
    let world = World::new()?;
    let mut settings = config(world.folder.path(), "")?;
    (settings.max_message_bytes, settings.max_k) = (LIMIT, 10_000);
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?.max_decoding_message_size(LIMIT);

    let search = |k: u32, with_keys| {
        one(vector(numbers(5, DIM))).with(|o| {
            o.k = k;
            o.with_keys = with_keys
        })
    };
    let fits = client.search(search(2000, false)).await?.into_inner();
    assert!(fits.encoded_len() > LIMIT / 2);
    // The size of the first is certain before the search, that of the second is not.
    let smaller = ["fewer hits (k)", "without keys", "20000"];
    check_too_large(&client.search(search(10_000, false)).await.unwrap_err(), &smaller);
    check_too_large(&client.search(search(1000, true)).await.unwrap_err(), &smaller);
    let few_lists = search(10_000, false).with(|o| o.nprobe = 7);
    check_too_large(&client.search(few_lists).await.unwrap_err(), &smaller);
    let explain = v1::ExplainRequest { search: Some(search(1000, true)) };
    check_too_large(&client.explain(explain).await.unwrap_err(), &smaller);

    let batch = |n: u64, nprobe| {
        let queries = (0..n).map(|seed| numbers(seed, DIM));
        exact_batch(queries, 40).with(|o| o.nprobe = nprobe)
    };
    let smaller = ["fewer queries", "fewer hits (k)"];
    assert_eq!(client.batch_search(batch(60, 1)).await?.into_inner().results.len(), 60);
    for nprobe in [1, 1000] {
        check_too_large(&client.batch_search(batch(200, nprobe)).await.unwrap_err(), &smaller);
    }

    // One of a stream fails alone.
    let asked =
        |tag| v1::StreamSearchRequest { tag, search: Some(search(1000 * tag as u32, true)) };
    let queries = [asked(0), asked(1), asked(0)];
    let mut answers = client.stream_search(iter(queries)).await?.into_inner();
    let mut answered = 0;
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        match (answer.tag, answer.outcome.context("an outcome")?) {
            (0, Outcome::Response(_)) => answered += 1,
            (1, Outcome::Error(error)) => {
                assert_eq!(error.reason(), ErrorReason::AnswerTooLarge);
                assert!(error.message.contains("fewer hits (k)"), "{}", error.message);
            }
            (tag, outcome) => panic!("{tag}: {outcome:?}"),
        }
    }
    assert_eq!(answered, 2);

    let vectors = |n| {
        let images = (0..n).map(|id| v1::ImageName { name: Some(v1::image_name::Name::Id(id)) });
        v1::GetVectorsRequest { images: images.collect(), ..Default::default() }
    };
    assert_eq!(client.get_vectors(vectors(200)).await?.into_inner().vectors.len(), 200);
    for n in [300, 1000] {
        let status = client.get_vectors(vectors(n)).await.unwrap_err();
        check_too_large(&status, &["fewer images"]);
    }

    let range = all_of(numbers(5, DIM), 3000);
    let mut responses = client.range_search(range).await?.into_inner();
    let (mut ids, mut keys, mut messages) = (Vec::new(), Vec::new(), 0);
    while let Some(response) = responses.message().await? {
        ids.extend(response.ids);
        keys.extend(response.keys);
        messages += 1;
    }
    assert_eq!(keys, Vec::from_iter(ids.iter().map(|id| key(*id))));
    assert!(ids.len() == 3000 && messages > 3, "{} hits in {messages} messages", ids.len());
    Ok(())
}

/// Finds, by trying, an offset in the keys of a shard where a flipped bit leaves the scan sound and
/// keys unreadable.
fn damage_keys(folder: &Path, shard: &Path) -> Result<u64> {
    let bytes = std::fs::metadata(shard)?.len();
    for offset in (bytes / 2..bytes).step_by(4096) {
        flip(shard, offset)?;
        let sound = (|| {
            let snapshot = Snapshot::open(folder, None)?;
            let row = snapshot.find_id(ROWS_PER_SHARD + 17)?.context("the row")?;
            snapshot.vector(row)?;
            let all = ocelli_index::SearchParams { k: 10_000, nprobe: 8, ..Default::default() };
            let hits = snapshot.search(&numbers(5, DIM), &all)?.hits;
            let unreadable = hits.iter().filter(|hit| snapshot.key(hit.row).is_err()).count();
            Ok::<_, anyhow::Error>(unreadable > 100)
        })();
        if sound.unwrap_or(false) {
            return Ok(offset);
        }
        flip(shard, offset)?;
    }
    anyhow::bail!("no keys in {}", shard.display())
}

/// If only the keys of one shard are damaged, a partial answer has k hits of the sound shard, as if
/// the other did not exist: alone, in a batch, in a range, after an expansion. Without keys, the
/// answer is whole.
#[tokio::test]
async fn lost_keys_take_away_no_more_than_their_shard() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = build(folder.path())?;
    damage_keys(folder.path(), &shards[1])?;
    let name = shards[1].file_name().and_then(|name| name.to_str()).context("a name")?;
    let alone = tempfile::tempdir()?;
    build(alone.path())?;
    crate::support::commit_half(alone.path())?;
    let half = Running::start(&config(alone.path(), "")?).await?;
    let mut half = half.client().await?;

    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let plain = one(vector(numbers(5, DIM))).with(|o| o.k = 50);
    let partial = plain.clone().with(|o| {
        o.allow_partial = true;
        o.with_keys = true
    });
    let whole = client.search(partial.clone().with(|o| o.with_keys = false)).await?;
    assert_eq!(whole.into_inner().shards.context("shards")?.answered, 2);
    for expansion in [None, long_expansion()] {
        let status = client.search(plain.clone().with(|o| o.with_keys = true)).await;
        assert_eq!(status.unwrap_err().code(), Code::DataLoss);
        let search = partial.clone().with(|o| o.expansion = expansion);
        let found = client.search(search.clone()).await?.into_inner();
        assert_eq!((found.ids.len(), found.keys.len()), (50, 50));
        assert!(found.ids.iter().all(|id| *id < ROWS_PER_SHARD));
        assert_eq!(found.keys, Vec::from_iter(found.ids.iter().map(|id| key(*id))));
        let told = found.shards.context("shards")?;
        assert_eq!((told.asked, told.answered, &told.failed[..]), (2, 1, &[name.to_owned()][..]));
        if expansion.is_none() {
            assert_eq!(found.ids, half.search(search.clone()).await?.into_inner().ids);
        }
        let batch = exact_batch((5..25).map(|seed| numbers(seed, DIM)), 50).with(|o| {
            o.allow_partial = true;
            o.with_keys = true;
            o.expansion = expansion
        });
        let answer = client.batch_search(batch).await?.into_inner();
        assert_eq!(answer.shards.context("shards")?.failed, [name]);
        assert_eq!((&answer.results[0].ids, &answer.results[0].keys), (&found.ids, &found.keys));
        assert!(answer.results.iter().all(|result| result.ids.len() == 50));
    }
    let range = all_of(numbers(5, DIM), 700).with(|o| o.allow_partial = true);
    let mut responses = client.range_search(range).await?.into_inner();
    let first = responses.message().await?.context("a response")?;
    assert!(first.ids.len() == 700 && first.ids.iter().all(|id| *id < ROWS_PER_SHARD));
    let summary = first.summary.context("a summary")?;
    assert_eq!(summary.shards.context("shards")?.failed, [name]);
    Ok(())
}

/// Vectors whose scores would not be numbers are refused, each alone, with the valid range.
#[tokio::test]
async fn queries_whose_squares_overflow_or_vanish_are_refused() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    for value in [3e38, 1e20, 1e-20] {
        let status = client.search(one(vector(vec![value; DIM]))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{value}: {status}");
        let at = "terms[0].vector.values".to_owned();
        assert_eq!(reason(&status), (ErrorReason::FieldInvalid, at));
        assert!(status.message().contains("1e15"), "{status}");
    }
    let largest = numbers(5, DIM).into_iter().map(|x| 1e14 * x).collect::<Vec<_>>();
    let found = client.search(one(vector(largest.clone()))).await?.into_inner();
    assert!(found.scores.iter().all(|score| score.is_finite()));
    // Two valid vectors with weights that nearly cancel make a query that is too large.
    let weighted =
        |weight, x: &[f32]| v1::QueryTerm { weight: Some(weight), term: Some(vector(x.to_vec())) };
    let far = [weighted(1.0, &largest), weighted(-0.999, &numbers(6, DIM))];
    let batch = v1::BatchSearchRequest {
        queries: vec![
            v1::BatchQuery { terms: terms(numbers(5, DIM)) },
            v1::BatchQuery { terms: terms(vec![3e38; DIM]) },
            v1::BatchQuery { terms: far.to_vec() },
            v1::BatchQuery { terms: vec![v1::QueryTerm { weight: None, term: Some(id(17)) }] },
        ],
        ..Default::default()
    };
    let batch = batch.with(|o| o.k = 5);
    let results = client.batch_search(batch).await?.into_inner().results;
    let wrong = Vec::from_iter(results.iter().map(|result| result.error.is_some()));
    assert_eq!(wrong, [false, true, true, false]);
    Ok(())
}

/// Malformed bodies: INVALID_ARGUMENT with a reason, for every method, and a line in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_no_message_is_its_senders_fault() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let mut server = Process::start(folder.path(), &[("LOG__FILTER", "warn")])?;
    let channel = server.channel().await?;
    let search = ["Search", "BatchSearch", "StreamSearch", "RangeSearch", "GetVectors", "Explain"];
    let paths = search.map(|method| format!("/ocelli.v1.SearchService/{method}"));
    let admin = "/ocelli.v1.AdminService/ActivateGeneration".to_owned();
    for path in paths.into_iter().chain([admin]) {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await?;
        let body = prost::bytes::Bytes::from_static(b"\x0a\xff\xff\xff\xff\x0fno message");
        let request = tonic::Request::new(tokio_stream::once(body));
        let call = async {
            let path = tonic::codegen::http::uri::PathAndQuery::try_from(path.clone())?;
            let mut answers = client.streaming(request, path, Raw).await?.into_inner();
            while answers.message().await?.is_some() {}
            Ok::<_, anyhow::Error>(())
        };
        let error = call.await.expect_err("no message");
        let status = error.downcast_ref::<Status>().context("a status")?;
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status}");
        assert_eq!(reason(status).0, ErrorReason::FieldInvalid, "{path}");
        assert!(status.message().contains("the body is no "), "{path}: {status}");
    }
    server.tells("malformed request").await?;
    server.check_alive()
}

//! The real server on a free port, asked by the real client. Its hits are compared with those of
//! `Snapshot::search`: the service may neither add nor lose a hit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::{
    DIM, FakeEncoder, ROWS_PER_SHARD, Running, SHARDS, WithOptions, build, build_refined, config,
    flip, key, numbers, spec, stage_us,
};
use anyhow::{Context, Result};
use ocelli_index::{Hash, SearchParams, Snapshot};
use ocelli_proto::status::{Code as Ours, reason};
use ocelli_proto::v1;
use ocelli_proto::v1::Stage;
use ocelli_proto::v1::query_term::Term;
use ocelli_searcher::service::{Query, TermValue};
use ocelli_searcher::{Searcher, leaf::ImageName, service};
use tempfile::TempDir;
use tonic::{Code, Status};

pub const K: u32 = 10;
/// An offset inside the codes of a shard: they are 96,000 bytes from below 20,000 on.
pub const CODES_OFFSET: u64 = 80_000;

pub fn vector(values: Vec<f32>) -> Term {
    let spec_hash = String::new();
    Term::Vector(v1::QueryVector { values, spec_hash })
}

pub fn id(id: u64) -> Term {
    Term::Id(v1::QueryId { id })
}

pub fn by_key(key: impl Into<String>) -> Term {
    Term::Key(v1::QueryKey { key: key.into() })
}

pub fn image(data: &[u8]) -> v1::QueryImage {
    v1::QueryImage { data: data.to_vec(), ..Default::default() }
}

/// A request for `K` hits from every list.
pub fn request(terms: impl IntoIterator<Item = (Option<f32>, Term)>) -> v1::SearchRequest {
    let terms = terms.into_iter().map(|(weight, term)| v1::QueryTerm { weight, term: Some(term) });
    let request = v1::SearchRequest { terms: terms.collect(), ..Default::default() };
    request.with(|o| (o.k, o.nprobe) = (K, 1000))
}

pub fn one(term: Term) -> v1::SearchRequest {
    request([(None, term)])
}

/// Ids and scores that the index itself finds for `x`.
pub fn expected(snapshot: &Snapshot, x: &[f32]) -> Result<(Vec<u64>, Vec<f32>)> {
    let params = SearchParams {
        k: K as usize,
        nprobe: snapshot.model().parts().nlist,
        refine_candidates: 0,
        allow_partial: false,
        ..SearchParams::default()
    };
    let hits = snapshot.search(x, &params)?.hits;
    assert_eq!(hits.len(), K as usize, "the oracle must have an answer");
    Ok(hits.into_iter().map(|hit| (hit.id, hit.score)).unzip())
}

pub struct World {
    pub folder: TempDir,
    pub snapshot: Snapshot,
}

impl World {
    pub fn new() -> Result<World> {
        let folder = tempfile::tempdir()?;
        build(folder.path())?;
        let snapshot = Snapshot::open(folder.path(), None)?;
        Ok(World { folder, snapshot })
    }

    pub async fn serve(&self, encoder_url: &str) -> Result<Running> {
        Running::start(&config(self.folder.path(), encoder_url)?).await
    }

    pub fn stored(&self, id: u64) -> Result<Vec<f32>> {
        let row = self.snapshot.find_id(id)?.context("the id is indexed")?;
        Ok(self.snapshot.vector(row)?)
    }
}

/// Absent: the server's default; 0: none; a number: as many. Beyond the limit, or of an index
/// without finer codes: refused.
#[tokio::test]
async fn the_best_are_scored_again_where_there_are_finer_codes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build_refined(folder.path())?;
    let snapshot = Snapshot::open(folder.path(), None)?;
    let mut settings = config(folder.path(), "")?;
    settings.max_refine_candidates = 300;
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?;
    let x = numbers(5, DIM);
    for (asked, refine) in
        [(None, settings.default_refine_candidates), (Some(0), 0), (Some(300), 300)]
    {
        let wanted = one(vector(x.clone())).with(|o| o.refine_candidates = asked);
        let found = client.search(wanted).await?.into_inner();
        let params = SearchParams {
            k: K as usize,
            nprobe: 8,
            refine_candidates: refine as usize,
            allow_partial: false,
            ..SearchParams::default()
        };
        let hits = snapshot.search(&x, &params)?.hits;
        assert_eq!(found.ids, Vec::from_iter(hits.iter().map(|hit| hit.id)), "{asked:?}");
        assert_eq!(found.scores, Vec::from_iter(hits.iter().map(|hit| hit.score)), "{asked:?}");
    }
    let too_many = one(vector(x.clone())).with(|o| o.refine_candidates = Some(301));
    let status = client.search(too_many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("0 to 300"), "{status}");
    drop(client);
    server.stop().await?;

    let plain = World::new()?;
    let server = plain.serve("").await?;
    let mut client = server.client().await?;
    assert_eq!(client.search(one(vector(x.clone()))).await?.into_inner().ids.len(), K as usize);
    let status = client.search(one(vector(x)).with(|o| o.refine_candidates = Some(1))).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("no finer codes"), "{status}");
    drop(client);
    server.stop().await
}

#[tokio::test]
async fn every_kind_of_term_finds_what_the_index_finds() -> Result<()> {
    let world = World::new()?;
    let encoder = FakeEncoder::start(spec().hash()).await?;
    let server = world.serve(&encoder.url).await?;
    let mut client = server.client().await?;

    // One image of the second shard; a weighted mean that no single term gives.
    let named = ROWS_PER_SHARD + 17;
    let (a, b) = (numbers(5, DIM), world.stored(named)?);
    let mean = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        Vec::from_iter(pairs.map(|(a, b)| ((3.0 * a - b) / 2.0) as f32))
    };
    let mean = mean(&a, &b);
    let cases = [
        ("vector", one(vector(a.clone())), a.clone()),
        ("id", one(id(named)), b.clone()),
        ("key", one(by_key(key(named))), b.clone()),
        ("image", one(Term::Image(image(b"good"))), numbers(7, DIM)),
        ("weights", request([(Some(3.0), vector(a)), (Some(-1.0), id(named))]), mean),
    ];
    for (name, request, x) in cases {
        let response = client.search(request).await.context(name)?.into_inner();
        let (ids, scores) = expected(&world.snapshot, &x)?;
        assert_eq!(response.ids, ids, "{name}");
        assert_eq!(response.scores, scores, "{name}");
        assert!(response.keys.is_empty(), "{name}: no keys were asked for");
        assert_eq!(response.metric(), v1::Metric::InnerProduct, "{name}");
        assert_eq!(response.generation, world.snapshot.generation().number);
        let shards = response.shards.context("shards are counted")?;
        assert_eq!((shards.asked, shards.answered), (SHARDS as u32, SHARDS as u32));
        let times = response.times.context("times are taken")?;
        let searching = stage_us(&times, Stage::Probe) + stage_us(&times, Stage::Scan);
        assert!(times.total_us + 2 >= searching && times.total_us > 0);
        assert_eq!(stage_us(&times, Stage::Encode) > 0, name == "image");
    }

    let mut keyed = one(vector(numbers(5, DIM))).with(|o| o.with_keys = true);
    keyed.index = "synthetic".to_owned();
    keyed.generation = world.snapshot.generation().number;
    let response = client.search(keyed).await?.into_inner();
    assert_eq!(response.keys, Vec::from_iter(response.ids.iter().map(|id| key(*id))));

    // Box and sizes reach the encoder, and `sizes_differ` reaches the client.
    let mut other = image(b"good");
    other.sizes = vec![224];
    other.r#box = Some(v1::Box { x0: 0.0, y0: 1.0, x1: 9.0, y1: 2.0 });
    let response = client.search(one(Term::Image(other))).await?.into_inner();
    assert!(response.sizes_differ);

    drop(client);
    server.stop().await?;
    encoder.stop().await
}

/// Each request is wrong in one way. The status must have the code, and its message must have all
/// words, which name what was found and what was expected.
#[tokio::test]
async fn what_is_wrong_is_said_with_its_code_and_numbers() -> Result<()> {
    let world = World::new()?;
    let encoder = FakeEncoder::start(spec().hash()).await?;
    let server = world.serve(&encoder.url).await?;
    let mut client = server.client().await?;

    let good = || one(vector(numbers(5, DIM)));
    let with = |change: fn(&mut v1::SearchRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let broken = |at: usize, value: f32| {
        let mut values = numbers(5, DIM);
        values[at] = value;
        one(vector(values))
    };
    let other_spec = Hash::of(b"another network").to_string();
    let of_spec = |spec_hash: &str| {
        one(Term::Vector(v1::QueryVector {
            values: numbers(5, DIM),
            spec_hash: spec_hash.to_owned(),
        }))
    };
    let bad_box = |x0: f32, x1: f32| {
        let mut image = image(b"good");
        image.r#box = Some(v1::Box { x0, y0: 0.0, x1, y1: 9.0 });
        one(Term::Image(image))
    };
    let sizes = |sizes: Vec<u32>| {
        let mut image = image(b"good");
        image.sizes = sizes;
        one(Term::Image(image))
    };
    let spec_hash = spec().hash().to_string();
    use Code::{FailedPrecondition, InvalidArgument, NotFound};
    let cases: Vec<(v1::SearchRequest, Code, Vec<&str>)> = vec![
        (with(|r| r.terms.clear()), InvalidArgument, vec!["0 terms", "1 to 64"]),
        (request(vec![(None, id(1)); 65]), InvalidArgument, vec!["65 terms", "1 to 64"]),
        (with(|r| r.terms[0].term = None), InvalidArgument, vec!["term 0", "none"]),
        (with(|r| r.terms[0].weight = Some(f32::NAN)), InvalidArgument, vec!["weight", "NaN"]),
        (with(|r| r.terms[0].weight = Some(0.0)), InvalidArgument, vec!["add up to 0"]),
        (good().with(|o| o.k = 101), InvalidArgument, vec!["101", "1 to 100"]),
        (with(|r| r.index = "oxford".into()), NotFound, vec!["oxford", "synthetic"]),
        (with(|r| r.generation = 77), NotFound, vec!["77", "generation 1"]),
        (one(vector(vec![0.5; 128])), InvalidArgument, vec!["128", "dimension 16"]),
        (one(vector(vec![])), InvalidArgument, vec!["0 values", "16"]),
        (broken(3, f32::NAN), InvalidArgument, vec!["value 3", "NaN"]),
        (broken(15, f32::INFINITY), InvalidArgument, vec!["value 15", "inf"]),
        (of_spec(&other_spec), FailedPrecondition, vec![&other_spec, &spec_hash]),
        (of_spec("xyz"), InvalidArgument, vec!["term 0", "xyz"]),
        (one(id(1 << 63)), InvalidArgument, vec!["9223372036854775808", "2^63"]),
        (one(id(123_456)), NotFound, vec!["123456"]),
        (one(by_key("nobody.jpg")), NotFound, vec!["nobody.jpg"]),
        (one(by_key("")), InvalidArgument, vec!["key", "empty"]),
        (one(Term::Image(image(b""))), InvalidArgument, vec!["no bytes"]),
        (one(Term::Image(image(b"bad"))), InvalidArgument, vec!["encoder", "no image"]),
        (bad_box(5.0, 5.0), InvalidArgument, vec!["box", "(5, 0)"]),
        (bad_box(f32::NAN, 5.0), InvalidArgument, vec!["box", "NaN"]),
        (sizes(vec![8]), InvalidArgument, vec!["8", "16 to 4096"]),
        (sizes(vec![64; 9]), InvalidArgument, vec!["9 sizes", "at most 8"]),
    ];
    for (request, code, words) in cases {
        let shown = format!("{:?}", request.terms.first());
        let status = client.search(request).await.expect_err(&shown);
        assert_eq!(status.code(), code, "{status}");
        for word in words {
            assert!(status.message().contains(word), "{word:?} in {}", status.message());
        }
    }
    // After all that, the server still answers.
    client.search(good()).await?;
    Ok(())
}

/// A byte of the second shard's codes is flipped before the server opens it. The first query that
/// touches it fails. A query that allows a partial answer gets the hits of the first shard alone,
/// as if the second did not exist, and the name of the missing shard. Ids of the sound shard stay
/// queryable.
#[tokio::test]
async fn a_damaged_shard_is_data_loss_or_a_partial_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = build(folder.path())?;
    let snapshot = Snapshot::open(folder.path(), None)?;
    let damaged = snapshot.generation().shards[1].name.clone();
    let x = snapshot.vector(snapshot.find_id(17)?.context("the id is indexed")?)?;
    flip(&shards[1], CODES_OFFSET)?;

    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let status = client.search(one(id(17))).await.expect_err("a shard is damaged");
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    assert!(status.message().contains(&damaged), "{status}");

    let partial = one(vector(x)).with(|o| (o.allow_partial, o.with_keys) = (true, true));
    let response = client.search(partial).await?.into_inner();
    let shards = response.shards.context("shards are counted")?;
    assert_eq!((shards.asked, shards.answered), (2, 1));
    assert_eq!(shards.failed, [damaged]);
    assert_eq!(response.ids.len(), K as usize);
    assert!(response.ids.iter().all(|id| *id < ROWS_PER_SHARD), "{:?}", response.ids);
    assert!(response.ids.contains(&17));
    Ok(())
}

async fn image_error(server: &Running) -> Result<Status> {
    let mut client = server.client().await?;
    let answer = client.search(one(Term::Image(image(b"good")))).await;
    answer.err().context("the image query is refused")
}

#[tokio::test]
async fn an_encoder_that_is_missing_down_or_another_is_told_apart() -> Result<()> {
    let world = World::new()?;

    let none = image_error(&world.serve("").await?).await?;
    assert_eq!(none.code(), Code::FailedPrecondition, "{none}");
    assert!(none.message().contains("no encoder"), "{none}");

    // A port that was free a moment ago.
    let gone = FakeEncoder::start(spec().hash()).await?;
    let url = gone.url.clone();
    gone.stop().await?;
    let down = image_error(&world.serve(&url).await?).await?;
    assert_eq!(down.code(), Code::Unavailable, "{down}");
    assert!(down.message().contains(&url), "{down}");
    assert!(down.message().contains("refused"), "{down}");

    let other_spec = Hash::of(b"another network");
    let other = FakeEncoder::start(other_spec).await?;
    let mismatch = image_error(&world.serve(&other.url).await?).await?;
    assert_eq!(mismatch.code(), Code::FailedPrecondition, "{mismatch}");
    for hash in [other_spec, spec().hash()] {
        assert!(mismatch.message().contains(&hash.to_string()), "{mismatch}");
    }
    Ok(())
}

/// A query waits for an encoder that still reads its network. If the client's time ends first, its
/// error has the reason and a time to ask again. An encoder that restarts and is not ready again is
/// noticed.
#[tokio::test]
async fn an_encoder_that_is_not_ready_is_waited_for() -> Result<()> {
    let world = World::new()?;
    let encoder = FakeEncoder::new(spec().hash());
    let unready = Arc::clone(&encoder.unready);
    let encoder = encoder.serve().await?;
    let server = world.serve(&encoder.url).await?;
    // The server has asked for its spec before and takes it for ready: the first image finds that
    // it is not.
    unready.store(1, Ordering::SeqCst);
    let status = image_error(&server).await?;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let mut client = server.client().await?;
    unready.store(3, Ordering::SeqCst);
    client.search(one(Term::Image(image(b"good")))).await?;
    assert_eq!(unready.load(Ordering::SeqCst), 0);

    unready.store(1, Ordering::SeqCst);
    image_error(&server).await?;
    unready.store(usize::MAX, Ordering::SeqCst);
    let status = image_error(&server).await?;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(reason(&status).0, v1::ErrorReason::NotReady);
    assert!(status.message().contains("it reads its network"), "{status}");
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert!(details.retry_info().is_some_and(|again| again.retry_delay.is_some()));
    Ok(())
}

/// The call is made below gRPC, because the timer of gRPC's client would race ours.
#[tokio::test]
async fn a_deadline_ends_the_wait_for_an_encoder_that_hangs() -> Result<()> {
    let world = World::new()?;
    let encoder = FakeEncoder::start(spec().hash()).await?;
    let searcher = Searcher::open(&config(world.folder.path(), &encoder.url)?)?;
    let image = v1::EncodeRequest { data: b"slow".to_vec(), ..Default::default() };
    let query =
        |value| Query { terms: vec![service::Term { weight: 1.0, value }], ..Default::default() };
    let limit = Some(Duration::from_millis(50));
    let error = searcher
        .search(query(TermValue::Image(image)), Instant::now(), limit)
        .await
        .expect_err("the encoder never answers");
    assert_eq!(error.code, Ours::DeadlineExceeded, "{error}");
    // A deadline that is not reached changes nothing.
    let limit = Some(Duration::from_secs(60));
    let by_id = query(TermValue::Indexed(ImageName::Id(3)));
    searcher.search(by_id, Instant::now(), limit).await?;
    Ok(())
}

/// Health reports SERVING for the server and its services. Reflection, in both versions, lists what
/// a foreign client needs.
#[tokio::test]
async fn health_and_reflection_answer() -> Result<()> {
    use tokio_stream::{StreamExt, once};
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::{v1, v1alpha};

    let world = World::new()?;
    let server = world.serve("").await?;
    let channel = server.channel().await?;
    let mut health = HealthClient::new(channel.clone());
    for name in ["", "ocelli.v1.SearchService"] {
        let service = name.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await?;
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{name:?}");
    }

    let wanted = ["grpc.health.v1.Health", "ocelli.v1.SearchService"];
    macro_rules! listed {
        ($version:ident) => {{
            use $version::server_reflection_client::ServerReflectionClient;
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let mut client = ServerReflectionClient::new(channel.clone());
            let request = $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut answers = client.server_reflection_info(once(request)).await?.into_inner();
            let answer = answers.next().await.context("an answer")??;
            match answer.message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    Vec::from_iter(list.service.into_iter().map(|service| service.name))
                }
                other => anyhow::bail!("expected a list of services, found {other:?}"),
            }
        }};
    }
    for names in [listed!(v1), listed!(v1alpha)] {
        assert!(wanted.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
    }
    Ok(())
}

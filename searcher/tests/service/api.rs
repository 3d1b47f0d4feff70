//! Answers of the calls other than Search, compared with those of the index itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_index::{Diffusion, Expansion, ExpansionMethod, Filter, Name, Scratch, SearchParams};
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use ocelli_proto::v1::stream_search_response::Outcome;
use tokio_stream::{StreamExt, iter};
use tonic::{Code, Request};

use crate::query::{K, World, by_key, expected, id, one, vector};
use crate::support::{DIM, Running, WithOptions, build, config, key, numbers};

pub fn terms(x: Vec<f32>) -> Vec<v1::QueryTerm> {
    vec![v1::QueryTerm { weight: None, term: Some(vector(x)) }]
}

/// A batch of vectors, each compared with every row.
pub fn exact_batch(queries: impl IntoIterator<Item = Vec<f32>>, k: u32) -> v1::BatchSearchRequest {
    let queries = queries.into_iter().map(|x| v1::BatchQuery { terms: terms(x) });
    let batch = v1::BatchSearchRequest { queries: queries.collect(), ..Default::default() };
    batch.with(|o| (o.k, o.nprobe) = (k, 1000))
}

/// A range search up to `threshold`.
fn range(x: &[f32], threshold: f32) -> v1::RangeSearchRequest {
    let range = v1::RangeSearchRequest { terms: terms(x.to_vec()), ..Default::default() };
    range.with(|o| o.score_threshold = Some(threshold))
}

/// A batch has the answers that its queries have alone. Wrong queries have an error at their place,
/// and the others are answered.
#[tokio::test]
async fn a_batch_answers_as_its_queries_do() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let mut queries = Vec::new();
    for seed in 0..700 {
        queries.push(v1::BatchQuery { terms: terms(numbers(seed, DIM)) });
    }
    queries[3].terms = vec![v1::QueryTerm { weight: None, term: Some(id(17)) }];
    queries[5].terms = terms(vec![1.0; 3]);
    queries[600].terms = vec![v1::QueryTerm { weight: None, term: Some(by_key("nobody")) }];
    queries[699].terms.clear();
    let batch = v1::BatchSearchRequest { queries, ..Default::default() };
    let batch = batch.with(|o| (o.k, o.nprobe, o.with_keys) = (K, 1000, true));
    let answer = client.batch_search(batch).await?.into_inner();
    assert_eq!(answer.results.len(), 700);
    let wrong = [
        (5, Code::InvalidArgument, ErrorReason::DimensionMismatch, "terms[0].vector.values"),
        (600, Code::NotFound, ErrorReason::ImageNotFound, "terms[0]"),
        (699, Code::InvalidArgument, ErrorReason::FieldInvalid, "terms"),
    ];
    for (at, code, reason, field) in wrong {
        let error = answer.results[at].error.clone().context("an error")?;
        assert_eq!(
            (error.code, error.reason(), error.field.as_str()),
            (code as i32, reason, field)
        );
        assert!(answer.results[at].ids.is_empty());
    }
    for (seed, result) in answer.results.iter().enumerate() {
        if wrong.iter().any(|w| w.0 == seed) {
            continue;
        }
        let x = if seed == 3 { world.stored(17)? } else { numbers(seed as u64, DIM) };
        let (ids, scores) = expected(&world.snapshot, &x)?;
        assert_eq!((&result.ids, &result.scores), (&ids, &scores), "query {seed}");
        assert_eq!(result.keys, Vec::from_iter(ids.iter().map(|id| key(*id))));
        assert_eq!(result.error, None);
    }
    assert_eq!(answer.generation, 1);
    assert_eq!(answer.shards.context("shards")?.answered, 2);

    let none = client.batch_search(v1::BatchSearchRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    assert_eq!(reason(&none), (ErrorReason::FieldInvalid, "queries".to_owned()));
    Ok(())
}

/// Every query of a stream is answered under its number. A wrong query gets an error, and those
/// after it are answered all the same.
#[tokio::test]
async fn a_bad_query_does_not_end_a_stream() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let asked = |tag: u64| {
        let search = match tag % 10 {
            3 => Some(one(vector(vec![0.0; 7]))),
            7 => None,
            _ => Some(one(vector(numbers(tag, DIM)))),
        };
        v1::StreamSearchRequest { tag, search }
    };
    let n = 1000;
    let mut answers = client.stream_search(iter((0..n).map(asked))).await?.into_inner();
    let mut seen = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        assert!(seen.insert(answer.tag), "{} was answered twice", answer.tag);
        match (answer.tag % 10, answer.outcome.context("an outcome")?) {
            (3, Outcome::Error(error)) => {
                assert_eq!(error.reason(), ErrorReason::DimensionMismatch);
                assert_eq!(error.field, "search.terms[0].vector.values");
            }
            (7, Outcome::Error(error)) => assert_eq!(error.field, "search.search"),
            (_, Outcome::Response(response)) => {
                let x = numbers(answer.tag, DIM);
                assert_eq!(response.ids, expected(&world.snapshot, &x)?.0, "{}", answer.tag);
            }
            (_, outcome) => panic!("{}: {outcome:?}", answer.tag),
        }
    }
    assert_eq!(seen.len() as u64, n);
    Ok(())
}

/// All hits up to the threshold in the order of a search, over several responses; with a limit, the
/// best of them.
#[tokio::test]
async fn a_range_search_finds_all_up_to_its_threshold() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let x = numbers(5, DIM);
    let params = SearchParams { k: 20_000, nprobe: 8, ..SearchParams::default() };
    let all = world.snapshot.search(&x, &params)?.hits;
    let threshold = all[2500].score;
    let want = Vec::from_iter(
        all.iter().take_while(|hit| hit.score >= threshold).map(|hit| (hit.id, hit.score)),
    );
    assert!(want.len() > 2500);
    for limit in [0, 1000, 1001, want.len() as u32, 1] {
        let request = range(&x, threshold).with(|o| {
            (o.k, o.exact, o.with_keys) = (limit, true, true);
        });
        let mut responses = client.range_search(request).await?.into_inner();
        let (mut found, mut keys, mut summary) = (Vec::new(), Vec::new(), None);
        while let Some(response) = responses.message().await? {
            assert!(summary.is_none(), "the summary comes last");
            assert!(response.ids.len() <= 1000);
            found.extend(response.ids.into_iter().zip(response.scores));
            keys.extend(response.keys);
            summary = response.summary;
        }
        let n = if limit == 0 { want.len() } else { limit as usize };
        assert_eq!(found, want[..n], "limit {limit}");
        assert_eq!(keys, Vec::from_iter(found.iter().map(|(id, _)| key(*id))));
        let summary = summary.context("a summary")?;
        assert_eq!((summary.hits, summary.truncated), (n as u64, n < want.len()), "{limit}");
    }
    let refused = [
        (range(&x, f32::NAN), "options.score_threshold"),
        (range(&x, 0.0).with(|o| o.score_threshold = None), "options.score_threshold"),
        (range(&x, 0.0).with(|o| o.k = 100_001), "options.k"),
        (range(&x, 0.0).with(|o| o.refine_candidates = Some(1)), "options.refine_candidates"),
        (range(&x, 0.0).with(|o| o.expansion = Some(Default::default())), "options.expansion"),
        (range(&x, 0.0).with(|o| o.diffusion = Some(Default::default())), "options.diffusion"),
    ];
    for (request, field) in refused {
        let status = client.range_search(request).await.unwrap_err();
        assert_eq!(reason(&status), (ErrorReason::FieldInvalid, field.to_owned()), "{status}");
    }
    // No image reaches the threshold: one response without hits.
    let mut responses = client.range_search(range(&x, 1e9)).await?.into_inner();
    let only = responses.message().await?.context("one response")?;
    assert!(only.ids.is_empty() && only.summary.is_some_and(|s| s.hits == 0 && !s.truncated));
    assert_eq!(responses.message().await?, None);
    Ok(())
}

#[tokio::test]
async fn filters_thresholds_and_exact_do_what_the_index_does() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let x = numbers(5, DIM);
    let few = one(vector(x.clone())).with(|o| o.nprobe = 1);
    let exact = few.clone().with(|o| o.exact = true);
    let (ids, scores) = expected(&world.snapshot, &x)?;
    assert_ne!(client.search(few).await?.into_inner().ids, ids, "one list is not enough");
    assert_eq!(client.search(exact.clone()).await?.into_inner().ids, ids);

    let cut = exact.clone().with(|o| o.score_threshold = Some(scores[3]));
    assert_eq!(client.search(cut).await?.into_inner().ids, ids[..4]);

    // The best by id and the second by key are denied; then only some are allowed, by both names.
    let set = |ids: &[u64], keys: &[u64]| {
        let keys = Vec::from_iter(keys.iter().map(|id| key(*id)));
        Some(v1::ImageSet { ids: ids.to_vec(), keys })
    };
    let name = |id: u64| Name::Key(key(id));
    let cases = [
        (
            v1::Filter { deny: set(&ids[..1], &ids[1..2]), ..Default::default() },
            Filter { deny: [Name::Id(ids[0]), name(ids[1])].into(), ..Filter::default() },
        ),
        (
            v1::Filter {
                allow: set(&[9, 11_000, 1 << 60], &[50]),
                deny: set(&[9], &[]),
                predicate: None,
            },
            Filter { allow: Some([Name::Id(11_000), name(50)].into()), ..Filter::default() },
        ),
        (
            v1::Filter { allow: set(&[], &[]), ..Default::default() },
            Filter { allow: Some(BTreeSet::new()), ..Filter::default() },
        ),
    ];
    for (filter, same) in cases {
        let request = exact.clone().with(|o| o.filter = Some(filter));
        let found = client.search(request).await?.into_inner();
        let filter = Some(world.snapshot.resolve(&same)?.into());
        let params = SearchParams { k: K as usize, nprobe: 8, filter, ..SearchParams::default() };
        let hits = world.snapshot.search(&x, &params)?.hits;
        assert_eq!(found.ids, Vec::from_iter(hits.iter().map(|hit| hit.id)));
    }
    let filter = Some(v1::Filter { deny: set(&[1 << 63], &[]), ..Default::default() });
    let status = client.search(exact.with(|o| o.filter = filter)).await.unwrap_err();
    assert_eq!(reason(&status), (ErrorReason::FieldInvalid, "options.filter.deny.id".to_owned()));
    Ok(())
}

#[tokio::test]
async fn vectors_are_those_of_the_index() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let by = |name| v1::ImageName { name: Some(name) };
    use v1::image_name::Name::{Id, Key};
    let images = vec![by(Id(7)), by(Key(key(9000))), by(Id(1 << 50)), v1::ImageName { name: None }];
    let request = v1::GetVectorsRequest { images, ..Default::default() };
    let answer = client.get_vectors(request).await?.into_inner();
    assert_eq!((answer.dim, answer.generation), (DIM as u32, 1));
    assert_eq!(answer.vectors[0].values, world.stored(7)?);
    assert_eq!(answer.vectors[1].values, world.stored(9000)?);
    let reasons =
        Vec::from_iter(answer.vectors.iter().map(|v| v.error.as_ref().map(|e| e.reason())));
    assert_eq!(
        reasons,
        [None, None, Some(ErrorReason::ImageNotFound), Some(ErrorReason::FieldInvalid)]
    );
    Ok(())
}

/// The plan has the defaults filled in, lists and rows are those of the index, and the counts are
/// at least what the hits need and at most what the lists hold.
#[tokio::test]
async fn an_explanation_says_what_was_done() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let x = numbers(5, DIM);
    let search = one(vector(x.clone())).with(|o| {
        o.nprobe = 3;
        o.k = 0
    });
    let plain = client.search(search.clone()).await?.into_inner();
    let request = v1::ExplainRequest { search: Some(search.clone()) };
    let explained = client.explain(request).await?.into_inner();
    let response = explained.response.context("a response")?;
    assert_eq!((response.ids, response.scores), (plain.ids, plain.scores));
    let plan = explained.plan.context("a plan")?;
    assert_eq!((plan.k, plan.nprobe, plan.refine_candidates, plan.searches), (10, 3, 0, 1));
    assert_eq!(
        (plan.allowed, plan.direct, plan.simd.as_str()),
        (None, false, ocelli_index::simd().level().name())
    );
    let params = SearchParams { nprobe: 3, ..SearchParams::default() };
    let lists = world.snapshot.probed_lists(&x, &params, &mut Scratch::default())?;
    let found = Vec::from_iter(explained.lists.iter().map(|l| (l.list, l.score, l.rows)));
    assert_eq!(found, lists);
    let rows: u64 = lists.iter().map(|list| list.2).sum();
    assert!((10..=rows).contains(&explained.codes_scanned), "{}", explained.codes_scanned);
    assert!((10..=explained.codes_scanned).contains(&explained.codes_survived));

    let allow = Some(v1::ImageSet { ids: vec![1, 2, 3], keys: vec![] });
    let filter = Some(v1::Filter { allow, ..Default::default() });
    let request = v1::ExplainRequest { search: Some(search.with(|o| o.filter = filter)) };
    let plan = client.explain(request).await?.into_inner().plan.context("a plan")?;
    assert_eq!((plan.allowed, plan.direct), (Some(3), true));
    Ok(())
}

/// An expanded query over the wire, alone and in a batch, has the answer that the index gives in
/// this process. Wrong options are refused with their field, and a query that cannot be expanded
/// fails alone.
#[tokio::test]
async fn expansion_searches_again_with_the_best_hits() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let alpha = v1::ExpansionMethod::Alpha as i32;
    let average = v1::ExpansionMethod::Average as i32;
    let cases = [
        (v1::Expansion { method: average, ..Default::default() }, ExpansionMethod::Average, 5, 1),
        (
            v1::Expansion { method: average, k: 3, rounds: 2, alpha: None },
            ExpansionMethod::Average,
            3,
            2,
        ),
        (
            v1::Expansion { method: alpha, k: 7, rounds: 1, alpha: None },
            ExpansionMethod::Alpha(3.0),
            7,
            1,
        ),
        (
            v1::Expansion { method: alpha, k: 7, rounds: 3, alpha: Some(0.5) },
            ExpansionMethod::Alpha(0.5),
            7,
            3,
        ),
    ];
    let params = SearchParams { nprobe: 1000, ..SearchParams::default() };
    let plain = expected(&world.snapshot, &numbers(3, DIM))?;
    for (wanted, method, k, rounds) in cases {
        let search = one(vector(numbers(3, DIM))).with(|o| o.expansion = Some(wanted));
        let found = client.search(search.clone()).await?.into_inner();
        let expansion = Expansion { method, k, rounds };
        let oracle = |x: &[f32]| -> Result<(Vec<u64>, Vec<f32>)> {
            let scratch = &mut Scratch::default();
            let hits = world.snapshot.search_expanded(x, &params, &expansion, scratch)?.hits;
            Ok(hits.iter().map(|hit| (hit.id, hit.score)).unzip())
        };
        let (ids, scores) = oracle(&numbers(3, DIM))?;
        assert_eq!((&found.ids, &found.scores), (&ids, &scores), "{wanted:?}");
        assert_ne!(found.scores, plain.1, "{wanted:?}: it was another query");

        let explain = v1::ExplainRequest { search: Some(search) };
        let explained = client.explain(explain).await?.into_inner();
        assert_eq!(explained.response.context("a response")?.ids, ids);
        assert_eq!(explained.plan.context("a plan")?.searches, rounds as u32 + 1);

        // The second has no direction: hits without weight, added to nothing.
        let queries = [numbers(3, DIM), vec![0.0; DIM], numbers(4, DIM)];
        let batch = exact_batch(queries, K).with(|o| o.expansion = Some(wanted));
        let results = client.batch_search(batch).await?.into_inner().results;
        assert_eq!(results[0].ids, ids);
        assert_eq!(results[2].ids, oracle(&numbers(4, DIM))?.0);
        assert_eq!(results[1].error.is_some(), method != ExpansionMethod::Average, "{wanted:?}");
    }

    let refused = [
        (v1::Expansion::default(), "expansion.method"),
        (v1::Expansion { method: 99, ..Default::default() }, "expansion.method"),
        (
            v1::Expansion { method: average, alpha: Some(1.0), ..Default::default() },
            "expansion.alpha",
        ),
        (
            v1::Expansion { method: alpha, alpha: Some(f32::NAN), ..Default::default() },
            "expansion.alpha",
        ),
        (v1::Expansion { method: average, k: 101, ..Default::default() }, "expansion.k"),
        (v1::Expansion { method: average, rounds: 11, ..Default::default() }, "expansion.rounds"),
    ];
    for (wanted, field) in refused {
        let search = one(vector(numbers(3, DIM))).with(|o| o.expansion = Some(wanted));
        let status = client.search(search).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(reason(&status), (ErrorReason::FieldInvalid, format!("options.{field}")));
    }
    Ok(())
}

/// Diffusion over the wire, alone and in a batch, has the order that the hits' vectors give in this
/// process, with the scores of the search. Wrong options are refused with their field.
#[tokio::test]
async fn diffusion_ranks_the_best_hits_again() -> Result<()> {
    let world = World::new()?;
    let server = world.serve("").await?;
    let mut client = server.client().await?;
    let wanted =
        v1::Diffusion { candidates: 30, neighbours: 6, query_neighbours: 3, ..Default::default() };
    let diffusion =
        Diffusion { candidates: 30, neighbours: 6, query_neighbours: 3, ..Diffusion::default() };
    // More hits than candidates: the rest follows as it was found. And fewer.
    for k in [40, 12] {
        let oracle = |x: &[f32]| -> Result<(Vec<u64>, Vec<f32>)> {
            let params = SearchParams { nprobe: 1000, k: k.max(30), ..SearchParams::default() };
            let hits = world.snapshot.search(x, &params)?.hits;
            let vectors = hits.iter().map(|hit| world.snapshot.vector(hit.row));
            let vectors: Vec<Vec<f32>> = vectors.collect::<Result<_, _>>()?;
            let order = diffusion.order(ocelli_index::simd(), x, &vectors)?;
            Ok(order.into_iter().take(k).map(|hit| (hits[hit].id, hits[hit].score)).unzip())
        };
        let plain = one(vector(numbers(3, DIM))).with(|o| o.k = k as u32);
        let search = plain.clone().with(|o| o.diffusion = Some(wanted));
        let found = client.search(search).await?.into_inner();
        let (ids, scores) = oracle(&numbers(3, DIM))?;
        assert_eq!((&found.ids, &found.scores), (&ids, &scores), "k = {k}");
        let before = client.search(plain.clone()).await?.into_inner();
        // A threshold removes hits by their scores, wherever diffusion has put them.
        let near = plain.with(|o| {
            o.k = 12;
            o.score_threshold = Some(before.scores[11]);
            o.diffusion = Some(wanted)
        });
        let near = client.search(near).await?.into_inner().ids;
        let before = before.ids;
        assert_eq!(BTreeSet::from_iter(&near), BTreeSet::from_iter(&before[..12]), "k = {k}");
        assert_ne!(ids[..12], before[..12], "k = {k}: nothing was ranked again");
        if k == 40 {
            assert_eq!(ids[30..], before[30..]);
        }

        let queries = [3, 4].map(|seed| numbers(seed, DIM));
        let batch = exact_batch(queries, k as u32).with(|o| o.diffusion = Some(wanted));
        let results = client.batch_search(batch).await?.into_inner().results;
        assert_eq!(results[0].ids, ids);
        assert_eq!(results[1].ids, oracle(&numbers(4, DIM))?.0);
    }

    let refused = [
        (v1::Diffusion { candidates: 1001, ..Default::default() }, "diffusion.candidates"),
        (v1::Diffusion { gamma: Some(-1.0), ..Default::default() }, "diffusion.gamma"),
        (v1::Diffusion { alpha: Some(1.0), ..Default::default() }, "diffusion.alpha"),
        (v1::Diffusion { alpha: Some(f32::NAN), ..Default::default() }, "diffusion.alpha"),
    ];
    for (wanted, field) in refused {
        let search = one(vector(numbers(3, DIM))).with(|o| o.diffusion = Some(wanted));
        let status = client.search(search).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(reason(&status), (ErrorReason::FieldInvalid, format!("options.{field}")));
    }
    Ok(())
}

/// The server's maximum ends a query whose client would wait longer.
#[tokio::test]
async fn deadlines_end_queries_with_their_reason() -> Result<()> {
    let world = World::new()?;
    let mut settings = config(world.folder.path(), "")?;
    settings.max_time_ms = 1;
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?;
    let queries = (0..8000).map(|seed| v1::BatchQuery { terms: terms(numbers(seed, DIM)) });
    let batch = v1::BatchSearchRequest { queries: queries.collect(), ..Default::default() };
    let batch = batch.with(|o| (o.k, o.exact) = (100, true));
    let mut request = Request::new(batch);
    request.set_timeout(Duration::from_secs(60));
    let status = client.batch_search(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(reason(&status).0, ErrorReason::Deadline);
    // The thread is free again at once: the searches have ended.
    let mut admin = server.admin().await?;
    let in_flight = admin.get_status(v1::GetStatusRequest {}).await?.into_inner().in_flight;
    assert_eq!(in_flight, 0);
    Ok(())
}

/// Two indexes in one server: each query goes to the index that it names, and a query without a
/// name is refused.
#[tokio::test]
async fn an_index_is_found_by_its_name() -> Result<()> {
    let (world, other) = (World::new()?, tempfile::tempdir()?);
    build(other.path())?;
    crate::support::commit_half(other.path())?;
    let mut settings = config(world.folder.path(), "")?;
    settings.indexes.insert("half".to_owned(), other.path().to_owned());
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?;
    let x = numbers(5, DIM);
    let named =
        |index: &str| v1::SearchRequest { index: index.to_owned(), ..one(vector(x.clone())) };
    let whole = client.search(named("synthetic")).await?.into_inner();
    let half = client.search(named("half")).await?.into_inner();
    assert_eq!((whole.generation, half.generation), (1, 2));
    assert_eq!(whole.ids, expected(&world.snapshot, &x)?.0);
    assert_eq!(half.shards.context("shards")?.asked, 1);
    let status = client.search(named("")).await.unwrap_err();
    assert_eq!(reason(&status), (ErrorReason::FieldInvalid, "index".to_owned()));
    assert!(status.message().contains("half, synthetic"), "{status}");
    let status = client.search(named("nobody")).await.unwrap_err();
    assert_eq!(reason(&status), (ErrorReason::IndexNotFound, "index".to_owned()));
    Ok(())
}

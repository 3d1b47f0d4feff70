//! Searches with filters by attributes: k hits wherever there are k, and as near as without.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;

use crate::attributes::Value;
use crate::attributes::record::{self, Fields};
use crate::base::hash::Hash;
use crate::generations::{IndexDir, NewGeneration};
use crate::model::{Metric, Model, ModelParts};
use crate::search::engine::Scratch;
use crate::search::filter::{Filter, Name, RowFilter};
use crate::search::params::SearchParams;
use crate::search::snapshot::Snapshot;
use crate::shard::ShardBuilder;
use crate::spec::DescriptorSpec;

const DIM: usize = 12;
const NLIST: usize = 128;
const ROWS: u64 = 24_000;
const K: usize = 10;
const NPROBE: usize = 2;

/// Rows in a space of fewer dimensions, as descriptors are.
fn rows() -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let axes: Vec<Vec<f32>> =
        (0..6).map(|_| (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    (0..ROWS)
        .map(|_| {
            let mut x = vec![0.0; DIM];
            for axis in &axes {
                let t: f32 = rng.random_range(-1.0..1.0);
                x.iter_mut().zip(axis).for_each(|(x, a)| *x += t * a);
            }
            x
        })
        .collect()
}

/// Two shards, the second without a column; every 50th row of the first is deleted.
fn index(root: &Path, rows: &[Vec<f32>]) -> Snapshot {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut some = |n: usize, scale: f32| -> Vec<f32> {
        let of = |_| rows[rng.random_range(0..rows.len())].iter().map(|x| x * scale);
        (0..n).map(of).collect::<Vec<_>>().into_iter().flatten().collect()
    };
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", DIM as u32).unwrap(),
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: DIM,
        d: DIM,
        nlist: NLIST,
        coarse: some(NLIST, 1.0).into(),
        m: DIM,
        ksub: 256,
        codebooks: some(256, 0.4),
        training: BTreeMap::new(),
    })
    .unwrap();
    let dir = IndexDir::create(root).unwrap();
    dir.put_model(&model).unwrap();
    let mut shards = Vec::new();
    for task in 0..2u64 {
        let mut builder = ShardBuilder::new(&model);
        for id in (0..ROWS).filter(|id| id % 2 == task) {
            builder.push(id, "", &rows[id as usize]).unwrap();
            builder.set_record(&record::encode(&fields(id)).unwrap()).unwrap();
        }
        shards.push(dir.put_shard(builder, Hash::of(b"plan"), task as u32).unwrap());
    }
    let dead: RoaringBitmap = (0..ROWS as u32 / 2).step_by(50).collect();
    let hash = dir.put_tombstones(&dead).unwrap();
    let tombstones = BTreeMap::from([(shards[0].name.clone(), hash)]);
    let model = model.hash();
    dir.commit(None, NewGeneration { model, shards, tombstones, deletes: None, next_id: ROWS })
        .unwrap();
    Snapshot::open(root, None).unwrap()
}

/// `order` has nothing to do with the place of a row; only even rows are `even`.
fn fields(id: u64) -> Fields {
    let order = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % 100_000;
    let mut fields = Fields::from([("order".to_owned(), Value::Int(order as i64))]);
    if id.is_multiple_of(2) {
        fields.insert("even".to_owned(), Value::Bool(true));
    }
    fields
}

fn alive(id: u64) -> bool {
    !id.is_multiple_of(100)
}

fn by(snapshot: &Snapshot, text: &str) -> RowFilter {
    let predicate = Some(text.parse().unwrap());
    snapshot.resolve(&Filter { predicate, ..Filter::default() }).unwrap()
}

/// Share of the hits of a search of all lists that a search finds.
fn recall(snapshot: &Snapshot, queries: &[Vec<f32>], filter: Option<&Arc<RowFilter>>) -> f64 {
    let mut found = 0;
    let mut all = 0;
    for q in queries {
        let params = |nprobe| SearchParams {
            k: K,
            nprobe,
            filter: filter.cloned(),
            ..SearchParams::default()
        };
        let truth = snapshot.search(q, &params(NLIST)).unwrap().hits;
        let hits = snapshot.search(q, &params(NPROBE)).unwrap().hits;
        assert_eq!(hits.len(), truth.len());
        found += hits.iter().filter(|hit| truth.contains(hit)).count();
        all += truth.len();
    }
    found as f64 / all as f64
}

#[test]
fn filtered_searches_find_k_rows_and_the_near_ones() {
    let tmp = tempfile::tempdir().unwrap();
    let rows = rows();
    let snapshot = index(tmp.path(), &rows);
    let queries: Vec<Vec<f32>> = (0..150).map(|i| rows[i * 151].clone()).collect();
    let plain = recall(&snapshot, &queries, None);
    assert!((0.3..0.999).contains(&plain), "some lists are missed: {plain}");
    for below in [50_000, 20_000, 5_000, 1_000, 100, 10] {
        let mut filter = by(&snapshot, &format!("order < {below}"));
        let passes = |id: &u64| matches!(fields(*id)["order"], Value::Int(v) if v < below);
        let there = (0..ROWS).filter(|id| passes(id) && alive(*id)).count();
        assert_eq!(filter.allowed(), Some(there as u64));
        for direct in [RowFilter::DIRECT, 0] {
            filter.direct = direct;
            let filter = Arc::new(filter.clone());
            let found = recall(&snapshot, &queries, Some(&filter));
            assert!(found >= plain - 0.01, "order < {below}, {direct}: {found}, without {plain}");
            let params =
                SearchParams { k: K, nprobe: 1, filter: Some(filter), ..SearchParams::default() };
            let batch = queries.concat();
            let batch = snapshot.search_batch(&batch, &params, &mut Scratch::default()).unwrap();
            for (q, batched) in queries.iter().zip(batch) {
                let hits = snapshot.search(q, &params).unwrap().hits;
                assert_eq!(hits.len(), K.min(there), "order < {below}");
                assert!(hits.iter().all(|hit| passes(&hit.id) && alive(hit.id)));
                assert_eq!(batched.hits, hits);
                assert_eq!(hits, snapshot.search_naive(q, &params).unwrap());
            }
        }
    }
}

#[test]
fn names_and_attributes_go_together() {
    let tmp = tempfile::tempdir().unwrap();
    let rows = rows();
    let snapshot = index(tmp.path(), &rows);
    assert_eq!(snapshot.schema().unwrap().describe(), "even (bool), order (int64)");
    let ids = |filter: &Filter| -> Vec<u64> {
        let filter = Some(Arc::new(snapshot.resolve(filter).unwrap()));
        let params = SearchParams { k: 50, nprobe: NLIST, filter, ..SearchParams::default() };
        let mut ids: Vec<u64> =
            snapshot.search(&rows[0], &params).unwrap().hits.iter().map(|hit| hit.id).collect();
        ids.sort_unstable();
        ids
    };
    let names: std::collections::BTreeSet<Name> = (96..108).map(Name::Id).collect();
    let deny = std::collections::BTreeSet::from([Name::Id(98), Name::Id(99)]);
    let predicate = Some("even".parse().unwrap());
    let filter = Filter { allow: Some(names.clone()), deny, predicate };
    // 100 is deleted, 98 denied, odd rows have no value.
    assert_eq!(ids(&filter), [96, 102, 104, 106]);
    let predicate = Some("even is null".parse().unwrap());
    let filter = Filter { allow: Some(names), predicate, ..Filter::default() };
    assert_eq!(ids(&filter), [97, 99, 101, 103, 105, 107]);
    let text = "order < 100000 and colour = 'red'";
    let predicate = Some(text.parse().unwrap());
    let error = snapshot.resolve(&Filter { predicate, ..Filter::default() }).unwrap_err();
    assert!(error.to_string().contains("expected one of: even (bool), order (int64)"), "{error}");
    let row = snapshot.find_id(7).unwrap().unwrap();
    assert_eq!(record::decode(&snapshot.record(row).unwrap()).unwrap(), fields(7));
}

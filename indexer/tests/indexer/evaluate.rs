//! Ground truth in its forms, and both protocols on a database small enough to rank by eye.

use std::fs;

use ocelli_index::{Diffusion, Expansion, ExpansionMethod};
use ocelli_indexer::evaluate::{
    ExactRanking, GroundTruth, Ranking, Rerank, leave_one_out, official, stem, write_query_list,
};
use tempfile::tempdir;

use crate::support::{descriptors, spec};

const JSON: &str = r#"{"images": ["a"], "folder_label": {"a": "t", "b": "t", "c": "u", "d": "t"},
    "queries": [{"name": "a", "bbox": [1, 2, 30, 40.5], "original_size": [9, 9], "ok": ["a", "d"], "junk": ["b"]}]}"#;

/// By distance from (1, 0): a, b, c, d. Official: junk b is skipped, so a c d with positives a
/// and d: ½ + 7/24. Leave-one-out, labels t: a b d: a asks b c d: (1 + 1)/2·½ + (1/2 + 2/3)/2·½ =
/// ½ + 7/24; b ranks c a d, by 0.08, 0.4, 0.52: (0 + 1/2)/2·½ + (1/2 + 2/3)/2·½ = 1/8 + 7/24; d
/// ranks c b a, by 0.2, 0.52, 1.64: the same.
#[test]
fn both_protocols_by_hand() {
    let dir = tempdir().unwrap();
    let part = descriptors(
        &dir.path().join("db.part"),
        &spec(2),
        &[
            ("x/a.jpg", &[1.0, 0.0]),
            ("x/b.jpg", &[0.8, 0.6]),
            ("y/c.jpg", &[0.6, 0.8]),
            ("d.png", &[0.2, 1.0]),
        ],
    );
    let queries = [descriptors(&dir.path().join("q.part"), &spec(2), &[("a", &[1.0, 0.0])])];
    let path = dir.path().join("gt.json");
    fs::write(&path, JSON).unwrap();
    let truth = GroundTruth::open(&path).unwrap();
    let database = ExactRanking::open(&[part], 0).unwrap();

    let report = official(&database, &truth, &queries, &Rerank::default()).unwrap();
    assert!((report.map - (0.5 + 7.0 / 24.0)).abs() < 1e-12, "{report:?}");
    assert_eq!((report.images, report.positives_missing), (4, 0));

    let report = leave_one_out(&database, &truth, None, &Rerank::default()).unwrap();
    let by_name: Vec<(&str, f64)> =
        report.queries.iter().map(|q| (q.name.as_str(), q.average_precision)).collect();
    let expected = [("a", 0.5 + 7.0 / 24.0), ("b", 0.125 + 7.0 / 24.0), ("d", 0.125 + 7.0 / 24.0)];
    assert_eq!(by_name.len(), 3, "{by_name:?}");
    for ((name, ap), (wanted_name, wanted)) in by_name.iter().zip(expected) {
        assert!(*name == wanted_name && (ap - wanted).abs() < 1e-12, "{by_name:?}");
    }
}

/// On a line, so that distances are differences. Augmented by one neighbour of weight 1, a becomes (1 + 2.5)/2, b
/// and c (3 + 2.5)/2, d (9 + 3)/2.
#[test]
fn expansion_and_augmentation_by_hand() {
    let dir = tempdir().unwrap();
    let rows: [(&str, &[f32]); 4] = [("a", &[1.0]), ("b", &[3.0]), ("c", &[2.5]), ("d", &[9.0])];
    let open = |dba| {
        let part = descriptors(&dir.path().join("db.part"), &spec(1), &rows);
        ExactRanking::open(&[part], dba)
    };
    let plain = open(0).unwrap();
    let expansion = |k, rounds| Rerank {
        expansion: Some(Expansion { method: ExpansionMethod::Average, k, rounds }),
        diffusion: None,
    };
    assert_eq!(plain.rank_again(&[5.8], &Rerank::default(), None).unwrap(), [1, 3, 2, 0]);
    // 5.8 finds b; the mean is 4.4, which c is nearer to than d.
    assert_eq!(plain.rank_again(&[5.8], &expansion(1, 1), None).unwrap(), [1, 2, 0, 3]);
    // Of a, without itself: (1 + 2.5 + 3) / 3.
    let of_a = plain.rank_again(&[1.0], &expansion(2, 1), Some(0)).unwrap();
    assert_eq!(of_a, [2, 1, 0, 3]);

    let augmented = open(1).unwrap();
    let ranked: Vec<f32> = (0..4).map(|i| augmented.ranked(i).unwrap()[0]).collect();
    assert_eq!(ranked, [1.75, 2.75, 2.75, 6.0]);
    assert_eq!(augmented.descriptor(3).unwrap(), [9.0], "an image asks as it is");
    // 5.8 is nearest to d's 6 now.
    assert_eq!(augmented.rank(&[5.8]).unwrap(), [3, 1, 2, 0]);
    let error = open(4).err().unwrap().to_string();
    assert!(error.contains("expected 1 to 3"), "{error}");
}

/// Photos by their direction in degrees. From 0, by way of each other, 10 to 50 come before -45, which is on its own; the
/// image that asks keeps its place, and so do those after the candidates.
#[test]
fn diffusion_reorders_the_best_by_hand() {
    let dir = tempdir().unwrap();
    let degrees: [f32; 8] = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, -45.0, 80.0];
    let at = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
    let names = ["0", "10", "20", "30", "40", "50", "-45", "80"];
    let vectors = degrees.map(at);
    let rows: Vec<(&str, &[f32])> = names.into_iter().zip(vectors.iter().map(|v| &v[..])).collect();
    let part = descriptors(&dir.path().join("db.part"), &spec(2), &rows);
    let database = ExactRanking::open(&[part], 0).unwrap();
    assert_eq!(database.rank(&at(0.0)).unwrap(), [0, 1, 2, 3, 4, 6, 5, 7]);
    let diffusion =
        Diffusion { candidates: 6, neighbours: 2, query_neighbours: 2, ..Diffusion::default() };
    let rerank = Rerank { expansion: None, diffusion: Some(diffusion) };
    let ranked = database.rank_again(&at(0.0), &rerank, Some(0)).unwrap();
    assert_eq!((ranked[0], ranked[6], ranked[7]), (0, 6, 7), "{ranked:?}");
    let mut thread = ranked[1..6].to_vec();
    thread.sort_unstable();
    assert_eq!(thread, [1, 2, 3, 4, 5]);
}

/// Vectors from elsewhere need not have unit norm: a long one must not win by its length.
#[test]
fn foreign_vectors_are_ranked_by_distance() {
    let dir = tempdir().unwrap();
    let rows: [(&str, &[f32]); 2] = [("long", &[9.0, 0.0]), ("near", &[1.0, 0.1])];
    let part = descriptors(&dir.path().join("db.part"), &spec(2), &rows);
    assert_eq!(ExactRanking::open(&[part], 0).unwrap().rank(&[1.0, 0.0]).unwrap(), [1, 0]);
}

/// The text form says the same as JSON; the query's prefix goes, good and ok join, junk may lack.
#[test]
fn oxford_text_files() {
    let dir = tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("hall_1_query.txt", "oxc1_hall_000006 136.5 34.1 648.5 955.7\n");
    write("hall_1_good.txt", "hall_000026\nhall_000126\n");
    write("hall_1_ok.txt", "hall_000006\n\n");
    let truth = GroundTruth::open(dir.path()).unwrap();
    let [query] = &truth.queries[..] else { panic!("{truth:?}") };
    assert_eq!((query.name.as_str(), query.photo.as_str()), ("hall_1", "hall_000006"));
    assert_eq!(query.bounding_box, Some([136.5, 34.1, 648.5, 955.7]));
    assert_eq!((query.positives.len(), query.junk.len()), (3, 0));

    write("hall_1_query.txt", "oxc1_hall_000006 136.5 34.1 648.5\n");
    let error = GroundTruth::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("hall_1_query.txt") && error.contains("x0 y0 x1 y1"), "{error}");
}

#[test]
fn query_list_for_the_encoder() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("gt.json");
    fs::write(&path, JSON).unwrap();
    let truth = GroundTruth::open(&path).unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir_all(photos.join("deep")).unwrap();
    let out = dir.path().join("queries.jsonl");
    let error = write_query_list(&truth, &photos, &out).unwrap_err().to_string();
    assert!(error.contains("query \"a\": expected a photo \"a\" under"), "{error}");

    fs::write(photos.join("deep/a.jpg"), b"").unwrap();
    assert_eq!(write_query_list(&truth, &photos, &out).unwrap().queries, 1);
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(line["key"], "a");
    assert_eq!(line["box"], serde_json::json!([1.0, 2.0, 30.0, 40.5]));
    assert!(line["path"].as_str().unwrap().ends_with("photos/deep/a.jpg"), "{line}");
}

#[test]
fn names_are_stems() {
    assert_eq!(stem("a/b/paris_000.1.jpg"), "paris_000.1");
    assert_eq!(stem("paris_000"), "paris_000");
    assert_eq!(stem("a/.hidden"), ".hidden");
}

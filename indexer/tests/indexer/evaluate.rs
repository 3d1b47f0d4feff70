//! Ground truth in its forms, and both protocols on a database small enough to rank by eye.

use std::fs;

use ocelli_index::{Diffusion, Expansion, ExpansionMethod};
use ocelli_indexer::evaluate::{
    ExactRanking, GroundTruth, Judging, MapReport, Ranked, Ranking, Rerank, Setup, Ties,
    leave_one_out, named_queries, write_query_list,
};
use tempfile::tempdir;

use crate::support::{descriptors, spec};

const JSON: &str = r#"{"images": ["a"], "folder_label": {"a": "t", "b": "t", "c": "u", "d": "t"},
    "queries": [{"name": "a", "bbox": [1, 2, 30, 40.5], "original_size": [9, 9],
                 "ok": ["a", "d"], "junk": ["b"]}]}"#;

fn images(ranking: &[Ranked]) -> Vec<u32> {
    ranking.iter().map(|ranked| ranked.image).collect()
}

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

    let report =
        named_queries(&database, &truth, Setup::Official, &queries, &Judging::default()).unwrap();
    assert!((report.map - (0.5 + 7.0 / 24.0)).abs() < 1e-12, "{report:?}");
    assert_eq!((report.images, report.positives_missing), (4, 0));

    let report = leave_one_out(&database, &truth, None, &Judging::default()).unwrap();
    let by_name: Vec<(&str, f64)> =
        report.queries.iter().map(|q| (q.name.as_str(), q.average_precision)).collect();
    let expected = [("a", 0.5 + 7.0 / 24.0), ("b", 0.125 + 7.0 / 24.0), ("d", 0.125 + 7.0 / 24.0)];
    assert_eq!(by_name.len(), 3, "{by_name:?}");
    for ((name, ap), (wanted_name, wanted)) in by_name.iter().zip(expected) {
        assert!(*name == wanted_name && (ap - wanted).abs() < 1e-12, "{by_name:?}");
    }
}

/// On a line, so that distances are differences. Augmented by one neighbour of weight 1, a becomes
/// (1 + 2.5)/2, b and c (3 + 2.5)/2, d (9 + 3)/2.
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
    let again = |x: f32, rerank: &Rerank, hidden| {
        images(&plain.rank_again(&[x], rerank, hidden, 9).unwrap())
    };
    assert_eq!(again(5.8, &Rerank::default(), &[]), [1, 3, 2, 0]);
    // 5.8 finds b; the mean is 4.4, which c is nearer to than d.
    assert_eq!(again(5.8, &expansion(1, 1), &[]), [1, 2, 0, 3]);
    // Of a, without itself: (1 + 2.5 + 3) / 3.
    assert_eq!(again(1.0, &expansion(2, 1), &[0]), [2, 1, 3]);

    let augmented = open(1).unwrap();
    let ranked: Vec<f32> = (0..4).map(|i| augmented.ranked(i).unwrap()[0]).collect();
    assert_eq!(ranked, [1.75, 2.75, 2.75, 6.0]);
    assert_eq!(augmented.descriptor(3).unwrap(), [9.0], "an image asks as it is");
    // 5.8 is nearest to d's 6 now.
    let ranked = augmented.rank(&[5.8], 9).unwrap();
    assert_eq!(images(&ranked), [3, 1, 2, 0]);
    assert_eq!(
        ranked.iter().map(|r| r.tied).collect::<Vec<_>>(),
        [false, false, true, false],
        "b and c are one vector now"
    );
    let error = open(4).err().unwrap().to_string();
    assert!(error.contains("expected 1 to 3"), "{error}");
}

/// Photos by their direction in degrees. From 0, by way of each other, 10 to 50 come before -45,
/// which is on its own. The image that asks is hidden; those after the candidates keep their
/// places.
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
    assert_eq!(images(&database.rank(&at(0.0), 9).unwrap()), [0, 1, 2, 3, 4, 6, 5, 7]);
    let diffusion =
        Diffusion { candidates: 6, neighbours: 2, query_neighbours: 2, ..Diffusion::default() };
    let rerank = Rerank { expansion: None, diffusion: Some(diffusion) };
    let ranked = images(&database.rank_again(&at(0.0), &rerank, &[0], 9).unwrap());
    assert_eq!(ranked[5..], [6, 7], "{ranked:?}");
    let mut thread = ranked[..5].to_vec();
    thread.sort_unstable();
    assert_eq!(thread, [1, 2, 3, 4, 5]);
}

/// Vectors from elsewhere need not have unit norm: a long one must not win by its length.
#[test]
fn foreign_vectors_are_ranked_by_distance() {
    let dir = tempdir().unwrap();
    let rows: [(&str, &[f32]); 2] = [("long", &[9.0, 0.0]), ("near", &[1.0, 0.1])];
    let part = descriptors(&dir.path().join("db.part"), &spec(2), &rows);
    let ranking = ExactRanking::open(&[part], 0).unwrap().rank(&[1.0, 0.0], 9).unwrap();
    assert_eq!(images(&ranking), [1, 0]);
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

/// A database on a line, by distance from 0 in the order that `rows` have, and queries at 0.
struct Line {
    dir: tempfile::TempDir,
    database: ExactRanking,
}

impl Line {
    fn new(rows: &[(&str, f32)]) -> Self {
        let dir = tempdir().unwrap();
        let rows: Vec<(&str, [f32; 1])> = rows.iter().map(|(key, x)| (*key, [*x])).collect();
        let rows: Vec<(&str, &[f32])> = rows.iter().map(|(key, x)| (*key, &x[..])).collect();
        let part = descriptors(&dir.path().join("db.part"), &spec(1), &rows);
        Self { database: ExactRanking::open(&[part], 0).unwrap(), dir }
    }

    fn truth(&self, json: &str) -> GroundTruth {
        let path = self.dir.path().join("gt.json");
        fs::write(&path, json).unwrap();
        GroundTruth::open(&path).unwrap_or_else(|e| panic!("{e}"))
    }

    fn refused(&self, json: &[u8]) -> String {
        let path = self.dir.path().join("gt.json");
        fs::write(&path, json).unwrap();
        GroundTruth::open(&path).unwrap_err().to_string()
    }

    fn judge(&self, json: &str, setup: Setup, ties: Ties) -> ocelli_indexer::Result<MapReport> {
        let truth = self.truth(json);
        let names: Vec<&str> = match setup {
            Setup::Official => truth.queries.iter().map(|q| q.name.as_str()).collect(),
            _ => truth.revisited.iter().map(|q| q.name.as_str()).collect(),
        };
        let rows: Vec<(&str, &[f32])> = names.iter().map(|name| (*name, &[0.0f32][..])).collect();
        let queries = [descriptors(&self.dir.path().join("q.part"), &spec(1), &rows)];
        let judging = Judging { ties, ..Judging::default() };
        named_queries(&self.database, &truth, setup, &queries, &judging)
    }
}

fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}

/// One query finds its only positive at once, one has none: the mean is 1, not ½.
#[test]
fn a_query_without_positives_is_not_in_the_mean() {
    let line = Line::new(&[("a.jpg", 1.0), ("b.jpg", 2.0), ("c.jpg", 3.0)]);
    let json =
        r#"{"queries": [{"name": "q", "ok": ["a"]}, {"name": "r", "ok": [], "junk": ["b"]}]}"#;
    let report = line.judge(json, Setup::Official, Ties::Against).unwrap();
    assert_eq!((report.map, report.queries.len()), (1.0, 1));
    assert_eq!(report.without_positives, ["r"]);
    let none = r#"{"queries": [{"name": "r", "ok": []}]}"#;
    let error = line.judge(none, Setup::Official, Ties::Against).unwrap_err().to_string();
    assert!(error.contains("none of the 1 queries has a positive photo"), "{error}");

    // Leave-one-out: c is alone with its label. a asks b c, b asks a c by distances 1, 1.
    let truth = line.truth(r#"{"folder_label": {"a": "x", "b": "x", "c": "y"}}"#);
    let judging = Judging { ties: Ties::For, ..Judging::default() };
    let report = leave_one_out(&line.database, &truth, None, &judging).unwrap();
    assert_eq!((report.map, report.queries.len()), (1.0, 2));
    assert_eq!((report.without_positives, report.tied_queries), (vec!["c".to_owned()], 1));
}

/// A photo is a positive or junk; a query that finds nothing has 0, not -0; labelled photos that
/// the database lacks are named.
#[test]
fn what_cannot_be_judged_is_said() {
    let line = Line::new(&[("x/a.jpg", 1.0), ("b.jpg", 2.0), ("c.jpg", 3.0)]);
    for junk in ["a", "x/a.jpg"] {
        let json = format!(r#"{{"queries": [{{"name": "q", "ok": ["a"], "junk": ["{junk}"]}}]}}"#);
        let error = line.judge(&json, Setup::Official, Ties::Against).unwrap_err().to_string();
        let expected = format!(
            "query \"q\": the ground truth has one photo as positive (\"a\") and among those that \
             are taken out, as junk or otherwise (\"{junk}\")"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    let json = r#"{"queries": [{"name": "q", "ok": ["nobody"]}]}"#;
    let report = line.judge(json, Setup::Official, Ties::Against).unwrap();
    assert!(report.map == 0.0 && report.map.is_sign_positive(), "{report:?}");
    assert_eq!(report.positives_missing, 1);

    let truth = line.truth(r#"{"folder_label": {"a": "x", "b": "x", "nobody": "x"}}"#);
    let report = leave_one_out(&line.database, &truth, None, &Judging::default()).unwrap();
    assert_eq!((report.queries.len(), report.labels_missing), (2, vec!["nobody".to_owned()]));
}

/// Four photos of equal distance, one of them positive: it counts as the last, wherever it lies.
#[test]
fn equal_scores_count_against() {
    let json = r#"{"queries": [{"name": "q", "ok": ["p"]}]}"#;
    for place in 0..4 {
        let keys: Vec<&str> =
            (0..4).map(|i| if i == place { "p" } else { ["w", "x", "y", "z"][i] }).collect();
        let rows: Vec<(&str, f32)> = keys.iter().map(|key| (*key, 1.0)).collect();
        let line = Line::new(&rows);
        let map = |ties| line.judge(json, Setup::Official, ties).unwrap().map;
        assert_near(map(Ties::Against), 1.0 / 8.0);
        assert_near(map(Ties::For), 1.0);
        assert_near(map(Ties::Order), [1.0, 1.0 / 4.0, 1.0 / 6.0, 1.0 / 8.0][place]);
        assert_eq!(line.judge(json, Setup::Official, Ties::Against).unwrap().tied_queries, 1);
    }
}

/// In the order of rank: q e h j n e2. By hand, with q (the query's photo) and j always out: easy
/// (h out) `P N P`: ½ + 7/24; medium `P P N P`: ⅓ + ⅓ + (2/3 + 3/4)/2 · ⅓; hard (e, e2 out) `P N`:
/// 1. The official setup would have the query's photo in its ranking.
#[test]
fn revisited_setups_by_hand() {
    let line =
        Line::new(&[("x/q.jpg", 0.0), ("e", 1.0), ("h", 2.0), ("j", 3.0), ("n", 4.0), ("e2", 5.0)]);
    let named = r#"{"queries": [{"name": "q", "bbox": [0, 0, 9, 9], "easy": ["e", "e2"],
        "hard": ["h"], "junk": ["j"]}]}"#;
    let apart = named.replace("queries", "revisited_queries");
    let places = r#"{"imlist": ["j", "e", "e2", "h", "n"], "qimlist": ["q"],
        "gnd": [{"bbx": [0, 0, 9, 9], "easy": [1, 2], "hard": [3], "junk": [0]}]}"#;
    for json in [named, &apart, places] {
        let map = |setup| line.judge(json, setup, Ties::Against).unwrap();
        assert_near(map(Setup::Easy).map, 0.5 + 7.0 / 24.0);
        assert_near(map(Setup::Medium).map, 2.0 / 3.0 + (2.0 / 3.0 + 0.75) / 6.0);
        assert_near(map(Setup::Hard).map, 1.0);
        assert_eq!(map(Setup::Hard).protocol, "hard");
        let truth = line.truth(json);
        assert_eq!(truth.revisited[0].bounding_box, Some([0.0, 0.0, 9.0, 9.0]));
        let error = truth.judged(Setup::Official).unwrap_err().to_string();
        assert!(error.contains("choose --protocol easy, medium or hard"), "{error}");
    }
    let error = line.truth(JSON).judged(Setup::Easy).unwrap_err().to_string();
    assert!(error.contains("choose --protocol official"), "{error}");
    // The published form of Oxford5k and Paris6k has places too.
    let places = r#"{"imlist": ["e", "n"], "qimlist": ["q"], "gnd": [{"ok": [0], "junk": [1]}]}"#;
    // N P: the query's photo stays in.
    assert_near(line.judge(places, Setup::Official, Ties::Against).unwrap().map, 0.25);
}

#[test]
fn ground_truth_that_means_nothing_is_refused() {
    let line = Line::new(&[("a", 0.0)]);
    for (json, expected) in [
        (
            &br#"{"queries": [{"name": "q", "positives": ["a"]}]}"#[..],
            &["query \"q\"", "good", "easy", "positives"][..],
        ),
        (
            br#"{"imlist": ["a"], "qimlist": ["q"], "gnd": [{"easy": [1], "hard": []}]}"#,
            &["query \"q\"", "below 1", "found 1"],
        ),
        (
            br#"{"imlist": ["a"], "qimlist": ["q", "r"], "gnd": [{"easy": [0], "hard": []}]}"#,
            &["each of the 2 names", "found 1"],
        ),
        (b"\x80\x04\x95", &["Python pickle"]),
        (br#"{"images": []}"#, &["expected queries", "\"folder_label\""]),
        (br#"{"labels": {"a": "x"}}"#, &["\"folder_label\""]),
        (b" []", &["\"folder_label\"", "found a list"]),
        (
            br#"{"folder_label": {"a": "x", "b": "x", "a": "y"}}"#,
            &["\"a\" has two labels, \"x\" and \"y\""],
        ),
    ] {
        let error = line.refused(json);
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
}

/// Two folders with a 001.jpg are two photos; a name that may mean both is refused with both.
#[test]
fn photos_are_told_apart_by_their_paths() {
    let line = Line::new(&[("db/a/001.jpg", 1.0), ("db/b/001.jpg", 2.0), ("db/c/002.jpg", 3.0)]);
    for (positive, map) in [("a/001", 1.0), ("db/b/001.jpg", 0.25), ("002", 1.0 / 6.0)] {
        let json = format!(r#"{{"queries": [{{"name": "q", "ok": ["{positive}"]}}]}}"#);
        assert_near(line.judge(&json, Setup::Official, Ties::Against).unwrap().map, map);
    }
    let json = r#"{"queries": [{"name": "q", "ok": ["001"]}]}"#;
    let error = line.judge(json, Setup::Official, Ties::Against).unwrap_err().to_string();
    assert!(error.contains("db/a/001.jpg") && error.contains("db/b/001.jpg"), "{error}");
    let json = r#"{"queries": [{"name": "q", "ok": ["002", "c/002.jpg"]}]}"#;
    let error = line.judge(json, Setup::Official, Ties::Against).unwrap_err().to_string();
    assert!(error.contains("mean one photo, \"db/c/002.jpg\""), "{error}");

    let truth = line.truth(r#"{"folder_label": {"a/001": "x", "b/001": "x", "c/002": "y"}}"#);
    let report = leave_one_out(&line.database, &truth, None, &Judging::default()).unwrap();
    assert_eq!(report.queries.len(), 2);

    let photos = line.dir.path().join("photos");
    for folder in ["a", "b"] {
        fs::create_dir_all(photos.join(folder)).unwrap();
        fs::write(photos.join(folder).join("001.jpg"), b"").unwrap();
    }
    let out = line.dir.path().join("queries.jsonl");
    let list = |name: &str| {
        let json = format!(r#"{{"queries": [{{"name": "{name}", "ok": []}}]}}"#);
        write_query_list(&line.truth(&json), &photos, &out)
    };
    let error = list("001").unwrap_err().to_string();
    assert!(error.contains("a/001.jpg") && error.contains("b/001.jpg"), "{error}");
    list("b/001").unwrap();
    assert!(fs::read_to_string(&out).unwrap().contains("photos/b/001.jpg"));
}

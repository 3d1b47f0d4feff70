use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::measures::Ties;
use super::super::report::{QueryScore, Report, SetupReport};
use super::*;

/// A run of the data set `paris` in a file.
fn run(folder: &TempDir, name: &str, setups: &Value) -> PathBuf {
    let path = folder.path().join(name);
    let run = json!({"dataset": "paris", "search": name, "setups": setups, "new": [1]});
    fs::write(&path, run.to_string()).unwrap();
    path
}

fn setup(name: &str, measure: &str, value: Option<f64>, queries: &[(&str, f64)]) -> Value {
    let queries: Vec<Value> =
        queries.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"setup": name, "measure": measure, "value": value, "queries": queries,
        "ties": "against", "images": 9, "new": {}})
}

fn open(path: &Path) -> RunFile {
    RunFile::open(path).unwrap()
}

/// By hand. Common are q1 to q5; B − A is 0.5, 0.25, −0.125, 0 and −0.75 (1e-15 is no
/// difference): the mean is −0.125 / 5 = −0.025, two are better, two worse, one equal.
#[test]
fn a_comparison_by_hand() {
    let folder = TempDir::new().unwrap();
    let of_a = [("q1", 0.25), ("q2", 0.5), ("q3", 0.5), ("q4", 0.5), ("q5", 1.0), ("in a", 1.0)];
    let of_b = [
        ("in b", 0.0),
        ("q5", 0.25),
        ("q4", 0.5 + 1e-15),
        ("q3", 0.375),
        ("q2", 0.75),
        ("q1", 0.75),
    ];
    let a = json!([setup("easy", "mAP", Some(0.625), &of_a), setup("hard", "mAP", None, &[])]);
    let b = json!([setup("new", "mAP", None, &[]), setup("easy", "mAP", Some(0.4), &of_b)]);
    let (a, b) = (run(&folder, "a.json", &a), run(&folder, "b.json", &b));
    let compared = compare(&open(&a), &open(&b), 3).unwrap();
    assert_eq!((&compared.a.path, &compared.b.path), (&a, &b));
    assert_eq!((compared.a.search.as_str(), compared.b.search.as_str()), ("a.json", "b.json"));
    assert_eq!((compared.only_a, compared.only_b), (vec!["hard".into()], vec!["new".into()]));
    let [easy] = compared.setups.as_slice() else { panic!("one setup") };
    assert_eq!((easy.setup.as_str(), easy.measure.as_str()), ("easy", "mAP"));
    assert_eq!((easy.values, easy.common), ([Some(0.625), Some(0.4)], 5));
    assert_eq!((easy.better, easy.worse, easy.equal), (2, 2, 1));
    assert_eq!((&easy.only_a, &easy.only_b), (&vec!["in a".into()], &vec!["in b".into()]));
    assert_eq!((&easy.ties, easy.images), (&["against".into(), "against".into()], [9, 9]));
    let changed: Vec<_> = easy.changed.iter().map(|q| (q.name.as_str(), q.a, q.b)).collect();
    assert_eq!(changed, [("q5", 1.0, 0.25), ("q1", 0.25, 0.75), ("q2", 0.5, 0.75)]);
    let difference = easy.difference.unwrap();
    assert_eq!(Some(difference), bootstrap::difference(&[0.5, 0.25, -0.125, 0.0, -0.75]));
    assert!((difference.mean + 0.025).abs() < 1e-12);
    // All that changed: q3 too, and not q4.
    let all = compare(&open(&a), &open(&b), 9).unwrap();
    assert_eq!(all.setups[0].changed.len(), 4);
    assert_eq!(all.setups[0].changed[3].name, "q3");
}

/// µAP is no mean over queries, so it has no difference by queries.
#[test]
fn micro_average_precision_has_values_alone() {
    let folder = TempDir::new().unwrap();
    let of = |value, q2| json!([setup("x", "µAP", Some(value), &[("q1", 0.5), ("q2", q2)])]);
    let a = open(&run(&folder, "a", &of(0.5, 0.25)));
    let b = open(&run(&folder, "b", &of(0.75, 1.0)));
    let compared = &compare(&a, &b, 9).unwrap().setups[0];
    assert_eq!((compared.values, compared.difference), ([Some(0.5), Some(0.75)], None));
    assert_eq!((compared.better, compared.equal, compared.common), (1, 1, 2));
}

#[test]
fn runs_that_have_nothing_in_common() {
    let folder = TempDir::new().unwrap();
    let one = |name, measure, query| json!([setup(name, measure, None, &[(query, 0.5)])]);
    let base = open(&run(&folder, "base", &one("easy", "mAP", "q1")));
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (setups, what, in_base, in_other) in [
        (one("hard", "mAP", "q1"), "with a common setup", "easy", "hard"),
        (json!([]), "with a common setup", "easy", "no setup"),
        (one("easy", "N-S", "q1"), "with one measure of setup \"easy\"", "mAP", "N-S"),
        (
            one("easy", "mAP", "q2"),
            "with a common query in setup \"easy\"",
            "1 query, \"q1\"",
            "1 query, \"q2\"",
        ),
        (
            json!([setup("easy", "mAP", None, &[])]),
            "with a common query in setup \"easy\"",
            "1 query, \"q1\"",
            "no query",
        ),
    ] {
        let other = open(&run(&folder, "other", &setups));
        let error = compare(&base, &other, 3).unwrap_err().to_string();
        let (a, b) = (at("base"), at("other"));
        let expected = format!("expected two runs {what}; {a} has {in_base}, {b} has {in_other}");
        assert_eq!(error, expected);
    }
    let mut other = base.clone();
    other.run.dataset = "oxford".to_owned();
    let error = compare(&base, &other, 3).unwrap_err().to_string();
    assert!(error.starts_with("expected two runs of one data set; "), "{error}");
    assert!(error.ends_with("base has oxford"), "{error}");
}

#[test]
fn files_that_are_no_runs() {
    let folder = TempDir::new().unwrap();
    let twice = json!([setup("x", "mAP", None, &[("q", 0.0), ("q", 1.0)])]);
    let setups = json!([setup("x", "mAP", None, &[]), setup("x", "mAP", None, &[])]);
    for (file, what) in [
        (run(&folder, "queries", &twice), "setup \"x\": query \"q\" is there twice"),
        (run(&folder, "setups", &setups), "setup \"x\" is there twice"),
    ] {
        let error = RunFile::open(&file).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {what}", file.display()));
    }
    let file = folder.path().join("text");
    for text in ["", "[]", "{}", "{\"dataset\": \"x\", \"setups\": [{}]}"] {
        fs::write(&file, text).unwrap();
        let error = RunFile::open(&file).unwrap_err().to_string();
        let start =
            format!("{}: expected the JSON of `ocelli eval retrieval --out`", file.display());
        assert!(error.starts_with(&start), "{error}");
    }
    assert!(RunFile::open(&folder.path().join("none")).is_err());
}

/// What is read is what a report writes; a value that is not a number is none.
#[test]
fn a_report_is_a_run() {
    let query = |name: &str, value| QueryScore {
        name: name.to_owned(),
        average_precision: 0.25,
        value,
        positives: 2,
        found: 1,
        first: Some(3),
        rank_ms: 0.5,
    };
    let setup = SetupReport {
        setup: "official".to_owned(),
        measure: "N-S".to_owned(),
        value: f64::NAN,
        map: 0.25,
        images: 7,
        ties: Ties::Order,
        queries: vec![query("q1", 3.0), query("q2", 1.0)],
        ..SetupReport::default()
    };
    let report = Report {
        dataset: "ukbench".to_owned(),
        search: "exact".to_owned(),
        images: 7,
        setups: vec![setup],
        ..Report::default()
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.json");
    fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
    let compared = compare(&open(&path), &open(&path), 3).unwrap();
    assert_eq!((compared.dataset.as_str(), compared.a.search.as_str()), ("ukbench", "exact"));
    let [setup] = compared.setups.as_slice() else { panic!("one setup") };
    assert_eq!((setup.values, setup.common, setup.equal), ([None, None], 2, 2));
    assert_eq!((&setup.ties, setup.images), (&["order".into(), "order".into()], [7, 7]));
    assert_eq!(setup.difference.unwrap().p, 1.0);
}

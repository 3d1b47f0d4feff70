//! Judging, on databases small enough to rank by eye.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ocelli_indexer::Result;
use ocelli_indexer::evaluate::answers::{Answers, GivenQueries, ReadAnswers, Searched};
use ocelli_indexer::evaluate::dataset::{
    Absent, Asked, At, Database, Dataset, Form, NameRule, Named, OwnPhoto, Place, Query, Setup,
};
use ocelli_indexer::evaluate::files::RankingFile;
use ocelli_indexer::evaluate::judge::{Judged, Judging, Missing, judge};
use ocelli_indexer::evaluate::measures::{ApForm, Judgement, Measure, Rules, Ties};
use ocelli_indexer::evaluate::ranking::{ExactRanking, Rerank};
use ocelli_indexer::evaluate::report::{Report, SetupReport};

use crate::support::spec;

/// A query of a test: name, positives, junk.
type Line<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const TRAPEZOID: Rules = Rules { precision: ApForm::Trapezoid, headline: Measure::Map };

fn named(name: &str, line: u32) -> Named {
    Named::new(name, Place { file: Arc::from(Path::new("gt.txt")), at: At::Line(line) })
}

/// A data set of one setup. Each query shows the photo of its name.
fn dataset(own: OwnPhoto, rules: Rules, lines: &[Line<'_>]) -> Dataset {
    let lists = |names: &[&str]| names.iter().zip(10..).map(|(n, i)| named(n, i)).collect();
    let asked = lines.iter().enumerate().map(|(query, (_, positives, junk))| Asked {
        query,
        positives: lists(positives),
        junk: lists(junk),
    });
    let query = |((name, ..), line): (&Line<'_>, u32)| Query {
        name: (*name).to_owned(),
        photo: named(name, line),
        bounding_box: None,
    };
    Dataset {
        name: "small".to_owned(),
        form: Form::Json,
        why: "a test made it".to_owned(),
        photos: Vec::new(),
        name_rule: NameRule::PathEnd,
        database: Database::Below(String::new()),
        damaged: Vec::new(),
        queries: lines.iter().zip(1..).map(query).collect(),
        setups: vec![Setup {
            name: "all".to_owned(),
            rules,
            own,
            absent: Absent::NotFound,
            asked: asked.collect(),
        }],
        rotations: BTreeMap::new(),
        mentioned: Vec::new(),
    }
}

/// A database on a line.
fn database(rows: &[(&str, f32)]) -> ExactRanking {
    let keys = rows.iter().map(|(key, _)| (*key).to_owned()).collect();
    let values = rows.iter().map(|(_, x)| *x).collect();
    ExactRanking::new(keys, spec(1), values, None, 0).unwrap()
}

/// Judges with all queries at 0, so that images are ranked by their numbers.
fn at_zero(dataset: &Dataset, rows: &[(&str, f32)], judging: &Judging) -> Result<Report> {
    let keys: Vec<String> = dataset.queries.iter().map(|query| query.name.clone()).collect();
    let (database, zeros, spec) = (database(rows), vec![0.0; keys.len()], spec(1));
    let given = GivenQueries { spec: &spec, keys: &keys, rows: &zeros };
    let answers =
        Searched::new(dataset, &database, &database, Some(given), false, Rerank::default())
            .unwrap();
    quietly(dataset, &answers, judging)
}

fn quietly(dataset: &Dataset, answers: &dyn Answers, judging: &Judging) -> Result<Report> {
    judge(dataset, answers, judging, &|_, _| {}, &mut |_| Ok(()))
}

/// The only setup.
fn only(report: Result<Report>) -> SetupReport {
    let mut report = report.unwrap();
    assert_eq!(report.setups.len(), 1);
    report.setups.remove(0)
}

fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}

const ABCD: [(&str, f32); 4] = [("x/a.jpg", 0.0), ("x/b.jpg", 1.0), ("y/c.jpg", 2.0), ("d", 3.0)];

/// Ranked a b c d. Junk b is skipped: a c d with positives a and d: (1 + 1)/2·½ +
/// (1/2 + 2/3)/2·½ = ½ + 7/24. mP@5 as revisitop has it: the last positive is at 3, so 2/3.
/// recall@1 1, MRR 1.
#[test]
fn junk_is_skipped_by_hand() {
    let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("a", &["a", "d"], &["b"])]);
    let setup = only(at_zero(&set, &ABCD, &Judging::default()));
    assert_near(setup.map, 0.5 + 7.0 / 24.0);
    assert_near(setup.value, setup.map);
    assert_near(setup.measures["mP@5"], 2.0 / 3.0);
    assert_near(setup.measures["recall@1"], 1.0);
    assert_near(setup.measures["MRR"], 1.0);
    assert_eq!((setup.images, setup.positives_missing, setup.interval), (4, 0, None));
    let query = &setup.queries[0];
    assert_eq!((query.positives, query.found, query.first), (2, 2, Some(1)));
}

/// Where the query's own photo is hidden, a's ranking is b c d; a list that names the photo itself
/// does not count it. Positives b and d: 1·½ + (1/2 + 2/3)/2·½.
#[test]
fn the_own_photo_is_hidden() {
    for positives in [&["b", "d"][..], &["a", "b", "d"]] {
        let set = dataset(OwnPhoto::Hidden, TRAPEZOID, &[("a", positives, &[])]);
        let setup = only(at_zero(&set, &ABCD, &Judging::default()));
        assert_near(setup.map, 0.5 + 7.0 / 24.0);
        assert_eq!(setup.queries[0].positives, 2);
    }
    // All queries' photos: a and b are gone, so that c d are left: (0 + 1/2)/2 for d.
    let set = dataset(OwnPhoto::AllHidden, TRAPEZOID, &[("a", &["d"], &[]), ("b", &["c"], &[])]);
    let setup = only(at_zero(&set, &ABCD, &Judging::default()));
    assert_near(setup.queries[0].average_precision, 0.25);
    assert_near(setup.queries[1].average_precision, 1.0);
    // Published as damaged: never ranked, and a positive that is missing.
    let mut set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("a", &["c"], &[])]);
    set.damaged = vec!["b".to_owned()];
    let report = at_zero(&set, &ABCD, &Judging::default()).unwrap();
    assert_eq!(report.damaged, 1);
    assert_near(report.setups[0].map, 0.25);
}

/// One query finds its only positive at once, one has no positive, one has none in the database:
/// the mean is 1, not a third, and both are named.
#[test]
fn queries_that_cannot_be_judged_are_counted_apart() {
    let set = dataset(
        OwnPhoto::Ranked,
        TRAPEZOID,
        &[("a", &["a"], &[]), ("b", &[], &["c"]), ("c", &["nobody"], &[])],
    );
    let error = at_zero(&set, &ABCD, &Judging::default()).unwrap_err().to_string();
    let expected = "\"nobody\", a positive of query \"c\" (gt.txt:10)";
    assert!(error.contains(expected) && error.contains("--missing count"), "{error}");

    let judging = Judging { missing: Missing::Count, ..Judging::default() };
    let setup = only(at_zero(&set, &ABCD, &judging));
    assert_eq!((setup.map, setup.queries.len()), (1.0, 1));
    assert_eq!((setup.without_positives, setup.all_missing), (vec!["b".into()], vec!["c".into()]));
    assert_eq!(setup.positives_missing, 1);

    // Half of the positives is missing: found at once is ½.
    let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("a", &["a", "nobody"], &[])]);
    assert_near(only(at_zero(&set, &ABCD, &judging)).map, 0.5);

    for lines in [&[("a", &[][..], &[][..])][..], &[("a", &["nobody"], &[])]] {
        let set = dataset(OwnPhoto::Ranked, TRAPEZOID, lines);
        let error = at_zero(&set, &ABCD, &judging).unwrap_err().to_string();
        assert!(error.contains("positive"), "{error}");
    }
}

/// The photos of two queries are missing, and with them the descriptors: an error, or queries that
/// are left out of the means and named. The third finds its positive at once.
#[test]
fn queries_without_a_descriptor_are_left_out_on_request() {
    let lines: [Line<'_>; 3] = [("lost", &["a"], &[]), ("a", &["a"], &[]), ("gone", &["b"], &[])];
    let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &lines);
    let database = database(&ABCD);
    let answers =
        Searched::new(&set, &database, &database, None, false, Rerank::default()).unwrap();
    let error = quietly(&set, &answers, &Judging::default()).unwrap_err().to_string();
    assert!(error.contains("query \"lost\""), "{error}");
    let judging = Judging { missing: Missing::Count, ..Judging::default() };
    let setup = only(quietly(&set, &answers, &judging));
    assert_eq!((setup.map, setup.queries.len()), (1.0, 1));
    assert_eq!(setup.queries_missing, ["lost", "gone"]);
    assert_eq!((setup.unranked.len(), setup.all_missing.len()), (0, 0));
}

/// Four photos of equal distance, one of them positive: it counts as the last, wherever it lies.
#[test]
fn equal_scores_count_against() {
    let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("p", &["p"], &[])]);
    for place in 0..4 {
        let rows: Vec<(&str, f32)> =
            (0..4).map(|i| (if i == place { "p" } else { ["w", "x", "y", "z"][i] }, 1.0)).collect();
        let judged = |ties| only(at_zero(&set, &rows, &Judging { ties, ..Judging::default() }));
        assert_near(judged(Ties::Against).map, 1.0 / 8.0);
        assert_near(judged(Ties::For).map, 1.0);
        assert_near(judged(Ties::Order).map, [1.0, 1.0 / 4.0, 1.0 / 6.0, 1.0 / 8.0][place]);
        assert_eq!(judged(Ties::Against).tied_queries, 1);
    }
}

/// Names: the same photo twice, a photo that is positive and junk, a name that may be two photos.
#[test]
fn names_that_contradict_are_refused_with_their_lines() {
    let rows = [("a/1.jpg", 0.0), ("b/1.jpg", 1.0), ("c/2.jpg", 2.0)];
    let cases: [(Line<'_>, &[&str]); 3] = [
        (("2", &["2", "c/2.jpg"], &[]), &["gt.txt:10 and gt.txt:11", "mean one photo"]),
        (("2", &["2"], &["c/2"]), &["as positive (\"2\")", "as junk (\"c/2\")", "gt.txt:10"]),
        (("2", &["1"], &[]), &["gt.txt:10", "a/1.jpg", "b/1.jpg"]),
    ];
    for (line, expected) in cases {
        let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[line]);
        let error = at_zero(&set, &rows, &Judging::default()).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
}

/// N-S of UKBench, 2 groups of 4 on a line: 0 finds 0 1 2 and 9, which is of the other group: 3.
/// The rest is counted alike; images of equal distance count against.
#[test]
fn n_s_by_hand() {
    let rows =
        [("0", 0.0), ("1", 1.0), ("2", 2.0), ("3", 9.0), ("4", 3.5), ("5", 20.0), ("6", 21.0)];
    let group: &[&str] = &["0", "1", "2", "3"];
    let rules = Rules { precision: ApForm::Trapezoid, headline: Measure::NScore };
    let set = dataset(OwnPhoto::Ranked, rules, &[("0", group, &[]), ("3", group, &[])]);
    let database = database(&rows);
    let answers =
        Searched::new(&set, &database, &database, None, false, Rerank::default()).unwrap();
    let setup = only(quietly(&set, &answers, &Judging::default()));
    // 0: 0 1 2 4 | 3. By distance from 9: 3, 4 (5.5), 2 (7), 1 (8): three of four again.
    assert_eq!((setup.measure.as_str(), setup.value), ("N-S", 3.0));
    assert_eq!(setup.queries[1].value, 3.0);
}

/// µAP by hand. Pairs by score: a-a 0 (positive), b-b 0 (negative: b has no positive), a-b and b-a
/// -1 … Against: the negative of score 0 comes first: N P, so that the positive a-a counts 1/2.
/// Then -1 twice: a-b is positive: N P, precision 2/4. µAP = (1/2 + 2/4) / 2.
#[test]
fn micro_ap_by_hand() {
    let rules = Rules { precision: ApForm::Trapezoid, headline: Measure::MicroAp };
    let set = dataset(OwnPhoto::Ranked, rules, &[("a", &["a", "b"], &[]), ("b", &[], &[])]);
    let database = database(&[("a", 0.0), ("b", 1.0)]);
    let answers =
        Searched::new(&set, &database, &database, None, false, Rerank::default()).unwrap();
    let setup = only(quietly(&set, &answers, &Judging::default()));
    assert_eq!(setup.measure, "µAP");
    assert_near(setup.value, 0.5);
    let judging = Judging { ties: Ties::For, ..Judging::default() };
    // P N P N: (1 + 2/3) / 2.
    assert_near(only(quietly(&set, &answers, &judging)).value, 5.0 / 6.0);
}

/// AP over the first 2 of a b c d with positives b and d: P@2 = 1/2, over min(2, 2) = 1/4. Over the
/// whole ranking, the mean of 1/2 and 2/4.
#[test]
fn depth_of_the_formula() {
    let at = |k| Rules { precision: ApForm::AtPositives { k }, headline: Measure::Map };
    let judged = |k, depth| {
        let set = dataset(OwnPhoto::Ranked, at(k), &[("a", &["b", "d"], &[])]);
        only(at_zero(&set, &ABCD, &Judging { depth, ..Judging::default() }))
    };
    assert_near(judged(Some(2), None).value, 0.25);
    assert_near(judged(None, None).value, 0.5);
    // What is not looked at is not found.
    assert_near(judged(None, Some(3)).value, 0.25);
    assert_eq!(judged(Some(2), None).measure, "mAP@2");
}

/// A tie at the depth counts by the rule, whatever the order of the database. mAP@2 of 3 images of
/// equal score, 2 of them positive: against N P P, so (1/2) / 2; for P P: 1.
#[test]
fn a_tie_at_the_depth_counts_as_a_whole() {
    let rules = Rules { precision: ApForm::AtPositives { k: Some(2) }, headline: Measure::Map };
    for rows in [[("p", 1.0), ("q", 1.0), ("n", 1.0)], [("n", 1.0), ("p", 1.0), ("q", 1.0)]] {
        let set = dataset(OwnPhoto::Ranked, rules, &[("p", &["p", "q"], &[])]);
        let judged = |ties| only(at_zero(&set, &rows, &Judging { ties, ..Judging::default() }));
        assert_near(judged(Ties::Against).value, 0.25);
        assert_near(judged(Ties::For).value, 1.0);
    }
    // Junk takes no place: j p n q, of which p n count.
    let rows = [("j", 1.0), ("p", 2.0), ("n", 3.0), ("q", 4.0)];
    let set = dataset(OwnPhoto::Ranked, rules, &[("p", &["p", "q"], &["j"])]);
    assert_near(only(at_zero(&set, &rows, &Judging::default())).value, 0.5);
    // µAP of 3 equal pairs against, of which 2 count: N P, so (1/2) / 2.
    let rules = Rules { headline: Measure::MicroAp, ..TRAPEZOID };
    let set = dataset(OwnPhoto::Ranked, rules, &[("p", &["p", "q"], &[])]);
    let rows = [("p", 1.0), ("q", 1.0), ("n", 1.0)];
    let judging = Judging { depth: Some(2), ..Judging::default() };
    assert_near(only(at_zero(&set, &rows, &judging)).value, 0.25);
}

/// A query with a box must have a descriptor of its own once there are descriptors of queries.
#[test]
fn queries_without_descriptors_are_named() {
    let mut set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("a", &["a"], &[]), ("b", &["b"], &[])]);
    set.queries[1].bounding_box = Some([0.0, 0.0, 1.0, 1.0]);
    let (database, spec) = (database(&ABCD), spec(1));
    let keys = ["a".to_owned()];
    let given = GivenQueries { spec: &spec, keys: &keys, rows: &[0.0] };
    let rerank = Rerank::default();
    let answers = Searched::new(&set, &database, &database, Some(given), false, rerank).unwrap();
    let error = quietly(&set, &answers, &Judging::default()).unwrap_err().to_string();
    assert!(error.contains("query \"b\" (gt.txt:2) has no descriptor among the 1"), "{error}");
    // Without any, whole photos ask, and the report says so.
    let answers =
        Searched::new(&set, &database, &database, None, false, Rerank::default()).unwrap();
    let report = quietly(&set, &answers, &Judging::default()).unwrap();
    assert!(report.search.contains("1 queries are shown as whole photos"), "{}", report.search);
    assert_eq!(report.setups[0].map, 1.0);
}

/// A file of rankings: what is beyond its end is not found and the query is named; so is a query
/// without a ranking, which counts as 0.
#[test]
fn rankings_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.csv");
    fs::write(&path, "query,image,score\nq.jpg,b.jpg,0.5\nq.jpg,a.jpg,0.75\nother,a.jpg,1\n")
        .unwrap();
    let set = dataset(OwnPhoto::Hidden, TRAPEZOID, &[("q", &["a", "c"], &[]), ("r", &["a"], &[])]);
    let answers = ReadAnswers::new(&set, RankingFile::open(&path).unwrap()).unwrap();
    let report = quietly(&set, &answers, &Judging::default()).unwrap();
    assert!(report.search.contains("1 ranking of queries that are not asked"), "{report:?}");
    let setup = only(Ok(report));
    assert_near(setup.map, 0.25);
    assert_eq!((setup.short, setup.unranked), (vec!["q".into()], vec!["r".into()]));
    assert_eq!(setup.positives_missing, 0);
}

/// Rankings whose images have other names are refused, and do not score 0.
#[test]
fn rankings_of_strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.csv");
    fs::write(&path, "query,image,score\nq,./a.png,0.5\n").unwrap();
    let mut set = dataset(OwnPhoto::Hidden, TRAPEZOID, &[("q", &["a.jpg"], &[])]);
    set.name_rule = NameRule::Path;
    let answers = ReadAnswers::new(&set, RankingFile::open(&path).unwrap()).unwrap();
    let error = quietly(&set, &answers, &Judging::default()).unwrap_err().to_string();
    let expected = "none of the positives, such as \"a.jpg\" (gt.txt:10), is among the images of \
                    the rankings, such as \"./a.png\"";
    assert!(error.contains(expected), "{error}");
}

/// Against the list of a set: what is missing, and what is beside it. With 100,000 images a set has
/// the name that it has with distractors.
#[test]
fn distractors_are_counted() {
    let mut set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("a", &["a"], &[])]);
    set.database = Database::Listed(vec![named("a", 1), named("c", 2), named("nobody", 3)]);
    set.name = "oxford5k".to_owned();
    let report = at_zero(&set, &ABCD, &Judging::default()).unwrap();
    assert_eq!((report.listed_missing, report.distractors), (1, Some(2)));
    assert_eq!(report.dataset, "oxford5k");
    let names: Vec<String> =
        (0..100_000).map(|i| if i == 7 { "a".into() } else { format!("{i}") }).collect();
    let many: Vec<(&str, f32)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    assert_eq!(at_zero(&set, &many, &Judging::default()).unwrap().dataset, "oxford105k");
}

/// Whoever watches gets every ranking with its judgements, in the order that counts.
#[test]
fn judged_rankings_are_handed_out() {
    let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("a", &["a", "d"], &["b"])]);
    let database = database(&ABCD);
    let answers =
        Searched::new(&set, &database, &database, None, false, Rerank::default()).unwrap();
    let mut seen = Vec::new();
    let mut watch = |judged: &Judged<'_>| {
        seen.extend(judged.judgements.to_vec());
        assert_eq!(judged.positives[1], (&named("d", 11), Some(3)));
        Ok(())
    };
    judge(&set, &answers, &Judging::default(), &|_, _| {}, &mut watch).unwrap();
    use Judgement::{Ignored, Negative, Positive};
    assert_eq!(seen, [Positive, Ignored, Negative, Positive]);

    let rows = [("p", 1.0), ("n", 1.0)];
    let set = dataset(OwnPhoto::Ranked, TRAPEZOID, &[("p", &["p"], &[])]);
    let database = ExactRanking::new(
        rows.map(|(key, _)| key.to_owned()).to_vec(),
        spec(1),
        rows.map(|(_, x)| x).to_vec(),
        None,
        0,
    )
    .unwrap();
    let answers =
        Searched::new(&set, &database, &database, None, false, Rerank::default()).unwrap();
    let mut images = Vec::new();
    let mut watch = |judged: &Judged<'_>| {
        images.extend(judged.answer.ranked.iter().map(|ranked| ranked.image));
        Ok(())
    };
    judge(&set, &answers, &Judging::default(), &|_, _| {}, &mut watch).unwrap();
    assert_eq!(images, [1, 0]);
}

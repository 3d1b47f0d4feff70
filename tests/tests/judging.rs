//! `ocelli eval retrieval` on a small data set of each protocol, in the syntax of the field.
//!
//! The sets are in `tests/fixtures/judging/`; its README works out every figure by hand.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use ocelli_bench_data::{LandmarkOptions, generate};
use ocelli_tests::{fail, json, root, run, succeed};
use serde_json::Value;
use tempfile::TempDir;

const OXFORD: &str = "@ --descriptors @/photos.npy --row-names @/photos.txt --queries \
                      @/queries.npy --query-names @/queries.txt --similarity inner-product";
const PARIS: &str = "@ --descriptors @/photos.fvecs --row-names @/photos.txt --queries \
                     @/queries.fvecs --similarity inner-product";
const REVISITED: &str = "@ --descriptors @/features.mat --queries @/features.mat --similarity \
                         inner-product";
const HOLIDAYS: &str = "@ --descriptors @/photos.fvecs";
const DISC21: &str = "@ --rankings @/predictions.csv";
const GLDV2: &str = "@ --rankings @/submission.csv";
const ILIAS: &str = "@ --descriptors @/photos.npy --row-names @/photos.txt --queries \
                     @/queries.npy --similarity inner-product";
const MATCHES: &str = "@ --descriptors @/photos.npy --row-names @/photos.txt";

/// A copy of a fixture that a test may spoil, and an empty folder for what is written.
struct Copy {
    dir: TempDir,
    set: &'static str,
}

impl Copy {
    /// Copies the fixture, and makes the photos of sets whose protocol reads their names.
    fn of(set: &'static str) -> Self {
        let copy = Self { dir: tempfile::tempdir().unwrap(), set };
        copy_folder(&root().join("tests/fixtures/judging").join(set), &copy.at(""));
        let photos: Vec<String> = match set {
            "ukbench" => (0..8).map(|number| format!("full/ukbench{number:05}.jpg")).collect(),
            "copydays" => {
                let copies = ["strong/200001", "strong/200101", "jpegqual/75/200000"];
                let originals = ["original/200000", "original/200100", "original/200200"];
                let all = originals.iter().chain(&copies).chain(&["crops/80/200200"]);
                all.map(|photo| format!("{photo}.jpg")).collect()
            }
            _ => Vec::new(),
        };
        for photo in photos {
            let path = copy.at(&photo);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(8, 8).save(path).unwrap();
        }
        fs::create_dir(copy.dir.path().join("out")).unwrap();
        copy
    }

    /// A file of the set; the set's directory if the name is empty.
    fn at(&self, file: &str) -> PathBuf {
        let set = self.dir.path().join(self.set);
        if file.is_empty() { set } else { set.join(file) }
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(file), text).unwrap();
    }

    /// Replaces a text that is there once.
    fn replace(&self, file: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.at(file)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {file}");
        self.write(file, text.replace(old, new));
    }

    /// Arguments in one text: `@` at the start of a word is the set, `%` the folder of results.
    fn args(&self, text: &str) -> Vec<String> {
        let set = self.at("").display().to_string();
        let out = self.dir.path().join("out").display().to_string();
        let word = |word: &str| match (word.strip_prefix('@'), word.strip_prefix('%')) {
            (Some(rest), _) => format!("{set}{rest}"),
            (_, Some(rest)) => format!("{out}{rest}"),
            _ => word.to_owned(),
        };
        ["eval", "retrieval"].into_iter().chain(text.split_whitespace()).map(word).collect()
    }

    /// The report in JSON.
    fn report(&self, flags: &str) -> Value {
        json("ocelli", self.args(&format!("{flags} --format json")))
    }

    /// The headline figure of the first setup.
    fn value(&self, flags: &str) -> f64 {
        self.report(flags)["setups"][0]["value"].as_f64().unwrap()
    }

    /// A result file as JSON.
    fn result(&self, name: &str) -> Value {
        serde_json::from_slice(&self.result_bytes(name)).unwrap()
    }

    fn result_bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join("out").join(name)).unwrap()
    }

    /// Names of what was written.
    fn written(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("out")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Vectors in one dimension as `.fvecs`.
fn line(positions: &[f32]) -> Vec<u8> {
    positions.iter().flat_map(|x| [1_i32.to_le_bytes(), x.to_le_bytes()].concat()).collect()
}

#[track_caller]
fn is_about(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "found {found}, expected {expected}");
}

/// Judges a set: the first line of the report, and figures by the names of `--expect`. A figure
/// that is a hundredth off is exit code 1, and the report says which.
#[track_caller]
fn judged(set: &'static str, flags: &str, header: &str, figures: &[(&str, f64)]) {
    let copy = Copy::of(set);
    let mut args = copy.args(flags);
    for (name, value) in figures {
        args.extend(["--expect".to_owned(), format!("{name}={value:.9}±0.000001")]);
    }
    let text = succeed("ocelli", &args);
    assert_eq!(text.lines().next(), Some(header), "{text}");
    assert_eq!(text.matches("\nas expected: ").count(), figures.len(), "{text}");

    let (name, value) = figures[0];
    let mut args = copy.args(flags);
    args.extend(["--expect".to_owned(), format!("{name}={:.9}±0.009", value + 0.01)]);
    let output = run("ocelli", &args);
    let (text, error) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error, "error: 1 figure not as expected\n");
    assert!(text.contains(&format!("\nNOT as expected: {name}=")), "{text}");
}

#[test]
fn oxford_and_paris() {
    judged(
        "oxford5k",
        OXFORD,
        "oxford5k: protocol oxford, because gt_files_170407 has 2 files *_query.txt, with photos \
         named oxc1_…",
        &[("oxford5k", 203.0 / 360.0), ("oxford5k:mP@1", 0.5), ("oxford5k:MRR", 0.75)],
    );
    judged(
        "paris6k",
        PARIS,
        "paris6k: protocol oxford, because paris_120310 has 2 files *_query.txt",
        &[("paris6k/official", 29.0 / 48.0)],
    );
    let copy = Copy::of("paris6k");
    let report = copy.report(PARIS);
    assert_eq!((&report["damaged"], &report["images"]), (&1.into(), &6.into()), "{report}");
    let text = succeed("ocelli", copy.args(PARIS));
    let told = "taken out of every ranking: 1 photo that is published as damaged";
    assert!(text.contains(told), "{text}");
}

#[test]
fn revisited_oxford() {
    judged(
        "roxford5k",
        REVISITED,
        "roxford5k: protocol lists, because gnd_roxford5k.pkl is there",
        &[
            ("roxford5k/easy", 19.0 / 24.0),
            ("roxford5k/medium", 441.0 / 720.0),
            ("roxford5k/hard", 128.0 / 360.0),
            // 3 of the first 4, as the last positive is the fourth; 3 of the first 5.
            ("roxford5k/medium:mP@5", (3.0 / 4.0 + 3.0 / 5.0) / 2.0),
        ],
    );
    let copy = Copy::of("roxford5k");
    let easy = &copy.report(&format!("{REVISITED} --setup easy"))["setups"][0];
    assert_eq!(easy["without_positives"], serde_json::json!(["gate_000002"]));
    assert_eq!(easy["queries"].as_array().unwrap().len(), 1);
}

#[test]
fn holidays_ukbench_and_instre() {
    let header = "holidays: protocol holidays, because holidays_images.dat is there";
    for flags in [HOLIDAYS, "@ --rankings @/results.dat"] {
        judged("holidays", flags, header, &[("holidays", 11.0 / 24.0)]);
    }
    judged(
        "ukbench",
        "@ --descriptors @/photos.fbin",
        "ukbench: protocol ukbench, because 8 of 8 photos are named ukbench00000.jpg and so on",
        &[("ukbench", 2.5), ("ukbench/n-s:N-S", 2.5)],
    );
    judged(
        "instre",
        "@ --descriptors @/features.h5 --queries @/features.h5 --similarity inner-product",
        "instre: protocol instre, because gnd_instre.mat has imlist, qimlist and gnd",
        &[("instre", 2.0 / 3.0)],
    );
}

#[test]
fn google_landmarks_and_ilias() {
    judged(
        "gldv2",
        GLDV2,
        "gldv2: protocol gldv2, because retrieval_solution_v2.1.csv has the columns id and images",
        &[("gldv2/public", 2.0 / 3.0), ("gldv2/private:mAP@100", 0.5), ("gldv2/all", 11.0 / 18.0)],
    );
    judged(
        "ilias",
        ILIAS,
        "ilias: protocol ilias, because image_ids has image_query_ids.txt and positive_ids.txt",
        &[("ilias:mAP@1k", 7.0 / 12.0)],
    );
}

#[test]
fn copies() {
    judged(
        "copydays",
        "@ --descriptors @/originals.npy --queries @/copies.npy --query-names @/copies.txt",
        "copydays: protocol copydays, because original/ is there, with strong/, jpegqual/, crops/",
        &[
            ("copydays/strong", 5.0 / 8.0),
            ("copydays/original", 1.0),
            ("copydays/jpegqual/75", 1.0),
            ("copydays/crops/80", 1.0 / 6.0),
        ],
    );
    let header = "disc21: protocol disc21, because dev_ground_truth.csv has pairs of query and \
                  reference";
    let figures = [("disc21", 17.0 / 30.0), ("disc21:uAP", 17.0 / 30.0), ("disc21:R@P90", 0.25)];
    judged("disc21", DISC21, header, &figures);
    judged("disc21", &format!("{DISC21} --ties for"), header, &[("disc21:µAP", 29.0 / 48.0)]);
    // As the data set is published: another name, no header, and the final pairs beside.
    let copy = Copy::of("disc21");
    let pairs = fs::read_to_string(copy.at("dev_ground_truth.csv")).unwrap();
    fs::remove_file(copy.at("dev_ground_truth.csv")).unwrap();
    copy.write("dev_queries_groundtruth.csv", pairs.split_once('\n').unwrap().1);
    copy.write("test_queries_groundtruth.csv", "Q50000,R000001\n");
    is_about(copy.value(DISC21), 17.0 / 30.0);
    let setup = &Copy::of("disc21").report(DISC21)["setups"][0];
    assert_eq!(setup["without_positives"], serde_json::json!(["Q00000"]));
    assert_eq!(setup["unranked"], serde_json::json!(["Q00004"]));
    assert_eq!((&setup["short"], &setup["tied_queries"]), (&serde_json::json!([]), &1.into()));
}

#[test]
fn own_ground_truth() {
    judged(
        "own",
        "@ --descriptors @/photos.npy",
        "own: protocol json, because groundtruth.json is there",
        &[("own/official", 107.0 / 240.0), ("own/leave-one-out", 237.0 / 600.0)],
    );
    judged(
        "matches",
        MATCHES,
        "matches: protocol matches, because matches.csv has the columns query and match",
        &[
            ("matches", 31.0 / 60.0),
            ("matches:recall@1", 0.5),
            ("matches:recall@5", 1.0),
            ("matches:mP@5", 13.0 / 30.0),
            ("matches:MRR", 0.6),
            ("matches:µAP", 379.0 / 1716.0),
        ],
    );
    let text = succeed("ocelli", Copy::of("matches").args(MATCHES));
    let apart = "matches: queries without a positive, left out of the means, 1: c.jpg";
    assert!(text.contains(apart), "{text}");
}

/// Line ends and marks of other systems change nothing.
#[test]
fn files_of_windows_are_the_same() {
    let copy = Copy::of("oxford5k");
    let files = ["photos.txt", "queries.txt", "gt_files_170407/hall_1_good.txt"];
    for file in files.iter().chain(&["gt_files_170407/hall_1_query.txt"]) {
        let text = fs::read_to_string(copy.at(file)).unwrap();
        let mark = if file.starts_with("gt") { "\u{feff}" } else { "" };
        copy.write(file, format!("{mark}{}", text.replace('\n', "\r\n")));
    }
    is_about(copy.value(OXFORD), 203.0 / 360.0);
    let copy = Copy::of("matches");
    let text = fs::read_to_string(copy.at("matches.csv")).unwrap();
    copy.write("matches.csv", format!("\u{feff}{}", text.replace(',', ";").replace('\n', "\r\n")));
    is_about(copy.value(MATCHES), 31.0 / 60.0);
}

/// By hand. Distances from 100000: 100001, 100100 and 100002, in this order of the list, are equal.
/// Against, the ranking is N P P (5/12); for, P P N (1); in the order of the list P N P (19/24).
/// 100100 finds N N N P (1/8) in any order.
#[test]
fn equal_scores() {
    let copy = Copy::of("holidays");
    copy.write("holidays_images.dat", "100000.jpg\n100001.jpg\n100100.jpg\n100002.jpg\n100101.jpg");
    copy.write("photos.fvecs", line(&[0.0, 1.0, 1.0, 1.0, 5.0]));
    for (ties, first) in [("against", 5.0 / 12.0), ("for", 1.0), ("order", 19.0 / 24.0)] {
        let report = copy.report(&format!("{HOLIDAYS} --ties {ties}"));
        let setup = &report["setups"][0];
        is_about(setup["value"].as_f64().unwrap(), (first + 1.0 / 8.0) / 2.0);
        assert_eq!((&setup["ties"], &setup["tied_queries"]), (&ties.into(), &1.into()));
    }
    is_about(copy.value(HOLIDAYS), (5.0 / 12.0 + 1.0 / 8.0) / 2.0);
}

/// By hand. Without hall_000003, hall_1 finds P N P of 3 positives, 19/36; gate_1 finds 5/12.
/// Without gate_000001 and gate_000002, gate_1 is not judged, and hall_1 has 32/45.
#[test]
fn positives_that_the_database_lacks() {
    let copy = Copy::of("oxford5k");
    copy.replace("photos.txt", "hall_000003", "other_000003");
    let message = fail("ocelli", 1, copy.args(OXFORD));
    assert!(message.contains("lacks \"hall_000003\", a positive of query \"hall_1\""), "{message}");
    assert!(message.contains("gt_files_170407/hall_1_ok.txt:1"), "{message}");
    let count = format!("{OXFORD} --missing count");
    let setup = &copy.report(&count)["setups"][0];
    is_about(setup["value"].as_f64().unwrap(), (19.0 / 36.0 + 5.0 / 12.0) / 2.0);
    assert_eq!(setup["positives_missing"], 1);

    let copy = Copy::of("oxford5k");
    copy.replace("photos.txt", "gate_000001", "other_000001");
    copy.replace("photos.txt", "gate_000002", "other_000002");
    let message = fail("ocelli", 1, copy.args(OXFORD));
    assert!(message.contains("gate_1_good.txt:1") && message.contains("gate_1_ok.txt:1"));
    let setup = &copy.report(&count)["setups"][0];
    is_about(setup["value"].as_f64().unwrap(), 32.0 / 45.0);
    assert_eq!(setup["all_missing"], serde_json::json!(["gate_1"]));
    let text = succeed("ocelli", copy.args(&count));
    assert!(text.contains("every positive is missing in the database, left out of the means, 1"));
}

/// By hand: the list ends before hall_000003, so hall_1 has P N P of 3 positives, 19/36. gate_1 has
/// no ranking and finds nothing.
#[test]
fn rankings_that_are_too_short() {
    let copy = Copy::of("oxford5k");
    copy.write("hall_1.txt", "hall_000004\nhall_000001\ngate_000001\nhall_000002\n");
    let flags = "@ --rankings @/hall_1.txt";
    let setup = &copy.report(flags)["setups"][0];
    is_about(setup["value"].as_f64().unwrap(), 19.0 / 72.0);
    assert_eq!(setup["short"], serde_json::json!(["hall_1"]));
    assert_eq!(setup["unranked"], serde_json::json!(["gate_1"]));
    let text = succeed("ocelli", copy.args(flags));
    let short = "queries whose ranking ends before all positives, the rest counts as not found, 1: \
                 hall_1";
    let unranked = "queries without a ranking, which found nothing, 1: gate_1";
    assert!(text.contains(short) && text.contains(unranked), "{text}");
}

/// What `--rankings-out` writes gives the same figures when it is read again.
#[test]
fn rankings_are_read_back() {
    for (set, flags, form, ending) in [
        ("paris6k", PARIS, "long", "csv"),
        ("paris6k", PARIS, "long", "parquet"),
        ("ilias", ILIAS, "long", "csv"),
        ("ilias", ILIAS, "gldv2", "csv"),
        ("disc21", DISC21, "disc21", "csv"),
        ("disc21", DISC21, "long", "parquet"),
        ("gldv2", &format!("{GLDV2} --setup public"), "gldv2", "csv"),
        ("matches", MATCHES, "long", "csv"),
    ] {
        let copy = Copy::of(set);
        let file = format!("%/rankings.{ending}");
        let written = copy.report(&format!("{flags} --rankings-out {file} --rankings-form {form}"));
        let setup = if set == "gldv2" { "--setup public" } else { "" };
        let read = copy.report(&format!("@ --rankings {file} {setup}"));
        let measures = |report: &Value| {
            let mut measures = report["setups"][0]["measures"].clone();
            if form == "gldv2" {
                // The form has no scores.
                let measures = measures.as_object_mut().unwrap();
                measures.retain(|name, _| !["µAP", "R@P90"].contains(&name.as_str()));
            }
            measures
        };
        assert_eq!(measures(&read), measures(&written), "{set}, {form}, {ending}");
        assert_eq!(read["setups"][0]["value"], written["setups"][0]["value"]);
    }
    let copy = Copy::of("paris6k");
    copy.report(&format!("{PARIS} --rankings-out %/rankings.csv"));
    let text = String::from_utf8(copy.result_bytes("rankings.csv")).unwrap();
    let start = "query,rank,image,score,judgement\ndefense_1,1,paris_defense_000001,0.8333";
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains("defense_1,4,paris_defense_000003,") && text.contains(",junk\n"));
    assert!(!text.contains("paris_louvre_000136"), "the damaged photo is in no ranking: {text}");
}

#[test]
fn results_by_query() {
    let copy = Copy::of("own");
    let flags = "@ --descriptors @/photos.npy --per-query-out";
    copy.report(&format!("{flags} %/queries.json"));
    copy.report(&format!("{flags} %/queries.parquet"));
    let rows = copy.result("queries.json");
    assert_eq!(rows.as_array().unwrap().len(), 2 + 5, "{rows}");
    let first = &rows[0];
    assert_eq!((&first["setup"], &first["query"]), (&"official".into(), &"a/1.jpg".into()));
    is_about(first["average_precision"].as_f64().unwrap(), 19.0 / 24.0);
    assert_eq!((&first["positives"], &first["found"]), (&2.into(), &2.into()));
    assert_eq!((&first["first"], &rows[1]["first"]), (&1.into(), &5.into()));
    let parquet = copy.result_bytes("queries.parquet");
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let text = succeed("ocelli", copy.args("@ --descriptors @/photos.npy --per-query"));
    assert!(text.contains("0.7917  a/1.jpg (2 of 2 positives, first 1)"), "{text}");
}

/// By hand. In B the photo 100101 is at 2.25 and so nearest to 100100, which then has average
/// precision 1 in place of 1/8; 100000 finds P N N P, 17/24 in place of 19/24. The differences are
/// 7/8 and -1/12.
#[test]
fn two_runs_are_compared() {
    let copy = Copy::of("holidays");
    copy.report(&format!("{HOLIDAYS} --out %/a.json"));
    copy.write("photos.fvecs", line(&[0.0, 1.0, 3.5, 2.0, 2.25]));
    copy.report(&format!("{HOLIDAYS} --out %/b.json"));
    let compared = copy.report("--compare %/a.json %/b.json");
    let setup = &compared["setups"][0];
    is_about(setup["values"][0].as_f64().unwrap(), 11.0 / 24.0);
    is_about(setup["values"][1].as_f64().unwrap(), (1.0 + 17.0 / 24.0) / 2.0);
    let difference = &setup["difference"];
    is_about(difference["mean"].as_f64().unwrap(), (7.0 / 8.0 - 1.0 / 12.0) / 2.0);
    is_about(difference["interval"][0].as_f64().unwrap(), -1.0 / 12.0);
    is_about(difference["interval"][1].as_f64().unwrap(), 7.0 / 8.0);
    assert_eq!((&setup["better"], &setup["worse"]), (&1.into(), &1.into()));
    assert_eq!(setup["changed"][0]["name"], "100100.jpg");
    let text = succeed("ocelli", copy.args("--compare %/a.json %/b.json"));
    assert!(text.contains("+0.8750  0.1250 -> 1.0000  100100.jpg"), "{text}");

    let other = Copy::of("matches");
    other.report(&format!("{MATCHES} --out %/c.json"));
    let paths = [&copy, &other].map(|copy| copy.dir.path().join("out"));
    let (a, c) = (paths[0].join("a.json"), paths[1].join("c.json"));
    let args = ["eval", "retrieval", "--compare", a.to_str().unwrap(), c.to_str().unwrap()];
    let message = fail("ocelli", 1, args);
    assert!(message.contains("holidays") && message.contains("matches"), "{message}");
    fs::write(&c, "{}").unwrap();
    let message = fail("ocelli", 1, args);
    assert!(message.contains("c.json: expected the JSON of `ocelli eval retrieval"), "{message}");
}

/// Whatever is wrong: exit code 1, one line that says where, and no file.
#[test]
fn what_is_wrong_is_refused() {
    type Case = (&'static str, fn(&Copy), &'static str, &'static [&'static str]);
    let cases: &[Case] = &[
        // Lists.
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_good.txt", "hall_000001\nhall_999999\n"),
            OXFORD,
            &["hall_999999", "query \"hall_1\"", "gt_files_170407/hall_1_good.txt:2"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_good.txt", "hall_000001\n\nhall_000001\n"),
            OXFORD,
            &["hall_1_good.txt:3: query \"hall_1\": photo \"hall_000001\" is twice", "good.txt:1"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_junk.txt", "hall_000003\n"),
            OXFORD,
            &["hall_1_junk.txt:1", "both positive and junk", "hall_1_ok.txt:1"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_query.txt", "\n"),
            OXFORD,
            &["hall_1_query.txt: expected \"photo x0 y0 x1 y1\", found nothing"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_query.txt", "oxc1_hall_000001 1 2 3\n"),
            OXFORD,
            &["hall_1_query.txt:1: expected \"photo x0 y0 x1 y1\""],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_query.txt", "oxc1_hall_000001 9 2 3 4\n"),
            OXFORD,
            &["hall_1_query.txt:1: query \"hall_1\": expected a box x0 < x1, y0 < y1"],
        ),
        (
            "oxford5k",
            |c| fs::remove_file(c.at("gt_files_170407/gate_1_ok.txt")).unwrap(),
            OXFORD,
            &["gate_1_ok.txt", "No such file"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_good.txt", b"\xff\xfe"),
            OXFORD,
            &["hall_1_good.txt", "UTF-8"],
        ),
        ("holidays", |c| c.write("holidays_images.dat", "\n"), HOLIDAYS, &["dat: expected names"]),
        (
            "holidays",
            |c| c.write("holidays_images.dat", "100000.jpg\n10001.jpg\n"),
            HOLIDAYS,
            &["holidays_images.dat:2: expected a name of six digits"],
        ),
        (
            "ukbench",
            |c| fs::remove_file(c.at("full/ukbench00006.jpg")).unwrap(),
            "@ --descriptors @/photos.fbin",
            &["full: object 1: expected 4 photos, numbers 4 to 7, found 3"],
        ),
        (
            "own",
            |c| c.write("groundtruth.json", "{\"queries\": []}"),
            "@ --descriptors @/photos.npy",
            &["groundtruth.json: expected queries in \"queries\", found an empty list"],
        ),
        (
            "own",
            |c| c.replace("groundtruth.json", "\"good\": [\"b/2.jpg\"]", "\"good\": [\"b/9.jpg\"]"),
            "@ --descriptors @/photos.npy",
            &["groundtruth.json: query 1, good[0]: photo \"b/9.jpg\" is not among the 6 photos"],
        ),
        (
            "matches",
            |c| c.replace("matches.csv", "a/1.jpg,a/3.jpg,1", "a/1.jpg,a/2.jpg,1"),
            MATCHES,
            &["matches.csv:3: of query \"a/1.jpg\": photo \"a/2.jpg\" is there twice"],
        ),
        // Names are whole paths in one's own list; a stem is no name of a photo.
        (
            "matches",
            |c| c.replace("matches.csv", "a/1.jpg,a/3.jpg,1", "a/1.jpg,3.jpg,1"),
            MATCHES,
            &["lacks \"3.jpg\", a positive of query \"a/1.jpg\"", "matches.csv:3"],
        ),
        (
            "matches",
            |_| {},
            "@ --descriptors @/photos.npy --row-names @/photos.txt --names stem",
            &[
                "matches.csv:5: query \"b/1.jpg\" is the photo of query \"a/1.jpg\"",
                "matches.csv:2",
            ],
        ),
        (
            "gldv2",
            |c| c.replace("retrieval_solution_v2.1.csv", ",Private", ",private"),
            GLDV2,
            &["retrieval_solution_v2.1.csv:5: expected Public, Private or Ignored"],
        ),
        (
            "ilias",
            |c| c.write("image_ids/positive_ids.txt", "P000_00.jpg\n"),
            ILIAS,
            &["positive_ids.txt:1: expected an id \"object/…\""],
        ),
        (
            "copydays",
            |c| fs::remove_file(c.at("original/200100.jpg")).unwrap(),
            "@ --descriptors @/originals.npy",
            &["strong/200101.jpg: expected a photo that it is a copy of in original/"],
        ),
        (
            "roxford5k",
            |c| c.write("gnd_roxford5k.pkl", b"\x80\x04cos\nsystem\n\x8c\x04true\x85R."),
            REVISITED,
            &["gnd_roxford5k.pkl"],
        ),
        (
            "instre",
            |c| c.write("gnd_instre.mat", "no file of MATLAB"),
            "@ --descriptors @/features.h5",
            &["gnd_instre.mat"],
        ),
        // Descriptors.
        (
            "oxford5k",
            |c| c.replace("photos.txt", "view_000001.jpg\n", ""),
            OXFORD,
            &["expected as many names as rows, found 7 names (", "photos.txt), and 8 rows ("],
        ),
        (
            "oxford5k",
            |c| c.replace("photos.txt", "gate_000002.jpg\n", "\n"),
            OXFORD,
            &["photos.txt:6: expected a name, found an empty line"],
        ),
        (
            "oxford5k",
            |c| c.replace("photos.txt", "view_000001.jpg", "hall_000002.jpg"),
            OXFORD,
            &["row 1 of ", "row 7 of ", "photos.npy are both named \"hall_000002.jpg\""],
        ),
        (
            "holidays",
            |c| c.write("photos.fvecs", line(&[0.0, 1.0, f32::NAN, 2.0, 7.0])),
            HOLIDAYS,
            &["photos.fvecs", "row 2", "NaN"],
        ),
        (
            "holidays",
            |c| c.write("photos.fvecs", &line(&[0.0, 1.0])[..13]),
            HOLIDAYS,
            &["photos.fvecs"],
        ),
        (
            "paris6k",
            |c| c.write("queries.fvecs", line(&[0.0, 1.0])),
            PARIS,
            &["the queries", "dim"],
        ),
        (
            "paris6k",
            |_| {},
            "@ --descriptors @/photos.fvecs",
            &["photos.fvecs: its 6 rows have no names", "--row-names"],
        ),
        (
            "oxford5k",
            |c| c.replace("queries.txt", "gate_1", "gate_2"),
            OXFORD,
            &["query \"gate_1\"", "gate_1_query.txt:1", "has no descriptor among the 2"],
        ),
        ("paris6k", |_| {}, "@ --descriptors @/paris_120310", &["paris_120310"]),
        (
            "oxford5k",
            |_| {},
            "@ --descriptors @/photos.npy --row-names @/gt_files_170407",
            &["gt_files_170407", "not a regular file"],
        ),
        ("oxford5k", |_| {}, "@", &["nothing is searched: expected descriptors, an index"]),
        // Rankings.
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000005,0.8", "R000005,NaN"),
            DISC21,
            &["predictions.csv: line 3:", "NaN"],
        ),
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000005,0.8", "R000005,high"),
            DISC21,
            &["predictions.csv: line 3: expected a score, found \"high\""],
        ),
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000005,0.8", "R000005"),
            DISC21,
            &["predictions.csv: line 3: expected 3 columns, found 2"],
        ),
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000009", "R000003"),
            DISC21,
            &["predictions.csv: line 6:", "\"R000003\" is named twice, first in line 5"],
        ),
        (
            "disc21",
            |c| c.write("predictions.csv", "Q7,R1,0.5\n"),
            DISC21,
            &["predictions.csv: expected rankings of queries of disc21", "(line 1)"],
        ),
        (
            "disc21",
            |c| c.write("predictions.csv", "id,images\nQ00001,R000001\n"),
            DISC21,
            &["disc21 is judged by µAP, which needs scores"],
        ),
        ("disc21", |c| c.write("predictions.csv", ""), DISC21, &["found an empty file"]),
        (
            "holidays",
            |c| c.replace("results.dat", "1 100001.jpg 2 100100.jpg", "1 100001.jpg 3 100100.jpg"),
            "@ --rankings @/results.dat",
            &["results.dat: line 1:", "expected rank 2, found 3"],
        ),
        (
            "holidays",
            |c| fs::create_dir(c.at("lists")).unwrap(),
            "@ --rankings @/lists",
            &["lists: expected a list NAME.txt for each query"],
        ),
        // What is asked for.
        ("oxford5k", |_| {}, "@ --setup hard", &["no setup \"hard\"; there is official"]),
        (
            "oxford5k",
            |c| c.write("gnd_oxford5k.json", "{\"imlist\": [], \"qimlist\": [], \"gnd\": []}"),
            OXFORD,
            &["found several data sets", "gt_files_170407 has 2", "choose with --protocol FORM"],
        ),
        (
            "oxford5k",
            |c| copy_folder(&c.at("gt_files_170407"), &c.at("more")),
            OXFORD,
            &["found several data sets", "give the path of the one that is meant"],
        ),
        (
            "oxford5k",
            |c| fs::create_dir(c.at("empty")).unwrap(),
            "@/empty",
            &["empty: found no data set; looked for", "*_query.txt", "gnd_*.pkl", "matches.csv"],
        ),
        (
            "oxford5k",
            |_| {},
            "@ --protocol holidays",
            &["form holidays: expected holidays_images.dat"],
        ),
        (
            "oxford5k",
            |_| {},
            "@/photos.txt --protocol oxford",
            &["photos.txt: form oxford: expected a directory"],
        ),
        ("oxford5k", |_| {}, "@/photos.npy", &["photos.npy: expected a directory, or a file"]),
        ("oxford5k", |_| {}, "@/nowhere", &["nowhere", "No such file"]),
        ("oxford5k", |_| {}, "", &["expected a data set"]),
        (
            "matches",
            |_| {},
            "@ --rankings @/photos.txt --expect matchs=0.5±0.1",
            &["matchs=0.5±0.1: data set \"matchs\" was not judged; there is matches"],
        ),
        (
            "roxford5k",
            |_| {},
            "@ --expect roxford5k=0.5±0.1",
            &["it names no setup; there is easy, medium, hard"],
        ),
        // Photos.
        (
            "oxford5k",
            |c| fs::create_dir(c.at("jpg")).unwrap(),
            "@ --photos @/jpg --work %/work -- --weights none",
            &["data set oxford5k: no photos below ", "jpg"],
        ),
        (
            "oxford5k",
            |c| {
                fs::create_dir(c.at("jpg")).unwrap();
                RgbImage::new(8, 8).save(c.at("jpg/hall_000001.jpg")).unwrap();
            },
            "@ --work %/work -- --weights none",
            &["1 of 2 photos are missing: \"gate_000001\" (", "gate_1_query.txt:1"],
        ),
    ];
    let mut wrong = Vec::new();
    for (set, spoil, flags, told) in cases {
        let copy = Copy::of(set);
        spoil(&copy);
        let out = "--out %/o.json --per-query-out %/q.json --page %/p.html";
        let (flags, encode) = flags.split_once(" -- ").unwrap_or((flags, ""));
        let message = fail("ocelli", 1, copy.args(&format!("{flags} {out} -- {encode}")));
        let is_told = told.iter().all(|part| message.contains(part));
        if message.trim().lines().count() != 1 || !is_told || !copy.written().is_empty() {
            wrong.push(format!("{set} {flags}: {told:?}, {:?}: {message}", copy.written()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of files that cannot be written are refused before anything else.
#[test]
fn results_that_cannot_be_written() {
    for (set, flags, told) in [
        ("oxford5k", format!("{OXFORD} --per-query-out %/q.txt"), ".parquet or .json"),
        ("oxford5k", format!("{OXFORD} --rankings-out %/r.json"), ".csv or .parquet"),
        (
            "oxford5k",
            format!("{OXFORD} --rankings-out %/r.parquet --rankings-form gldv2"),
            ".csv, the challenge's form",
        ),
        (
            "roxford5k",
            format!("{REVISITED} --rankings-out %/r.csv"),
            "choose one (--setup easy, --setup medium, …)",
        ),
        ("oxford5k", format!("{OXFORD} --page %/no/p.html"), "no/p.html"),
        (
            "oxford5k",
            format!("{OXFORD} --page %/p.html --page-query gate_9"),
            "p.html: oxford5k has no query \"gate_9\"",
        ),
    ] {
        let copy = Copy::of(set);
        let message = fail("ocelli", 1, copy.args(&format!("{flags} --out %/o.json")));
        assert_eq!(message.trim().lines().count(), 1, "{message}");
        assert!(message.contains(told), "{message}");
        assert!(copy.written().is_empty(), "{flags}: {:?}", copy.written());
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let copy = Copy::of("oxford5k");
    for flags in [
        "@ --expect oxford5k=0.5",
        "@ --protocol oxford6k",
        "@ --ties both",
        "@ --rankings @/photos.txt --descriptors @/photos.npy",
        "@ --compare @/photos.txt @/photos.txt",
        "--compare @/photos.txt",
        "@ --query-names @/queries.txt",
        "@ --row-names @/photos.txt --rows listed",
        "@ --learn-from @",
        "@ --rankings-form long",
    ] {
        fail("ocelli", 2, copy.args(flags));
    }
}

/// A page has a row for each query, with the frames of its hits; it needs no photo to be there.
#[test]
fn a_page_of_photos() {
    let copy = Copy::of("paris6k");
    let photos = ["paris_defense_000001", "paris_defense_000002", "paris_louvre_000001"];
    fs::create_dir(copy.at("jpg")).unwrap();
    for photo in photos {
        RgbImage::new(120, 90).save(copy.at(&format!("jpg/{photo}.jpg"))).unwrap();
    }
    copy.report(&format!("{PARIS} --page %/page.html"));
    let page = String::from_utf8(copy.result_bytes("page.html")).unwrap();
    // defense_1: two positives, three others, one of which is junk; louvre_1 has the damaged photo
    // as junk, which is in no ranking.
    for (frame, count) in [("positive", 4), ("negative", 5), ("junk", 1)] {
        let found = page.matches(&format!("figure class=\"hit {frame}\"")).count();
        assert_eq!(found, count, "{frame}");
    }
    let places: Vec<usize> =
        ["louvre_1", "defense_1"].map(|q| page.find(&format!("<h2>{q}</h2>")).unwrap()).into();
    assert!(places[0] < places[1], "the worst query is the first");
    // Three photos in each row, and the query's.
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 8);
    copy.report(&format!("{PARIS} --page %/one.html --page-query defense_1"));
    let page = String::from_utf8(copy.result_bytes("one.html")).unwrap();
    assert!(page.contains("<h2>defense_1</h2>") && !page.contains("<h2>louvre_1</h2>"));
}

/// From generated photos to figures: what is learned is learned on other photos, and a second run
/// keeps everything and says the same.
#[test]
fn from_photos_to_figures() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let set = |name: &str, landmarks, distractors, seed| {
        let options = LandmarkOptions {
            landmarks,
            views_per_landmark: 3,
            distractors,
            queries_per_landmark: 1,
            seed,
            longest_side: 96,
            threads: 2,
        };
        generate(&dir.path().join(name), &options).unwrap();
    };
    set("set", 3, 6, 5);
    set("others", 0, 30, 7);
    let (net, work, others) = (path("net.safetensors"), path("work"), path("others/photos"));
    let weights = ["weights", "seeded", "--arch", "resnet18", "--last-stage", "1", "--out", &net];
    succeed("ocelli-encoder", weights);
    let args = |learn_from: &str, flags: &[&str]| {
        let set = path("set");
        let start = ["eval", "retrieval", &set, "--work", &work, "--distractors", &others];
        let learn = ["--learn-from", learn_from, "--code-bytes", "8", "--nlist", "2"];
        let encode = ["--", "--weights", &net, "--sizes", "64"];
        let all = start.iter().chain(&learn).chain(flags).chain(&encode);
        all.map(|arg| (*arg).to_owned()).collect::<Vec<String>>()
    };
    let message = fail("ocelli", 1, args(&path("set/photos"), &[]));
    assert!(message.contains("a photo to learn from that is judged too"), "{message}");
    assert!(message.contains("15 of 15 photos") && message.contains("--force"), "{message}");

    let (out, page) = (path("report.json"), path("page.html"));
    let flags = ["--force", "--dim", "16", "--format", "json", "--out", &out, "--page", &page];
    let first = json("ocelli", args(&others, &flags));
    let steps = |report: &Value, kept: bool| {
        // The refused run before has checked the distractors.
        let steps = &report["prepared"]["steps"].as_array().unwrap()[1..];
        assert!(steps.iter().all(|step| step["kept"] == kept), "{steps:?}");
        steps.len()
    };
    assert_eq!(steps(&first, false), 8, "region vectors, whitening, …, index");
    assert!(first["search"].as_str().unwrap().starts_with("index of 45 images"), "{first}");
    assert_eq!((&first["dataset"], &first["form"]), (&"set".into(), &"oxford".into()));
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<section>").count(), 3);
    // Three queries and their hits, which are all photos of the set or distractors.
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 3 * (1 + 20));
    assert!(!html.contains("class=\"none\""));

    let second = json("ocelli", args(&others, &flags));
    assert_eq!(steps(&second, true), 8);
    let without_times = |report: &Value| {
        let mut setups = report["setups"].clone();
        for setup in setups.as_array_mut().unwrap() {
            setup["rank_ms"] = Value::Null;
            setup["queries"].as_array_mut().unwrap().iter_mut().for_each(|query| {
                query["rank_ms"] = Value::Null;
            });
        }
        setups
    };
    assert_eq!(without_times(&second), without_times(&first));
}

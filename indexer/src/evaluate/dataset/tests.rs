//! Data sets in their official syntax, made up and small.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::Error;
use crate::evaluate::measures::{ApForm, Measure};

/// A directory with files of the given contents.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, content) in files {
        put(dir.path(), name, content);
    }
    dir
}

fn put(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, None).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(path: &Path) -> String {
    Dataset::open(path, None).unwrap_err().to_string()
}

fn names(list: &[Named]) -> Vec<&str> {
    list.iter().map(|named| &*named.name).collect()
}

fn setup<'a>(dataset: &'a Dataset, name: &str) -> &'a Setup {
    dataset.setups.iter().find(|setup| setup.name == name).unwrap()
}

fn setup_names(dataset: &Dataset) -> Vec<&str> {
    dataset.setups.iter().map(|setup| setup.name.as_str()).collect()
}

fn listed(dataset: &Dataset) -> Vec<&str> {
    match &dataset.database {
        Database::Listed(images) => names(images),
        Database::Below(folder) => panic!("below {folder:?}"),
    }
}

/// Query, positives and junk of each line of a setup.
fn asked<'a>(dataset: &'a Dataset, name: &str) -> Vec<(&'a str, Vec<&'a str>, Vec<&'a str>)> {
    let lines = setup(dataset, name).asked.iter();
    lines
        .map(|asked| {
            let query = dataset.queries[asked.query].name.as_str();
            (query, names(&asked.positives), names(&asked.junk))
        })
        .collect()
}

/// What all of these sets have but UKBench.
fn has_rules(setup: &Setup, own: OwnPhoto, absent: Absent) {
    assert_eq!(setup.rules.precision, ApForm::Trapezoid);
    assert_eq!(setup.rules.headline, Measure::Map);
    assert_eq!((setup.own, setup.absent), (own, absent));
}

const HALL: [(&str, &str); 4] = [
    ("gt/hall_1_query.txt", "oxc1_hall_000006 136.5 34.1 648.5 955.7\n"),
    ("gt/hall_1_good.txt", "hall_000026\nhall_000126\n"),
    ("gt/hall_1_ok.txt", "hall_000006\n\n"),
    ("jpg/hall_000006.jpg", ""),
];

/// The query's prefix goes, good and ok join, junk may lack.
#[test]
fn oxford_text_files() {
    let dir = folder(&HALL);
    let dataset = open(dir.path());
    assert_eq!((dataset.name.as_str(), dataset.form), ("oxford5k", Form::Oxford));
    assert_eq!(dataset.why, "gt has 1 file *_query.txt, with photos named oxc1_…");
    assert_eq!(dataset.photos, [dir.path().join("jpg")]);
    assert!(matches!(&dataset.database, Database::Below(folder) if folder.is_empty()));
    assert!(dataset.damaged.is_empty() && dataset.name_rule == NameRule::PathEnd);
    let [query] = &dataset.queries[..] else { panic!("{dataset:?}") };
    assert_eq!((query.name.as_str(), &*query.photo.name), ("hall_1", "hall_000006"));
    assert_eq!(query.bounding_box, Some([136.5, 34.1, 648.5, 955.7]));
    assert!(query.photo.place.to_string().ends_with("gt/hall_1_query.txt:1"));
    let positives = vec!["hall_000026", "hall_000126", "hall_000006"];
    assert_eq!(asked(&dataset, "official"), [("hall_1", positives, vec![])]);
    has_rules(&dataset.setups[0], OwnPhoto::Ranked, Absent::NotFound);
    let place = &dataset.setups[0].asked[0].positives[1].place;
    assert!(place.to_string().ends_with("gt/hall_1_good.txt:2"), "{place}");

    put(dir.path(), "gt/hall_1_junk.txt", "hall_000999\n");
    assert_eq!(asked(&open(dir.path()), "official")[0].2, ["hall_000999"]);
    // The folder of the ground truth itself, without photos.
    let alone = open(&dir.path().join("gt"));
    assert_eq!(alone.queries.len(), 1);
    assert!(alone.photos.is_empty(), "{:?}", alone.photos);
    assert!(alone.why.starts_with("the directory has 1 file *"), "{}", alone.why);

    // A set of one's own in this form has the name of its directory.
    let files = HALL.map(|(path, text)| (path, text.strip_prefix("oxc1_").unwrap_or(text)));
    let dir = folder(&files);
    let name = dir.path().canonicalize().unwrap();
    assert_eq!(open(dir.path()).name, name.file_name().unwrap().to_str().unwrap());
}

#[test]
fn paris_has_damaged_photos() {
    let dir = folder(&[
        ("lab/louvre_1_query.txt", "paris_louvre_000135 1 2 3 4"),
        ("lab/louvre_1_good.txt", "paris_louvre_000137\n"),
        ("lab/louvre_1_ok.txt", ""),
        ("lab/louvre_1_junk.txt", "paris_louvre_000136\n"),
        ("paris/louvre/paris_louvre_000135.jpg", ""),
        ("paris/louvre/paris_louvre_000136.jpg", ""),
        ("paris/louvre/paris_louvre_000137.jpg", ""),
    ]);
    let dataset = open(dir.path());
    assert_eq!((dataset.name.as_str(), dataset.damaged.len()), ("paris6k", 20));
    let found = dataset.find_photos().unwrap();
    let keys: Vec<&str> = found.database.iter().map(|photo| photo.key.as_str()).collect();
    let key = |number| format!("paris/louvre/paris_louvre_000{number}.jpg");
    assert_eq!(keys, [key(135), key(137)]);
    assert_eq!(found.queries[0].as_ref().unwrap().path, dir.path().join(key(135)));
}

#[test]
fn bad_oxford_files() {
    for (name, content, expected) in [
        (
            "gt/hall_1_query.txt",
            "oxc1_hall_000006 136.5 34.1 648.5\n",
            "hall_1_query.txt:1: expected \"photo x0 y0 x1 y1\"",
        ),
        ("gt/hall_1_query.txt", "\n", "hall_1_query.txt: expected \"photo x0 y0 x1 y1\", found no"),
        ("gt/hall_1_query.txt", "\na 1 2 3 4\nb 1 2 3 4", "hall_1_query.txt:3: expected one line"),
        (
            "gt/hall_1_query.txt",
            "a 5 2 5 4",
            "hall_1_query.txt:1: query \"hall_1\": expected a box",
        ),
        (
            "gt/hall_1_query.txt",
            "a -inf 2 5 inf",
            "expected a box x0 < x1, y0 < y1, found -inf 2 5 inf",
        ),
        (
            "gt/hal_1_junk.txt",
            "x",
            "hal_1_junk.txt: expected the query of this list in \"hal_1_query.txt\", found no such",
        ),
        ("gt/hall_1_query.txt", "a NaN 2 5 4", "expected a box x0 < x1, y0 < y1, found NaN 2 5 4"),
        (
            "gt/hall_1_ok.txt",
            "a\nhall_000126\n",
            "hall_1_ok.txt:2: query \"hall_1\": photo \"hall_000126\" is twice in its lists, first \
             at ",
        ),
        (
            "gt/hall_1_junk.txt",
            "\n\nhall_000026\n",
            "hall_1_junk.txt:3: query \"hall_1\": photo \"hall_000026\" is both positive and junk, \
             first at ",
        ),
        ("gt/hall_2_query.txt", "a 1 2 3 4", "hall_2_good.txt: cannot read"),
    ] {
        let dir = folder(&HALL);
        put(dir.path(), name, content);
        let error = refused(dir.path());
        assert!(error.contains(expected), "{error:?}, expected {expected:?}");
    }
    let dir = folder(&HALL);
    put(dir.path(), "gt/hall_1_ok.txt", "hall_000126");
    assert!(refused(dir.path()).ends_with("gt/hall_1_good.txt:2"));
    fs::remove_file(dir.path().join("gt/hall_1_ok.txt")).unwrap();
    assert!(refused(dir.path()).contains("hall_1_ok.txt: cannot read"));
}

/// What `indexer/tests/data/gnd/make.py` wrote in each of its files.
fn is_made_up(dataset: &Dataset, file: &str) {
    let hall = |numbers: &[u32]| numbers.iter().map(|n| format!("hall_{n:06}")).collect();
    let all: Vec<String> = hall(&[0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(listed(dataset), all, "{file}");
    assert_eq!(setup_names(dataset), ["easy", "medium", "hard"], "{file}");
    let lines = |name| {
        let lines = asked(dataset, name).into_iter();
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
        lines.map(move |(query, good, junk)| (query.to_owned(), owned(good), owned(junk)))
    };
    let gate = |number: u32, positives: &[u32], junk: &[u32]| {
        (format!("gate_{number:06}"), hall(positives), hall(junk))
    };
    let expected = [gate(1, &[2, 5], &[7, 1, 0]), gate(2, &[], &[3, 4, 6])];
    assert!(lines("easy").eq(expected), "{file}: {:?}", asked(dataset, "easy"));
    let expected = [gate(1, &[2, 5, 0], &[7, 1]), gate(2, &[3, 4, 6], &[])];
    assert!(lines("medium").eq(expected), "{file}: {:?}", asked(dataset, "medium"));
    let expected = [gate(1, &[0], &[7, 1, 2, 5]), gate(2, &[3, 4, 6], &[])];
    assert!(lines("hard").eq(expected), "{file}: {:?}", asked(dataset, "hard"));
    let boxes: Vec<BoundingBox> =
        dataset.queries.iter().filter_map(|query| query.bounding_box).collect();
    assert_eq!(boxes, [[136.5, 34.1, 648.5, 955.7], [0.0, 0.0, 10.0, 20.0]], "{file}");
    for setup in &dataset.setups {
        has_rules(setup, OwnPhoto::AllHidden, Absent::NotFound);
    }
}

/// Pickles of Python 2 and 3, of protocols 2 to 5, of lists and of numpy's arrays.
#[test]
fn pickled_lists() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gnd");
    let mut files = 0;
    for path in photos::entries(&made).unwrap() {
        if path.extension().is_some_and(|ending| ending == "pkl") {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let dataset = open(&path);
            assert_eq!((dataset.form, &dataset.why), (Form::Lists, &format!("the file is {file}")));
            is_made_up(&dataset, &file);
            let place = setup(&dataset, "hard").asked[1].positives[2].place.to_string();
            assert!(place.ends_with(&format!("{file}: query 1, hard[2]")), "{place}");
            files += 1;
        }
    }
    assert_eq!(files, 8);
}

/// Every length of every pickle, and a flip in every byte: an error or another data set.
#[test]
fn damaged_pickles() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gnd");
    let dir = tempdir().unwrap();
    let path = dir.path().join("gnd_x.pkl");
    let step = ocelli_test_support::step(7);
    for name in ["py2.pkl", "arrays-2.pkl", "odd-4.pkl"] {
        let good = fs::read(made.join(name)).unwrap();
        for length in (0..good.len()).step_by(step) {
            fs::write(&path, &good[..length]).unwrap();
            assert!(Dataset::open(&path, None).is_err(), "{name} cut at {length}");
        }
        for at in (0..good.len()).step_by(step) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            drop(Dataset::open(&path, None));
        }
    }
    fs::write(&path, b"\x80\x02cos\nsystem\n.").unwrap();
    assert!(refused(&path).contains("gnd_x.pkl: the pickle wants os.system"), "{}", refused(&path));
}

const ROXFORD: &str = r#"{"imlist": ["a", "b", "c", "d"], "qimlist": ["q", "r"], "gnd": [
    {"bbx": [1, 2, 30, 40.5], "easy": [0], "hard": [2], "junk": [3]},
    {"bbx": null, "easy": [], "hard": [1], "junk": []}]}"#;

const OXFORD: &str = r#"{"imlist": ["a", "b", "c", "d", "q"], "qimlist": ["q"], "gnd": [
    {"bbx": [1, 2, 30, 40.5], "ok": [0, 4], "junk": [3]}]}"#;

/// Official and revisited lists of one set are read together, and queries of both are one.
#[test]
fn official_and_revisited_lists_are_one_set() {
    let dir = folder(&[("gnd_roxford5k.json", ROXFORD)]);
    let dataset = open(dir.path());
    assert_eq!((dataset.name.as_str(), dataset.queries.len()), ("roxford5k", 2));
    assert_eq!(dataset.queries[1].bounding_box, None);
    assert_eq!(asked(&dataset, "easy")[0], ("q", vec!["a"], vec!["d", "c"]));

    put(dir.path(), "gnd_oxford5k.json", OXFORD);
    let dataset = open(dir.path());
    assert_eq!((dataset.name.as_str(), dataset.queries.len()), ("oxford5k", 2));
    assert_eq!(dataset.why, "gnd_oxford5k.json and gnd_roxford5k.json are there");
    assert_eq!(listed(&dataset), ["a", "b", "c", "d", "q"]);
    assert_eq!(setup_names(&dataset), ["official", "easy", "medium", "hard"]);
    assert_eq!(asked(&dataset, "official"), [("q", vec!["a", "q"], vec!["d"])]);
    has_rules(&dataset.setups[0], OwnPhoto::Ranked, Absent::NotFound);

    // Of a set that is there as pickle and as JSON, the pickle is read.
    put(dir.path(), "gnd_oxford5k.pkl", "\u{1}");
    assert!(refused(dir.path()).contains("gnd_oxford5k.pkl: "));
    fs::remove_file(dir.path().join("gnd_oxford5k.pkl")).unwrap();
    put(dir.path(), "gnd_paris6k.json", OXFORD);
    let error = refused(dir.path());
    let expected = "found several data sets: gnd_oxford5k.json and gnd_roxford5k.json are there \
                    (form lists), and gnd_paris6k.json is there (form lists); give the path";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn bad_lists() {
    let with = |from: &str, to: &str| {
        assert!(ROXFORD.contains(from), "{from}");
        folder(&[("gnd_roxford5k.json", &ROXFORD.replace(from, to))])
    };
    for (from, to, expected) in [
        (
            "\"hard\": [1]",
            "\"hard\": [4]",
            "query 1, hard[0]: expected positions below 4 (the names in",
        ),
        ("\"hard\": [1]", "\"hard\": [-1]", "query 1, hard[0]: expected positions below 4"),
        ("\"hard\": [2]", "\"hard\": [0]", "query 0, hard[0]: query \"q\": photo \"a\" is both"),
        (
            "\"junk\": [3]",
            "\"junk\": [3, 2, 3]",
            "query 0, junk[2]: query \"q\": photo \"d\" is twi",
        ),
        (
            "[\"q\", \"r\"]",
            "[\"q\"]",
            "expected one entry of gnd for each of the 1 names in qimlist",
        ),
        ("[\"q\", \"r\"]", "[\"q\", \"q\"]", "qimlist[1]: two queries are named \"q\""),
        ("\"b\"", "\"a\"", "imlist[1]: photo \"a\" is listed twice, first at"),
        ("\"imlist\"", "\"list\"", "expected imlist beside gnd"),
        (
            "\"easy\": [], \"hard\": [1]",
            "\"simple\": []",
            "qimlist[1]: query \"r\": expected lists",
        ),
        ("30", "1", "query \"q\": expected a box x0 < x1"),
        ("[1, 2, 30, 40.5]", "[1, 2]", "gnd_roxford5k.json: invalid length 2"),
    ] {
        let error = refused(with(from, to).path());
        assert!(error.contains(expected), "{error:?}, expected {expected:?}");
    }
    let dir = folder(&[("gnd_x.json", r#"{"imlist": [], "qimlist": [], "gnd": []}"#)]);
    assert!(refused(dir.path()).contains("expected queries in qimlist, found an empty list"));
    let dir = folder(&[("gnd_oxford5k.json", OXFORD), ("gnd_roxford5k.json", ROXFORD)]);
    put(dir.path(), "gnd_roxford5k.json", &ROXFORD.replace("40.5", "41.5"));
    let error = refused(dir.path());
    assert!(error.contains("two queries are named \"q\", with other photos or boxes"), "{error}");
}

const JSON: &str = r#"{"images": ["a", "b", "c", "d", "e/f.jpg"], "more": 1,
    "folder_label": {"a": "t", "b": "t", "c": "u", "d": "t"},
    "queries": [{"name": "a", "bbox": [1, 2, 30, 40.5], "original_size": [9, 9],
                 "ok": ["a", "d"], "junk": ["b", "f"]}],
    "revisited_queries": [{"name": "a", "bbox": [1, 2, 30, 40.5], "easy": ["b"], "hard": []}]}"#;

#[test]
fn json_of_this_project() {
    let dir = folder(&[("groundtruth.json", JSON)]);
    let dataset = open(dir.path());
    let folder_name = dir.path().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!((&dataset.name, dataset.form), (&folder_name, Form::Json));
    assert_eq!(dataset.why, "groundtruth.json is there");
    assert_eq!(setup_names(&dataset), ["official", "easy", "medium", "hard", "leave-one-out"]);
    assert_eq!(listed(&dataset), ["a", "b", "c", "d", "e/f.jpg"]);
    assert_eq!(asked(&dataset, "official"), [("a", vec!["a", "d"], vec!["b", "f"])]);
    assert_eq!(asked(&dataset, "hard"), [("a", vec![], vec!["b"])]);
    // The photo a is also asked by a box, and as a whole it is another query.
    let labels = [
        ("a (whole photo)", vec!["b", "d"], vec![]),
        ("b", vec!["a", "d"], vec![]),
        ("c", vec![], vec![]),
        ("d", vec!["a", "b"], vec![]),
    ];
    assert_eq!(asked(&dataset, "leave-one-out"), labels);
    has_rules(setup(&dataset, "leave-one-out"), OwnPhoto::Hidden, Absent::NoPositive);
    let whole = dataset.queries.iter().find(|query| query.name == "a (whole photo)").unwrap();
    assert_eq!((&*whole.photo.name, whole.bounding_box), ("a", None));
    let place = setup(&dataset, "official").asked[0].junk[1].place.to_string();
    assert!(place.ends_with("groundtruth.json: query 0, junk[1]"), "{place}");

    // Labels that are numbers, a query that is the labelled photo, and no list of images.
    let json = r#"{"label": {"x": 1, "y": 1}, "own": "hidden",
        "queries": [{"name": "x", "ok": ["y"]}]}"#;
    let dir = folder(&[("mine.json", json)]);
    let dataset = open(&dir.path().join("mine.json"));
    assert_eq!(dataset.name, "mine");
    assert!(matches!(&dataset.database, Database::Below(_)));
    has_rules(setup(&dataset, "official"), OwnPhoto::Hidden, Absent::NotFound);
    let labels = [("x", vec!["y"], vec![]), ("y", vec!["x"], vec![])];
    assert_eq!(asked(&dataset, "leave-one-out"), labels);
    assert_eq!(dataset.queries.len(), 2);
    // One query, two lists of positives.
    let json = r#"{"queries": [{"name": "q", "photo": "p", "ok": ["a"], "easy": ["a"]}]}"#;
    let dir = folder(&[("groundtruth.json", json)]);
    let dataset = open(dir.path());
    assert_eq!(setup_names(&dataset), ["official", "easy", "medium", "hard"]);
    assert_eq!((dataset.queries.len(), &*dataset.queries[0].photo.name), (1, "p"));
}

#[test]
fn bad_json() {
    for (json, expected) in [
        ("[]", "expected an object with the key"),
        ("{", "groundtruth.json: EOF while parsing"),
        ("{}", "expected queries (key \"queries\""),
        (r#"{"queries": []}"#, "expected queries in \"queries\", found an empty list"),
        (r#"{"queries": [{"name": "q", "good": [], "ok": "a"}]}"#, "line 1 column"),
        (
            r#"{"queries": [{"name": "q", "positives": []}]}"#,
            "queries[0]: query \"q\": expected lists \"good\" and \"ok\"",
        ),
        (
            r#"{"queries": [{"name": "q", "ok": ["a"]}, {"name": "q", "ok": ["b"]}]}"#,
            "queries[1]: two queries are named \"q\"; the first is at",
        ),
        (
            r#"{"queries": [{"name": "q", "ok": ["a"]}, {"name": "r", "ok": ["b", "b"]}]}"#,
            "query 1, ok[1]: query \"r\": photo \"b\" is twice in its lists, first at",
        ),
        (
            r#"{"images": ["a"], "queries": [{"name": "q", "ok": ["a", "b"]}]}"#,
            "query 0, ok[1]: photo \"b\" is not among the 1 photo that",
        ),
        (
            r#"{"images": ["a"], "label": {"a": 1, "b": 2}}"#,
            "label[1]: photo \"b\" is not among the 1 photo that",
        ),
        (r#"{"folder_label": {"a": "x", "a": "y"}}"#, "photo \"a\" has two labels, \"x\" and"),
        (r#"{"folder_label": {"a": ["x"]}}"#, "groundtruth.json: data did not match"),
        (r#"{"own": "gone", "label": {"a": 1}}"#, "unknown variant `gone`"),
        (r#"{"images": [], "imlist": [], "label": {"a": 1}}"#, "found both"),
    ] {
        let error = refused(folder(&[("groundtruth.json", json)]).path());
        assert!(error.contains(expected), "{error:?}, expected {expected:?}");
    }
}

/// By the list, and by the photos: 1003 has one photo only, 1004 lacks the one that asks.
#[test]
fn holidays() {
    let photos = ["100100.jpg", "100101.jpg", "100102.jpg", "100300.jpg", "100401.jpg"];
    let check = |dataset: &Dataset| {
        assert_eq!((dataset.name.as_str(), dataset.form), ("holidays", Form::Holidays));
        assert_eq!(listed(dataset), photos);
        let expected = [
            ("100100.jpg", vec!["100101.jpg", "100102.jpg"], vec![]),
            ("100300.jpg", vec![], vec![]),
        ];
        assert_eq!(asked(dataset, "official"), expected);
        has_rules(&dataset.setups[0], OwnPhoto::Hidden, Absent::NotFound);
    };
    let dir = folder(&[("holidays_images.dat", &photos.join("\n"))]);
    let dataset = open(dir.path());
    check(&dataset);
    assert_eq!(dataset.why, "holidays_images.dat is there");
    assert!(dataset.photos.is_empty() && dataset.rotations.is_empty());
    let place = dataset.queries[1].photo.place.to_string();
    assert!(place.ends_with("holidays_images.dat:4"), "{place}");

    let dir = folder(&photos.map(|photo| (photo, "")));
    put(dir.path(), "groundtruth.json", r#"{"label": {"100100": 1}}"#);
    put(dir.path(), "rotations.txt", "100100.jpg 90\n\n100102\t270\n");
    let dataset = open(dir.path());
    check(&dataset);
    assert_eq!(
        dataset.why,
        "all 5 photos have names of six digits, in 3 groups of a hundred numbers; \
         groundtruth.json is there too, which would be form json; the photos' names win"
    );
    assert_eq!(dataset.photos, [dir.path()]);
    let rotations: Vec<(&str, u16)> =
        dataset.rotations.iter().map(|(name, turn)| (name.as_str(), *turn)).collect();
    assert_eq!(rotations, [("100100.jpg", 90), ("100102", 270)]);
    assert_eq!(dataset.find_photos().unwrap().database.len(), 5);
    let own = Dataset::open(dir.path(), Some(Form::Json)).unwrap();
    assert_eq!((own.form, own.queries.len()), (Form::Json, 1));

    for (name, content, expected) in [
        ("rotations.txt", "100100.jpg 45", "rotations.txt:1: expected \"NAME DEGREES\""),
        (
            "rotations.txt",
            "100100.jpg 90\n100 1 02.jpg 90",
            "rotations.txt:2: photo \"100 1 02.jpg\" is not among the 5 photos",
        ),
        ("rotations.txt", "a 90\na 90", "rotations.txt:2: photo \"a\" is turned twice"),
        ("holidays_images.dat", "100100.jpg\nx.jpg", ".dat:2: expected a name of six digits"),
        ("holidays_images.dat", "\n", "expected names of photos, found an empty list"),
        ("holidays_images.dat", "100101.jpg", "expected photos whose numbers end in 00"),
        (
            "holidays_images.dat",
            "100100.jpg\n100101.jpg\n100101.jpg",
            ".dat:3: query \"100100.jpg\": photo \"100101.jpg\" is twice in its lists",
        ),
    ] {
        put(dir.path(), name, content);
        let error = refused(dir.path());
        assert!(error.contains(expected), "{error:?}, expected {expected:?}");
        put(dir.path(), "rotations.txt", "");
    }
}

#[test]
fn ukbench() {
    let photo = |number: u32| format!("ukbench{number:05}.jpg");
    for below in ["", "full/"] {
        let dir = tempdir().unwrap();
        for number in [4, 5, 6, 7, 8, 9, 10, 11] {
            put(dir.path(), &format!("{below}{}", photo(number)), "");
        }
        let dataset = open(dir.path());
        assert_eq!((dataset.name.as_str(), dataset.form), ("ukbench", Form::UkBench));
        assert_eq!(dataset.why, "8 of 8 photos are named ukbench00000.jpg and so on");
        assert_eq!(setup_names(&dataset), ["n-s"]);
        let lines = asked(&dataset, "n-s");
        assert_eq!(lines.len(), 8);
        let (query, positives, junk) = &lines[5];
        assert_eq!((*query, junk.len()), (photo(9).as_str(), 0));
        assert_eq!(*positives, [photo(8), photo(9), photo(10), photo(11)]);
        let setup = &dataset.setups[0];
        assert_eq!((setup.rules.headline, setup.own), (Measure::NScore, OwnPhoto::Ranked));
        assert_eq!(dataset.find_photos().unwrap().queries.len(), 8);

        fs::remove_file(dir.path().join(format!("{below}{}", photo(6)))).unwrap();
        let error = refused(dir.path());
        assert!(error.contains("object 1: expected 4 photos, numbers 4 to 7, found 3"), "{error}");
        put(dir.path(), &format!("{below}{}", photo(6)), "");
        put(dir.path(), &format!("{below}cover.jpg"), "");
        assert!(refused(dir.path()).contains("found \"cover.jpg\""));
    }
}

#[test]
fn copydays() {
    let dir = folder(&[
        ("original/200000.jpg", ""),
        ("original/200100.jpg", ""),
        ("strong/200001.jpg", ""),
        ("strong/200102.jpg", ""),
        ("strong/200103.jpg", ""),
        ("jpegqual/10/200100.jpg", ""),
        ("jpegqual/3/200000.jpg", ""),
        ("crops/50/200100.jpg", ""),
    ]);
    let dataset = open(dir.path());
    assert_eq!((dataset.name.as_str(), dataset.form), ("copydays", Form::Copydays));
    assert_eq!(dataset.why, "original/ is there, with strong/, jpegqual/, crops/");
    let blocks = ["original", "strong", "jpegqual/3", "jpegqual/10", "crops/50"];
    assert_eq!(setup_names(&dataset), blocks);
    assert_eq!(listed(&dataset), ["original/200000.jpg", "original/200100.jpg"]);
    let line = |query, positive| (query, vec![positive], vec![]);
    assert_eq!(
        asked(&dataset, "strong"),
        [
            line("strong/200001.jpg", "original/200000.jpg"),
            line("strong/200102.jpg", "original/200100.jpg"),
            line("strong/200103.jpg", "original/200100.jpg"),
        ]
    );
    let expected = [line("jpegqual/10/200100.jpg", "original/200100.jpg")];
    assert_eq!(asked(&dataset, "jpegqual/10"), expected);
    assert_eq!(asked(&dataset, "original")[0].0, "original/200000.jpg");
    has_rules(&dataset.setups[1], OwnPhoto::Ranked, Absent::NotFound);
    let found = dataset.find_photos().unwrap();
    assert_eq!((found.database.len(), found.queries.len()), (2, 8));
    assert_eq!(found.queries[2].as_ref().unwrap().path, dir.path().join("strong/200001.jpg"));

    put(dir.path(), "crops/50/200200.jpg", "");
    let error = refused(dir.path());
    assert!(
        error.contains("crops/50/200200.jpg: expected a photo that it is a copy of"),
        "{error}"
    );
    fs::remove_file(dir.path().join("crops/50/200200.jpg")).unwrap();
    fs::remove_file(dir.path().join("crops/50/200100.jpg")).unwrap();
    assert!(refused(dir.path()).contains("crops/50: expected photos, found none"));
}

#[test]
fn the_form_is_told_or_refused() {
    let dir = folder(&[("readme.txt", "")]);
    let error = refused(dir.path());
    for looked in ["found no data set; looked for", "*_query.txt", "gnd_*.pkl", "(disc21)"] {
        assert!(error.contains(looked), "{error}");
    }
    let error = refused(&dir.path().join("readme.txt"));
    assert!(error.contains("expected a directory, or a file .pkl"), "{error}");
    let missing = dir.path().join("nothing");
    assert!(matches!(Dataset::open(&missing, None), Err(Error::Index(_))));
    let wanted = Dataset::open(dir.path(), Some(Form::Copydays)).unwrap_err().to_string();
    assert!(wanted.contains("form copydays: expected original/ beside strong/"), "{wanted}");
    let file = dir.path().join("readme.txt");
    let wanted = Dataset::open(&file, Some(Form::Oxford)).unwrap_err().to_string();
    assert!(wanted.contains("form oxford: expected a directory"), "{wanted}");

    // Two official forms: both are named, and the flag decides.
    let dir = folder(&HALL);
    put(dir.path(), "gnd_roxford5k.json", ROXFORD);
    let error = refused(dir.path());
    let expected = "found several data sets: gt has 1 file *_query.txt, with photos named oxc1_… \
                    (form oxford), and gnd_roxford5k.json is there (form lists); choose with \
                    --protocol FORM";
    assert!(error.contains(expected), "{error}");
    let chosen = Dataset::open(dir.path(), Some(Form::Oxford)).unwrap();
    assert_eq!(chosen.form, Form::Oxford);
    // A file whose name says nothing.
    fs::rename(dir.path().join("gnd_roxford5k.json"), dir.path().join("other.dat")).unwrap();
    let chosen = Dataset::open(&dir.path().join("other.dat"), Some(Form::Lists)).unwrap();
    assert_eq!((chosen.name.as_str(), chosen.why.as_str()), ("other", "the form was given"));
    // Official files win over this project's own.
    put(dir.path(), "groundtruth.json", JSON);
    let dataset = open(dir.path());
    assert!(
        dataset.why.ends_with(
            "groundtruth.json is there too, which would be form json; official files win"
        )
    );
}

/// The forms whose readers are elsewhere.
#[test]
fn marks_of_the_other_forms() {
    for (file, content, form) in [
        ("gnd_instre.mat", "", Form::Instre),
        ("INSTRE-S1/a/1.jpg", "", Form::Instre),
        ("retrieval_solution_v2.1.csv", "id,images,Usage\n", Form::Gldv2),
        ("image_ids/image_query_ids.txt", "", Form::Ilias),
        ("public_ground_truth.csv", "query_id,reference_id\n", Form::Disc21),
        ("public_ground_truth.csv", "Q00000,\nQ00001,R000001\n", Form::Disc21),
        ("matches.csv", "query,positive\n", Form::Matches),
        ("matches.jsonl", "", Form::Matches),
    ] {
        let dir = folder(&[(file, content)]);
        let found = open::form_of(dir.path()).unwrap();
        assert_eq!(found, form, "{file}");
        if !file.contains('/') {
            assert_eq!(open::form_of(&dir.path().join(file)).unwrap(), form, "{file}");
        }
    }
    // A user's own list of photos whose names are as those of Holidays.
    let dir = folder(&[("100000.jpg", ""), ("100001.jpg", "")]);
    assert_eq!(open::form_of(dir.path()).unwrap(), Form::Holidays);
    put(dir.path(), "matches.csv", "");
    assert_eq!(open::form_of(dir.path()).unwrap(), Form::Matches);
    let dir = folder(&[("100001.jpg", ""), ("100002.jpg", "")]);
    assert!(open::form_of(dir.path()).is_err(), "no photo asks");
    let dir = folder(&[("a_ground_truth.csv", "query,positive\nQ1,R1\n")]);
    assert!(open::form_of(dir.path()).is_err());
    assert_eq!(open::form_of(&dir.path().join("a_ground_truth.csv")).unwrap(), Form::Matches);
}

#[test]
fn photo_files_are_listed_and_found() {
    let dir = folder(&[
        ("x/b.JPG", ""),
        ("x/a.tiff", ""),
        ("c.webp", ""),
        ("x/notes.txt", ""),
        (".hidden/d.jpg", ""),
        ("y/b.png", ""),
    ]);
    let photos = list_photos(&[dir.path().to_owned()]).unwrap();
    let keys: Vec<&str> = photos.iter().map(|photo| photo.key.as_str()).collect();
    assert_eq!(keys, ["c.webp", "x/a.tiff", "x/b.JPG", "y/b.png"]);
    assert_eq!(photos[2].path, dir.path().join("x/b.JPG"));
    let missing = list_photos(&[dir.path().join("z")]).unwrap_err().to_string();
    assert!(missing.contains("z: cannot read"), "{missing}");

    let json = |images: &str| format!(r#"{{"images": {images}, "label": {{"a": 1, "c": 1}}}}"#);
    let find = |images: &str| {
        put(dir.path(), "groundtruth.json", &json(images));
        open(dir.path()).find_photos()
    };
    let found = find(r#"["c", "a", "x/b"]"#).unwrap();
    let keys: Vec<&str> = found.database.iter().map(|photo| photo.key.as_str()).collect();
    assert_eq!(keys, ["c.webp", "x/a.tiff", "x/b.JPG"], "in the order of the list");
    assert_eq!(found.queries.len(), 2);
    let error = find(r#"["c", "a", "b"]"#).unwrap_err().to_string();
    assert!(error.contains("groundtruth.json: images[2]: \"b\" means two photos: "), "{error}");
    let names: Vec<String> = (0..8).map(|n| format!("\"m{n}\"")).collect();
    let error = find(&format!("[\"a\", \"c\", {}]", names.join(", "))).unwrap_err().to_string();
    assert!(error.contains("8 of 10 photos are missing: \"m0\" ("), "{error}");
    assert!(error.contains("images[6]) and 3 more; expected files"), "{error}");
    let end = format!(
        "among 4 photos below {}, such as \"c.webp\"; --missing count leaves the missing ones out",
        dir.path().display()
    );
    assert!(error.ends_with(&end), "{error}");

    let mut dataset = open(dir.path());
    dataset.database = Database::Below("x".to_owned());
    dataset.damaged = vec!["b.JPG".to_owned()];
    let keys: Vec<String> =
        dataset.find_photos().unwrap().database.into_iter().map(|photo| photo.key).collect();
    assert_eq!(keys, ["x/a.tiff"]);
    dataset.database = Database::Below("xx".to_owned());
    let error = dataset.find_photos().unwrap_err().to_string();
    assert!(error.contains("none of 4 photos is in the folder \"xx\""), "{error}");
    dataset.photos = Vec::<PathBuf>::new();
    let error = dataset.find_photos().unwrap_err().to_string();
    assert!(error.contains("no directory of photos is known"), "{error}");
}

/// A part of the photos can be taken: the missing ones of the database are named, and a query
/// without its photo has none.
#[test]
fn missing_photos_are_left_out_on_request() {
    let dir = folder(&[("photos/c.webp", ""), ("photos/a.jpg", "")]);
    let json = r#"{"images": ["m", "c", "a", "n"], "label": {"a": 1, "c": 1, "m": 2, "n": 2}}"#;
    put(dir.path(), "groundtruth.json", json);
    let dataset = open(dir.path());
    let found = dataset.find_present_photos().unwrap();
    let keys: Vec<&str> = found.database.iter().map(|photo| photo.key.as_str()).collect();
    assert_eq!((keys, names(&found.missing)), (vec!["c.webp", "a.jpg"], vec!["m", "n"]));
    assert_eq!(found.missing_queries(&dataset).len(), 2);
    let of = |name: &str| dataset.queries.iter().position(|q| &*q.photo.name == name).unwrap();
    assert_eq!(found.queries[of("a")].as_ref().map(|photo| photo.key.as_str()), Some("a.jpg"));
    assert_eq!(found.queries[of("m")], None);
    let error = dataset.find_photos().unwrap_err().to_string();
    assert!(error.contains("2 of 4 photos are missing: \"m\" ("), "{error}");
    let error = dataset.find_query_photos().unwrap_err().to_string();
    assert!(error.contains("2 of 4 photos are missing") && !error.contains("count"), "{error}");
    // Nothing that is searched is there.
    put(dir.path(), "groundtruth.json", r#"{"images": ["m", "n"], "label": {"m": 2, "n": 2}}"#);
    let error = open(dir.path()).find_present_photos().unwrap_err().to_string();
    assert!(error.contains("2 of 2 photos are missing"), "{error}");
}

/// A user's list whose names are no paths below the photos: the error says how they would be.
#[test]
fn names_in_another_spelling() {
    let dir = folder(&[("photos/x/a.jpg", ""), ("photos/x/b.jpg", ""), ("photos/c.jpg", "")]);
    let photos = dir.path().join("photos");
    let find = |list: &str, rule: NameRule| {
        put(dir.path(), "matches.csv", list);
        let mut dataset = open(dir.path());
        dataset.photos = vec![photos.clone()];
        dataset.set_name_rule(rule).and_then(|()| dataset.find_photos())
    };
    let error = |list: &str, rule| find(list, rule).unwrap_err().to_string();
    for (list, end) in [
        ("query,image\na.jpg,b.jpg\nb,a\n", "; --names path-end finds them"),
        ("query,image\n./x/a.jpg,./c.jpg\n", "; --names stem finds them"),
        ("query,image\n/photos/x/a.jpg,c.jpg\nz,c.jpg\n", "; --names stem finds 1 of them"),
        // One of them is there.
        (
            "query,image\nc.jpg,x/a.jpg\na.jpg,c.jpg\n",
            "; --names path-end finds them; --missing count leaves the missing ones out",
        ),
        ("query,image\nz,c.jpg\n", ", such as \"c.jpg\""),
    ] {
        let error = error(list, NameRule::Path);
        let among = format!("among 3 photos below {}, such as \"c.jpg\"", photos.display());
        assert!(error.contains(&among) && error.ends_with(end), "{list:?}: {error}");
    }
    // Two spellings of one photo.
    for rule in [NameRule::Stem, NameRule::PathEnd] {
        let found = error("query,image\nc.jpg,a.jpg\na.jpg,x/a.jpg\n", rule);
        let expected =
            "matches.csv:3: \"x/a.jpg\", which is query \"a.jpg\" in another spelling, is";
        assert!(found.contains(expected), "{found}");
        let found = error("query,image\nc.jpg,a.jpg\nc,b.jpg\n", rule);
        let expected = "matches.csv:3: query \"c\" is the photo of query \"c.jpg\" in another \
                        spelling; the first is at ";
        assert!(found.contains(expected) && found.ends_with("matches.csv:2"), "{found}");
    }
    assert_eq!(find("query,image\nc,a\na,b\n", NameRule::Stem).unwrap().queries.len(), 2);
}

/// Names of lists that mean no photo are mistyped: positives, junk, photos that are not relevant
/// and turned ones.
#[test]
fn names_that_mean_no_photo_are_told() {
    let dir = folder(&[("a.jpg", ""), ("b.jpg", ""), ("c.jpg", "")]);
    let list = "query,image,relevance\na.jpg,b.jpg,1\na.jpg,x.jpg,-1\na.jpg,y.jpg,0\n\
                a.jpg,c.jpg,0\na.jpg,w.jpg,1\n";
    put(dir.path(), "matches.csv", list);
    put(dir.path(), "rotations.txt", "b.jpg 90\nz.jpg 90\n");
    let dataset = open(dir.path());
    let error = dataset.find_photos().unwrap_err().to_string();
    let expected = "4 of 6 photos of the lists are missing: \"w.jpg\" (";
    assert!(error.contains(expected), "{error}");
    for place in
        ["matches.csv:6)", "matches.csv:3)", "\"y.jpg\" (", "matches.csv:4)", "rotations.txt:2)"]
    {
        assert!(error.contains(place), "{place}: {error}");
    }
    assert!(error.ends_with("--missing count leaves the missing ones out"), "{error}");
    let found = dataset.find_present_photos().unwrap();
    assert_eq!(names(&found.unknown), ["w.jpg", "x.jpg", "y.jpg", "z.jpg"]);
    assert_eq!((found.database.len(), found.missing.len()), (3, 0));
    assert_eq!(dataset.find_query_photos().unwrap().len(), 1);
}

#[test]
fn names_that_are_too_long_are_not_shown_whole() {
    let long = "n".repeat(5000);
    let dir = folder(&[("matches.csv", &format!("query,image\na,b\nc,{long}\n"))]);
    let error = refused(dir.path());
    let expected = "matches.csv:3: expected names of at most 4,096 bytes, found \"nnn";
    assert!(error.contains(expected) && error.len() < 1000, "{error}");
    put(dir.path(), "matches.csv", &format!("query,image\na,{long}\na,{long}\n"));
    let error = refused(dir.path());
    assert!(error.contains("(5,000 bytes) is there twice") && error.len() < 1000, "{error}");
    let list = format!(r#"{{"images": ["a", "{long}"], "label": {{"a": 1}}}}"#);
    let dir = folder(&[("groundtruth.json", &list)]);
    let error = refused(dir.path());
    assert!(error.contains("images[1]: expected names of at most 4,096 bytes"), "{error}");
}

/// Pickles of protocol 0 and 1 begin otherwise, and are no JSON.
#[test]
fn old_pickles_are_told() {
    for bytes in ["(dp0\nS'imlist'\np1\n", "}q\0(U\u{6}imlistq", "\u{1}"] {
        let dir = folder(&[("gnd_x.pkl", bytes)]);
        let error = refused(dir.path());
        let expected =
            "gnd_x.pkl: pickles of protocol 0 and 1 are not read; write it with protocol 2";
        assert!(error.contains(expected), "{error}");
    }
    let dir = folder(&[("gnd_x.pkl", ROXFORD)]);
    assert_eq!(open(dir.path()).queries.len(), 2, "JSON of another name");
}

/// A pipe would be waited for.
#[test]
fn pipes_are_refused() {
    let dir = folder(&[]);
    for name in ["matches.csv", "gnd_x.pkl", "gnd_x.json", "mine.json"] {
        let path = dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let error = refused(&path);
        assert!(error.contains("not a regular file"), "{name}: {error}");
    }
}

/// Several published files of one set are no question.
#[test]
fn one_of_several_published_files_is_taken() {
    let dir = folder(&[
        ("retrieval_solution_v2.0.csv", "broken"),
        ("retrieval_solution_v2.1.csv", "id,images,Usage\nq,a,Public\n"),
    ]);
    for form in [None, Some(Form::Gldv2)] {
        let dataset = Dataset::open(dir.path(), form).unwrap();
        let why = "retrieval_solution_v2.1.csv has the columns id and images, the last version; \
                   retrieval_solution_v2.0.csv is there too";
        assert_eq!((dataset.form, dataset.why.as_str()), (Form::Gldv2, why));
    }
    let pairs = "query_id,reference_id\nQ00001,R000007\n";
    let dir = folder(&[("final_ground_truth.csv", pairs), ("public_ground_truth.csv", pairs)]);
    let dataset = open(dir.path());
    let why = "public_ground_truth.csv has pairs of query and reference, the public development \
               set; final_ground_truth.csv is there too";
    assert_eq!((dataset.form, dataset.why.as_str()), (Form::Disc21, why));
    // No rule chooses between these.
    fs::rename(dir.path().join("public_ground_truth.csv"), dir.path().join("a_ground_truth.csv"))
        .unwrap();
    let error = refused(dir.path());
    assert!(error.contains("give the path of the one that is meant"), "{error}");
}

/// The real sets that are at hand: photos, queries, positives and junk of each setup, as Python
/// counts them in the files.
#[test]
fn sets_at_hand() {
    let test = "sets_at_hand";
    let Some(data) = ocelli_test_support::data(test, &["images/paris322"]) else { return };
    let images = data.join("images");
    let mut counts = Vec::new();
    for (name, form) in [
        ("gnd_oxford5k.json", None),
        ("gnd_paris6k.json", None),
        ("gnd_roxford5k.json", None),
        ("gnd_rparis6k.json", None),
        ("paris322", None),
        ("paris124", None),
        ("holidays", None),
        ("holidays", Some(Form::Json)),
        ("ukbench", None),
        ("ukbench", Some(Form::Json)),
    ] {
        let dataset = Dataset::open(&images.join(name), form).unwrap_or_else(|e| panic!("{e}"));
        for setup in &dataset.setups {
            let sum = |of: fn(&Asked) -> usize| setup.asked.iter().map(of).sum::<usize>();
            let images = listed(&dataset).len();
            counts.push(format!(
                "{} {} {} {images} {} {} {}",
                dataset.name,
                dataset.form,
                setup.name,
                setup.asked.len(),
                sum(|asked| asked.positives.len()),
                sum(|asked| asked.junk.len())
            ));
        }
    }
    let expected = [
        "oxford5k lists official 5063 55 2840 1495",
        "paris6k lists official 6392 55 8955 8245",
        "roxford5k lists easy 4993 70 3029 3853",
        "roxford5k lists medium 4993 70 5526 1356",
        "roxford5k lists hard 4993 70 2497 4385",
        "rparis6k lists easy 6322 70 6874 17503",
        "rparis6k lists medium 6322 70 17224 7153",
        "rparis6k lists hard 6322 70 10350 14027",
        "paris322 json official 322 14 674 158",
        "paris322 json easy 322 14 599 198",
        "paris322 json medium 322 14 786 11",
        "paris322 json hard 322 14 187 610",
        "paris322 json leave-one-out 322 322 20138 0",
        "paris124 json official 124 9 194 27",
        "paris124 json leave-one-out 124 124 3390 0",
        "holidays holidays official 402 147 243 0",
        "holidays json official 402 147 243 0",
        "ukbench ukbench n-s 500 500 2000 0",
        "ukbench json leave-one-out 500 500 1500 0",
    ];
    assert_eq!(counts, expected);
}

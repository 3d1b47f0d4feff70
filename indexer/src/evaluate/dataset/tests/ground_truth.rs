//! Files of ground truth: lists, pickles, JSON.

use super::*;

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

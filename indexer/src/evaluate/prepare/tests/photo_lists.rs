//! Photos of a set and of lists: rejected, missing, contradicting.

use super::*;

#[test]
fn rejected_photos_are_named() {
    let bench = Bench::new();
    for name in ["set/03.jpg", "other/07.jpg"] {
        fs::write(bench.path(name), format!("bad {name}")).unwrap();
    }
    let options = PrepareOptions {
        distractors: vec![bench.path("other")],
        learn_from: vec![bench.path("other")],
        ..bench.options()
    };
    let expected = [("photos", "03.jpg", "set/03.jpg"), ("more-1", "other/07.jpg", "other/07.jpg")];
    // From the encoder, and from what was kept.
    for _ in 0..2 {
        let prepared = bench.run(&set(&bench, None), &options).1.unwrap();
        let found: HashMap<&str, &RejectedPhoto> =
            prepared.rejected.iter().map(|photo| (photo.list.as_str(), photo)).collect();
        assert_eq!(prepared.rejected.len(), 2, "{found:?}");
        for (list, key, path) in expected {
            let photo = found[list];
            assert_eq!(photo.key.as_deref(), Some(key));
            let real = |path: &Path| fs::canonicalize(path).unwrap();
            assert_eq!(real(photo.path.as_ref().unwrap()), real(&bench.path(path)));
            assert_eq!(photo.reason, "not an image");
        }
    }
}

#[test]
fn list_files_are_taken_as_the_encoder_takes_them() {
    let bench = Bench::new();
    let list = bench.path("more.jsonl");
    let line =
        r#"{"path": "other/02.jpg", "key": "two", "id": 7, "box": [0, 0, 5, 5], "rotate": 180}"#;
    fs::write(&list, format!("./other/01.jpg\n\n{line}\n")).unwrap();
    let options = PrepareOptions { distractors: vec![list.clone()], ..bench.options() };
    let data = set(&bench, None);
    bench.run(&data, &options).1.unwrap();
    let listed = lines(&bench.path("work/more-1.jsonl"));
    assert_eq!(listed[0]["key"], "other/01.jpg");
    assert_eq!(listed[1]["box"], json!([0.0, 0.0, 5.0, 5.0]));
    assert_eq!((&listed[1]["key"], &listed[1]["rotate"]), (&json!("two"), &json!(180)));
    assert_eq!(listed[1].get("id"), None);
    for (text, expected) in [
        ("{\"path\": 3}", "line 1: invalid type"),
        ("ok.jpg\n{\"way\": \"a\"}", "line 2: unknown field `way`"),
        ("\n", "expected photos, found none"),
        // The database has a photo of this key.
        ("{\"path\": \"other/01.jpg\", \"key\": \"03.jpg\"}", "key \"03.jpg\" is twice"),
    ] {
        fs::write(&list, text).unwrap();
        let error = bench.error(&data, &options);
        assert!(error.contains(expected), "{error}");
    }
    fs::write(&list, b"\xff\xfe").unwrap();
    let error = bench.error(&data, &options);
    assert!(error.contains("more.jsonl") && error.contains("a list of them"), "{error}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let bench = Bench::new();
    let data = set(&bench, None);
    let options = bench.options();
    let with_flag = |flag: &str| {
        let mut options = options.clone();
        options.encoder_flags.push(flag.into());
        options
    };
    let learn_from = vec![bench.path("other")];
    let whiten = Whiten::With(WhitenOptions::default());
    for (options, expected) in [
        (with_flag("--out=x"), "--out=x: expected flags that say which network"),
        (with_flag("--part-images"), "--part-images: expected flags"),
        (PrepareOptions { whiten, ..with_flag("--whitening=w") }, "name a whitening"),
        (PrepareOptions { whiten, ..options.clone() }, "found none (--learn-from"),
        (PrepareOptions { learn_from, whiten: Whiten::No, ..options.clone() }, "nothing to learn"),
        (PrepareOptions { dba: 5, ..options.clone() }, "expected code bytes"),
        (PrepareOptions { learn_from: vec![bench.path("none")], ..options.clone() }, "none"),
        (PrepareOptions { work: bench.path("set"), ..options.clone() }, "found one with 0"),
    ] {
        let error = bench.error(&data, &options);
        assert!(error.contains(expected), "{error}");
    }
    let mut unknown = data.clone();
    unknown.queries[1].photo = named("99");
    let error = bench.error(&unknown, &options);
    assert!(error.contains("gt/list.txt:3") && error.contains("\"99\""), "{error}");
}

/// With a part of the photos, what is missing is named: 02 and 03 of the database, and the photo of
/// the query with a box, which is no photo of the database.
#[test]
fn missing_photos_are_named_and_left_out() {
    let bench = Bench::new();
    let mut data = set(&bench, Some(BOX));
    data.queries[1].photo = named("99");
    for photo in ["set/02.jpg", "set/03.jpg"] {
        fs::remove_file(bench.path(photo)).unwrap();
    }
    let options = bench.options();
    let error = bench.error(&data, &options);
    assert!(error.contains("2 of 6 photos are missing: \"02\" (gt/list.txt:3)"), "{error}");
    assert!(error.contains("--missing count"), "{error}");
    let options = PrepareOptions { missing: Missing::Count, ..options };
    let prepared = bench.run(&data, &options).1.unwrap();
    assert_eq!(
        (prepared.missing, prepared.missing_queries),
        (vec!["02".to_owned(), "03".to_owned()], vec!["boxed".to_owned()],)
    );
    assert_eq!((prepared.queries, prepared.rejected), (None, Vec::new()));
    let part = Part::open(&prepared.descriptors[0]).unwrap();
    assert_eq!(part.keys().unwrap(), ["00.jpg", "01.jpg", "04.jpg", "05.jpg"]);
}

/// Databases that are folders, less what is published as damaged.
#[test]
fn a_folder_is_a_database() {
    let bench = Bench::new();
    let mut data = set(&bench, None);
    data.photos = vec![bench.folder.path().to_owned()];
    data.queries.truncate(1);
    data.queries[0].photo = named("set/00.jpg");
    data.rotations.clear();
    data.database = Database::Below("set/".to_owned());
    data.damaged = vec!["set/02".to_owned()];
    bench.run(&data, &bench.options()).1.unwrap();
    let keys: Vec<Value> =
        lines(&bench.path("work/photos.jsonl")).into_iter().map(|l| l["key"].clone()).collect();
    assert_eq!(keys, ["set/00.jpg", "set/01.jpg", "set/03.jpg", "set/04.jpg", "set/05.jpg"]);
}

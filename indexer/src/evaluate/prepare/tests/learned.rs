//! Learning from other photos, and distractors.

use super::*;

#[test]
fn a_whitening_and_codes_are_learned_from_other_photos() {
    let bench = Bench::new();
    let data = set(&bench, Some(BOX));
    let options = PrepareOptions {
        learn_from: vec![bench.path("other")],
        train: Some(small_codes()),
        ..bench.options()
    };
    let (calls, prepared) = bench.run(&data, &options);
    let prepared = prepared.unwrap();
    let weights = bench.arg("net.safetensors");
    let [list, whitening, regions, whitened] =
        ["learn-1.jsonl", "learned.whitening", "learn-1.regions.part", "learn-1.whitened.part"]
            .map(|name| bench.work(name));
    let flags = ["--weights", &weights, "--sizes=448"];
    let mut expected = [
        [&["--list", &list, "--include", "*"][..], &flags, &["--output", "regions"]].concat(),
        vec!["--regions", &regions, "--output", "regions", "--whitening", &whitening],
    ];
    expected[0].extend(["--out", &regions]);
    expected[1].extend(["--out", &whitened]);
    assert_eq!(calls[..2], expected[..]);
    assert_eq!(calls.len(), 4);
    for (call, name) in calls[2..].iter().zip(["photos", "queries"]) {
        let (list, out) = (bench.work(&format!("{name}.jsonl")), format!("{name}.part"));
        let more = ["--whitening", &whitening, "--out", &bench.work(&out)];
        assert_eq!(*call, [&["--list", &list, "--include", "*"][..], &flags, &more].concat());
    }
    let keys: Vec<Value> =
        lines(Path::new(&list)).into_iter().map(|line| line["key"].clone()).collect();
    assert_eq!((keys.len(), &keys[0]), (20, &json!("other/00.jpg")));
    assert_eq!(prepared.whitening, Some(PathBuf::from(&whitening)));
    assert_eq!(prepared.learn, [PathBuf::from(&regions)]);
    let index = prepared.index.clone().unwrap();
    assert_eq!(Snapshot::open(&index, None).unwrap().rows(), 6);
    let all = [
        "photos to learn from against judged ones",
        "region vectors of 20 photos (learn-1)",
        "whitening",
        "whitened region vectors (learn-1)",
        "model",
        "descriptors of 6 photos (photos)",
        "descriptors of 1 photos (queries)",
        "index",
    ];
    assert_eq!(steps(&prepared), all.map(|what| (what, false)));
    let part = prepared.descriptors[0].clone();
    drop(prepared);

    let (_, again) = bench.run(&data, &options);
    assert_eq!(steps(&again.unwrap()), all.map(|what| (what, true)));
    // Other codes of the same descriptors.
    let longer = TrainOptions { m: 4, ..small_codes() };
    let (calls, other) =
        bench.run(&data, &PrepareOptions { train: Some(longer), ..options.clone() });
    let changed = ["model", "index"];
    assert_eq!(calls.len(), 0);
    assert_eq!(steps(&other.unwrap()), all.map(|what| (what, !changed.contains(&what))));
    // Another whitening changes everything but the region vectors.
    let covariance = WhitenCovariance::All;
    let whiten = WhitenOptions { dim: Some(4), covariance, ..WhitenOptions::default() };
    let fewer = PrepareOptions { whiten: Whiten::With(whiten), ..options.clone() };
    let (_, other) = bench.run(&data, &fewer);
    assert_eq!(steps(&other.unwrap()), all.map(|what| (what, all[..2].contains(&what))));
    assert_eq!(Part::open(&part).unwrap().dim(), 4);
    assert_eq!(Snapshot::open(&index, None).unwrap().rows(), 6);
}

/// Distractors that are learned from pass the network once.
#[test]
fn distractors_may_be_learned_from() {
    let bench = Bench::new();
    let options = PrepareOptions {
        distractors: vec![bench.path("other")],
        learn_from: vec![bench.path("set/../other")],
        ..bench.options()
    };
    let (calls, prepared) = bench.run(&set(&bench, None), &options);
    let prepared = prepared.unwrap();
    let inputs: Vec<[&str; 2]> = calls.iter().map(|c| [c[0].as_str(), c[1].as_str()]).collect();
    let work = |name: &str| bench.work(name);
    assert_eq!(
        inputs,
        [
            ["--list", &work("more-1.jsonl")],
            ["--list", &work("photos.jsonl")],
            ["--regions", &work("more-1.regions.part")]
        ]
    );
    let parts: Vec<Part> = prepared.descriptors.iter().map(|p| Part::open(p).unwrap()).collect();
    assert_eq!((parts[0].images(), parts[1].images()), (6, 20));
    assert_eq!(parts[1].key(3).unwrap(), "other/03.jpg");
}

#[test]
fn judged_photos_are_not_learned_from() {
    let bench = Bench::new();
    let data = set(&bench, Some(BOX));
    let options = PrepareOptions { learn_from: vec![bench.path("other")], ..bench.options() };
    let forced = |o: &PrepareOptions| PrepareOptions { force: true, ..o.clone() };

    // Equal in size to others, equal in content to one.
    fs::copy(bench.path("set/02.jpg"), bench.path("other/zz-copy.jpg")).unwrap();
    let error = bench.error(&data, &options);
    let (copy, judged) = (bench.arg("other/zz-copy.jpg"), bench.arg("set/02.jpg"));
    let expected = format!("{copy}: a photo to learn from that is judged too: the same content as");
    assert!(error.contains(&expected) && error.contains(&judged), "{error}");
    assert!(error.contains("1 of 21 photos") && error.contains("--force"), "{error}");
    bench.run(&data, &forced(&options)).1.unwrap();

    // Files without bytes are equal, and no photos.
    for name in ["set/05.jpg", "other/zz-copy.jpg"] {
        fs::write(bench.path(name), "").unwrap();
    }
    bench.run(&data, &options).1.unwrap();
    fs::write(bench.path("set/05.jpg"), "set 05").unwrap();

    // The photo of a query that the database lacks, by a link.
    fs::remove_file(bench.path("other/zz-copy.jpg")).unwrap();
    let mut outside = data.clone();
    outside.database = Database::Listed((2..6).map(|i| named(&format!("{i:02}"))).collect());
    symlink(bench.path("set/00.jpg"), bench.path("other/link.jpg")).unwrap();
    let error = bench.error(&outside, &options);
    assert!(error.contains("link.jpg") && error.contains("the same file as"), "{error}");
    assert!(error.contains(&bench.arg("set/00.jpg")), "{error}");
    fs::remove_file(bench.path("other/link.jpg")).unwrap();
    bench.run(&outside, &options).1.unwrap();

    // No other photos at all: the judged ones, if forced.
    let codes = PrepareOptions { train: Some(small_codes()), ..bench.options() };
    let error = bench.error(&data, &codes);
    assert!(error.contains("--learn-from") && error.contains("--force"), "{error}");
    let (calls, prepared) = bench.run(&data, &forced(&codes));
    assert!(prepared.unwrap().index.is_some());
    assert_eq!(calls[0][1], bench.work("photos.jsonl"));
    let network: Vec<&str> =
        calls.iter().filter(|c| c[0] == "--list").map(|c| c[1].as_str()).collect();
    assert_eq!(network, [bench.work("photos.jsonl"), bench.work("queries.jsonl")]);
}

#[test]
fn distractors_are_not_judged() {
    let bench = Bench::new();
    let mut data = set(&bench, Some(BOX));
    // The photo of the query with a box is in the database no more.
    data.database = Database::Listed([0, 2, 3, 4, 5].map(|i| named(&format!("{i:02}"))).into());
    data.rotations.clear();
    let distractors = vec![bench.path("other")];
    let options = PrepareOptions { distractors, force: true, ..bench.options() };
    fs::copy(bench.path("set/01.jpg"), bench.path("other/zz.jpg")).unwrap();
    symlink(bench.path("set/02.jpg"), bench.path("other/a-link.jpg")).unwrap();
    for (met, judged, how, numbers) in [
        ("other/a-link.jpg", "set/02.jpg", "the same file", "2 of 22 distractors"),
        ("other/zz.jpg", "set/01.jpg", "the same content", "1 of 21 distractors"),
    ] {
        let error = bench.error(&data, &options);
        let [path, of] = [met, judged].map(|name| bench.arg(name));
        let expected = format!("{path}: a distractor that is a photo of the data set: {how} as");
        assert!(error.contains(&expected) && error.contains(&of), "{error}");
        assert!(error.contains(numbers) && !error.contains("--force"), "{error}");
        fs::remove_file(bench.path(met)).unwrap();
    }
    bench.run(&data, &options).1.unwrap();

    // A listed file that is not there is the encoder's to reject.
    let list = bench.path("more.txt");
    fs::write(&list, "other/01.jpg\nother/none.jpg\n").unwrap();
    let unused = |_: &[OsString]| Err("the encoder was asked".into());
    let options = PrepareOptions { distractors: vec![list], ..bench.options() };
    let other = PrepareOptions { work: bench.path("other-work"), ..options };
    let error = prepare(&data, &other, &unused, &no_opq, &silent).unwrap_err().to_string();
    assert_eq!(error, "the encoder was asked");
}

//! Sets that are told by the names of their photos, and finding photos.

use super::*;

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

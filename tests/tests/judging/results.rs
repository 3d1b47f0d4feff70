//! Files that are written, and the way from photos to figures.

use super::*;

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

/// Copies of photos are judged by the truth that was written with them: a perfect ranking and one
/// with a wrong photo before all copies. The query's own photo does not count, at whatever rank.
#[test]
fn copies_of_photos() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let photos = LandmarkOptions {
        landmarks: 0,
        views_per_landmark: 0,
        distractors: 3,
        queries_per_landmark: 0,
        seed: 3,
        longest_side: 96,
        threads: 2,
    };
    generate(&dir.path().join("made"), &photos).unwrap();
    let (set, photos) = (path("set"), path("made/photos"));
    let flags = ["--originals", "2", "--smallest", "48"];
    let args = ["copies", "--photos", &photos, "--out", &set];
    succeed("ocelli-bench-data", args.iter().chain(&flags));
    let truth = fs::read_to_string(dir.path().join("set/groundtruth.json")).unwrap();
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let mut rankings = "query,image,rank\n".to_owned();
    for (number, query) in truth["queries"].as_array().unwrap().iter().enumerate() {
        let name = query["name"].as_str().unwrap();
        let copies = query["ok"].as_array().unwrap().iter().map(|copy| copy.as_str().unwrap());
        assert_eq!(copies.clone().count(), 10);
        // The second query meets a copy of the first one's photo before its own.
        let wrong = truth["queries"][0]["ok"][0].as_str().unwrap();
        let before = [name, wrong].into_iter().take(1 + number);
        for (rank, image) in before.chain(copies).enumerate() {
            rankings += &format!("{name},{image},{}\n", rank + 1);
        }
    }
    fs::write(dir.path().join("rankings.csv"), rankings).unwrap();
    let truth = path("set/groundtruth.json");
    let judge = |rankings: &str| {
        let rankings = path(rankings);
        let judge = ["eval", "retrieval", &truth, "--setup", "official", "--rankings", &rankings];
        json("ocelli", judge.iter().chain(&["--format", "json"]))
    };
    // Ten positives behind one wrong photo, by trapezoids.
    let behind = (1..=10).map(f64::from).map(|j| ((j - 1.0) / j + j / (j + 1.0)) / 20.0);
    let expected = (1.0 + behind.sum::<f64>()) / 2.0;
    let map = judge("rankings.csv")["setups"][0]["map"].as_f64().unwrap();
    assert!((map - expected).abs() < 1e-9, "{map}, expected {expected}");

    // The hash is judged alike.
    let (list, csv) = (path("photos.jsonl"), path("phash.csv"));
    let (root, photos) = (path("set"), path("set/photos"));
    let listed = ["list", "--root", &root, "--photos", &photos, "--out", &list];
    succeed("ocelli-bench-data", listed);
    let queries = path("queries.jsonl");
    let asked = ["eval", "queries", &truth, "--photos", &photos, "--out", &queries];
    succeed("ocelli", asked);
    let hash = ["phash", "--list", &list, "--queries", &queries, "--out", &csv];
    succeed("ocelli-bench-data", hash);
    let report = judge("phash.csv");
    assert_eq!(report["setups"][0]["queries"].as_array().unwrap().len(), 2, "{report}");
}

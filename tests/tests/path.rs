//! Photos in, answers out: every command, over real servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::collection::{DIM, collection};
use ocelli_tests::{Server, json, succeed};

/// A photo of the collection finds itself, by image, by id, by key, and by its own descriptor; all
/// of them answer alike.
#[test]
fn a_photo_finds_itself_whatever_the_question() {
    let c = collection();
    let encoder = c.encoder();
    let searcher = c.searcher(Some(&encoder));
    let mut names: Vec<String> = fs::read_dir(c.path("set/photos"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.starts_with("zz-"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 40);
    for name in [&names[0], &names[17], &names[39]] {
        let image =
            c.ask(&searcher, &["--image", &c.arg(&format!("set/photos/{name}")), "-k", "5"]);
        assert_eq!(image["hits"][0]["key"], **name, "{image}");
        assert_eq!(image["hits"].as_array().unwrap().len(), 5);
        let times = &image["times_us"];
        assert!(
            times["encode"].as_u64() > Some(0)
                && times["total"].as_u64() >= times["encode"].as_u64(),
            "{times}"
        );

        let id = image["hits"][0]["id"].to_string();
        let by_id = c.ask(&searcher, &["--id", &id, "-k", "5"]);
        let by_key = c.ask(&searcher, &["--key", name, "-k", "5"]);
        assert_eq!(by_id["hits"], by_key["hits"]);
        assert_eq!(by_id["hits"][0]["key"], **name, "its own code is the nearest");
    }
    assert!(searcher.terminate(), "SIGTERM ends the searcher with exit code 0");
    assert!(encoder.terminate(), "SIGTERM ends the encoder with exit code 0");
}

/// The exact descriptor, given as a vector, gives the same answer as its image, since both ran
/// through the same network: the encoder service and the encode job agree.
#[test]
fn service_and_job_make_the_same_descriptor() {
    let c = collection();
    let encoder = c.encoder();
    let searcher = c.searcher(Some(&encoder));
    let part = ocelli_index::Part::open(&c.path("photos.part")).unwrap();
    let key = part.key(7).unwrap();
    let vector = part.read(7..8).unwrap();
    assert_eq!(vector.len(), DIM);
    let file = c.path("vector.json");
    fs::write(&file, serde_json::to_string(&vector).unwrap()).unwrap();
    let by_vector = c.ask(&searcher, &["--vector", file.to_str().unwrap(), "-k", "40"]);
    let by_image = c.ask(&searcher, &["--image", &c.arg(&format!("set/photos/{key}")), "-k", "40"]);
    let (a, b) = (by_vector["hits"].as_array().unwrap(), by_image["hits"].as_array().unwrap());
    assert_eq!((a.len(), b.len()), (40, 40));
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a["key"], b["key"]);
        assert!(
            (a["score"].as_f64().unwrap() - b["score"].as_f64().unwrap()).abs() < 1e-4,
            "{a} {b}"
        );
    }
}

#[test]
fn every_file_can_be_inspected_and_proven() {
    let c = collection();
    for name in ["regions.part", "photos.part", "w.whitening", "a.model", "index"] {
        let seen = json("ocelli", ["inspect", &c.arg(name), "--verify", "--format", "json"]);
        assert!(seen.is_object(), "{name}");
        assert!(!succeed("ocelli", ["inspect", &c.arg(name)]).is_empty());
    }
    let shard = fs::read_dir(c.path("index/shards")).unwrap().next().unwrap().unwrap().path();
    let seen = json("ocelli", ["inspect", shard.to_str().unwrap(), "--format", "json"]);
    assert_eq!(seen["meta"]["m"], 8, "{seen}");
    assert_eq!(c.build["shards"], 2);
    assert_eq!(c.build["rows"], 40);
}

/// Ground truth, queries, descriptors and index meet in the judge. With an untrained network on
/// tiny photos the figures mean little; that every query found its own photo (which the official
/// protocol leaves in) sets their floor, and codes cannot be far from the descriptors that they
/// stand for.
#[test]
fn the_judge_ranks_descriptors_and_index() {
    let c = collection();
    let truth = c.arg("set/groundtruth.json");
    let judge = |more: &[&str]| {
        let fixed = ["eval", "retrieval", &truth, "--format", "json"];
        json("ocelli", fixed.iter().chain(more))["setups"][0].clone()
    };
    let alone = judge(&["--descriptors", &c.arg("photos.part"), "--setup", "leave-one-out"]);
    assert_eq!((alone["queries"].as_array().unwrap().len(), &alone["images"]), (20, &40.into()));
    let map = alone["map"].as_f64().unwrap();
    assert!(map > 0.0 && map < 1.0, "{map}");

    let list = c.arg("queries.jsonl");
    let photos = c.arg("set/photos");
    succeed("ocelli", ["eval", "queries", &truth, "--photos", &photos, "--out", &list]);
    let mut encode = vec!["encode".to_owned(), "--list".into(), list];
    encode.extend(c.network());
    encode.extend([
        "--whitening".into(),
        c.arg("w.whitening"),
        "--out".into(),
        c.arg("queries.part"),
    ]);
    succeed("ocelli", encode);
    let queries = c.arg("queries.part");
    let exact = judge(&[
        "--setup",
        "official",
        "--queries",
        &queries,
        "--descriptors",
        &c.arg("photos.part"),
    ])["map"]
        .as_f64()
        .unwrap();
    let index = judge(&["--setup", "official", "--queries", &queries, "--index", &c.arg("index")])
        ["map"]
        .as_f64()
        .unwrap();
    assert!(exact > 0.3 && exact <= 1.0, "{exact}");
    assert!((exact - index).abs() < 0.2, "{exact} {index}");
}

/// The bytes of a shard's sections by name, but for the facts that name the parts it was built of.
fn sections(shard: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(shard).unwrap();
    let seen = json("ocelli", ["inspect", shard.to_str().unwrap(), "--format", "json"]);
    let sections =
        seen["file"]["sections"].as_array().unwrap().iter().filter(|s| s["name"] != "meta");
    let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
    sections
        .map(|section| {
            let (from, length) = (number(&section["offset"]), number(&section["bytes"]));
            let name = section["name"].as_str().unwrap().to_owned();
            (name, bytes[from..from + length].to_vec())
        })
        .collect()
}

/// Codes straight from the photos, and descriptors first, then codes: the same sections byte for
/// byte, so the same answers, which are asked for too.
#[test]
fn codes_from_photos_are_those_of_their_descriptors() {
    let c = collection();
    let mut network = c.network();
    network.extend(["--whitening".into(), c.arg("w.whitening")]);
    let mut shards = Vec::new();
    for (name, more) in [("two-steps", vec![]), ("codes", vec!["--output", "codes"])] {
        let part = c.arg(&format!("{name}.part"));
        let mut encode =
            vec!["encode".to_owned(), c.arg("set/photos"), "--out".into(), part.clone()];
        encode.extend(network.iter().cloned());
        encode.extend(more.iter().map(|&flag| flag.to_owned()));
        if !more.is_empty() {
            encode.extend(["--model".into(), c.arg("a.model")]);
        }
        encode.extend(["--format".into(), "json".into()]);
        let summary = json("ocelli", encode);
        assert_eq!((&summary["images"], &summary["rejected"]), (&40.into(), &2.into()));
        let index = c.arg(&format!("index-{name}"));
        succeed(
            "ocelli",
            ["build", &part, "--model", &c.arg("a.model"), "--shards", "2", "--out", &index],
        );
        let folder = c.path(&format!("index-{name}/shards"));
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        shards.push(files.iter().map(|path| sections(path)).collect::<Vec<_>>());
    }
    assert_eq!(shards[0].len(), 2);
    assert!(shards[0].iter().all(|sections| sections.contains_key("codes")));
    assert!(shards[0] == shards[1], "the shards differ");
    let encoder = c.encoder();
    let indexes =
        ["two-steps", "codes"].map(|name| format!("{name}={}", c.arg(&format!("index-{name}"))));
    let searcher = Server::start(
        "ocelli",
        ["serve", "--index", &indexes[0], "--index", &indexes[1], "--encoder", &encoder.url],
    );
    let photo =
        fs::read_dir(c.path("set/photos")).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    let [two_steps, codes] = ["two-steps", "codes"].map(|index| {
        c.ask(&searcher, &["--index", index, "--image", photo.to_str().unwrap(), "-k", "40"])
    });
    assert_eq!(two_steps["hits"].as_array().unwrap().len(), 40);
    assert_eq!(two_steps["hits"], codes["hits"]);
}

//! One pack in place of weights, settings, whitening and model.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use ocelli_index::{DescriptorSpec, Hash, Part};
use ocelli_tests::{Server, fail, json, succeed};
use serde_json::Value;
use tempfile::TempDir;

use crate::collection::{SIZE, collection};

/// Packs of the collection's network.
struct Packs {
    dir: TempDir,
    card: Value,
}

impl Packs {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// Codes of 8 bytes behind the collection's whitening, and of 4 bytes behind one to 16 dimensions.
fn packs() -> &'static Packs {
    static PACKS: OnceLock<Packs> = OnceLock::new();
    PACKS.get_or_init(|| {
        let c = collection();
        let mut packs = Packs { dir: tempfile::tempdir().unwrap(), card: Value::Null };
        let (whitening, train, model) =
            (packs.arg("16.whitening"), packs.arg("16.part"), packs.arg("4.model"));
        let regions = c.arg("regions.part");
        let learn = ["whiten", &regions, "--covariance", "all", "--dim", "16"];
        succeed("ocelli", learn.into_iter().chain(["--out", &whitening]));
        let encode = ["encode", "--regions", &regions, "--whitening", &whitening];
        let regions = ["--output", "regions", "--out", &train];
        succeed("ocelli", encode.into_iter().chain(regions));
        let options = ["--nlist", "4", "--m", "4", "--force", "--out", &model];
        succeed("ocelli", ["train", &train].into_iter().chain(options));
        let (net, card, out) =
            (c.arg("net.safetensors"), packs.arg("card.json"), packs.arg("small.pack"));
        fs::write(&card, r#"{"trained_on": [{"what": "walls", "photos": 40, "licence": "CC0"}]}"#)
            .unwrap();
        let (eight, w) = (c.arg("a.model"), c.arg("w.whitening"));
        let pairs = ["--whitening", &w, "--model", &eight, "--whitening", &whitening, "--model"];
        let model_arg = model.as_str();
        let create = |more: &[&str]| {
            let fixed = ["pack", "create", "--card", &card, "--format", "json"];
            let words = fixed.iter().chain(&pairs).chain(std::iter::once(&model_arg)).chain(more);
            json("ocelli", words)
        };
        packs.card = create(&["--weights", &net, "--out", &out]);
        let whole = packs.arg("whole.pack");
        create(&["--weights", &net, "--with-weights", "--out", &whole]);
        packs
    })
}

#[test]
fn a_pack_says_what_is_in_it() {
    let (c, p) = (collection(), packs());
    let card = &p.card["card"];
    assert_eq!(card["name"], "small");
    assert_eq!((&card["network"]["name"], &card["default_code_bytes"]), (&"net".into(), &8.into()));
    let sizes = |field: &str| -> Vec<u64> {
        let variants = card["variants"].as_array().unwrap();
        variants.iter().map(|v| v[field].as_u64().unwrap()).collect()
    };
    assert_eq!((sizes("code_bytes"), sizes("dim")), (vec![4, 8], vec![16, 32]));
    for (name, has_weights) in [("small.pack", false), ("whole.pack", true)] {
        let pack = p.arg(name);
        for command in [&["pack", "inspect"][..], &["inspect"]] {
            let more = ["--verify", "--format", "json", pack.as_str()];
            let seen = json("ocelli", command.iter().chain(&more));
            assert_eq!((&seen["kind"], &seen["verified"]), (&"pack".into(), &true.into()));
            assert_eq!(seen["card"]["trained_on"][0]["licence"], "CC0");
            assert_eq!(seen["has_weights"], has_weights);
            let hash = Hash::of(&fs::read(&pack).unwrap()).to_string();
            assert_eq!(seen["hash"], hash);
        }
        assert!(succeed("ocelli", ["pack", "inspect", &pack]).contains("code bytes"));
    }
    // Pieces that do not fit each other are refused, with the fields.
    let (whitening, model) = (p.arg("16.whitening"), c.arg("a.model"));
    let crossed = ["pack", "create", "--whitening", &whitening, "--model", &model, "--out"];
    let error = fail("ocelli", 1, crossed.iter().chain([&p.arg("x.pack").as_str()]));
    assert!(error.contains("dim: expected 16, found 32") && error.contains("whitening"), "{error}");
    // The whitening is no pack.
    let error = fail("ocelli", 1, ["pack", "inspect", &whitening]);
    assert!(error.contains("this is a whitening, expected a pack"), "{error}");
}

/// Photos, their codes and a query of another image, without a flag of the network: as with every
/// flag spelled out.
#[test]
fn a_pack_is_all_that_is_said() {
    let (c, p) = (collection(), packs());
    let (pack, photos) = (p.arg("whole.pack"), c.arg("set/photos"));
    let part = p.arg("photos.part");
    succeed("ocelli", ["encode", &photos, "--pack", &pack, "--out", &part]);
    let (ours, theirs) =
        (Part::open(&p.path("photos.part")).unwrap(), Part::open(&c.path("photos.part")).unwrap());
    assert_eq!(ours.spec(), theirs.spec());
    assert_eq!(ours.read(0..40).unwrap(), theirs.read(0..40).unwrap());

    let codes = p.arg("codes.part");
    let encode = ["encode", &photos, "--pack", &pack, "--output", "codes", "--out", &codes];
    succeed("ocelli", encode);
    for (part, index) in [(&part, "index"), (&codes, "index-codes")] {
        let index = p.arg(index);
        let report =
            json("ocelli", ["build", part, "--pack", &pack, "--out", &index, "--format", "json"]);
        assert_eq!((&report["rows"], &report["code_bytes"]), (&40.into(), &8.into()));
        // The index says which pack made it.
        assert_eq!(json("ocelli", ["inspect", &index, "--format", "json"])["pack"], "whole");
    }
    // Without an encoder: the query is encoded here.
    let index = format!("i={}", p.arg("index"));
    let searcher = Server::start("ocelli", ["serve", "--index", &index]);
    let key = theirs.key(7).unwrap();
    let image = c.arg(&format!("set/photos/{key}"));
    let found = c.ask(&searcher, &["--image", &image, "--pack", &pack, "-k", "40"]);
    let by_key = c.ask(&searcher, &["--key", &key, "-k", "40"]);
    assert_eq!(found["hits"][0]["key"], key.as_str());
    assert_eq!(found["hits"].as_array().unwrap().len(), 40, "{by_key}");
    // Another size of codes is another spec, which the searcher refuses.
    let other = ["query", "--server", &searcher.url, "--image", &image, "--pack", &pack];
    let error = fail("ocelli", 1, other.iter().chain(&["--code-bytes", "4"]));
    assert!(error.contains("spec"), "{error}");
    // An image that is none.
    let text = c.arg("set/photos/zz-text.jpg");
    let bad = ["query", "--server", &searcher.url, "--image", &text, "--pack", &pack];
    assert!(fail("ocelli", 1, bad).contains("ocelli-encoder encode"));
    // With an encoder, which needs no more to be said either.
    let encoder = Server::start("ocelli-encoder", ["serve", "--pack", &pack]);
    let searcher = Server::start("ocelli", ["serve", "--index", &index, "--encoder", &encoder.url]);
    let served = c.ask(&searcher, &["--image", &image, "-k", "40"]);
    let keys = |answer: &Value| -> Vec<Value> {
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["key"].clone()).collect()
    };
    assert_eq!(keys(&served), keys(&found));
}

#[test]
fn the_size_of_codes_chooses_the_whitening() {
    let (c, p) = (collection(), packs());
    let (pack, part, index) = (p.arg("whole.pack"), p.arg("four.part"), p.arg("index-four"));
    let regions = c.arg("regions.part");
    let encode = ["encode", "--regions", &regions, "--pack", &pack, "--code-bytes", "4", "--out"];
    succeed("ocelli", encode.iter().chain([&part.as_str()]));
    assert_eq!(Part::open(&p.path("four.part")).unwrap().dim(), 16);
    // The variant follows from the parts.
    let build = ["build", &part, "--pack", &pack, "--out", &index, "--format", "json"];
    assert_eq!(json("ocelli", build)["code_bytes"], 4);
    let error = fail("ocelli", 1, build.iter().chain(&["--code-bytes", "8"]));
    assert!(error.contains("dim: expected 32, found 16"), "{error}");
    let error = fail("ocelli", 1, build.iter().chain(&["--code-bytes", "9"]));
    assert!(error.contains("no codes of 9 bytes: expected 4, 8 (default 8)"), "{error}");
}

/// A flag, a key of a file or a variable that contradicts the pack is refused with both values; one
/// that agrees is not.
#[test]
fn contradictions_are_refused() {
    let (c, p) = (collection(), packs());
    let (photos, whole, small) = (c.arg("set/photos"), p.arg("whole.pack"), p.arg("small.pack"));
    let out = p.arg("none.part");
    let refuse = |pack: &str, more: &[&str]| {
        let fixed = ["encode", &photos, "--pack", pack, "--out", &out];
        let error = fail("ocelli-encoder", 1, fixed.iter().chain(more));
        assert!(error.contains(pack), "{error}");
        error
    };
    let error = refuse(&whole, &["--sizes", "448"]);
    assert!(error.contains("sizes contradicts") && error.contains("[128]"), "{error}");
    assert!(error.contains("[448]"), "{error}");
    assert!(refuse(&whole, &["--pooling", "mac"]).contains("expected rmac, found mac"));
    assert!(refuse(&whole, &["--last-stage", "1"]).contains("expected 2, found 1"));
    let config = p.arg("encoder.toml");
    fs::write(&config, "filter = \"lanczos3\"\n").unwrap();
    let error = refuse(&whole, &["--config", &config]);
    assert!(error.contains("filter") && error.contains("bilinear"), "{error}");
    let error = refuse(&whole, &["--whitening", &p.arg("16.whitening")]);
    assert!(error.contains("whitening") && error.contains("contradicts"), "{error}");
    // Weights: not in this pack, nor beside it; and those of another network.
    assert!(refuse(&small, &[]).contains("net.safetensors"));
    let other = p.arg("other.safetensors");
    let seeded = ["weights", "seeded", "--arch", "resnet18", "--last-stage", "2", "--seed", "4"];
    succeed("ocelli-encoder", seeded.iter().chain(&["--out", &other]));
    let error = refuse(&small, &["--weights", &other]);
    assert!(error.contains("expected tensors with hash"), "{error}");
    assert!(!p.path("none.part").exists());

    // What agrees may be said. The pack may be named in the file.
    fs::write(&config, format!("pack = \"{small}\"\nsizes = [{SIZE}]\n")).unwrap();
    let (weights, agreed) = (c.arg("net.safetensors"), p.arg("agreed.part"));
    let whitening = c.arg("w.whitening");
    let encode = ["encode", &photos, "--config", &config, "--weights", &weights, "--pooling"];
    let more = ["rmac", "--whitening", &whitening, "--out", &agreed];
    succeed("ocelli-encoder", encode.iter().chain(&more));
    let part = Part::open(&p.path("agreed.part")).unwrap();
    assert!(matches!(part.spec(), DescriptorSpec::Network(n) if n.whitening.is_some()));
    let error = fail("ocelli-encoder", 2, ["encode", &photos, "--code-bytes", "4", "--out", &out]);
    assert!(error.contains("--pack"), "{error}");
}

/// Forty photos are too few for a verdict; the lists of the index are counted.
#[test]
fn the_doctor_looks_at_an_index() {
    let (c, p) = (collection(), packs());
    let look = |more: &[&str]| json("ocelli", ["doctor", "--format", "json"].iter().chain(more));
    let (part, pack) = (c.arg("photos.part"), p.arg("small.pack"));
    let report = look(&[&part, "--pack", &pack]);
    assert_eq!((&report["verdict"], &report["rows"]), (&"unknown".into(), &40.into()));
    assert_eq!((&report["pack"], &report["code_bytes"]), (&"small".into(), &8.into()));
    let report = look(&[&c.arg("index"), &part]);
    assert_eq!((&report["lists"]["rows"], &report["lists"]["counted"]), (&40.into(), &true.into()));
    assert!(succeed("ocelli", ["doctor", &c.arg("index")]).contains("name the parts"));
    assert!(fail("ocelli", 1, ["doctor", &part]).contains("give --pack"));
}

use std::collections::BTreeMap;
use std::fs;

use ocelli_test_support::step;

use super::*;
use crate::container::{FileKind, Reader, SectionKind, Writer};
use crate::spec::Layer;
use crate::{Metric, ModelParts};

/// Region vectors of 6 dimensions.
fn network() -> NetworkSpec {
    let mut network = NetworkSpec::new(Hash::of(b"weights"), "tiny", Layer::Head, 6);
    network.sizes = vec![448];
    network
}

/// A whitening to `dim` dimensions, and a model of `m` bytes behind it.
fn pair(network: &NetworkSpec, dim: usize, m: usize) -> (Option<Whitening>, Model) {
    let whitening = Whitening {
        mean: vec![0.25; 6],
        projection: (0..6 * dim).map(|i| i as f32 / 8.0).collect(),
        learned_on: DescriptorSpec::Network(network.clone()),
    };
    let spec = whitened(network, Some((&whitening, whitening.hash())));
    (Some(whitening), model(spec, dim, m))
}

fn model(spec: DescriptorSpec, dim: usize, m: usize) -> Model {
    Model::from_parts(ModelParts {
        spec,
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim,
        d: dim,
        nlist: 3,
        coarse: (0..3 * dim).map(|i| i as f32).collect::<Vec<_>>().into(),
        m,
        ksub: 256,
        codebooks: (0..256 * dim).map(|i| (i % 17) as f32).collect(),
        training: BTreeMap::from([("rows".into(), "12".into())]),
    })
    .unwrap()
}

fn new_pack(variants: Vec<(Option<Whitening>, Model)>) -> NewPack {
    NewPack {
        name: "tiny-1".into(),
        made_by: "test".into(),
        network: NetworkCard {
            spec: DescriptorSpec::Network(network()).canonical(),
            name: "tiny".into(),
            package: None,
            package_file: None,
            package_sha256: None,
            licence: Some("Apache-2.0".into()),
        },
        default_code_bytes: None,
        thresholds: Vec::new(),
        trained_on: Vec::new(),
        notes: vec!["A note.".into()],
        variants,
        weights: None,
    }
}

fn two() -> Vec<(Option<Whitening>, Model)> {
    vec![pair(&network(), 4, 2), pair(&network(), 2, 1)]
}

#[test]
fn what_was_written_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    let card = new_pack(two()).write(&path).unwrap();
    let pack = Pack::open(&path).unwrap();
    assert_eq!(pack.card(), &card);
    assert_eq!(pack.network(), &network());
    assert_eq!(pack.hash(), Hash::of(&fs::read(&path).unwrap()));
    // The smaller comes first whatever the order was, and the largest up to 32 is the default.
    let bytes: Vec<usize> = pack.variants().iter().map(PackVariant::code_bytes).collect();
    assert_eq!((bytes, card.default_code_bytes), (vec![1, 2], 2));
    for (whitening, model) in two() {
        let variant = pack.variant(Some(model.parts().m)).unwrap();
        assert_eq!(variant.whitening(), whitening.as_ref());
        assert_eq!(variant.model().hash(), model.hash());
        let training = &variant.model().parts().training;
        assert_eq!(training.get("pack").map(String::as_str), Some("tiny-1"));
        assert_eq!(training.get("rows").map(String::as_str), Some("12"));
        assert_eq!(pack.variant_of(variant.spec(), None).unwrap().code_bytes(), model.parts().m);
    }
    pack.verify().unwrap();
    assert_eq!(pack.weights().unwrap(), None);
    let error = pack.variant(Some(3)).unwrap_err().to_string();
    assert!(error.contains("no codes of 3 bytes: expected 1, 2 (default 2)"), "{error}");

    // Equal pieces, equal bytes; and a pack is not written over a part or the like.
    let again = dir.path().join("b.pack");
    let turned = two().into_iter().rev().collect();
    new_pack(turned).write(&again).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
    assert!(Whitening::open(&path).unwrap_err().to_string().contains("this is a pack"));
}

#[test]
fn a_pack_in_memory_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    let card = new_pack(two()).write(&path).unwrap();
    // At any address: the copy is aligned.
    let mut bytes = vec![0];
    bytes.extend(fs::read(&path).unwrap());
    let pack = Pack::open_bytes("default", &bytes[1..]).unwrap();
    assert_eq!((pack.card(), pack.path()), (&card, Path::new("default")));
    assert_eq!(pack.hash(), Hash::of(&bytes[1..]));
    for empty in [&[][..], &[0; 100]] {
        let error = Pack::open_bytes("default", empty).unwrap_err().to_string();
        assert!(error.starts_with("default: not an Ocelli file"), "{error}");
    }
}

#[test]
fn weights_lie_in_the_pack() {
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("net.safetensors");
    let content: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(&weights, &content).unwrap();
    let path = dir.path().join("a.pack");
    let pack = NewPack { weights: Some(weights.clone()), ..new_pack(two()) };
    pack.write(&path).unwrap();
    let pack = Pack::open(&path).unwrap();
    assert!(pack.has_weights());
    assert_eq!(pack.weights().unwrap(), Some(&content[..]));
    // Damage in them shows when they are read, and in `verify`.
    let mut bad = fs::read(&path).unwrap();
    let at = bad.windows(251).position(|w| *w == content[1000..1251]).unwrap();
    bad[at] ^= 1;
    let pack = Pack::open_bytes("bad", &bad).unwrap();
    assert!(matches!(pack.weights(), Err(Error::Corrupt { .. })));
    assert!(matches!(pack.verify(), Err(Error::Corrupt { .. })));
    let gone = NewPack { weights: Some(dir.path().join("gone")), ..new_pack(two()) };
    assert!(matches!(gone.write(&path), Err(Error::Io { .. })));
}

/// A network whose weights whiten already: the model is behind its descriptors.
#[test]
fn a_whitening_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    let spec = DescriptorSpec::Network(network());
    new_pack(vec![(None, model(spec.clone(), 6, 3))]).write(&path).unwrap();
    let pack = Pack::open(&path).unwrap();
    let variant = pack.variant(None).unwrap();
    assert_eq!((variant.whitening(), variant.spec()), (None, &spec));
}

#[test]
fn pieces_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    let other = NetworkSpec { sizes: vec![800], ..network() };
    let refusal = |pack: NewPack| pack.write(&path).unwrap_err().to_string();

    // Learned on another size: the field is named with both values.
    let error = refusal(new_pack(vec![pair(&other, 4, 2)]));
    assert!(error.contains("whitening for 2 bytes was learned on"), "{error}");
    assert!(error.contains("sizes: expected 448, found 800"), "{error}");
    // A model behind another whitening.
    let mut crossed = two();
    let first = crossed[0].0.take();
    crossed[0].0 = crossed[1].0.replace(first.unwrap());
    let error = refusal(new_pack(crossed));
    assert!(error.contains("model for 1 bytes") && error.contains("whitening"), "{error}");

    let twice = vec![pair(&network(), 4, 2), pair(&network(), 2, 2)];
    assert!(refusal(new_pack(twice)).contains("different code bytes"));
    assert!(refusal(new_pack(Vec::new())).contains("1 to 64 variants"));
    let pack = NewPack { default_code_bytes: Some(7), ..new_pack(two()) };
    assert!(refusal(pack).contains("default_code_bytes 7"));
    let pack = NewPack { name: "a b".into(), ..new_pack(two()) };
    assert!(refusal(pack).contains("pack name \"a b\""));
    let threshold = Threshold {
        code_bytes: None,
        relation: "near-copy".into(),
        cosine: 1.5,
        measured: String::new(),
    };
    let pack = NewPack { thresholds: vec![threshold], ..new_pack(two()) };
    assert!(refusal(pack).contains("cosine of -1 to 1"));
    let mut pack = new_pack(two());
    pack.network.spec = DescriptorSpec::foreign("x", 6).unwrap().canonical();
    assert!(refusal(pack).contains("foreign vectors"));
    assert!(!path.exists());
}

#[test]
fn the_variant_follows_from_the_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    // Codes of 1 and 2 bytes of the same descriptors, and of 3 of others.
    let (whitening, of_one) = pair(&network(), 4, 1);
    let (_, of_two) = pair(&network(), 4, 2);
    let spec = of_two.parts().spec.clone();
    let third = pair(&network(), 3, 3);
    let variants = vec![(whitening.clone(), of_one), (whitening, of_two), third];
    new_pack(variants).write(&path).unwrap();
    let pack = Pack::open(&path).unwrap();
    let of = |spec, bytes| pack.variant_of(spec, bytes).map(PackVariant::code_bytes);
    assert_eq!(of(&spec, Some(1)).unwrap(), 1);
    let error = of(&spec, None).unwrap_err().to_string();
    assert!(error.contains("choose code bytes from 1, 2"), "{error}");
    let error = of(&spec, Some(3)).unwrap_err().to_string();
    assert!(error.contains("dim: expected 3, found 4"), "{error}");
    assert!(of(&spec, Some(9)).unwrap_err().to_string().contains("no codes of 9 bytes"));
    let third = pack.variant(Some(3)).unwrap().spec();
    assert_eq!(of(third, None).unwrap(), 3);
    let foreign = DescriptorSpec::foreign("x", 3).unwrap();
    let error = of(&foreign, None).unwrap_err().to_string();
    assert!(error.contains("codes of 3 bytes") && error.contains("made by"), "{error}");
}

/// A flipped bit anywhere is an error, when the pack is opened or by `verify`; so is every cut.
#[test]
fn damage_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    new_pack(two()).write(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let tail = good.len() - 400;
    for at in (0..tail).step_by(step(499)).chain(tail..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let outcome = Pack::open_bytes("bad", &bad).and_then(|pack| pack.verify());
        assert!(
            matches!(outcome, Err(Error::Corrupt { .. } | Error::NotOcelli { .. })),
            "byte {at}: {outcome:?}"
        );
    }
    for len in (0..good.len()).step_by(step(1009)) {
        assert!(Pack::open_bytes("bad", &good[..len]).is_err(), "{len} bytes");
    }
}

/// Claims of a sound container that do not hold, and a card of a later program.
#[test]
fn false_claims_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pack");
    new_pack(two()).write(&path).unwrap();
    let file = Reader::open(&path, FileKind::Pack).unwrap();
    let meta = String::from_utf8(file.read_all(SectionKind::Meta).unwrap().to_vec()).unwrap();
    let files = file.read_all(SectionKind::Files).unwrap();
    let changed = dir.path().join("b.pack");
    let open = |from: &str, to: &str| {
        assert_ne!(meta, meta.replace(from, to), "{from}");
        let mut w = Writer::create(&changed, FileKind::Pack).unwrap();
        w.section(SectionKind::Meta, true, meta.replace(from, to).as_bytes()).unwrap();
        w.section(SectionKind::Files, true, files).unwrap();
        w.finish().unwrap();
        Pack::open(&changed).unwrap_err()
    };
    let error = open("\"card_version\":1", "\"card_version\":2,\"new\":{}");
    assert!(matches!(error, Error::NewerVersion { found: 2, .. }), "{error}");
    for (from, to, says) in [
        ("\"card_version\":1", "\"card_version\":0", "card_version 0"),
        ("\"notes\"", "\"remarks\"", "unknown field"),
        ("\"nlist\":3", "\"nlist\":4", "variant of 1 bytes"),
        ("\"weights\":null", "\"weights\":[0,99999999]", "leave their section"),
        ("\"weights\":null", "\"weights\":[18446744073709551615,2]", "leave their section"),
        ("\"places\":[", "\"places\":[{\"whitening\":null,\"model\":[0,1]},", "3 variants"),
        ("sizes=448", "sizes=449", "sizes"),
        ("\"whitening\":[0,", "\"whitening\":[1,", "leave a section"),
        ("\"whitening\":[0,", "\"whitening\":[4096,", "not an Ocelli file"),
        ("\"code_bytes\":1,", "\"code_bytes\":2,", "different code bytes"),
    ] {
        let error = open(from, to).to_string();
        assert!(error.contains(says) && error.contains("b.pack"), "{from}: {error}");
    }
}

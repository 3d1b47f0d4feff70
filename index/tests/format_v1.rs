//! Files of format version 1, of every kind and with every optional section, are read for ever.
//!
//! `tests/format-v1` holds the files and the answers that they gave when they were written; its
//! README says how they were made. They are not made anew: a program that cannot read them, or
//! answers otherwise, is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::attributes::record::{self, Fields};
use ocelli_index::container::{FileKind, Reader, SectionKind};
use ocelli_index::{
    Attributes, CodeForm, Dba, DescriptorSpec, Dtype, Error, Expansion, ExpansionMethod, FineCodec,
    Hash, IndexDir, Layer, Metric, Model, ModelParts, NetworkCard, NetworkSpec, NewGeneration,
    NewPack, Pack, Part, PartImage, PartKind, PartRow, PartWriter, Scratch, SearchParams,
    ShardBuilder, Snapshot, Threshold, TrainedOn, Value, Whitening, simd,
};
use serde::{Deserialize, Serialize};

const DIM: usize = 8;
/// Rows of each shard.
const ROWS: u64 = 70;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format-v1")
}

/// `n` numbers between −1 and 1 that are the same everywhere: no random numbers, whose generator
/// may change.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 48) as f32 / 32768.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The row of an id.
fn row(id: u64) -> Vec<f32> {
    numbers(DIM, 1000 + id)
}

fn spec() -> DescriptorSpec {
    DescriptorSpec::foreign("format-v1", DIM as u32).unwrap()
}

/// A permutation of axes with signs.
fn rotation() -> Vec<f32> {
    let mut r = vec![0.0; DIM * DIM];
    (0..DIM).for_each(|i| r[i * DIM + (i * 3 + 1) % DIM] = if i % 2 == 0 { 1.0 } else { -1.0 });
    r
}

/// Answers that an index must give.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Answers {
    metric: String,
    model: Hash,
    fine_codec: Hash,
    /// By generation.
    generations: BTreeMap<u64, GenerationAnswers>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct GenerationAnswers {
    rows: u64,
    /// The hits of each query, scored by the scan.
    scanned: Vec<Hits>,
    /// The hits of each query, refined.
    refined: Vec<Hits>,
    /// The hits of each query, after one round of average query expansion.
    expanded: Vec<Hits>,
}

/// The best hits of a query.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Hits {
    ids: Vec<u64>,
    /// Bits of the scores: they are the same on every machine.
    score_bits: Vec<u32>,
    keys: Vec<String>,
}

fn hits(snapshot: &Snapshot, result: ocelli_index::SearchResult) -> Hits {
    let hits = &result.hits;
    Hits {
        ids: hits.iter().map(|hit| hit.id).collect(),
        score_bits: hits.iter().map(|hit| hit.score.to_bits()).collect(),
        keys: hits.iter().map(|hit| snapshot.key(hit.row).unwrap()).collect(),
    }
}

/// Verifies and searches every generation of an index.
fn answers(root: &Path) -> Answers {
    let dir = IndexDir::open(root).unwrap();
    let mut generations = BTreeMap::new();
    let (mut metric, mut model, mut codec) = (None, None, None);
    for number in dir.generations().unwrap() {
        let snapshot = Snapshot::open(root, Some(number)).unwrap();
        // When the files were written, a delete log had a name and no form: theirs is a stand-in.
        let stand_in =
            |e: &Error| e.path().is_some_and(|path| path.starts_with(root.join("deletes")));
        // So has their next id: some of their ids are above it.
        let next_id = |e: &Error| e.to_string().contains("as the next one to be given");
        let proofs = snapshot.proofs(|_| false);
        for error in proofs.iter().flat_map(|proof| snapshot.prove(proof)) {
            let known = (number == 2 && stand_in(&error)) || next_id(&error);
            assert!(known, "generation {number}: {error}");
        }
        let plain = SearchParams { k: 5, nprobe: 3, ..SearchParams::default() };
        let refined = SearchParams { refine_candidates: 20, ..plain.clone() };
        let expansion = Expansion { method: ExpansionMethod::Average, k: 3, rounds: 1 };
        let queries: Vec<Vec<f32>> = (0..4).map(|i| numbers(DIM, 5000 + i)).collect();
        let search = |q: &Vec<f32>, params| hits(&snapshot, snapshot.search(q, params).unwrap());
        let expand = |q: &Vec<f32>| {
            let scratch = &mut Scratch::default();
            let found = snapshot.search_expanded(q, &refined, &expansion, scratch);
            hits(&snapshot, found.unwrap())
        };
        let answers = GenerationAnswers {
            rows: snapshot.rows(),
            scanned: queries.iter().map(|q| search(q, &plain)).collect(),
            refined: queries.iter().map(|q| search(q, &refined)).collect(),
            expanded: queries.iter().map(expand).collect(),
        };
        generations.insert(number, answers);
        metric = Some(snapshot.model().metric().to_string());
        model = Some(snapshot.model().hash());
        codec = snapshot.fine_codec().map(FineCodec::hash);
    }
    Answers {
        metric: metric.unwrap(),
        model: model.unwrap(),
        fine_codec: codec.unwrap(),
        generations,
    }
}

const INDEXES: [&str; 2] = ["l2", "ip"];

#[test]
fn indexes_are_read_and_answer_as_they_did() {
    for name in INDEXES {
        let expected = fs::read(folder().join(name).join("answers.json")).unwrap();
        let expected: Answers = serde_json::from_slice(&expected).unwrap();
        assert_eq!(answers(&folder().join(name)), expected, "{name}");
    }
}

/// What no shard of the indexes has would not be tested: all optional sections are there.
#[test]
fn every_section_of_version_1_is_there() {
    let mut found: Vec<u32> = Vec::new();
    let mut files = vec![folder()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(file) = Reader::open_any(&path) {
            file.verify().unwrap();
            found.extend(file.sections().iter().map(|section| section.kind));
        }
    }
    let missing: Vec<_> =
        SectionKind::ALL.iter().filter(|kind| !found.contains(&kind.number())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn attributes(image: u64) -> Attributes {
    Attributes {
        sha256: Hash::of(&image.to_le_bytes()).bytes(),
        bytes: 1000 + image,
        modified_ms: image.is_multiple_of(2).then_some(1_700_000_000_000 + image as i64),
        width: 640,
        height: 480 + image as u32,
    }
}

/// Attributes beside those of the file: a text, a number and nothing.
#[test]
fn records_are_read() {
    let part = Part::open(&folder().join("records.part")).unwrap();
    part.verify().unwrap();
    let read = |image| record::decode(&part.record(image).unwrap()).unwrap();
    let camera = |name: &str| ("camera".to_owned(), Value::Text(name.to_owned()));
    assert_eq!(read(0), Fields::from([camera("Sirius"), ("rating".to_owned(), Value::Int(-7))]));
    assert_eq!(read(1), Fields::new());
    assert_eq!(read(2), Fields::from([camera("")]));
}

#[test]
#[ignore = "writes the file that `records_are_read` reads"]
fn records_are_written() {
    let path = folder().join("records.part");
    let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec()).unwrap();
    let camera = |name: &str| ("camera".to_owned(), Value::Text(name.to_owned()));
    let rows = [
        Fields::from([camera("Sirius"), ("rating".to_owned(), Value::Int(-7))]),
        Fields::new(),
        Fields::from([camera("")]),
    ];
    for (i, fields) in rows.iter().enumerate() {
        let record = record::encode(fields).unwrap();
        let key = format!("k{i}");
        let image = PartImage { key: &key, id: None, attributes: None, record: &record };
        part.push_image(&image, PartRow::Vectors(&numbers(DIM, i as u64))).unwrap();
    }
    part.finish().unwrap();
}

#[test]
fn parts_are_read() {
    let open = |name: &str| {
        let part = Part::open(&folder().join(name)).unwrap();
        part.verify().unwrap();
        assert_eq!((part.spec(), part.dim(), part.images()), (&spec(), DIM, 5));
        assert_eq!(part.keys().unwrap(), ["k0", "k1", "k2", "k3", "ünïcode/k4"]);
        part
    };
    let regions = open("regions.part");
    assert_eq!(
        (regions.kind(), regions.dtype(), regions.rows()),
        (PartKind::Regions, Dtype::F32, 15)
    );
    assert_eq!(regions.rows_of(4), 10..15);
    assert_eq!(regions.read(0..15).unwrap(), numbers(15 * DIM, 1));

    let descriptors = open("descriptors.part");
    assert_eq!((descriptors.kind(), descriptors.dtype()), (PartKind::Descriptors, Dtype::F16));
    let rounded = |x: f32| half::f16::from_f32(x).to_f32();
    for image in 0..5 {
        assert_eq!(descriptors.id(image).unwrap(), Some(7 + 3 * image as u64));
        assert_eq!(descriptors.attributes(image).unwrap(), Some(attributes(image as u64)));
        let want: Vec<f32> = row(image as u64).into_iter().map(rounded).collect();
        assert_eq!(descriptors.read(image..image + 1).unwrap(), want);
    }

    let codes = open("codes.part");
    let model = model("l2");
    assert_eq!((codes.kind(), codes.code_form()), (PartKind::Codes, Some(&CodeForm::of(&model))));
    let all = codes.read_codes(0..5).unwrap();
    for image in 0..5 {
        let (list, code, fine) = coded(&model, &row(image as u64));
        assert_eq!(all.lists[image], list);
        assert_eq!(all.codes[image * code.len()..][..code.len()], code);
        assert_eq!(all.fine[image * fine.len()..][..fine.len()], fine);
    }
}

#[test]
fn whitening_is_read() {
    let read = Whitening::open(&folder().join("a.whitening")).unwrap();
    assert_eq!(read, whitening());
    assert_eq!(read.hash(), whitening().hash());
}

fn whitening() -> Whitening {
    Whitening { mean: numbers(DIM, 2), projection: numbers(DIM * 4, 3), learned_on: spec() }
}

/// The model of an index, made anew: it must have the hash of the one that was written.
fn model(name: &str) -> Model {
    let l2 = name == "l2";
    let (nlist, m, ksub) = if l2 { (5, 4, 16) } else { (6, 2, 256) };
    let mut model = Model::from_parts(ModelParts {
        spec: spec(),
        metric: if l2 { Metric::L2 } else { Metric::InnerProduct },
        mean: l2.then(|| numbers(DIM, 4)),
        rotation: Some(rotation()),
        renormalize: !l2,
        dim: DIM,
        d: DIM,
        nlist,
        coarse: numbers(nlist * DIM, 5).into(),
        m,
        ksub,
        codebooks: numbers(ksub * DIM, 6),
        training: BTreeMap::from([("rows".into(), "none".into())]),
    })
    .unwrap();
    model.group_centroids(Some(2));
    let hash = model.hash();
    let codec = if l2 {
        FineCodec::pq(hash, DIM, 2, numbers(256 * DIM, 7)).unwrap()
    } else {
        FineCodec::f16(hash, DIM)
    };
    model.with_fine_codec(codec).unwrap()
}

/// List, code and finer code of a vector.
fn coded(model: &Model, x: &[f32]) -> (u32, Vec<u8>, Vec<u8>) {
    let z = model.transform(x).unwrap();
    let list = model.assign(&z);
    let (mut code, mut fine) = (vec![0; model.parts().m], Vec::new());
    model.encode(&z, list, &mut code);
    model.encode_fine(simd(), &z, list, &code, &mut fine).unwrap();
    (list, code, fine)
}

#[test]
fn models_have_the_hashes_that_they_had() {
    for name in INDEXES {
        let dir = IndexDir::open(&folder().join(name)).unwrap();
        let made = model(name);
        let codec = made.fine_codec().unwrap();
        let path = dir.fine_model_path(&made.hash(), &codec.hash()).unwrap();
        let read = Model::open(&path).unwrap();
        read.verify().unwrap();
        assert_eq!((read.parts(), read.fine_codec()), (made.parts(), Some(codec)));
        assert_eq!(read.groups(), Some(2));
        let file = Reader::open(&path, FileKind::Model).unwrap();
        file.verify().unwrap();
    }
}

#[test]
fn packs_are_read() {
    let path = folder().join("a.pack");
    let pack = Pack::open(&path).unwrap();
    pack.verify().unwrap();
    let (whitening, model) = pair();
    let variant = pack.variant(None).unwrap();
    assert_eq!(variant.whitening(), Some(&whitening));
    assert_eq!((variant.model().hash(), variant.code_bytes()), (model.hash(), 1));
    assert_eq!(variant.model().parts().training["pack"], "format-v1");
    assert_eq!(pack.weights().unwrap(), Some(WEIGHTS));
    assert_eq!(pack.card().thresholds, new_pack(&path).thresholds);
    assert_eq!(pack.card().network, new_pack(&path).network);
    // Written again, it has the same bytes.
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("weights");
    fs::write(&weights, WEIGHTS).unwrap();
    let again = dir.path().join("a.pack");
    new_pack(&weights).write(&again).unwrap();
    assert!(fs::read(&again).unwrap() == fs::read(&path).unwrap());
}

const WEIGHTS: &[u8] = b"stands for a safetensors file";

/// A whitening of a network's region vectors to 4 dimensions, and a model behind it.
fn pair() -> (Whitening, Model) {
    let network = NetworkSpec::new(Hash::of(WEIGHTS), "net", Layer::Head, DIM as u32);
    let whitening = Whitening {
        mean: numbers(DIM, 8),
        projection: numbers(DIM * 4, 9),
        learned_on: DescriptorSpec::Network(network.clone()),
    };
    let spec = NetworkSpec { whitening: Some(whitening.hash()), dim: 4, ..network };
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::Network(spec),
        metric: Metric::InnerProduct,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: 4,
        d: 4,
        nlist: 3,
        coarse: numbers(3 * 4, 10).into(),
        m: 2,
        ksub: 16,
        codebooks: numbers(16 * 4, 11),
        training: BTreeMap::from([("rows".into(), "none".into())]),
    });
    (whitening, model.unwrap())
}

fn new_pack(weights: &Path) -> NewPack {
    let (whitening, model) = pair();
    NewPack {
        name: "format-v1".into(),
        made_by: "format_v1.rs".into(),
        network: NetworkCard {
            spec: whitening.learned_on.canonical(),
            name: "net".into(),
            package: Some("net 1.0".into()),
            package_file: Some("net-1.0.whl".into()),
            package_sha256: Some(Hash::of(b"package")),
            licence: Some("Apache-2.0".into()),
        },
        default_code_bytes: Some(1),
        thresholds: vec![Threshold {
            code_bytes: Some(1),
            relation: "near-copy".into(),
            cosine: 0.5,
            measured: "not at all".into(),
        }],
        trained_on: vec![TrainedOn {
            what: "numbers".into(),
            photos: 0,
            licence: "CC0-1.0".into(),
        }],
        notes: vec!["A note.".into()],
        variants: vec![(Some(whitening), model)],
        weights: Some(weights.to_owned()),
    }
}

/// Writes the pack, if there is none yet: packs came later than the other files.
#[test]
#[ignore = "the files of version 1 are written once"]
fn write_the_pack_of_version_1() {
    let path = folder().join("a.pack");
    assert!(!path.exists(), "{}: it is there", path.display());
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("weights");
    fs::write(&weights, WEIGHTS).unwrap();
    new_pack(&weights).write(&path).unwrap();
}

/// Writes the files, if there are none yet.
#[test]
#[ignore = "the files of version 1 are written once"]
fn write_the_files_of_version_1() {
    let folder = folder();
    assert!(!folder.join("l2").exists(), "{}: the files are there", folder.display());
    write_parts(&folder);
    whitening().write(&folder.join("a.whitening")).unwrap();
    for name in INDEXES {
        let root = folder.join(name);
        write_index(&root, name);
        let answers = serde_json::to_string_pretty(&answers(&root)).unwrap();
        fs::write(root.join("answers.json"), answers + "\n").unwrap();
    }
}

const KEYS: [&str; 5] = ["k0", "k1", "k2", "k3", "ünïcode/k4"];

fn write_parts(folder: &Path) {
    let path = folder.join("regions.part");
    let mut part = PartWriter::create(&path, PartKind::Regions, Dtype::F32, &spec()).unwrap();
    let x = numbers(15 * DIM, 1);
    // One row, two rows, … five rows.
    let mut from = 0;
    for (i, key) in KEYS.iter().enumerate() {
        let len = (i + 1) * DIM;
        part.push(key, None, &x[from..from + len]).unwrap();
        from += len;
    }
    part.finish().unwrap();

    let path = folder.join("descriptors.part");
    let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F16, &spec()).unwrap();
    for (image, key) in (0..).zip(KEYS) {
        let attributes = attributes(image);
        let image_of =
            PartImage { key, id: Some(7 + 3 * image), attributes: Some(&attributes), record: &[] };
        part.push_image(&image_of, PartRow::Vectors(&row(image))).unwrap();
    }
    part.finish().unwrap();

    let model = model("l2");
    let path = folder.join("codes.part");
    let mut part = PartWriter::create_codes(&path, &spec(), &CodeForm::of(&model)).unwrap();
    for (image, key) in (0..).zip(KEYS) {
        let (list, code, fine) = coded(&model, &row(image));
        let row = PartRow::Code { list, code: &code, fine: &fine };
        part.push_image(&PartImage { key, id: None, attributes: None, record: &[] }, row).unwrap();
    }
    part.finish().unwrap();
}

/// Two shards, and two generations: the second one has deleted rows. Ids of the index `l2` are
/// packed and raw, those of `ip` affine.
fn write_index(root: &Path, name: &str) {
    let dir = IndexDir::create(root).unwrap();
    let model = model(name);
    dir.put_model(&model).unwrap();
    let id = |task: u64, i: u64| match (name, task) {
        ("l2", 0) => 3 * (ROWS - i),
        ("l2", _) => (i * i) << 55 >> 1 | (1000 + i),
        _ => task * ROWS + i,
    };
    let shards: Vec<_> = (0..2)
        .map(|task| {
            let mut shard = ShardBuilder::new(&model);
            for i in 0..ROWS {
                // Every third row of the first shard has no key; no row of `ip`'s second has one.
                let keyed = if task == 0 { i % 3 != 0 } else { name == "l2" };
                let key = if keyed { format!("photos/{task}/{i}.jpg") } else { String::new() };
                shard.push(id(task, i), &key, &row(task * ROWS + i)).unwrap();
            }
            dir.put_shard(shard, Hash::of(b"format-v1"), task as u32).unwrap()
        })
        .collect();
    let deleted = dir.put_tombstones(&[1u32, 5, 64].into_iter().collect()).unwrap();
    let mut new = NewGeneration {
        model: model.hash(),
        shards,
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: 1 << 62,
    };
    let dba = Dba { k: 3, exact: true };
    dir.commit_augmented(None, new.clone(), (name == "ip").then_some(dba)).unwrap();
    new.tombstones.insert(new.shards[1].name.clone(), deleted);
    let log = b"a delete log";
    new.deletes = Some(Hash::of(log));
    fs::write(root.join("deletes").join(Hash::of(log).to_string()), log).unwrap();
    dir.commit(Some(1), new).unwrap();
    let _ = fs::remove_file(root.join(".lock"));
}

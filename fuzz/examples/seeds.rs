//! Writes the seeds: small good inputs of every target, made by the project's own writers and from
//! the golden files of the importers. `cargo +nightly run --release --example seeds` in this
//! folder; equal bytes every time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_fuzz::{MODELS, Place, flatten, folder, model};
use ocelli_index::attributes::record::{self, Fields};
use ocelli_index::attributes::{Schema, SectionWriter, Value};
use ocelli_index::container::{FileKind, Reader, SectionKind, Writer};
use ocelli_index::{
    DescriptorSpec, Dtype, Hash, Layer, Metric, Model, ModelParts, NetworkCard, NetworkSpec,
    NewGeneration, NewPack, Part, PartKind, PartWriter, ShardBuilder, VectorWriter, Whitening,
    keys, packed,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = seeds.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    shards(&put)?;
    generations(&put)?;
    models(&put)?;
    parts_and_whitenings(&put)?;
    packs(&put)?;
    texts_and_arrays(&put)?;
    attributes(&put)?;
    vector_files(&put)?;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../indexer/golden");
    for path in files(&golden.join("faiss"), "faiss")? {
        let bytes = fs::read(&path)?;
        // The larger ones teach a fuzzer nothing more and make it slow.
        if bytes.len() <= 24 * 1024 {
            put("faiss", &path.file_stem().unwrap().to_string_lossy(), &bytes)?;
        }
    }
    for path in files(&golden.join("parquet"), "parquet")? {
        let columns = if path.ends_with("fixed-snappy.parquet") { 7u8 } else { 0 };
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        put("parquet", &name, &[&[columns][..], &fs::read(&path)?].concat())?;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../index/golden");
    for (target, endings) in [("matlab", &["mat"][..]), ("hdf5", &["h5", "hdf5", "mat"])] {
        for ending in endings {
            for path in files(&golden.join(target), ending)? {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                put(target, &name, &fs::read(&path)?)?;
            }
        }
    }
    judging(&put)?;
    layouts(&put)?;
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pictures/tests-data");
    for path in files(&pictures, "jpg")? {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        put("picture", &name, &fs::read(&path)?)?;
    }
    fs::remove_dir_all(folder())?;
    Ok(())
}

/// Sections of attributes of a few rows, records, and texts of filters.
fn attributes(put: Put<'_>) -> Outcome {
    let fields = |i: usize| {
        let mut fields = Fields::from([
            ("n".to_owned(), Value::Int(i as i64 * 3)),
            ("f".to_owned(), Value::Float(i as f64 / 3.0)),
            ("h".to_owned(), Value::Float(i as f64 / 2.0)),
            ("t".to_owned(), Value::Text(format!("text {}", i % 3))),
            ("sha256".to_owned(), Value::Bytes32([i as u8; 32])),
        ]);
        if !i.is_multiple_of(3) {
            fields.insert("b".to_owned(), Value::Bool(i.is_multiple_of(2)));
        }
        fields
    };
    for rows in [0usize, 1, 70] {
        let path = folder().join("seed.attributes");
        let mut file = Writer::create(&path, FileKind::Shard)?;
        file.begin(SectionKind::Attributes, false)?;
        let mut section = SectionWriter::new(Schema::default());
        for i in 0..rows {
            section.push(&mut file, &record::encode(&fields(i))?)?;
        }
        section.finish(&mut file)?;
        file.finish()?;
        let file = Reader::open(&path, FileKind::Shard)?;
        let bytes = file.read_all(SectionKind::Attributes)?;
        let seed = [&(rows as u16).to_le_bytes()[..], bytes].concat();
        put("attributes", &format!("rows-{rows}"), &seed)?;
    }
    put("predicate", "record", &record::encode(&fields(1))?)?;
    for (name, text) in [
        ("plain", r#"width >= 640"#),
        ("sets", r#"width >= 640 and not (camera in ("a", 'b'))"#),
        ("dates", r#"captured > 2019-05-01 or modified <= 2020-01-01T12:30:00.5+02:00"#),
        ("nulls", r#"a is not null and (b is null or c)"#),
        ("ranges", r#"a not between -1 and 2.5e3 and b != true"#),
    ] {
        put("predicate", name, text.as_bytes())?;
    }
    Ok(())
}

/// Ground truth and rankings, behind the byte that chooses the form: see targets/judging.rs.
fn judging(put: Put<'_>) -> Outcome {
    let texts: [(u8, &str, &str); 8] = [
        (1, "gnd-json", r#"{"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [{"ok": [0]}]}"#),
        (2, "groundtruth", r#"{"queries": [{"name": "q", "ok": ["a"]}], "images": ["a", "q"]}"#),
        (4, "gldv2", "id,images,Usage\nq,a b,Public\nr,None,Ignored\n"),
        (5, "disc21", "query_id,reference_id\nQ00000,R000001\nQ00001,\n"),
        (6, "matches", "query,match,relevance\nq.jpg,a.jpg,1\nq.jpg,b.jpg,-1\n"),
        (7, "jsonl", r#"{"query": "q", "positives": ["a"], "box": [0, 0, 1, 1]}"#),
        (255, "rankings", "query,rank,image,score\nq,1,a,0.5\nq,2,b,0.25\n"),
        (255, "holidays", "q.jpg 0 a.jpg 1 b.jpg\n"),
    ];
    for (form, name, text) in texts {
        put("judging", name, &[&[form][..], text.as_bytes()].concat())?;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (form, folder, ending) in
        [(0u8, "indexer/tests/data/gnd", "pkl"), (3, "indexer/golden/instre", "mat")]
    {
        for path in files(&project.join(folder), ending)? {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            put("judging", &name, &[&[form][..], &fs::read(&path)?].concat())?;
        }
    }
    Ok(())
}

/// The smaller of the encoder's files in other programs' layouts; the legacy ones without the three
/// pickles that all begin with.
fn layouts(put: Put<'_>) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/golden/layouts");
    // What a fuzzer's input may have at most: see ./run.
    let put_small = |target: &str, name: &str, bytes: &[u8]| {
        if bytes.len() <= 40_000 { put(target, name, bytes) } else { Ok(()) }
    };
    for path in files(&folder, "caffemodel")?.into_iter().chain(files(&folder, "pth")?) {
        let bytes = fs::read(&path)?;
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !bytes.starts_with(&[0x80, 2, 0x8a]) {
            put_small("caffe", &name, &bytes)?;
            continue;
        }
        // Each of the three ends with a full stop, and none has one before another pickle inside.
        let mut starts = (0..bytes.len()).filter(|&i| bytes[i..].starts_with(b".\x80\x02"));
        if let Some(third) = starts.nth(2) {
            put_small("pickle", &name, &bytes[third + 1..])?;
        }
    }
    Ok(())
}

type Put<'a> = &'a dyn Fn(&str, &str, &[u8]) -> std::io::Result<()>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Files with an ending, of a folder and one below.
fn files(folder: &Path, ending: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            out.extend(files(&path, ending)?);
        } else if path.extension().is_some_and(|e| e == ending) {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// Sections as chunks; see `ocelli_fuzz::chunks`.
fn join(chunks: &[(SectionKind, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, bytes) in chunks {
        out.push(kind.number() as u8);
        out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

fn sections(path: &Path, kind: FileKind) -> ocelli_index::Result<Vec<(SectionKind, Vec<u8>)>> {
    Ok(flatten(&Reader::open(path, kind)?))
}

fn shards(put: Put<'_>) -> Outcome {
    // Affine, packed and raw ids; with keys, with some keys, without.
    let ids: [fn(u64) -> u64; 3] =
        [|i| 100 + i, |i| 1000 - 3 * i, |i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1];
    for number in 0..MODELS {
        let model = model(number);
        let p = model.parts();
        for (how, id) in ids.iter().enumerate() {
            let mut shard = ShardBuilder::new(model);
            for i in 0..40 + 3 * u64::from(number) {
                let code: Vec<u8> =
                    (0..p.m).map(|j| ((i * 31 + j as u64 * 7) % p.ksub as u64) as u8).collect();
                let key =
                    if i % 3 < how as u64 { format!("photos/{i}.jpg") } else { String::new() };
                shard.push_code(id(i), &key, (i * i % 5) as u32, &code)?;
            }
            let folder = Place::get().dir.root().join("shards");
            let entry = shard.write(&folder, Hash::of(b"plan"), 0)?;
            let path = folder.join(&entry.name);
            let mut chunks = sections(&path, FileKind::Shard)?;
            for (kind, bytes) in &mut chunks {
                if *kind == SectionKind::Meta {
                    // Without the two hashes, which the target puts there.
                    let text = String::from_utf8(std::mem::take(bytes))?;
                    let at = text.find("\"task\"").ok_or("meta without a task")?;
                    *bytes = text.as_bytes()[at..].to_vec();
                }
            }
            put(
                "shard",
                &format!("model-{number}-ids-{how}"),
                &[&[number][..], &join(&chunks)].concat(),
            )?;
            if number == 0 {
                put("container", &format!("shard-{how}"), &[&[1][..], &fs::read(&path)?].concat())?;
            }
        }
    }
    Ok(())
}

fn generations(put: Put<'_>) -> Outcome {
    let place = Place::get();
    let model = model(0);
    let mut shard = ShardBuilder::new(model);
    for i in 0..40u16 {
        let code = [i as u8 % 16, 3, 2, 1];
        shard.push_code(7 * u64::from(i), &format!("k{i}"), u32::from(i) % 5, &code)?;
    }
    let entry = place.dir.put_shard(shard, Hash::of(b"plan"), 0)?;
    let deleted_hash = place.dir.put_tombstones(&roaring::RoaringBitmap::from([3, 7]))?;
    for (name, shards, tombstones) in [
        ("one", vec![entry.clone()], BTreeMap::new()),
        ("none", vec![], BTreeMap::new()),
        ("deleted", vec![entry.clone()], BTreeMap::from([(entry.name.clone(), deleted_hash)])),
    ] {
        for file in ["CURRENT", "generations/1.json"] {
            let _ = fs::remove_file(place.dir.root().join(file));
        }
        let deletes = (name == "deleted").then(|| Hash::of(b"d"));
        let new = NewGeneration { model: model.hash(), shards, tombstones, deletes, next_id: 300 };
        place.dir.commit(None, new)?;
        let file = fs::read_to_string(place.dir.root().join("generations/1.json"))?;
        let json = file.split_once("\"generation\":").ok_or("no generation")?.1;
        let json = json.rsplit_once(",\n  \"checksum\"").ok_or("no checksum")?.0;
        put("generation", name, json.as_bytes())?;
        let current = fs::read(place.dir.root().join("CURRENT"))?;
        put("generation", &format!("{name}-current"), &[json.as_bytes(), &[0], &current].concat())?;
    }
    let sets: [(&str, Vec<u32>); 5] = [
        ("empty", vec![]),
        ("few", vec![1, 5, 199]),
        ("all", (0..200).collect()),
        ("run", (10..5000).collect()),
        ("far", vec![7, 70_000, 1 << 20, u32::MAX]),
    ];
    for (name, rows) in sets {
        let mut set: roaring::RoaringBitmap = rows.into_iter().collect();
        let mut bytes = Vec::new();
        set.serialize_into(&mut bytes)?;
        put("tombstones", name, &bytes)?;
        set.optimize();
        let mut bytes = Vec::new();
        set.serialize_into(&mut bytes)?;
        put("tombstones", &format!("{name}-runs"), &bytes)?;
    }
    Ok(())
}

fn models(put: Put<'_>) -> Outcome {
    let path = folder().join("seed.model");
    for number in 0..MODELS {
        let parts = model(number).parts().clone();
        // Few codewords and centroids, or a fuzzer has too much to mutate; a rotation for one of
        // them.
        let dim = 4;
        let rotation = (number % 2 == 0).then(|| {
            let mut r = vec![0.0; dim * dim];
            (0..dim).for_each(|i| r[i * dim + (i + 1) % dim] = 1.0);
            r
        });
        let small = ModelParts {
            spec: DescriptorSpec::foreign("fuzz", dim as u32)?,
            mean: parts.mean.map(|mean| mean[..dim].to_vec()),
            rotation,
            renormalize: number == 2,
            dim,
            d: dim,
            nlist: 3,
            coarse: parts.coarse[..3 * dim].to_vec().into(),
            m: 2,
            ksub: 16,
            codebooks: parts.codebooks.iter().cycle().take(16 * dim).copied().collect(),
            training: BTreeMap::from([("seed".into(), "1".into())]),
            ..parts
        };
        Model::from_parts(small)?.write(&path)?;
        put("model", &format!("{number}"), &join(&sections(&path, FileKind::Model)?))?;
    }
    put("container", "model", &[&[1][..], &fs::read(&path)?].concat())?;
    Ok(())
}

fn parts_and_whitenings(put: Put<'_>) -> Outcome {
    let spec = DescriptorSpec::foreign("fuzz", 3)?;
    let path = folder().join("seed.part");
    for (name, kind, dtype, ids) in [
        ("regions-f32", PartKind::Regions, Dtype::F32, false),
        ("regions-f16-ids", PartKind::Regions, Dtype::F16, true),
        ("descriptors-f32-ids", PartKind::Descriptors, Dtype::F32, true),
        ("descriptors-f16", PartKind::Descriptors, Dtype::F16, false),
    ] {
        let mut part = PartWriter::create(&path, kind, dtype, &spec)?;
        for i in 0..9u64 {
            let n = if kind == PartKind::Regions { 1 + i as usize % 3 } else { 1 };
            part.push(&format!("é/{i}.jpg"), ids.then_some(i * 5), &vec![i as f32 * 0.5; 3 * n])?;
        }
        part.finish()?;
        Part::open(&path)?.verify()?;
        put("part", name, &join(&sections(&path, FileKind::Part)?))?;
    }
    put("container", "part", &[&[1][..], &fs::read(&path)?].concat())?;
    let path = folder().join("seed.whitening");
    for out in [1usize, 3] {
        let whitening = Whitening {
            mean: vec![0.5, -1.0, 2.0],
            projection: (0..3 * out).map(|i| i as f32 - 2.0).collect(),
            learned_on: spec.clone(),
        };
        whitening.write(&path)?;
        put("whitening", &format!("to-{out}"), &join(&sections(&path, FileKind::Whitening)?))?;
    }
    put("container", "whitening", &[&[1][..], &fs::read(&path)?].concat())?;
    Ok(())
}

fn packs(put: Put<'_>) -> Outcome {
    let network = NetworkSpec::new(Hash::of(b"weights"), "tiny", Layer::Head, 3);
    let region = DescriptorSpec::Network(network.clone());
    let whitening = Whitening {
        mean: vec![0.5, -1.0, 2.0],
        projection: vec![1.0, 0.0, 0.0, 1.0, 0.5, -0.5],
        learned_on: region.clone(),
    };
    let whitened = DescriptorSpec::Network(NetworkSpec {
        whitening: Some(whitening.hash()),
        dim: 2,
        ..network
    });
    let model = |spec: &DescriptorSpec, m: usize| {
        let dim = spec.dim();
        Model::from_parts(ModelParts {
            spec: spec.clone(),
            metric: Metric::L2,
            mean: None,
            rotation: None,
            renormalize: false,
            dim,
            d: dim,
            nlist: 2,
            coarse: (0..2 * dim).map(|i| i as f32).collect::<Vec<_>>().into(),
            m,
            ksub: 16,
            codebooks: (0..16 * dim).map(|i| i as f32 / 8.0).collect(),
            training: BTreeMap::new(),
        })
    };
    let weights = folder().join("seed.safetensors");
    fs::write(&weights, b"weights")?;
    let path = folder().join("seed.pack");
    for (name, variants, weights) in [
        ("whitened", vec![(Some(whitening), model(&whitened, 2)?)], None),
        ("plain", vec![(None, model(&region, 1)?), (None, model(&region, 3)?)], Some(weights)),
    ] {
        NewPack {
            name: name.into(),
            made_by: "seeds".into(),
            network: NetworkCard {
                spec: region.canonical(),
                name: "tiny".into(),
                package: None,
                package_file: None,
                package_sha256: None,
                licence: None,
            },
            default_code_bytes: None,
            thresholds: Vec::new(),
            trained_on: Vec::new(),
            notes: Vec::new(),
            variants,
            weights,
        }
        .write(&path)?;
        put("pack", name, &join(&sections(&path, FileKind::Pack)?))?;
    }
    Ok(())
}

fn texts_and_arrays(put: Put<'_>) -> Outcome {
    let hash = Hash::of(b"weights");
    put("spec", "foreign", DescriptorSpec::foreign("sift/v1", 128)?.canonical().as_bytes())?;
    let plain = format!(
        "ocelli-descriptor-spec 1\nweights={hash}\narch=resnet50\nlast_stage=3\ndim=1024\n"
    );
    put("spec", "plain", DescriptorSpec::parse(&plain)?.canonical().as_bytes())?;
    let full = format!(
        "ocelli-descriptor-spec 1\nweights={hash}\narch=resnet101\nlast_stage=4\ndim=256\nform=v1\n\
         input=caffe-bgr\nbn_eps=0.001\npooling=gem:3\nsizes=550,800,1050\nfilter=lanczos3\n\
         upscale=false\nexif=false\njpeg_scaled=true\nhead=fc\n\
         image_whitening=true\nprecision=bf16\ncombine=gem:3\n\
         crop_first=true\nwhitening={hash}\n"
    );
    put("spec", "full", DescriptorSpec::parse(&full)?.canonical().as_bytes())?;
    for count in [0u16, 1, 130, 300] {
        let keys: Vec<String> = (0..count).map(|i| format!("photos/{i}.jpg")).collect();
        let bytes = keys::encode(keys.iter().map(String::as_str))?;
        let head = [&count.to_le_bytes()[..], &[0]].concat();
        put("keys", &format!("keys-{count}"), &[&head[..], &bytes].concat())?;
    }
    for width in [0u8, 1, 7, 33, 56] {
        let values =
            (0..50u32).map(u64::from).map(|i| i.wrapping_mul(i << 40 | i) & ((1 << width) - 1));
        let bytes = packed::pack(values, width.into());
        put("keys", &format!("packed-{width}"), &[&[50, 0, width][..], &bytes].concat())?;
    }
    Ok(())
}

fn vector_files(put: Put<'_>) -> Outcome {
    let x = [1.0f32, 2.0, 3.5, -4.0, 0.0, 5.0];
    // The target's numbers of the formats: their order in `VectorFormat::NAMES`.
    for (number, ending) in [(0u8, "fvecs"), (2, "npy"), (3, "fbin")] {
        let path = folder().join(format!("seed.{ending}"));
        let mut file = VectorWriter::create(&path, 3, 2)?;
        file.push(&x)?;
        file.finish()?;
        put("vectors", ending, &[&[number][..], &fs::read(&path)?].concat())?;
    }
    put("vectors", "bvecs", &[&[1][..], &[2, 0, 0, 0, 7, 8].repeat(3)].concat())?;
    put("vectors", "u8bin", &[4, 3, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6])?;
    for (name, descr, numbers) in [("f2", "<f2", 12usize), ("f8", "<f8", 48), ("u1", "|u1", 6)] {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (3, 2), }}\n");
        let head = [b"\x93NUMPY\x02\x00".as_slice(), &(header.len() as u32).to_le_bytes()].concat();
        let bytes = [&[130][..], &head, header.as_bytes(), &vec![1; numbers]].concat();
        put("vectors", &format!("npy-{name}"), &bytes)?;
    }
    Ok(())
}

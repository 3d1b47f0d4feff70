//! Small collections with copies, and what comes of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ocelli_index::attributes::{names, record};
use ocelli_index::{
    Attributes, DescriptorSpec, Dtype, Metric, Model, Part, PartImage, PartKind, PartRow,
    PartWriter, PlanFile, Value,
};
use ocelli_indexer::dedup::pairs::{
    DEFAULT_LOOKS, DEFAULT_NPROBE, DEFAULT_PHASH_BITS, DedupOptions, DedupReport, SecondOpinion,
};
use ocelli_indexer::dedup::report::ReportOptions;
use ocelli_indexer::dedup::run::{self, After, Options};
use ocelli_indexer::{
    BuildOptions, FineChoice, FineOptions, OnDuplicate, ProgressFn, Result, TrainOptions, build,
    no_opq, silent, train, train_fine_codec,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::support::clustered;

pub const DIM: usize = 16;

/// Rows by clusters, and copies of some of them: each tenth row is a copy of the row before it,
/// with so much noise in each coordinate.
pub fn with_copies(rows: usize, seed: u64, noise: f32) -> Vec<f32> {
    let mut x = clustered(rows, DIM, seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for row in (9..rows).step_by(10) {
        let (before, after) = x.split_at_mut(row * DIM);
        for (copy, original) in after[..DIM].iter_mut().zip(&before[(row - 1) * DIM..]) {
            *copy = original + rng.random_range(-noise..noise);
        }
    }
    x
}

/// Makes each row's length 1.
pub fn normalised(mut x: Vec<f32>) -> Vec<f32> {
    for row in x.chunks_exact_mut(DIM) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    x
}

/// A row with what is known of its image.
#[derive(Clone, Default)]
pub struct Image {
    pub key: String,
    pub vector: Vec<f32>,
    pub sha256: Option<[u8; 32]>,
    pub pixels: Option<[u8; 32]>,
    pub phash: Option<u64>,
    /// The part of the photo.
    pub part: Option<String>,
}

/// Images without attributes, named `PREFIX0`, ….
pub fn plain(prefix: &str, x: &[f32]) -> Vec<Image> {
    let image = |(i, row): (usize, &[f32])| Image {
        key: format!("{prefix}{i}"),
        vector: row.to_vec(),
        ..Image::default()
    };
    x.chunks_exact(DIM).enumerate().map(image).collect()
}

pub fn write_part(path: &Path, images: &[Image]) {
    let spec = DescriptorSpec::foreign("test", DIM as u32).unwrap();
    let mut writer = PartWriter::create(path, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
    for image in images {
        let mut fields = record::Fields::new();
        if let Some(hash) = image.pixels {
            fields.insert(names::PIXELS_SHA256.to_owned(), Value::Bytes32(hash));
        }
        if let Some(hash) = image.phash {
            fields.insert(names::PHASH.to_owned(), Value::Bytes8(hash.to_be_bytes()));
        }
        if let Some(part) = &image.part {
            fields.insert(names::PIXEL_BOX.to_owned(), Value::Text(part.clone()));
        }
        let record = record::encode(&fields).unwrap();
        let attributes = image.sha256.map(|sha256| Attributes {
            sha256,
            bytes: 1000,
            modified_ms: None,
            width: 10,
            height: 10,
        });
        let about = PartImage {
            key: &image.key,
            id: None,
            attributes: attributes.as_ref(),
            record: &record,
        };
        writer.push_image(&about, PartRow::Vectors(&image.vector)).unwrap();
    }
    writer.finish().unwrap();
}

/// A model of `nlist` lists and codes of `m` bytes of some rows, with finer codes if wanted.
pub fn model(
    folder: &Path,
    images: &[Image],
    metric: Metric,
    (nlist, m): (usize, usize),
    fine: Option<FineChoice>,
) -> Model {
    let path = folder.join("train.part");
    write_part(&path, &images.iter().map(bare).collect::<Vec<_>>());
    let parts = [Part::open(&path).unwrap()];
    let options = TrainOptions {
        nlist,
        m,
        metric: Some(metric),
        opq: Some(false),
        niter: 6,
        force: true,
        threads: 1,
        ..TrainOptions::default()
    };
    let model = train(&parts, &options, &no_opq, &silent).unwrap().0;
    let Some(choice) = fine else { return model };
    let options = FineOptions { choice, niter: 6, seed: 1, threads: 1, force: true };
    train_fine_codec(&parts, model, &options, &silent).unwrap().0
}

/// An image without attributes.
fn bare(image: &Image) -> Image {
    Image { key: image.key.clone(), vector: image.vector.clone(), ..Image::default() }
}

/// A collection: its part and its index.
pub struct World {
    pub folder: TempDir,
    pub part: PathBuf,
    pub index: PathBuf,
}

impl World {
    pub fn new(
        images: &[Image],
        metric: Metric,
        shape: (usize, usize),
        fine: Option<FineChoice>,
        shards: usize,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path(), images, metric, shape, fine);
        Self::under(folder, &model, images, shards)
    }

    pub fn under(folder: TempDir, model: &Model, images: &[Image], shards: usize) -> Self {
        let (part, index) = (folder.path().join("rows.part"), folder.path().join("index"));
        write_part(&part, images);
        let parts = [Part::open(&part).unwrap()];
        build(&parts, model, &index, &build_options(shards), &silent).unwrap();
        Self { folder, part, index }
    }

    /// Options without stored vectors.
    pub fn options(&self, threshold: f32, out: &str) -> DedupOptions {
        DedupOptions {
            threshold,
            index: self.index.clone(),
            against: None,
            since: None,
            vectors: Vec::new(),
            nprobe: Some(DEFAULT_NPROBE),
            phash_bits: DEFAULT_PHASH_BITS,
            looks: DEFAULT_LOOKS,
            tasks: 0,
            threads: 1,
            memory_budget_bytes: 0,
            out: self.folder.path().join(out),
            after: serde_json::Value::Null,
        }
    }
}

pub fn build_options(shards: usize) -> BuildOptions {
    BuildOptions {
        shards,
        threads: 1,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    }
}

fn whole(join: &DedupOptions) -> Options {
    Options {
        join: join.clone(),
        after: After { report: Some(ReportOptions::default()), ..After::default() },
    }
}

/// A deduplication whose pairs become clusters as usual.
pub fn dedup(
    join: &DedupOptions,
    opinion: Option<&dyn SecondOpinion>,
    progress: ProgressFn<'_>,
) -> Result<DedupReport> {
    match opinion {
        None => run::dedup(&whole(join), progress),
        Some(opinion) => run::dedup_by(&whole(join), opinion, progress),
    }
}

/// The plan of [`dedup`].
pub fn plan(join: &DedupOptions, out: &Path, progress: ProgressFn<'_>) -> Result<PlanFile> {
    run::plan(&whole(join), out, progress)
}

/// A pair of a table: its rows, score, source, label and bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub a: u64,
    pub b: u64,
    pub a_key: String,
    pub b_key: String,
    pub score: f32,
    pub scored_by: String,
    pub label: String,
    pub phash_distance: Option<i64>,
}

/// The pairs of a run, in the order of the file.
pub fn pairs(out: &Path) -> Vec<Found> {
    let file = SerializedFileReader::new(File::open(out.join("pairs.parquet")).unwrap()).unwrap();
    let rows = file.get_row_iter(None).unwrap();
    rows.map(|row| {
        let row = row.unwrap();
        let of: BTreeMap<String, Field> =
            row.get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect();
        let long = |name: &str| match of[name] {
            Field::Long(value) => value as u64,
            ref other => panic!("{name}: {other:?}"),
        };
        let text = |name: &str| match &of[name] {
            Field::Str(text) => text.clone(),
            other => panic!("{name}: {other:?}"),
        };
        Found {
            a: long("id_a"),
            b: long("id_b"),
            a_key: text("key_a"),
            b_key: text("key_b"),
            score: match of["score"] {
                // Squared distances have their sign turned.
                Field::Float(score) => score.abs(),
                ref other => panic!("{other:?}"),
            },
            scored_by: text("scored_by"),
            label: text("label"),
            phash_distance: match of["phash_distance"] {
                Field::Long(bits) => Some(bits),
                _ => None,
            },
        }
    })
    .collect()
}

/// The bytes of all files of a run, by name.
pub fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(out).unwrap().map(std::result::Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

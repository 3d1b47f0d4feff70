//! Parts and vectors for the tests.

use std::path::Path;

use ocelli_index::{DescriptorSpec, Dtype, Model, Part, PartKind, PartWriter};
use ocelli_indexer::{TrainOptions, no_opq, silent, train};
pub use ocelli_test_support::clustered;

pub fn spec(dim: usize) -> DescriptorSpec {
    DescriptorSpec::Foreign { name: "test".to_owned(), dim: dim as u32 }
}

/// A part of one row per key.
pub fn descriptors(path: &Path, spec: &DescriptorSpec, rows: &[(&str, &[f32])]) -> Part {
    let mut writer = PartWriter::create(path, PartKind::Descriptors, Dtype::F32, spec).unwrap();
    for (key, row) in rows {
        writer.push(key, None, row).unwrap();
    }
    writer.finish().unwrap();
    Part::open(path).unwrap()
}

/// A part of descriptors named `PREFIX0.jpg`, `PREFIX1.jpg`, ….
pub fn numbered(path: &Path, prefix: &str, x: &[f32], dim: usize) -> Part {
    let keys: Vec<String> = (0..x.len() / dim).map(|i| format!("{prefix}{i}.jpg")).collect();
    let rows: Vec<(&str, &[f32])> =
        keys.iter().map(String::as_str).zip(x.chunks_exact(dim)).collect();
    descriptors(path, &spec(dim), &rows)
}

/// A part with all rows as the regions of one image.
pub fn regions(path: &Path, x: &[f32], dim: usize) -> Part {
    let mut writer = PartWriter::create(path, PartKind::Regions, Dtype::F32, &spec(dim)).unwrap();
    writer.push("image.jpg", None, x).unwrap();
    writer.finish().unwrap();
    Part::open(path).unwrap()
}

/// A model of five lists of rows of `dim` coordinates, trained in `dir`.
pub fn small_model(dir: &Path, dim: usize, seed: u64) -> Model {
    let parts = [regions(&dir.join("train.part"), &clustered(2000, dim, seed), dim)];
    let options = TrainOptions {
        nlist: 5,
        m: 4,
        niter: 4,
        force: true,
        threads: 1,
        ..TrainOptions::default()
    };
    train(&parts, &options, &no_opq, &silent).unwrap().0
}

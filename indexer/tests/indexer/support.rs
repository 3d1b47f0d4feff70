//! Parts and vectors for the tests.

use std::path::Path;

use ocelli_index::{DescriptorSpec, Dtype, Part, PartKind, PartWriter};
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

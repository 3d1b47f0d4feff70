//! Whole jobs with a small untrained network over generated photos.

mod bad_input;
mod descriptors;
mod device;
mod inputs;
mod items;
mod parquet;
mod parts;
mod planned;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use ocelli_index::{Combine, DescriptorSpec, InputConvention, Part, Precision, Whitening};
use ocelli_network::{Device, Network, NetworkOptions};
use ocelli_pictures::photos::Input;
use ocelli_weights::SettingsOptions;
use ocelli_weights::seeded::{self, SeededArch};
use tempfile::TempDir;

use super::*;
use crate::pipeline::PipelineOptions;

/// A job over all of an input.
fn encode(
    input: &Input,
    pipeline: &Pipeline,
    view_options: &ViewOptions,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    super::encode(Photos::find(input)?, pipeline, view_options, output, options)
}

/// A network of one stage, 64 channels, at the given sizes.
fn pipeline(folder: &Path, sizes: &[u32], whitening: Option<Whitening>) -> Pipeline {
    let weights = folder.join("weights.safetensors");
    if !weights.exists() {
        seeded::write(SeededArch::Resnet18, 7, 1, &weights).unwrap();
    }
    let network = Network::open(&weights, &NetworkOptions::default()).unwrap();
    let options = PipelineOptions { sizes: sizes.to_vec(), ..PipelineOptions::default() };
    Pipeline::new(network, options, whitening).unwrap()
}

fn view_options(sizes: &[u32]) -> ViewOptions {
    ViewOptions {
        sizes: sizes.to_vec(),
        filter: ocelli_index::ResizeFilter::Bilinear,
        upscale: true,
        exif: true,
        crop_first: ocelli_index::CropFirst::No,
        max_pixels: 10_000,
        min_side: 1,
    }
}

/// Stripes that differ from image to image.
fn photo(seed: u32) -> RgbImage {
    RgbImage::from_fn(40 + seed % 30, 50, |x, y| {
        let wave = (x * (1 + seed % 5) + y * (2 + seed % 7)) * 9 % 256;
        Rgb([wave as u8, (wave / 2) as u8, (seed * 8 % 256) as u8])
    })
}

fn photos(folder: &Path) -> Input {
    let root = folder.join("photos");
    fs::create_dir_all(root.join("sub")).unwrap();
    for seed in 0..24 {
        let name = format!("{}{seed:02}.png", if seed % 3 == 0 { "sub/" } else { "" });
        photo(seed).save(root.join(name)).unwrap();
    }
    let sound = fs::read(root.join("01.png")).unwrap();
    fs::write(root.join("05-cut.png"), &sound[..sound.len() / 2]).unwrap();
    fs::write(root.join("11-text.jpg"), "no image").unwrap();
    RgbImage::new(200, 51).save(root.join("99-large.png")).unwrap();
    Input::Directory(root)
}

fn output(folder: &Path, name: &str, kind: PartKind) -> Output {
    let part = folder.join(name);
    Output { rejected: Output::rejected_beside(&part), part, kind, dtype: Dtype::F32 }
}

fn workers_of(workers: usize) -> JobOptions<'static> {
    let (parts, model, planned, previews) = (None, None, None, None);
    JobOptions { workers, batch: 1, parts, model, pixel_hashes: true, planned, previews }
}

fn setup() -> (TempDir, Input) {
    let folder = tempfile::tempdir().unwrap();
    let input = photos(folder.path());
    (folder, input)
}

fn parts_of(images: u64) -> Option<Parts> {
    Some(Parts { images, task: 0, tasks: 1 })
}

/// Every file of a folder of parts, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // What a killed writer leaves behind.
        if !name.starts_with('.') {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

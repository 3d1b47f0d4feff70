//! Networks, pictures and sets that several tests use.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{NetworkOptions, Trainable};
use ocelli_weights::convert::Array;
use ocelli_weights::seeded::{self, SeededArch};
use ocelli_weights::write::safetensors_bytes;
use ocelli_weights::{SettingsOptions, Weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

/// A seeded network.
pub fn seeded(arch: SeededArch, stages: u32) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    seeded::write(arch, 1, stages, &path).unwrap();
    Weights::read(&path).unwrap()
}

/// A thin ResNet with bottlenecks and batch normalisation, and what its file does not say.
pub fn bottlenecks() -> (Weights, NetworkOptions) {
    let golden = "../golden/bottleneck_v1.weights.safetensors";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
    let weights = Weights::read(&path).unwrap();
    let form = Some(ocelli_index::Form::V1);
    let settings = SettingsOptions { form, bn_eps: Some(1e-3), ..SettingsOptions::default() };
    (weights, NetworkOptions { settings, ..NetworkOptions::default() })
}

/// The same weights with a random head of `dim`, rows of `channels`, and more metadata.
pub fn with_head(
    weights: &Weights,
    (dim, channels): (usize, usize),
    metadata: &[(&str, &str)],
) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut tensors = Vec::new();
    let array = |values: &[f64], shape: Vec<usize>| {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { dtype: Dtype::F64, shape, bytes }
    };
    for name in weights.names() {
        let shape = weights.shape(name).unwrap().to_vec();
        if let Ok(floats) = weights.floats(name, &vec![None; shape.len()]) {
            tensors.push((name.to_owned(), array(&floats.values, shape)));
        }
    }
    let mut random = |name: &str, shape: Vec<usize>, scale: f32| {
        let count = shape.iter().product();
        let values: Vec<f64> =
            (0..count).map(|_| f64::from(rng.random_range(-scale..scale))).collect();
        tensors.push((name.to_owned(), array(&values, shape)));
    };
    random("head.weight", vec![dim, channels], 0.5);
    random("head.mean", vec![channels], 0.1);
    random("head.bias", vec![dim], 0.1);
    let kept = ["ocelli.form", "ocelli.input", "input", "arch"];
    let kept = kept.iter().filter_map(|&key| Some((key, weights.metadata(key)?)));
    let all = kept.chain(metadata.iter().copied());
    let all = all.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Weights::parse(Path::new("with-head"), &safetensors_bytes(&tensors, all)).unwrap()
}

/// A picture with shapes and noise.
pub fn picture(seed: u64, (width, height): (u32, u32)) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let waves: Vec<f32> = (0..9).map(|_| rng.random_range(0.02..0.4)).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let channel = |at: usize| {
            let (x, y) = (x as f32, y as f32);
            let wave = (x * waves[at]).sin() * (y * waves[at + 3]).cos();
            let noise: f32 = rng.random_range(-20.0..20.0);
            (128.0 + 90.0 * wave + 60.0 * (waves[at + 6] - 0.2) + noise).clamp(0.0, 255.0) as u8
        };
        let channels: [usize; 3] = [0, 1, 2];
        Rgb(channels.map({
            let mut channel = channel;
            move |at| channel(at)
        }))
    })
}

/// Opens a network for training, R-MAC of three levels.
pub fn open(
    weights: &Weights,
    options: &NetworkOptions,
    precision: TrainingPrecision,
) -> Trainable {
    // Tests run side by side.
    ocelli_network::set_torch_threads(1);
    let pooling = "rmac:3".parse().unwrap();
    Trainable::load(weights, options, pooling, precision).unwrap()
}

/// Puts the photos of the first `classes` classes of a list into the split "val".
pub fn validate_on(list: &Path, classes: u64) {
    let text = std::fs::read_to_string(list).unwrap();
    let is_of = |line: &str, n: u64| line.contains(&format!("\"class\": \"{n}\""));
    let line = |line: &str| match (0..classes).any(|n| is_of(line, n)) {
        true => line.replace('}', ", \"split\": \"val\"}"),
        false => line.to_owned(),
    };
    std::fs::write(list, text.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
}

/// A set of `classes` patterns, each photo another part of its pattern in another light, and of one
/// photo whose class has no other. Returns the list's file.
pub fn write_set(folder: &Path, classes: u64, photos: u64) -> PathBuf {
    let mut lines = Vec::new();
    for class in 0..classes {
        let whole = picture(class + 100, (150, 120));
        for photo in 0..photos {
            let mut rng = ChaCha8Rng::seed_from_u64(class * 1000 + photo);
            let (x, y) = (rng.random_range(0..50), rng.random_range(0..40));
            let size = (rng.random_range(70..100), rng.random_range(60..80));
            let mut part = image::imageops::crop_imm(&whole, x, y, size.0, size.1).to_image();
            let light = rng.random_range(0.6f32..1.3);
            let lit = |v: u8| (f32::from(v) * light).clamp(0.0, 255.0) as u8;
            part.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(lit));
            let name = format!("{class}-{photo}.png");
            part.save(folder.join(&name)).unwrap();
            lines.push(format!(r#"{{"path": "{name}", "class": "{class}"}}"#));
        }
    }
    picture(7, (80, 60)).save(folder.join("alone.png")).unwrap();
    lines.push(r#"{"path": "alone.png", "class": "alone"}"#.to_owned());
    let list = folder.join("set.jsonl");
    std::fs::write(&list, lines.join("\n")).unwrap();
    list
}

use std::path::{Path, PathBuf};

use image::RgbImage;
use ocelli_index::{Layer, Pooling, Precision};
use ocelli_weights::convert::Array;
use ocelli_weights::write::safetensors_bytes;
use tempfile::TempDir;

use super::*;
use crate::device::Device;
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::pooling::{FeatureMap, pool};
use crate::seconds::NetworkSeconds;

const WIDTH: usize = 128;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(name)
}

/// As `draw` in `golden/make_vit.py`.
fn draw(name: &str, shape: &[usize], centre: f64, spread: f64) -> Array {
    let hash = |seed: u32, byte: u8| (seed ^ u32::from(byte)).wrapping_mul(16_777_619);
    let seed = name.bytes().fold(2_166_136_261, hash);
    let value = |at: u32| {
        let mut x = at.wrapping_add(seed);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        centre + spread * (f64::from(x) / 4_294_967_296.0 * 2.0 - 1.0)
    };
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count as u32).map(value).collect();
    Array::from_f64(shape.to_vec(), &values)
}

/// The layout of one of the golden file's networks.
#[derive(Clone, Copy)]
struct Thin {
    patch: usize,
    grid: usize,
    registers: usize,
    scaled: bool,
    class_token: bool,
}

const DINOV2: Thin = Thin { patch: 14, grid: 4, registers: 0, scaled: true, class_token: true };
const DINO: Thin = Thin { patch: 16, grid: 4, registers: 0, scaled: false, class_token: true };

/// As `weights` in `golden/make_vit.py`.
fn tensors(thin: Thin) -> Vec<(String, Array)> {
    let mut made: Vec<(String, Array)> = Vec::new();
    let mut put = |name: String, shape: &[usize], centre: f64, spread: f64| {
        let array = draw(&name, shape, centre, spread);
        made.push((name, array));
    };
    let places = thin.grid * thin.grid + usize::from(thin.class_token);
    let patch = [WIDTH, 3, thin.patch, thin.patch];
    if thin.class_token {
        put("cls_token".into(), &[1, 1, WIDTH], 0.0, 1.0);
    }
    put("pos_embed".into(), &[1, places, WIDTH], 0.0, 1.0);
    if thin.registers > 0 {
        put("register_tokens".into(), &[1, thin.registers, WIDTH], 0.0, 1.0);
    }
    let mut linear = |name: &str, shape: &[usize]| {
        let inputs: usize = shape[1..].iter().product();
        put(format!("{name}.weight"), shape, 0.0, (3.0 / inputs as f64).sqrt());
        put(format!("{name}.bias"), &shape[..1], 0.0, 0.2);
    };
    linear("patch_embed.proj", &patch);
    for n in 0..3 {
        linear(&format!("blocks.{n}.attn.qkv"), &[3 * WIDTH, WIDTH]);
        linear(&format!("blocks.{n}.attn.proj"), &[WIDTH, WIDTH]);
        linear(&format!("blocks.{n}.mlp.fc1"), &[4 * WIDTH, WIDTH]);
        linear(&format!("blocks.{n}.mlp.fc2"), &[WIDTH, 4 * WIDTH]);
    }
    let mut norm = |name: &str| {
        put(format!("{name}.weight"), &[WIDTH], 1.0, 0.4);
        put(format!("{name}.bias"), &[WIDTH], 0.0, 0.2);
    };
    for n in 0..3 {
        norm(&format!("blocks.{n}.norm1"));
        norm(&format!("blocks.{n}.norm2"));
    }
    norm("norm");
    for name in (0..3).flat_map(|n| [1, 2].map(|i| format!("blocks.{n}.ls{i}.gamma"))) {
        if thin.scaled {
            put(name, &[WIDTH], 0.6, 0.4);
        }
    }
    made
}

/// A file of these tensors; `transformer` is what the metadata say of it.
fn write(tensors: &[(String, Array)], transformer: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vit.safetensors");
    let pairs = [("ocelli.input", "torchvision-rgb"), ("ocelli.transformer", transformer)];
    let metadata = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    std::fs::write(&path, safetensors_bytes(tensors, metadata)).unwrap();
    (folder, path)
}

fn open(thin: Thin, transformer: &str, options: &NetworkOptions) -> Network {
    let (_folder, path) = write(&tensors(thin), transformer);
    Network::open(&path, options).unwrap()
}

fn picture(width: u32, height: u32) -> RgbImage {
    let whole = image::open(golden("picture.png")).unwrap().into_rgb8();
    image::imageops::crop_imm(&whole, 0, 0, width, height).to_image()
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot: f64 = a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum();
    let square: f64 = a.iter().map(|&a| f64::from(a).powi(2)).sum();
    dot / (square * b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// The pooled row of an image, L2-normalised.
fn row(network: &Network, image: &RgbImage, pooling: &Pooling) -> Vec<f32> {
    let finish = network.finish(None).unwrap();
    let mut seconds = NetworkSeconds::default();
    let rows = network.rows(&[image], pooling, (&finish, true), &mut seconds).unwrap();
    let row = rows.into_iter().next().unwrap().unwrap();
    assert!(row.active);
    row.rows
}

/// Class token and map against PyTorch: every layout, sizes that are multiples of the patch and
/// odd ones, as fed by the CPU and as a device is, in both precisions.
#[test]
fn networks_match_pytorch() {
    let expected = Weights::read(&golden("vit.golden.safetensors")).unwrap();
    let no_class = Thin { grid: 3, class_token: false, ..DINO };
    let cases = [
        ("dinov2", DINOV2, "{}", 3, "vit-128-3-14"),
        ("dinov2_block2", DINOV2, "{}", 2, "vit-128-3-14"),
        ("dinov2_reg", Thin { registers: 4, ..DINOV2 }, "{}", 3, "vit-128-3-14-reg4"),
        ("dino", DINO, r#"{"heads": 4}"#, 3, "vit-128-3-16-heads4"),
        ("no_class", no_class, "{}", 3, "vit-128-3-16"),
    ];
    for (case, thin, transformer, last, arch) in cases {
        for (device, precision, least) in [
            (Device::Cpu, Precision::F32, 0.999_999),
            (Device::CpuAsDevice, Precision::F32, 0.999_999),
            (Device::Cpu, Precision::Bf16, 0.999),
        ] {
            let last_stage = Some(Layer::Stage(last));
            let options =
                NetworkOptions { device, precision, last_stage, ..NetworkOptions::default() };
            let network = open(thin, transformer, &options);
            assert_eq!(network.identity().arch, arch);
            assert_eq!((network.channels(), network.stride() as usize), (WIDTH, thin.patch));
            for (width, height) in [(131, 97), (64, 80), (56, 56), (33, 17)] {
                let image = picture(width, height);
                let key = format!("{case}.{width}x{height}");
                let size = [height as usize, width as usize].map(|n| n / thin.patch);
                let shape = [Some(WIDTH), Some(size[0]), Some(size[1])];
                let map = expected.floats(&format!("{key}.map"), &shape).unwrap().values;
                let found = network.feature_map(&image).unwrap();
                assert_eq!(found.size(), [WIDTH, size[0], size[1]].map(|n| n as i64));
                let found = Vec::<f32>::try_from(found.reshape([-1])).unwrap();
                let near = cosine(&found, &map);
                assert!(near > least, "{key} {device:?} {precision:?}: {near}");
                let cls = format!("{key}.cls");
                assert_eq!(network.check_pooling(&Pooling::Cls).is_ok(), thin.class_token);
                if thin.class_token {
                    let cls = expected.floats(&cls, &[Some(WIDTH)]).unwrap().values;
                    let near = cosine(&row(&network, &image, &Pooling::Cls), &cls);
                    assert!(near > least, "{cls:?} {device:?} {precision:?}: {near}");
                }
            }
        }
    }
}

/// Half of a transformer's map is below zero: a region's maximum may be, too, and the
/// generalised mean counts what is below its floor as the floor. A device does the same.
#[test]
fn pooling_takes_values_below_zero() {
    let cpu = open(DINOV2, "{}", &NetworkOptions::default());
    let options = NetworkOptions { device: Device::CpuAsDevice, ..NetworkOptions::default() };
    let device = open(DINOV2, "{}", &options);
    let image = picture(60, 45);
    let map = FeatureMap::from_tensor(&cpu.feature_map(&image).unwrap()).unwrap();
    let values = Vec::<f32>::try_from(cpu.feature_map(&image).unwrap().reshape([-1])).unwrap();
    let planes: Vec<&[f32]> = values.chunks(3 * 4).collect();
    let maximum = |plane: &&[f32]| plane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let maxima: Vec<f32> = planes.iter().map(maximum).collect();
    assert!(values.iter().any(|&v| v < 0.0) && maxima.iter().any(|&v| v < 0.0));
    assert_eq!(pool(&map, &Pooling::Mac, &[]), maxima);
    let gem = |plane: &&[f32]| {
        let sum: f64 = plane.iter().map(|&v| f64::from(v.max(1e-6)).powi(3)).sum();
        (sum / plane.len() as f64).cbrt()
    };
    let gem: Vec<f64> = planes.iter().map(gem).collect();
    assert!(cosine(&row(&cpu, &image, &Pooling::Gem { p: 3.0 }), &gem) > 0.999_999);
    for text in ["mac", "spoc", "gem:3", "rmac:3", "rmac:2:image-pixels", "cls"] {
        let pooling: Pooling = text.parse().unwrap();
        let expected: Vec<f64> =
            row(&cpu, &image, &pooling).iter().map(|&v| f64::from(v)).collect();
        let found = row(&device, &image, &pooling);
        assert!(cosine(&found, &expected) > 0.999_999, "{text}");
    }
}

/// The same network by Hugging Face's names, with a prefix, and by timm's with a classifier,
/// which is no projection of rows.
#[test]
fn other_names_are_the_same_network() {
    let image = picture(64, 80);
    let row_of = |tensors: &[(String, Array)]| {
        let (_folder, path) = write(tensors, "{}");
        let weights = Weights::read(&path).unwrap();
        let backbone = ocelli_weights::Backbone::of(&weights).unwrap();
        assert!(backbone.unknown_names(&weights).is_empty());
        row(&Network::open(&path, &NetworkOptions::default()).unwrap(), &image, &Pooling::Cls)
    };
    let split = |array: &Array, part: usize| {
        let mut shape = array.shape.clone();
        shape[0] /= 3;
        let bytes = array.bytes.chunks(array.bytes.len() / 3).nth(part).unwrap().to_vec();
        Array { dtype: array.dtype, shape, bytes }
    };
    for (thin, prefix, renamed) in [
        (
            Thin { registers: 4, ..DINOV2 },
            "dinov2.",
            &[
                ("norm.", "layernorm."),
                ("attn.proj", "attention.output.dense"),
                ("ls1.gamma", "layer_scale1.lambda1"),
                ("ls2.gamma", "layer_scale2.lambda1"),
            ][..],
        ),
        (
            DINO,
            "vit.",
            &[
                ("norm.", "layernorm."),
                ("norm1", "layernorm_before"),
                ("norm2", "layernorm_after"),
                ("attn.proj", "attention.output.dense"),
                ("mlp.fc1", "intermediate.dense"),
                ("mlp.fc2", "output.dense"),
            ][..],
        ),
    ] {
        let own = tensors(thin);
        let expected: Vec<f64> = row_of(&own).iter().map(|&v| f64::from(v)).collect();
        let mut other = Vec::new();
        for (name, array) in &own {
            let name = match name.as_str() {
                "cls_token" | "register_tokens" => format!("embeddings.{name}"),
                "pos_embed" => "embeddings.position_embeddings".to_owned(),
                name => name
                    .replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
                    .replace("blocks.", "encoder.layer."),
            };
            let name = renamed.iter().fold(name, |name, (from, to)| {
                if name.starts_with(from) || !from.ends_with('.') {
                    name.replace(from, to)
                } else {
                    name
                }
            });
            match name.split_once("attn.qkv") {
                None => other.push((format!("{prefix}{name}"), array.clone())),
                Some((block, field)) => {
                    for (part, word) in ["query", "key", "value"].iter().enumerate() {
                        let name = format!("{prefix}{block}attention.attention.{word}{field}");
                        other.push((name, split(array, part)));
                    }
                }
            }
        }
        assert!(cosine(&row_of(&other), &expected) > 0.999_999, "{prefix}");
    }
    let own = tensors(DINO);
    let expected: Vec<f64> = row_of(&own).iter().map(|&v| f64::from(v)).collect();
    let mut classifier = own.clone();
    classifier.push(("head.weight".to_owned(), draw("h", &[7, WIDTH], 0.0, 1.0)));
    classifier.push(("head.bias".to_owned(), draw("b", &[7], 0.0, 1.0)));
    assert!(cosine(&row_of(&classifier), &expected) > 0.999_999);
}

/// What is wrong with a file is said when it is opened.
#[test]
fn what_is_wrong_is_said() {
    let message = |tensors: &[(String, Array)], transformer: &str, last: Option<u32>| {
        let (_folder, path) = write(tensors, transformer);
        let last_stage = last.map(Layer::Stage);
        let options = NetworkOptions { last_stage, ..NetworkOptions::default() };
        Network::open(&path, &options).err().unwrap().to_string()
    };
    let own = tensors(DINOV2);
    let without = |name: &str| -> Vec<(String, Array)> {
        own.iter().filter(|(found, _)| found != name).cloned().collect()
    };
    let with = |name: &str, shape: &[usize]| {
        let mut tensors = without(name);
        tensors.push((name.to_owned(), draw(name, shape, 0.0, 1.0)));
        tensors
    };
    for (tensors, transformer, last, expected) in [
        (own.clone(), r#"{"heads": 3}"#, None, "heads: expected a divisor of the width 128"),
        (own.clone(), r#"{"norm_eps": -1}"#, None, "norm_eps: expected 0 or more"),
        (own.clone(), r#"{"position_offset": 1}"#, None, "position_offset: expected"),
        (own.clone(), r#"{"patch": 14}"#, None, "unknown field `patch`"),
        (own.clone(), "{}", Some(4), "expected 1 to 3"),
        (without("blocks.1.mlp.fc2.weight"), "{}", None, "blocks.1.mlp.fc2.weight is missing"),
        (without("pos_embed"), "{}", None, "tensor pos_embed: expected the shape"),
        (with("pos_embed", &[1, 16, WIDTH]), "{}", None, "positions of a square of patches"),
        (with("cls_token", &[1, 2, WIDTH]), "{}", None, "cls_token has shape (1, 2, 128)"),
        (with("blocks.200.norm1.weight", &[WIDTH]), "{}", None, "at most 99 blocks"),
    ] {
        let found = message(&tensors, transformer, last);
        assert!(found.contains(expected), "{found}");
    }
    let network = open(Thin { class_token: false, ..DINO }, "{}", &NetworkOptions::default());
    assert_eq!(network.identity().arch, "vit-128-3-16");
    let error = network.check_pooling(&Pooling::Cls).unwrap_err().to_string();
    assert!(error.contains("or a transformer with a class token, found cls"), "{error}");
    let small = network.feature_map(&RgbImage::new(15, 300)).unwrap_err().to_string();
    assert!(small.contains("15x300 pixels are too few"), "{small}");
}

/// By hand: one patch row of two, one class token.
#[test]
fn operations_are_counted() {
    let network = open(DINO, "{}", &NetworkOptions::default());
    let (patches, tokens, width) = (2.0, 3.0, 128.0);
    let block = 2.0 * tokens * (3.0 + 1.0 + 4.0 + 4.0) * width * width
        + 2.0 * (2.0 * tokens * tokens * width);
    let all = 2.0 * patches * 3.0 * 256.0 * width + 3.0 * block;
    assert_eq!(network.flop(33, 17), Some(all));
}

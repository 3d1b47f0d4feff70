//! Against NumPy (`golden/make_onnx.py`), where ONNX Runtime is to be had: the variable
//! `OCELLI_ENCODER_ONNXRUNTIME` names its library or folder, as for the program.

use std::collections::BTreeMap;

use image::RgbImage;
use ocelli_index::{Layer, Pooling, Precision};
use tempfile::TempDir;

use super::*;
use crate::network::Network;
use crate::options::NetworkOptions;
use crate::seconds::NetworkSeconds;

const VARIABLE: &str = "OCELLI_ENCODER_ONNXRUNTIME";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(name)
}

fn options() -> NetworkOptions {
    let onnxruntime = std::env::var_os(VARIABLE).map(PathBuf::from);
    NetworkOptions { onnxruntime, ..NetworkOptions::default() }
}

/// Whether ONNX Runtime is there. It must be where the variable names it.
#[allow(clippy::print_stderr, reason = "says that it is skipped")]
fn is_there(test: &str) -> bool {
    let options = options();
    match Network::open(&golden("onnx/bytes.onnx"), &options) {
        Err(error @ Error::OnnxRuntime { .. }) if options.onnxruntime.is_none() => {
            eprintln!("SKIPPED {test}: {error} ({VARIABLE} names it)");
            false
        }
        opened => opened.map(|_| true).unwrap(),
    }
}

/// A copy of a golden network with a JSON file beside it.
fn beside(name: &str, json: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::copy(golden("onnx").join(name), &path).unwrap();
    fs::write(path.with_extension("json"), json).unwrap();
    (folder, path)
}

fn picture(width: u32, height: u32) -> RgbImage {
    let whole = image::open(golden("picture.png")).unwrap().into_rgb8();
    image::imageops::crop_imm(&whole, 0, 0, width, height).to_image()
}

/// L2-normalised rows of images of one size.
fn rows(network: &Network, images: &[&RgbImage], pooling: &Pooling) -> Vec<Vec<f32>> {
    network.check_pooling(pooling).unwrap();
    let finish = network.finish(None).unwrap();
    let mut seconds = NetworkSeconds::default();
    let made = network.rows(images, pooling, (&finish, true), &mut seconds).unwrap();
    made.into_iter().map(|made| made.unwrap().rows).collect()
}

fn assert_near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let norm = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected / norm).abs() < 2e-6, "{found} {}", expected / norm);
    }
}

/// Bytes and float32, both layouts, an embedding and a map, any size and one size, one image and
/// several, several threads over one network.
#[test]
fn networks_match_numpy() {
    if !is_there("networks_match_numpy") {
        return;
    }
    let expected = fs::read(golden("onnx/expected.json")).unwrap();
    let expected: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&expected).unwrap();
    let bytes = Network::open(&golden("onnx/bytes.onnx"), &options()).unwrap();
    let identity = bytes.identity();
    assert_eq!(identity.arch, "onnx-embedding-embedding");
    assert_eq!((identity.input, bytes.channels()), (InputConvention::RawRgb, 5));
    assert_eq!(bytes.pooling(), Some(Pooling::Cls));

    let json = r#"{"input": "unit-rgb", "onnx": {"output": "map"}}"#;
    let (_folder, path) = beside("two.onnx", json);
    let map = Network::open(&path, &options()).unwrap();
    assert_eq!((map.identity().arch.as_str(), map.channels()), ("onnx-map-map", 6));
    assert_ne!(map.identity().weights, identity.weights);
    let json = r#"{"input": "unit-rgb", "onnx": {"output": "embedding"}}"#;
    let (_folder, path) = beside("two.onnx", json);
    let embedding = Network::open(&path, &options()).unwrap();
    let (_folder, path) = beside("fixed.onnx", r#"{"input": "unit-rgb"}"#);
    let fixed = Network::open(&path, &options()).unwrap();
    assert_eq!(fixed.identity().arch, "onnx-map-map");

    for (name, image) in [("131x97", picture(131, 97)), ("40x24", picture(40, 24))] {
        let [max, mean] = ["max", "mean"].map(|how| &expected[&format!("map.{name}.{how}")]);
        let vector = &expected[&format!("embedding.{name}")];
        for network in [&bytes, &embedding] {
            for row in rows(network, &[&image, &image, &image], &Pooling::Cls) {
                assert_near(&row, vector);
            }
        }
        assert_near(&rows(&map, &[&image], &Pooling::Mac)[0], max);
        assert_near(&rows(&map, &[&image], &Pooling::Spoc)[0], mean);
        if name == "40x24" {
            for row in rows(&fixed, &[&image, &image], &Pooling::Mac) {
                assert_near(&row, max);
            }
        } else {
            // Squeezed into the one size.
            assert_eq!(fixed.feature_map(&image).unwrap().size(), [6, 12, 20]);
        }
        let clones: Vec<Network> = (0..3).map(|_| bytes.try_clone().unwrap()).collect();
        std::thread::scope(|scope| {
            for network in clones {
                let (image, vector) = (&image, &vector);
                scope.spawn(move || {
                    assert_near(&rows(&network, &[image], &Pooling::Cls)[0], vector)
                });
            }
        });
    }
}

/// What cannot be is said when the network is opened.
#[test]
fn what_cannot_be_is_refused() {
    let message = |path: &Path, options: &NetworkOptions| {
        Network::open(path, options).err().unwrap().to_string()
    };
    let two = golden("onnx/two.onnx");
    let precision = NetworkOptions { precision: Precision::Bf16, ..options() };
    assert!(message(&two, &precision).contains("expected precision f32"));
    let last_stage = Some(Layer::Stage(2));
    let layer = NetworkOptions { last_stage, ..options() };
    assert!(message(&two, &layer).contains("no other last stage than 1"));
    let cuda = NetworkOptions { device: crate::Device::Cuda(0), ..options() };
    assert!(message(&two, &cuda).contains("expected device cpu"));
    let absent = golden("onnx/none.onnx");
    assert!(message(&absent, &options()).contains("none.onnx"));

    if !is_there("what_cannot_be_is_refused") {
        return;
    }
    let found = message(&two, &options());
    assert!(found.contains("expected one output, found map, embedding"), "{found}");
    let (_folder, path) = beside("two.onnx", r#"{"onnx": {"output": "map"}}"#);
    let found = message(&path, &options());
    assert!(found.contains("the input convention of this network is given nowhere"), "{found}");
    let (_folder, path) = beside("bytes.onnx", r#"{"input": "unit-rgb"}"#);
    let found = message(&path, &options());
    assert!(found.contains("raw-rgb, found unit-rgb"), "{found}");
    let (_folder, path) = beside("bytes.onnx", r#"{"onnx": {"layer": "x"}}"#);
    let found = message(&path, &options());
    assert!(found.contains("unknown field `layer`"), "{found}");
    let broken = path.with_file_name("broken.onnx");
    fs::write(&broken, b"\x08\x08no network").unwrap();
    let found = message(&broken, &options());
    assert!(found.contains("broken.onnx: ONNX Runtime: "), "{found}");

    let bytes = Network::open(&golden("onnx/bytes.onnx"), &options()).unwrap();
    let found = bytes.check_pooling(&Pooling::Mac).unwrap_err().to_string();
    assert!(found.contains("expected cls, since the network's output is an embedding"), "{found}");
}

/// A library that is none is an error with a way out, never a panic.
#[test]
fn a_runtime_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    fs::write(&library, b"no library").unwrap();
    for library in [library, folder.path().join("absent.so")] {
        let options = NetworkOptions { onnxruntime: Some(library), ..NetworkOptions::default() };
        let error = Network::open(&golden("onnx/bytes.onnx"), &options).err().unwrap();
        assert!(matches!(error, Error::OnnxRuntime { .. }), "{error}");
        assert!(error.to_string().contains("pip install onnxruntime"), "{error}");
    }
}

//! Weights that are not what they should be, and weights that Ocelli makes itself.

mod common;
mod layouts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use ocelli_encoder::Error;
use ocelli_encoder::pipeline::{Pipeline, PipelineOptions};
use ocelli_index::{ErrorCode, Form, InputConvention, Layer};
use ocelli_network::{Error as NetworkError, Network, NetworkOptions};
use ocelli_weights::SettingsOptions;
use ocelli_weights::seeded::{self, SeededArch};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use common::decode;

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// Opens with everything given, so that only the tensors can be at fault.
fn open(path: &Path) -> ocelli_network::Result<Network> {
    let options = NetworkOptions {
        settings: SettingsOptions {
            form: Some(Form::V1),
            input: Some(InputConvention::CaffeBgr),
            ..SettingsOptions::default()
        },
        ..NetworkOptions::default()
    };
    Network::open(path, &options)
}

/// Weights of the thin v1 network after `edit`, without metadata.
fn edited(folder: &Path, edit: impl FnOnce(&mut BTreeMap<String, TensorView<'_>>)) -> PathBuf {
    let bytes = std::fs::read(own("bottleneck_v1.weights.safetensors")).unwrap();
    let mut tensors: BTreeMap<_, _> =
        SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().collect();
    edit(&mut tensors);
    let path = folder.join("edited.safetensors");
    std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    path
}

/// What wrappers put before the names changes neither what is read nor the hash; a file with two
/// backbones is not guessed at.
#[test]
fn a_prefix_of_the_backbone_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let plain = open(&edited(folder.path(), |_| ())).unwrap().identity().weights;
    for prefix in ["module.", "model.backbone."] {
        let path = edited(folder.path(), |tensors| {
            let prefixed = |(name, tensor)| (format!("{prefix}{name}"), tensor);
            *tensors = std::mem::take(tensors).into_iter().map(prefixed).collect();
        });
        assert_eq!(open(&path).unwrap().identity().weights, plain, "{prefix}");
    }
    let path = edited(folder.path(), |tensors| {
        let all = std::mem::take(tensors).into_iter();
        let twice = all.flat_map(|(name, tensor)| {
            [(format!("a.{name}"), tensor.clone()), (format!("b.{name}"), tensor)]
        });
        *tensors = twice.collect();
    });
    let message = open(&path).err().unwrap().to_string();
    assert!(message.contains("conv1.weight"), "{message}");
}

/// The message must name the file, the tensor and both shapes: that is all a user has to go by.
#[test]
fn missing_and_misshapen_tensors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "layer2.0.conv2.weight",
        "layer1.1.bn3.running_var",
        "layer3.0.downsample.0.weight",
        "layer2.0.bn1.bias",
    ] {
        let path = edited(folder.path(), |tensors| assert!(tensors.remove(name).is_some()));
        let message = open(&path).err().unwrap().to_string();
        assert!(
            message.contains(name) && message.contains("missing") && message.contains("edited"),
            "{message}"
        );
    }

    let path = edited(folder.path(), |tensors| {
        let wrong = tensors["layer1.0.conv1.weight"].clone(); // (4, 8, 1, 1)
        tensors.insert("layer2.0.conv2.weight".to_string(), wrong);
    });
    let error = open(&path).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: tensor layer2.0.conv2.weight has shape (4, 8, 1, 1), expected (_, 8, 3, 3)",
            path.display()
        )
    );

    let path = edited(folder.path(), |tensors| {
        let nan = Box::leak(Box::new([f32::NAN.to_le_bytes(); 8])).as_flattened();
        tensors.insert(
            "bn1.bias".to_string(),
            TensorView::new(safetensors::Dtype::F32, vec![8], nan).unwrap(),
        );
    });
    let message = open(&path).err().unwrap().to_string();
    assert!(message.contains("bn1.bias") && message.contains("not finite"), "{message}");
}

/// No first byte of a foreign or damaged file may lead to a panic or to a network.
#[test]
fn foreign_and_truncated_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let good = std::fs::read(own("bottleneck_v1.weights.safetensors")).unwrap();
    let mut lied = good.clone();
    lied[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases: [(&[u8], &str); 14] = [
        (b"", "found an empty file"),
        (&good[..5], "truncated"),
        (&good[..100], "truncated"),
        (&good[..good.len() - 1], "truncated"),
        (&lied, "truncated"),
        (b"PK\x03\x04 and so on, a zip file", "a zip archive"),
        (b"\x89HDF\r\n\x1a\n and so on, an HDF5 file", "HDF5"),
        (b"The quick brown fox jumps over the lazy dog", "a text that begins with \"The quick"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", "unknown file type"),
        (b"<!DOCTYPE html><html><body>Sign in", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c", "(ocelli-encoder weights convert)"),
        (b"<!-- a -{ page", "an XML document"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "a gzip file"),
    ];
    for (bytes, word) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path).err().unwrap();
        assert_eq!(error.code(), ErrorCode::DataLoss);
        let message = error.to_string();
        assert!(message.contains(word) && message.contains("weights.safetensors"), "{message}");
    }
    // A damaged byte anywhere in the header gives an error or, in a name, a missing tensor.
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for at in (8..8 + header).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x15;
        std::fs::write(&path, bytes).unwrap();
        let _ = open(&path);
    }
    assert_eq!(open(&folder.path().join("absent")).err().unwrap().code(), ErrorCode::NotFound);
    let other =
        edited(folder.path(), |tensors| tensors.retain(|name, _| !name.starts_with("layer")));
    assert!(open(&other).err().unwrap().to_string().contains("expected a ResNet, VGG"));
}

/// A network run in the wrong form gives plausible nonsense: it must be asked for.
/// The first would fill the memory, the second has no bytes at all.
#[test]
fn what_is_no_file_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    for path in [Path::new("/dev/zero"), folder.path()] {
        let error = open(path).map(drop).unwrap_err();
        assert!(error.to_string().contains("found no regular file"), "{error}");
    }
}

#[test]
fn what_is_given_nowhere_is_asked_for() {
    let path = own("bottleneck_v1_5.weights.safetensors");
    let error = Network::open(&path, &NetworkOptions::default()).err().unwrap();
    assert_eq!(error.code(), ErrorCode::FailedPrecondition);
    assert!(error.to_string().contains("--input caffe-bgr"), "{error}");
    let options = NetworkOptions {
        settings: SettingsOptions {
            input: Some(InputConvention::TorchvisionRgb),
            ..SettingsOptions::default()
        },
        ..NetworkOptions::default()
    };
    let message = Network::open(&path, &options).err().unwrap().to_string();
    assert!(message.contains("--form v1 (") && message.contains("ocelli.form"), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("net.json");
    for bad in [r#"{"form": "v2"}"#, r#"{"from": "v1"}"#, "{"] {
        std::fs::write(&config, bad).unwrap();
        let options = NetworkOptions {
            settings: SettingsOptions {
                config: Some(config.clone()),
                ..SettingsOptions::default()
            },
            ..NetworkOptions::default()
        };
        let message = Network::open(&path, &options).err().unwrap().to_string();
        assert!(message.contains("net.json"), "{message}");
    }
    let options = NetworkOptions { last_stage: Some(Layer::Stage(5)), ..NetworkOptions::default() };
    assert!(Network::open(&path, &options).err().unwrap().to_string().contains("1 to 4"));
}

/// Seeded weights: the same bytes each time, other bytes for another seed, activations of about 1
/// at any depth, and descriptors that tell two pictures apart.
#[test]
fn seeded_networks_are_reproducible_and_alive() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    seeded::write(SeededArch::Resnet18, 7, 3, &path("a")).unwrap();
    seeded::write(SeededArch::Resnet18, 7, 3, &path("b")).unwrap();
    seeded::write(SeededArch::Resnet18, 8, 3, &path("c")).unwrap();
    let read = |name: &str| std::fs::read(path(name)).unwrap();
    assert!(read("a") == read("b") && read("a") != read("c"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary file stays");
    let hash = |name: &str| {
        Network::open(&path(name), &NetworkOptions::default()).unwrap().identity().weights
    };
    assert!(hash("a") == hash("b") && hash("a") != hash("c"));

    let picture = decode(&own("picture.png"));
    let turned = image::imageops::rotate180(&picture);
    seeded::write(SeededArch::Resnet50, 1, 4, &path("d")).unwrap();
    seeded::write(SeededArch::EfficientnetLite0, 1, 7, &path("e")).unwrap();
    for (name, arch, channels) in
        [("a", "resnet18", 256), ("d", "resnet50", 2048), ("e", "efficientnet-lite0", 1280)]
    {
        let network = Network::open(&path(name), &NetworkOptions::default()).unwrap();
        assert_eq!((network.identity().arch.as_str(), network.channels()), (arch, channels));
        let map = network.feature_map(&picture).unwrap().flatten(0, -1);
        let map = Vec::<f32>::try_from(map).unwrap();
        let mean = map.iter().sum::<f32>() / map.len() as f32;
        assert!((0.05..20.0).contains(&mean), "{arch}: mean activation {mean}");
        let pipeline = Pipeline::new(network, PipelineOptions::default(), None).unwrap();
        let describe = |image: &RgbImage| pipeline.descriptor(std::slice::from_ref(image)).unwrap();
        let cosine: f32 =
            describe(&picture).iter().zip(describe(&turned)).map(|(a, b)| a * b).sum();
        assert!(cosine < 0.999, "{arch}: {cosine}");
    }

    assert!(seeded::write(SeededArch::Resnet18, 7, 5, &path("f")).is_err());
    assert!(seeded::write(SeededArch::EfficientnetLite0, 7, 8, &path("f")).is_err());
    let error = seeded::write(SeededArch::Resnet18, 7, 1, &path("absent/f")).unwrap_err();
    assert!(error.to_string().contains("absent/f: cannot create: "), "{error}");
    assert!(!path("f").exists());
}

/// The hazard is 0 / 0: a network whose last layer is dead must be an error, not a NaN descriptor.
#[test]
fn a_dead_network_gives_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), |tensors| {
        // relu(shortcut + branch) is zero where both end in a large negative bias.
        let bias = Box::leak(Box::new([(-1e6f32).to_le_bytes(); 64])).as_flattened();
        for name in ["layer3.0.bn3.bias", "layer3.0.downsample.1.bias", "layer3.1.bn3.bias"] {
            tensors.insert(
                name.to_string(),
                TensorView::new(safetensors::Dtype::F32, vec![64], bias).unwrap(),
            );
        }
    });
    let pipeline = Pipeline::new(open(&path).unwrap(), PipelineOptions::default(), None).unwrap();
    let image = RgbImage::from_pixel(40, 30, Rgb([10, 200, 30]));
    for result in [pipeline.descriptor(std::slice::from_ref(&image)), pipeline.regions(&[image])] {
        assert!(
            matches!(result, Err(Error::Network(NetworkError::NoActivation { .. }))),
            "{result:?}"
        );
    }
    assert!(matches!(pipeline.descriptor(&[]), Err(Error::Invalid { .. })));
    let empty = pipeline.descriptor(&[RgbImage::new(0, 3)]);
    assert!(matches!(empty, Err(Error::Network(NetworkError::Invalid { .. }))), "{empty:?}");
    assert!(pipeline.network().feature_map(&RgbImage::new(1, 1)).is_ok());
}

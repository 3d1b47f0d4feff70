//! The encoder against values that were computed elsewhere.
//!
//! `golden/` holds thin networks and a picture with what numpy makes of them; these run always. The
//! shared data directory (environment variable `OCELLI_DATA`, default `../shared/data` beside the
//! repository) holds trained networks; where it is absent those tests say that they were skipped,
//! and fail if `OCELLI_REQUIRE_DATA=1`.

mod common;

use std::path::{Path, PathBuf};

use image::RgbImage;
use ocelli_encoder::pipeline::{Pipeline, PipelineOptions, pool_regions};
use ocelli_index::{
    DescriptorSpec, ErrorCode, Form, Grid, InputConvention, Layer, Pooling, Whitening,
};
use ocelli_network::Device;
use ocelli_network::pooling::{image_grid, rigid_grid};
use ocelli_network::{Network, NetworkOptions};
use ocelli_weights::SettingsOptions;

use common::{Golden, decode, relative_error};

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn rmac(levels: u32) -> Pooling {
    Pooling::Rmac { levels, grid: Grid::FeatureMap }
}

fn pipeline(network: &Network, pooling: Pooling, whitening: Option<Whitening>) -> Pipeline {
    let options = PipelineOptions { pooling, ..PipelineOptions::default() };
    Pipeline::new(network.try_clone().unwrap(), options, whitening).unwrap()
}

/// The whitening of a golden file, declared to be learned on what `pooling` makes of `network`.
fn whitening(
    network: &Network,
    pooling: Pooling,
    mean: Vec<f32>,
    projection: Vec<f32>,
) -> Whitening {
    Whitening { mean, projection, learned_on: pipeline(network, pooling, None).spec().clone() }
}

/// Feature map, regions and every pooled vector that both sets of golden files have.
fn check(network: &Network, image: &RgbImage, golden: &Golden, white: (Vec<f32>, Vec<f32>)) {
    let map = network.feature_map(image).unwrap();
    let (_, shape) = golden.floats("feature");
    let size: Vec<usize> = map.size().iter().map(|&n| n as usize).collect();
    assert_eq!(size, shape);
    golden.assert_near("feature", &Vec::<f32>::try_from(map.reshape([-1])).unwrap());

    let views = std::slice::from_ref(image);
    let describe = |pooling| pipeline(network, pooling, None).descriptor(views).unwrap();
    golden.assert_near("mac", &describe(Pooling::Mac));
    golden.assert_near("spoc", &describe(Pooling::Spoc));
    golden.assert_near("gem3", &describe(Pooling::Gem { p: 3.0 }));
    for levels in 1..=3 {
        assert_eq!(
            rigid_grid(size[1], size[2], levels),
            golden.regions(&format!("regions_L{levels}"))
        );
        golden.assert_near(&format!("rmac_L{levels}"), &describe(rmac(levels)));
    }

    let white = whitening(network, rmac(3), white.0, white.1);
    let whole = pipeline(network, rmac(3), Some(white.clone()));
    let descriptor = whole.descriptor(views).unwrap();
    golden.assert_near("rmac_L3_white", &descriptor);
    assert_eq!(whole.dim(), descriptor.len());

    // The same from region vectors kept on disk, whitened before or after.
    let rows = pipeline(network, rmac(3), None).regions(views).unwrap();
    assert_eq!(rows.len(), golden.regions("regions_L3").len() * network.channels());
    let later = pool_regions(&rows, network.channels(), Some(&white)).unwrap();
    // A device whitens in float64, regions from disk are whitened in float32.
    let near = if network.device() == Device::Cpu { 1e-6 } else { 1e-5 };
    assert!(relative_error(&later, &descriptor) < near);
    let earlier = pool_regions(&whole.regions(views).unwrap(), whole.dim(), None).unwrap();
    assert!(relative_error(&earlier, &descriptor) < near);
}

/// Three networks that differ in all that weights differ in; each names its form and input in
/// another way: metadata, explicit options, and metadata without a form (basic blocks have none).
#[test]
fn thin_networks_match_numpy() {
    let explicit = NetworkOptions {
        settings: SettingsOptions {
            form: Some(Form::V1_5),
            input: Some(InputConvention::TorchvisionRgb),
            ..SettingsOptions::default()
        },
        ..NetworkOptions::default()
    };
    let networks = [
        ("bottleneck_v1", NetworkOptions::default(), "resnet-bottleneck-2-1-2", 16),
        ("bottleneck_v1_5", explicit, "resnet-bottleneck-1-2-1-1", 32),
        ("basic_folded", NetworkOptions::default(), "resnet-basic-2-1-1", 16),
    ];
    let image = decode(&own("picture.png"));
    let on = |device: Device| {
        networks.clone().map(|(name, options, arch, stride)| {
            (name, NetworkOptions { device, ..options }, arch, stride)
        })
    };
    for (name, options, arch, stride) in [Device::Cpu, Device::CpuAsDevice].into_iter().flat_map(on)
    {
        let network =
            Network::open(&own(&format!("{name}.weights.safetensors")), &options).unwrap();
        assert_eq!((network.identity().arch.as_str(), network.stride()), (arch, stride));
        let golden = Golden::open(&own(&format!("{name}.golden.safetensors")));
        let white = (golden.floats("mean").0, golden.floats("projection").0);
        check(&network, &image, &golden, white.clone());

        let views = std::slice::from_ref(&image);
        let whitened_mac = whitening(&network, Pooling::Mac, white.0, white.1);
        golden.assert_near(
            "mac_white",
            &pipeline(&network, Pooling::Mac, Some(whitened_mac)).descriptor(views).unwrap(),
        );

        let map = golden.floats("feature").1;
        let (height, width) = (image.height() as usize, image.width() as usize);
        let regions = image_grid((height, width), (map[1], map[2]), stride, 3);
        assert_eq!(regions, golden.regions("pixel_regions_L3"), "{name}");
        let pixels = Pooling::Rmac { levels: 3, grid: Grid::ImagePixels };
        golden.assert_near(
            "rmac_L3_pixels",
            &pipeline(&network, pixels, None).descriptor(views).unwrap(),
        );

        let second = image::imageops::crop_imm(&image, 0, 0, 64, 80).to_image();
        let two = pipeline(&network, rmac(2), None).descriptor(&[image.clone(), second]).unwrap();
        golden.assert_near("rmac_L2_two_sizes", &two);
    }
}

/// A JSON file beside the weights is found by name and says what the metadata do not; what two say
/// differently is refused, whoever they are.
#[test]
fn options_json_and_metadata_may_not_contradict() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |name: &str| {
        let path = folder.path().join(name);
        std::fs::copy(own(&format!("{name}.weights.safetensors")), &path).unwrap();
        path
    };
    let open = |path: &Path, json: &str, settings: SettingsOptions| {
        std::fs::write(path.with_extension("json"), json).unwrap();
        let options = NetworkOptions { settings, ..NetworkOptions::default() };
        Network::open(path, &options).map(|network| network.identity().clone())
    };
    let none = SettingsOptions::default;
    // Without metadata: the JSON file alone, then options beside it.
    let bare = weights("bottleneck_v1_5");
    let input = InputConvention::TorchvisionRgb;
    let json = r#"{"form": "v1.5", "bn_eps": 0.5, "input": "torchvision-rgb"}"#;
    let identity = open(&bare, json, none()).unwrap();
    assert_eq!((identity.form, identity.bn_eps, identity.input), (Form::V1_5, 0.5, input));
    let options = SettingsOptions { bn_eps: Some(0.25), input: Some(input), ..none() };
    let identity = open(&bare, r#"{"form": "v1"}"#, options.clone()).unwrap();
    assert_eq!((identity.form, identity.bn_eps, identity.input), (Form::V1, 0.25, input));
    let error = open(&bare, json, options).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let message = error.to_string();
    assert!(message.contains("bn_eps is 0.25 (--bn-eps) and 0.5 (") && message.contains(".json)"));
    // The metadata say v1, caffe-bgr and 1e-3. Saying so again is no fault.
    let told = weights("bottleneck_v1");
    let options = SettingsOptions {
        form: Some(Form::V1),
        input: Some(InputConvention::CaffeBgr),
        bn_eps: Some(1e-3),
        ..none()
    };
    assert_eq!(open(&told, r#"{"form": "v1"}"#, options).unwrap().form, Form::V1);
    let refused = |json: &str, settings: SettingsOptions| {
        open(&told, json, settings).unwrap_err().to_string()
    };
    let message = refused("{}", SettingsOptions { form: Some(Form::V1_5), ..none() });
    assert!(message.contains("form is v1.5 (--form) and v1 (its metadata, ocelli.form)"));
    let message = refused("{}", SettingsOptions { input: Some(input), ..none() });
    assert!(message.contains("input is torchvision-rgb (--input) and caffe-bgr (its metadata"));
    let message = refused(r#"{"bn_eps": 0.5}"#, none());
    assert!(message.contains("and 0.001 (its metadata, ocelli.bn_eps)"), "{message}");
}

/// Stopping earlier gives the map of the earlier stage, under the same weights and another spec.
#[test]
fn an_earlier_last_stage_can_be_asked_for() {
    let path = own("bottleneck_v1.weights.safetensors");
    let image = decode(&own("picture.png"));
    let sizes = [(1, 16, 4), (2, 32, 8), (3, 64, 16)].map(|(stage, channels, stride)| {
        let options =
            NetworkOptions { last_stage: Some(Layer::Stage(stage)), ..NetworkOptions::default() };
        let network = Network::open(&path, &options).unwrap();
        assert_eq!((network.channels(), network.stride()), (channels, stride));
        assert_eq!(network.identity().arch, "resnet-bottleneck-2-1-2");
        network.feature_map(&image).unwrap().size()
    });
    assert_eq!(sizes, [vec![16, 25, 33], vec![32, 13, 17], vec![64, 7, 9]]);
}

/// A whitening learned on other vectors would be applied without complaint and answer nonsense.
#[test]
fn a_foreign_whitening_is_refused() {
    let network =
        Network::open(&own("basic_folded.weights.safetensors"), &NetworkOptions::default())
            .unwrap();
    let white = whitening(&network, rmac(2), vec![0.0; 32], vec![0.5; 32 * 4]);
    let result = Pipeline::new(network, PipelineOptions::default(), Some(white));
    let message = result.err().unwrap().to_string();
    assert!(message.contains("pooling") && message.contains("rmac:2"), "{message}");
}

/// Clones in other threads give the bits of the original; the compiler proves that they may move.
#[test]
fn clones_agree_across_threads() {
    let network =
        Network::open(&own("basic_folded.weights.safetensors"), &NetworkOptions::default())
            .unwrap();
    let original = pipeline(&network, rmac(3), None);
    let image = decode(&own("picture.png"));
    let expected = original.descriptor(std::slice::from_ref(&image)).unwrap();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (clone, image) = (original.try_clone().unwrap(), image.clone());
            std::thread::spawn(move || {
                ocelli_network::set_torch_threads(1);
                assert!(matches!(clone.spec(), DescriptorSpec::Network(_)));
                clone.descriptor(&[image]).unwrap()
            })
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), expected);
    }
}

/// The shared data directory, or None after saying so.
fn shared_data(test: &str) -> Option<PathBuf> {
    ocelli_test_support::data(test, &["weights", "golden"])
}

#[test]
fn trained_resnet50_matches_the_reference() {
    let Some(data) = shared_data("trained_resnet50_matches_the_reference") else { return };
    let options = NetworkOptions {
        settings: SettingsOptions {
            form: Some(Form::V1),
            input: Some(InputConvention::CaffeBgr),
            bn_eps: Some(1.001e-5),
            ..SettingsOptions::default()
        },
        ..NetworkOptions::default()
    };
    let network =
        Network::open(&data.join("weights/resnet50_v1_conv1-conv4.safetensors"), &options).unwrap();
    assert_eq!(
        (network.identity().arch.as_str(), network.channels(), network.stride()),
        ("resnet50", 1024, 16)
    );
    let white = Golden::open(&data.join("golden/whitening.safetensors"));
    let mut pictures = 0;
    for entry in std::fs::read_dir(data.join("golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "png") {
            let golden = Golden::open(&path.with_extension("safetensors"));
            check(&network, &decode(&path), &golden, (white.floats("mean").0, white.floats("P").0));
            pictures += 1;
        }
    }
    assert!(pictures > 0, "no golden pictures in {}", data.display());
}

#[test]
fn trained_resnet18_loads_in_any_form() {
    let Some(data) = shared_data("trained_resnet18_loads_in_any_form") else { return };
    let path = data.join("weights/resnet18_conv1-layer3_bnfolded.safetensors");
    let image = decode(&own("picture.png"));
    let maps = [None, Some(Form::V1), Some(Form::V1_5)].map(|form| {
        let options = NetworkOptions {
            settings: SettingsOptions {
                form,
                input: Some(InputConvention::TorchvisionRgb),
                ..SettingsOptions::default()
            },
            ..NetworkOptions::default()
        };
        let network = Network::open(&path, &options).unwrap();
        assert_eq!(
            (network.identity().arch.as_str(), network.channels(), network.stride()),
            ("resnet18", 256, 16)
        );
        let map = network.feature_map(&image).unwrap();
        assert_eq!(map.size(), [256, 7, 9]);
        assert!(map.isfinite().all().int64_value(&[]) == 1 && map.max().double_value(&[]) > 0.1);
        (network.identity().clone(), Vec::<f32>::try_from(map.reshape([-1])).unwrap())
    });
    assert!(maps[0] == maps[1] && maps[1] == maps[2]);
}

/// The names alone say that this is Keras's SqueezeNet; what it sees in a photo is more like the
/// photo a little smaller than like another.
#[test]
fn trained_squeezenet_knows_a_photo_again() {
    let Some(data) = shared_data("trained_squeezenet_knows_a_photo_again") else { return };
    let options = NetworkOptions {
        settings: SettingsOptions {
            input: Some(InputConvention::CaffeBgr),
            ..SettingsOptions::default()
        },
        ..NetworkOptions::default()
    };
    let path = data.join("weights/squeezenet1_1_features.safetensors");
    let network = Network::open(&path, &options).unwrap();
    let identity = network.identity();
    assert_eq!((identity.arch.as_str(), identity.form), ("squeezenet1_1", Form::FloorPool));
    assert_eq!((network.channels(), network.stride()), (512, 16));
    let describe =
        |image: RgbImage| pipeline(&network, rmac(3), None).descriptor(&[image]).unwrap();
    let photo = decode(&data.join("golden/g0_320x240.png"));
    let smaller = image::imageops::thumbnail(&photo, 280, 210);
    let other = describe(decode(&data.join("golden/g5_480x200.png")));
    let photo = describe(photo);
    let cosine = |v: &[f32]| v.iter().zip(&photo).map(|(a, b)| a * b).sum::<f32>();
    let (same, other) = (cosine(&describe(smaller)), cosine(&other));
    assert!(same > 0.9 && same > other + 0.1, "{same} {other}");
}

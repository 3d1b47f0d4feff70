//! Weights as other programs write them: converted here, run here, and compared with what PyTorch
//! made of them (`golden/make_layouts.py`).

mod command;
mod device;

use std::path::{Path, PathBuf};

use ocelli_encoder::import::{ImportReport, import};
use ocelli_encoder::pipeline::{Pipeline, PipelineOptions};
use ocelli_index::{DescriptorSpec, ErrorCode, Form, Grid, Head, InputConvention, Layer, Pooling};
use ocelli_network::{Device, Network, NetworkOptions};
use ocelli_weights::SettingsOptions;
use ocelli_weights::convert::ConvertOptions;

use crate::common::{Golden, decode};

fn layout(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/layouts").join(name)
}

struct Case {
    file: &'static str,
    expected: &'static str,
    options: ConvertOptions,
    /// None: the checkpoint's own.
    pooling: Option<Pooling>,
}

fn case(file: &'static str, expected: &'static str) -> Case {
    Case { file, expected, options: ConvertOptions::default(), pooling: None }
}

fn rmac(levels: u32, grid: Grid) -> Option<Pooling> {
    Some(Pooling::Rmac { levels, grid })
}

/// Converts, opens and describes picture.png; panics where PyTorch's descriptor is another.
fn check(case: &Case) -> (ImportReport, DescriptorSpec) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net.safetensors");
    let report = import(&layout(case.file), &out, &case.options).unwrap();
    (report, check_network(&out, case))
}

/// The same of a file that needs no conversion.
fn check_network(path: &Path, case: &Case) -> DescriptorSpec {
    let spec = check_on(path, case, Device::Cpu);
    assert_eq!(spec, check_on(path, case, Device::CpuAsDevice));
    spec
}

fn check_on(path: &Path, case: &Case, device: Device) -> DescriptorSpec {
    let options = NetworkOptions { device, ..NetworkOptions::default() };
    let network = Network::open(path, &options).unwrap();
    let pooling = case.pooling.or(network.pooling()).unwrap();
    let pipeline =
        Pipeline::new(network, PipelineOptions { pooling, ..PipelineOptions::default() }, None)
            .unwrap();
    let picture = decode(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/picture.png"));
    let found = pipeline.descriptor(&[picture]).unwrap();
    let (expected, _) = Golden::open(&layout("expected.safetensors")).floats(case.expected);
    assert_eq!((found.len(), found.len()), (expected.len(), pipeline.dim()), "{}", case.expected);
    let sum = |v: &[f32], w: &[f32]| -> f64 {
        v.iter().zip(w).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let cosine = sum(&found, &expected) / (sum(&found, &found) * sum(&expected, &expected)).sqrt();
    assert!(cosine >= 0.99999, "{}: cosine {cosine}", case.expected);
    pipeline.spec().clone()
}

fn network_spec(spec: DescriptorSpec) -> ocelli_index::NetworkSpec {
    match spec {
        DescriptorSpec::Network(spec) => spec,
        DescriptorSpec::Foreign { .. } => panic!("a foreign spec"),
    }
}

#[test]
fn torchvision_state_dicts() {
    for (file, expected, pooling, arch, left_out) in [
        ("tv_resnet.pth", "tv_resnet", rmac(3, Grid::FeatureMap), "resnet-bottleneck-2-1-1-1", 22),
        (
            "tv_resnet_legacy.pth",
            "tv_resnet",
            rmac(3, Grid::FeatureMap),
            "resnet-bottleneck-2-1-1-1",
            22,
        ),
        ("tv_vgg16.pth", "tv_vgg16", rmac(4, Grid::ImagePixels), "vgg16", 4),
        ("tv_squeezenet.pth", "tv_squeezenet", rmac(4, Grid::FeatureMap), "squeezenet1_1", 2),
    ] {
        let (report, spec) = check(&Case { pooling, ..case(file, expected) });
        assert_eq!((report.format.as_str(), report.arch.as_str()), ("torchvision", arch));
        assert_eq!(report.left_out.len(), left_out, "{:?}", report.left_out);
        assert!(report.unplaced.is_empty(), "{:?}", report.unplaced);
        let spec = network_spec(spec);
        assert_eq!((spec.form, spec.input), (Form::V1_5, InputConvention::TorchvisionRgb));
        assert_eq!((spec.head, spec.image_whitening), (Head::None, false));
    }
}

/// Keras's names say that pools round down; an image that is too small for its layers is an error.
#[test]
fn keras_squeezenet() {
    let path = layout("keras_squeezenet.safetensors");
    let pooling = rmac(2, Grid::ImagePixels);
    let spec = check_network(&path, &Case { pooling, ..case("", "keras_squeezenet") });
    let spec = network_spec(spec);
    assert_eq!(
        (spec.arch.as_str(), spec.form, spec.last_stage),
        ("squeezenet1_1", Form::FloorPool, Layer::Stage(4))
    );
    for (stage, channels, stride, size) in
        [(1, 16, 2, 113), (2, 16, 4, 56), (3, 16, 8, 27), (4, 32, 16, 13)]
    {
        let options =
            NetworkOptions { last_stage: Some(Layer::Stage(stage)), ..NetworkOptions::default() };
        let network = Network::open(&path, &options).unwrap();
        assert_eq!((network.channels(), network.stride()), (channels, stride));
        let map = network.feature_map(&image::RgbImage::new(227, 227)).unwrap();
        assert_eq!(map.size(), [channels as i64, size, size]);
        let error = network.feature_map(&image::RgbImage::new(2, 300)).unwrap_err();
        assert!(error.to_string().contains("2x300 pixels are too few"), "{error}");
    }
    let options = NetworkOptions {
        settings: SettingsOptions { form: Some(Form::V1), ..SettingsOptions::default() },
        ..NetworkOptions::default()
    };
    let error = Network::open(&path, &options).err().unwrap().to_string();
    assert!(error.contains("floor-pool"), "{error}");
}

/// Stages of a VGG end before their pools.
#[test]
fn vgg_stages() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net.safetensors");
    import(&layout("tv_vgg16.pth"), &out, &ConvertOptions::default()).unwrap();
    for (stage, channels, stride) in [(1, 4, 1), (2, 6, 2), (3, 8, 4), (4, 8, 8), (5, 12, 16)] {
        let options =
            NetworkOptions { last_stage: Some(Layer::Stage(stage)), ..NetworkOptions::default() };
        let network = Network::open(&out, &options).unwrap();
        assert_eq!((network.channels(), network.stride()), (channels, stride));
        let map = network.feature_map(&image::RgbImage::new(67, 40)).unwrap();
        assert_eq!(map.size(), [channels as i64, 40 / i64::from(stride), 67 / i64::from(stride)]);
    }
}

/// Learned exponent, fully connected layer without a normalisation before it, PCA by scikit-learn.
#[test]
fn dirtorch_checkpoints() {
    let (report, spec) = check(&case("dir_fc.pt", "dir_fc"));
    assert_eq!(report.format, "dirtorch");
    assert_eq!(report.metadata["ocelli.pooling"], "gem:2.37");
    assert_eq!(report.metadata["ocelli.whitening"], "Landmarks_clean");
    assert!(report.notes[0].contains("Other"), "{:?}", report.notes);
    let spec = network_spec(spec);
    assert_eq!((spec.head, spec.image_whitening, spec.dim), (Head::Fc, true, 16));

    let (report, spec) = check(&case("dir_nofc.pt", "dir_nofc"));
    assert_eq!(report.left_out.iter().filter(|name| name.starts_with("fc.")).count(), 2);
    assert_eq!(network_spec(spec).head, Head::None);
    for file in ["dir_fc", "dir_nofc"] {
        let of = |ending: &str| -> &'static str { format!("{file}{ending}").leak() };
        let full = ConvertOptions { whitening_power: 0.5, ..ConvertOptions::default() };
        check(&Case { options: full, ..case(of(".pt"), of("_full_power")) });
        let plain = ConvertOptions { with_whitening: false, ..ConvertOptions::default() };
        check(&Case { options: plain, ..case(of(".pt"), of("_plain")) });
    }

    let options =
        ConvertOptions { whitening: Some("None".to_owned()), ..ConvertOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x");
    let error = import(&layout("dir_fc.pt"), &out, &options).unwrap_err().to_string();
    assert!(error.contains("Landmarks_clean, Other") && !out.exists(), "{error}");
}

/// `features.N`, `whiten`, and a whitening of numpy arrays, one of them in Fortran order.
#[test]
fn cnnimageretrieval_checkpoints() {
    for (file, name, head) in [("cir_resnet", "ss", Head::L2Fc), ("cir_vgg", "ss", Head::None)] {
        let of = |ending: &str| -> &'static str { format!("{file}{ending}").leak() };
        let (report, spec) = check(&case(of(".pth"), of("")));
        assert_eq!(report.metadata["ocelli.whitening"], format!("retrieval-SfM-120k/{name}"));
        assert_eq!(network_spec(spec).head, head);
        let ms = Some("retrieval-SfM-120k/ms".to_owned());
        let ms = ConvertOptions { whitening: ms, ..ConvertOptions::default() };
        check(&Case { options: ms, ..case(of(".pth"), of("_ms")) });
        let plain = ConvertOptions { with_whitening: false, ..ConvertOptions::default() };
        check(&Case { options: plain, ..case(of(".pth"), of("_plain")) });
    }
}

/// Batch normalisation with its factor, the unpadded first pool, the whitening behind the regions;
/// and layers of the form before 2014.
#[test]
fn caffe_models() {
    let (report, spec) = check(&case("caffe_rmac.caffemodel", "caffe_rmac"));
    assert_eq!(
        (report.format.as_str(), report.metadata["ocelli.bn_eps"].as_str()),
        ("caffe", "0.00001")
    );
    assert_eq!(report.unplaced, ["mystery[0]"]);
    let spec = network_spec(spec);
    assert_eq!((spec.form, spec.input), (Form::V1Caffe, InputConvention::CaffeBgr));
    assert_eq!(spec.pooling, Pooling::Rmac { levels: 2, grid: Grid::ImagePixels });
    assert_eq!((spec.head, spec.image_whitening, spec.dim), (Head::L2Fc, false, 20));

    let vgg =
        Case { pooling: rmac(2, Grid::FeatureMap), ..case("caffe_vgg.caffemodel", "caffe_vgg") };
    let (report, _) = check(&vgg);
    assert_eq!((report.arch.as_str(), report.left_out.len()), ("vgg16", 2));
}

/// The head belongs to the last stage, and can be left away.
#[test]
fn a_head_can_be_left_away() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net.safetensors");
    import(&layout("cir_resnet.pth"), &out, &ConvertOptions::default()).unwrap();
    let open = |options: NetworkOptions| Network::open(&out, &options).unwrap();
    let with = open(NetworkOptions::default());
    assert_eq!((with.channels(), with.row_dim(), with.descriptor_dim()), (24, 24, 24));
    assert!(with.identity().image_whitening);
    for without in [
        NetworkOptions { head: false, ..NetworkOptions::default() },
        NetworkOptions { last_stage: Some(Layer::Stage(3)), ..NetworkOptions::default() },
    ] {
        let network = open(without);
        let identity = network.identity();
        assert_eq!((identity.head, identity.image_whitening), (Head::None, false));
        assert_eq!(identity.weights, with.identity().weights);
    }
    // Rows of regions would lack the whitening of the whole.
    let pipeline = Pipeline::new(with, PipelineOptions::default(), None).unwrap();
    let picture = image::RgbImage::from_pixel(64, 64, image::Rgb([9, 99, 199]));
    let error = pipeline.regions(std::slice::from_ref(&picture)).unwrap_err();
    assert!(error.to_string().contains("--no-head"), "{error}");
}

/// Nothing is run, and the message says what wanted to be.
#[test]
fn what_wants_to_run_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net.safetensors");
    for (file, name) in [
        ("evil.pth", "posix.system"),
        ("evil_legacy.pth", "posix.system"),
        ("module.pth", "torch.nn.modules.linear.Linear"),
    ] {
        let error = import(&layout(file), &out, &ConvertOptions::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DataLoss);
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("nothing was run"), "{message}");
        assert!(message.contains(file) && !out.exists(), "{message}");
    }
    assert!(!Path::new("pickle-was-run").exists());
}

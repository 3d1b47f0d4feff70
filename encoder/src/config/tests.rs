use std::collections::BTreeMap;

use ocelli_index::{Hash, Metric, Model, ModelParts, NetworkCard, NetworkSpec, NewPack};

use super::*;

/// The file that users read is the one that the program runs with, and every key in it that has
/// no default can be set as the example beside it says.
#[test]
fn the_default_file_is_complete_and_its_examples_are_valid() {
    let load = |text: &str| role::load_config_from::<Config>(text, None, ENV_PREFIX, []);
    let config = load(DEFAULT_TOML).unwrap();
    config.check().unwrap();
    assert_eq!((config.head, config.sizes.as_slice()), (true, &[800][..]));
    let rmac = Pooling::Rmac { levels: 3, grid: Grid::FeatureMap };
    assert_eq!(config.pooling_of(None), rmac);
    assert_eq!(config.max_pixels, ocelli_pictures::limits::DEFAULT_MAX_PIXELS);
    assert_eq!(config.min_side, ocelli_pictures::limits::DEFAULT_MIN_SIDE_PX);
    let largest_px = u64::from(*ocelli_proto::limits::IMAGE_SIZES_PX.end());
    assert_eq!(config.max_request_pixels, largest_px.pow(2));
    assert_eq!(config.max_message_bytes, ocelli_proto::limits::DEFAULT_MAX_MESSAGE_BYTES);
    assert_eq!(config.connections, ConnectionsConfig::default());

    let is_key = |line: &str| {
        line.strip_prefix("# ")
            .and_then(|l| l.split_once(" = "))
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let with_examples: String = DEFAULT_TOML
        .lines()
        .map(|line| if is_key(line) { &line[2..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = load(&with_examples).unwrap();
    assert!(config.weights.is_some() && config.network_config.is_some());
    assert_eq!(config.form, Some(Form::V1_5));
    assert_eq!(config.input, Some(InputConvention::TorchvisionRgb));
    assert_eq!((config.bn_eps, config.last_stage), (Some(1e-5), Some(Layer::Stage(4))));
    assert!(config.whitening.is_some());
    assert_eq!((config.pooling, config.levels), (Some(PoolingName::Rmac), Some(3)));
    assert_eq!((config.grid, config.gem_p), (Some(Grid::FeatureMap), Some(3.0)));

    assert_eq!(config.device, DeviceChoice::Auto);
    assert_eq!([Device::Cpu, Device::Cuda(0)].map(|d| config.batch_size(d)), [1, 16]);
    let [cpu, cuda] = [Device::Cpu, Device::Cuda(0)].map(|d| config.worker_count(d));
    assert_eq!(cuda, cpu + 2);
    // A truth value and a word, from a file as from the environment.
    for (value, expected) in [
        ("true", CropFirst::OwnScale),
        ("false", CropFirst::No),
        ("photo-scale", CropFirst::PhotoScale),
    ] {
        let vars = [("OCELLI_ENCODER_CROP_FIRST".into(), value.into())];
        let config =
            role::load_config_from::<Config>(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap();
        assert_eq!(config.crop_first, expected);
    }
    let text = DEFAULT_TOML.replace("crop_first = false", "crop_first = true");
    assert_eq!(load(&text).unwrap().crop_first, CropFirst::OwnScale);
    let vars = [("OCELLI_ENCODER_SIZES", "[550, 800]"), ("OCELLI_ENCODER_FORM", "v1")];
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    let config = role::load_config_from::<Config>(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap();
    assert_eq!((config.sizes, config.form), (vec![550, 800], Some(Form::V1)));
}

/// A checkpoint's learned exponent is used unless another is asked for, and never for another
/// pooling.
#[test]
fn weights_bring_their_pooling() {
    let load = |vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|&(name, value)| (name.into(), value.into()));
        role::load_config_from::<Config>(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap()
    };
    let gem = Some(Pooling::Gem { p: 2.92 });
    let rmac = |levels, grid| Pooling::Rmac { levels, grid };
    let own = "superglobal:3:2:3:0".parse().unwrap();
    assert_eq!(load(&[]).pooling_of(Some(own)), own);
    let asked = load(&[("OCELLI_ENCODER_POOLING", "superglobal")]);
    assert_eq!(asked.pooling_of(Some(own)), own);
    assert_eq!(asked.pooling_of(gem), Pooling::SUPERGLOBAL);
    assert_eq!(load(&[]).pooling_of(gem), Pooling::Gem { p: 2.92 });
    assert_eq!(load(&[]).pooling_of(Some(Pooling::Mac)), Pooling::Mac);
    let own = Some(rmac(2, Grid::ImagePixels));
    assert_eq!(load(&[]).pooling_of(own), rmac(2, Grid::ImagePixels));
    let levels = load(&[("OCELLI_ENCODER_LEVELS", "4")]);
    assert_eq!(levels.pooling_of(own), rmac(4, Grid::ImagePixels));
    let proposals = |count| Pooling::Proposals { count };
    assert_eq!(load(&[]).pooling_of(Some(proposals(50))), proposals(50));
    let asked = load(&[("OCELLI_ENCODER_PROPOSALS", "32")]);
    assert_eq!(asked.pooling_of(Some(proposals(50))), proposals(32));
    let asked = load(&[("OCELLI_ENCODER_POOLING", "rpn")]);
    assert_eq!(asked.pooling_of(gem), proposals(128));
    let asked = load(&[("OCELLI_ENCODER_POOLING", "gem"), ("OCELLI_ENCODER_GEM_P", "4")]);
    assert_eq!(asked.pooling_of(gem), Pooling::Gem { p: 4.0 });
    assert_eq!(
        load(&[("OCELLI_ENCODER_POOLING", "rmac")]).pooling_of(gem),
        rmac(3, Grid::FeatureMap)
    );
}

/// A pack of a network of 4 dimensions, without a whitening.
fn pack_of(folder: &Path, network: &NetworkSpec) -> Arc<Pack> {
    let spec = DescriptorSpec::Network(network.clone());
    let model = Model::from_parts(ModelParts {
        spec: spec.clone(),
        metric: Metric::InnerProduct,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: 4,
        d: 4,
        nlist: 1,
        coarse: vec![0.0; 4].into(),
        m: 2,
        ksub: 16,
        codebooks: vec![0.5; 64],
        training: BTreeMap::new(),
    });
    let pack = NewPack {
        name: "test".into(),
        made_by: "test".into(),
        network: NetworkCard {
            spec: spec.canonical(),
            name: "net".into(),
            package: None,
            package_file: None,
            package_sha256: None,
            licence: None,
        },
        default_code_bytes: None,
        thresholds: Vec::new(),
        trained_on: Vec::new(),
        notes: Vec::new(),
        variants: vec![(None, model.unwrap())],
        weights: None,
    };
    let path = folder.join("test.pack");
    pack.write(&path).unwrap();
    Arc::new(Pack::open(&path).unwrap())
}

/// Nothing at its default.
fn unusual() -> NetworkSpec {
    let mut n = NetworkSpec::new(Hash::of(b"weights"), "net", Layer::Expansion(5), 4);
    n.form = Form::V1Caffe;
    n.input = InputConvention::CentredRgb;
    n.bn_eps = 1.001e-3;
    n.pooling = Pooling::Gem { p: 2.5 };
    n.sizes = vec![448, 640];
    n.filter = ResizeFilter::Lanczos3;
    n.upscale = false;
    n.exif = false;
    n.combine = Combine::Gem { p: 3.0, floor: 0.0 };
    n.crop_first = CropFirst::PhotoScale;
    n.precision = Precision::Bf16;
    n
}

/// The configuration over a pack, with variables.
fn over(pack: &Arc<Pack>, vars: &[(&str, &str)]) -> Result<Config> {
    let vars = vars.iter().map(|&(name, value)| (name.into(), value.into()));
    let mut config: Config = role::load_config_from(&over_defaults(pack), None, ENV_PREFIX, vars)?;
    config.use_pack(Arc::clone(pack)).map(|()| config)
}

#[test]
fn a_pack_says_every_setting() {
    let dir = tempfile::tempdir().unwrap();
    let config = over(&pack_of(dir.path(), &unusual()), &[]).unwrap();
    assert_eq!((config.form, config.input), (Some(Form::V1Caffe), Some(unusual().input)));
    assert_eq!(config.bn_eps, Some(1.001e-3));
    assert_eq!((config.last_stage, config.head), (Some(Layer::Expansion(5)), false));
    // Not what the weights say of themselves.
    assert_eq!(config.pooling_of(Some(Pooling::Mac)), Pooling::Gem { p: 2.5 });
    assert_eq!(config.sizes, [448, 640]);
    assert_eq!(config.filter, ResizeFilter::Lanczos3);
    assert_eq!((config.upscale, config.exif), (false, false));
    assert_eq!(config.combine, unusual().combine);
    assert_eq!(config.crop_first, CropFirst::PhotoScale);
    assert_eq!(config.precision, Precision::Bf16);
    assert!(config.has_network());

    let proposals = NetworkSpec { pooling: Pooling::Proposals { count: 64 }, ..unusual() };
    let pack = pack_of(dir.path(), &proposals);
    assert_eq!(over(&pack, &[]).unwrap().pooling_of(None), Pooling::Proposals { count: 64 });
    let error = over(&pack, &[("OCELLI_ENCODER_PROPOSALS", "32")]).unwrap_err().to_string();
    assert!(error.contains("expected 64, found 32"), "{error}");

    let pooling = Pooling::Rmac { levels: 2, grid: Grid::ImagePixels };
    let head = ocelli_index::Head::Fc;
    let network = NetworkSpec { pooling, head, sizes: Vec::new(), ..unusual() };
    let config = over(&pack_of(dir.path(), &network), &[]).unwrap();
    assert_eq!(config.pooling_of(Some(Pooling::Mac)), pooling);
    assert!(config.head && config.sizes.is_empty());
}

/// Every setting that a pack decides is refused where it differs, and taken where it agrees.
#[test]
fn settings_that_contradict_a_pack_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pack = pack_of(dir.path(), &unusual());
    for (name, agrees, differs, expected) in [
        ("FORM", "v1-caffe", "v1", "v1-caffe"),
        ("INPUT", "centred-rgb", "caffe-bgr", "centred-rgb"),
        ("BN_EPS", "0.001001", "0.001", "0.001001"),
        ("LAST_STAGE", "e5", "head", "e5"),
        ("HEAD", "false", "true", "false"),
        ("POOLING", "gem", "mac", "gem"),
        ("GEM_P", "2.5", "3", "2.5"),
        ("SIZES", "[448, 640]", "[448]", "[448, 640]"),
        ("FILTER", "lanczos3", "bilinear", "lanczos3"),
        ("UPSCALE", "false", "true", "false"),
        ("EXIF", "false", "true", "false"),
        ("COMBINE", "gem:3:0", "sum", "gem:3:0"),
        ("CROP_FIRST", "photo-scale", "false", "photo-scale"),
        ("PRECISION", "bf16", "f32", "bf16"),
    ] {
        let variable = format!("OCELLI_ENCODER_{name}");
        over(&pack, &[(&variable, agrees)]).unwrap();
        let error = over(&pack, &[(&variable, differs)]).unwrap_err().to_string();
        let key = name.to_lowercase();
        assert!(error.starts_with(&format!("{key} contradicts the pack")), "{error}");
        assert!(error.contains(&format!("expected {expected}, found {differs}")), "{error}");
    }
    // What the pack does not decide.
    let config = over(&pack, &[("OCELLI_ENCODER_LEVELS", "2")]).unwrap();
    assert_eq!(config.levels, Some(2));
    let vars = [("OCELLI_ENCODER_NETWORK_CONFIG", "net.json")];
    assert!(over(&pack, &vars).unwrap_err().to_string().contains("net.json"));
    let error = over(&pack, &[("OCELLI_ENCODER_CODE_BYTES", "9")]).unwrap_err().to_string();
    assert!(error.contains("no codes of 9 bytes"), "{error}");
}

/// A value of a pack stands in the place of the key, commented or not; nothing else changes.
#[test]
fn values_replace_lines_of_the_default_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = over_defaults(&pack_of(dir.path(), &unusual()));
    let changed = DEFAULT_TOML.lines().zip(text.lines()).filter(|(a, b)| a != b).count();
    let values = pack::values(&unusual());
    assert_eq!(changed, values.len(), "a key is missing in default.toml, or was at its default");
    assert_eq!(DEFAULT_TOML.lines().count(), text.lines().count());
}

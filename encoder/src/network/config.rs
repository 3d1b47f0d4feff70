//! How a network is to be run: what its tensors do not say.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ocelli_index::{Form, InputConvention, Pooling, Precision};
use ocelli_service::role::read_at_most;
use serde::Deserialize;

use super::weights::Weights;
use crate::device::Device;
use crate::error::{Error, Result};

/// Epsilon of batch normalisation in torchvision and in most other frameworks.
pub(super) const DEFAULT_BN_EPS: f64 = 1e-5;

/// Largest JSON file in bytes; a larger one is a wrong name.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What the caller says about a network. A field left `None` is looked up in the JSON file, then in
/// the metadata of the weights.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// What the tensors do not say about the layers: needed for bottlenecks, without meaning for
    /// basic blocks (ResNet-18 and 34) and VGG, known from the names for SqueezeNet.
    pub form: Option<Form>,
    /// How pixels are presented to the first layer.
    pub input: Option<InputConvention>,
    /// Epsilon of batch normalisation; 1e-5 where nobody says otherwise.
    pub bn_eps: Option<f64>,
    /// Where the trunk ends: 1 to 4 for a ResNet (`layer1` to `layer4`, also called conv2 to
    /// conv5); 1 to 5 for a VGG (conv1 to conv5, before the pool); 1 to 4 for a SqueezeNet (conv1,
    /// fire3, fire5, fire9). By default the last stage that the weights hold.
    pub last_stage: Option<u32>,
    /// A JSON file `{"form": "v1", "input": "caffe-bgr", "bn_eps": 1.001e-5}`, every key optional.
    /// By default the file beside the weights that has their name with the ending `.json`, if any.
    pub config: Option<PathBuf>,
    /// Whether projections behind the pooling that stand in the weights (see [`super::Head`]) are
    /// applied; never behind an earlier stage than the last. By default they are.
    pub head: bool,
    /// What the layers compute with.
    pub precision: Precision,
    /// Where they do.
    pub device: Device,
}

impl Default for NetworkOptions {
    fn default() -> NetworkOptions {
        NetworkOptions {
            form: None,
            input: None,
            bn_eps: None,
            last_stage: None,
            config: None,
            head: true,
            precision: Precision::F32,
            device: Device::Cpu,
        }
    }
}

/// Settings as resolved; `form` stays open because basic blocks need none.
pub(super) struct Settings {
    pub(super) form: Option<Form>,
    pub(super) input: InputConvention,
    pub(super) bn_eps: f64,
    pub(super) pooling: Option<Pooling>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    form: Option<Form>,
    input: Option<InputConvention>,
    bn_eps: Option<f64>,
}

/// Explicit options, then the JSON file, then the metadata of the weights.
pub(super) fn resolve(weights: &Weights, options: &NetworkOptions) -> Result<Settings> {
    let file = config_file(weights.path(), options)?;
    let form = match options.form.or(file.form) {
        Some(form) => Some(form),
        None => metadata(weights, "ocelli.form")?,
    };
    let input = match options.input.or(file.input) {
        Some(input) => Some(input),
        None => metadata(weights, "ocelli.input")?,
    };
    let input = input.ok_or_else(|| Error::NotConfigured {
        path: weights.path().to_path_buf(),
        what: "the input convention",
        remedy: "give --input caffe-bgr (BGR 0-255 minus the mean) or --input torchvision-rgb, or \"input\" in the \
                 JSON file beside the weights, or ocelli.input in their metadata",
    })?;

    let bn_eps = match options.bn_eps.or(file.bn_eps) {
        Some(bn_eps) => bn_eps,
        None => metadata(weights, "ocelli.bn_eps")?.unwrap_or(DEFAULT_BN_EPS),
    };
    if !(bn_eps.is_finite() && bn_eps >= 0.0) {
        return Err(Error::invalid(format!(
            "bn_eps: expected a number of at least 0, found {bn_eps}"
        )));
    }
    let pooling = metadata(weights, "ocelli.pooling")?;
    if let Some(pooling) = &pooling {
        crate::pooling::check(pooling)
            .map_err(|error| weights.bad(format!("metadata ocelli.pooling: {error}")))?;
    }
    Ok(Settings { form, input, bn_eps, pooling })
}

/// For bottleneck networks only: the form must have been given somewhere.
pub(super) fn require_form(form: Option<Form>, path: &Path) -> Result<Form> {
    form.ok_or_else(|| Error::NotConfigured {
        path: path.to_path_buf(),
        what: "the form",
        remedy: "give --form v1.5 (stride in the 3x3, torchvision), --form v1 (in a stage's first 1x1, Keras) or --form \
                 v1-caffe (so, and the first pool unpadded), or \"form\" in the JSON file beside the weights, or ocelli.form in their metadata",
    })
}

/// A value of the weights' metadata, which must be readable where it is present.
fn metadata<T: FromStr<Err: Display>>(weights: &Weights, key: &str) -> Result<Option<T>> {
    let parse = |text: &str| {
        text.parse().map_err(|error| weights.bad(format!("metadata {key} = {text:?}: {error}")))
    };
    weights.metadata(key).map(parse).transpose()
}

fn config_file(weights: &Path, options: &NetworkOptions) -> Result<ConfigFile> {
    let path = match &options.config {
        Some(path) => path.clone(),
        None => {
            let beside = weights.with_extension("json");
            if !beside.is_file() {
                return Ok(ConfigFile::default());
            }
            beside
        }
    };
    let text = read_at_most(&path, MAX_CONFIG_BYTES).map_err(Error::io(&path, "read"))?;
    serde_json::from_slice(&text).map_err(|error| Error::BadWeights {
        path: path.clone(),
        what: format!("not a network description: {error}"),
    })
}

//! How a network is to be run, as far as its tensors do not tell it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ocelli_index::{Form, InputConvention, Pooling};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::file::Weights;
use crate::transformer::TransformerSettings;

/// Epsilon of batch normalisation in torchvision and in most other frameworks.
pub const DEFAULT_BN_EPS: f64 = 1e-5;

/// Largest JSON file in bytes; a larger one is a wrong name.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The settings that the caller gives. A field left `None` is looked up in the JSON file, then in
/// the metadata of the weights. None of the three may contradict another.
#[derive(Clone, Debug, Default)]
pub struct SettingsOptions {
    /// What the tensors do not say about the layers: needed for bottlenecks, without meaning for
    /// basic blocks (ResNet-18 and 34) and VGG, known from the names for SqueezeNet.
    pub form: Option<Form>,
    /// How pixels are presented to the first layer.
    pub input: Option<InputConvention>,
    /// Epsilon of batch normalisation; by default that of the framework in which such networks are
    /// trained ([`Backbone::default_bn_eps`](crate::Backbone::default_bn_eps)).
    pub bn_eps: Option<f64>,
    /// A JSON file `{"form": "v1", "input": "caffe-bgr", "bn_eps": 1.001e-5}`, every key optional;
    /// for a vision transformer also `"transformer": {"heads": 6}` ([`TransformerSettings`]).
    /// By default the file beside the weights that has their name with the ending `.json`, if any.
    pub config: Option<PathBuf>,
}

/// Settings as resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// None if it is given nowhere: basic blocks need no form.
    pub form: Option<Form>,
    /// How pixels are presented to the first layer.
    pub input: InputConvention,
    /// Epsilon of batch normalisation.
    pub bn_eps: f64,
    /// The pooling that the network was trained with, if the metadata name one.
    pub pooling: Option<Pooling>,
    /// What a vision transformer needs besides.
    pub transformer: TransformerSettings,
}

/// Refuses parameters of a pooling without a meaning.
///
/// # Errors
/// As [`Pooling::check`].
pub fn check_pooling(pooling: &Pooling) -> Result<()> {
    pooling.check().map_err(|error| Error::invalid(error.to_string()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    form: Option<Form>,
    input: Option<InputConvention>,
    bn_eps: Option<f64>,
    transformer: Option<TransformerSettings>,
}

/// Takes what `options`, the JSON file and the metadata of the weights say; `default_bn_eps` where
/// none of them has an epsilon.
///
/// # Errors
/// [`Error::NotConfigured`] without an input convention; [`Error::Contradiction`] where two of the
/// three differ; [`Error::BadWeights`] for a JSON file or metadata that cannot be understood;
/// [`Error::Invalid`] for an epsilon out of range.
pub fn resolve(
    weights: &Weights,
    options: &SettingsOptions,
    default_bn_eps: f64,
) -> Result<Settings> {
    let (json, file) = config_file(weights.path(), options)?;
    let said = Said { weights, json: json.as_deref() };
    let form = said.one("form", [options.form, file.form])?;
    let input = said.one("input", [options.input, file.input])?;
    let input = input.ok_or_else(|| Error::NotConfigured {
        path: weights.path().to_path_buf(),
        what: "the input convention",
        remedy: "give --input caffe-bgr (BGR 0-255 minus the mean), torchvision-rgb or centred-rgb \
                 (RGB minus 127, over 128), or \"input\" in the JSON file beside the weights, or \
                 ocelli.input in their metadata",
    })?;

    let bn_eps = said.one("bn_eps", [options.bn_eps, file.bn_eps])?.unwrap_or(default_bn_eps);
    if !(bn_eps.is_finite() && bn_eps >= 0.0) {
        return Err(Error::invalid(format!(
            "bn_eps: expected a number of at least 0, found {bn_eps}"
        )));
    }
    let pooling = metadata(weights, "ocelli.pooling")?;
    if let Some(pooling) = &pooling {
        check_pooling(pooling)
            .map_err(|error| weights.bad(format!("metadata ocelli.pooling: {error}")))?;
    }
    let transformer = match file.transformer {
        Some(transformer) => transformer,
        None => metadata(weights, "ocelli.transformer")?.unwrap_or_default(),
    };
    Ok(Settings { form, input, bn_eps, pooling, transformer })
}

/// For bottleneck networks only: the form must have been given somewhere.
pub(crate) fn require_form(form: Option<Form>, path: &Path) -> Result<Form> {
    form.ok_or_else(|| Error::NotConfigured {
        path: path.to_path_buf(),
        what: "the form",
        remedy: "give --form v1.5 (stride in the 3x3, torchvision), --form v1 (in a stage's first \
                 1x1, Keras) or --form v1-caffe (so, and the first pool unpadded), or \"form\" in \
                 the JSON file beside the weights, or ocelli.form in their metadata",
    })
}

/// A value of the weights' metadata, which must be readable where it is present.
fn metadata<T: FromStr<Err: Display>>(weights: &Weights, key: &str) -> Result<Option<T>> {
    let parse = |text: &str| {
        text.parse().map_err(|error| weights.bad(format!("metadata {key} = {text:?}: {error}")))
    };
    weights.metadata(key).map(parse).transpose()
}

/// The three who may say a setting.
struct Said<'a> {
    weights: &'a Weights,
    /// The JSON file, if there is one.
    json: Option<&'a Path>,
}

impl Said<'_> {
    /// What the caller, the JSON file or the metadata say, if any does; an error where they differ.
    fn one<T>(&self, key: &'static str, [given, file]: [Option<T>; 2]) -> Result<Option<T>>
    where
        T: Copy + PartialEq + Display + FromStr<Err: Display>,
    {
        let metadata_key = format!("ocelli.{key}");
        let own: Option<T> = metadata(self.weights, &metadata_key)?;
        let flag = format!("--{}", key.replace('_', "-"));
        let json = self.json.map(|path| path.display().to_string()).unwrap_or_default();
        let said = [(given, flag), (file, json), (own, format!("{metadata_key} in its metadata"))];
        let mut said =
            said.into_iter().filter_map(|(value, source)| value.map(|value| (value, source)));
        let Some((first, source)) = said.next() else { return Ok(None) };
        match said.find(|(value, _)| *value != first) {
            None => Ok(Some(first)),
            Some((other, its_source)) => Err(Error::Contradiction {
                path: self.weights.path().to_path_buf(),
                key,
                first: format!("{first} ({source})"),
                second: format!("{other} ({its_source})"),
            }),
        }
    }
}

/// The JSON file's name and content, if there is one.
fn config_file(weights: &Path, options: &SettingsOptions) -> Result<(Option<PathBuf>, ConfigFile)> {
    let path = match &options.config {
        Some(path) => path.clone(),
        None => {
            let beside = weights.with_extension("json");
            if !beside.is_file() {
                return Ok((None, ConfigFile::default()));
            }
            beside
        }
    };
    let text = read_config(&path).map_err(Error::io(&path, "read"))?;
    match serde_json::from_slice(&text) {
        Ok(file) => Ok((Some(path), file)),
        Err(error) => {
            Err(Error::BadWeights { path, what: format!("not a network description: {error}") })
        }
    }
}

/// Reads the JSON file, or says that it is too large.
fn read_config(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MAX_CONFIG_BYTES {
        true => Err(io::Error::other(format!("larger than the limit of {MAX_CONFIG_BYTES} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use ocelli_index::Grid;

    use super::*;

    #[test]
    fn meaningless_parameters_are_refused() {
        for bad in [
            Pooling::Rmac { levels: 0, grid: Grid::FeatureMap },
            Pooling::Rmac { levels: 5, grid: Grid::ImagePixels },
            Pooling::Gem { p: 0.0 },
            Pooling::Gem { p: f32::NAN },
        ] {
            assert!(check_pooling(&bad).is_err(), "{bad:?}");
        }
    }
}

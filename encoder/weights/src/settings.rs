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
use crate::onnx::OnnxSettings;
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
    onnx: Option<OnnxSettings>,
}

/// The input convention of an ONNX network, if it is given, and what its file leaves open: what
/// `options` say, then what the JSON file says.
///
/// # Errors
/// [`Error::Contradiction`] where the two differ; [`Error::BadWeights`] for a JSON file that cannot
/// be understood.
pub fn resolve_onnx(
    path: &Path,
    options: &SettingsOptions,
) -> Result<(Option<InputConvention>, OnnxSettings)> {
    let (json, file) = config_file(path, options)?;
    if let (Some(given), Some(own), Some(json)) = (options.input, file.input, json)
        && given != own
    {
        return Err(Error::Contradiction {
            path: path.to_path_buf(),
            key: "input",
            first: format!("{given} (--input)"),
            second: format!("{own} ({})", json.display()),
        });
    }
    Ok((options.input.or(file.input), file.onnx.unwrap_or_default()))
}

/// Takes what `options`, the JSON file and the metadata of the weights say; `default_bn_eps` where
/// none of them has an epsilon. Metadata are `ocelli.form` and so on, or else what other programs
/// write under `input`, `bn_eps` and `arch`, as far as it is understood.
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
    let words = |key| weights.metadata(key);
    let form = said.one("form", [options.form, file.form], words("arch").and_then(form_of))?;
    let input =
        said.one("input", [options.input, file.input], words("input").and_then(input_of))?;
    let input = input.ok_or_else(|| Error::NotConfigured {
        path: weights.path().to_path_buf(),
        what: "the input convention",
        remedy: "give --input caffe-bgr (BGR 0-255 minus the mean), torchvision-rgb or centred-rgb \
                 (RGB minus 127, over 128), or \"input\" in the JSON file beside the weights, or \
                 ocelli.input in their metadata",
    })?;

    let own = words("bn_eps").and_then(|text| text.trim().parse().ok());
    let bn_eps = said.one("bn_eps", [options.bn_eps, file.bn_eps], own)?.unwrap_or(default_bn_eps);
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

/// The convention that a description of pixels means, if it is one of the usual ones:
/// "BGR 0-255 minus [103.939,116.779,123.68]".
fn input_of(text: &str) -> Option<InputConvention> {
    if let Ok(input) = text.trim().parse() {
        return Some(input);
    }
    let has = |numbers: &[&str]| numbers.iter().all(|number| text.contains(number));
    let (bgr, rgb) = (text.contains("BGR"), text.contains("RGB"));
    match () {
        () if bgr && !rgb && has(&["103.939", "116.779", "123.68"]) => {
            Some(InputConvention::CaffeBgr)
        }
        () if rgb && !bgr && has(&[".485", ".456", ".406", ".229", ".224", ".225"]) => {
            Some(InputConvention::TorchvisionRgb)
        }
        () => None,
    }
}

/// The form that a description of a residual network means, if it says where a stage strides.
fn form_of(text: &str) -> Option<Form> {
    match () {
        () if !text.contains("ResNet") => None,
        () if text.contains("stride in first 1x1") => Some(Form::V1),
        () if text.contains("stride in 3x3") => Some(Form::V1_5),
        () => None,
    }
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
    /// `words` is what the metadata say in other words than Ocelli's.
    fn one<T>(
        &self,
        key: &'static str,
        [given, file]: [Option<T>; 2],
        words: Option<T>,
    ) -> Result<Option<T>>
    where
        T: Copy + PartialEq + Display + FromStr<Err: Display>,
    {
        let metadata_key = format!("ocelli.{key}");
        let (own, own_key) = match metadata(self.weights, &metadata_key)? {
            None => (words, "in words"),
            own => (own, metadata_key.as_str()),
        };
        let flag = format!("--{}", key.replace('_', "-"));
        let json = self.json.map(|path| path.display().to_string()).unwrap_or_default();
        let said = [(given, flag), (file, json), (own, format!("its metadata, {own_key}"))];
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
    use crate::write::safetensors_bytes;

    /// What other programs' files say in words is read where it is plain, and left alone where not.
    #[test]
    fn words_of_metadata_are_read() {
        let resolve = |metadata: &[(&str, &str)], options: SettingsOptions| {
            let metadata = metadata.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
            let bytes = safetensors_bytes(&[], metadata);
            let weights = Weights::parse(Path::new("net.safetensors"), &bytes).unwrap();
            resolve(&weights, &options, 0.5)
        };
        let keras = [
            ("arch", "ResNet v1 (stride in first 1x1 of a stage), conv1..conv4 only"),
            ("bn_eps", "1.001e-5"),
            ("input", "BGR 0-255 minus [103.939,116.779,123.68]"),
        ];
        let found = resolve(&keras, SettingsOptions::default()).unwrap();
        let expected = (Some(Form::V1), InputConvention::CaffeBgr, 1.001e-5);
        assert_eq!((found.form, found.input, found.bn_eps), expected);
        let input = [("input", "RGB 0-1, mean .485 .456 .406 std .229 .224 .225")];
        let found = resolve(&input, SettingsOptions::default()).unwrap();
        assert_eq!((found.form, found.input), (None, InputConvention::TorchvisionRgb));
        assert_eq!(found.bn_eps, 0.5);
        for unclear in ["RGB", "BGR or RGB, 103.939 116.779 123.68", ""] {
            let error = resolve(&[("input", unclear)], SettingsOptions::default()).unwrap_err();
            assert!(matches!(error, Error::NotConfigured { .. }), "{error}");
        }
        let given = SettingsOptions { bn_eps: Some(1e-5), ..SettingsOptions::default() };
        let message = resolve(&keras, given).unwrap_err().to_string();
        assert_eq!(
            message,
            "net.safetensors: bn_eps is 0.00001 (--bn-eps) and 0.00001001 (its metadata, in \
             words): leave out what is wrong"
        );
        // Ocelli's own keys outrank words.
        let both = [("input", "BGR 103.939 116.779 123.68"), ("ocelli.input", "centred-rgb")];
        let found = resolve(&both, SettingsOptions::default()).unwrap();
        assert_eq!(found.input, InputConvention::CentredRgb);
    }

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

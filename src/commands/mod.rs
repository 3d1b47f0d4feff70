//! One module per subcommand that runs in this process.

pub mod build;
pub mod dedup;
pub mod doctor;
pub mod eval;
pub mod export;
pub mod import;
pub mod inspect;
pub mod jobs;
pub mod lifecycle;
pub mod pack;
pub mod recipe;
pub mod train;
pub mod whiten;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ocelli_index::{Pack, Part};
use ocelli_indexer::config::{self, Config, DEFAULT_TOML, ENV_PREFIX};
use ocelli_indexer::{BuildOptions, OnDuplicate};
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role::{self, LogConfig, LogFormat};

#[derive(Args)]
pub struct ConfigArgs {
    /// TOML file with defaults for whiten, train and build
    #[arg(long, value_name = "FILE", env = "OCELLI_INDEXER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// A pack, and the variant of it.
#[derive(Args)]
pub struct PackArgs {
    /// A pack in place of a model: its file, or `default`
    #[arg(long, value_name = "FILE|default")]
    pub pack: Option<PathBuf>,
    /// Bytes of a code, of the sizes that the pack has [default: what fits the descriptors, and the
    /// pack's own choice]
    #[arg(long, value_name = "N", requires = "pack")]
    pub code_bytes: Option<usize>,
}

impl PackArgs {
    /// Opens the pack, if one is named.
    pub fn open(&self) -> Result<Option<Pack>> {
        Ok(self.pack.as_deref().map(ocelli_packs::open).transpose()?)
    }
}

/// What every command takes that makes rows into shards.
#[derive(Args)]
pub struct RowArgs {
    /// Threads, 0: one per core; the result does not depend on it [default: 0]
    #[arg(long)]
    pub threads: Option<usize>,
    /// What to do with a row whose key or id an earlier row has
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub on_duplicate: OnDuplicate,
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// The bound of memory, for every command that may take much.
#[derive(Args)]
pub struct MemoryArgs {
    /// Memory that it may take, such as 4GiB; 0: as much as it needs. The result does not depend on
    /// it. What does not fit is sorted in files under the index directory [default: 0]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub memory_budget: Option<usize>,
}

impl MemoryArgs {
    /// The budget in bytes; 0: none.
    pub fn bytes(&self) -> usize {
        self.memory_budget.unwrap_or(0)
    }
}

impl RowArgs {
    /// The options of a build into so many shards, which augments nothing.
    pub fn options(&self, shards: usize, config: &config::Build) -> BuildOptions {
        BuildOptions {
            shards,
            threads: self.threads.unwrap_or(config.threads),
            dba: 0,
            on_duplicate: self.on_duplicate,
            memory_budget_bytes: self.memory.bytes(),
        }
    }
}

/// Configuration below the flags, and logs as it says.
fn configure(args: &ConfigArgs) -> Result<Config> {
    let config: Config = role::load_config(DEFAULT_TOML, args.config.as_deref(), ENV_PREFIX)?;
    let format = config.log.format.parse::<LogFormat>().map_err(|e| anyhow!("log.format: {e}"))?;
    let logs = LogConfig { filter: config.log.filter.clone(), format };
    observe::init("ocelli", &logs, &TracesConfig::default())?;
    Ok(config)
}

fn open_parts(paths: &[PathBuf]) -> Result<Vec<Part>> {
    paths.iter().map(|path| Ok(Part::open(path)?)).collect()
}

/// A number of bytes: `4GiB`, `512MiB`, `1000000`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("expected a number of bytes such as 4GiB or 512MiB, found {text:?}");
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * (1u64 << shift) as f64) as usize)
}

/// Hours of work must not end in "no such directory".
fn check_out(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let metadata = folder
        .metadata()
        .with_context(|| format!("cannot write {}: its folder", path.display()))?;
    if !metadata.is_dir() {
        bail!("cannot write {}: expected {} to be a directory", path.display(), folder.display());
    }
    Ok(())
}

fn file_bytes(path: &Path) -> Result<u64> {
    let metadata = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use ocelli_indexer::TrainOptions;

    use super::build::BuildArgs;
    use super::train::TrainArgs;
    use super::*;

    #[test]
    fn numbers_of_bytes_have_units() {
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        assert_eq!(bytes("0.5 MiB"), Ok(512 << 10));
        assert_eq!(bytes("1000"), Ok(1000));
        assert!(bytes("4 GB").is_err() && bytes("GiB").is_err() && bytes("").is_err());
    }

    /// The defaults are in `default.toml`. The library and the help texts repeat some of them.
    #[test]
    fn defaults_are_those_of_the_file() -> Result<()> {
        let config: Config = role::load_config_from(DEFAULT_TOML, None, ENV_PREFIX, [])?;
        let (train, build) = (config.train, config.build);
        let options = TrainOptions {
            nlist: train.nlist,
            m: train.m,
            ksub: 1 << train.bits,
            dim: train.dim,
            finer: false,
            pca: train.pca,
            renormalize: train.renormalize,
            coarse: train.coarse,
            metric: train.metric.metric(),
            opq: train.opq.opq(),
            opq_niter: train.opq_niter,
            niter: train.niter,
            seed: train.seed,
            threads: train.threads,
            max_rows: train.max_rows,
            force: false,
        };
        assert_eq!(options, TrainOptions::default());

        let check = |command: &clap::Command, flag: &str, default: usize| {
            let arg = command.get_arguments().find(|arg| arg.get_id() == flag);
            let help = arg.and_then(|arg| arg.get_help()).map(ToString::to_string);
            let help = help.unwrap_or_default().replace('\n', " ");
            assert!(help.ends_with(&format!("[default: {default}]")), "--{flag}: {help}");
        };
        let command = TrainArgs::augment_args(clap::Command::new("train"));
        for (flag, default) in [
            ("nlist", train.nlist),
            ("m", train.m),
            ("bits", train.bits),
            ("pca", train.pca),
            ("opq_niter", train.opq_niter),
            ("niter", train.niter),
            ("seed", train.seed as usize),
            ("threads", train.threads),
            ("max_rows", train.max_rows),
        ] {
            check(&command, flag, default);
        }
        let command = BuildArgs::augment_args(clap::Command::new("build"));
        for (flag, default) in
            [("shards", build.shards), ("threads", build.threads), ("dba", build.dba)]
        {
            check(&command, flag, default);
        }
        Ok(())
    }
}

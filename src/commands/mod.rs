//! One module per subcommand that runs in this process.

pub mod build;
pub mod eval;
pub mod export;
pub mod import;
pub mod inspect;
pub mod train;
pub mod whiten;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ocelli_index::Part;
use ocelli_indexer::config::{Config, DEFAULT_TOML, ENV_PREFIX};
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role::{self, LogConfig, LogFormat};

#[derive(Args)]
pub struct ConfigArgs {
    /// TOML file with defaults for whiten, train and build
    #[arg(long, value_name = "FILE", env = "OCELLI_INDEXER_CONFIG")]
    pub config: Option<PathBuf>,
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

/// Hours of work must not end in "no such directory".
fn check_out(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let metadata =
        folder.metadata().with_context(|| format!("--out {}: its folder", path.display()))?;
    if !metadata.is_dir() {
        bail!("--out {}: expected {} to be a directory", path.display(), folder.display());
    }
    Ok(())
}

fn file_bytes(path: &Path) -> Result<u64> {
    let metadata = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.len())
}

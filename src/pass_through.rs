//! `ocelli x …` as `ocelli-y x …`: the programs that this one does not link.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use clap::Args;

/// Everything after the subcommand, unread.
#[derive(Args)]
pub struct PassThroughArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// Becomes `program subcommand args…`: same process, same standard streams, its exit code. Returns
/// only if that fails.
pub fn run(program: &str, subcommand: &str, args: PassThroughArgs) -> Result<()> {
    let path = find(program)?;
    let error = Command::new(&path).arg(subcommand).args(args.args).exec();
    Err(anyhow!(error).context(format!("cannot run {}", path.display())))
}

/// The program beside this one, else in PATH.
fn find(program: &str) -> Result<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let search = env::var_os("PATH").unwrap_or_default();
    let folders = beside.iter().cloned().chain(env::split_paths(&search));
    for folder in folders {
        let path = folder.join(program);
        if is_file(&path) {
            return Ok(path);
        }
    }
    let beside =
        beside.map_or_else(|| "the folder of ocelli".to_owned(), |f| f.display().to_string());
    bail!("{program} not found: expected it in {beside} or in a folder of PATH")
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file())
}

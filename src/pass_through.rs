//! `ocelli x …` as `ocelli-y x …`: the programs that this one does not link.

use std::env;
use std::ffi::OsString;
use std::iter;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ocelli_indexer::BoxError;

/// Everything after the subcommand, unread.
#[derive(Args)]
pub struct PassThroughArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// Becomes `program subcommand args…`, or `program args…` without a subcommand: same process, same
/// standard streams, its exit code. Returns only if that fails.
pub fn run(program: &str, subcommand: Option<&str>, args: PassThroughArgs) -> Result<()> {
    let path = find(program)?;
    let error = Command::new(&path).args(subcommand).args(args.args).exec();
    Err(anyhow!(error).context(format!("cannot run {}", path.display())))
}

/// Runs `ocelli-encoder encode words…` to its end, as [`run_to_end`] does.
///
/// # Errors
/// Those of [`run_to_end`].
pub fn encode(words: &[OsString]) -> Result<(), BoxError> {
    let words: Vec<OsString> = iter::once("encode".into()).chain(words.iter().cloned()).collect();
    Ok(run_to_end("ocelli-encoder", &words)?)
}

/// Runs `program args…` and waits for its end. Its standard output is not shown; its standard
/// error, with its progress, is that of this process.
///
/// # Errors
/// A program that is not found or cannot be started; any end but exit code 0.
fn run_to_end(program: &str, args: &[OsString]) -> Result<()> {
    let path = find(program)?;
    let status = Command::new(&path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", path.display()))?;
    if status.success() {
        return Ok(());
    }
    let first = args.first().map(|arg| format!(" {}", arg.display())).unwrap_or_default();
    match status.code() {
        Some(code) => bail!("{program}{first}: ended with exit code {code}"),
        None => bail!("{program}{first}: {status}"),
    }
}

/// The program beside this one, else in PATH.
pub fn find(program: &str) -> Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_program_is_reported() {
        let run = |script: &str| run_to_end("sh", &["-c".into(), script.into()]);
        assert!(run("exit 0").is_ok());
        assert_eq!(run("exit 3").unwrap_err().to_string(), "sh -c: ended with exit code 3");
        assert!(run("kill -9 $$").unwrap_err().to_string().contains("signal: 9"));
        let error = run_to_end("no-such-program", &[]).unwrap_err().to_string();
        assert!(error.starts_with("no-such-program not found"), "{error}");
    }
}

//! The encoder as a child of this process, for one job.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::pass_through;

/// The program.
const ENCODER: &str = "ocelli-encoder";
/// Lines of a log that are kept for the message of a child that fails.
const KEPT: usize = 3;

/// A line of the encoder's log that says how far it is.
#[derive(Deserialize)]
struct ProgressLine {
    target: String,
    images: Option<u64>,
    total: Option<u64>,
}

/// A log file in the folder `logs` of `dir`. What an earlier run wrote there is replaced.
pub fn log_file(dir: &Path, name: &str) -> Result<(PathBuf, File)> {
    let folder = dir.join("logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(name);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, file))
}

/// Runs `ocelli-encoder args…` to its end, and tells `progress` how many images are done, of how
/// many. What it says goes to `log`, if there is one. It ends when this process does.
///
/// # Errors
/// A program that is not found or cannot be started; any end but exit code 0, with its own error.
pub fn encode(
    args: &[OsString],
    log: Option<(PathBuf, File)>,
    progress: &dyn Fn(u64, u64),
) -> Result<()> {
    let program = pass_through::find(ENCODER)?;
    let mut child = Command::new(&program)
        .args(args)
        .args(["--stop-with-stdin", "--log", "info,progress=debug", "--log-format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    // Open until the child has ended: it ends with it.
    let stdin = child.stdin.take();
    let mut last = VecDeque::new();
    let (path, mut file) = log.unzip();
    // Read to the end, whatever it is, so that the child can always write.
    let stderr = child.stderr.take().map(BufReader::new);
    for line in stderr.into_iter().flat_map(|stderr| stderr.split(b'\n')) {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).into_owned();
        match serde_json::from_str::<ProgressLine>(&line) {
            Ok(ProgressLine { target, images: Some(images), total: Some(total) })
                if target == "progress" =>
            {
                progress(images, total);
                continue;
            }
            Ok(_) => {}
            Err(_) => {
                last.truncate(KEPT - 1);
                last.push_front(line.clone());
            }
        }
        if let Some(file) = &mut file {
            // A log that cannot be written is no reason to lose the work.
            let _ = writeln!(file, "{line}");
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {ENCODER}"))?;
    drop(stdin);
    if status.success() {
        return Ok(());
    }
    let said = last.iter().find_map(|line| line.strip_prefix("error: "));
    let said = said.or(last.front().map(String::as_str)).unwrap_or("it said nothing");
    match path {
        Some(path) => bail!("the encoder ended with {status}: {said} (log: {})", path.display()),
        None => bail!("the encoder ended with {status}: {said}"),
    }
}

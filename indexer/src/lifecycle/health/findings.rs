//! Findings, each of one fault.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::{Error as IndexError, FileTrouble, Generation, IndexDir, Snapshot};

use super::files::{Found, References};
use super::mend::Mender;
use super::state::{Now, State};
use super::{Finding, MANY_DELETED, Part, Severity};
use crate::lifecycle::compact::{SMALL_SHARDS, is_small};

/// Tells where CURRENT is lost or leads nowhere.
pub(super) fn of_current(
    root: &Path,
    state: &State,
    whole: Option<String>,
    mender: &Mender,
) -> Option<Finding> {
    let path = root.join("CURRENT");
    let lost = match &state.now {
        Now::Current(_) => return None,
        Now::Empty => {
            return Some(Finding {
                severity: Severity::Damage,
                part: Part::Directory,
                what: format!("{}: the index has no generation", root.display()),
                path: root.to_owned(),
                mend: mender.anew(),
            });
        }
        Now::Unknown(error) => {
            let newer = matches!(error, IndexError::NewerVersion { .. });
            let path = error.path().unwrap_or(&path).to_owned();
            return Some(Finding {
                severity: Severity::Damage,
                part: if newer { Part::NewerGeneration } else { Part::Permissions },
                what: error.to_string(),
                mend: if newer { mender.newer(true) } else { refused(&path, error, mender) },
                path,
            });
        }
        Now::Lost(lost) => lost,
    };
    let mut what = match &lost.error {
        // The generation's own file may have a finding of its own.
        Some(error) => format!("{}: names no sound generation: {error}", path.display()),
        None => format!("{}: there is no CURRENT", root.display()),
    };
    if lost.number.is_none() {
        what += "; so it is not known which generation was current";
    }
    what.extend(whole.map(|whole| format!("; {whole}")));
    let mend = mender.go_back();
    Some(Finding { severity: Severity::Damage, part: Part::Current, path, what, mend })
}

/// The finding of a record of an erasure that cannot be read: searches go on, and no way back, `gc`
/// or backup does.
pub(super) fn of_erasure(root: &Path, error: &IndexError, mender: &Mender) -> Finding {
    let path = error.path().unwrap_or(root).to_owned();
    let (part, mend) = match error.trouble() {
        Some(FileTrouble::Refused) => (Part::Permissions, refused(&path, error, mender)),
        _ if matches!(error, IndexError::NewerVersion { .. }) => {
            (Part::Erasure, mender.newer(false))
        }
        _ => (Part::Erasure, mender.lost_erasure(&path)),
    };
    let what = format!("{error}; it says which rows were erased: rollback, gc and backup need it");
    Finding { severity: Severity::Warning, part, path, what, mend }
}

/// The remedy where the operating system does not give a file.
fn refused(path: &Path, error: &IndexError, mender: &Mender) -> Vec<super::Remedy> {
    let is_forbidden = match error {
        IndexError::Io { cause, .. } => cause.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    };
    mender.readable(path, is_forbidden)
}

/// The finding of a fault of generation `number`.
pub(super) fn of_fault(
    dir: &IndexDir,
    state: &State,
    (number, error): (u64, &IndexError),
    mender: &Mender,
) -> Finding {
    let (root, of) = (dir.root(), error.path());
    let hurts = state.hurts_current(dir, number, of);
    let blocks = state.blocks_changes(root, number, of);
    let path = of.unwrap_or(root).to_owned();
    let folder = path.strip_prefix(root).ok().and_then(|inner| inner.components().next());
    let folder = folder.map(|first| first.as_os_str().to_string_lossy().into_owned());
    let is_refused = error.trouble() == Some(FileTrouble::Refused);
    let is_newer = matches!(error, IndexError::NewerVersion { .. });
    let part = match folder.as_deref() {
        _ if is_refused => Part::Permissions,
        Some("generations") if is_newer => Part::NewerGeneration,
        Some("generations") => Part::Generation,
        Some("models") => Part::Model,
        Some("shards") => Part::Shard,
        Some("tombstones") => Part::Tombstones,
        Some("deletes") => Part::DeleteLog,
        Some("CURRENT") => Part::Current,
        _ => Part::Agreement,
    };
    let mend = match of {
        _ if is_refused => refused(&path, error, mender),
        _ if is_newer => mender.newer(hurts),
        _ if hurts => mender.lost_file(&path),
        _ => mender.lost_of_others(&path, &state.in_need_of(dir, number, of), blocks),
    };
    let mut what = error.to_string();
    if state.is_later(number) && !hurts {
        what += &format!(
            "; generation {number} is not current: it was rolled back from, or never became \
             current, and {}",
            match blocks {
                true => "no change of the index works until this is mended",
                false => "`ocelli gc` removes it once the index has changed",
            }
        );
    }
    let severity = if hurts || blocks { Severity::Damage } else { Severity::Warning };
    Finding { severity, part, path, what, mend }
}

/// Findings about files that no generation names, and rights.
pub(super) fn of_files(
    dir: &IndexDir,
    state: &State,
    found: &Found,
    mender: &Mender,
    findings: &mut Vec<Finding>,
) {
    let root = dir.root();
    for (path, what) in &found.refused {
        findings.push(Finding {
            severity: Severity::Damage,
            part: Part::Permissions,
            path: path.clone(),
            what: format!("{}: {what}", path.display()),
            mend: mender.readable(path, true),
        });
    }
    // Where the current generation is lost, its files may lie there; nothing is collected then.
    if state.current().is_none() {
        return;
    }
    for folder in &found.work {
        findings.push(Finding {
            severity: Severity::Note,
            part: Part::Plan,
            path: folder.clone(),
            what: format!(
                "{}: work on a plan, in which nothing was written for a week: start its \
                 tasks again, or have it removed",
                folder.display()
            ),
            mend: mender.gc(),
        });
    }
    let mut note = |part, what: &str, paths: Vec<&PathBuf>, bytes: u64| {
        if let Some(first) = paths.first() {
            findings.push(Finding {
                severity: Severity::Note,
                part,
                path: (*first).clone(),
                what: format!(
                    "{} {what}, {} bytes; the first is {}",
                    ocelli_text::counted(paths.len() as u64, "file"),
                    ocelli_text::thousands(bytes),
                    first.display()
                ),
                mend: mender.gc(),
            });
        }
    };
    let sum = |paths: &[&PathBuf]| paths.iter().filter_map(|path| found.files.get(*path)).sum();
    let temporary: Vec<&PathBuf> = found.temporary.keys().collect();
    let bytes = found.temporary.values().sum();
    note(Part::Temporary, "left by writers that were killed", temporary, bytes);
    // A generation that cannot be read may need any of them.
    if state.readable.len() == state.numbers.len() {
        let mut needed = BTreeSet::new();
        for generation in state.readable.values() {
            needed.extend(References::of(dir, generation).paths(root));
        }
        let spare: Vec<&PathBuf> =
            found.files.keys().filter(|path| !needed.contains(*path)).collect();
        let bytes = sum(&spare);
        note(Part::Unreferenced, "that no generation needs", spare, bytes);
    }
}

/// Findings about the shards of the current generation.
pub(super) fn of_shards(
    root: &Path,
    dir: &IndexDir,
    current: &Generation,
    mender: &Mender,
    findings: &mut Vec<Finding>,
) {
    let largest = current.shards.iter().map(|shard| shard.rows).max().unwrap_or(0);
    let count = current.shards.iter().filter(|shard| is_small(shard.rows, largest)).count();
    let mut warn = |part, what: String| {
        findings.push(Finding {
            severity: Severity::Warning,
            part,
            path: root.to_owned(),
            what,
            mend: mender.compact(),
        });
    };
    if count > SMALL_SHARDS {
        let what = format!(
            "{count} of {} shards are small, more than {SMALL_SHARDS}: each costs a search \
             time of its own",
            current.shards.len()
        );
        warn(Part::SmallShards, what);
    }
    let all: u64 = current.shards.iter().map(|shard| shard.rows).sum();
    let living = Snapshot::open_in(dir, Some(current.number)).map_or(all, |s| s.rows());
    let deleted = all - living.min(all);
    if deleted as f64 > MANY_DELETED * all as f64 {
        let what = format!(
            "{} of {} rows are deleted, but take disk, and time in a search",
            ocelli_text::thousands(deleted),
            ocelli_text::thousands(all)
        );
        warn(Part::DeletedRows, what);
    }
}

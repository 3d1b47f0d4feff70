//! The files of an index directory, and those that a generation needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli_index::{ERASED, FOLDERS, Generation, IndexDir, Snapshot, container, object_names};

use crate::lifecycle::gc::PLAN_AGE;

/// Owner may read.
const READ: u32 = 0o400;
/// Owner may look into a folder.
const ENTER: u32 = 0o100;

/// Time after which a file that no generation names is taken for left over: that of `gc`.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// All that lies in the folders of a directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files with names of their own that have not been written to for a day, with their bytes.
    pub files: BTreeMap<PathBuf, u64>,
    /// Folders of work on plans that `gc` gives up.
    pub work: Vec<PathBuf>,
    /// Files with temporary names whose writers are gone, with their bytes.
    pub temporary: BTreeMap<PathBuf, u64>,
    /// Files and folders that cannot be read, and why.
    pub refused: Vec<(PathBuf, String)>,
}

/// Lists the files of a directory.
pub(super) fn look(root: &Path) -> Found {
    let mut found = Found::default();
    found.add_file(&root.join("CURRENT"), false);
    for folder in FOLDERS.into_iter().chain([ERASED]) {
        let folder = root.join(folder);
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) if metadata.permissions().mode() & (READ | ENTER) == READ | ENTER => {
                entries
            }
            Ok(_) => {
                found.refused.push((folder, "its owner may not list it".to_owned()));
                continue;
            }
            Err(error) => {
                found.refused.push((folder, format!("cannot be listed: {error}")));
                continue;
            }
        };
        for entry in entries.flatten() {
            found.add_file(&entry.path(), true);
        }
    }
    for plan in fs::read_dir(root.join("work")).into_iter().flatten().flatten() {
        if is_old(&plan.path(), PLAN_AGE) {
            found.work.push(plan.path());
        }
    }
    found.work.sort_unstable();
    found
}

/// Whether nothing was written to a file, or anywhere in a folder, for so long.
fn is_old(path: &Path, age: Duration) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let untouched = metadata.modified().ok().and_then(|time| time.elapsed().ok());
    if untouched.is_none_or(|time| time < age) {
        return false;
    }
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    !metadata.is_dir() || inside.into_iter().all(|entry| is_old(&entry.path(), age))
}

impl Found {
    fn add_file(&mut self, path: &Path, counted: bool) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if !metadata.is_file() {
            return;
        }
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            if container::is_left_over(path) {
                self.temporary.insert(path.to_owned(), metadata.len());
            }
            return;
        }
        if metadata.permissions().mode() & READ == 0 {
            self.refused.push((path.to_owned(), "its owner may not read it".to_owned()));
        }
        if counted && is_old(path, LEFT) {
            self.files.insert(path.to_owned(), metadata.len());
        }
    }
}

/// Files that a generation needs, by their names in the directory.
#[derive(Debug, Default)]
pub(super) struct References {
    names: BTreeSet<String>,
}

impl References {
    /// The files of a generation: as far as its shards can be opened, with the model that holds
    /// their fine codec.
    pub(super) fn of(dir: &IndexDir, generation: &Generation) -> Self {
        let mut names = BTreeSet::from([
            object_names::generation(generation.number),
            object_names::model(&generation.model, None),
        ]);
        names.extend(generation.objects().into_iter().flatten().map(|(name, _)| name));
        let log = dir.delete_log(generation.deletes).map_while(|file| Some(file.ok()?.1.before));
        let log = std::iter::once(generation.deletes).chain(log).flatten();
        names.extend(log.map(|hash| object_names::deletes(&hash)));
        let codec = Snapshot::open_degraded(dir.root(), Some(generation.number), None)
            .ok()
            .and_then(|snapshot| Some(snapshot.model().fine_codec()?.hash()));
        names.extend(codec.map(|codec| object_names::model(&generation.model, Some(&codec))));
        Self { names }
    }

    /// The files below `root`.
    pub(super) fn paths(&self, root: &Path) -> BTreeSet<PathBuf> {
        self.names.iter().map(|name| root.join(name)).collect()
    }
}

//! The files of an index directory, and those that a generation needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli_index::{ERASED, FOLDERS, Generation, IndexDir, Snapshot, container, object_names};

use crate::lifecycle::gc::{PLAN_AGE, idle, works};

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
    let given_up = works(root).unwrap_or_default().into_iter().map(|work| work.folder().to_owned());
    found.work.extend(given_up.filter(|folder| idle(folder) >= PLAN_AGE));
    found.work.sort_unstable();
    found
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
        if counted && idle(path) >= LEFT {
            self.files.insert(path.to_owned(), metadata.len());
        }
    }
}

/// Files that a generation needs, by their names in the directory.
#[derive(Debug, Default)]
pub(super) struct References {
    names: BTreeSet<String>,
    /// Whether the generation can be opened, but for single shards.
    pub opens: bool,
}

impl References {
    /// The files of a generation: as far as its shards can be opened, with the model that holds
    /// their fine codec. Where that is missing, the opening says so.
    pub(super) fn of(dir: &IndexDir, generation: &Generation) -> Self {
        let mut names = BTreeSet::from([
            object_names::generation(generation.number),
            object_names::model(&generation.model, None),
        ]);
        names.extend(generation.objects().into_iter().flatten().map(|(name, _)| name));
        let log = dir.delete_log(generation.deletes).map_while(|file| Some(file.ok()?.1.before));
        let log = std::iter::once(generation.deletes).chain(log).flatten();
        names.extend(log.map(|hash| object_names::deletes(&hash)));
        let opened = Snapshot::open_degraded(dir.root(), Some(generation.number), None);
        let opens = opened.is_ok();
        match opened {
            Ok(snapshot) => {
                let codec = snapshot.model().fine_codec().map(|codec| codec.hash());
                let name = |codec| object_names::model(&generation.model, Some(&codec));
                names.extend(codec.map(name));
            }
            Err(error) => {
                let name = error.path().and_then(|path| path.strip_prefix(dir.root()).ok());
                names.extend(name.map(|name| name.display().to_string()));
            }
        }
        Self { names, opens }
    }

    /// The files below `root`.
    pub(super) fn paths(&self, root: &Path) -> BTreeSet<PathBuf> {
        self.names.iter().map(|name| root.join(name)).collect()
    }
}

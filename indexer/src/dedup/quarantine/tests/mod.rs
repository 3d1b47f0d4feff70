//! Files that are taken and put back, whatever comes in between.

mod bad;
mod kill;
mod stops;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ocelli_index::Hash;
use tempfile::TempDir;

use super::*;

/// A folder of photos, and what their list says.
struct World {
    home: TempDir,
    lines: Vec<Removal>,
}

/// What a file is: content, permissions, seconds and nanoseconds of its last change.
type Seen = (Vec<u8>, u32, i64, i64);

impl World {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("photos")).unwrap();
        Self { home, lines: Vec::new() }
    }

    /// So many files: every second is a copy of the one before. One has a name that is not UTF-8.
    fn of(pairs: usize) -> Self {
        let mut world = Self::new();
        for number in 0..pairs {
            let content = format!("photo {number} {}", "x".repeat(number * 37));
            world.write(format!("{number}/kept.jpg"), &content, 0o644);
            let copy = match number {
                1 => PathBuf::from(OsStr::from_bytes(b"1/copy \xff.jpg")),
                _ => PathBuf::from(format!("{number}/copy.jpg")),
            };
            world.write(&copy, &content, 0o600 + number as u32 % 8);
            world.remove(copy, format!("{number}/kept.jpg"));
        }
        world
    }

    fn photos(&self) -> PathBuf {
        self.home.path().join("photos")
    }

    fn write(&self, name: impl AsRef<Path>, content: &str, mode: u32) -> PathBuf {
        let path = self.photos().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let time = UNIX_EPOCH + Duration::new(1_000_000_000 + u64::from(mode), 123_456_789);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        File::open(&path).unwrap().set_times(times).unwrap();
        path
    }

    /// Adds a line for a file as it is now.
    fn remove(&mut self, path: impl Into<PathBuf>, kept: impl Into<PathBuf>) {
        let (path, kept) = (path.into(), kept.into());
        let read = |path: &Path| fs::read(self.photos().join(path)).unwrap();
        let (content, kept_content) = (read(&path), read(&kept));
        self.lines.push(Removal {
            path,
            sha256: Hash::of(&content),
            bytes: content.len() as u64,
            kept,
            kept_sha256: Hash::of(&kept_content),
        });
    }

    fn list(&self) -> PathBuf {
        let path = self.home.path().join("removals.jsonl");
        let line = |line: &Removal| serde_json::to_string(line).unwrap() + "\n";
        fs::write(&path, self.lines.iter().map(line).collect::<String>()).unwrap();
        path
    }

    fn options(&self, action: Action) -> ApplyOptions {
        let quarantine = self.home.path().join("aside");
        ApplyOptions { root: self.photos(), quarantine, action, touch: true }
    }

    fn apply(&self, action: Action) -> ApplyReport {
        apply(&self.list(), &self.options(action)).unwrap()
    }

    fn undo(&self) -> UndoReport {
        undo(&self.home.path().join("aside")).unwrap()
    }

    /// All files below the photos.
    fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        let mut seen = BTreeMap::new();
        let mut folders = vec![self.photos()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                if found.is_dir() {
                    folders.push(path);
                    continue;
                }
                let content = match found.is_symlink() {
                    true => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
                    false => fs::read(&path).unwrap(),
                };
                seen.insert(path, (content, found.mode(), found.mtime(), found.mtime_nsec()));
            }
        }
        seen
    }
}

/// A folder on another file system than the system's temporary one, if there is one.
#[allow(clippy::print_stderr, reason = "says that it is skipped")]
fn elsewhere() -> Option<TempDir> {
    let own = fs::metadata(std::env::temp_dir()).ok()?.dev();
    let folders = ["/dev/shm", "/run", "/var/tmp", "/home"].map(Path::new);
    let mut other = folders.iter().filter(|at| fs::metadata(at).is_ok_and(|f| f.dev() != own));
    let found = other.find_map(|folder| TempDir::new_in(folder).ok());
    if found.is_none() {
        eprintln!("skipped: there is no second file system that can be written to");
    }
    found
}

#[test]
fn moved_and_put_back() {
    let world = World::of(6);
    let before = world.seen();
    let report = world.apply(Action::Move);
    assert_eq!((report.taken.files, report.listed.files, report.problems.all().len()), (6, 6, 0));
    assert_eq!(report.freed_bytes, report.taken.bytes);
    let during = world.seen();
    assert_eq!(during.len(), 6);
    assert!(during.keys().all(|path| path.ends_with("kept.jpg")));
    // Once more: all is done.
    let again = world.apply(Action::Move);
    assert_eq!((again.taken.files, again.already), (0, 6));

    let undone = world.undo();
    assert_eq!((undone.entries, undone.restored), (6, report.taken));
    assert_eq!(world.seen(), before);
    assert_eq!(world.undo().already, 6);
    // And the same folder again.
    assert_eq!(world.apply(Action::Move).taken.files, 6);
    assert_eq!(world.undo().restored.files, 6);
    assert_eq!(world.seen(), before);
}

#[test]
fn nothing_is_touched_without_being_told() {
    let world = World::of(3);
    let before = world.seen();
    let options = ApplyOptions { touch: false, ..world.options(Action::Move) };
    let report = apply(&world.list(), &options).unwrap();
    assert_eq!((report.taken.files, report.applied), (3, false));
    assert_eq!(world.seen(), before);
    assert!(!options.quarantine.exists());
}

#[test]
fn links_take_the_place() {
    let mut world = World::of(4);
    // A copy that is another file: no link of the kept one may take its place.
    world.write("2/edit.jpg", "edited", 0o644);
    world.remove("2/edit.jpg", "2/kept.jpg");
    let before = world.seen();
    let report = world.apply(Action::HardLink);
    assert_eq!((report.taken.files, report.different), (4, 1));
    let during = world.seen();
    assert_eq!(during.len(), before.len());
    for line in &world.lines[..4] {
        let inode = |name: &Path| fs::metadata(world.photos().join(name)).unwrap().ino();
        assert_eq!(inode(&line.path), inode(&line.kept));
        let content = &during[&world.photos().join(&line.path)].0;
        assert_eq!(content, &before[&world.photos().join(&line.path)].0);
    }
    let again = world.apply(Action::HardLink);
    assert_eq!((again.taken.files, again.already, again.different), (0, 4, 1));
    assert_eq!(world.undo().restored.files, 4);
    assert_eq!(world.seen(), before);
}

/// Where the file system can share blocks, a reflink takes the place; where it cannot, the file is
/// put back and counted.
#[test]
fn reflinks_or_nothing() {
    let world = World::of(3);
    let before = world.seen();
    let report = world.apply(Action::Reflink);
    assert_eq!(report.taken.files + report.failed, 3, "{report:?}");
    assert_eq!(world.seen(), before);
    assert_eq!(world.undo().restored.files, report.taken.files);
    assert_eq!(world.seen(), before);
}

#[test]
fn to_another_file_system_and_back() {
    let Some(other) = elsewhere() else { return };
    for action in [Action::Move, Action::HardLink] {
        let world = World::of(5);
        let before = world.seen();
        let quarantine = other.path().join(format!("{action:?}"));
        let options = ApplyOptions { quarantine: quarantine.clone(), ..world.options(action) };
        let report = apply(&world.list(), &options).unwrap();
        assert_eq!((report.taken.files, report.failed), (5, 0));
        let during = world.seen();
        assert_eq!(during.len(), if action == Action::Move { 5 } else { 10 });
        let undone = undo(&quarantine).unwrap();
        assert_eq!(undone.restored.files, 5, "{undone:?}");
        assert_eq!(world.seen(), before);
        assert!(!quarantine.join(FILES).exists());
    }
}

/// Two names of one file: nothing is free until the last is taken, and nothing while the kept file
/// is one of them.
#[test]
fn names_of_one_file() {
    let mut world = World::new();
    world.write("kept.jpg", "a photo", 0o644);
    world.write("copy.jpg", "a photo", 0o644);
    for (from, to) in [("kept.jpg", "kept too.jpg"), ("copy.jpg", "copy too.jpg")] {
        fs::hard_link(world.photos().join(from), world.photos().join(to)).unwrap();
    }
    world.remove("copy.jpg", "kept.jpg");
    world.remove("kept too.jpg", "kept.jpg");
    let before = world.seen();
    let report = world.apply(Action::Move);
    assert_eq!((report.taken.files, report.freed_bytes), (2, 0));
    world.remove("copy too.jpg", "kept.jpg");
    let report = world.apply(Action::Move);
    assert_eq!((report.taken.files, report.already), (1, 2));
    assert_eq!(world.undo().restored.files, 3);
    assert_eq!(world.seen(), before);
    let inode = |name: &str| fs::metadata(world.photos().join(name)).unwrap().ino();
    assert_eq!(inode("copy.jpg"), inode("copy too.jpg"));
    // As links, the second name of the kept file is one already.
    let report = world.apply(Action::HardLink);
    assert_eq!((report.taken.files, report.linked), (2, 1));
    world.undo();
    assert_eq!(world.seen(), before);
}

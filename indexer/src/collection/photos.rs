//! The photos of a collection, for reading.

use std::collections::{BTreeSet, HashMap};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ocelli_index::Part;
use ocelli_pictures::photos::modified_ms;

use super::batch;
use super::folder::Folder;
use super::settings::Settings;
use super::state::{Entry, Outcome, Place, State};
use crate::{Error, Result};

/// Keys that are proposed in place of one that there is not.
const PROPOSALS: usize = 3;
/// How alike two names have to be, 0 to 1, to be proposed.
const ALIKE: f64 = 0.85;
/// Keys that are compared, at most.
const COMPARED: usize = 200_000;

/// The photos of a collection as a run of `ocelli index` left them.
#[derive(Debug)]
pub struct Photos {
    folder: Folder,
    settings: Settings,
    state: State,
    /// Size and time of the file that was read.
    version: (u64, Option<i64>),
    /// Keys by id, made when they are first asked for.
    by_id: OnceLock<HashMap<u64, String>>,
}

impl Photos {
    /// The photos of the collection at `dir`.
    ///
    /// # Errors
    /// No collection; one without an index; files that cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = Folder::open(dir)?;
        let Some(settings) = Settings::read_from(&folder)? else {
            return Err(Error::Invalid(format!("{}: its settings are gone", dir.display())));
        };
        let version = version(&folder);
        let state = State::read(&folder)?;
        if !folder.root.join("CURRENT").exists() {
            return Err(Error::Invalid(format!(
                "{}: expected an index, found a run of `ocelli index` that has not ended; run \
                 `ocelli index --out {0}` again",
                dir.display()
            )));
        }
        Ok(Photos { folder, settings, state, version, by_id: OnceLock::new() })
    }

    /// Reads the photos anew if a run has changed them.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn refresh(&mut self) -> Result<()> {
        if version(&self.folder) != self.version {
            *self = Self::open(&self.folder.root.clone())?;
        }
        Ok(())
    }

    /// The directory, canonical.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.folder.root
    }

    /// How the collection was made.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Number of photos that have a descriptor.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.rows().count()
    }

    /// Whether no photo has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.rows().next().is_none()
    }

    /// Keys of the photos that have a descriptor, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.state.rows().map(|(key, _, _)| key)
    }

    /// Some keys with their ids, spread over all of them.
    #[must_use]
    pub fn sample(&self, count: usize) -> Vec<(u64, &str)> {
        let step = self.len().div_ceil(count.max(1)).max(1);
        self.state.rows().step_by(step).map(|(key, entry, _)| (entry.id, key)).collect()
    }

    /// Key of the photo with this id.
    pub fn key_of(&self, id: u64) -> Option<&str> {
        let all = || self.state.photos.iter().map(|(key, entry)| (entry.id, key.clone())).collect();
        self.by_id.get_or_init(all).get(&id).map(String::as_str)
    }

    /// File of a photo.
    #[must_use]
    pub fn path(&self, key: &str) -> Option<&Path> {
        self.state.photos.get(key).map(|entry| entry.seen.path.as_path())
    }

    /// Whether the file of a photo has the size and the time of change that were encoded.
    #[must_use]
    pub fn is_unchanged(&self, key: &str, metadata: &Metadata) -> bool {
        self.state.photos.get(key).is_some_and(|entry| {
            entry.seen.bytes == metadata.len() && entry.seen.modified_ms == modified_ms(metadata)
        })
    }

    /// Key of the photo at `path`, if it is whole in the index and unchanged since.
    #[must_use]
    pub fn key_at(&self, path: &Path, metadata: &Metadata) -> Option<&str> {
        let is_it = |entry: &Entry| {
            entry.seen.path == path
                && entry.seen.bytes == metadata.len()
                && entry.seen.modified_ms == modified_ms(metadata)
                && entry.seen.bounding_box.is_none()
                && entry.seen.rotate.is_none()
        };
        self.state.rows().find(|(_, entry, _)| is_it(entry)).map(|(key, _, _)| key)
    }

    /// Files of the descriptors of all photos, in the order of their numbers. They also have rows
    /// of photos that changed since, or are gone.
    #[must_use]
    pub fn parts(&self) -> Vec<PathBuf> {
        let places = self.state.rows().map(|(.., place)| (place.batch, place.part));
        let parts: BTreeSet<(u32, u32)> = places.collect();
        let file = |(batch, part)| batch::part_file(&self.folder, Place { batch, part, row: 0 });
        parts.into_iter().map(file).collect()
    }

    /// The descriptor of a photo, (dim,), as it was encoded. None: it has none here.
    ///
    /// # Errors
    /// A part that cannot be read.
    pub fn descriptor(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let Some(entry) = self.state.photos.get(key) else { return Ok(None) };
        let Outcome::At(place) = entry.outcome else { return Ok(None) };
        let row = place.row as usize;
        let part = Part::open(&batch::part_file(&self.folder, place))?;
        Ok(Some(part.read(row..row + 1)?))
    }

    /// Why a photo has no descriptor, if it has none.
    #[must_use]
    pub fn rejected(&self, key: &str) -> Option<&str> {
        match &self.state.photos.get(key)?.outcome {
            Outcome::Rejected(reason) => Some(reason),
            Outcome::At(_) => None,
        }
    }
}

fn version(folder: &Folder) -> (u64, Option<i64>) {
    let metadata = folder.state().metadata();
    metadata.map_or((0, None), |metadata| (metadata.len(), modified_ms(&metadata)))
}

/// Some of `keys` that may be meant by `wanted`, which is none of them, the likeliest first.
pub fn near_misses<'k>(keys: impl Iterator<Item = &'k str>, wanted: &str) -> Vec<&'k str> {
    let wanted = wanted.to_lowercase();
    let wanted_name = file_name(&wanted);
    let mut found: Vec<(f64, &str)> = Vec::new();
    for key in keys.take(COMPARED) {
        let lower = key.to_lowercase();
        let name = file_name(&lower);
        let alike = if name == wanted_name || stem(name) == stem(wanted_name) {
            1.0
        } else if wanted.len() > 2 && lower.contains(&wanted) {
            0.95
        } else {
            strsim::normalized_damerau_levenshtein(name, wanted_name)
        };
        if alike >= ALIKE || strsim::jaro_winkler(name, wanted_name) > 0.93 {
            found.push((alike, key));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    found.into_iter().map(|(_, key)| key).take(PROPOSALS).collect()
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The error of a key that there is not.
pub(super) fn no_such_key(photos: &Photos, wanted: &Path) -> Error {
    let text = wanted.to_string_lossy();
    let near = near_misses(photos.keys(), &text);
    let near: Vec<String> = near.into_iter().map(ocelli_text::quoted).collect();
    let more = match near.as_slice() {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(" or ")),
    };
    Error::Invalid(format!(
        "{}: expected a file or a key of {}, found neither{more}",
        text,
        photos.dir().display()
    ))
}

/// Paths that pages show.
pub(super) fn owned(path: Option<&Path>) -> Option<PathBuf> {
    path.map(Path::to_owned)
}

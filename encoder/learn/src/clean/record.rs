//! The result of a class, and its file.
//!
//! The file has two lines: the SHA-256 of the second, and JSON. So half a file, or one that was
//! changed, is known, and made again.

use std::fs;
use std::path::Path;

use ocelli_index::container::write_atomically;
use ocelli_index::{Hash, Hasher};
use ocelli_matching::Affine;
use ocelli_pictures::photos::read_file;
use serde::{Deserialize, Serialize};

use crate::clean::diffusion::Edge;
use crate::clean::settings::MatchSettings;
use crate::clean::source::Source;
use crate::error::{Error, Result};
use crate::list::Entry;
use crate::turn::Edges;

/// Version of the records. A later one does not know the earlier ones, and makes them again.
const VERSION: u32 = 2;

/// Facts of a photo that was matched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Width and height in stored pixels.
    pub stored: [u32; 2],
    /// Orientation as EXIF numbers it, 1 to 8.
    pub orientation: u8,
    /// Width and height of the upright picture that was matched, in pixels.
    pub picture: [u32; 2],
    /// The number of its features.
    pub keypoints: usize,
    /// Hash of its bytes: copies have the same.
    pub hash: Hash,
}

/// A photo of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Photo {
    /// A photo that was matched.
    Seen(Seen),
    /// A photo that cannot be read, with the reason.
    Unreadable(String),
}

impl Photo {
    /// Hash of its bytes, if it was matched.
    #[must_use]
    pub fn hash(&self) -> Option<Hash> {
        match self {
            Photo::Seen(seen) => Some(seen.hash),
            Photo::Unreadable(_) => None,
        }
    }
}

/// A verified pair of photos.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The numbers of the two photos in the class.
    pub photos: [u32; 2],
    /// Matches that pass the ratio test.
    pub matches: usize,
    /// Different places of those that agree on the map.
    pub inliers: usize,
    /// The map from the first picture to the second: a, b, c of x' and of y'.
    pub map: [[f64; 3]; 2],
    /// Bounding boxes of the matched points in both pictures, in pixels.
    pub boxes: [Edges; 2],
}

/// The result of matching a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Hash of all that decides the record.
    pub key: Hash,
    /// The photos, in the order of the list.
    pub photos: Vec<Photo>,
    /// The number of pairs that were compared.
    pub compared: usize,
    /// The verified pairs, ascending.
    pub pairs: Vec<Pair>,
}

impl Pair {
    /// The pair as an edge. What it carries weighs as the square root of its inliers: a pair of
    /// copies has hundreds of them, and does not know the thing better for it.
    #[must_use]
    pub fn edge(&self) -> Edge {
        let [x, y] = self.map;
        Edge {
            nodes: self.photos,
            map: Affine { x, y },
            boxes: self.boxes,
            weight: (self.inliers as f64).sqrt(),
        }
    }
}

/// The file name of a record.
#[must_use]
pub fn file_name(key: &Hash) -> String {
    format!("class-{}.json", key.short())
}

/// The hash of what decides the record of a class: the version, the settings, the bytes and names
/// of its photos, and their boxes. Reads all files.
#[must_use]
pub fn key(source: &Source, class: &str, photos: &[&Entry], settings: &MatchSettings) -> Hash {
    let mut hasher = Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(format!("clean {VERSION} {}", env!("CARGO_PKG_VERSION")).as_bytes());
    add(serde_json::to_string(settings).unwrap_or_default().as_bytes());
    add(class.as_bytes());
    for entry in photos {
        add(source.name(entry).as_os_str().as_encoded_bytes());
        match read_file(&entry.path) {
            Ok(file) => add(&Hash::of(&file.bytes).bytes()),
            Err(reason) => add(format!("unreadable: {reason}").as_bytes()),
        }
        add(format!("{:?}", entry.bbox).as_bytes());
    }
    hasher.finish()
}

impl Record {
    /// The record of a key in a work folder, of so many photos; None if there is none, or none that
    /// is sound.
    #[must_use]
    pub fn read(work: &Path, key: &Hash, photos: usize) -> Option<Record> {
        let text = fs::read_to_string(work.join(file_name(key))).ok()?;
        let (hash, json) = text.split_once('\n')?;
        let json = json.strip_suffix('\n')?;
        if hash != Hash::of(json.as_bytes()).to_string() {
            return None;
        }
        let record: Record = serde_json::from_str(json).ok()?;
        (record.key == *key && record.is_sound(photos)).then_some(record)
    }

    /// Writes the record, and reads it back: numbers that are parsed are the same in every run.
    ///
    /// # Errors
    /// `Index` for a file that cannot be written, `Invalid` for one that does not hold what was
    /// written.
    pub fn write(&self, work: &Path) -> Result<Record> {
        let path = work.join(file_name(&self.key));
        let json = serde_json::to_string(self)
            .map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
        let text = format!("{}\n{json}\n", Hash::of(json.as_bytes()));
        write_atomically(&path, text.as_bytes())?;
        Record::read(work, &self.key, self.photos.len()).ok_or_else(|| {
            let what = "expected the record that was just written, found another file";
            Error::invalid(format!("{}: {what}", path.display()))
        })
    }

    /// Says whether there are so many photos, pairs name some that were seen, and numbers are
    /// finite.
    fn is_sound(&self, photos: usize) -> bool {
        let all_there = self.photos.len() == photos;
        all_there
            && self.pairs.iter().all(|pair| {
                let seen = |at: u32| matches!(self.photos.get(at as usize), Some(Photo::Seen(_)));
                let numbers = pair.map.iter().flatten().chain(pair.boxes.iter().flatten());
                pair.photos.iter().all(|&at| seen(at)) && numbers.into_iter().all(|v| v.is_finite())
            })
    }
}

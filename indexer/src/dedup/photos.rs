//! The second opinion of the photos themselves: how far two of them agree.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ocelli_pictures::Previews;
use ocelli_pictures::agree::{self, Sketch, Verdict, agree};
use parking_lot::Mutex;
use rayon::prelude::*;

use super::files::is_as_it_was;
use super::index_rows::Places;
use super::pairs::{Look, Question, SecondOpinion, Side};
use crate::collection::Photos;
use crate::photo_file;
use crate::{Error, Result};

/// The photos of a collection, by their keys. Photos of another index have no place.
impl Places for Photos {
    fn path(&self, of: usize, key: &str) -> Option<PathBuf> {
        Photos::path(self, key).filter(|_| of == 0).map(Path::to_owned)
    }
}

/// Photos whose keys are paths in a folder.
#[derive(Clone, Debug)]
pub struct FolderPlaces {
    folder: PathBuf,
}

impl FolderPlaces {
    /// The photos in `folder`.
    ///
    /// # Errors
    /// A folder that is not there.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder).map_err(Error::io("find", folder))?;
        if folder.is_dir() {
            return Ok(Self { folder });
        }
        Err(Error::Invalid(format!("{}: expected the folder of photos", folder.display())))
    }
}

impl Places for FolderPlaces {
    /// A key that leads out of the folder has no place.
    fn path(&self, of: usize, key: &str) -> Option<PathBuf> {
        let key = Path::new(key);
        let key = key.strip_prefix(&self.folder).unwrap_or(key);
        let is_inside = key.components().all(|part| matches!(part, Component::Normal(_)));
        (of == 0 && is_inside).then(|| self.folder.join(key))
    }
}

/// The score from which two photos are an edit of one ([`agree::Agreement::score`]). Of the pairs
/// of 724 photos of Paris6k and Holidays and 600 copies of 60 of them that reach a cosine of 0.4,
/// 1,224 reach this, or have hashes that differ in 4 bits at most; 98.8 % of these are copies (95
/// %: 98.0 to 99.3). From 0.5 on it would be 96.1 % of 1,767: shots of a thing from one place,
/// one after the other, are the rest. docs/dedup.md has the commands.
const COPIES_FROM: f32 = 0.9;

/// Sketches that are kept, by index and key; none of a photo that cannot be looked at.
type Kept = HashMap<(usize, String), Option<Arc<Sketch>>>;

/// Looks at the photos of pairs, by their previews. A photo that is missing, or is not as it was
/// when it was encoded, has no say. One without a preview is decoded, once as long as the sketches
/// fit.
pub struct PhotoOpinion<'a> {
    places: &'a dyn Places,
    previews: Option<&'a Previews>,
    /// Bytes of sketches that are kept.
    kept_bytes: usize,
    kept: Mutex<(Kept, usize)>,
}

impl<'a> PhotoOpinion<'a> {
    /// Photos that are where `places` says, and `kept_bytes` of memory for their sketches.
    pub fn new(places: &'a dyn Places, previews: Option<&'a Previews>, kept_bytes: usize) -> Self {
        Self { places, previews, kept_bytes, kept: Mutex::default() }
    }

    /// The sketch of a photo, if it is there and unchanged.
    fn sketch(&self, side: &Side) -> Option<Arc<Sketch>> {
        let name = (side.index, side.key.clone());
        if let Some(kept) = self.kept.lock().0.get(&name) {
            return kept.clone();
        }
        let made = self.look(side).map(Arc::new);
        let bytes = 64 + name.1.len() + made.as_ref().map_or(0, |sketch| sketch.bytes());
        let mut kept = self.kept.lock();
        if kept.1 + bytes > self.kept_bytes {
            *kept = (HashMap::new(), 0);
        }
        kept.1 += bytes;
        kept.0.insert(name, made.clone());
        made
    }

    fn look(&self, side: &Side) -> Option<Sketch> {
        let path = self.places.path(side.index, &side.key)?;
        let file = fs::metadata(&path).ok().filter(Metadata::is_file)?;
        if !is_as_it_was(side.bytes, side.modified_ms, &file) {
            return None;
        }
        let preview = photo_file::preview(&path, side.sha256, self.previews).ok()?;
        Sketch::of_preview(&preview).ok()
    }

    fn share<'q>(&self, question: &'q Question) -> Option<Look> {
        if question.a.key.is_empty() || question.b.key.is_empty() {
            return None;
        }
        // In an order that does not depend on when the photos were added.
        let name = |side: &'q Side| (side.index, &side.key);
        let (first, second) = match name(&question.a) <= name(&question.b) {
            true => (&question.a, &question.b),
            false => (&question.b, &question.a),
        };
        let (first, second) = (self.sketch(first)?, self.sketch(second)?);
        let found = agree(&first, &second);
        Some(match found.verdict {
            Verdict::NoEvidence => Look::Flat,
            Verdict::Copy | Verdict::Other => Look::Agreement(found.score()),
        })
    }
}

impl SecondOpinion for PhotoOpinion<'_> {
    fn name(&self) -> String {
        format!("photos {}", agree::VERSION)
    }

    fn copies_from(&self) -> f32 {
        COPIES_FROM
    }

    fn agreement(&self, questions: &[Question]) -> Result<Vec<Look>> {
        let look = |question| self.share(question).unwrap_or(Look::Unseen);
        Ok(questions.par_iter().map(look).collect())
    }
}

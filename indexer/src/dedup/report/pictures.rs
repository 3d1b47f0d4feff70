//! Small pictures of rows.

use ocelli_pictures::{Previews, Resizer};

use crate::dedup::files::look;
use crate::dedup::rows::Facts;
use crate::photo_file;

/// A source of small pictures.
pub trait Pictures: Sync {
    /// A JPEG file of the photo of a row, upright, its longest side `longest_px` at most.
    ///
    /// # Errors
    /// Why there is none, for people.
    fn jpeg(&self, facts: &Facts, longest_px: u32) -> Result<Vec<u8>, String>;
}

/// Pictures from the image files, which must be as they were when they were encoded, or from their
/// previews.
#[derive(Clone, Debug, Default)]
pub struct FilePictures {
    /// The previews, where there are any.
    pub previews: Option<Previews>,
}

impl Pictures for FilePictures {
    fn jpeg(&self, facts: &Facts, longest_px: u32) -> Result<Vec<u8>, String> {
        look(facts).map_err(|unfit| unfit.reason().to_owned())?;
        let path = facts.path.as_deref().ok_or("no file is known")?;
        let preview = photo_file::preview(path, facts.sha256, self.previews.as_ref())?;
        preview.thumbnail(longest_px, &mut Resizer::new()).map_err(|e| e.to_string())
    }
}

//! A second opinion on two pictures: what descriptors alone do not tell.

use crate::Result;
use crate::dedup::edge::RowNumber;

/// A row of a [`Question`].
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The row.
    pub row: RowNumber,
    /// 0: of the index; 1: of the other one.
    pub index: usize,
    /// Key of the row, empty if it has none.
    pub key: String,
    /// Size of the image file when it was encoded, where it is known.
    pub bytes: Option<u64>,
    /// Modification time of the file when it was encoded, in milliseconds since 1970, where it is
    /// known.
    pub modified_ms: Option<i64>,
    /// SHA-256 of the file when it was encoded, where it is known.
    pub sha256: Option<[u8; 32]>,
    /// Whether the row is a part of the photo, and not the whole.
    pub is_part: bool,
}

/// Two rows whose pictures are to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The row with the smaller number.
    pub a: Side,
    /// The row with the larger number.
    pub b: Side,
    /// Bits of 64 in which their perceptual hashes differ, where both have one that says something.
    pub phash_distance: Option<u8>,
}

/// What a look at two pictures says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    /// The pictures could not be looked at, or need not be: their hashes decide.
    Unseen,
    /// One of them is flat, so they do not tell: they are no copies, whatever their hashes say.
    Flat,
    /// This share of the picture agrees, 0 to 1.
    Agreement(f32),
}

/// Whoever looks at two pictures and says how much of them agrees.
pub trait SecondOpinion: Sync {
    /// Name, version and settings of the method: an equal name gives equal answers.
    fn name(&self) -> String;

    /// The least share that copies agree in.
    fn copies_from(&self) -> f32;

    /// What a look at the pictures of each question says.
    ///
    /// # Errors
    /// What ends the whole job. A picture that is missing or broken does not.
    fn agreement(&self, questions: &[Question]) -> Result<Vec<Look>>;
}

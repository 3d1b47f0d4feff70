//! Pairs of rows that are near each other, as every step of a deduplication knows them.

use serde::{Deserialize, Serialize};

/// Number of a row in a run: rows of shard 0, then of shard 1, …; of a join with another index, its
/// rows come behind those of the index.
pub type RowNumber = u64;

/// The relation of two pictures, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The files have the same bytes.
    SameFile,
    /// The decoded pixels are the same; the files differ.
    SamePixels,
    /// One is an edit of the other.
    Copy,
    /// The same scene, another shot.
    Near,
}

impl Label {
    /// All labels, the strongest first.
    pub const ALL: [Self; 4] = [Self::SameFile, Self::SamePixels, Self::Copy, Self::Near];

    /// The label's name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SameFile => "same_file",
            Self::SamePixels => "same_pixels",
            Self::Copy => "copy",
            Self::Near => "near",
        }
    }
}

/// What the score of a pair was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoredBy {
    /// Equal hashes of files or pixels.
    Hash,
    /// Stored vectors.
    Vectors,
    /// Images that were encoded again.
    Images,
    /// Finer codes.
    FineCodes,
    /// The codes that a search scans.
    Codes,
}

impl ScoredBy {
    /// All sources of a score.
    pub const ALL: [Self; 5] =
        [Self::Hash, Self::Vectors, Self::Images, Self::FineCodes, Self::Codes];

    /// The source's name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Vectors => "vectors",
            Self::Images => "images",
            Self::FineCodes => "fine_codes",
            Self::Codes => "codes",
        }
    }
}

/// Two rows that are near each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The row with the smaller number.
    pub a: RowNumber,
    /// The row with the larger number. Each unordered pair is there once.
    pub b: RowNumber,
    /// Cosine, or the metric's score; for equal hashes the best one, 1.0 of a cosine and 0.0 of a
    /// squared distance.
    pub score: f32,
    /// What the score was computed from.
    pub scored_by: ScoredBy,
    /// The relation of the two.
    pub label: Label,
    /// Bits of 64 in which the perceptual hashes differ, where both rows have one.
    pub phash_distance: Option<u8>,
    /// Share of the picture that agrees, 0 to 1, where the pictures were looked at.
    pub agreement: Option<f32>,
}

impl Edge {
    /// Whether the pair is near enough: the larger a score, the nearer. Equal pixels always are.
    pub fn counts(&self, threshold: f32) -> bool {
        self.score >= threshold || self.label <= Label::SamePixels
    }
}

//! Parts: vectors with their keys, on their way from the encoder to a shard.
//!
//! Sections: `meta`, `vectors` (rows, dim) row-major in f32 or f16, `keys`; `row starts` where an
//! image has several rows (regions); `ids` where the user gave them; `attributes` of the image
//! files where the encoder saw them, and `records` of further ones. A part of codes has `codes` and
//! `lists` in place of `vectors`, and `fine codes` where its model has a fine codec.

mod attributes;
mod codes;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::base::named::named;

pub use attributes::Attributes;
pub use codes::{CodeForm, CodeRows};
pub use reader::Part;
pub use writer::{PartImage, PartRow, PartSummary, PartWriter, SealedPart};

named! {
    /// The kind of rows in a part.
    PartKind, "part kind" {
        /// Region vectors, one or more rows an image: what whitening and training learn from.
        Regions = "regions",
        /// Descriptors, one row an image.
        Descriptors = "descriptors",
        /// Codes (list, code) under one model, one row an image.
        Codes = "codes",
    }
}

named! {
    /// The type of a part's numbers.
    Dtype, "number type" {
        /// IEEE single precision.
        F32 = "f32",
        /// IEEE half precision; rows are rounded to nearest.
        F16 = "f16",
    }
}

/// The part's own scalar facts, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    kind: PartKind,
    dtype: Dtype,
    /// Canonical text.
    spec: String,
    dim: usize,
    images: usize,
    rows: usize,
    has_ids: bool,
    /// Parts of codes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<CodeForm>,
}

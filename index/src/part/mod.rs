//! Parts: vectors with their keys, on their way from the encoder to a shard.
//!
//! Sections: `meta`, `vectors` (rows, dim) row-major in f32 or f16, `keys`; `row starts` where an
//! image has several rows (regions); `ids` where the user gave them; `attributes` of the image
//! files where the encoder saw them. A part of codes has `codes` and `lists` in place of `vectors`,
//! and `refine codes` where its model refines.

mod attributes;
mod codes;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::container::{Reader, SectionKind, Writer};
use crate::error::{Error, Result};
use crate::spec::{DescriptorSpec, named};

pub use attributes::Attributes;
pub use codes::{CodeForm, CodeRows};
pub use reader::Part;
pub use writer::{PartImage, PartRow, PartSummary, PartWriter, SealedPart};

named! {
    /// What a part holds.
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
    /// How a part stores numbers.
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

/// Ids are below 2⁶³.
pub(crate) fn check_id(id: u64) -> Result<()> {
    if id >> 63 == 0 {
        Ok(())
    } else {
        Err(Error::invalid(format!("id {id}: expected an id below 2^63")))
    }
}

/// Writes the `meta` section.
pub(crate) fn write_meta(file: &mut Writer, meta: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(meta)
        .map_err(|e| Error::invalid(format!("meta cannot be written: {e}")))?;
    file.section(SectionKind::Meta, true, &json)
}

/// Reads the `meta` section.
pub(crate) fn read_meta<T: for<'de> Deserialize<'de>>(file: &Reader) -> Result<T> {
    // A copy, since mapped bytes may vanish while they are parsed.
    let json = file.read_all(SectionKind::Meta)?.to_vec();
    file.intact()?;
    serde_json::from_slice(&json).map_err(|e| Error::corrupt(file.path(), format!("meta: {e}")))
}

/// Reads a spec that stands in a `meta` section.
pub(crate) fn read_spec(file: &Reader, text: &str) -> Result<DescriptorSpec> {
    DescriptorSpec::parse(text).map_err(|e| Error::corrupt(file.path(), format!("meta: {e}")))
}

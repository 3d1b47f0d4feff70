//! The `meta` section: a file's own scalar facts, as JSON.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::files::container::{Reader, SectionKind, Writer};
use crate::spec::DescriptorSpec;

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

/// Reads a spec from the text in a `meta` section.
pub(crate) fn read_spec(file: &Reader, text: &str) -> Result<DescriptorSpec> {
    DescriptorSpec::parse(text).map_err(|e| Error::corrupt(file.path(), format!("meta: {e}")))
}

//! Results on standard output.

use anyhow::{Context, Result};
use ocelli_proto::role;
pub use ocelli_text::thousands;
use serde::Serialize;

use crate::cli::Format;

/// Prints `report` as one line of JSON, or what `text` says of it.
pub fn print<T: Serialize>(
    format: Format,
    report: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<()> {
    let line = match format {
        Format::Json => serde_json::to_string(report).context("cannot write the result as JSON")?,
        Format::Text => text(report),
    };
    role::print(&format!("{}\n", line.trim_end()))
}

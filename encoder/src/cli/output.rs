//! How results are printed.

use std::fmt::Display;

use anyhow::Result;
use clap::ValueEnum;
use ocelli_service::role::print;
use serde::Serialize;

/// How a result is printed on standard output.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl Format {
    /// Prints a result, which is a text or a JSON object.
    pub(super) fn print(self, result: &(impl Display + Serialize)) -> Result<()> {
        print(&match self {
            Format::Text => format!("{}\n", ocelli_text::report(&result.to_string())),
            Format::Json => format!("{}\n", serde_json::to_string(result)?),
        })
    }
}

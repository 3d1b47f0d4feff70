//! Results on standard output.

use std::io::{self, Write};

use anyhow::{Context, Result};
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
    // A reader that has seen enough (`| head`) is no failure.
    match writeln!(io::stdout(), "{}", line.trim_end()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

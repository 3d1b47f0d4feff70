//! Results on standard output.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ocelli_index::BuildSeconds;
use ocelli_service::role;
use ocelli_text::{MAX_CHARS, printable, report};
pub use ocelli_text::{counted, thousands};
use serde::Serialize;

/// Format of printed results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object on one line.
    Json,
}

#[derive(Args)]
pub struct OutputArgs {
    /// Format of the result
    #[arg(long, global = true, value_enum, default_value_t, env = "OCELLI_FORMAT")]
    pub format: Format,
}

/// Prints `result` as one line of JSON, or the text that `text` makes of it.
pub fn print<T: Serialize>(
    format: Format,
    result: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<()> {
    match format {
        Format::Json => {
            let line = serde_json::to_string(result).context("cannot write the result as JSON")?;
            role::print(&format!("{line}\n"))
        }
        Format::Text => print_text(&text(result)),
    }
}

/// Prints lines for people. Paths and names in them cannot command the terminal. A text that may
/// hold a line break goes through [`cell`] before it becomes part of a line.
pub fn print_text(text: &str) -> Result<()> {
    role::print(&format!("{}\n", report(text.trim_end())))
}

/// Prints numbers one a line, however many: none is kept. Ends when nobody reads any more.
pub fn print_numbers(numbers: impl Iterator<Item = impl Display>) -> Result<()> {
    write_lines(numbers, io::stdout().lock())
}

fn write_lines(lines: impl Iterator<Item = impl Display>, to: impl Write) -> Result<()> {
    let mut to = BufWriter::new(to);
    for line in lines {
        match writeln!(to, "{line}") {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write to standard output")?,
        }
    }
    match to.flush() {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Seconds of stages as part of a line: `read 1.2 s, encode 3.4 s`.
pub fn stages<'a>(seconds: impl IntoIterator<Item = (&'a str, f64)>) -> String {
    let one = |(stage, seconds): (&str, f64)| {
        let digits = if seconds < 0.95 { 3 } else { 1 };
        format!("{stage} {seconds:.digits$} s")
    };
    seconds.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The line of a build's report that says where its time went; empty if nothing was measured.
pub fn build_stages(seconds: &BuildSeconds) -> String {
    if seconds.is_empty() {
        return String::new();
    }
    format!("\nprocessor time: {}", stages(seconds.pairs()))
}

/// A key or a name as part of a line: on that line, and of a length that leaves it readable. JSON
/// holds it whole.
pub fn cell(text: &str) -> Cow<'_, str> {
    printable(text, MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that goes away after some bytes.
    struct Reader(usize);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_as_they_come() {
        let mut written = Vec::new();
        write_lines(0..3, &mut written).unwrap();
        assert_eq!(written, b"0\n1\n2\n");
        // Without an end, and so never all of them at once.
        write_lines(0u64.., Reader(100_000)).unwrap();
    }
}

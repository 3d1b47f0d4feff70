//! Files of vectors in the formats of the field, read in blocks and written.
//!
//! | ending | layout, little-endian |
//! |---|---|
//! | `.fvecs` | per row: i32 dimension, then as many f32 (corpus-texmex.irisa.fr) |
//! | `.bvecs` | per row: i32 dimension, then as many u8 |
//! | `.npy` | NumPy's format 1 to 3, shape (rows, dim), C order, of f2, f4, f8 or u1 |
//! | `.fbin` | u32 rows, u32 dimension, then f32 (big-ann-benchmarks.com) |
//! | `.u8bin` | u32 rows, u32 dimension, then u8 |
//!
//! All of them have rows of equal length, so that a block is one read at a known place, and memory
//! is taken for that block only. The size that follows from a file's header is compared with the
//! file's size when it is opened; rows are checked when they are read.

mod npy;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::base::error::{Error, Result};
use crate::base::named::named;
use crate::base::range::out_of_range;
use crate::foreign::open_regular;

pub use npy::read_npy_texts;
pub use writer::VectorWriter;

named! {
    /// Format of a file of vectors, named by its ending.
    VectorFormat, "vector format" {
        /// Rows of f32, each with its dimension.
        Fvecs = "fvecs",
        /// Rows of u8, each with its dimension.
        Bvecs = "bvecs",
        /// NumPy.
        Npy = "npy",
        /// f32 behind a header of 8 bytes.
        Fbin = "fbin",
        /// u8 behind a header of 8 bytes.
        U8bin = "u8bin",
    }
}

impl VectorFormat {
    /// The format that the path's ending names.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the endings that are known.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        ending.parse().map_err(|_| {
            Error::invalid(format!(
                "{}: expected a file of vectors, which ends in .{}",
                path.display(),
                Self::NAMES.join(", .")
            ))
        })
    }

    /// Bytes of the dimension in front of each row.
    fn row_head(self) -> usize {
        if matches!(self, Self::Fvecs | Self::Bvecs) { 4 } else { 0 }
    }
}

/// Type of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    U8,
    F16,
    F32,
    F64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// What is refused beyond what is [`out_of_range`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Vectors of zeros: they have no direction, which inner product needs.
    pub zero_norm: bool,
}

impl Checks {
    /// Why a vector is refused, if it is.
    pub fn refusal(self, x: &[f32]) -> Option<String> {
        if let Some(why) = out_of_range(x) {
            return Some(why);
        }
        // By elements, not by the norm: that of small numbers underflows to zero.
        let zero = self.zero_norm && x.iter().all(|&x| x == 0.0);
        zero.then(|| "its norm is zero, it has no direction".to_owned())
    }
}

/// Rows that are refused, ascending, each with the reason.
pub type RefusedRows = Vec<(usize, String)>;

/// An open file of vectors. Reading takes `&self` and is safe from many threads.
#[derive(Debug)]
pub struct VectorFile {
    path: PathBuf,
    file: File,
    checks: Checks,
    layout: Layout,
}

/// Where the numbers of a file begin, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    format: VectorFormat,
    element: Element,
    rows: usize,
    dim: usize,
    /// Offset of the first row.
    start: u64,
}

impl Layout {
    /// Bytes from one row to the next; none if that is no size.
    fn stride(&self) -> Option<u64> {
        let numbers = (self.dim as u64).checked_mul(self.element.bytes() as u64)?;
        numbers.checked_add(self.format.row_head() as u64)
    }
}

impl VectorFile {
    /// Opens a file and judges its size; see the module for the formats.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for another ending, or an array of another shape or type;
    /// [`Error::Corrupt`] with the row if the file is shorter or longer than it says.
    pub fn open(path: &Path) -> Result<Self> {
        let format = VectorFormat::of(path)?;
        let file = open_regular(path).map_err(|e| Error::io(path, "open", e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, "read", e))?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!("{}: expected a regular file", path.display())));
        }
        let bytes = metadata.len();
        let layout = match format {
            VectorFormat::Npy => npy::read_layout(path, &file, bytes)?,
            VectorFormat::Fbin | VectorFormat::U8bin => bin_layout(path, &file, bytes, format)?,
            VectorFormat::Fvecs | VectorFormat::Bvecs => vecs_layout(path, &file, bytes, format)?,
        };
        check_size(path, &layout, bytes)?;
        Ok(Self { path: path.to_owned(), file, checks: Checks::default(), layout })
    }

    /// The same file, with more of its rows refused.
    #[must_use]
    pub fn with_checks(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of the file.
    pub fn format(&self) -> VectorFormat {
        self.layout.format
    }

    /// Dimension of the vectors, at least 1.
    pub fn dim(&self) -> usize {
        self.layout.dim
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The rows `range`, (rows, dim) row-major, as f32. u8 and f16 are exact, f64 is rounded to
    /// nearest.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range that the file does not have, and with the row for a vector
    /// that is [`out_of_range`] as f32 or that the [`Checks`] refuse; [`Error::Corrupt`] with the
    /// row for a row of another dimension; [`Error::Io`].
    pub fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let (x, bad) = self.read_all(range)?;
        match bad.first() {
            None => Ok(x),
            Some((row, why)) => Err(self.invalid(&format!("row {row}: {why}"))),
        }
    }

    /// [`Self::read`] that gives also the rows that it refuses, and tells which these are,
    /// ascending, and why.
    ///
    /// # Errors
    /// As [`Self::read`], but for vectors that are [`out_of_range`] or that the [`Checks`] refuse.
    pub fn read_all(&self, range: Range<usize>) -> Result<(Vec<f32>, RefusedRows)> {
        let layout = &self.layout;
        if range.start > range.end || range.end > layout.rows {
            return Err(Error::invalid(format!(
                "{}: rows {} to {} of {}",
                self.path.display(),
                range.start,
                range.end,
                layout.rows
            )));
        }
        if range.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        // The size was compared with the file's when it was opened.
        let stride = layout.stride().unwrap_or(u64::MAX);
        let bytes = stride.checked_mul(range.len() as u64).and_then(|n| usize::try_from(n).ok());
        let mut bytes = vec![0; bytes.ok_or_else(|| self.invalid("a block larger than memory"))?];
        self.file
            .read_exact_at(&mut bytes, layout.start + range.start as u64 * stride)
            .map_err(|e| Error::io(&self.path, "read", e))?;
        let mut out = Vec::with_capacity(range.len() * layout.dim);
        let mut bad = Vec::new();
        for (row, bytes) in range.zip(bytes.chunks_exact(stride as usize)) {
            let (head, numbers) = bytes.split_at(layout.format.row_head());
            if let Some(&head) = head.first_chunk::<4>() {
                let dim = i32::from_le_bytes(head);
                if usize::try_from(dim) != Ok(layout.dim) {
                    return Err(Error::corrupt(
                        &self.path,
                        format!("row {row}: expected dimension {}, found {dim}", layout.dim),
                    ));
                }
            }
            decode(layout.element, numbers, &mut out);
            let refusal = self.checks.refusal(&out[out.len() - layout.dim..]);
            bad.extend(refusal.map(|why| (row, why)));
        }
        Ok((out, bad))
    }

    fn invalid(&self, what: &str) -> Error {
        Error::invalid(format!("{}: {what}", self.path.display()))
    }
}

/// Appends the numbers of one row.
fn decode(element: Element, bytes: &[u8], out: &mut Vec<f32>) {
    match element {
        Element::U8 => out.extend(bytes.iter().map(|&x| f32::from(x))),
        Element::F32 => {
            out.extend(bytes.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)));
        }
        Element::F64 => {
            out.extend(bytes.as_chunks::<8>().0.iter().map(|&x| f64::from_le_bytes(x) as f32));
        }
        Element::F16 => {
            let half: Vec<f16> =
                bytes.as_chunks::<2>().0.iter().map(|&x| f16::from_le_bytes(x)).collect();
            let start = out.len();
            out.resize(start + half.len(), 0.0);
            half.convert_to_f32_slice(&mut out[start..]);
        }
    }
}

/// Reads the first `N` bytes.
fn head<const N: usize>(path: &Path, file: &File, bytes: u64) -> Result<[u8; N]> {
    if bytes < N as u64 {
        return Err(Error::corrupt(path, format!("expected at least {N} bytes, found {bytes}")));
    }
    let mut head = [0; N];
    file.read_exact_at(&mut head, 0).map_err(|e| Error::io(path, "read", e))?;
    Ok(head)
}

/// fbin and u8bin: 8 bytes say it.
fn bin_layout(path: &Path, file: &File, bytes: u64, format: VectorFormat) -> Result<Layout> {
    let [a, b, c, d, e, f, g, h] = head(path, file, bytes)?;
    Ok(Layout {
        format,
        element: if format == VectorFormat::Fbin { Element::F32 } else { Element::U8 },
        rows: u32::from_le_bytes([a, b, c, d]) as usize,
        dim: u32::from_le_bytes([e, f, g, h]) as usize,
        start: 8,
    })
}

/// fvecs and bvecs: the first row says the dimension, the file's size the number of rows.
fn vecs_layout(path: &Path, file: &File, bytes: u64, format: VectorFormat) -> Result<Layout> {
    let dim = i32::from_le_bytes(head(path, file, bytes)?);
    let element = if format == VectorFormat::Fvecs { Element::F32 } else { Element::U8 };
    let dim = usize::try_from(dim)
        .map_err(|_| Error::corrupt(path, format!("row 0: expected a dimension, found {dim}")))?;
    let layout = Layout { format, element, rows: 0, dim, start: 0 };
    let rows = layout.stride().map_or(0, |stride| bytes.div_ceil(stride));
    let rows = usize::try_from(rows)
        .map_err(|_| Error::invalid(format!("{}: {rows} rows", path.display())))?;
    Ok(Layout { rows, ..layout })
}

/// Compares the layout with the file's size.
fn check_size(path: &Path, layout: &Layout, bytes: u64) -> Result<()> {
    if layout.dim == 0 {
        return Err(Error::corrupt(path, "its vectors have dimension 0"));
    }
    let stride = layout.stride().unwrap_or(u64::MAX);
    let expected = (layout.rows as u64).saturating_mul(stride);
    let found = bytes.saturating_sub(layout.start);
    if found < expected {
        // The row that the file ends in.
        let row = found / stride;
        let mut what =
            format!("row {row}: expected {stride} bytes, the file ends after {}", found % stride);
        if layout.format.row_head() == 0 {
            what += &format!(" ({} rows of dimension {} announced)", layout.rows, layout.dim);
        } else if row > 0 {
            what += ", or an earlier row is of another dimension than row 0";
        }
        return Err(Error::corrupt(path, what));
    }
    if found > expected {
        return Err(Error::corrupt(
            path,
            format!(
                "{} bytes follow the last of {} rows of dimension {}",
                found - expected,
                layout.rows,
                layout.dim
            ),
        ));
    }
    Ok(())
}

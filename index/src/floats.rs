//! Numbers that are in memory or in a mapped file.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::container::{Reader, Section, SectionKind};
use crate::error::Result;

/// An array of f32: owned, or a proven section of a mapped file. Reads as a slice.
#[derive(Clone)]
pub struct Floats(Source);

#[derive(Clone)]
enum Source {
    Owned(Vec<f32>),
    Mapped(Arc<Reader>, Section),
}

impl Floats {
    /// A section of `expected` numbers, proven here.
    ///
    /// # Errors
    /// Those of [`Reader::read_numbers`].
    pub(crate) fn mapped(file: &Arc<Reader>, kind: SectionKind, expected: usize) -> Result<Self> {
        file.read_numbers::<f32>(kind, expected)?;
        Ok(Self(Source::Mapped(Arc::clone(file), *file.require(kind)?)))
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Source::Owned(numbers) => numbers,
            // Sections are aligned, and its length was held against whole numbers when it was proven.
            Source::Mapped(file, section) => bytemuck::cast_slice(file.read_proven(section)),
        }
    }
}

impl From<Vec<f32>> for Floats {
    fn from(numbers: Vec<f32>) -> Self {
        Self(Source::Owned(numbers))
    }
}

impl PartialEq for Floats {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Floats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

//! Numbers that are in memory or in a mapped file.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::range::MAX_MODEL_NUMBER;
use crate::files::container::{Reader, Section, SectionKind, TILE_BYTES};

/// An array of f32: owned, or a proven section of a mapped file. Reads as a slice.
#[derive(Clone)]
pub struct Floats(Source);

#[derive(Clone)]
enum Source {
    Owned(Vec<f32>),
    Mapped(Arc<Reader>, Section),
}

impl Floats {
    /// A section of `expected` numbers of a model, proven here.
    ///
    /// # Errors
    /// Those of [`Reader::read_numbers`]; [`Error::Corrupt`] if a number is not finite, or larger
    /// than a model's are.
    pub(crate) fn mapped(file: &Arc<Reader>, kind: SectionKind, expected: usize) -> Result<Self> {
        let section = *file.require(kind)?;
        // A tile at a time, so that what was just proven is still in the cache.
        for from in (0..section.len).step_by(TILE_BYTES) {
            let bytes = file.read(&section, from, (section.len - from).min(TILE_BYTES as u64))?;
            // A length that is no whole number of floats is refused below.
            let numbers = bytemuck::try_cast_slice::<u8, f32>(bytes);
            if numbers.is_ok_and(|numbers| !are_within(numbers, MAX_MODEL_NUMBER)) {
                return Err(Error::corrupt(
                    file.path(),
                    format!(
                        "{}: a number at offset {from} or after is not finite, or above \
                         {MAX_MODEL_NUMBER:e}",
                        kind.name()
                    ),
                ));
            }
        }
        file.read_numbers::<f32>(kind, expected)?;
        Ok(Self(Source::Mapped(Arc::clone(file), section)))
    }

    /// The file that the numbers are mapped from, if they are mapped. Results computed from them
    /// count while the file is [`Reader::intact`].
    pub(crate) fn file(&self) -> Option<&Arc<Reader>> {
        match &self.0 {
            Source::Owned(_) => None,
            Source::Mapped(file, _) => Some(file),
        }
    }
}

/// Whether all numbers are finite and of a magnitude up to `largest`. Looks at all of them, so that
/// it takes a register at a time.
pub(crate) fn are_within(numbers: &[f32], largest: f32) -> bool {
    // Bits without the sign are ordered as magnitudes are; infinity and NaN are above all numbers.
    let largest = largest.to_bits();
    let beyond = |x: &f32| u32::from(x.abs().to_bits() > largest);
    numbers.chunks(4096).all(|part| part.iter().fold(0u32, |bad, x| bad | beyond(x)) == 0)
}

impl Deref for Floats {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        match &self.0 {
            Source::Owned(numbers) => numbers,
            // Sections are aligned, and the length was found to be one of whole numbers when the
            // section was proven.
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

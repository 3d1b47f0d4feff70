//! Whitening: shift and projection, y = (x − mean) P.
//!
//! In R-MAC it is between the region vectors' two L2 normalisations (Gordo et al. 2017, §3.1: a
//! shift and a fully connected layer). The indexer learns it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};
use crate::files::container::{FileKind, Reader, SectionKind, Writer};
use crate::files::metadata::{read_meta, read_spec, write_meta};
use crate::spec::DescriptorSpec;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    dim_in: usize,
    dim_out: usize,
    /// Canonical text of the spec it was learned on.
    learned_on: String,
}

/// A shift and a projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// Shift, (dim_in,).
    pub mean: Vec<f32>,
    /// Projection P, (dim_in, dim_out) row-major.
    pub projection: Vec<f32>,
    /// Spec of the region vectors that it was learned on: without whitening.
    pub learned_on: DescriptorSpec,
}

impl Whitening {
    /// Dimension of the vectors that go in.
    pub fn dim_in(&self) -> usize {
        self.mean.len()
    }

    /// Dimension of the vectors that come out.
    pub fn dim_out(&self) -> usize {
        self.projection.len().checked_div(self.mean.len()).unwrap_or(0)
    }

    /// Hash over shapes, mean and projection: what decides the meaning of the result.
    pub fn hash(&self) -> Hash {
        let mut h = Hasher::new();
        h.update(format!("ocelli-whitening 1\n{} {}\n", self.dim_in(), self.dim_out()).as_bytes());
        h.update(bytemuck::cast_slice(&self.mean));
        h.update(bytemuck::cast_slice(&self.projection));
        h.finish()
    }

    /// y = (x − mean) P, (dim_out,), not normalised.
    ///
    /// # Errors
    /// [`Error::Dim`] if `x` is not (dim_in,).
    pub fn apply(&self, x: &[f32]) -> Result<Vec<f32>> {
        if x.len() != self.dim_in() {
            return Err(Error::Dim {
                what: "vector to whiten".into(),
                expected: self.dim_in(),
                found: x.len(),
            });
        }
        let centred: Vec<f32> = x.iter().zip(&self.mean).map(|(a, b)| a - b).collect();
        let mut y = Vec::new();
        ocelli_vector::dense::matvec_transposed(&self.projection, self.dim_out(), &centred, &mut y);
        Ok(y)
    }

    /// Refuses shapes that do not fit and numbers that are not finite.
    fn check(&self) -> Result<()> {
        let expected = self.learned_on.dim();
        if self.dim_in() != expected {
            return Err(Error::Dim {
                what: "whitening's mean".into(),
                expected,
                found: self.dim_in(),
            });
        }
        if self.dim_out() == 0 || self.dim_out() * self.dim_in() != self.projection.len() {
            return Err(Error::invalid(format!(
                "whitening: projection of {} numbers is no matrix with {expected} rows",
                self.projection.len()
            )));
        }
        if !self.mean.iter().chain(&self.projection).all(|x| x.is_finite()) {
            return Err(Error::invalid("whitening: a number is not finite"));
        }
        Ok(())
    }

    /// Writes the file atomically and returns [`Self::hash`].
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] or [`Error::Dim`] if the shapes do not fit.
    pub fn write(&self, path: &Path) -> Result<Hash> {
        self.check()?;
        self.write_to(Writer::create(path, FileKind::Whitening)?)?;
        Ok(self.hash())
    }

    /// [`Self::write`] to a new file.
    pub(crate) fn write_to(&self, mut file: Writer) -> Result<()> {
        self.check()?;
        write_meta(
            &mut file,
            &Meta {
                dim_in: self.dim_in(),
                dim_out: self.dim_out(),
                learned_on: self.learned_on.canonical(),
            },
        )?;
        file.section(SectionKind::Mean, true, bytemuck::cast_slice(&self.mean))?;
        file.section(SectionKind::Projection, true, bytemuck::cast_slice(&self.projection))?;
        file.finish().map(drop)
    }

    /// Reads and proves a whole file.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::Corrupt`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(&Reader::open(path, FileKind::Whitening)?)
    }

    /// [`Self::open`] for an opened container.
    pub(crate) fn read(file: &Reader) -> Result<Self> {
        file.verify()?;
        let meta: Meta = read_meta(file)?;
        let elements = meta.dim_in.saturating_mul(meta.dim_out);
        let whitening = Self {
            mean: file.read_numbers(SectionKind::Mean, meta.dim_in)?.to_vec(),
            projection: file.read_numbers(SectionKind::Projection, elements)?.to_vec(),
            learned_on: read_spec(file, &meta.learned_on)?,
        };
        file.intact()?;
        whitening.check().map_err(|e| Error::corrupt(file.path(), e.to_string()))?;
        Ok(whitening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_arithmetic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.whitening");
        let w = Whitening {
            mean: vec![1.0, 2.0, 3.0],
            projection: vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0],
            learned_on: DescriptorSpec::foreign("test", 3).unwrap(),
        };
        assert_eq!(w.write(&path).unwrap(), w.hash());
        let read = Whitening::open(&path).unwrap();
        assert_eq!(read, w);
        assert_eq!(read.apply(&[2.0, 4.0, 6.0]).unwrap(), [4.0, 5.0]);
        assert!(read.apply(&[1.0]).is_err());
        let bad = Whitening { projection: vec![1.0; 4], ..w };
        assert!(bad.write(&path).is_err());
        assert_eq!(Whitening::open(&path).unwrap(), read, "the earlier file is unchanged");
    }
}

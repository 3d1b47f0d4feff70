//! Sources of the rows of a build: parts, and files of vectors as other programs write them.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocelli_index::{
    CodeForm, DescriptorSpec, Hash, Hasher, Part, PlanInput, VectorFile, VectorFormat,
};

use crate::sample::require_descriptors;
use crate::{Error, Result};

/// Rows, one an image.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A part of descriptors or codes.
    Part(&'a Part),
    /// Vectors without keys and ids, and the spec that they were given.
    Vectors(&'a VectorFile, &'a DescriptorSpec),
}

/// Pieces of a file of vectors that its seal covers, and the bytes of each.
const SEAL_PIECES: u64 = 256;
const SEAL_PIECE_BYTES: u64 = 16 * 1024;

impl<'a> Source<'a> {
    /// The parts as sources.
    pub(crate) fn of(parts: &'a [Part]) -> Vec<Self> {
        parts.iter().map(Self::Part).collect()
    }

    pub(crate) fn path(self) -> &'a Path {
        match self {
            Self::Part(part) => part.path(),
            Self::Vectors(file, _) => file.path(),
        }
    }

    pub(crate) fn rows(self) -> usize {
        match self {
            Self::Part(part) => part.rows(),
            Self::Vectors(file, _) => file.rows(),
        }
    }

    pub(crate) fn spec(self) -> &'a DescriptorSpec {
        match self {
            Self::Part(part) => part.spec(),
            Self::Vectors(_, spec) => spec,
        }
    }

    pub(crate) fn code_form(self) -> Option<&'a CodeForm> {
        match self {
            Self::Part(part) => part.code_form(),
            Self::Vectors(..) => None,
        }
    }

    /// Refuses region vectors.
    pub(crate) fn require_descriptors(self) -> Result<()> {
        match self {
            Self::Part(part) => require_descriptors(part),
            Self::Vectors(..) => Ok(()),
        }
    }

    pub(crate) fn has_ids(self) -> bool {
        matches!(self, Self::Part(part) if part.has_ids())
    }

    pub(crate) fn id(self, row: usize) -> Result<Option<u64>> {
        match self {
            Self::Part(part) => Ok(part.id(row)?),
            Self::Vectors(..) => Ok(None),
        }
    }

    pub(crate) fn key(self, row: usize) -> Result<String> {
        match self {
            Self::Part(part) => Ok(part.key(row)?),
            Self::Vectors(..) => Ok(String::new()),
        }
    }

    /// Ids and keys of a range of rows, the first of which gets `first_id` where there are no ids.
    pub(crate) fn names(self, rows: Range<usize>, first_id: u64) -> Result<Vec<(u64, String)>> {
        let given = (first_id..).take(rows.len());
        match self {
            Self::Part(part) => {
                let ids = part.ids_in(rows.clone())?.unwrap_or_else(|| given.collect());
                Ok(ids.into_iter().zip(part.keys_in(rows)?).collect())
            }
            Self::Vectors(..) => Ok(given.map(|id| (id, String::new())).collect()),
        }
    }

    /// Attributes of a range of rows.
    pub(crate) fn records(self, rows: Range<usize>) -> Result<Vec<Vec<u8>>> {
        match self {
            Self::Part(part) => rows.map(|row| Ok(part.record(row)?)).collect(),
            Self::Vectors(..) => Ok(vec![Vec::new(); rows.len()]),
        }
    }

    /// Vectors of a range of rows.
    pub(crate) fn read(self, rows: Range<usize>) -> Result<Vec<f32>> {
        match self {
            Self::Part(part) => Ok(part.read(rows)?),
            Self::Vectors(file, _) => Ok(file.read(rows)?),
        }
    }

    /// Gives back the memory of what was read.
    pub(crate) fn release(self) {
        if let Self::Part(part) = self {
            part.release();
        }
    }

    /// The source as a plan names it: by its content, wherever it lies.
    pub(crate) fn input(self) -> Result<PlanInput> {
        let rows = self.rows() as u64;
        match self {
            Self::Part(part) => {
                let file = part.file();
                Ok(PlanInput { bytes: file.bytes(), rows, seal: file.seal(), spec: None })
            }
            Self::Vectors(file, spec) => {
                let (bytes, seal) = seal(file.path())?;
                Ok(PlanInput { bytes, rows, seal, spec: Some(spec.canonical()) })
            }
        }
    }
}

/// Rows of all sources.
pub(crate) fn count_rows(sources: &[Source<'_>]) -> usize {
    sources.iter().map(|source| source.rows()).sum()
}

/// Keys and ids that are there twice are found by themselves; copies of sources without are not.
pub(crate) fn refuse_copies(sources: &[Source<'_>]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for source in sources {
        if source.rows() == 0 || source.has_ids() || !source.key(0)?.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(source.input()?.seal, source.path()) {
            return Err(Error::Invalid(format!(
                "{}: the same content as {}, which is given as well: its rows would be there twice",
                source.path().display(),
                first.display()
            )));
        }
    }
    Ok(())
}

/// Size of a file without checksums, and a hash of its size and of pieces that lie all over it.
fn seal(path: &Path) -> Result<(u64, Hash)> {
    let read = || {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut hasher = Hasher::new();
        hasher.update(&bytes.to_le_bytes());
        let last = bytes.saturating_sub(SEAL_PIECE_BYTES);
        let mut piece = vec![0; SEAL_PIECE_BYTES.min(bytes) as usize];
        let pieces = SEAL_PIECES.min(bytes.div_ceil(SEAL_PIECE_BYTES)).max(1);
        for i in 0..pieces {
            let at = (u128::from(last) * u128::from(i) / u128::from((pieces - 1).max(1))) as u64;
            file.read_exact_at(&mut piece, at)?;
            hasher.update(&piece);
        }
        Ok((bytes, hasher.finish()))
    };
    read().map_err(Error::io("read", path))
}

/// An input that is open.
pub(crate) enum OpenSource {
    /// A part.
    Part(Box<Part>),
    /// Vectors, and the spec that they were given.
    Vectors(Box<(VectorFile, DescriptorSpec)>),
}

impl OpenSource {
    /// Opens an input: a file of vectors by its ending, if `name` is given, the user's name for
    /// what made them; a part in any other case.
    pub(crate) fn open(path: &Path, name: Option<&str>) -> Result<Self> {
        match name.filter(|_| VectorFormat::of(path).is_ok()) {
            Some(name) => {
                let file = VectorFile::open(path)?;
                let spec = DescriptorSpec::foreign(name, file.dim() as u32)?;
                Ok(Self::Vectors(Box::new((file, spec))))
            }
            None => Ok(Self::Part(Box::new(Part::open(path)?))),
        }
    }

    /// Opens the input of a plan, as it was when that was made.
    pub(crate) fn planned(path: &Path, expected: &PlanInput) -> Result<Self> {
        let opened = match &expected.spec {
            Some(spec) => {
                let (file, spec) = (VectorFile::open(path)?, DescriptorSpec::parse(spec)?);
                Self::Vectors(Box::new((file, spec)))
            }
            None => Self::Part(Box::new(Part::open(path)?)),
        };
        let found = opened.source().input()?;
        if found == *expected {
            return Ok(opened);
        }
        let about = |input: &PlanInput| {
            format!("{} rows, {} bytes, seal {}", input.rows, input.bytes, input.seal.short())
        };
        Err(Error::Invalid(format!(
            "{}: changed since the plan was made: {}, expected {}; put the file back, or plan \
             again",
            path.display(),
            about(&found),
            about(expected)
        )))
    }

    /// The part, if the input is one.
    pub(crate) fn into_part(self) -> Option<Part> {
        match self {
            Self::Part(part) => Some(*part),
            Self::Vectors(_) => None,
        }
    }

    /// The rows.
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Part(part) => Source::Part(part),
            Self::Vectors(vectors) => Source::Vectors(&vectors.0, &vectors.1),
        }
    }
}

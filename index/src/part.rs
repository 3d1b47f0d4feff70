//! Parts: vectors with their keys, on their way from the encoder to a shard.
//!
//! Sections: `meta`, `vectors` (rows, dim) row-major in f32 or f16, `keys`; `row starts` where an image
//! has several rows (regions); `ids` where the user gave them.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::container::{FileKind, Reader, SectionKind, Writer};
use crate::error::{Error, Result};
use crate::keys::{self, Keys};
use crate::spec::{DescriptorSpec, named};

named! {
    /// What a part holds.
    PartKind, "part kind" {
        /// Region vectors, one or more rows an image: what whitening and training learn from.
        Regions = "regions",
        /// Descriptors, one row an image.
        Descriptors = "descriptors",
        /// Codes (list, code), one row an image. Named by the format; not yet written or read.
        Codes = "codes",
    }
}

named! {
    /// How a part stores numbers.
    Dtype, "number type" {
        /// IEEE single precision.
        F32 = "f32",
        /// IEEE half precision; rows are rounded to nearest.
        F16 = "f16",
    }
}

/// The part's own scalar facts, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    kind: PartKind,
    dtype: Dtype,
    /// Canonical text.
    spec: String,
    dim: usize,
    images: usize,
    rows: usize,
    has_ids: bool,
}

/// What [`PartWriter::finish`] wrote.
#[derive(Clone, Debug, Serialize)]
pub struct PartSummary {
    /// The file.
    pub path: PathBuf,
    /// Images in it.
    pub images: u64,
    /// Rows in it: as many as images, or more for regions.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// Writes a part row by row. Nothing is visible under the part's name before [`Self::finish`].
pub struct PartWriter {
    path: PathBuf,
    file: Writer,
    kind: PartKind,
    dtype: Dtype,
    spec: DescriptorSpec,
    keys: Vec<String>,
    ids: Vec<u64>,
    row_starts: Vec<u64>,
}

impl PartWriter {
    /// Starts a part at `path`. Its folder is made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for [`PartKind::Codes`].
    pub fn create(
        path: &Path,
        kind: PartKind,
        dtype: Dtype,
        spec: &DescriptorSpec,
    ) -> Result<Self> {
        if kind == PartKind::Codes {
            return Err(Error::invalid("parts of codes cannot be written by this version"));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        let mut file = Writer::create(path, FileKind::Part)?;
        file.begin(SectionKind::Vectors, true)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            kind,
            dtype,
            spec: spec.clone(),
            keys: Vec::new(),
            ids: Vec::new(),
            row_starts: vec![0],
        })
    }

    /// Appends one image: its key and its rows (n, dim), row-major; n = 1 unless this is a part of
    /// regions. Either all images have an id or none has.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Invalid`] with the key; [`Error::Io`].
    pub fn push(&mut self, key: &str, id: Option<u64>, rows: &[f32]) -> Result<()> {
        keys::check(key)?;
        let dim = self.spec.dim();
        let n = rows.len() / dim;
        if rows.is_empty()
            || !rows.len().is_multiple_of(dim)
            || (self.kind == PartKind::Descriptors && n != 1)
        {
            return Err(Error::Dim {
                what: format!("vector of {key:?}"),
                expected: dim,
                found: rows.len(),
            });
        }
        if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
            return Err(Error::invalid(format!(
                "vector of {key:?} (image {}): element {at} is {}",
                self.keys.len(),
                rows[at]
            )));
        }
        if id.is_some() != (self.ids.len() == self.keys.len()) && !self.keys.is_empty() {
            return Err(Error::invalid(format!(
                "{key:?}: either every image of a part has an id or none has"
            )));
        }
        if let Some(id) = id {
            check_id(id)?;
            self.ids.push(id);
        }
        match self.dtype {
            Dtype::F32 => self.file.write(bytemuck::cast_slice(rows))?,
            Dtype::F16 => {
                let half: Vec<f16> = rows.iter().map(|&x| f16::from_f32(x)).collect();
                if half.iter().any(|x| !x.is_finite()) {
                    return Err(Error::invalid(format!("vector of {key:?}: too large for f16")));
                }
                self.file.write(bytemuck::cast_slice(&half))?;
            }
        }
        self.keys.push(key.to_owned());
        self.row_starts.push(self.row_starts.last().copied().unwrap_or(0) + n as u64);
        Ok(())
    }

    /// Number of images so far.
    pub fn images(&self) -> usize {
        self.keys.len()
    }

    /// Writes the rest, fsyncs and renames.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] if there is no image.
    pub fn finish(mut self) -> Result<PartSummary> {
        let (images, rows) = (self.keys.len(), self.row_starts.last().copied().unwrap_or(0));
        if images == 0 {
            return Err(Error::invalid(format!("{}: a part without images", self.path.display())));
        }
        if self.kind == PartKind::Regions {
            self.file.section(
                SectionKind::RowStarts,
                true,
                bytemuck::cast_slice(&self.row_starts),
            )?;
        }
        if !self.ids.is_empty() {
            self.file.section(SectionKind::Ids, true, bytemuck::cast_slice(&self.ids))?;
        }
        let key_bytes = keys::encode(self.keys.iter().map(String::as_str))?;
        self.file.section(SectionKind::Keys, true, &key_bytes)?;
        let meta = Meta {
            kind: self.kind,
            dtype: self.dtype,
            spec: self.spec.canonical(),
            dim: self.spec.dim(),
            images,
            rows: rows as usize,
            has_ids: !self.ids.is_empty(),
        };
        write_meta(&mut self.file, &meta)?;
        let written = self.file.finish()?;
        Ok(PartSummary { path: written.path, images: images as u64, rows, bytes: written.bytes })
    }
}

/// Ids are below 2⁶³.
pub(crate) fn check_id(id: u64) -> Result<()> {
    if id >> 63 == 0 {
        Ok(())
    } else {
        Err(Error::invalid(format!("id {id}: expected an id below 2^63")))
    }
}

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

/// Reads a spec that stands in a `meta` section.
pub(crate) fn read_spec(file: &Reader, text: &str) -> Result<DescriptorSpec> {
    DescriptorSpec::parse(text).map_err(|e| Error::corrupt(file.path(), format!("meta: {e}")))
}

/// An opened part.
pub struct Part {
    file: Reader,
    meta: Meta,
    spec: DescriptorSpec,
    /// Regions: first row of each image, and the number of rows. Held in memory, since ranges of rows
    /// must be what was judged when the part was opened.
    row_starts: Vec<u64>,
}

impl Part {
    /// Opens a part and holds its claims against its size.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::Corrupt`] if the sections do not fit the claims.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Reader::open(path, FileKind::Part)?;
        let meta: Meta = read_meta(&file)?;
        let spec = read_spec(&file, &meta.spec)?;
        let corrupt = |what: String| Err(Error::corrupt(path, what));
        if meta.kind == PartKind::Codes {
            return Err(Error::invalid(format!(
                "{}: parts of codes cannot be read by this version",
                path.display()
            )));
        }
        if meta.dim != spec.dim() || meta.dim == 0 {
            return corrupt(format!("dimension {}, the spec says {}", meta.dim, spec.dim()));
        }
        let width = if meta.dtype == Dtype::F32 { 4 } else { 2 };
        let want =
            meta.rows.checked_mul(meta.dim).and_then(|n| n.checked_mul(width)).map(|n| n as u64);
        let vectors = file.require(SectionKind::Vectors)?;
        if want != Some(vectors.len) {
            return corrupt(format!(
                "vectors: {} bytes, expected {} rows of {} {}",
                vectors.len, meta.rows, meta.dim, meta.dtype
            ));
        }
        let mut part = Self { file, meta, spec, row_starts: Vec::new() };
        if part.meta.kind == PartKind::Regions {
            let count = part.meta.images.saturating_add(1);
            part.row_starts = part.file.read_numbers(SectionKind::RowStarts, count)?.to_vec();
            part.file.intact()?;
            let starts = &part.row_starts;
            let sound = starts.first() == Some(&0)
                && starts.last() == Some(&(part.meta.rows as u64))
                && starts.is_sorted();
            if !sound {
                return corrupt("row starts do not ascend from 0 to the number of rows".into());
            }
        } else if part.meta.rows != part.meta.images {
            return corrupt(format!("{} rows for {} images", part.meta.rows, part.meta.images));
        }
        if part.meta.has_ids {
            part.ids()?;
        }
        Keys::new(&part.file, part.meta.images)?;
        part.file.intact()?;
        Ok(part)
    }

    /// Where the part stands.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What the part holds.
    pub fn kind(&self) -> PartKind {
        self.meta.kind
    }

    /// How numbers are stored.
    pub fn dtype(&self) -> Dtype {
        self.meta.dtype
    }

    /// What made the vectors.
    pub fn spec(&self) -> &DescriptorSpec {
        &self.spec
    }

    /// Dimension of a row.
    pub fn dim(&self) -> usize {
        self.meta.dim
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.meta.images
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.meta.rows
    }

    /// The file underneath, for inspection.
    pub fn file(&self) -> &Reader {
        &self.file
    }

    /// Key of an image.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn key(&self, image: usize) -> Result<String> {
        Keys::new(&self.file, self.meta.images)?.get(image)
    }

    /// Keys of all images.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn keys(&self) -> Result<Vec<String>> {
        Keys::new(&self.file, self.meta.images)?.all()
    }

    /// The user's id of an image, where the part has ids.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn id(&self, image: usize) -> Result<Option<u64>> {
        if !self.meta.has_ids {
            return Ok(None);
        }
        let id = self.ids()?.get(image).copied();
        self.file.intact()?;
        id.map(Some).ok_or_else(|| {
            Error::not_found(format!(
                "{}: no image {image} of {}",
                self.path().display(),
                self.images()
            ))
        })
    }

    /// Whether the part has the user's ids.
    pub fn has_ids(&self) -> bool {
        self.meta.has_ids
    }

    /// Rows of an image, empty past the end.
    pub fn rows_of(&self, image: usize) -> Range<usize> {
        if self.meta.kind != PartKind::Regions {
            return if image < self.meta.images { image..image + 1 } else { 0..0 };
        }
        match self.row_starts.get(image..).and_then(|s| s.first_chunk()) {
            Some(&[start, end]) => start as usize..end as usize,
            None => 0..0,
        }
    }

    /// Rows as f32, (rows.len(), dim) row-major.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also for numbers that are not finite; [`Error::NotFound`] past the end.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        if rows.start > rows.end || rows.end > self.meta.rows {
            return Err(Error::not_found(format!(
                "{}: no rows {}..{} of {}",
                self.path().display(),
                rows.start,
                rows.end,
                self.meta.rows
            )));
        }
        let width = if self.meta.dtype == Dtype::F32 { 4 } else { 2 } * self.meta.dim as u64;
        let section = self.file.require(SectionKind::Vectors)?;
        let bytes =
            self.file.read(section, rows.start as u64 * width, rows.len() as u64 * width)?;
        let misaligned = |_| Error::corrupt(self.path(), "vectors are not aligned");
        let out: Vec<f32> = match self.meta.dtype {
            Dtype::F32 => bytemuck::try_cast_slice(bytes).map_err(misaligned)?.to_vec(),
            Dtype::F16 => {
                bytemuck::try_cast_slice::<u8, f16>(bytes).map_err(misaligned)?.to_f32_vec()
            }
        };
        self.file.intact()?;
        match out.iter().position(|x| !x.is_finite()) {
            None => Ok(out),
            Some(at) => Err(Error::corrupt(
                self.path(),
                format!(
                    "row {}: element {} is {}",
                    rows.start + at / self.meta.dim,
                    at % self.meta.dim,
                    out[at]
                ),
            )),
        }
    }

    /// Proves every checksum and reads every key and row once.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        self.keys()?;
        (0..self.rows())
            .step_by(4096)
            .try_for_each(|r| self.read(r..(r + 4096).min(self.rows())).map(drop))
    }

    fn ids(&self) -> Result<&[u64]> {
        self.file.read_numbers(SectionKind::Ids, self.meta.images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> DescriptorSpec {
        DescriptorSpec::foreign("test", 4).unwrap()
    }

    #[test]
    fn regions_round_trip_in_both_types() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in [Dtype::F32, Dtype::F16] {
            let path = dir.path().join("sub").join(format!("{dtype}.part"));
            let mut w = PartWriter::create(&path, PartKind::Regions, dtype, &spec()).unwrap();
            // 300 images: more than two blocks of keys; image i has i % 3 + 1 rows.
            for i in 0..300usize {
                w.push(&format!("é/{i}.jpg"), None, &vec![i as f32 * 0.5; 4 * (i % 3 + 1)])
                    .unwrap();
            }
            let summary = w.finish().unwrap();
            assert_eq!((summary.images, summary.rows), (300, 600));
            let part = Part::open(&path).unwrap();
            assert_eq!(part.spec(), &spec());
            assert_eq!(part.key(299).unwrap(), "é/299.jpg");
            assert_eq!(part.keys().unwrap()[130], "é/130.jpg");
            assert_eq!(part.rows_of(299), 597..600);
            assert_eq!(part.read(597..600).unwrap(), vec![149.5; 12]);
            assert_eq!(part.id(5).unwrap(), None);
            assert!(part.read(599..601).is_err());
            assert!(part.key(300).is_err());
            part.verify().unwrap();
        }
    }

    #[test]
    fn bad_rows_are_refused_with_their_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        let mut w = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec()).unwrap();
        w.push("first", Some(7), &[0.0; 4]).unwrap();
        for (id, rows) in [
            (Some(8), vec![0.0; 3]),
            (Some(8), vec![0.0; 8]),
            (Some(8), vec![]),
            (Some(8), vec![0.0, f32::NAN, 0.0, 0.0]),
            (None, vec![0.0; 4]),
            (Some(1 << 63), vec![0.0; 4]),
        ] {
            let error = w.push("second", id, &rows).unwrap_err();
            assert!(error.code() == crate::ErrorCode::InvalidArgument, "{error}");
        }
        assert!(w.push(&"x".repeat(MAX_KEY + 1), Some(9), &[0.0; 4]).is_err());
        w.push("second", Some(8), &[1.0; 4]).unwrap();
        assert!(!path.exists(), "nothing is visible before finish");
        w.finish().unwrap();
        let part = Part::open(&path).unwrap();
        assert_eq!((part.id(0).unwrap(), part.id(1).unwrap()), (Some(7), Some(8)));
    }

    const MAX_KEY: usize = keys::MAX_KEY_BYTES;
}

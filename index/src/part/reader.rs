//! Reading a part.

use std::ops::Range;
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{Attributes, CodeForm, CodeRows, Dtype, Meta, PartKind, attributes};
use crate::attributes::{Schema, record};
use crate::base::error::{Error, Result};
use crate::base::range::out_of_range;
use crate::files::container::{FileKind, Reader, SectionKind};
use crate::files::keys::Keys;
use crate::files::metadata::{read_meta, read_spec};
use crate::spec::DescriptorSpec;

/// An opened part.
pub struct Part {
    file: Reader,
    meta: Meta,
    spec: DescriptorSpec,
    /// Regions: first row of each image, and the number of rows. Held in memory, since ranges of
    /// rows must be those that were checked when the part was opened.
    row_starts: Vec<u64>,
    keys: Keys,
}

/// Checks that a part's `meta` agrees with itself and with the spec.
fn check_claims(path: &Path, meta: &Meta, spec: &DescriptorSpec) -> Result<()> {
    let corrupt = |what: String| Err(Error::corrupt(path, what));
    if meta.dim != spec.dim() || meta.dim == 0 {
        return corrupt(format!("dimension {}, the spec says {}", meta.dim, spec.dim()));
    }
    if meta.codes.is_some() != (meta.kind == PartKind::Codes) {
        return corrupt(format!("a part of {} and the form of its codes do not fit", meta.kind));
    }
    match &meta.codes {
        Some(form) if form.m == 0 || form.fine_codec.is_none() && form.fine_bytes > 0 => {
            corrupt("codes without bytes, or finer ones without a fine codec".into())
        }
        _ => Ok(()),
    }
}

/// Whether the sections have the sizes that follow from the part's claims.
fn check_sections(file: &Reader, meta: &Meta) -> Result<()> {
    let corrupt = |what: String| Err(Error::corrupt(file.path(), what));
    let vectors = if meta.dtype == Dtype::F32 { 4 } else { 2 };
    // Each section by row, and how many bytes a row has.
    let mut expected = match &meta.codes {
        None => vec![(SectionKind::Vectors, meta.dim.saturating_mul(vectors))],
        Some(form) => vec![(SectionKind::Codes, form.m), (SectionKind::Lists, 4)],
    };
    if meta.has_ids {
        let want = meta.images.checked_mul(8).map(|n| n as u64);
        let found = file.require(SectionKind::Ids)?.len;
        if want != Some(found) {
            return corrupt(format!("ids: {found} bytes, expected {} images", meta.images));
        }
    }
    if let Some(form) = meta.codes.as_ref().filter(|form| form.fine_bytes > 0) {
        expected.push((SectionKind::FineCodes, form.fine_bytes));
    }
    for (kind, width) in expected {
        let want = meta.rows.checked_mul(width).map(|n| n as u64);
        let found = file.require(kind)?.len;
        if want != Some(found) {
            return corrupt(format!(
                "{}: {found} bytes, expected {} rows of {width} bytes",
                kind.name(),
                meta.rows
            ));
        }
    }
    if let Some(section) = file.find(SectionKind::Attributes) {
        let want = meta.images.checked_mul(attributes::RECORD).map(|n| n as u64);
        if want != Some(section.len) {
            return corrupt(format!(
                "attributes: {} bytes, expected {} images of {} bytes",
                section.len,
                meta.images,
                attributes::RECORD
            ));
        }
    }
    if let Some(section) = file.find(SectionKind::Records)
        && (meta.images as u64).checked_mul(8).is_none_or(|ends| section.len < ends)
    {
        return corrupt(format!("records: {} bytes for {} images", section.len, meta.images));
    }
    Ok(())
}

impl Part {
    /// Opens a part and checks that its sections have the sizes that follow from its `meta`.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::Corrupt`] if the sections do not fit the claims.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Reader::open(path, FileKind::Part)?;
        let meta: Meta = read_meta(&file)?;
        let spec = read_spec(&file, &meta.spec)?;
        check_claims(path, &meta, &spec)?;
        check_sections(&file, &meta)?;
        let keys = Keys::open(&file, meta.images)?;
        let mut part = Self { file, meta, spec, row_starts: Vec::new(), keys };
        if part.meta.kind == PartKind::Regions {
            let count = part.meta.images.saturating_add(1);
            part.row_starts = part.file.read_numbers(SectionKind::RowStarts, count)?.to_vec();
            part.file.intact()?;
            let starts = &part.row_starts;
            let sound = starts.first() == Some(&0)
                && starts.last() == Some(&(part.meta.rows as u64))
                && starts.is_sorted();
            if !sound {
                return Err(Error::corrupt(
                    path,
                    "row starts do not ascend from 0 to the number of rows",
                ));
            }
        } else if part.meta.rows != part.meta.images {
            let what = format!("{} rows for {} images", part.meta.rows, part.meta.images);
            return Err(Error::corrupt(path, what));
        }
        part.file.intact()?;
        Ok(part)
    }

    /// The part's file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The kind of rows in the part.
    pub fn kind(&self) -> PartKind {
        self.meta.kind
    }

    /// The type in which numbers are stored.
    pub fn dtype(&self) -> Dtype {
        self.meta.dtype
    }

    /// The spec of the vectors.
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
        self.keys.get(&self.file, image)
    }

    /// Keys of all images.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn keys(&self) -> Result<Vec<String>> {
        self.keys.all(&self.file)
    }

    /// The user's id of an image, where the part has ids.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn id(&self, image: usize) -> Result<Option<u64>> {
        if !self.meta.has_ids {
            return Ok(None);
        }
        if image >= self.images() {
            return Err(Error::not_found(format!(
                "{}: no image {image} of {}",
                self.path().display(),
                self.images()
            )));
        }
        let id = self.file.read_word(self.file.require(SectionKind::Ids)?, 8 * image as u64)?;
        self.file.intact()?;
        Ok(Some(id))
    }

    /// The user's ids of a range of images, where the part has ids.
    ///
    /// # Errors
    /// As [`Self::id`].
    pub fn ids_in(&self, images: Range<usize>) -> Result<Option<Vec<u64>>> {
        if !self.meta.has_ids {
            return Ok(None);
        }
        images.map(|image| self.id(image)).collect()
    }

    /// Keys of a range of images.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn keys_in(&self, images: Range<usize>) -> Result<Vec<String>> {
        let mut out = Vec::with_capacity(images.len());
        self.keys.each_in(&self.file, images, |_, key| {
            out.push(key.to_owned());
            Ok(())
        })?;
        Ok(out)
    }

    /// Gives back the memory of what was read so far ([`Reader::release`]).
    pub fn release(&self) {
        self.file.release();
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

    /// The meaning of the codes, in a part of codes.
    pub fn code_form(&self) -> Option<&CodeForm> {
        self.meta.codes.as_ref()
    }

    /// Facts of the image's file, where the part has attributes.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn attributes(&self, image: usize) -> Result<Option<Attributes>> {
        let Some(section) = self.file.find(SectionKind::Attributes) else { return Ok(None) };
        if image >= self.meta.images {
            return Err(self.no_rows(&(image..image + 1)));
        }
        let record = attributes::RECORD as u64;
        let found = self.file.read(section, image as u64 * record, record)?;
        let out = Attributes::from_bytes(self.path(), found)?;
        self.file.intact()?;
        Ok(Some(out))
    }

    /// All that is known of an image ([`crate::attributes::record`]): the facts of its file, and
    /// further attributes; empty if nothing is.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn record(&self, image: usize) -> Result<Vec<u8>> {
        let seen = self.attributes(image)?.map(Attributes::to_record).unwrap_or_default();
        let further = self.further_record(image)?;
        record::merge(&seen, &further).map_err(|e| self.bad_record(image, &e))
    }

    fn bad_record(&self, image: usize, what: &dyn std::fmt::Display) -> Error {
        Error::corrupt(self.path(), format!("records: image {image}: {what}"))
    }

    /// Attributes of an image beside the facts of its file ([`Self::attributes`]), as a record;
    /// empty if it has none.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn further_record(&self, image: usize) -> Result<Vec<u8>> {
        let Some(section) = self.file.find(SectionKind::Records) else { return Ok(Vec::new()) };
        if image >= self.meta.images {
            return Err(self.no_rows(&(image..image + 1)));
        }
        let corrupt = |what: &dyn std::fmt::Display| self.bad_record(image, what);
        let end = |image: usize| -> Result<u64> {
            let bytes = self.file.read(section, 8 * image as u64, 8)?;
            Ok(u64::from_le_bytes(*bytes.first_chunk().ok_or_else(|| corrupt(&"cut short"))?))
        };
        let from = if image == 0 { 0 } else { end(image - 1)? };
        let len = end(image)?.checked_sub(from).ok_or_else(|| corrupt(&"ends before it begins"))?;
        let start = (8 * self.meta.images as u64).checked_add(from);
        let start = start.ok_or_else(|| corrupt(&"begins outside"))?;
        let further = self.file.read(section, start, len)?.to_vec();
        self.file.intact()?;
        Ok(further)
    }

    /// The columns of all images' attributes. Reads all of them.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn schema(&self) -> Result<Schema> {
        let mut schema = Schema::default();
        for image in 0..self.images() {
            record::add_to(&mut schema, &self.record(image)?)
                .map_err(|e| Error::corrupt(self.path(), format!("image {image}: {e}")))?;
        }
        Ok(schema)
    }

    fn no_rows(&self, rows: &Range<usize>) -> Error {
        Error::not_found(format!(
            "{}: no rows {}..{} of {}",
            self.path().display(),
            rows.start,
            rows.end,
            self.meta.rows
        ))
    }

    /// Codes of rows. The caller, who has the model, checks that they fit it.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless this is a part of codes; [`Error::Corrupt`]; [`Error::NotFound`]
    /// past the end.
    pub fn read_codes(&self, rows: Range<usize>) -> Result<CodeRows> {
        let Some(form) = &self.meta.codes else {
            return Err(Error::invalid(format!(
                "{}: a part of {}, not of codes",
                self.path().display(),
                self.meta.kind
            )));
        };
        if rows.start > rows.end || rows.end > self.meta.rows {
            return Err(self.no_rows(&rows));
        }
        let read = |kind, width: usize| -> Result<Vec<u8>> {
            let section = self.file.require(kind)?;
            let (from, len) = (rows.start as u64 * width as u64, rows.len() as u64 * width as u64);
            Ok(self.file.read(section, from, len)?.to_vec())
        };
        let lists = read(SectionKind::Lists, 4)?;
        let lists = lists.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
        let codes = read(SectionKind::Codes, form.m)?;
        let fine = match form.fine_bytes {
            0 => Vec::new(),
            width => read(SectionKind::FineCodes, width)?,
        };
        self.file.intact()?;
        Ok(CodeRows { lists, codes, fine })
    }

    /// Rows as f32, (rows.len(), dim) row-major.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a part of codes, and with the row for a vector that is
    /// [`out_of_range`]; [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        if self.meta.kind == PartKind::Codes {
            return Err(Error::invalid(format!(
                "{}: expected vectors, found a part of codes",
                self.path().display()
            )));
        }
        if rows.start > rows.end || rows.end > self.meta.rows {
            return Err(self.no_rows(&rows));
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
        for (row, x) in rows.zip(out.chunks_exact(self.meta.dim)) {
            if let Some(why) = out_of_range(x) {
                let path = self.path().display();
                return Err(Error::invalid(format!("{path}: row {row}: {why}")));
            }
        }
        Ok(out)
    }

    /// Proves every checksum and reads every key and row once.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        self.keys.each(&self.file, |_, _| Ok(()))?;
        (0..self.images()).try_for_each(|image| self.record(image).map(drop))?;
        (0..self.rows()).step_by(4096).try_for_each(|start| {
            let rows = start..(start + 4096).min(self.rows());
            match self.meta.kind {
                PartKind::Codes => self.read_codes(rows).map(drop),
                _ => self.read(rows).map(drop),
            }
        })
    }
}

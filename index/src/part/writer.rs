//! Writing a part row by row.

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use serde::Serialize;

use super::{Attributes, CodeForm, CodeRows, Dtype, Meta, PartKind};
use crate::attributes::{Schema, record};
use crate::base::error::{Error, Result};
use crate::base::names::{check_id, check_key};
use crate::base::range::out_of_range;
use crate::files::container::{FileKind, Sealed, SectionKind, Writer, Written};
use crate::files::keys;
use crate::files::metadata::write_meta;
use crate::spec::DescriptorSpec;

/// The part that [`PartWriter::finish`] wrote.
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

/// One image of a part: what it is called, and what is known of its file.
#[derive(Clone, Copy, Debug)]
pub struct PartImage<'a> {
    /// The image's name, unique within an index.
    pub key: &'a str,
    /// The user's id. Either all images of a part have one or none has.
    pub id: Option<u64>,
    /// Facts of its file. Either all images of a part have them or none has.
    pub attributes: Option<&'a Attributes>,
    /// The image's further attributes ([`crate::attributes::record`]), which count before those of
    /// the file; empty if it has none.
    pub record: &'a [u8],
}

/// The data of one image in a part.
#[derive(Clone, Copy, Debug)]
pub enum PartRow<'a> {
    /// Vectors (n, dim), row-major; n = 1 unless it is a part of regions.
    Vectors(&'a [f32]),
    /// A code under the part's model.
    Code {
        /// The coarse list.
        list: u32,
        /// The code, (m,).
        code: &'a [u8],
        /// The finer code, (fine_bytes,).
        fine: &'a [u8],
    },
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
    attributes: Vec<u8>,
    /// Further attributes of all images, and where those of each image end.
    records: Vec<u8>,
    record_ends: Vec<u64>,
    /// Columns of these.
    schema: Schema,
    /// Parts of codes: their form, and what follows the codes' section.
    form: Option<CodeForm>,
    behind: CodeRows,
}

impl PartWriter {
    /// Starts a part of vectors at `path`. Its folder is made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for [`PartKind::Codes`], which wants
    /// [`Self::create_codes`].
    pub fn create(
        path: &Path,
        kind: PartKind,
        dtype: Dtype,
        spec: &DescriptorSpec,
    ) -> Result<Self> {
        if kind == PartKind::Codes {
            return Err(Error::invalid("a part of codes needs the form of its codes"));
        }
        Self::start(path, kind, dtype, spec, None)
    }

    /// Starts a part of codes at `path`, made from descriptors of `spec`. Its folder is made if it
    /// is missing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for codes without bytes.
    pub fn create_codes(path: &Path, spec: &DescriptorSpec, form: &CodeForm) -> Result<Self> {
        if form.m == 0 || form.fine_codec.is_none() && form.fine_bytes > 0 {
            return Err(Error::invalid(format!(
                "codes of {} bytes, finer ones of {}: expected bytes, and finer ones only of a \
                 fine codec",
                form.m, form.fine_bytes
            )));
        }
        Self::start(path, PartKind::Codes, Dtype::F32, spec, Some(form.clone()))
    }

    fn start(
        path: &Path,
        kind: PartKind,
        dtype: Dtype,
        spec: &DescriptorSpec,
        form: Option<CodeForm>,
    ) -> Result<Self> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
        let mut file = Writer::create(path, FileKind::Part)?;
        let section = if form.is_some() { SectionKind::Codes } else { SectionKind::Vectors };
        file.begin(section, true)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            kind,
            dtype,
            spec: spec.clone(),
            keys: Vec::new(),
            ids: Vec::new(),
            row_starts: vec![0],
            attributes: Vec::new(),
            records: Vec::new(),
            record_ends: Vec::new(),
            schema: Schema::default(),
            form,
            behind: CodeRows::default(),
        })
    }

    /// Appends one image of a part of vectors: its key and its rows (n, dim), row-major; n = 1
    /// unless this is a part of regions.
    ///
    /// # Errors
    /// Those of [`Self::push_image`].
    pub fn push(&mut self, key: &str, id: Option<u64>, rows: &[f32]) -> Result<()> {
        self.push_image(
            &PartImage { key, id, attributes: None, record: &[] },
            PartRow::Vectors(rows),
        )
    }

    /// Appends one image. Nothing of it is written where it is refused.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Invalid`] with the key; [`Error::Io`].
    pub fn push_image(&mut self, image: &PartImage<'_>, row: PartRow<'_>) -> Result<()> {
        let PartImage { key, id, attributes, record } = *image;
        check_key(key)?;
        let first = self.keys.is_empty();
        if id.is_some() != (self.ids.len() == self.keys.len()) && !first {
            return Err(Error::invalid(format!(
                "{key:?}: either every image of a part has an id or none has"
            )));
        }
        if attributes.is_some() == self.attributes.is_empty() && !first {
            return Err(Error::invalid(format!(
                "{key:?}: either every image of a part has attributes or none has"
            )));
        }
        id.map_or(Ok(()), check_id)?;
        record::add_to(&mut self.schema, record)
            .map_err(|e| Error::invalid(format!("{key:?}: {e}")))?;
        let n = match row {
            PartRow::Vectors(rows) => self.push_vectors(key, rows)?,
            PartRow::Code { list, code, fine } => self.push_code(key, list, code, fine)?,
        };
        self.ids.extend(id);
        self.attributes.extend(attributes.into_iter().flat_map(|a| a.to_bytes()));
        self.records.extend_from_slice(record);
        self.record_ends.push(self.records.len() as u64);
        self.keys.push(key.to_owned());
        self.row_starts.push(self.row_starts.last().copied().unwrap_or(0) + n as u64);
        Ok(())
    }

    fn push_vectors(&mut self, key: &str, rows: &[f32]) -> Result<usize> {
        if self.kind == PartKind::Codes {
            return Err(Error::invalid(format!("{key:?}: a vector for a part of codes")));
        }
        let dim = self.spec.dim();
        let n = rows.len() / dim;
        if rows.is_empty()
            || !rows.len().is_multiple_of(dim)
            || (self.kind == PartKind::Descriptors && n != 1)
        {
            return Err(Error::Dim { what: vector_of(key), expected: dim, found: rows.len() });
        }
        if let Some(why) = rows.chunks_exact(dim).find_map(out_of_range) {
            let image = self.keys.len();
            return Err(Error::invalid(format!("{} (image {image}): {why}", vector_of(key))));
        }
        match self.dtype {
            Dtype::F32 => self.file.write(bytemuck::cast_slice(rows))?,
            Dtype::F16 => {
                let half: Vec<f16> = rows.iter().map(|&x| f16::from_f32(x)).collect();
                let why = if let Some(at) = half.iter().position(|x| !x.is_finite()) {
                    let (element, x) = (at % dim, rows[at]);
                    Some(format!(
                        "element {element} is {x}, too large for f16, which ends at 65504"
                    ))
                } else {
                    let lost =
                        half.chunks_exact(dim).zip(rows.chunks_exact(dim)).any(|(half, x)| {
                            half.iter().all(|x| x.to_f32() == 0.0) && x.iter().any(|&x| x != 0.0)
                        });
                    lost.then(|| "too small for f16: every element becomes 0".to_owned())
                };
                if let Some(why) = why {
                    return Err(Error::invalid(format!("{}: {why}", vector_of(key))));
                }
                self.file.write(bytemuck::cast_slice(&half))?;
            }
        }
        Ok(n)
    }

    fn push_code(&mut self, key: &str, list: u32, code: &[u8], fine: &[u8]) -> Result<usize> {
        let Some(form) = &self.form else {
            return Err(Error::invalid(format!("{key:?}: a code for a part of vectors")));
        };
        if code.len() != form.m || fine.len() != form.fine_bytes {
            return Err(Error::invalid(format!(
                "{key:?}: a code of {} and a finer one of {} bytes, expected {} and {}",
                code.len(),
                fine.len(),
                form.m,
                form.fine_bytes
            )));
        }
        self.file.write(code)?;
        self.behind.lists.push(list);
        self.behind.fine.extend_from_slice(fine);
        Ok(1)
    }

    /// Number of images so far.
    pub fn images(&self) -> usize {
        self.keys.len()
    }

    /// Writes the rest, fsyncs and renames.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] if there is no image.
    pub fn finish(self) -> Result<PartSummary> {
        self.seal()?.publish()
    }

    /// [`Self::finish`] without its last step: everything is written and durable, and the name is
    /// still to be given. For a caller that writes several files and wants all or none.
    ///
    /// # Errors
    /// Those of [`Self::finish`]; nothing is left behind then.
    pub fn seal(mut self) -> Result<SealedPart> {
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
        if self.form.is_some() {
            let CodeRows { lists, fine, .. } = &self.behind;
            self.file.section(SectionKind::Lists, true, bytemuck::cast_slice(lists))?;
            if !fine.is_empty() {
                self.file.section(SectionKind::FineCodes, true, fine)?;
            }
        }
        if !self.ids.is_empty() {
            self.file.section(SectionKind::Ids, true, bytemuck::cast_slice(&self.ids))?;
        }
        let key_bytes = keys::encode(self.keys.iter().map(String::as_str))?;
        self.file.section(SectionKind::Keys, true, &key_bytes)?;
        if !self.attributes.is_empty() {
            self.file.section(SectionKind::Attributes, false, &self.attributes)?;
        }
        if !self.records.is_empty() {
            self.file.begin(SectionKind::Records, false)?;
            self.file.write(bytemuck::cast_slice(&self.record_ends))?;
            self.file.write(&self.records)?;
        }
        let meta = Meta {
            kind: self.kind,
            dtype: self.dtype,
            spec: self.spec.canonical(),
            dim: self.spec.dim(),
            images,
            rows: rows as usize,
            has_ids: !self.ids.is_empty(),
            codes: self.form,
        };
        write_meta(&mut self.file, &meta)?;
        Ok(SealedPart { file: self.file.seal()?, images: images as u64, rows })
    }
}

/// A part that is complete and durable, and does not have its name yet. Dropped, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct SealedPart {
    file: Sealed,
    images: u64,
    rows: u64,
}

impl SealedPart {
    /// Gives the part its name. A file of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`]; the file that had the name is then unchanged.
    pub fn publish(self) -> Result<PartSummary> {
        let Written { path, bytes, .. } = self.file.publish()?;
        Ok(PartSummary { path, images: self.images, rows: self.rows, bytes })
    }
}

/// A vector in a message; not every one has a key.
fn vector_of(key: &str) -> String {
    if key.is_empty() { "vector".to_owned() } else { format!("vector of {key:?}") }
}

//! The contents of a file or an index directory, for people and scripts.

mod index;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::files::container::{FileKind, Reader, SectionKind};
use crate::files::metadata::read_meta;
use crate::generations::{Generation, IndexDir};
use crate::model::Model;
use crate::model::fine::FineCodec;
use crate::pack::{Pack, PackCard};
use crate::part::Part;
use crate::search::snapshot::Snapshot;
use crate::shard::ShardMeta;
use crate::whitening::Whitening;

pub use self::index::{
    AttributeLine, IndexDetails, LengthClass, LineageLine, ListBalance, ModelLine, SectionSize,
    ShardLine,
};

/// A section of a file.
#[derive(Clone, Debug, Serialize)]
pub struct SectionInfo {
    /// The section's name, or `section <number>` where this version does not know it.
    pub name: String,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes, padding not counted.
    pub bytes: u64,
}

/// The contents of a file or an index directory.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Inspection {
    /// A part.
    Part {
        /// Regions or descriptors.
        holds: String,
        /// Number type.
        dtype: String,
        /// Images.
        images: usize,
        /// Rows.
        rows: usize,
        /// Dimension of a row.
        dim: usize,
        /// Hash of the descriptor spec.
        spec_hash: String,
        /// The spec's canonical text.
        spec: String,
        /// File.
        file: FileInfo,
    },
    /// A whitening.
    Whitening {
        /// Hash that specs carry.
        hash: String,
        /// Dimension of the vectors that go in.
        dim_in: usize,
        /// Dimension of the vectors that come out.
        dim_out: usize,
        /// Canonical text of the spec it was learned on.
        learned_on: String,
        /// File.
        file: FileInfo,
    },
    /// A model.
    Model {
        /// Hash that shards carry.
        hash: String,
        /// Metric.
        metric: String,
        /// Dimension of x.
        dim: usize,
        /// Dimension of z.
        d: usize,
        /// Coarse centroids.
        nlist: usize,
        /// Sub-quantizers.
        m: usize,
        /// Codewords of a sub-quantizer.
        ksub: usize,
        /// Whether the model's transform rotates vectors.
        rotation: bool,
        /// Finer codes that it makes.
        fine_codec: Option<FineCodecInfo>,
        /// Hash of the descriptor spec.
        spec_hash: String,
        /// The spec's canonical text.
        spec: String,
        /// Facts about the training, by name.
        training: std::collections::BTreeMap<String, String>,
        /// File.
        file: FileInfo,
    },
    /// A pack.
    Pack {
        /// SHA-256 of the file.
        hash: String,
        /// Whether the weights of its network are in it.
        has_weights: bool,
        /// The card.
        card: PackCard,
        /// File.
        file: FileInfo,
    },
    /// A shard.
    Shard {
        /// Scalar facts of the shard.
        meta: ShardMeta,
        /// Bytes a row of codes, scalars, ordinals and list table, padding included: what a scan
        /// needs.
        search_bytes_per_row: f64,
        /// Bytes a row of ids and the id and list maps.
        map_bytes_per_row: f64,
        /// Bytes a row of keys and their map.
        key_bytes_per_row: f64,
        /// Bytes a row of finer codes.
        fine_bytes_per_row: f64,
        /// File.
        file: FileInfo,
    },
    /// An index directory.
    Index {
        /// The folder.
        path: PathBuf,
        /// Generations that exist.
        generations: Vec<u64>,
        /// The current one.
        current: Generation,
        /// Rows that are not deleted.
        rows: u64,
        /// Bytes of the shards.
        shard_bytes: u64,
        /// Bytes of the model.
        model_bytes: u64,
        /// Name of the pack that the model came with, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        pack: Option<String>,
        /// Bytes of the shards over rows.
        bytes_per_image: f64,
        /// Bytes that a scan needs: codes, scalars, ordinals and list tables, padding included.
        search_bytes_per_image: f64,
        /// Bytes of ids and of the id and list maps.
        map_bytes_per_image: f64,
        /// Bytes of keys and their map.
        key_bytes_per_image: f64,
        /// Bytes of finer codes.
        fine_bytes_per_image: f64,
        /// The fine codec, where every shard has finer codes.
        fine_codec: Option<FineCodecInfo>,
        /// Sections, lists, shards, generations, model and attributes.
        details: Box<IndexDetails>,
    },
}

/// Finer codes.
#[derive(Clone, Debug, Serialize)]
pub struct FineCodecInfo {
    /// The name of the kind: `pq32`, `sq8`, `f16`.
    pub name: String,
    /// Bytes of one.
    pub code_bytes: usize,
    /// Hash that shards name.
    pub hash: String,
}

impl FineCodecInfo {
    fn of(r: &FineCodec) -> Self {
        Self { name: r.name(), code_bytes: r.code_bytes(), hash: r.hash().to_string() }
    }
}

/// A file and its sections.
#[derive(Clone, Debug, Serialize)]
pub struct FileInfo {
    /// The file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The sections of the file, in their order.
    pub sections: Vec<SectionInfo>,
}

impl FileInfo {
    fn of(file: &Reader) -> Self {
        let sections = file.sections().iter().map(|s| SectionInfo {
            name: s.known().map_or_else(|| format!("section {}", s.kind), |k| k.name().to_owned()),
            offset: s.offset,
            bytes: s.len,
        });
        Self { path: file.path().to_owned(), bytes: file.bytes(), sections: sections.collect() }
    }

    /// Bytes of some sections.
    fn sum(&self, kinds: &[SectionKind]) -> u64 {
        self.sections
            .iter()
            .filter(|s| kinds.iter().any(|k| k.name() == s.name))
            .map(|s| s.bytes)
            .sum()
    }
}

/// Sections that lead from an ordinal to its id and list, and back.
const MAPS: &[SectionKind] = &[SectionKind::Ids, SectionKind::IdMap, SectionKind::ListOf];
/// Sections of keys.
const KEYS: &[SectionKind] = &[SectionKind::Keys, SectionKind::KeyMap];

/// Sections of finer codes.
const FINE: &[SectionKind] = &[SectionKind::FineCodes, SectionKind::StoredVectors];

/// Looks into a part, whitening, model, pack, shard or index directory. With `verify` every
/// checksum is proven, of an index directory those of all files of its current generation, and that
/// they agree; of a shard outside an index directory only the checksums are proven, since its codes
/// have a meaning only together with its model.
///
/// # Errors
/// Those of opening the file; [`Error::NotFound`] for a folder without a current generation.
pub fn inspect(path: &Path, verify: bool) -> Result<Inspection> {
    if path.is_dir() {
        return inspect_index(path, verify);
    }
    let file = Reader::open_any(path)?;
    if verify {
        file.verify()?;
    }
    let info = FileInfo::of(&file);
    match file.kind() {
        FileKind::Part => inspect_part(path, verify, info),
        FileKind::Whitening => inspect_whitening(path, info),
        FileKind::Model => inspect_model(path, verify, info),
        FileKind::Shard => inspect_shard(&file, info),
        FileKind::Pack => inspect_pack(&Pack::open(path)?, verify),
        FileKind::Run => Err(Error::invalid(format!(
            "{}: rows of a shard whose build has not ended; nothing reads them but that build",
            path.display()
        ))),
    }
}

/// Looks into an opened pack; with `verify`, proves it.
///
/// # Errors
/// Those of [`Pack::verify`].
pub fn inspect_pack(pack: &Pack, verify: bool) -> Result<Inspection> {
    if verify {
        pack.verify()?;
    }
    Ok(Inspection::Pack {
        hash: pack.hash().to_string(),
        has_weights: pack.has_weights(),
        card: pack.card().clone(),
        file: FileInfo::of(pack.file()),
    })
}

fn inspect_part(path: &Path, verify: bool, file: FileInfo) -> Result<Inspection> {
    let part = Part::open(path)?;
    if verify {
        part.verify()?;
    }
    Ok(Inspection::Part {
        holds: part.kind().to_string(),
        dtype: part.dtype().to_string(),
        images: part.images(),
        rows: part.rows(),
        dim: part.dim(),
        spec_hash: part.spec().hash().to_string(),
        spec: part.spec().canonical(),
        file,
    })
}

fn inspect_whitening(path: &Path, file: FileInfo) -> Result<Inspection> {
    let w = Whitening::open(path)?;
    Ok(Inspection::Whitening {
        hash: w.hash().to_string(),
        dim_in: w.dim_in(),
        dim_out: w.dim_out(),
        learned_on: w.learned_on.canonical(),
        file,
    })
}

fn inspect_model(path: &Path, verify: bool, file: FileInfo) -> Result<Inspection> {
    let model = Model::open(path)?;
    if verify {
        model.verify()?;
    }
    let p = model.parts();
    Ok(Inspection::Model {
        hash: model.hash().to_string(),
        metric: p.metric.to_string(),
        dim: p.dim,
        d: p.d,
        nlist: p.nlist,
        m: p.m,
        ksub: p.ksub,
        rotation: p.rotation.is_some(),
        fine_codec: model.fine_codec().map(FineCodecInfo::of),
        spec_hash: p.spec.hash().to_string(),
        spec: p.spec.canonical(),
        training: p.training.clone(),
        file,
    })
}

fn inspect_shard(file: &Reader, info: FileInfo) -> Result<Inspection> {
    let meta: ShardMeta = read_meta(file)?;
    let rows = f64::from(meta.rows.max(1));
    let (maps, keys, fine) = (info.sum(MAPS), info.sum(KEYS), info.sum(FINE));
    Ok(Inspection::Shard {
        search_bytes_per_row: (info.bytes - maps - keys - fine) as f64 / rows,
        map_bytes_per_row: maps as f64 / rows,
        key_bytes_per_row: keys as f64 / rows,
        fine_bytes_per_row: fine as f64 / rows,
        meta,
        file: info,
    })
}

/// The error of a folder without CURRENT, which is no index: says what is in it instead.
fn not_an_index(path: &Path, generations: &[u64]) -> Error {
    let found = if generations.is_empty() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        match entries.filter(|e| e.path().extension().is_some_and(|x| x == "part")).count() {
            0 => "no generations found".to_owned(),
            1 => "a folder with 1 part; inspect that file".to_owned(),
            parts => format!("a folder with {parts} parts; inspect one of these files"),
        }
    } else {
        let numbers: Vec<String> = generations.iter().map(u64::to_string).collect();
        format!(
            "generations found: {}. CURRENT is one line, NUMBER CHECKSUM, with the checksum that \
             is in generations/NUMBER.json",
            numbers.join(", ")
        )
    };
    Error::not_found(format!("{}: not an index: no CURRENT; {found}", path.display()))
}

fn inspect_index(path: &Path, verify: bool) -> Result<Inspection> {
    let dir = IndexDir::open(path)?;
    let generations = dir.generations()?;
    let current = dir.current()?.ok_or_else(|| not_an_index(path, &generations))?;
    let snapshot = Snapshot::open_in(&dir, Some(current.number))?;
    if verify {
        snapshot.verify()?;
    }
    let (mut maps, mut keys, mut fine) = (0, 0, 0);
    for shard in snapshot.shards() {
        let info = FileInfo::of(shard.file());
        maps += info.sum(MAPS);
        keys += info.sum(KEYS);
        fine += info.sum(FINE);
    }
    let rows = snapshot.rows();
    let shard_bytes: u64 = current.shards.iter().map(|s| s.bytes).sum();
    let model = match snapshot.model().fine_codec() {
        Some(codec) => dir.fine_model_path(&current.model, &codec.hash())?,
        None => dir.model_path(&current.model)?,
    };
    let fine_codec = snapshot.fine_codec().map(FineCodecInfo::of);
    let model_bytes = Reader::open(&model, FileKind::Model)?.bytes();
    let per_image = |bytes: u64| bytes as f64 / rows.max(1) as f64;
    Ok(Inspection::Index {
        path: path.to_owned(),
        generations,
        current,
        rows,
        shard_bytes,
        model_bytes,
        pack: snapshot.model().parts().training.get("pack").cloned(),
        bytes_per_image: per_image(shard_bytes),
        search_bytes_per_image: per_image(shard_bytes - maps - keys - fine),
        map_bytes_per_image: per_image(maps),
        key_bytes_per_image: per_image(keys),
        fine_bytes_per_image: per_image(fine),
        fine_codec,
        details: Box::new(IndexDetails::of(&dir, &snapshot)?),
    })
}

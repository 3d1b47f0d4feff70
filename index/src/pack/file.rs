//! The pack's file: written, and read back.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::card::{MAX_VARIANTS, NetworkCard, PackCard, Threshold, TrainedOn};
use super::{Pack, PackVariant, card_of, named};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{
    FileKind, NewFile, Reader, SECTION_ALIGN, Section, SectionKind, TILE_BYTES, Writer,
};
use crate::files::metadata::{read_meta, write_meta};
use crate::model::Model;
use crate::whitening::Whitening;

/// The version of the card that this program writes and reads.
const CARD_VERSION: u32 = 1;

/// The fact of a model's training that names the pack.
const PACK_NOTE: &str = "pack";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    card_version: u32,
    card: PackCard,
    /// Places of the files of each variant.
    places: Vec<Place>,
    weights: Option<(u64, u64)>,
}

/// Start and length of a variant's files in section `files`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    whitening: Option<(u64, u64)>,
    model: (u64, u64),
}

/// What a new pack consists of.
#[derive(Debug)]
pub struct NewPack {
    /// See [`PackCard::name`].
    pub name: String,
    /// See [`PackCard::made_by`].
    pub made_by: String,
    /// The network, and where its weights come from.
    pub network: NetworkCard,
    /// Bytes of the variant that is taken where none is asked for; by default the largest of at
    /// most [`NewPack::DEFAULT_CODE_BYTES`], else the smallest.
    pub default_code_bytes: Option<usize>,
    /// See [`PackCard::thresholds`].
    pub thresholds: Vec<Threshold>,
    /// See [`PackCard::trained_on`].
    pub trained_on: Vec<TrainedOn>,
    /// See [`PackCard::notes`].
    pub notes: Vec<String>,
    /// A whitening and the model behind it, for each size of codes, in any order.
    pub variants: Vec<(Option<Whitening>, Model)>,
    /// A safetensors file with the weights, where the pack is to hold them.
    pub weights: Option<PathBuf>,
}

impl NewPack {
    /// Bytes of a code that few collections need more of.
    pub const DEFAULT_CODE_BYTES: usize = 32;

    /// Writes the pack atomically and returns its card. Models are written with the name of the
    /// pack among the facts of their training. Equal pieces give equal bytes.
    ///
    /// # Errors
    /// [`Error::SpecMismatch`] with the fields that differ, if the pieces do not fit each other;
    /// [`Error::Invalid`] for values out of range; [`Error::Io`].
    pub fn write(mut self, path: &Path) -> Result<PackCard> {
        self.variants.sort_by_key(|(_, model)| model.layout().columns());
        let card = self.card()?;
        let mut files = Files::default();
        let mut places = Vec::with_capacity(self.variants.len());
        for (whitening, model) in self.variants {
            let whitening = match whitening {
                Some(whitening) => Some(files.add_whitening(&whitening)?),
                None => None,
            };
            let model = model.with_note(PACK_NOTE, &card.name);
            let model = files
                .add(FileKind::Model, |file| model.write_to(file, model.fine_codec()).map(drop))?;
            places.push(Place { whitening, model });
        }
        let weights = self.weights.as_deref();
        let weights_len = weights.map(length_of).transpose()?;
        let mut file = Writer::create(path, FileKind::Pack)?;
        let meta = Meta {
            card_version: CARD_VERSION,
            card: card.clone(),
            places,
            weights: weights_len.map(|len| (files.end(), len)),
        };
        write_meta(&mut file, &meta)?;
        file.section(SectionKind::Files, true, &files.bytes)?;
        if let (Some(weights), Some(len)) = (weights, weights_len) {
            append(&mut file, weights, len)?;
        }
        file.finish()?;
        Ok(card)
    }

    fn card(&self) -> Result<PackCard> {
        let mut card = PackCard {
            name: self.name.clone(),
            made_by: self.made_by.clone(),
            network: self.network.clone(),
            default_code_bytes: 0,
            variants: Vec::new(),
            thresholds: self.thresholds.clone(),
            trained_on: self.trained_on.clone(),
            notes: self.notes.clone(),
        };
        let network = card.network_spec()?;
        for (whitening, model) in &self.variants {
            card.variants.push(card_of(&network, whitening.as_ref(), model)?);
        }
        let bytes = card.variants.iter().map(|v| v.code_bytes);
        let usual = bytes.clone().filter(|&n| n <= Self::DEFAULT_CODE_BYTES).max();
        let fallback = usual.or_else(|| bytes.min()).unwrap_or_default();
        card.default_code_bytes = self.default_code_bytes.unwrap_or(fallback);
        card.check()?;
        Ok(card)
    }
}

/// Files one after the other, each at a multiple of [`SECTION_ALIGN`].
#[derive(Default)]
struct Files {
    bytes: Vec<u8>,
    /// Whitenings that are there, by their file's hash, and their places.
    whitenings: Vec<(Hash, (u64, u64))>,
}

impl Files {
    /// Start and length of a container that `write` writes.
    fn add(
        &mut self,
        kind: FileKind,
        write: impl FnOnce(Writer) -> Result<()>,
    ) -> Result<(u64, u64)> {
        let memory = Memory::default();
        write(Writer::new(Box::new(memory.clone()), kind))?;
        let from = self.end();
        let bytes = memory.0.lock();
        self.bytes.extend_from_slice(&bytes);
        let padded = self.bytes.len().next_multiple_of(SECTION_ALIGN as usize);
        self.bytes.resize(padded, 0);
        Ok((from, bytes.len() as u64))
    }

    /// The place of a whitening, which several variants may share: there is one file of it.
    fn add_whitening(&mut self, whitening: &Whitening) -> Result<(u64, u64)> {
        let hash = whitening.hash();
        if let Some(&(_, place)) = self.whitenings.iter().find(|(known, _)| *known == hash) {
            return Ok(place);
        }
        let place = self.add(FileKind::Whitening, |file| whitening.write_to(file))?;
        self.whitenings.push((hash, place));
        Ok(place)
    }

    fn end(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A file in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl NewFile for Memory {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.lock().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn publish(self: Box<Self>, _: Option<&str>) -> Result<PathBuf> {
        Ok(PathBuf::new())
    }
}

fn length_of(path: &Path) -> Result<u64> {
    path.metadata().map(|m| m.len()).map_err(|e| Error::io(path, "open", e))
}

/// Appends the `len` bytes of a file.
fn append(out: &mut Writer, path: &Path, len: u64) -> Result<()> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut buffer = vec![0; TILE_BYTES];
    let mut left = len;
    while left > 0 {
        let want = left.min(TILE_BYTES as u64) as usize;
        file.read_exact(&mut buffer[..want]).map_err(|e| Error::io(path, "read", e))?;
        out.write(&buffer[..want])?;
        left -= want as u64;
    }
    Ok(())
}

impl Pack {
    /// Opens a pack and everything in it but the weights, and checks that the pieces fit together.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::Corrupt`]; [`Error::NewerVersion`] for the card of a
    /// later program.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(Reader::open(path, FileKind::Pack)?)
    }

    /// [`Self::open`] for a pack in memory, which is copied; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        Self::read(Reader::open_bytes(&named(name), bytes, FileKind::Pack)?)
    }

    fn read(file: Reader) -> Result<Self> {
        check_version(&file)?;
        let meta: Meta = read_meta(&file)?;
        let corrupt = |e: Error| Error::corrupt(file.path(), e.to_string());
        meta.card.check().map_err(corrupt)?;
        let network = meta.card.network_spec().map_err(corrupt)?;
        if meta.places.len() != meta.card.variants.len() || meta.places.len() > MAX_VARIANTS {
            return Err(Error::corrupt(
                file.path(),
                format!(
                    "meta: files of {} variants, expected {}",
                    meta.places.len(),
                    meta.card.variants.len()
                ),
            ));
        }
        let files = *file.require(SectionKind::Files)?;
        let mut variants = Vec::with_capacity(meta.places.len());
        for (place, card) in meta.places.iter().zip(&meta.card.variants) {
            let (whitening, model) = read_files(&file, &files, *place, card.code_bytes)?;
            let found = card_of(&network, whitening.as_ref(), &model).map_err(corrupt)?;
            if found != *card {
                return Err(Error::corrupt(
                    file.path(),
                    format!("variant of {} bytes: {found:?}, expected {card:?}", card.code_bytes),
                ));
            }
            variants.push(PackVariant { card: found, whitening, model });
        }
        let inside =
            |&(from, len): &(u64, u64)| from.checked_add(len).is_some_and(|end| end <= files.len);
        if meta.weights.is_some_and(|place| !inside(&place)) {
            return Err(Error::corrupt(file.path(), "meta: the weights leave their section"));
        }
        file.intact()?;
        let (card, weights) = (meta.card, meta.weights);
        Ok(Self { file, files, card, network, variants, weights })
    }
}

/// Refuses the card of a later program before its fields are looked at.
fn check_version(file: &Reader) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        card_version: u32,
    }
    let Version { card_version: found } = read_meta(file)?;
    match found {
        CARD_VERSION => Ok(()),
        0 => Err(Error::corrupt(file.path(), "meta: card_version 0")),
        _ => Err(Error::NewerVersion {
            path: file.path().to_owned(),
            found,
            supported: CARD_VERSION,
        }),
    }
}

fn read_files(
    file: &Reader,
    files: &Section,
    place: Place,
    code_bytes: usize,
) -> Result<(Option<Whitening>, Model)> {
    let open = |place, kind: FileKind| {
        file.open_within(files, place, &format!("{code_bytes}.{}", kind.name()), kind)
    };
    let whitening = match place.whitening {
        Some(place) => Some(Whitening::read(&open(place, FileKind::Whitening)?)?),
        None => None,
    };
    Ok((whitening, Model::read(open(place.model, FileKind::Model)?)?))
}

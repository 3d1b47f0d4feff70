//! The end of a container: section table, its checksum, and the trailer that never changes.

use std::path::Path;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::{SECTION_ALIGN, TILE_BYTES};
use crate::base::error::{Error, Result};
use crate::foreign::{LOOK_BYTES, looks_like};

/// The newest format version that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// The last eight bytes of every container.
pub const MAGIC: [u8; 8] = *b"OCELLI\r\n";
/// Length of the trailer: body length (u32), CRC-32C of body and length (u32), magic.
pub const TRAILER_BYTES: usize = 16;
/// Bytes of the body in front of the section table: version (u32), file kind (u32).
const BODY_HEAD: usize = 8;

/// Declares numbered kinds with their names.
macro_rules! numbered {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$vdoc:meta])* $variant:ident = $number:literal, $text:literal;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every kind that version 1 names.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number in files.
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number),+ }
            }

            /// The kind of a number, if this version knows it.
            pub const fn from_number(n: u32) -> Option<Self> {
                match n { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The name for people.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

numbered! {
    /// The kind of a file.
    FileKind {
        /// Vectors or codes on their way to a shard.
        Part = 1, "part";
        /// A whitening.
        Whitening = 2, "whitening";
        /// A trained model.
        Model = 3, "model";
        /// An immutable piece of an index.
        Shard = 4, "shard";
        /// Everything that turns a photo into a code: a card, whitenings, models.
        Pack = 5, "pack";
        /// Rows of an unfinished shard, sorted by list.
        Run = 6, "run";
    }
}

numbered! {
    /// The kind of a section. Numbers never change; see `docs/shard-format.md` for each layout.
    SectionKind {
        /// JSON of the file's own scalar facts.
        Meta = 1, "meta";
        /// Shard: one entry a list.
        ListTable = 2, "list table";
        /// Shard, part: PQ codes.
        Codes = 3, "codes";
        /// Shard: one rounded-down L2 term a vector.
        Scalars = 4, "scalars";
        /// Shard: ordinals in list order.
        Ordinals = 5, "ordinals";
        /// Shard, part: ids by ordinal.
        Ids = 6, "ids";
        /// Shard, part: compressed keys by ordinal.
        Keys = 7, "keys";
        /// Shard: hash of a key to its ordinal.
        KeyMap = 8, "key map";
        /// Shard: ids to ordinals.
        IdMap = 9, "id map";
        /// Shard: list of each ordinal.
        ListOf = 10, "list map";
        /// Shard, optional: finer codes.
        FineCodes = 11, "fine codes";
        /// Shard, optional: the vectors themselves.
        StoredVectors = 12, "stored vectors";
        /// Shard, part, optional: attributes of the images.
        Attributes = 13, "attributes";
        /// Part: vectors, row-major.
        Vectors = 16, "vectors";
        /// Part of regions: first row of each image.
        RowStarts = 17, "row starts";
        /// Part of codes: list of each row.
        Lists = 18, "lists";
        /// Part, optional: further attributes of each image.
        Records = 19, "records";
        /// Whitening, model: mean.
        Mean = 32, "mean";
        /// Whitening: projection.
        Projection = 33, "projection";
        /// Model: rotation.
        Rotation = 34, "rotation";
        /// Model: coarse centroids.
        Coarse = 35, "coarse centroids";
        /// Model: PQ codebooks.
        Codebooks = 36, "codebooks";
        /// Model, optional, derived: groups of centroids.
        CoarseGroups = 37, "coarse groups";
        /// Model, optional: codebooks of the finer codes.
        FineCodebooks = 38, "fine codebooks";
        /// Pack: files one after the other, each at a multiple of 4096.
        Files = 48, "files";
    }
}

/// A reader that does not know this section must refuse the file.
const REQUIRED: u32 = 1;

/// One entry of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Section {
    /// Number of the [`SectionKind`].
    pub kind: u32,
    /// Bit 0: required. The others are zero in version 1.
    pub flags: u32,
    /// First byte in the file, a multiple of [`SECTION_ALIGN`].
    pub offset: u64,
    /// Bytes, padding not counted.
    pub len: u64,
}

impl Section {
    pub(super) fn new(kind: SectionKind, required: bool, offset: u64, len: u64) -> Self {
        Self { kind: kind.number(), flags: if required { REQUIRED } else { 0 }, offset, len }
    }

    /// Whether a reader that does not know this section must refuse the file.
    pub fn required(&self) -> bool {
        self.flags & REQUIRED != 0
    }

    /// The kind, if this version knows it.
    pub fn known(&self) -> Option<SectionKind> {
        SectionKind::from_number(self.kind)
    }
}

/// The section table and what is needed to prove the rest of the file.
#[derive(Clone, Debug, PartialEq, Archive, Serialize, Deserialize)]
pub(super) struct Footer {
    /// Bytes in front of the checksum table: sections and their padding.
    pub data_bytes: u64,
    /// CRC-32C of the checksum table.
    pub checks_crc: u32,
    /// The sections, in file order.
    pub sections: Vec<Section>,
}

/// Number of tiles that cover `data_bytes`.
pub(super) fn tiles(data_bytes: u64) -> u64 {
    data_bytes.div_ceil(TILE_BYTES as u64)
}

impl Footer {
    /// Body and trailer: the last bytes of the file.
    pub fn encode(&self, kind: FileKind) -> Result<Vec<u8>> {
        let table = rkyv::to_bytes::<rancor::Error>(self)
            .map_err(|e| Error::invalid(format!("section table cannot be encoded: {e}")))?;
        let mut out = Vec::with_capacity(BODY_HEAD + table.len() + TRAILER_BYTES);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&kind.number().to_le_bytes());
        out.extend_from_slice(&table);
        let len =
            u32::try_from(out.len()).map_err(|_| Error::invalid("section table over 4 GiB"))?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.extend_from_slice(&MAGIC);
        Ok(out)
    }

    /// Reads the end of `file`, proves its checksum, and checks that its claims fit the file.
    ///
    /// The order of the checks decides the message: magic, length, CRC, version, structure. So a
    /// flipped bit is "corrupt" and never "newer than this program".
    pub fn decode(path: &Path, file: &[u8]) -> Result<(Self, FileKind)> {
        let corrupt = |what: String| Error::corrupt(path, what);
        let Some(trailer_at) = file.len().checked_sub(TRAILER_BYTES) else {
            return Err(Error::NotOcelli {
                path: path.to_owned(),
                what: format!(
                    "{} bytes, the smallest has more than {TRAILER_BYTES}{}",
                    file.len(),
                    found_instead(file)
                ),
            });
        };
        // A copy is checked: mapped bytes may vanish.
        let (rest, trailer) = (&file[..trailer_at], file[trailer_at..].to_vec());
        if trailer[8..] != MAGIC {
            return Err(Error::NotOcelli {
                path: path.to_owned(),
                what: format!(
                    "its last eight bytes are not Ocelli's (cut short, or another format){}",
                    found_instead(file)
                ),
            });
        }
        let body_len = le_u32(&trailer) as usize;
        let body_at = rest.len().checked_sub(body_len).filter(|_| body_len >= BODY_HEAD);
        let Some(body_at) = body_at else {
            return Err(corrupt(format!(
                "footer length {body_len} at offset {trailer_at} does not fit a file of {} bytes",
                file.len()
            )));
        };
        let body = rest[body_at..].to_vec();
        let found = crc32c::crc32c_append(crc32c::crc32c(&body), &trailer[..4]);
        let want = le_u32(&trailer[4..]);
        if want != found {
            return Err(corrupt(format!(
                "footer at offset {body_at}: CRC-32C {found:08x}, expected {want:08x}"
            )));
        }
        let version = le_u32(&body);
        if version > FORMAT_VERSION {
            return Err(Error::NewerVersion {
                path: path.to_owned(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let kind_number = le_u32(&body[4..]);
        let kind = FileKind::from_number(kind_number)
            .ok_or_else(|| corrupt(format!("unknown file kind {kind_number}")))?;
        let mut table = AlignedVec::<16>::with_capacity(body.len() - BODY_HEAD);
        table.extend_from_slice(&body[BODY_HEAD..]);
        let footer = rkyv::from_bytes::<Self, rancor::Error>(&table)
            .map_err(|e| corrupt(format!("section table at offset {body_at}: {e}")))?;
        footer.check(path, body_at as u64)?;
        Ok((footer, kind))
    }

    /// Checks the table against the file, whose footer body begins at `body_at`.
    fn check(&self, path: &Path, body_at: u64) -> Result<()> {
        let corrupt = |what: String| Err(Error::corrupt(path, what));
        let checks = tiles(self.data_bytes).checked_mul(4);
        if checks.and_then(|c| c.checked_add(self.data_bytes)) != Some(body_at) {
            return corrupt(format!(
                "{} bytes of sections and their checksums do not end at the footer, \
             offset {body_at}",
                self.data_bytes
            ));
        }
        let mut end = 0u64;
        let mut seen = Vec::with_capacity(self.sections.len());
        for s in &self.sections {
            let name =
                s.known().map_or_else(|| format!("section {}", s.kind), |k| k.name().to_owned());
            let this_end = s.offset.checked_add(s.len).filter(|&e| e <= self.data_bytes);
            let Some(this_end) =
                this_end.filter(|_| s.offset.is_multiple_of(SECTION_ALIGN) && s.offset >= end)
            else {
                return corrupt(format!(
                    "{name} at offset {} of {} bytes overlaps, is unaligned or leaves the file",
                    s.offset, s.len
                ));
            };
            end = this_end;
            if seen.contains(&s.kind) {
                return corrupt(format!("{name} is in the section table twice"));
            }
            seen.push(s.kind);
            if s.known().is_none() && s.required() {
                return Err(Error::NewerVersion {
                    path: path.to_owned(),
                    found: FORMAT_VERSION + 1,
                    supported: FORMAT_VERSION,
                });
            }
        }
        Ok(())
    }
}

/// The first four bytes as a little-endian number.
fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The kind of `file` by its first bytes, for the end of a message.
fn found_instead(file: &[u8]) -> String {
    // A copy: mapped bytes may vanish.
    let start = file[..file.len().min(LOOK_BYTES)].to_vec();
    looks_like(&start).map_or_else(String::new, |name| format!("; found {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a section table are the format: if a release of rkyv changed them, every file
    /// ever written would be lost. Written once, kept for ever.
    #[test]
    fn section_table_bytes_are_pinned() {
        let footer = Footer {
            data_bytes: 8192,
            checks_crc: 0x0102_0304,
            sections: vec![
                Section::new(SectionKind::Meta, true, 0, 5),
                Section::new(SectionKind::Attributes, false, 4096, 4096),
            ],
        };
        let bytes = footer.encode(FileKind::Model).unwrap();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            concat!(
                "0100000003000000",                 // version 1, a model
                "0100000001000000",                 // meta, required
                "00000000000000000500000000000000", // at 0, 5 bytes
                "0d00000000000000",                 // attributes, optional
                "00100000000000000010000000000000", // at 4096, 4096 bytes
                "0020000000000000",                 // 8192 bytes of data
                "04030201",                         // CRC of the table of checksums
                "c4ffffff02000000",                 // two sections, 60 bytes back
                "00000000",                         // padding to 8 bytes
                "50000000",                         // the body has 80 bytes
                "bfc9569b",                         // CRC of body and length
                "4f43454c4c490d0a",                 // OCELLI\r\n
            )
        );
    }

    #[test]
    fn numbers_are_unique_and_come_back() {
        for (i, a) in SectionKind::ALL.iter().enumerate() {
            assert_eq!(SectionKind::from_number(a.number()), Some(*a));
            assert!(SectionKind::ALL[i + 1..].iter().all(|b| b.number() != a.number()));
        }
    }
}

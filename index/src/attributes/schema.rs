//! Columns: their names and types.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::named::named;

/// Longest name of a column in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most columns of an index.
pub const MAX_COLUMNS: usize = 256;

/// The columns that Ocelli itself fills.
pub mod names {
    /// Size of the image file.
    pub const BYTES: &str = "bytes";
    /// Capture time by the image's EXIF, in milliseconds since 1970; where the photo names no time
    /// zone, its clock is read as UTC.
    pub const CAPTURED_MS: &str = "captured_ms";
    /// The time zone that the photo names, `+02:00`.
    pub const CAPTURED_ZONE: &str = "captured_zone";
    /// Stored height in pixels.
    pub const HEIGHT: &str = "height";
    /// Modification time of the image file in milliseconds since 1970.
    pub const MODIFIED_MS: &str = "modified_ms";
    /// Perceptual hash of 64 bits.
    pub const PHASH: &str = "phash";
    /// The part of the image that was encoded, `[x0, y0, x1, y1]` in stored pixels; null where it
    /// is the whole.
    pub const PIXEL_BOX: &str = "pixel_box";
    /// SHA-256 of the decoded pixels; of a part, of its own.
    pub const PIXELS_SHA256: &str = "pixels_sha256";
    /// SHA-256 of the image file.
    pub const SHA256: &str = "sha256";
    /// Stored width in pixels, before any rotation.
    pub const WIDTH: &str = "width";
}

/// Names that a record holds in one byte, in the order of their codes, which never change. Code 0
/// says that the name follows.
pub(super) const CODED: [&str; 9] = [
    names::BYTES,
    names::CAPTURED_MS,
    names::CAPTURED_ZONE,
    names::HEIGHT,
    names::MODIFIED_MS,
    names::PHASH,
    names::PIXELS_SHA256,
    names::SHA256,
    names::WIDTH,
];

/// Words of the predicate language, which are no names.
const RESERVED: [&str; 8] = ["and", "or", "not", "in", "is", "null", "between", "like"];

named! {
    /// The type of a column.
    ColumnType, "column type" {
        /// Whole numbers from -2⁶³ to 2⁶³ - 1.
        Int64 = "int64",
        /// Numbers in double precision, none of them NaN.
        Float64 = "float64",
        /// True or false.
        Bool = "bool",
        /// UTF-8 text.
        String = "string",
        /// Eight bytes, a short hash.
        Bytes8 = "bytes8",
        /// Thirty-two bytes, a hash.
        Bytes32 = "bytes32",
    }
}

impl ColumnType {
    /// All types.
    pub const ALL: [Self; 6] =
        [Self::Int64, Self::Float64, Self::Bool, Self::String, Self::Bytes8, Self::Bytes32];

    /// The number in files, from 1.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Int64 => 1,
            Self::Float64 => 2,
            Self::Bool => 3,
            Self::String => 4,
            Self::Bytes8 => 5,
            Self::Bytes32 => 6,
        }
    }

    /// The type of a number, if this version knows it.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.number() == number)
    }

    /// Bytes of a value of fixed bytes.
    pub(super) fn fixed(self) -> Option<usize> {
        match self {
            Self::Bytes8 => Some(8),
            Self::Bytes32 => Some(32),
            _ => None,
        }
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The column's name ([`check_name`]).
    pub name: String,
    /// The type of its values.
    #[serde(rename = "type")]
    pub ty: ColumnType,
}

/// Refuses what is no name of a column: 1 to [`MAX_NAME_BYTES`] ASCII letters, digits and `_`, no
/// digit first, and no word of the predicate language.
///
/// # Errors
/// [`Error::Invalid`] with the name.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let sound = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && !name.as_bytes()[0].is_ascii_digit();
    let shown: String = name.chars().take(80).collect();
    if !sound {
        return Err(Error::invalid(format!(
            "column {shown:?}: expected a name of 1 to {MAX_NAME_BYTES} ASCII letters, digits and \
             _, no digit first"
        )));
    }
    let taken = |word: &&&str| name.eq_ignore_ascii_case(word);
    let mut words = RESERVED.iter().chain(&["true", "false"]);
    match words.find(taken) {
        Some(word) => Err(Error::invalid(format!(
            "column {shown:?}: {word} is a word of the filter language, expected another name"
        ))),
        None => Ok(()),
    }
}

/// Columns in an order, no two of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Column>", into = "Vec<Column>")]
pub struct Schema {
    columns: Vec<Column>,
}

impl TryFrom<Vec<Column>> for Schema {
    type Error = Error;

    fn try_from(columns: Vec<Column>) -> Result<Self> {
        let mut schema = Self::default();
        for column in columns {
            if schema.find(&column.name).is_some() {
                return Err(Error::invalid(format!("column {:?} is there twice", column.name)));
            }
            schema.add(column)?;
        }
        Ok(schema)
    }
}

impl From<Schema> for Vec<Column> {
    fn from(schema: Schema) -> Self {
        schema.columns
    }
}

impl Schema {
    /// The columns, in their order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The column of a name.
    pub fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column that a user means: one of this name, or a time in milliseconds that is named
    /// without its unit, `captured`.
    pub fn meant(&self, name: &str) -> Option<&Column> {
        self.find(name).or_else(|| self.find(&format!("{name}_ms")))
    }

    /// The columns of these names, in their order and each once; `*`, which may be there once,
    /// stands for all, by name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no column has, with the columns that there are, and for a
    /// second `*`.
    pub fn select(&self, names: &[String]) -> Result<Vec<Column>> {
        let mut chosen: Vec<Column> = Vec::new();
        let (mut known, mut all_asked) = (HashSet::new(), false);
        let mut choose = |column: &Column| {
            if known.insert(column.name.clone()) {
                chosen.push(column.clone());
            }
        };
        for name in names {
            if name == "*" {
                if std::mem::replace(&mut all_asked, true) {
                    return Err(Error::invalid("columns: `*` is there twice, expected once"));
                }
                let mut all: Vec<&Column> = self.columns.iter().collect();
                all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                all.into_iter().for_each(&mut choose);
                continue;
            }
            let shown: String = name.chars().take(80).collect();
            choose(self.meant(name).ok_or_else(|| {
                Error::invalid(format!(
                    "there is no column {shown:?}; expected `*` or some of: {}",
                    self.describe()
                ))
            })?);
        }
        Ok(chosen)
    }

    /// Adds a column at the end, unless it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name, a column of this name that has another type, and for more
    /// than [`MAX_COLUMNS`] columns.
    pub fn add(&mut self, column: Column) -> Result<()> {
        if let Some(found) = self.find(&column.name) {
            if found.ty == column.ty {
                return Ok(());
            }
            return Err(Error::invalid(format!(
                "column {:?} is {} in one place and {} in another: give one of them another name \
                 or type",
                column.name, found.ty, column.ty
            )));
        }
        check_name(&column.name)?;
        if self.columns.len() >= MAX_COLUMNS {
            return Err(Error::invalid(format!(
                "column {:?}: expected at most {MAX_COLUMNS} columns",
                column.name
            )));
        }
        self.columns.push(column);
        Ok(())
    }

    /// Adds the columns of another schema that are not there yet.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        other.columns.iter().try_for_each(|column| self.add(column.clone()))
    }

    /// The columns for people: `width (int64), camera (string)`.
    pub fn describe(&self) -> String {
        if self.columns.is_empty() {
            return "none".to_owned();
        }
        let one = |column: &Column| format!("{} ({})", column.name, column.ty);
        self.columns.iter().map(one).collect::<Vec<String>>().join(", ")
    }
}

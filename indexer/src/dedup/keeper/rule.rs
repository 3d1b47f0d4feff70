//! Rules, and how they are written.

use std::fmt;
use std::str::FromStr;

use ocelli_index::Schema;
use ocelli_text::quoted;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// Most rules of a policy.
const MAX_RULES: usize = 16;

/// A rule by which one row is kept before another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The photo with the most pixels.
    MostPixels,
    /// The photo with the largest file.
    LargestFile,
    /// The photo with the most bytes for each pixel.
    LeastCompressed,
    /// The photo that was taken first; where the time of capture is not known, the file that was
    /// changed first.
    Oldest,
    /// The row whose key comes first in the order of its bytes.
    FirstKey,
    /// Rows whose key, or whose file, is in this folder.
    Folder(String),
    /// The row with the least value of a column, or the greatest.
    Column {
        /// Name of the column.
        name: String,
        /// Whether the greatest value comes first.
        descending: bool,
    },
}

/// Rules without a value, by their names.
const PLAIN: [(&str, Rule); 5] = [
    ("most-pixels", Rule::MostPixels),
    ("largest-file", Rule::LargestFile),
    ("least-compressed", Rule::LeastCompressed),
    ("oldest", Rule::Oldest),
    ("first-key", Rule::FirstKey),
];

impl fmt::Display for Rule {
    /// The rule as it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "folder={folder}"),
            Self::Column { name, descending: false } => write!(f, "column={name}:asc"),
            Self::Column { name, descending: true } => write!(f, "column={name}:desc"),
            plain => match PLAIN.iter().find(|(_, rule)| rule == plain) {
                Some((name, _)) => f.write_str(name),
                None => Err(fmt::Error),
            },
        }
    }
}

impl FromStr for Rule {
    type Err = Error;

    /// Reads `most-pixels`, `largest-file`, `least-compressed`, `oldest`, `first-key`,
    /// `folder=PREFIX`, `column=NAME`, `column=NAME:asc` or `column=NAME:desc`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, rule)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(rule.clone());
        }
        let refused = |why: &str| Err(Error::Invalid(format!("keep {}: {why}", quoted(text))));
        match text.split_once('=') {
            Some(("folder", folder)) => match folder.trim_end_matches('/') {
                "" => refused("expected the name of a folder after `folder=`"),
                folder => Ok(Self::Folder(folder.to_owned())),
            },
            Some(("column", column)) => {
                let (name, direction) = column.split_once(':').unwrap_or((column, "asc"));
                let descending = match direction {
                    "asc" => false,
                    "desc" => true,
                    _ => return refused("expected `asc` or `desc` after the column's name"),
                };
                match ocelli_index::attributes::check_name(name) {
                    Ok(()) => Ok(Self::Column { name: name.to_owned(), descending }),
                    Err(why) => refused(&why.to_string()),
                }
            }
            _ => {
                let names: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).collect();
                let near = names.iter().copied().max_by(|a, b| {
                    strsim::jaro_winkler(a, text).total_cmp(&strsim::jaro_winkler(b, text))
                });
                let near = near.filter(|near| strsim::jaro_winkler(near, text) > 0.8);
                let meant = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                refused(&format!(
                    "expected {}, folder=PREFIX, column=NAME:asc or column=NAME:desc{meant}",
                    names.join(", ")
                ))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Rules in the order in which they decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Default for Policy {
    /// Most pixels, then the largest file, then the oldest, then the first key.
    fn default() -> Self {
        let rules = [Rule::MostPixels, Rule::LargestFile, Rule::Oldest, Rule::FirstKey];
        Self { rules: rules.to_vec() }
    }
}

impl Policy {
    /// The policy of these rules; without one, that of [`Policy::default`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a rule that is there twice, and for too many.
    pub fn new(rules: Vec<Rule>) -> Result<Self> {
        if rules.is_empty() {
            return Ok(Self::default());
        }
        if rules.len() > MAX_RULES {
            let found = rules.len();
            return Err(Error::Invalid(format!(
                "keep: expected at most {MAX_RULES} rules, found {found}"
            )));
        }
        for (at, rule) in rules.iter().enumerate() {
            let is_again = |other: &Rule| match (rule, other) {
                (Rule::Column { name: a, .. }, Rule::Column { name: b, .. }) => a == b,
                _ => rule == other,
            };
            if rules[..at].iter().any(is_again) {
                let rule = quoted(&rule.to_string());
                return Err(Error::Invalid(format!(
                    "keep {rule}: an earlier rule has decided this, so it would never act"
                )));
            }
        }
        Ok(Self { rules })
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Names of the columns that the rules read, as the schema has them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a column that the schema lacks, with those that it has.
    pub fn columns(&self, schema: &Schema) -> Result<Vec<String>> {
        let mut columns = Vec::new();
        for rule in &self.rules {
            let Rule::Column { name, .. } = rule else { continue };
            let column = schema.meant(name).ok_or_else(|| {
                Error::Invalid(format!(
                    "keep {}: the index has no such column; its columns: {}",
                    quoted(&rule.to_string()),
                    schema.describe()
                ))
            })?;
            columns.push(column.name.clone());
        }
        Ok(columns)
    }
}

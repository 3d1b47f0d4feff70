//! Where a name of a data set is written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a file of ground truth, for errors: `gt/hall_1_good.txt:3`, or
/// `gnd_roxford5k.pkl: gnd[3].easy[17]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file. For a name that no file holds (a photo of a directory) this is the directory.
    pub file: Arc<Path>,
    /// The place in it.
    pub at: At,
}

/// A place within a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The file as a whole.
    Whole,
    /// A line, from 1.
    Line(u32),
    /// An entry of a list, or of a dictionary, in a file without lines: the list's name as the file
    /// has it, and the entry's number, from 0.
    Item(&'static str, u32),
    /// A query's list in a file without lines (JSON, pickles, MATLAB): the list's name as the
    /// file has it, the query's number and the entry's number in the list, both from 0.
    Entry(&'static str, u32, u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.at {
            At::Whole => write!(f, "{file}"),
            At::Line(line) => write!(f, "{file}:{line}"),
            At::Item(list, entry) => write!(f, "{file}: {list}[{entry}]"),
            At::Entry(list, query, entry) => write!(f, "{file}: query {query}, {list}[{entry}]"),
        }
    }
}

/// A photo's name and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name, as the file has it.
    pub name: Arc<str>,
    /// The place of the name.
    pub place: Place,
}

impl Named {
    /// A name at a place.
    pub fn new(name: impl Into<Arc<str>>, place: Place) -> Self {
        Self { name: name.into(), place }
    }
}

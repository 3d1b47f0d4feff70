//! A list and the names in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocelli_index::Error as IndexError;

use crate::error::Result;
use crate::list::{Entry, List};

/// A list that is cleaned.
#[derive(Clone, Debug)]
pub struct Source {
    /// The list.
    pub list: List,
    /// The list's file, from the root of the file system.
    pub path: PathBuf,
}

/// The photos of a class that are cleaned.
#[derive(Clone, Debug)]
pub struct Class<'a> {
    /// The name.
    pub name: &'a str,
    /// Places in the list, ascending.
    pub places: Vec<usize>,
    /// The entries at those places.
    pub entries: Vec<&'a Entry>,
}

impl Source {
    /// Reads a list.
    ///
    /// # Errors
    /// Those of [`List::read`].
    pub fn read(path: &Path) -> Result<Source> {
        let path = std::path::absolute(path).map_err(|e| IndexError::io(path, "find", e))?;
        Ok(Source { list: List::read(&path)?, path })
    }

    /// The folder that relative paths of the list begin at.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The path of an entry as the list has it: from the list's folder, or from the root. A file
    /// that it has both ways is one from the root.
    #[must_use]
    pub fn name<'a>(&self, entry: &'a Entry) -> &'a Path {
        match self.list.absolute.contains(&entry.path) {
            true => &entry.path,
            false => entry.path.strip_prefix(self.folder()).unwrap_or(&entry.path),
        }
    }

    /// The classes that have photos in one of the splits, by name, with those photos.
    #[must_use]
    pub fn classes(&self, splits: &[String]) -> Vec<Class<'_>> {
        let mut of_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, entry) in self.list.entries.iter().enumerate() {
            let split = entry.split();
            if splits.iter().any(|wanted| wanted == split) {
                of_class.entry(entry.class).or_default().push(place);
            }
        }
        let class = |(class, places): (u32, Vec<usize>)| {
            let name = self.list.classes.get(class as usize)?;
            let entries = places.iter().filter_map(|&at| self.list.entries.get(at)).collect();
            Some(Class { name, places, entries })
        };
        of_class.into_iter().filter_map(class).collect()
    }
}

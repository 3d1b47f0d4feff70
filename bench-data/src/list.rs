//! Lists of photos: files of some folders, chosen by seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::draw::{Draw, Purpose};
use crate::error::{Error, Result};
use crate::set::replace;
use crate::source;

/// A choice of photos; arguments of `ocelli-bench-data list`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListOptions {
    /// Folders to search, with all below them; links are followed.
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub photos: Vec<PathBuf>,
    /// Keys are relative to this folder; all photos lie below it.
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// Choose this many, or all if there are fewer; all if not given.
    #[arg(long, value_name = "N")]
    pub take: Option<u64>,
    /// Another seed chooses others; fewer of the same seed are a subset of more.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Facts of a list that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListSummary {
    /// The list file.
    pub path: PathBuf,
    /// Photos found in the folders.
    pub found: u64,
    /// Photos in the list.
    pub chosen: u64,
    /// Files passed over because their name is not UTF-8 and so cannot be a key.
    pub unnamable: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    key: &'a str,
}

/// Writes a list file to `out`: one JSON object `{"path": …, "key": …}` a line, sorted by key.
///
/// `key` is the path relative to the root, separated by '/'. `path` is relative to the list file's
/// folder where the photo lies below it, so that list and photos can move together; absolute
/// otherwise. The choice depends on keys, seed and number only, not on the order in which the
/// system lists a folder.
///
/// # Errors
/// [`Error::Invalid`] for a folder outside the root or without photos, [`Error::Io`] if the system
/// refuses; an existing `out` is replaced only by a complete list.
pub fn write_list(out: &Path, options: &ListOptions) -> Result<ListSummary> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("resolve", path));
    let (root, out) = (absolute(&options.root)?, absolute(out)?);
    let Some(home) = out.parent() else {
        return Err(Error::invalid(format!("{}: expected the name of a file", out.display())));
    };
    let mut files = BTreeMap::new();
    let mut unnamable = 0;
    for folder in &options.photos {
        let folder = absolute(folder)?;
        if !folder.starts_with(&root) {
            return Err(Error::invalid(format!(
                "{}: expected a folder below the root {}",
                folder.display(),
                root.display()
            )));
        }
        unnamable += collect(&folder, &root, &mut files)?;
    }
    if files.is_empty() {
        let folders: Vec<String> =
            options.photos.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::invalid(format!("{}: expected photos, found none", folders.join(", "))));
    }
    let found = files.len() as u64;
    let mut keys: Vec<&String> = files.keys().collect();
    if let Some(take) = options.take {
        Draw::new(options.seed, Purpose::List, 0, 0).shuffle(&mut keys);
        keys.truncate(usize::try_from(take).unwrap_or(usize::MAX));
        keys.sort();
    }
    let mut text = Vec::new();
    for key in &keys {
        let path = &files[*key];
        let shown = path.strip_prefix(home).unwrap_or(path);
        let Some(path) = shown.to_str() else {
            return Err(Error::invalid(format!("{}: expected a path in UTF-8", shown.display())));
        };
        serde_json::to_writer(&mut text, &Line { path, key })
            .map_err(|error| Error::invalid(format!("{key}: {error}")))?;
        text.push(b'\n');
    }
    replace(&out, &text)?;
    Ok(ListSummary { path: out.clone(), found, chosen: keys.len() as u64, unnamable })
}

fn collect(folder: &Path, root: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<u64> {
    let mut unnamable = 0;
    for path in source::photos(folder)? {
        let parts: Option<Vec<&str>> =
            path.strip_prefix(root).unwrap_or(&path).iter().map(|part| part.to_str()).collect();
        match parts {
            Some(parts) => {
                files.insert(parts.join("/"), path.clone());
            }
            None => unnamable += 1,
        }
    }
    Ok(unnamable)
}

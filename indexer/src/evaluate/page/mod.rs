//! A page of pictures: what the queries of a run found, for people.
//!
//! One HTML file that needs no other and no script: thumbnails are inside of it. For each query a
//! row shows the query, then the first [`HITS`] images in frames of their judgement's colour, and
//! below it the positives that are not among them.

mod choice;
mod content;
mod html;
#[cfg(test)]
mod tests;
mod thumbnails;

use std::path::{Path, PathBuf};

use ocelli_index::container::AtomicFile;
use serde::Serialize;

pub use choice::{PageChoice, PageQueries};
pub use content::{PageHead, PageHit, PageQuery};
use thumbnails::Thumbnails;

use crate::Result;

/// Images of a query's row.
pub const HITS: usize = 20;

/// Result of [`write_page`].
#[derive(Clone, Debug, Serialize)]
pub struct PageReport {
    /// The page.
    pub path: PathBuf,
    /// Queries on it.
    pub queries: usize,
    /// Photos on it, each counted once.
    pub photos: usize,
    /// Those of them that could not be read; a grey box says why.
    pub unreadable: usize,
    /// Size of the page.
    pub bytes: u64,
}

/// Writes a page of `queries`, in their order, to `path`, which gets its name when it is complete.
///
/// Every photo is decoded once, by several threads; 8 decoded photos are in memory at most, and all
/// thumbnails (a few kilobytes each).
///
/// # Errors
/// Those of writing. A photo that cannot be read is none.
pub fn write_page(path: &Path, head: &PageHead, queries: &[PageQuery]) -> Result<PageReport> {
    let mut file = AtomicFile::create(path)?;
    let thumbnails = Thumbnails::make(queries)?;
    let mut bytes = 0;
    let mut append = |text: &str| {
        bytes += text.len() as u64;
        file.append(text.as_bytes())
    };
    append(&html::start(head, queries.len()))?;
    for query in queries {
        append(&html::query(head, query, &thumbnails))?;
    }
    append(html::END)?;
    file.publish()?;
    Ok(PageReport {
        path: path.to_owned(),
        queries: queries.len(),
        photos: thumbnails.photos(),
        unreadable: thumbnails.unreadable(),
        bytes,
    })
}

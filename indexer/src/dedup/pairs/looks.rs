//! Looks at the pictures of pairs: of each row, at those of the nearest ones.
//!
//! A look takes milliseconds, and near pairs are many: of a collection of one town's sights, 1 in
//! 100 of all pairs. So a pair is looked at if it is among the nearest of either of its rows, and
//! looks are linear in the rows. What clusters ask for beside is looked at then.
//!
//! Looks are kept in files, some thousand to a file: a run that was stopped goes on with the next.

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::attributes::names;
use ocelli_index::{Column, Value};

use super::edge_file::{self, WORDS, to_words};
use super::opinion::{Look, Question, SecondOpinion, Side};
use super::row_set::RowSet;
use crate::dedup::edge::{Edge, Label, RowNumber, ScoredBy};
use crate::dedup::rows::Edges;
use crate::least::ordered;
use crate::sort::{SortMemory, Sorter};
use crate::{Error, Progress, ProgressFn, Result};

/// Pairs of a file.
const CHUNK: usize = 4096;
/// The file of all looks, and how the names of others begin.
const LOOKS: &str = "looks";

/// Whoever asks for a second opinion on pairs.
pub(super) struct Looker<'a> {
    rows: &'a RowSet,
    /// The columns of sizes of files, of times of change, of hashes, and of boxes, if the index has
    /// them.
    file: [Option<Column>; 4],
    opinion: &'a dyn SecondOpinion,
}

impl<'a> Looker<'a> {
    /// # Errors
    /// Shards that disagree about columns.
    pub(super) fn new(rows: &'a RowSet, opinion: &'a dyn SecondOpinion) -> Result<Self> {
        let schema = rows.all().schema()?;
        let file = [names::BYTES, names::MODIFIED_MS, names::SHA256, names::PIXEL_BOX]
            .map(|name| schema.find(name).cloned());
        Ok(Self { rows, file, opinion })
    }

    /// What is known of a row's file.
    fn side(&self, row: RowNumber) -> Result<Side> {
        let (all, place) = (self.rows.all(), self.rows.row(row));
        let columns: Vec<Column> = self.file.iter().flatten().cloned().collect();
        let values = all.values(&[place], &columns).pop().transpose()?.unwrap_or_default();
        let mut values = values.into_iter();
        let mut next =
            |column: &Option<Column>| column.as_ref().and_then(|_| values.next()).flatten();
        let number = |value: Option<Value>| match value {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        };
        let bytes = number(next(&self.file[0])).and_then(|bytes| bytes.try_into().ok());
        let modified_ms = number(next(&self.file[1]));
        let sha256 = match next(&self.file[2]) {
            Some(Value::Bytes32(hash)) => Some(hash),
            _ => None,
        };
        let is_part = next(&self.file[3]).is_some();
        let index = usize::from(row >= self.rows.own_count());
        Ok(Side { row, index, key: all.key(place)?, bytes, modified_ms, sha256, is_part })
    }

    /// Gives edges the labels that a look at their pictures says. Parts of photos are not looked
    /// at.
    ///
    /// # Errors
    /// Damaged files; those of the second opinion.
    pub(super) fn look(&self, edges: &mut [Edge]) -> Result<Looked> {
        let (mut questions, mut asked) = (Vec::with_capacity(edges.len()), Vec::new());
        for edge in edges.iter_mut() {
            let &mut Edge { a, b, phash_distance, .. } = edge;
            let (a, b) = (self.side(a)?, self.side(b)?);
            if !a.is_part && !b.is_part {
                questions.push(Question { a, b, phash_distance });
                asked.push(edge);
            }
        }
        let mut counts = Looked::default();
        for (edge, look) in asked.into_iter().zip(self.opinion.agreement(&questions)?) {
            counts.looked_at += u64::from(look != Look::Unseen);
            match look {
                Look::Unseen => counts.unseen += 1,
                Look::Flat => edge.label = Label::Near,
                Look::Agreement(share) => {
                    edge.agreement = Some(share);
                    // Either makes a copy: what is blurred or compressed beyond comparison may
                    // still have its hash.
                    if share >= self.opinion.copies_from() {
                        edge.label = Label::Copy;
                    }
                }
            }
        }
        Ok(counts)
    }
}

/// Pairs that were to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// Pairs that were looked at.
    pub(super) looked_at: u64,
    /// Pairs of which a picture was not there, or not as it was.
    pub(super) unseen: u64,
}

/// The pairs to look at, in order: the `most` nearest edges of each row.
fn nearest(
    edges: &dyn Edges,
    most: usize,
    memory: Option<&SortMemory>,
) -> Result<Sorter<[u64; 2]>> {
    let half = memory.map(|m| SortMemory { bytes: m.bytes / 2, folder: m.folder.clone() });
    let mut sides = Sorter::<[u64; 3]>::new(half.clone());
    edges.each(&mut |edge| {
        if edge.scored_by == ScoredBy::Hash {
            return Ok(());
        }
        // The nearest first.
        let rank = !ordered(edge.score.into());
        sides.push([edge.a, rank, edge.b])?;
        sides.push([edge.b, rank, edge.a])
    })?;
    let mut pairs = Sorter::new(half);
    let (mut sides, mut row, mut taken) = (sides.finish()?, None, 0);
    while let Some([one, _, other]) = sides.next()? {
        if row.replace(one) != Some(one) {
            taken = 0;
        }
        taken += 1;
        if taken <= most {
            pairs.push([one.min(other), one.max(other)])?;
        }
    }
    Ok(pairs)
}

/// Looks at the `most` nearest pairs of each row, and leaves the edges in a file in `folder`.
///
/// Files of pairs that could not all be looked at are not taken again after a stop: the photos may
/// be there by then.
///
/// # Errors
/// Those of the edges and of the looks; a full disk.
pub(super) fn look_at(
    edges: &dyn Edges,
    looker: &Looker<'_>,
    most: usize,
    (folder, memory): (&Path, Option<SortMemory>),
    (pool, progress): (&rayon::ThreadPool, ProgressFn<'_>),
) -> Result<(PathBuf, Looked)> {
    let mut pairs = nearest(edges, most, memory.as_ref())?.finish()?;
    let half = memory.map(|m| SortMemory { bytes: m.bytes / 2, folder: m.folder });
    let mut wanted: Sorter<[u64; WORDS]> = Sorter::new(half);
    let (mut next, mut total) = (pairs.next()?, 0);
    edges.each(&mut |edge| {
        if next != Some([edge.a, edge.b]) {
            return Ok(());
        }
        // A pair may be among the nearest of both.
        while next == Some([edge.a, edge.b]) {
            next = pairs.next()?;
        }
        total += 1;
        wanted.push(to_words(edge))
    })?;
    drop(pairs);
    let mut wanted = wanted.finish()?;
    let (mut chunk, mut done, mut files) = (Vec::with_capacity(CHUNK), 0, Vec::new());
    let mut counts = Looked::default();
    loop {
        chunk.clear();
        while chunk.len() < CHUNK
            && let Some(words) = wanted.next()?
        {
            chunk.extend(edge_file::from_words(words));
        }
        if chunk.is_empty() {
            break;
        }
        progress(Progress { stage: "looks", done, total });
        let number = files.len();
        let (path, of_chunk) =
            chunk_file(folder, number, &mut chunk, |edges| pool.install(|| looker.look(edges)))?;
        counts.looked_at += of_chunk.looked_at;
        counts.unseen += of_chunk.unseen;
        done += chunk.len() as u64;
        files.push(path);
    }
    progress(Progress { stage: "looks", done, total });
    let path = folder.join(LOOKS);
    joined(&files, &path)?;
    Ok((path, counts))
}

/// The file of a chunk, and what it counts: one of an earlier run, or one that is made now.
fn chunk_file(
    folder: &Path,
    number: usize,
    chunk: &mut [Edge],
    look: impl FnOnce(&mut [Edge]) -> Result<Looked>,
) -> Result<(PathBuf, Looked)> {
    // The number of pairs that were looked at is part of the name.
    let known = fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten().find_map(|e| {
        let stem = format!("{LOOKS}-{number:06}-");
        let looked_at = e.file_name().to_str()?.strip_prefix(&stem)?.parse().ok()?;
        let is_whole = e.metadata().ok()?.len() == (chunk.len() * 8 * WORDS) as u64;
        is_whole.then_some((e.path(), Looked { looked_at, unseen: 0 }))
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let counts = look(chunk)?;
    let path = match counts.unseen {
        0 => folder.join(format!("{LOOKS}-{number:06}-{}", counts.looked_at)),
        _ => folder.join(format!("{LOOKS}-unseen-{number:06}")),
    };
    let mut looked = chunk.iter().map(to_words);
    edge_file::write(&path, || Ok(looked.next()))?;
    Ok((path, counts))
}

/// Writes the edges of files, which follow each other, to the file at `path`.
fn joined(files: &[PathBuf], path: &Path) -> Result<()> {
    let mut files = files.iter();
    let mut file: Option<edge_file::Edges> = None;
    edge_file::write(path, || {
        loop {
            if let Some(edge) = file.as_mut().map_or(Ok(None), edge_file::Edges::next_edge)? {
                return Ok(Some(to_words(&edge)));
            }
            let Some(path) = files.next() else { return Ok(None) };
            file = Some(edge_file::Edges::open(std::slice::from_ref(path))?);
        }
    })?;
    Ok(())
}

//! The tables of clusters, and the lists of what may be removed.

use std::path::Path;

use ocelli_index::Hash;
use ocelli_index::container::AtomicFile;
use serde::{Deserialize, Serialize};

use super::lines::{ClusterLine, FileLine, StatLine};
use super::removal::{Fate, Files};
use super::sink::{Sink, put_json};
use super::{TableForm, names};
use crate::dedup::clusters::{Clusters, Member};
use crate::dedup::files::Unfit;
use crate::dedup::quarantine::Removal;
use crate::dedup::rows::{Facts, Rows, facts_of};
use crate::{Progress, ProgressFn, Result};

/// Rows whose facts are read together.
const BLOCK_ROWS: u32 = 4096;

/// What becomes of the files of duplicates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Files in the list of removals.
    pub listed: u64,
    /// Bytes of disk space that are free when they are gone.
    pub freed_bytes: u64,
    /// Duplicates whose file is not known.
    pub unnamed: u64,
    /// Duplicates whose file is missing.
    pub missing: u64,
    /// Duplicates whose file was changed since it was encoded.
    pub changed: u64,
    /// Duplicates of a row whose file is not known, missing, or changed.
    pub kept_unfit: u64,
    /// Duplicates where a hash is not known.
    pub no_hash: u64,
    /// Duplicates that are symlinks.
    pub symlinks: u64,
    /// Duplicates that are another name of a file that stays, or of one that is listed.
    pub another_name: u64,
    /// Duplicates that are a part of their photo.
    pub parts: u64,
}

impl FileCounts {
    fn count(&mut self, fate: &Fate) {
        *match fate {
            Fate::Listed(..) => &mut self.listed,
            Fate::Unfit(Unfit::Unnamed) => &mut self.unnamed,
            Fate::Unfit(Unfit::Missing) => &mut self.missing,
            Fate::Unfit(Unfit::Changed) => &mut self.changed,
            Fate::KeptUnfit => &mut self.kept_unfit,
            Fate::NoHash => &mut self.no_hash,
            Fate::Symlink => &mut self.symlinks,
            Fate::AnotherName => &mut self.another_name,
            Fate::Part => &mut self.parts,
        } += 1;
    }
}

/// Result of [`write_clusters`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClustersWritten {
    /// What becomes of the files of duplicates.
    pub files: FileCounts,
    /// Bytes that each cluster frees, by its number.
    pub freed_bytes: Vec<u64>,
}

/// Writes `clusters.parquet`, `cluster_stats.parquet`, `remove_ids.txt` and `remove_files.jsonl`.
///
/// # Errors
/// Those of reading and writing. A file that is missing is none.
pub fn write_clusters(
    out: &Path,
    rows: &dyn Rows,
    clusters: &Clusters,
    forms: &[TableForm],
    progress: ProgressFn<'_>,
) -> Result<ClustersWritten> {
    let mut writer = Writer {
        rows,
        clusters,
        lines: Sink::create(out, names::CLUSTERS, forms)?,
        stats: Sink::create(out, names::STATS, forms)?,
        ids: AtomicFile::create(&out.join(names::REMOVE_IDS))?,
        files: AtomicFile::create(&out.join(names::REMOVE_FILES))?,
        path: out.join(names::REMOVE_FILES),
        counts: FileCounts::default(),
        freed_bytes: Vec::new(),
    };
    let total = clusters.counts().clustered;
    let (mut number, mut done) = (0, 0);
    while number < clusters.len() {
        let first = number;
        let mut size = 0;
        while number < clusters.len() && (size == 0 || size + clusters.size(number) <= BLOCK_ROWS) {
            size += clusters.size(number);
            number += 1;
        }
        match number - first {
            1 => writer.one(first)?,
            _ => writer.several(first, number)?,
        }
        done += u64::from(size);
        progress(Progress { stage: "clusters", done, total });
    }
    let Writer { lines, stats, ids, files, counts, freed_bytes, .. } = writer;
    lines.finish()?;
    stats.finish()?;
    ids.publish()?;
    files.publish()?;
    Ok(ClustersWritten { files: counts, freed_bytes })
}

/// A cluster whose members pass by.
struct Passing {
    number: u32,
    representative: u64,
    duplicates: u32,
    files: Files,
}

struct Writer<'a> {
    rows: &'a dyn Rows,
    clusters: &'a Clusters,
    lines: Sink<ClusterLine>,
    stats: Sink<StatLine>,
    ids: AtomicFile,
    files: AtomicFile,
    path: std::path::PathBuf,
    counts: FileCounts,
    freed_bytes: Vec<u64>,
}

type FactsOf = std::collections::BTreeMap<u64, Facts>;

impl Writer<'_> {
    /// Facts of members and of the rows that they are duplicates of.
    fn facts(&self, members: &[Member]) -> Result<FactsOf> {
        let both = |member: &Member| [member.row, member.duplicate_of.unwrap_or(member.row)];
        facts_of(self.rows, members.iter().flat_map(both))
    }

    /// Writes a cluster, however large it is.
    fn one(&mut self, number: u32) -> Result<()> {
        let mut passing = None;
        for pass in [Self::look as fn(&mut Self, &mut Passing, &[Member], &FactsOf) -> _, Self::put]
        {
            let mut from = 0;
            loop {
                let members = self.clusters.members(number, from, BLOCK_ROWS);
                let Some(first) = members.first() else { break };
                let facts = self.facts(&members)?;
                let start = || Passing::new(number, facts.get(&first.row));
                pass(self, passing.get_or_insert_with(start), &members, &facts)?;
                from += members.len() as u32;
            }
        }
        passing.map_or(Ok(()), |passing| self.end(passing))
    }

    /// Writes several small clusters whose facts are read together.
    fn several(&mut self, first: u32, end: u32) -> Result<()> {
        let members: Vec<Vec<Member>> =
            (first..end).map(|number| self.clusters.members(number, 0, BLOCK_ROWS)).collect();
        let facts = self.facts(&members.concat())?;
        for (number, members) in (first..end).zip(&members) {
            let representative = members.first().and_then(|member| facts.get(&member.row));
            let mut passing = Passing::new(number, representative);
            self.look(&mut passing, members, &facts)?;
            self.put(&mut passing, members, &facts)?;
            self.end(passing)?;
        }
        Ok(())
    }

    /// Notes the files that stay.
    fn look(&mut self, passing: &mut Passing, members: &[Member], facts: &FactsOf) -> Result<()> {
        let kept = members.iter().filter(|member| member.duplicate_of.is_none());
        kept.filter_map(|member| facts.get(&member.row)).for_each(|row| passing.files.keep(row));
        Ok(())
    }

    fn put(&mut self, passing: &mut Passing, members: &[Member], facts: &FactsOf) -> Result<()> {
        for member in members {
            let Some(own) = facts.get(&member.row) else { continue };
            let kept = member.duplicate_of.and_then(|row| facts.get(&row));
            self.lines.push(ClusterLine {
                id: own.id,
                key: own.key.clone(),
                cluster: passing.number,
                representative: passing.representative,
                similarity: member.similarity,
                label: member.label,
                keep: kept.is_none(),
                duplicate_of: kept.map(|kept| kept.id),
                old: self.rows.is_old(member.row),
            })?;
            if let Some(kept) = kept {
                passing.duplicates += 1;
                self.put_file(passing, own, kept)?;
            }
        }
        Ok(())
    }

    /// Decides on the file of a duplicate, and lists it.
    fn put_file(&mut self, passing: &mut Passing, own: &Facts, kept: &Facts) -> Result<()> {
        let fate = passing.files.decide(own, kept);
        self.counts.count(&fate);
        // Whose kept file is gone may be the last of its picture.
        if fate != Fate::KeptUnfit {
            self.ids.append(format!("{}\n", own.id).as_bytes())?;
        }
        let Fate::Listed(found, stays) = fate else { return Ok(()) };
        // Without both hashes it would not be listed.
        let (Some(sha256), Some(kept_sha256)) = (own.sha256, kept.sha256) else { return Ok(()) };
        let removal = Removal {
            path: found.place,
            sha256: Hash::from_bytes(sha256),
            bytes: found.bytes,
            kept: stays.place,
            kept_sha256: Hash::from_bytes(kept_sha256),
        };
        let (id, kept_id, cluster) = (own.id, kept.id, passing.number);
        let line = FileLine { removal, id, kept_id, cluster };
        put_json(&mut self.files, &self.path, &line)
    }

    fn end(&mut self, passing: Passing) -> Result<()> {
        let (weakest_edge, weakest_similarity) = self.clusters.weakest(passing.number);
        let freed_bytes = passing.files.freed_bytes();
        self.counts.freed_bytes += freed_bytes;
        self.freed_bytes.push(freed_bytes);
        self.stats.push(StatLine {
            cluster: passing.number,
            representative: passing.representative,
            rows: self.clusters.size(passing.number),
            duplicates: passing.duplicates,
            weakest_edge,
            weakest_similarity,
            freed_bytes,
        })
    }
}

impl Passing {
    fn new(number: u32, representative: Option<&Facts>) -> Self {
        let representative = representative.map_or(0, |facts| facts.id);
        Self { number, representative, duplicates: 0, files: Files::default() }
    }
}

//! Which files of duplicates may go, and what their going frees.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::dedup::files::{Found, Inode, Unfit, look};
use crate::dedup::rows::Facts;

/// What becomes of the file of a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Listed to go: the file, and the one that stays.
    Listed(Found, Found),
    /// The file cannot be relied on.
    Unfit(Unfit),
    /// The file that would stay cannot be relied on.
    KeptUnfit,
    /// The hash of one of the two is not known, so nobody could look at it again before it goes.
    NoHash,
    /// A symlink: it holds no bytes.
    Symlink,
    /// Another name of a file that stays, or that is listed already under this name.
    AnotherName,
    /// The row is a part of its photo: the file has more than the duplicate.
    Part,
}

/// The files of one cluster.
#[derive(Default)]
pub(super) struct Files {
    /// Files of kept rows.
    kept: HashSet<Inode>,
    /// Listed files: names that they have, their size, and those of them that are listed.
    listed: HashMap<Inode, (u64, u64, HashSet<PathBuf>)>,
}

impl Files {
    /// Notes the file of a row that stays. A file that has changed is noted as well.
    pub(super) fn keep(&mut self, facts: &Facts) {
        let unknown = Facts { bytes: None, modified_ms: None, ..facts.clone() };
        if let Ok(found) = look(&unknown) {
            self.kept.insert(found.inode);
        }
    }

    /// Decides on the file of a duplicate, after all of the cluster's kept rows are noted.
    pub(super) fn decide(&mut self, facts: &Facts, kept: &Facts) -> Fate {
        let found = match look(facts) {
            Ok(found) => found,
            Err(unfit) => return Fate::Unfit(unfit),
        };
        if found.is_symlink {
            return Fate::Symlink;
        }
        if self.kept.contains(&found.inode) {
            return Fate::AnotherName;
        }
        let Ok(stays) = look(kept) else { return Fate::KeptUnfit };
        if facts.is_part {
            return Fate::Part;
        }
        if facts.sha256.is_none() || kept.sha256.is_none() {
            return Fate::NoHash;
        }
        let fresh = (found.links, found.bytes, HashSet::new());
        let (.., places) = self.listed.entry(found.inode).or_insert(fresh);
        if !places.insert(found.place.clone()) {
            return Fate::AnotherName;
        }
        Fate::Listed(found, stays)
    }

    /// Bytes that are free when the listed files are gone: those of files of which no name is left.
    pub(super) fn freed_bytes(&self) -> u64 {
        let gone = self.listed.values().filter(|(links, _, places)| places.len() as u64 >= *links);
        gone.map(|(_, bytes, _)| bytes).sum()
    }
}

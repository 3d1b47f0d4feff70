//! The files of generations in a chain, and which of them a backup means.
//!
//! An index that was restored from an earlier backup gives numbers again. Such generations are on
//! different branches: branch 0 has those that came into the chain first, and the branch is in the
//! name of the file. So a list needs no hash of its own for each generation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ocelli_index::{Hash, Hasher, LocalStorage, Storage};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The folder of these files.
pub(super) const FOLDER: &str = "generations";
/// Choices that are tried where files were lost and came again on another branch.
const MOST_CHOICES: usize = 1 << 12;
/// Generations of one backup that are believed.
const MOST_GENERATIONS: u64 = 1 << 24;

/// The number of a generation by the name of its file in an index.
pub(in crate::lifecycle::backup) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("generations/")?.strip_suffix(".json")?.parse().ok()
}

/// SHA-256 over hashes, in the order of their numbers.
fn digest_of(hashes: &BTreeMap<u64, Hash>) -> Hash {
    let mut hasher = Hasher::new();
    hashes.values().for_each(|hash| hasher.update(hash.to_string().as_bytes()));
    hasher.finish()
}

/// The generations of a backup, as its list has them. The size does not grow with their number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Consecutive numbers on one branch: first, last, branch.
    runs: Vec<(u64, u64, u32)>,
    /// SHA-256 over the SHA-256 of the files, in the order of their numbers: the proof.
    sha256: Hash,
}

impl Listed {
    /// Generations that the chain has.
    pub(super) fn of(own: &BTreeMap<u64, Hash>, there: &Generations) -> Self {
        let mut runs: Vec<(u64, u64, u32)> = Vec::new();
        for (&number, hash) in own {
            let branch = there.branch(number, hash).unwrap_or(0);
            match runs.last_mut() {
                Some((_, last, on)) if last.checked_add(1) == Some(number) && *on == branch => {
                    *last = number;
                }
                _ => runs.push((number, number, branch)),
            }
        }
        Self { runs, sha256: digest_of(own) }
    }

    /// Checks what is not known from elsewhere.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let ascending = self.runs.iter().all(|(first, last, _)| first <= last)
            && self.runs.windows(2).all(|pair| pair[0].1 < pair[1].0);
        let count = self.runs.iter().map(|(first, last, _)| last.saturating_sub(*first));
        let few = count.fold(0, u64::saturating_add) < MOST_GENERATIONS;
        match ascending && few {
            true => Ok(()),
            false => Err("numbers of generations that do not ascend, or too many".to_owned()),
        }
    }

    /// Numbers, ascending, and the branch of each.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let run = |&(first, last, branch)| (first..=last).map(move |number| (number, branch));
        self.runs.iter().flat_map(run)
    }

    fn branch(&self, number: u64) -> Option<u32> {
        let has = |(first, last, _): &&(u64, u64, u32)| (*first..=*last).contains(&number);
        self.runs.iter().find(has).map(|(_, _, branch)| *branch)
    }

    /// Whether all of these generations are among `own`.
    fn is_of(&self, own: &BTreeMap<u64, Hash>) -> bool {
        let find = |(number, _): (u64, u32)| Some((number, *own.get(&number)?));
        let found: Option<BTreeMap<u64, Hash>> = self.numbers().map(find).collect();
        found.is_some_and(|found| digest_of(&found) == self.sha256)
    }
}

/// The generations that a list means.
pub(super) enum Choice {
    /// The hash over all of them proves them.
    Proven(BTreeMap<u64, Hash>),
    /// The chain has no file of these numbers.
    Lost(Vec<u64>),
    /// The chain has others of the same numbers.
    Others,
}

/// The files of generations that a chain has, by number: branch and SHA-256.
#[derive(Debug, Default)]
pub(super) struct Generations {
    files: BTreeMap<u64, Vec<(u32, Hash)>>,
}

impl Generations {
    /// The generations of the chain at `root`.
    pub(super) fn list(root: &Path) -> Result<Self> {
        let mut found = Self::default();
        for name in LocalStorage::new(root).list(FOLDER)? {
            let parse = |name: &str| {
                let mut parts = name.strip_suffix(".json.gz")?.splitn(3, '-');
                let number = parts.next()?.parse().ok()?;
                let branch = parts.next()?.parse().ok()?;
                Some((number, branch, parts.next()?.parse().ok()?))
            };
            if let Some((number, branch, hash)) = parse(&name) {
                found.add(number, branch, hash);
            }
        }
        Ok(found)
    }

    /// The name of a file, below the chain.
    pub(super) fn name(number: u64, branch: u32, hash: &Hash) -> String {
        format!("{FOLDER}/{number}-{branch}-{hash}.json.gz")
    }

    fn add(&mut self, number: u64, branch: u32, hash: Hash) {
        self.files.entry(number).or_default().push((branch, hash));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The branch of a generation.
    pub(super) fn branch(&self, number: u64, hash: &Hash) -> Option<u32> {
        self.of(number).iter().find(|(_, found)| found == hash).map(|(branch, _)| *branch)
    }

    /// The generations of a number: branch and SHA-256.
    pub(super) fn of(&self, number: u64) -> &[(u32, Hash)] {
        self.files.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Gives a branch to each of the generations of an index that has none yet: the one that a list
    /// of them says, for a file may have been lost; else that of the generation before it; else the
    /// first that is free. A branch that a list of another history has is not free.
    pub(super) fn place(&mut self, own: &BTreeMap<u64, Hash>, lists: &[Listed]) {
        let is_new = |(number, hash): &(&u64, &Hash)| self.branch(**number, hash).is_none();
        let new: BTreeSet<u64> = own.iter().filter(is_new).map(|(number, _)| *number).collect();
        let lists: Vec<(&Listed, bool)> = lists
            .iter()
            .filter(|list| new.iter().any(|number| list.branch(*number).is_some()))
            .map(|list| (list, list.is_of(own)))
            .collect();
        let mut before = 0;
        for (&number, hash) in own {
            if let Some(branch) = self.branch(number, hash) {
                before = branch;
                continue;
            }
            let on = |ours: bool| {
                let lists = lists.iter().filter(move |(_, of_own)| *of_own == ours);
                lists.filter_map(move |(list, _)| list.branch(number))
            };
            let mut taken: BTreeSet<u32> = self.of(number).iter().map(|(b, _)| *b).collect();
            let said = on(true).find(|branch| !taken.contains(branch));
            taken.extend(on(false));
            let mut free = [before].into_iter().chain(0..);
            let branch = said.or_else(|| free.find(|branch| !taken.contains(branch)));
            before = branch.unwrap_or(before);
            self.add(number, before, *hash);
        }
    }

    /// The generations that a list means.
    pub(super) fn choose(&self, listed: &Listed) -> Choice {
        let mut options: Vec<(u64, Vec<Hash>)> = Vec::new();
        for (number, branch) in listed.numbers() {
            let all = self.of(number);
            let on: Vec<Hash> = all.iter().filter(|(b, _)| *b == branch).map(|(_, h)| *h).collect();
            let others = || all.iter().map(|(_, hash)| *hash).collect();
            options.push((number, if on.is_empty() { others() } else { on }));
        }
        let lost = options.iter().filter(|(_, hashes)| hashes.is_empty());
        let lost: Vec<u64> = lost.map(|(number, _)| *number).collect();
        if !lost.is_empty() {
            return Choice::Lost(lost);
        }
        // One, but where a file was lost or two have one name.
        let choices =
            options.iter().fold(1, |n: usize, (_, hashes)| n.saturating_mul(hashes.len()));
        let choice = |mut n: usize| -> BTreeMap<u64, Hash> {
            let mut one = |(number, hashes): &(u64, Vec<Hash>)| {
                let hash = hashes[n % hashes.len()];
                n /= hashes.len();
                (*number, hash)
            };
            options.iter().map(&mut one).collect()
        };
        let mut choices = (0..choices.min(MOST_CHOICES)).map(choice);
        choices
            .find(|chosen| digest_of(chosen) == listed.sha256)
            .map_or(Choice::Others, Choice::Proven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(numbers: &[(u64, &str)]) -> BTreeMap<u64, Hash> {
        numbers.iter().map(|(number, name)| (*number, Hash::of(name.as_bytes()))).collect()
    }

    fn placed(there: &mut Generations, own: &BTreeMap<u64, Hash>, lists: &[Listed]) -> Listed {
        there.place(own, lists);
        Listed::of(own, there)
    }

    #[test]
    fn numbers_become_runs() {
        let mut there = Generations::default();
        let all = own(&[(1, "a"), (2, "b"), (3, "c"), (9, "d"), (11, "e"), (12, "f")]);
        let listed = placed(&mut there, &all, &[]);
        assert_eq!(listed.runs, [(1, 3, 0), (9, 9, 0), (11, 12, 0)]);
        assert!(matches!(there.choose(&listed), Choice::Proven(found) if found == all));
        let last = own(&[(u64::MAX - 1, "g"), (u64::MAX, "h")]);
        let listed = placed(&mut there, &last, &[]);
        assert_eq!(listed.runs, [(u64::MAX - 1, u64::MAX, 0)]);
        assert!(listed.check().is_ok() && listed.is_of(&last));
        let wrong = [vec![(2, 1, 0)], vec![(1, 3, 0), (3, 4, 0)], vec![(0, u64::MAX, 0)]];
        for runs in wrong {
            assert!(Listed { runs, ..listed.clone() }.check().is_err());
        }
    }

    /// Forty numbers that two histories have are told apart without a search, and also after a file
    /// was lost and came again.
    #[test]
    fn equal_numbers_are_on_branches() {
        let name = |n: u64, history: &str| format!("{history} {n}");
        let history = |history: &str, from: u64, to: u64| -> BTreeMap<u64, Hash> {
            let shared = (1..from).map(|n| (n, Hash::of(name(n, "first").as_bytes())));
            let own = (from..=to).map(|n| (n, Hash::of(name(n, history).as_bytes())));
            shared.chain(own).collect()
        };
        let all = [
            history("first", 1, 60),
            history("second", 21, 70),
            history("third", 11, 65),
            history("first", 1, 80),
        ];
        let mut there = Generations::default();
        let mut lists = Vec::new();
        for own in &all {
            let listed = placed(&mut there, own, &lists);
            assert!(listed.runs.len() <= 3, "{listed:?}");
            lists.push(listed);
        }
        let proven = |there: &Generations| {
            for (own, listed) in all.iter().zip(&lists) {
                assert!(matches!(there.choose(listed), Choice::Proven(found) if found == *own));
            }
        };
        proven(&there);
        // All three of number 30 are lost, and come again in another order.
        there.files.remove(&30);
        assert!(matches!(there.choose(&lists[0]), Choice::Lost(lost) if lost == [30]));
        for n in [2, 1, 0] {
            there.place(&all[n], &lists);
        }
        proven(&there);
        // On whatever branch one comes again, the hash over all tells it.
        let again: Vec<(u32, Hash)> = there.of(30).iter().map(|(b, hash)| (b + 7, *hash)).collect();
        there.files.insert(30, again.clone());
        proven(&there);
        there.files.insert(30, again[..1].to_vec());
        assert!(matches!(there.choose(&lists[0]), Choice::Others));
    }
}

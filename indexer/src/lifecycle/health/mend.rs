//! The commands that mend a directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{Hash, IndexDir};
use serde::Serialize;

use super::loss::{Losses, time_text};
use super::state::{Now, State, generation_path};
use crate::lifecycle::backup::{Backup, known_chains, readable_backups};
use crate::lifecycle::recover::RecoverReport;

/// A command that mends a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The command. Words in capitals stand for what only the user knows.
    pub command: String,
    /// The steps of the command, where it says them only when it is run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The loss that it brings; none if it loses nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
}

impl Remedy {
    fn new(command: String, loses: Option<String>) -> Self {
        Self { command, steps: Vec::new(), loses }
    }
}

/// Knows what a directory can be mended by.
#[derive(Debug)]
pub(super) struct Mender {
    root: PathBuf,
    /// The newest sound generation that the current one was made from; the current one itself where
    /// only CURRENT is lost.
    back: Option<u64>,
    /// The newest sound generation that was rolled back from, or never became current, where there
    /// is no other.
    aside: Option<u64>,
    /// Generations that there are.
    generations: usize,
    losses: Losses,
    /// The current generation, where it can be read.
    current: Option<u64>,
    /// The current generation, as far as CURRENT tells.
    number: Option<u64>,
    /// The file of the current generation, where it is lost.
    lost: Option<PathBuf>,
    /// The text of CURRENT.
    line: String,
    /// Generations that the current one, or the one that stands for it, was made from, as far as
    /// is known, and itself.
    made_from: BTreeSet<u64>,
    /// The largest number of a generation whose file is there.
    newest: u64,
    /// Whether the bytes of files are not proven.
    quick: bool,
    /// Whether the delete log is damaged that a way back needs: then it must do without.
    log_is_broken: bool,
    /// What `ocelli recover` would do, where it would do something.
    recovery: Option<RecoverReport>,
    /// Chains that the directory knows and that can be read, with their backups.
    chains: Vec<(PathBuf, Vec<Backup>)>,
}

/// A backup to restore: the generation that is current in it, and the way.
struct Way {
    generation: u64,
    /// Whether it is of the generation that CURRENT names.
    is_same: bool,
    /// Whether the current generation was made from it, as far as files tell.
    in_line: bool,
    remedy: Remedy,
}

/// A path as one word of a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Whether the delete log `from` can be read back to where the log `to` ends, and `to` as a whole.
fn log_leads(dir: &IndexDir, from: Option<Hash>, to: Option<Hash>) -> bool {
    let known: ocelli_index::Result<BTreeSet<Hash>> = dir.delete_hashes(to).collect();
    let Ok(known) = known else { return false };
    for hash in dir.delete_hashes(from) {
        match hash {
            Ok(hash) if known.contains(&hash) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    true
}

impl Mender {
    pub(super) fn new(dir: &IndexDir, state: &State, sound: &[u64], quick: bool) -> Self {
        let root = dir.root();
        let (number, is_lost) = (state.number(), matches!(state.now, Now::Lost(_)));
        let current = state.current().map(|current| current.number);
        let line = state.line();
        let can_be = |number: &u64| current != Some(*number) && sound.contains(number);
        let back = line.iter().copied().find(can_be);
        let aside = sound.iter().copied().rfind(|number| !line.contains(number));
        let is_known = is_lost || current.is_some();
        let aside = aside.filter(|_| is_known && back.is_none());
        let log = state.stand_in().and_then(|from| from.deletes);
        let leads = |to: u64| {
            log_leads(dir, log, state.readable.get(&to).and_then(|generation| generation.deletes))
        };
        let lost = number.filter(|number| is_lost && !state.readable.contains_key(number));
        let parent = |number: &u64| state.readable.get(number)?.parent;
        let read = |chain: PathBuf| {
            let mut found = readable_backups(&chain);
            // `ocelli restore` refuses them.
            found.retain(|backup| !state.holds_erased(backup));
            (!found.is_empty()).then_some((chain, found))
        };
        let chains = known_chains(root).unwrap_or_default().into_iter().filter_map(read);
        Self {
            root: root.to_owned(),
            back,
            aside,
            generations: state.numbers.len(),
            losses: Losses::new(dir, state, sound),
            current,
            number,
            lost: lost.map(|number| generation_path(root, number)),
            line: fs::read_to_string(root.join("CURRENT")).unwrap_or_default(),
            made_from: line.iter().copied().chain(line.iter().filter_map(parent)).collect(),
            newest: state.numbers.last().copied().unwrap_or(0),
            quick,
            log_is_broken: back.or(aside).is_some_and(|to| !leads(to)),
            recovery: state.recovery(dir, sound, quick),
            chains: chains.collect(),
        }
    }

    fn command(&self, name: &str, rest: &str) -> String {
        format!("ocelli {name} {}{rest}", word(&self.root))
    }

    fn plain(&self, name: &str, rest: &str) -> Vec<Remedy> {
        vec![Remedy::new(self.command(name, rest), None)]
    }

    fn rollback(&self, to: Option<u64>) -> Option<Remedy> {
        let to = to?;
        let undo = if self.log_is_broken { " --undo-deletes" } else { "" };
        let loses = self.by_sizes(self.losses.after(to, self.log_is_broken));
        Some(Remedy::new(self.command("rollback", &format!(" --to {to}{undo}")), loses))
    }

    /// A loss, as far as it is known.
    fn by_sizes(&self, loses: Option<String>) -> Option<String> {
        if !self.quick {
            return loses;
        }
        let loses = loses.unwrap_or_else(|| "nothing".to_owned());
        Some(format!("{loses}; by the sizes of the files: a full look may find more"))
    }

    /// Whether the current generation was made from one, as far as files tell. Where CURRENT is
    /// lost with its number, one above all files may have been current.
    fn is_in_line(&self, generation: u64) -> bool {
        let may_be_current = self.number.is_none() && generation > self.newest;
        self.made_from.contains(&generation) || may_be_current
    }

    fn recover(&self) -> Option<Remedy> {
        let report = self.recovery.as_ref()?;
        Some(Remedy {
            command: self.command("recover", " --yes"),
            steps: report.steps.clone(),
            loses: self.by_sizes((!report.loses.is_empty()).then(|| report.loses.join("; "))),
        })
    }

    /// A backup of each chain: one of the current generation; else the newest of a generation that
    /// it was made from; else the newest of one up to it; else the newest.
    fn restores(&self) -> Vec<Way> {
        let most = self.number.unwrap_or(u64::MAX);
        let way = |(chain, backups): &(PathBuf, Vec<Backup>)| {
            let newest = backups.last()?;
            let is_same = |backup: &&Backup| backup.current.trim() == self.line.trim();
            let same = backups.iter().rev().find(is_same);
            let up_to = || backups.iter().rev().filter(|backup| backup.generation <= most);
            let in_line = || up_to().find(|backup| self.is_in_line(backup.generation));
            let before = || up_to().next();
            let backup = same.or_else(in_line).or_else(before).unwrap_or(newest);
            // By its number: a newer one may be there that cannot be read.
            let command = format!(
                "ocelli restore {} {} --backup {} --force",
                word(chain),
                word(&self.root),
                backup.number
            );
            let at = match backup.time_ms {
                0 => String::new(),
                time => format!(" at {}", time_text(time)),
            };
            let generation = backup.generation;
            let which = format!("generation {generation}, which backup {} has{at}", backup.number);
            let in_line = self.is_in_line(generation);
            let loses = match (same, generation <= most) {
                (Some(_), _) => None,
                (None, true) if in_line => Some(format!(
                    "all that was done after {which}; rows that were deleted since come back"
                )),
                (None, true) => Some(format!(
                    "all that was done after {which}; no file tells that the index was made from \
                     it: it may have been rolled back from: look at it before you serve it; rows \
                     that were deleted since come back"
                )),
                (None, false) => Some(format!(
                    "what generation {most} had; {which}, was rolled back from, or never became \
                     current: look at it before you serve it"
                )),
            };
            let (is_same, remedy) = (same.is_some(), Remedy::new(command, loses));
            Some(Way { generation, is_same, in_line, remedy })
        };
        self.chains.iter().filter_map(way).collect()
    }

    /// The newest backup of each chain that has a file.
    fn restore_file(&self, path: &Path) -> Vec<Remedy> {
        let Ok(name) = path.strip_prefix(&self.root) else { return Vec::new() };
        let has = |backup: &&Backup| backup.files.iter().any(|file| Path::new(&file.name) == name);
        let restore = |(chain, backups): &(PathBuf, Vec<Backup>)| {
            let backup = backups.iter().rev().find(has)?;
            let command = format!(
                "ocelli restore {} {} --backup {} --force --keep-current",
                word(chain),
                word(&self.root),
                backup.number
            );
            Some(Remedy::new(command, None))
        };
        self.chains.iter().filter_map(restore).collect()
    }

    /// Remedies where the current generation is lost: a backup that has its file; the newest sound
    /// generation up to it, and backups, the later ones first; what was never current comes last.
    pub(super) fn go_back(&self) -> Vec<Remedy> {
        let mut remedies = self.lost.as_ref().map_or_else(Vec::new, |path| self.restore_file(path));
        let most = self.number.unwrap_or(u64::MAX);
        // With the lost generation's file back, nothing more is to be done.
        let has_file = !remedies.is_empty();
        let (before, other): (Vec<Way>, Vec<Way>) = self
            .restores()
            .into_iter()
            .filter(|way| !(way.is_same && has_file))
            .partition(|way| way.is_same || (way.in_line && way.generation <= most));
        let is_newer =
            |way: &Way| way.is_same || self.back.is_none_or(|back| way.generation > back);
        let (newer, older): (Vec<Way>, Vec<Way>) = before.into_iter().partition(is_newer);
        remedies.extend(newer.into_iter().map(|way| way.remedy));
        remedies.extend(self.rollback(self.back));
        remedies.extend(older.into_iter().chain(other).map(|way| way.remedy));
        remedies.extend(self.rollback(self.aside));
        self.or_anew(remedies)
    }

    /// Remedies where the record of an erasure cannot be read.
    pub(super) fn lost_erasure(&self, path: &Path) -> Vec<Remedy> {
        let command = format!(
            "rm {} && ocelli delete {} --from NAMES.txt --erase",
            word(path),
            word(&self.root)
        );
        let loses = "the names of the rows that were erased: give the same rows in NAMES.txt, or a \
                     backup from before that is restored brings them back";
        vec![Remedy::new(command, Some(loses.to_owned()))]
    }

    /// Remedies where a file is lost: a backup that has it; what can be made of what is left; the
    /// newest generation below that does not need it; the newest backup.
    pub(super) fn lost_file(&self, path: &Path) -> Vec<Remedy> {
        if self.current.is_none() {
            return self.go_back();
        }
        let mut remedies = self.restore_file(path);
        remedies.extend(self.recover());
        remedies.extend(self.rollback(self.back));
        remedies.extend(self.restores().into_iter().map(|way| way.remedy));
        remedies.extend(self.rollback(self.aside));
        self.or_anew(remedies)
    }

    /// Remedies where a file is lost that the current generation does not need: generations that
    /// need it are `numbers`.
    pub(super) fn lost_of_others(&self, path: &Path, numbers: &[u64], blocks: bool) -> Vec<Remedy> {
        let mut remedies = self.restore_file(path);
        if blocks {
            remedies.extend(self.recover());
        }
        // Of those below the current one, nothing is needed any more; `gc` takes what only they
        // needed. Later ones tell which ids were given.
        let current = self.current.unwrap_or(0);
        let below: Vec<u64> = numbers.iter().copied().filter(|&number| number < current).collect();
        if !below.is_empty() {
            let file = |&number: &u64| format!(" {}", word(&generation_path(&self.root, number)));
            let files: String = below.iter().map(file).collect();
            let names: Vec<String> = below.iter().map(u64::to_string).collect();
            let loses = format!("the way back to generation {}", names.join(", "));
            remedies.push(Remedy::new(format!("rm{files}"), Some(loses)));
        }
        remedies
    }

    /// Remedies where a later version of Ocelli wrote a file.
    pub(super) fn newer(&self, hurts: bool) -> Vec<Remedy> {
        let update = "update ocelli to the version that wrote it".to_owned();
        let mut remedies = vec![Remedy::new(update, None)];
        if hurts && self.current.is_some() {
            remedies.extend(self.rollback(self.back));
        }
        remedies
    }

    /// Remedies where nothing is left: the index is built again, or comes from a backup that only
    /// the user knows.
    pub(super) fn anew(&self) -> Vec<Remedy> {
        self.or_anew(self.restores().into_iter().map(|way| way.remedy).collect())
    }

    fn or_anew(&self, mut remedies: Vec<Remedy>) -> Vec<Remedy> {
        if remedies.is_empty() {
            let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
            let mut beside = root.into_os_string();
            beside.push(".anew");
            let loses = "rows that PARTS lack; rows that were deleted come back if PARTS have them";
            remedies.push(Remedy::new(
                format!("ocelli restore BACKUPS {} --force", word(&self.root)),
                Some("all that was done after the backup".to_owned()),
            ));
            remedies.push(Remedy::new(
                format!("ocelli build PARTS --model MODEL --out {}", word(Path::new(&beside))),
                Some(loses.to_owned()),
            ));
        }
        remedies
    }

    /// The remedy where a file cannot be read: `is_forbidden` by the rights to it, else for another
    /// reason, such as a disk that fails.
    pub(super) fn readable(&self, path: &Path, is_forbidden: bool) -> Vec<Remedy> {
        let command = match is_forbidden {
            true => format!("chmod u+rX {}", word(path)),
            false => format!(
                "look after the disk: the operating system does not give {}",
                path.display()
            ),
        };
        vec![Remedy::new(command, None)]
    }

    /// The remedy where files lie that nobody needs, or plans that nobody works on: all generations
    /// that there are stay.
    pub(super) fn gc(&self) -> Vec<Remedy> {
        self.plain("gc", &format!(" --keep-generations {} --yes", self.generations))
    }

    /// The remedy where shards are small or full of deleted rows.
    pub(super) fn compact(&self) -> Vec<Remedy> {
        self.plain("compact", "")
    }
}

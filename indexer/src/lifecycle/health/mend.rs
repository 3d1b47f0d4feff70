//! The commands that mend a directory.

use std::path::{Path, PathBuf};

use crate::lifecycle::backup::{Backup, known_chains, readable_backups};

/// Knows what a directory can be mended by.
#[derive(Debug)]
pub(super) struct Mender {
    root: PathBuf,
    /// The newest generation that is sound.
    sound: Option<u64>,
    /// Generations that there are.
    generations: usize,
    /// Chains that the directory knows and that can be read, with their backups.
    chains: Vec<(PathBuf, Vec<Backup>)>,
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

impl Mender {
    pub(super) fn new(root: &Path, sound: &[u64], generations: usize) -> Self {
        let read = |chain: PathBuf| {
            let found = readable_backups(&chain);
            (!found.is_empty()).then_some((chain, found))
        };
        let chains = known_chains(root).unwrap_or_default().into_iter().filter_map(read);
        Self {
            root: root.to_owned(),
            sound: sound.last().copied(),
            generations,
            chains: chains.collect(),
        }
    }

    fn command(&self, name: &str, rest: &str) -> Vec<String> {
        vec![format!("ocelli {name} {}{rest}", word(&self.root))]
    }

    fn rollback(&self) -> Vec<String> {
        self.sound.iter().flat_map(|to| self.command("rollback", &format!(" --to {to}"))).collect()
    }

    /// The newest backup of each chain.
    fn restore(&self) -> Vec<String> {
        let restore = |(chain, _): &(PathBuf, Vec<Backup>)| {
            format!("ocelli restore {} {} --force", word(chain), word(&self.root))
        };
        self.chains.iter().map(restore).collect()
    }

    /// The newest backup of each chain that has a file.
    fn restore_file(&self, path: &Path) -> Vec<String> {
        let Ok(name) = path.strip_prefix(&self.root) else { return Vec::new() };
        let has = |backup: &&Backup| backup.files.iter().any(|file| Path::new(&file.name) == name);
        let restore = |(chain, backups): &(PathBuf, Vec<Backup>)| {
            let backup = backups.iter().rev().find(has)?;
            Some(format!(
                "ocelli restore {} {} --backup {} --force --keep-current",
                word(chain),
                word(&self.root),
                backup.number
            ))
        };
        self.chains.iter().filter_map(restore).collect()
    }

    /// Remedies where CURRENT is lost: the newest sound generation, or a backup.
    pub(super) fn go_back(&self) -> Vec<String> {
        let mut commands = self.rollback();
        commands.extend(self.restore());
        self.or_anew(commands)
    }

    /// Remedies where a file is lost: a backup that has it; or the newest generation that does not
    /// need it; or the newest backup.
    pub(super) fn lost_file(&self, path: &Path, number: &[u64], hurts: bool) -> Vec<String> {
        let mut commands = self.restore_file(path);
        if hurts {
            commands.extend(self.rollback());
            commands.extend(self.restore());
        } else {
            // An earlier generation is of no use any more; `gc` takes what only it needed.
            let files = number.iter().map(|number| {
                let file = self.root.join("generations").join(format!("{number}.json"));
                format!(" {}", word(&file))
            });
            commands.push(format!("rm{}", files.collect::<String>()));
        }
        self.or_anew(commands)
    }

    /// Remedies where a later version of Ocelli wrote a generation.
    pub(super) fn newer(&self, hurts: bool) -> Vec<String> {
        let mut commands = vec!["update ocelli to the version that wrote it".to_owned()];
        if hurts {
            commands.extend(self.rollback());
        }
        commands
    }

    /// Remedies where nothing is left: the index is built again, or comes from a backup that only
    /// the user knows.
    pub(super) fn anew(&self) -> Vec<String> {
        self.or_anew(self.restore())
    }

    fn or_anew(&self, mut commands: Vec<String>) -> Vec<String> {
        if commands.is_empty() {
            let root = word(&self.root);
            commands.push(format!("ocelli restore BACKUPS {root} --force"));
            commands.push(format!("ocelli build PARTS --model MODEL --out {root}"));
        }
        commands
    }

    /// The remedy where a file cannot be read.
    pub(super) fn readable(&self, path: &Path) -> Vec<String> {
        vec![format!("chmod u+rX {}", word(path))]
    }

    /// The remedy where files lie that nobody needs, or plans that nobody works on: all generations
    /// that there are stay.
    pub(super) fn gc(&self) -> Vec<String> {
        self.command("gc", &format!(" --keep-generations {} --yes", self.generations))
    }

    /// The remedy where shards are small or full of deleted rows.
    pub(super) fn compact(&self) -> Vec<String> {
        self.command("compact", "")
    }
}

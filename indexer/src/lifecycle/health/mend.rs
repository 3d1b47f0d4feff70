//! The commands that mend a directory.

use std::path::{Path, PathBuf};

/// Knows what a directory can be mended by.
#[derive(Debug)]
pub(super) struct Mender {
    root: PathBuf,
    /// The newest generation that is sound.
    sound: Option<u64>,
    /// Folders of backups that hold a sound backup.
    backups: Vec<PathBuf>,
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
    pub(super) fn new(root: &Path, sound: &[u64]) -> Self {
        Self { root: root.to_owned(), sound: sound.last().copied(), backups: Vec::new() }
    }

    fn command(&self, name: &str, rest: &str) -> Vec<String> {
        vec![format!("ocelli {name} {}{rest}", word(&self.root))]
    }

    fn restore(&self) -> Vec<String> {
        let restore = |target: &PathBuf| {
            format!("ocelli restore {} {} --force", word(target), word(&self.root))
        };
        self.backups.iter().map(restore).collect()
    }

    /// Where CURRENT is lost: the newest sound generation, or a backup.
    pub(super) fn go_back(&self) -> Vec<String> {
        let mut commands: Vec<String> = self
            .sound
            .iter()
            .flat_map(|to| self.command("rollback", &format!(" --to {to}")))
            .collect();
        commands.extend(self.restore());
        self.or_anew(commands)
    }

    /// Where a file is lost: a backup has it; or the newest generation that does not need it.
    pub(super) fn lost_file(&self, hurts: bool) -> Vec<String> {
        let mut commands = self.restore();
        if hurts {
            commands.extend(
                self.sound.iter().flat_map(|to| self.command("rollback", &format!(" --to {to}"))),
            );
        } else if self.sound.is_some() {
            // An earlier generation is of no use any more.
            commands.extend(self.gc());
        }
        self.or_anew(commands)
    }

    /// Where a later version of Ocelli wrote a generation.
    pub(super) fn newer(&self, hurts: bool) -> Vec<String> {
        let mut commands = vec!["update ocelli to the version that wrote it".to_owned()];
        if hurts {
            commands.extend(
                self.sound.iter().flat_map(|to| self.command("rollback", &format!(" --to {to}"))),
            );
        }
        commands
    }

    /// Where nothing is left: the index is built again, or comes from a backup that only the user
    /// knows.
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

    /// Where a file cannot be read.
    pub(super) fn readable(&self, path: &Path) -> Vec<String> {
        vec![format!("chmod u+rX {}", word(path))]
    }

    /// Where files lie that nobody needs.
    pub(super) fn gc(&self) -> Vec<String> {
        self.command("gc", " --yes")
    }

    /// Where shards are small or full of deleted rows.
    pub(super) fn compact(&self) -> Vec<String> {
        self.command("compact", "")
    }
}

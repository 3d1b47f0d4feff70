//! What a cleaning found, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use ocelli_text::{MAX_CHARS, counted, printable, thousands};
use serde::Serialize;

use crate::clean::record::Record;
use crate::clean::verdict::{Fate, Verdict};

/// A photo that cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unread {
    /// The file, as the list has it.
    pub path: String,
    /// The reason.
    pub reason: String,
}

/// The numbers of a cleaning. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Classes that were cleaned.
    pub classes: usize,
    /// Classes of which nothing stays: no component has enough photos.
    pub classes_left_out: usize,
    /// Photos that were cleaned.
    pub photos: u64,
    /// Photos that stay.
    pub kept: u64,
    /// Photos that stay with a box from the diffusion or from the list.
    pub with_box: u64,
    /// Photos without a verified pair.
    pub alone: u64,
    /// Photos of components that do not stay.
    pub other_components: u64,
    /// Photos that cannot be read.
    pub unreadable: Vec<Unread>,
    /// Photos of other splits, copied as they are.
    pub copied: BTreeMap<String, u64>,
    /// Pairs that were compared.
    pub compared: u64,
    /// Pairs that were verified.
    pub verified: u64,
}

impl Summary {
    /// Adds a class. `names` are those of its photos.
    pub fn add(&mut self, record: &Record, verdict: &Verdict, names: &[String]) {
        self.classes += 1;
        self.classes_left_out += usize::from(verdict.kept_components.is_empty());
        self.photos += verdict.fates.len() as u64;
        self.compared += record.compared as u64;
        self.verified += record.pairs.len() as u64;
        for (fate, name) in verdict.fates.iter().zip(names) {
            match fate {
                Fate::Kept { bbox } => {
                    self.kept += 1;
                    self.with_box += u64::from(bbox.is_some());
                }
                Fate::Alone => self.alone += 1,
                Fate::OtherComponent { .. } => self.other_components += 1,
                Fate::Unreadable(reason) => {
                    self.unreadable.push(Unread { path: name.clone(), reason: reason.clone() });
                }
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = counted(self.classes as u64, "class").replace("classs", "classes");
        writeln!(f, "{} of {classes}", counted(self.photos, "photo"))?;
        let (compared, verified) = (thousands(self.compared), thousands(self.verified));
        writeln!(f, "pairs: {compared} compared, {verified} verified")?;
        let (kept, boxes) = (thousands(self.kept), thousands(self.with_box));
        writeln!(f, "kept: {kept}, {boxes} of them with a box")?;
        let (alone, others) = (thousands(self.alone), thousands(self.other_components));
        writeln!(f, "left out: {alone} without a verified pair, {others} in other components")?;
        let left_out = self.classes_left_out as u64;
        writeln!(f, "classes without a component that is large enough: {}", thousands(left_out))?;
        for (split, count) in &self.copied {
            let split = printable(split, MAX_CHARS);
            writeln!(f, "copied, split {split}: {}", thousands(*count))?;
        }
        write!(f, "cannot be read: {}", self.unreadable.len())?;
        self.unreadable.iter().try_for_each(|unread| {
            let (path, reason) = (&unread.path, &unread.reason);
            let (path, reason) = (printable(path, MAX_CHARS), printable(reason, MAX_CHARS));
            write!(f, "\n  {path}: {reason}")
        })
    }
}

//! The error of a change that came second.

use crate::base::error::Error;
use crate::generations::IndexDir;
use crate::generations::manifest::Generation;

impl IndexDir {
    /// The error of a change that was planned on `parent`, and does not fit the current generation.
    pub(super) fn moved(&self, parent: Option<u64>, current: Option<&Generation>) -> Error {
        let name = |n: Option<u64>| n.map_or("none".to_owned(), |n| n.to_string());
        let mut what = format!(
            "{}: expected current generation {}, found {}",
            self.root().display(),
            name(parent),
            name(current.map(|current| current.number))
        );
        let before = parent.and_then(|number| self.generation(number).ok());
        if let (Some(current), Some(before)) = (current, before) {
            what += &format!(": {}", difference(&before, current));
        }
        what += "; nothing was changed: look at what is current, and run the command again";
        Error::Conflict { what }
    }
}

/// What became of an index between two generations, for people.
fn difference(before: &Generation, after: &Generation) -> String {
    let mut parts = Vec::new();
    let made = after.made_by.as_ref().map(|made| format!("made by `ocelli {}`", made.command));
    parts.extend(made);
    if before.model != after.model {
        parts.push(format!("model {} became {}", before.model.short(), after.model.short()));
    }
    let new = after.shards.iter().filter(|s| before.shard(&s.name).is_none()).count();
    let gone = before.shards.iter().filter(|s| after.shard(&s.name).is_none()).count();
    for (count, what) in [(new, "new"), (gone, "gone")] {
        if count > 0 {
            parts.push(format!("{count} {} {what}", if count == 1 { "shard" } else { "shards" }));
        }
    }
    if before.deletes != after.deletes {
        parts.push("rows deleted".to_owned());
    }
    match parts.is_empty() {
        true => "of equal rows".to_owned(),
        false => parts.join(", "),
    }
}

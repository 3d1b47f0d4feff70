//! Files that nobody needs any more.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::change::{CommitOptions, Draft};
use super::storage::FOLDERS;
use super::{Generation, IndexDir, MadeBy, names};
use crate::base::error::{Error, Result};

/// An object that can be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbageObject {
    /// Name, as in `shards/<name>`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// The result of a look for files that nobody needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Generations that stay, ascending.
    pub kept: Vec<u64>,
    /// Generations that go, ascending.
    pub dropped: Vec<u64>,
    /// Objects that go, in the order in which they are to go: generations first.
    pub objects: Vec<GarbageObject>,
    /// Objects that no generation names and that are too young to go: a job that runs may have
    /// written them.
    pub young: Vec<GarbageObject>,
}

/// The time in which nobody removes files: see [`IndexDir::hold`].
pub struct Held {
    _guard: Box<dyn Any + Send>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// The time in which nobody else names objects, or counts on one: see [`IndexDir::alone`].
pub struct Alone {
    _guard: Box<dyn Any + Send>,
}

impl fmt::Debug for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alone")
    }
}

/// Conditions under which objects stay.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// The newest generations that stay besides the current one.
    pub generations: usize,
    /// Other generations that stay: those that plans under way were made on.
    pub planned: BTreeSet<u64>,
    /// Shards that stay, by name: those of plans that are under way.
    pub shards: BTreeSet<String>,
    /// All models stay: plans under way need theirs.
    pub models: bool,
    /// The age below which an object stays that no generation names.
    pub min_age: Duration,
}

impl IndexDir {
    /// Waits until nobody removes files, and keeps it so for as long as the result lives: so long,
    /// what a generation names can be opened, even if it is no longer current. What is open stays.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn hold(&self) -> Result<Held> {
        Ok(Held { _guard: self.storage.guard(false)? })
    }

    /// Waits until nobody changes the index, and keeps it so for as long as the result lives: what
    /// is to be kept is looked at in that time.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn alone(&self) -> Result<Alone> {
        Ok(Alone { _guard: self.storage.guard(true)? })
    }

    /// Finds the objects that nobody needs, and removes them if `remove` says so. The current
    /// generation stays, and the newest others, with everything that they name; a generation whose
    /// shards hold erased rows goes, unless it is current. The newest stays too, so that its number
    /// is never given to another one.
    ///
    /// # Errors
    /// [`Error::NotFound`] in an index without a current generation; a generation that cannot be
    /// read: what it names is not known, so nothing is removed; [`Error::Io`].
    pub fn collect_garbage(&self, _: &Alone, keep: &Keep, remove: bool) -> Result<Garbage> {
        let current = self.keep_ids(remove)?;
        let all: Vec<Generation> =
            self.generations()?.into_iter().map(|n| self.generation(n)).collect::<Result<_>>()?;
        let erased = self.erased_shards()?;
        let newest = all.last().map(|generation| generation.number);
        let mut left = keep.generations;
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for generation in all.into_iter().rev() {
            let is_erased = generation.shards.iter().any(|shard| erased.contains(&shard.name));
            let is_needed =
                Some(generation.number) == newest || keep.planned.contains(&generation.number);
            if generation.number == current.number || (is_needed && !is_erased) {
                kept.push(generation);
            } else if left > 0 && !is_erased {
                left -= 1;
                kept.push(generation);
            } else {
                dropped.push(generation);
            }
        }
        let (mut named, mut was_named) = (BTreeSet::new(), BTreeSet::new());
        for generation in &kept {
            self.names_of(generation, &mut named)?;
        }
        let of_plans = keep.shards.iter().filter(|&shard| !erased.contains(shard));
        named.extend(of_plans.map(|shard| format!("shards/{shard}")));
        // What holds erased rows goes whatever its age, as if a generation had named it.
        was_named.extend(erased.iter().map(|shard| format!("shards/{shard}")));
        for generation in &dropped {
            self.names_of(generation, &mut was_named)?;
        }
        let numbers = |of: &[Generation]| of.iter().rev().map(|g| g.number).collect();
        let (kept, dropped) = (numbers(&kept), numbers(&dropped));
        let mut garbage = Garbage { kept, dropped, ..Garbage::default() };
        self.sort_objects(&named, &was_named, keep, &mut garbage)?;
        if remove {
            for object in &garbage.objects {
                self.storage.remove(&object.name)?;
            }
        }
        Ok(garbage)
    }

    /// The current generation. After a way back, ids that were given out may be known to later
    /// generations only; if those may go, a new one takes note of them and becomes current.
    fn keep_ids(&self, remove: bool) -> Result<Generation> {
        let seen = self.see_current()?;
        let current = seen.generation.clone().ok_or_else(|| {
            Error::not_found(format!(
                "{}: no generation is current, so nothing can be said to be superfluous",
                self.root().display()
            ))
        })?;
        if !remove || self.next_id(Some(&current))? == current.next_id {
            return Ok(current);
        }
        let draft = Draft::after(self, &current)?;
        let made_by = Some(MadeBy { command: "gc".to_owned(), ..MadeBy::default() });
        let options = CommitOptions { made_by, gate: None };
        Ok(self.publish(&seen, draft, &options)?.generation)
    }

    /// Objects that are not `named`, generations first: those that go, and those that are young.
    fn sort_objects(
        &self,
        named: &BTreeSet<String>,
        was_named: &BTreeSet<String>,
        keep: &Keep,
        garbage: &mut Garbage,
    ) -> Result<()> {
        let mut folders = FOLDERS;
        folders.sort_by_key(|&folder| folder != "generations");
        for folder in folders.into_iter().filter(|&folder| !(keep.models && folder == "models")) {
            for name in self.storage.list(folder)? {
                let name = format!("{folder}/{name}");
                // Models with a fine codec are named by both: `<model>-<codec>.model`.
                let model = name.split_once('-').filter(|_| folder == "models");
                let stays = |names: &BTreeSet<String>| {
                    names.contains(&name)
                        || model.is_some_and(|(m, _)| names.contains(&format!("{m}.model")))
                };
                if stays(named) {
                    continue;
                }
                let Some(facts) = self.storage.facts(&name)? else { continue };
                let object = GarbageObject { name: name.clone(), bytes: facts.bytes };
                match stays(was_named) || facts.age >= keep.min_age {
                    true => garbage.objects.push(object),
                    false => garbage.young.push(object),
                }
            }
        }
        Ok(())
    }

    /// Names of the objects that a generation needs, its own included.
    fn names_of(&self, generation: &Generation, names: &mut BTreeSet<String>) -> Result<()> {
        names.insert(names::generation(generation.number));
        names.insert(names::model(&generation.model, None));
        names.extend(generation.objects()?.into_iter().map(|(name, _)| name));
        let mut next = generation.deletes;
        while let Some(hash) = next {
            // The rest of the log is known.
            if !names.insert(names::deletes(&hash)) {
                break;
            }
            next = self.each_deleted(&hash, |_| Ok(()))?;
        }
        Ok(())
    }
}

//! What has changed since the last run.

use std::collections::BTreeMap;
use std::fs::File;

use super::state::{Entry, Outcome, Planned, Seen, State};

/// Beginning of the reasons of photos that could not be read. They may be readable now, although
/// nothing about them has changed.
const UNREADABLE: &str = "cannot read";

/// The photos that a run has to encode, and what it does with the others.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Photos to encode, by key.
    pub(super) photos: Vec<(String, Planned)>,
    /// How many of them have a key that is new.
    pub(super) added: u64,
    /// How many of them are changed.
    pub(super) changed: u64,
    /// Keys that are gone.
    pub(super) gone: Vec<String>,
    /// Photos with a descriptor that stays.
    pub(super) kept: u64,
    /// Photos without a descriptor that are not tried again.
    pub(super) kept_rejected: u64,
    /// Whether the file of a kept photo lies elsewhere now.
    pub(super) moved: bool,
}

impl Plan {
    /// Compares the photos on disk with those of `state`, and gives ids to the new ones.
    pub(super) fn new(state: &mut State, photos: &BTreeMap<String, Seen>) -> Self {
        let mut plan = Plan::default();
        for (key, seen) in photos {
            let known = state.photos.get_mut(key);
            if let Some(entry) = known.filter(|entry| stays(entry, seen)) {
                // Found by another way, perhaps, or its folder has moved.
                plan.moved |= entry.seen.path != seen.path;
                entry.seen.path.clone_from(&seen.path);
                match entry.outcome {
                    Outcome::At(_) => plan.kept += 1,
                    Outcome::Rejected(_) => plan.kept_rejected += 1,
                }
                continue;
            }
            let id = match state.photos.get(key) {
                Some(entry) => {
                    plan.changed += 1;
                    entry.id
                }
                None => {
                    plan.added += 1;
                    state.next_id += 1;
                    state.next_id - 1
                }
            };
            plan.photos.push((key.clone(), Planned { seen: seen.clone(), id }));
        }
        let gone = state.photos.keys().filter(|key| !photos.contains_key(*key));
        plan.gone = gone.cloned().collect();
        plan
    }
}

/// Whether a photo is as it was and need not be encoded.
fn stays(entry: &Entry, now: &Seen) -> bool {
    if !entry.seen.is_unchanged(now) {
        return false;
    }
    match &entry.outcome {
        Outcome::Rejected(reason) if reason.starts_with(UNREADABLE) => {
            File::open(&now.path).is_err()
        }
        _ => true,
    }
}

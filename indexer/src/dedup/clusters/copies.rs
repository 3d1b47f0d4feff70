//! Groups of copies: what becomes one cluster, or part of one, but is never split.

use super::{NONE, Scored};
use crate::dedup::edge::Label;

/// The unit of which each unit is a copy, by rank. Empty: there are no groups. 13 bytes a row.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The first of the group.
    of: Vec<u32>,
    /// The similarity to it.
    scores: Vec<f32>,
    labels: Vec<u8>,
    /// In the first of a group, the last one; in others, the one before, [`NONE`]: there is none.
    before: Vec<u32>,
}

impl Copies {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            of: (0..rows as u32).collect(),
            scores: vec![0.0; rows],
            labels: vec![0; rows],
            before: vec![NONE; rows],
        }
    }

    /// The unit of which a unit is a copy, and what is known of the two; None of the first of a
    /// group.
    pub(super) fn of(&self, unit: u32) -> Option<(u32, Scored)> {
        let at = unit as usize;
        let first = *self.of.get(at).filter(|&&first| first != unit)?;
        let label = *Label::ALL.get(usize::from(self.labels[at]))?;
        Some((first, Scored { score: self.scores[at], label }))
    }

    /// The first unit of a unit's group.
    pub(super) fn first(&self, unit: u32) -> u32 {
        self.of[unit as usize]
    }

    /// The others of the group of a first unit, the last one first.
    pub(super) fn others(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let before = |unit: u32| Some(self.before[unit as usize]).filter(|&unit| unit != NONE);
        std::iter::successors(before(first), move |&unit| before(unit))
    }

    pub(super) fn join(&mut self, unit: u32, first: u32, scored: Scored) {
        self.of[unit as usize] = first;
        self.scores[unit as usize] = scored.score;
        self.labels[unit as usize] = scored.label as u8;
        self.before[unit as usize] = self.before[first as usize];
        self.before[first as usize] = unit;
    }
}

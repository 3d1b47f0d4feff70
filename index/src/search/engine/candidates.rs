//! Rows that may be hits, and what is remembered of them for the refine stage.
//!
//! Finer codes of a row are decoded together with its first code. In its list that code lies in a
//! cache line for each sub-quantizer, which the scan had and which may be gone when the best rows
//! are known. So the code of a row that is kept is copied at that moment, together with its list
//! and slot, and nothing is looked up again.

use ocelli_vector::codes::CodeLayout;

use super::list::ShardList;

/// The facts to remember about rows that may be hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remember {
    /// No further fact: a row's number is its slot.
    #[default]
    Nothing,
    /// The list and the slot of each row.
    Places,
    /// List, slot and first code of each row.
    Codes,
}

/// Rows of one tile of queries, by number.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    remember: Remember,
    /// Whether finer codes are asked for before any is read, since not all of them are in memory.
    pub asks: bool,
    slots: Vec<u32>,
    lists: Vec<u32>,
    /// (n, m), or nothing.
    codes: Vec<u8>,
}

/// A candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub slot: u32,
    pub list: u32,
    /// Its first code, (m,); empty where codes are not wanted.
    pub code: &'a [u8],
}

impl Candidates {
    /// Forgets all rows, and sets what is remembered of the rows to come, and [`Self::asks`].
    pub fn start(&mut self, remember: Remember, asks: bool) {
        self.remember = remember;
        self.asks = asks;
        self.slots.clear();
        self.lists.clear();
        self.codes.clear();
    }

    /// Adds the row at `place` in a list and gives its number.
    #[inline]
    pub(super) fn add(&mut self, layout: CodeLayout, list: &ShardList<'_>, place: u32) -> u32 {
        let (number, slot) = (self.slots.len() as u32, list.entry.first + place);
        if self.remember == Remember::Nothing {
            return slot;
        }
        self.slots.push(slot);
        self.lists.push(list.number);
        if self.remember == Remember::Codes {
            let at = self.codes.len();
            self.codes.resize(at + layout.m(), 0);
            layout.get(list.codes, list.len(), place as usize, &mut self.codes[at..]);
        }
        number
    }

    /// The slot of a row that was added.
    #[inline]
    pub(super) fn slot(&self, number: u32) -> u32 {
        if self.remember == Remember::Nothing { number } else { self.slots[number as usize] }
    }

    /// The number that a hit keeps of its row: 0 where nothing is remembered.
    #[inline]
    pub(super) fn of_hit(&self, number: u32) -> u32 {
        if self.remember == Remember::Nothing { 0 } else { number }
    }

    /// The candidate of a number, with a code of m bytes.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn get(&self, number: u32, m: usize) -> Candidate<'_> {
        let i = number as usize;
        let code = if self.codes.is_empty() { &[] } else { &self.codes[i * m..][..m] };
        Candidate { slot: self.slots[i], list: self.lists[i], code }
    }
}

//! What a search that refines remembers of the rows that may be hits.
//!
//! Finer codes of a row are decoded together with its first code. In its list that code lies in a cache line for each
//! sub-quantizer, which the scan had and which may be gone when the best rows are known. So whatever is good enough to be kept
//! has its code copied at that moment; and with its list and slot beside it, nothing need be looked up again.

use ocelli_vector::codes::CodeLayout;

use super::list::ShardList;

/// Rows of one tile of queries, by number.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    slots: Vec<u32>,
    lists: Vec<u32>,
    /// (n, m), or nothing.
    codes: Vec<u8>,
    with_codes: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub slot: u32,
    pub list: u32,
    /// Its first code, (m,); empty where codes are not wanted.
    pub code: &'a [u8],
}

impl Candidates {
    /// Forgets all of them. Those that come have their codes copied, or not.
    pub fn start(&mut self, with_codes: bool) {
        self.with_codes = with_codes;
        self.slots.clear();
        self.lists.clear();
        self.codes.clear();
    }

    /// Adds the row at `place` in a list and gives its number.
    #[inline]
    pub(super) fn add(&mut self, layout: CodeLayout, list: &ShardList<'_>, place: u32) -> u32 {
        let number = self.slots.len() as u32;
        self.slots.push(list.entry.first + place);
        self.lists.push(list.number);
        if self.with_codes {
            let at = self.codes.len();
            self.codes.resize(at + layout.m(), 0);
            layout.get(list.codes, list.len(), place as usize, &mut self.codes[at..]);
        }
        number
    }

    /// Slots (n,).
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The candidate of a number, with a code of m bytes.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub fn get(&self, number: u32, m: usize) -> Candidate<'_> {
        let i = number as usize;
        let code = if self.with_codes { &self.codes[i * m..][..m] } else { &[] };
        Candidate { slot: self.slots[i], list: self.lists[i], code }
    }
}

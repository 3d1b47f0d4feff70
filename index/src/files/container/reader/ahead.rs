//! Asks the disk for what will be read.

use std::ops::Range;

use super::super::TILE_BYTES;
use super::Reader;

/// Bytes that are read along with others rather than asked for by a call of their own.
const GAP_BYTES: u64 = 16 * 1024;

impl Reader {
    /// Asks the system to read `ranges` of the file's bytes, which will be touched soon, and does
    /// not wait. Tiles that are not proven yet are asked for as a whole. The order of `ranges` is
    /// lost, and what leaves the file is not asked for.
    pub(crate) fn will_need(&self, ranges: &mut [Range<u64>]) {
        let data_bytes = self.footer.data_bytes;
        for range in &mut *ranges {
            *range = range.start.min(data_bytes)..range.end.min(data_bytes);
            let tiles =
                range.start as usize / TILE_BYTES..(range.end as usize).div_ceil(TILE_BYTES);
            if !range.is_empty() && tiles.clone().any(|tile| !self.is_proven(tile)) {
                let end = (tiles.end * TILE_BYTES) as u64;
                *range = (tiles.start * TILE_BYTES) as u64..end.min(data_bytes);
            }
        }
        let start = self.range.start;
        joined(ranges, |range| {
            self.map.will_need(start + range.start as usize..start + range.end as usize);
        });
    }

    /// Whether anything was asked for.
    #[cfg(test)]
    pub(crate) fn was_asked(&self) -> bool {
        self.map.reads_pages()
    }
}

/// Gives `each` the ranges in order, those that are nearer to each other than [`GAP_BYTES`] as one.
fn joined(ranges: &mut [Range<u64>], mut each: impl FnMut(Range<u64>)) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut open: Option<Range<u64>> = None;
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        open = Some(match open.take() {
            Some(open) if range.start <= open.end + GAP_BYTES => {
                open.start..open.end.max(range.end)
            }
            before => {
                before.into_iter().for_each(&mut each);
                range.clone()
            }
        });
    }
    open.into_iter().for_each(each);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_are_asked_for_as_one() {
        let mut ranges = [
            900_000..900_001,
            10..20,
            7..7,
            15..18,
            20 + GAP_BYTES..50_000,
            50_001 + GAP_BYTES..70_000,
            899_000..899_010,
        ];
        let mut found = Vec::new();
        joined(&mut ranges, |range| found.push(range));
        assert_eq!(found, [10..50_000, 50_001 + GAP_BYTES..70_000, 899_000..900_001]);
        joined(&mut [5..5, 0..0], |range| panic!("{range:?}"));
    }
}

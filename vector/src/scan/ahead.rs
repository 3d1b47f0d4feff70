//! What is fetched towards the cache while a list is scanned.

use super::Checked;

/// How far ahead of the scan bytes are fetched, in this list and on into the next: at the speed of
/// a scan from cache, the time that memory takes to answer.
const AHEAD: usize = 16384;

/// Where the bytes lie that are `AHEAD` of offset `at` of the list, the next list following it. A
/// pointer to prefetch from and for nothing else: it may lie past the end of either.
#[inline(always)]
pub(super) fn ahead(list: &Checked<'_>, at: usize) -> *const u8 {
    let (codes, next) = (list.list.codes, list.list.next);
    let target = at + AHEAD.min(codes.len());
    if target < codes.len() {
        codes.as_ptr().wrapping_add(target)
    } else if next.is_empty() {
        // What is in the cache already: an address of nothing would be looked up in the page table
        // in vain.
        codes.as_ptr()
    } else {
        next.as_ptr().wrapping_add((target - codes.len()).min(next.len()))
    }
}

/// Whether there is anything to be fetched while this list is scanned: a list that was scanned a
/// moment ago, and that nothing follows, is near.
#[inline(always)]
pub(super) fn wants_fetching(list: &Checked<'_>) -> bool {
    !list.list.next.is_empty() || list.list.codes.len() > AHEAD
}

//! A limit of the mapped pages that are in memory.
//!
//! A page of a mapped file that was read counts as the process's memory until the kernel wants it
//! back, which may be never. A job that keeps to a budget sets a limit ([`MappedLimit`]): readers
//! then count the tiles that they touch, and when these are too many, all readers give their pages
//! back and count anew. What is wanted again is mapped again, mostly from the page cache.
//!
//! Memory is the process's, and so is the limit: where several are in force, the smallest counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::TILE_BYTES;
use super::fault::Mapped;

/// Fewest tiles of a limit: fewer would be given back while they are being read.
const LEAST_TILES: usize = 16;
/// Value of [`LIMIT`] where there is no limit.
const NO_LIMIT: usize = usize::MAX;

/// Tiles that may be in memory.
static LIMIT: AtomicUsize = AtomicUsize::new(NO_LIMIT);
/// Tiles that were touched since pages were given back.
static TOUCHED: AtomicUsize = AtomicUsize::new(0);
/// The limits in force, in bytes.
static HELD: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Mappings of which tiles were counted.
static COUNTED: Mutex<Vec<Counted>> = Mutex::new(Vec::new());

/// A mapping, and the bits that say which of its tiles need not be counted.
type Counted = (Weak<Mapped>, Weak<[AtomicU64]>);

/// A limit of the mapped pages that this process has in memory, in force while it lives. It counts
/// what is touched from then on. A page that several readers have counts for each; results do not
/// depend on it.
#[derive(Debug)]
pub struct MappedLimit {
    bytes: usize,
}

impl MappedLimit {
    /// A limit of so many bytes, at least 1 MiB.
    pub fn new(bytes: usize) -> Self {
        let mut held = HELD.lock();
        held.push(bytes);
        enforce(&held);
        Self { bytes }
    }

    /// The limit in force, in bytes, if there is one.
    pub fn in_force() -> Option<usize> {
        let tiles = LIMIT.load(Ordering::Relaxed);
        (tiles != NO_LIMIT).then(|| tiles * TILE_BYTES)
    }
}

impl Drop for MappedLimit {
    fn drop(&mut self) {
        let mut held = HELD.lock();
        if let Some(place) = held.iter().position(|&bytes| bytes == self.bytes) {
            held.swap_remove(place);
        }
        enforce(&held);
    }
}

/// Puts the smallest limit in force.
fn enforce(held: &[usize]) {
    let tiles = held.iter().min().map(|bytes| (bytes / TILE_BYTES).max(LEAST_TILES));
    LIMIT.store(tiles.unwrap_or(NO_LIMIT), Ordering::Relaxed);
}

/// Whether a limit is in force, so that tiles are counted.
pub(super) fn is_limited() -> bool {
    LIMIT.load(Ordering::Relaxed) != NO_LIMIT
}

/// Takes part in the limit: when it is reached, the pages of `map` go and `uncounted`, its bits of
/// tiles that need not be counted, become zero.
pub(super) fn join(map: &Arc<Mapped>, uncounted: &Arc<[AtomicU64]>) {
    let mut counted = COUNTED.lock();
    // Those that are closed by now.
    counted.retain(|(map, _)| map.strong_count() > 0);
    counted.push((Arc::downgrade(map), Arc::downgrade(uncounted)));
}

/// Counts a tile that was touched, and gives all back where these are too many.
pub(super) fn touched() {
    let now = TOUCHED.fetch_add(1, Ordering::Relaxed) + 1;
    if now >= LIMIT.load(Ordering::Relaxed) {
        give_back();
    }
}

#[cold]
fn give_back() {
    let counted = COUNTED.lock();
    // Another thread may have been faster.
    if TOUCHED.load(Ordering::Relaxed) < LIMIT.load(Ordering::Relaxed) {
        return;
    }
    for (map, uncounted) in counted.iter() {
        let (Some(map), Some(uncounted)) = (map.upgrade(), uncounted.upgrade()) else { continue };
        // The bits first: a tile that is touched in between is counted though it went.
        uncounted.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        map.release();
    }
    TOUCHED.store(0, Ordering::Relaxed);
}

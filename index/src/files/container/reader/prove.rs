//! Proves the tiles of a container: each when it is first touched, or all of them.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::footer::tiles;
use super::super::resident;
use super::super::{SectionKind, TILE_BYTES};
use super::Reader;
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};

impl Reader {
    /// Proves every tile, those in padding included.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first bad tile.
    pub fn verify(&self) -> Result<()> {
        (0..tiles(self.footer.data_bytes) as usize).try_for_each(|tile| self.prove_now(tile))
    }

    /// Number of tiles: runs of 64 KiB that have a checksum each.
    pub(crate) fn tiles(&self) -> usize {
        tiles(self.footer.data_bytes) as usize
    }

    /// Proves some tiles, whether they were proven before or not. Returns what is wrong with each
    /// bad one, at most `most` of them.
    pub(crate) fn bad_tiles(&self, tiles: Range<usize>, most: usize) -> Vec<Error> {
        tiles.filter_map(|tile| self.prove_now(tile).err()).take(most).collect()
    }

    /// [`Self::verify`] that holds no more than a few MiB of the file in memory.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_released(&self) -> Result<()> {
        const TILES: usize = 64;
        for tile in 0..tiles(self.footer.data_bytes) as usize {
            self.prove_now(tile)?;
            if tile % TILES == TILES - 1 {
                self.release();
            }
        }
        self.release();
        Ok(())
    }

    /// Proves every tile that is not proven yet: afterwards no read can fail for its bytes.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(crate) fn prove_all(&self) -> Result<()> {
        match tiles(self.footer.data_bytes) as usize {
            0 => Ok(()),
            tiles => self.prove(0, tiles - 1),
        }
    }

    /// SHA-256 of the whole file; reads all of it. Bytes that cannot be read count as zeros, so
    /// that it is another one then.
    pub fn checksum(&self) -> Hash {
        let mut digest = Hasher::new();
        for tile in self.all().chunks(TILE_BYTES) {
            digest.update(tile);
            self.count();
        }
        digest.finish()
    }

    /// SHA-256 of what follows the sections: the checksums of all tiles, and the footer. It
    /// tells files of other content apart without reading it: 4 bytes of each 64 KiB are read.
    pub fn seal(&self) -> Hash {
        let mut digest = Hasher::new();
        digest.update(&self.all()[self.footer.data_bytes as usize..]);
        digest.finish()
    }

    /// The table of checksums.
    pub(super) fn checks(&self) -> &[u8] {
        let start = self.footer.data_bytes as usize;
        &self.all()[start..start + 4 * tiles(self.footer.data_bytes) as usize]
    }

    #[inline]
    pub(super) fn is_ready(&self, tile: usize) -> bool {
        is_set(&self.ready, tile)
    }

    /// Whether the checksum of a tile was right.
    pub(super) fn is_proven(&self, tile: usize) -> bool {
        is_set(&self.proven, tile)
    }

    /// Counts a tile that was touched, where mapped pages have a limit.
    fn count(&self) {
        if !resident::is_limited() {
            return;
        }
        if !self.counts.swap(true, Ordering::Relaxed) {
            resident::join(&self.map, &self.ready);
        }
        resident::touched();
    }

    /// Proves the tiles `first..=last` unless they already are. Two threads may prove the same one;
    /// that is only work.
    #[inline(never)]
    pub(super) fn prove(&self, first: usize, last: usize) -> Result<()> {
        if self.map.reads_pages() {
            let end = ((last + 1) * TILE_BYTES).min(self.footer.data_bytes as usize);
            self.map.will_need(self.range.start + first * TILE_BYTES..self.range.start + end);
        }
        for tile in first..=last {
            if self.is_ready(tile) {
                continue;
            }
            if is_set(&self.proven, tile) {
                self.count();
            } else {
                self.prove_now(tile)?;
                set(&self.proven, tile);
            }
            set(&self.ready, tile);
        }
        Ok(())
    }

    #[cold]
    fn prove_now(&self, tile: usize) -> Result<()> {
        let start = tile * TILE_BYTES;
        let end = (start + TILE_BYTES).min(self.footer.data_bytes as usize);
        let check = &self.checks()[4 * tile..4 * tile + 4];
        let want = u32::from_le_bytes([check[0], check[1], check[2], check[3]]);
        let found = crc32c::crc32c(&self.all()[start..end]);
        self.count();
        // Zeros in the place of what cannot be read have a checksum too.
        self.intact()?;
        if found == want {
            return Ok(());
        }
        let within: Vec<&str> = self
            .footer
            .sections
            .iter()
            .filter(|s| s.offset < end as u64 && s.offset + s.len > start as u64)
            .map(|s| s.known().map_or("unknown section", SectionKind::name))
            .collect();
        Err(Error::corrupt(
            &self.path,
            format!(
                "bytes {start}..{end} ({}): CRC-32C {found:08x}, expected {want:08x}",
                if within.is_empty() { "padding".to_owned() } else { within.join(", ") }
            ),
        ))
    }
}

#[inline]
fn is_set(bits: &[AtomicU64], i: usize) -> bool {
    // Relaxed: the bit guards no other memory; the mapped bytes never change.
    bits[i / 64].load(Ordering::Relaxed) >> (i % 64) & 1 == 1
}

fn set(bits: &[AtomicU64], i: usize) {
    bits[i / 64].fetch_or(1 << (i % 64), Ordering::Relaxed);
}

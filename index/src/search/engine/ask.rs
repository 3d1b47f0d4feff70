//! Asks the disk for the lists that a scan will read, some way ahead of it.

use super::{Buffers, Target};

/// Lists that are asked for at a time. As many again are ahead of the scan, and no more: what is
/// asked for too early may be pushed out of memory before it is read.
const LISTS: usize = 64;

/// How far a scan has asked.
#[derive(Default)]
pub(super) struct Asked {
    end: usize,
}

impl Asked {
    /// Asks for what comes after `place` of `lists`, if scans read the disk and that was not asked
    /// for yet. `number` is the list's number.
    #[inline]
    pub fn ahead_of<T>(
        &mut self,
        place: usize,
        lists: &[T],
        number: impl Fn(&T) -> u32,
        target: &Target<'_>,
        buffers: &mut Buffers,
    ) {
        if buffers.reads_disk && place + LISTS > self.end && self.end < lists.len() {
            let end = (place + 2 * LISTS).min(lists.len());
            let soon = lists[self.end.min(end)..end].iter().map(number);
            target.shard.will_need(soon, &mut buffers.ranges);
            self.end = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::tests::{collection, draw};
    use super::super::{Scratch, Sharing};
    use crate::search::params::SearchParams;
    use crate::search::snapshot::Snapshot;

    /// Every way through the lists asks for them where the disk is read, and only there.
    #[test]
    fn scans_that_read_the_disk_ask_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let tmp = tempfile::tempdir().unwrap();
        let queries = {
            let snapshot = collection(&mut rng, tmp.path());
            draw(&mut rng, 40 * snapshot.model().parts().dim, 1.0)
        };
        let ways: [(usize, Sharing); 3] =
            [(1, Sharing::Never), (40, Sharing::Never), (40, Sharing::Always)];
        for (count, sharing) in ways {
            for asking in [false, true] {
                let snapshot = Snapshot::open(tmp.path(), None).unwrap();
                let params = SearchParams { k: 5, nprobe: usize::MAX, ..SearchParams::default() };
                let mut scratch = Scratch::default().sharing(sharing).asking(asking);
                let x = &queries[..count * snapshot.model().parts().dim];
                snapshot.search_batch(x, &params, &mut scratch).unwrap();
                let asked = snapshot.shards().map(|shard| shard.file().was_asked());
                assert!(asked.eq(snapshot.shards().map(|_| asking)), "{count}, {sharing:?}");
            }
        }
    }
}

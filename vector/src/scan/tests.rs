//! Every level against the scalar scan: the same integers, for every width, code size and m.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

struct Case {
    layout: CodeLayout,
    codes: Vec<u8>,
    len: usize,
    bytes: Vec<u8>,
    table: Vec<u8>,
}

impl Case {
    fn random(m: usize, ksub: usize, len: usize, rng: &mut ChaCha8Rng) -> Self {
        let layout = CodeLayout::new(m, ksub).unwrap();
        let flat: Vec<u8> = (0..len * m).map(|_| rng.random_range(0..ksub) as u8).collect();
        let mut codes = Vec::new();
        layout.pack(&flat, &mut codes);
        let bytes = (0..len).map(|_| rng.random()).collect();
        let table = (0..m * ksub).map(|_| rng.random()).collect();
        Self { layout, codes, len, bytes, table }
    }

    fn list(&self, factor: Option<u16>) -> List<'_> {
        let scalars = factor.map(|factor| Scalars { bytes: &self.bytes, factor });
        List {
            codes: &self.codes,
            len: self.len,
            scalars,
            next: &self.codes[..self.codes.len() / 2],
        }
    }

    /// Bounds computed from the codes themselves, without blocks.
    fn expected(&self, factor: Option<u16>) -> Vec<u16> {
        let ksub = 1 << self.layout.bits();
        let mut code = vec![0; self.layout.m()];
        (0..self.len)
            .map(|i| {
                self.layout.get(&self.codes, self.len, i, &mut code);
                let sum: u32 = code
                    .iter()
                    .enumerate()
                    .map(|(j, &c)| u32::from(self.table[j * ksub + usize::from(c)]))
                    .sum();
                let term = factor.map_or(0, |f| (u32::from(self.bytes[i]) * u32::from(f)) >> 8);
                (sum + term).min(65_535) as u16
            })
            .collect()
    }

    fn check(&self, factor: Option<u16>) {
        let want = self.expected(factor);
        let mut sorted = want.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        for simd in Simd::all() {
            let what = format!(
                "{}, m {}, {} bits, len {}, factor {factor:?}",
                simd.level(),
                self.layout.m(),
                self.layout.bits(),
                self.len
            );
            let mut blocks = vec![[3; BLOCK]];
            bounds(simd, self.layout, self.list(factor), &self.table, &mut blocks);
            let blocks = &blocks[1..];
            assert_eq!(blocks.len(), self.len.div_ceil(BLOCK), "{what}");
            let lane = |i: usize| blocks[i / BLOCK][place_of(i % BLOCK)];
            let found: Vec<u16> = (0..blocks.len() * BLOCK).map(lane).collect();
            assert_eq!(found[..self.len], want, "{what}");
            assert!(found[self.len..].iter().all(|&b| b == u16::MAX), "{what}");
            for threshold in [0, median, u16::MAX] {
                let below = threshold.min(u16::MAX - 1);
                let kept = (0u32..).zip(&want).filter(|(_, b)| **b <= below).map(|(i, _)| i);
                let kept: Vec<u32> = kept.collect();
                assert_eq!(count_at_most(simd, blocks, threshold), kept.len(), "{what}");
                let mut found = Vec::new();
                between(simd, blocks, None, threshold, &mut found);
                assert_eq!(found, kept, "{what} {threshold}");
                let mut found = Vec::new();
                between(simd, blocks, Some(median / 2), threshold, &mut found);
                let upper = kept.iter().filter(|&&i| want[i as usize] > median / 2).copied();
                assert_eq!(found, upper.collect::<Vec<_>>(), "{what} {threshold}");
                let mut found = vec![7];
                survivors(simd, self.layout, self.list(factor), &self.table, threshold, &mut found);
                let kept = (0u32..).zip(&want).filter(|(_, b)| **b <= threshold).map(|(i, _)| i);
                assert_eq!(
                    found,
                    [7].into_iter().chain(kept).collect::<Vec<_>>(),
                    "{what} {threshold}"
                );
            }
        }
    }
}

#[test]
fn every_level_equals_the_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let levels: Vec<&str> = Simd::all().map(|s| s.level().name()).collect();
    eprintln_levels(&levels);
    for ksub in [256, 16] {
        for m in [1, 4, 5, 16, 31] {
            // Around every boundary: groups of 16, blocks of 64, four blocks in flight.
            for len in [0, 1, 15, 16, 17, 47, 48, 49, 63, 64, 65, 127, 128, 255, 256, 257, 300, 640]
            {
                let case = Case::random(m, ksub, len, &mut rng);
                case.check(None);
                case.check(Some(300));
            }
        }
    }
}

/// A scan in two passes finds what one pass finds: with every number of groups, for tables whose
/// entries are near each other within a group and for others, for every share of rows.
#[test]
fn two_passes_find_what_one_finds() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for simd in Simd::all() {
        for m in [1, 4, 5, 16, 31] {
            for len in [0, 1, 15, 16, 17, 48, 63, 64, 65, 300, 640] {
                let mut case = Case::random(m, 256, len, &mut rng);
                if len % 2 == 0 {
                    let near = |i: usize| ((i % 16 * 13 + i / 128 % 2 * 40) + i % 3) as u8;
                    case.table = (0..m * 256).map(near).collect();
                }
                for factor in [None, Some(300)] {
                    let mut minima = Minima::new(simd, case.layout);
                    assert_eq!(minima.is_some(), simd.level() == Level::Avx2);
                    let mut sorted = case.expected(factor);
                    sorted.sort_unstable();
                    let at = |share: usize| sorted.get(len * share / 100).copied().unwrap_or(9);
                    // Few rows, again and again, until there are few groups; then many.
                    for threshold in [0, 0, 0, at(1), at(5), at(50), at(50), u16::MAX, at(2), 0] {
                        let (mut found, mut want) = (vec![7], vec![7]);
                        let list = case.list(factor);
                        survivors(simd, case.layout, list, &case.table, threshold, &mut want);
                        if let Some(minima) = &mut minima {
                            let (layout, table) = (case.layout, &case.table);
                            minima.survivors(simd, layout, list, table, threshold, &mut found);
                            assert_eq!(found, want, "m {m}, len {len}, {threshold}");
                        }
                    }
                }
            }
        }
    }
}

/// The largest sums: no entry of the table and no number of columns overflows 16 bits, and the
/// scalar term saturates rather than wraps.
#[test]
fn the_largest_sums_fit() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for ksub in [256, 16] {
        let mut case = Case::random(MAX_M, ksub, 333, &mut rng);
        case.table.fill(255);
        case.bytes.fill(255);
        case.check(None);
        case.check(Some(u16::MAX));
        assert_eq!(case.expected(None)[0], 32_640);
        assert_eq!(case.expected(Some(u16::MAX))[0], 65_535);
    }
}

/// A level that this processor lacks is not tested, and says so.
#[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
fn eprintln_levels(levels: &[&str]) {
    for level in Level::ALL.iter().filter(|l| !levels.contains(&l.name())) {
        eprintln!("SKIPPED: {level} is not on this processor");
    }
}

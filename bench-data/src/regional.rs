//! Vectors with the structure of region descriptors of photos, any number of them, without a file.
//!
//! A vector is a sum along the paths through two trees, and noise. Each node of a tree has a random
//! vector; each level of it weighs less than the one above; of the four ways down from a node, some
//! are taken more often. So vectors lie in groups within groups, dense and sparse ones, and the two
//! trees cut across each other, as what is in a photo and how it is seen do. `README.md` says how
//! near that comes to real descriptors.
//!
//! A vector follows from its number alone: any process can make any range. Sums, products and
//! square roots are all the arithmetic there is, so the bits are the same everywhere.

use std::ops::Range;

/// Dimension of the vectors.
pub const DIM: usize = 96;

/// Trees, levels of a tree, and ways down from a node.
const TREES: usize = 2;
const LEVELS: usize = 8;
const WAYS: usize = 4;
/// Random vectors of a level, of which each node has one.
const NODES: usize = 4096;
/// Number of times that each way is taken, of 256.
const OFTEN: [u8; WAYS] = [133, 61, 37, 25];
/// Variance that is left below each level, of that above it: the upper two levels, and the others.
const LEFT: [f32; 2] = [0.9, 0.755];
const UPPER_LEVELS: usize = 2;
/// Mean variance of a vector's own noise. Some have nearly none, some a lot.
const NOISE: f32 = 0.15;

/// The first of the numbers whose vectors are queries, and of those to train on: nobody asks for so
/// many others.
pub const QUERIES: u64 = 1 << 40;
/// See [`QUERIES`].
pub const TRAINING: u64 = 1 << 41;

/// A source of vectors.
pub struct Regional {
    seed: u64,
    /// Vectors of nodes, weighed, (TREES, LEVELS, NODES, DIM).
    nodes: Vec<f32>,
    /// Variance of what all levels leave.
    rest: f32,
}

/// SplitMix64 (Steele, Lea, Flood, *Fast splittable pseudorandom number generators*, 2014).
struct Random(u64);

impl Random {
    fn new(seed: u64, number: u64) -> Self {
        let mut this = Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        this.0 = this.next();
        this
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of mean 0 and variance 1: the sum of four even ones, which is nearly normal.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xffff).sum();
        // Each has the variance (2^32 - 1) / 12.
        (sum as f32 - 2.0 * 65_535.0) / (65_536.0 * 0.577_350_26)
    }

    /// An even number from 0 to 1.
    fn even(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}

impl Regional {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        let mut nodes = Vec::with_capacity(TREES * LEVELS * NODES * DIM);
        let mut rest = 1.0;
        for tree in 0..TREES {
            rest = 1f32;
            for level in 0..LEVELS {
                let below = rest * LEFT[usize::from(level >= UPPER_LEVELS)];
                let scale = ((rest - below) / (TREES * DIM) as f32).sqrt();
                rest = below;
                let mut random = Random::new(seed, !((tree * LEVELS + level) as u64));
                nodes.extend((0..NODES * DIM).map(|_| scale * random.normal()));
            }
        }
        Self { seed, nodes, rest }
    }

    /// Appends the vectors of these numbers to `out`, (n, DIM), each of length 1.
    pub fn append(&self, numbers: Range<u64>, out: &mut Vec<f32>) {
        out.reserve((numbers.end - numbers.start) as usize * DIM);
        for number in numbers {
            let mut random = Random::new(self.seed, number);
            let own = random.even();
            // u⁴ has the mean 1/5.
            let variance = self.rest + 5.0 * NOISE * own * own * own * own;
            let scale = (variance / DIM as f32).sqrt();
            let mut x: [f32; DIM] = std::array::from_fn(|_| scale * random.normal());
            for tree in 0..TREES {
                let mut path = tree as u64 + 1;
                let ways = random.next().to_le_bytes();
                for (level, &byte) in ways.iter().enumerate().take(LEVELS) {
                    path = Random(path.wrapping_mul(WAYS as u64 + 1) + way(byte)).next();
                    let node = (tree * LEVELS + level) * NODES + (path >> 52) as usize;
                    let node = &self.nodes[node * DIM..][..DIM];
                    x.iter_mut().zip(node).for_each(|(x, node)| *x += node);
                }
            }
            let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            out.extend(x.iter().map(|x| x / norm));
        }
    }
}

/// The way that a random byte takes.
fn way(byte: u8) -> u64 {
    let mut left = byte;
    for (way, often) in (0..).zip(OFTEN) {
        match left.checked_sub(often) {
            Some(more) => left = more,
            None => return way,
        }
    }
    WAYS as u64 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_has_the_same_vectors() {
        let source = Regional::new(1);
        let (mut all, mut parts) = (Vec::new(), Vec::new());
        source.append(5..305, &mut all);
        for range in [5..6, 6..100, 100..305] {
            source.append(range, &mut parts);
        }
        assert_eq!(all, parts);
        for x in all.chunks_exact(DIM) {
            assert!((x.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let mut others = Vec::new();
        Regional::new(2).append(5..305, &mut others);
        assert_ne!(all, others);
    }

    /// The bits of some vectors as they were when this was written: data of old benchmarks must
    /// not change.
    #[test]
    fn the_bits_stay_what_they_are() {
        let mut x = Vec::new();
        Regional::new(1).append(1_000_000_007..1_000_000_009, &mut x);
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_bits().to_le_bytes()).collect();
        let hash: String = <sha2::Sha256 as sha2::Digest>::digest(&bytes)[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hash, "76db1fa2f6737f21");
    }

    /// Noise has the mean and the variance that it is said to have.
    #[test]
    fn noise_is_nearly_normal() {
        let mut random = Random::new(3, 4);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(random.normal())).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let beyond = draws.iter().filter(|x| x.abs() > 2.0).count() as f64 / f64::from(n);
        assert!((0.03..0.06).contains(&beyond), "{beyond}");
    }
}

//! Random draws that are the same on every machine and in every version of the `rand` crates:
//! a ChaCha8 stream keyed by what it is for, and ranges by explicit arithmetic.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Purpose of a stream of draws. The number is part of the key: two purposes never share draws.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Structure and colours of one landmark.
    Landmark = 1,
    /// Camera, light and surroundings of one photo of a landmark.
    View = 2,
    /// Everything in one distractor photo.
    Distractor = 3,
    /// Choice of photos for a list.
    List = 4,
    /// Changes that make one copy of a photo.
    Copy = 5,
    /// Choice of photos that are copied.
    Copied = 6,
}

/// A stream of draws.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of one thing: independent of all other things, of their number and their order.
    pub(crate) fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let mut key = [0u8; 32];
        for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 32 random bits.
    pub(crate) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1), on a grid of 2⁻²⁴: exact in f32.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    /// Uniform in [low, high).
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in 0..n; 0 for n = 0. The bias of the multiplication is below n / 2⁶⁴.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform integer in low..=high.
    pub(crate) fn int(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(u64::from(high - low) + 1) as u32
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// One of the options.
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, options: [T; N]) -> T {
        options[self.below(N as u64) as usize]
    }

    /// Fisher and Yates' shuffle.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

//! Small squares of a picture.

use super::plane::Plane;

/// Side of a block in pixels.
pub(super) const BLOCK: usize = 12;
/// A block that varies less (standard deviation of values 0 to 1) is flat: it says nothing.
const FLAT: f32 = 0.012;
/// Correlations are taken as if blocks varied at least so much: what a flat one has is noise.
const LEAST: f32 = FLAT * BLOCK as f32 / 2.0;

/// A block of the frame: its place, and its values less their mean.
pub(super) struct Block {
    pub at: [usize; 2],
    pub values: [f32; BLOCK * BLOCK],
    /// Root of the sum of the squares.
    pub length: f32,
}

impl Block {
    /// The blocks of a plane, row by row, in its middle.
    pub fn all(plane: &Plane) -> Vec<Self> {
        let starts = |len: usize| {
            let count = len / BLOCK;
            let margin = (len - count * BLOCK) / 2;
            (0..count).map(move |i| margin + i * BLOCK)
        };
        let rows = starts(plane.height);
        rows.flat_map(|y| starts(plane.width).map(move |x| Self::of(plane, [x, y]))).collect()
    }

    pub fn of(plane: &Plane, at: [usize; 2]) -> Self {
        let mut values = [0.0; BLOCK * BLOCK];
        for (row, target) in values.chunks_exact_mut(BLOCK).enumerate() {
            target.copy_from_slice(&plane.row(at[1] + row)[at[0]..at[0] + BLOCK]);
        }
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        values.iter_mut().for_each(|value| *value -= mean);
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        Self { at, values, length }
    }

    /// Says whether the block is flat.
    pub fn is_flat(&self) -> bool {
        self.length < FLAT * BLOCK as f32
    }

    /// The correlation with the block of `other` at `at`; NaN if that has a NaN.
    pub fn correlation(&self, other: &Plane, at: [usize; 2]) -> f32 {
        let (mut product, mut sum, mut square) = (0.0f32, 0.0f32, 0.0f32);
        for (row, values) in self.values.chunks_exact(BLOCK).enumerate() {
            let other = &other.row(at[1] + row)[at[0]..at[0] + BLOCK];
            for (a, b) in values.iter().zip(other) {
                product += a * b;
                sum += b;
                square += b * b;
            }
        }
        let length = (square - sum * sum / (BLOCK * BLOCK) as f32).max(1e-9).sqrt();
        product / (self.length.max(LEAST) * length.max(LEAST))
    }
}

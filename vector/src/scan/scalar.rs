//! The scan without vector instructions: what a bound is, and the oracle of the other levels.

use super::{BlockBounds, Checked, Sink, low_bits, place_of};
use crate::codes::BLOCK;

/// Scans a list block by block.
pub(super) fn scan(checked: Checked<'_>, sink: &mut impl Sink) {
    let Checked { layout, list, table } = checked;
    let ksub = 1usize << layout.bits();
    let mut code = [0u8; crate::codes::MAX_M];
    let code = &mut code[..layout.m()];
    for first in (0..list.len).step_by(BLOCK) {
        let lanes = (list.len - first).min(BLOCK);
        let mut block = [0u16; BLOCK];
        for (lane, bound) in block[..lanes].iter_mut().enumerate() {
            layout.get(list.codes, list.len, first + lane, code);
            let sum: u16 = code
                .iter()
                .zip(table.chunks_exact(ksub))
                .map(|(&c, row)| u16::from(row[usize::from(c)]))
                .sum();
            let term = list
                .scalars
                .map_or(0, |s| (u32::from(s.bytes[first + lane]) * u32::from(s.factor)) >> 8);
            *bound = (u32::from(sum) + term).min(u32::from(u16::MAX)) as u16;
        }
        let hits = |threshold: u16| {
            (0..lanes).map(|i| u64::from(block[i] <= threshold) << i).fold(0, |a, b| a | b)
        };
        let split = |out: &mut BlockBounds| {
            (0..lanes).for_each(|lane| out[place_of(lane)] = block[lane]);
        };
        sink.block(first, low_bits(lanes), hits, split);
    }
}

//! Interleaved tables without vector instructions: what a sum is, and the oracle of the other
//! levels.

use super::{Checked, Found, GROUP, KSUB, MAX_LANES};

/// The sums of one row, one for each query.
fn sums(checked: &Checked<'_>, row: usize) -> [u16; MAX_LANES] {
    let Checked { layout, list, tables } = checked;
    let mut code = [0; crate::codes::MAX_M + 1];
    layout.get(list.codes, list.len, row, &mut code[..layout.m()]);
    if tables.terms {
        code[layout.m()] = list.terms[row];
    }
    let mut sums = [0u16; MAX_LANES];
    for (g, group) in code[..tables.m + usize::from(tables.terms)].chunks(GROUP).enumerate() {
        let mut bytes = [0u8; MAX_LANES];
        for (j, &c) in (g * GROUP..).zip(group) {
            let at = (j * KSUB + usize::from(c)) * tables.width;
            let entries = &tables.entries()[at..][..tables.width];
            bytes.iter_mut().zip(entries).for_each(|(sum, &e)| *sum = sum.saturating_add(e));
        }
        sums.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += u16::from(bytes));
    }
    sums
}

/// Rows with a sum at or below a threshold.
pub(super) fn survivors(checked: Checked<'_>, thresholds: &[u16; MAX_LANES], out: &mut Vec<Found>) {
    for row in 0..checked.list.len {
        let sums = sums(&checked, row);
        let hits = sums.iter().zip(thresholds).enumerate();
        let hits = hits.fold(0, |hits, (i, (sum, t))| hits | u64::from(sum <= t) << i);
        let lanes = hits & checked.lanes();
        if lanes != 0 {
            out.push(Found { row: row as u32, lanes });
        }
    }
}

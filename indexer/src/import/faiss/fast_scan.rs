//! FAISS's fast-scan codes: 4-bit codes in blocks of 32 vectors, as its kernels want them.
//!
//! A block holds 32 bytes for each two sub-quantizers, their number rounded up to even. Of those 32
//! the first sixteen are the even sub-quantizer's, the others the odd one's; byte p has vector
//! PLACE[p] in its low nibble and vector PLACE[p] + 16 in its high one (`pq4_pack_codes` in FAISS's
//! `impl/pq4_fast_scan.cpp`).

use std::io::Read;

use super::cursor::{Cursor, Result};
use super::lists::List;

/// Vectors in a block.
const BLOCK: usize = 32;
/// Vector of the low nibble of each byte.
const PLACE: [usize; 16] = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15];

/// Reads the fields between `by_residual` and the quantizer of an IwPf: i32 block size, u64
/// sub-quantizers rounded up to even, i32 implementation, u64 query block.
pub(super) fn read_shape<R: Read>(file: &mut Cursor<R>) -> Result<()> {
    let at = file.at();
    let block: i32 = file.one("fast-scan block size")?;
    let _even_m: u64 = file.one("fast-scan sub-quantizers")?;
    let _implementation: i32 = file.one("fast-scan implementation")?;
    let _query_block: u64 = file.one("fast-scan query block")?;
    if block != BLOCK as i32 {
        return Err(format!(
            "offset {at}: fast-scan codes in blocks of {BLOCK} expected, found {block}"
        ));
    }
    Ok(())
}

/// Inverted lists (class `ilbl`) of codes with `m` sub-quantizers, as lists of plain 4-bit codes.
pub(super) fn read_lists<R: Read>(
    file: &mut Cursor<R>,
    nlist: usize,
    m: usize,
    progress: &dyn Fn(u64),
) -> Result<Vec<List>> {
    let at = file.at();
    let class = file.code("class of the inverted lists")?;
    if class != "ilbl" {
        return Err(format!(
            "offset {at}: inverted lists of blocks (ilbl) expected, found class \"{class}\""
        ));
    }
    let block_bytes = m.div_ceil(2) * BLOCK;
    let [found_nlist, _code_size, block, bytes]: [u64; 4] =
        file.one("shape of the inverted lists")?;
    if [found_nlist, block, bytes] != [nlist as u64, BLOCK as u64, block_bytes as u64] {
        return Err(format!(
            "offset {at}: {nlist} inverted lists in blocks of {BLOCK} vectors and {block_bytes} \
             bytes expected, found {found_nlist}, {block} and {bytes}"
        ));
    }
    let mut lists = Vec::new();
    for list in 0..nlist {
        let ids: Vec<i64> = file.vector(&format!("ids of list {list}"))?;
        let at = file.at();
        let blocks: Vec<u8> = file.vector(&format!("codes of list {list}"))?;
        let expected = ids.len().div_ceil(BLOCK) * block_bytes;
        if blocks.len() != expected {
            return Err(format!(
                "offset {at}: list {list} of {} vectors: {expected} bytes of codes expected, found \
                 {}",
                ids.len(),
                blocks.len()
            ));
        }
        let codes = plain(&blocks, ids.len(), m);
        lists.push(List { ids, codes });
        progress(file.at());
    }
    Ok(lists)
}

/// Codes (n, ⌈m / 2⌉), low nibble first, from blocks.
fn plain(blocks: &[u8], n: usize, m: usize) -> Vec<u8> {
    let code_bytes = m.div_ceil(2);
    let mut place_of = [0; 16];
    for (place, &vector) in PLACE.iter().enumerate() {
        place_of[vector] = place;
    }
    let mut codes = Vec::with_capacity(n * code_bytes);
    for vector in 0..n {
        let block = &blocks[vector / BLOCK * code_bytes * BLOCK..][..code_bytes * BLOCK];
        let (within, shift) = (vector % 16, if vector % BLOCK < 16 { 0 } else { 4 });
        for two in block.chunks_exact(BLOCK) {
            let nibble = |at: usize| (two[at] >> shift) & 15;
            codes.push(nibble(place_of[within]) | nibble(16 + place_of[within]) << 4);
        }
    }
    codes
}

//! Inverted lists as FAISS stores them.

/// One inverted list.
#[derive(Debug, Default)]
pub struct List {
    /// FAISS's ids, `(n,)`.
    pub ids: Vec<i64>,
    /// Codes as FAISS packs them, `(n, code_bytes)`.
    pub codes: Vec<u8>,
}

/// Bytes of one code of `m` sub-quantizers with `ksub` codewords each, as FAISS packs it.
pub fn code_bytes(m: usize, ksub: usize) -> usize {
    if ksub == 16 { m.div_ceil(2) } else { m }
}

/// Writes code number `at` of a list to `code`, one codeword a byte. FAISS packs 4-bit codes low
/// nibble first.
pub(super) fn unpack(codes: &[u8], at: usize, ksub: usize, code: &mut [u8]) {
    let bytes = code_bytes(code.len(), ksub);
    let packed = &codes[at * bytes..(at + 1) * bytes];
    if ksub == 16 {
        for (two, byte) in code.chunks_mut(2).zip(packed) {
            two.iter_mut().zip([byte & 15, byte >> 4]).for_each(|(c, nibble)| *c = nibble);
        }
    } else {
        code.copy_from_slice(packed);
    }
}

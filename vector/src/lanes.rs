//! Lanes of AVX2 registers that a mask keeps, moved to the front: AVX-512 has an instruction for
//! it.

use std::arch::x86_64::*;

/// For each mask of eight bits the places of its bits, lowest first; then zeros.
static PLACES: [[u8; 8]; 256] = places();

const fn places() -> [[u8; 8]; 256] {
    let mut places = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut found, mut bit) = (0, 0);
        while bit < 8 {
            if mask >> bit & 1 == 1 {
                places[mask][found] = bit as u8;
                found += 1;
            }
            bit += 1;
        }
        mask += 1;
    }
    places
}

/// The places of the bits of `mask`, which is below 256, lowest first.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn places_of(mask: u32) -> __m256i {
    // SAFETY: eight bytes are read.
    let places = unsafe { _mm_loadl_epi64(PLACES[mask as usize & 255].as_ptr().cast()) };
    _mm256_cvtepu8_epi32(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mask_has_its_places() {
        if !is_x86_feature_detected!("avx2") {
            return;
        }
        for mask in 0..256 {
            // SAFETY: the processor has AVX2; both are eight whole numbers.
            let found: [u32; 8] = unsafe { std::mem::transmute(places_of(mask)) };
            let want: Vec<u32> = (0..8).filter(|bit| mask >> bit & 1 == 1).collect();
            assert_eq!(found[..want.len()], want);
        }
    }
}

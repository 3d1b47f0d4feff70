//! Makes the checksums of a container's raw bytes right, as far as its structure can be made out.

use ocelli_index::container::{MAGIC, TILE_BYTES};

/// Bytes of the section table's root, which stands at its end: data_bytes u64, checks_crc u32,
/// relative pointer i32, number of sections u32, padding.
const ROOT: usize = 24;

/// Overwrites magic, footer CRC, CRC of the table of checksums and the tiles' checksums with those
/// that belong to the other bytes. What they claim (lengths, offsets, kinds) stays as it is.
pub fn seal(file: &mut [u8]) {
    let Some(trailer) = file.len().checked_sub(16) else { return };
    file[trailer + 8..].copy_from_slice(&MAGIC);
    let number = |at: usize, file: &[u8]| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let body_len = number(trailer, file) as usize;
    let Some(body) = trailer.checked_sub(body_len) else { return };
    if let Some(root) = trailer.checked_sub(ROOT).filter(|&root| root >= body + 8) {
        let data = u64::from_le_bytes(file[root..root + 8].try_into().unwrap());
        let fits = |data: &usize| data.div_ceil(TILE_BYTES) * 4 + data == body;
        if let Some(data) = usize::try_from(data).ok().filter(|d| *d <= body).filter(fits) {
            for (tile, start) in (0..data).step_by(TILE_BYTES).enumerate() {
                let crc = crc32c::crc32c(&file[start..(start + TILE_BYTES).min(data)]);
                file[data + 4 * tile..data + 4 * tile + 4].copy_from_slice(&crc.to_le_bytes());
            }
            let crc = crc32c::crc32c(&file[data..body]);
            file[root + 8..root + 12].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&file[body..trailer + 4]);
    file[trailer + 4..trailer + 8].copy_from_slice(&crc.to_le_bytes());
}

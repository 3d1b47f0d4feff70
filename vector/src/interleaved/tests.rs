use rand::{RngExt, SeedableRng};

use super::*;

/// Every level finds the rows that the definition finds: all widths of blocks, numbers of queries
/// up to both widths of tables, with terms and without.
#[test]
fn every_level_finds_the_same_rows() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    for (case, &m) in [1usize, 3, 8, 16, 17, 32].iter().cycle().take(60).enumerate() {
        let layout = CodeLayout::new(m, 256).unwrap();
        let len = [1, 15, 16, 17, 63, 64, 65, 200, 0][case % 9];
        let flat: Vec<u8> = (0..len * m).map(|_| rng.random()).collect();
        let mut codes = Vec::new();
        layout.pack(&flat, &mut codes);
        let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        let lanes = [1, 2, 31, 32, 33, 63, 64][case % 7];
        let most = [255u8, (255 / m) as u8, (500 / m).min(255) as u8][case % 3];
        let entries: Vec<u8> = (0..lanes * m * 256).map(|_| rng.random_range(0..=most)).collect();
        let factors: Vec<u16> = (0..lanes).map(|_| rng.random_range(0..400)).collect();
        let mut thresholds = [0; MAX_LANES];
        thresholds.iter_mut().for_each(|t| *t = rng.random_range(0..=1200));
        for terms in [false, true] {
            // The definition, from the codes and tables themselves.
            let sum = |row: usize, lane: usize| {
                let table = &entries[lane * m * 256..];
                let code = &flat[row * m..][..m];
                let entry = |(j, &c): (usize, &u8)| u16::from(table[j * 256 + usize::from(c)]);
                let mut columns: Vec<u16> = code.iter().enumerate().map(entry).collect();
                if terms {
                    let term = u32::from(bytes[row]) * u32::from(factors[lane]) / 256;
                    columns.push(term.min(255) as u16);
                }
                columns.chunks(2).map(|two| two.iter().sum::<u16>().min(255)).sum::<u16>()
            };
            let found = |row: usize| {
                let hit = |lane: &usize| sum(row, *lane) <= thresholds[*lane];
                let lanes = (0..lanes).filter(hit).map(|lane| 1u64 << lane).sum();
                Found { row: row as u32, lanes }
            };
            let want: Vec<Found> = (0..len).map(found).filter(|f| f.lanes != 0).collect();
            let own: Vec<&[u8]> = entries.chunks(m * 256).collect();
            let mut wide = [0; MAX_LANES];
            wide[..lanes].copy_from_slice(&factors);
            for simd in Simd::all() {
                let mut tables = Tables::default();
                tables.fill(simd, &own);
                if terms {
                    tables.set_terms(simd, &wide);
                }
                let parts: [&[u8]; 4] = [&[], &flat, &bytes[..len / 2], &entries];
                let next = &parts[..case % 5];
                let list = List { codes: &codes, len, terms: &bytes, next };
                let mut out = Vec::new();
                survivors(simd, layout, list, &tables, &thresholds, &mut out);
                assert_eq!(out, want, "{}, m {m}, {len} rows, {lanes} queries", simd.level());
            }
        }
    }
}

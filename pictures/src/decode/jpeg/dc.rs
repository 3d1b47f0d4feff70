//! The first scan of a progressive file, read code by code.
//!
//! zune-jpeg wants the marker directly behind the data of this scan. So no ones can be put there
//! that would make it notice missing data, and the scan is checked here. It holds one code for each
//! block, that of the DC coefficient.

use super::undecodable;
use crate::image_error::ImageError;

/// For each 16 bits that may come next the length of the code and its value together; 0: no code.
struct DcTable(Vec<u8>);

/// The contents that the data must have.
pub(super) struct FirstScan {
    tables: [Option<DcTable>; 4],
    /// Numbers of the tables, one for each block of an MCU.
    order: Vec<usize>,
    mcus_left: u64,
    /// MCUs between restart markers; 0: there are none.
    interval: u64,
}

impl FirstScan {
    /// Reads the tables; `huffman` are the segments that define them.
    ///
    /// # Errors
    /// [`ImageError::Undecodable`] if the scan names a table that is not in the file.
    pub(super) fn new(
        huffman: &[&[u8]],
        order: &[usize],
        mcus: u64,
        interval: u64,
    ) -> Result<FirstScan, ImageError> {
        let mut tables = [None, None, None, None];
        for (number, table) in huffman.iter().flat_map(|body| dc_tables(body)) {
            if let Some(slot) = tables.get_mut(number) {
                *slot = Some(table);
            }
        }
        if order.iter().any(|&number| tables.get(number).is_none_or(Option::is_none)) {
            return Err(undecodable("a scan names a Huffman table that there is not"));
        }
        Ok(FirstScan { tables, order: order.to_vec(), mcus_left: mcus, interval })
    }

    /// Whether the data of the next restart interval hold a code for each of its blocks.
    pub(super) fn holds(&mut self, data: &[u8]) -> bool {
        let mcus = match self.interval {
            0 => self.mcus_left,
            interval => self.mcus_left.min(interval),
        };
        self.mcus_left -= mcus;
        let order: Vec<&DcTable> =
            self.order.iter().filter_map(|&number| self.tables[number].as_ref()).collect();
        holds(data, &order, mcus)
    }
}

/// The DC tables that a segment of Huffman tables (T.81, B.2.4.2) defines, with their numbers.
fn dc_tables(mut body: &[u8]) -> Vec<(usize, DcTable)> {
    let mut found = Vec::new();
    while let Some((&[class_and_number, ref counts @ ..], rest)) = body.split_first_chunk::<17>() {
        let symbols = counts.iter().map(|&n| usize::from(n)).sum::<usize>();
        let Some((values, behind)) = rest.split_at_checked(symbols) else {
            break;
        };
        if class_and_number >> 4 == 0 {
            found.push((usize::from(class_and_number & 15), DcTable::new(counts, values)));
        }
        body = behind;
    }
    found
}

impl DcTable {
    fn new(counts: &[u8], values: &[u8]) -> DcTable {
        let mut lengths = vec![0; 1 << 16];
        let (mut at, mut values) = (0, values.iter());
        for (length, &count) in (1_u8..).zip(counts) {
            for &value in values.by_ref().take(usize::from(count)) {
                // Each code of this length begins so many words of 16 bits.
                let end = at + (1 << (16 - length));
                if let Some(words) = lengths.get_mut(at..end) {
                    words.fill(length + value.min(16));
                }
                at = end;
            }
        }
        DcTable(lengths)
    }
}

/// Whether the data of one restart interval hold a code for each block: `mcus` times those of
/// `order`, a table a block.
fn holds(data: &[u8], order: &[&DcTable], mcus: u64) -> bool {
    let (mut bits, mut left) = (0_u64, 0_u32);
    let mut bytes = data.iter();
    for _ in 0..mcus {
        for table in order {
            while left <= 32 {
                // Ones stand behind the data, which are no code.
                let byte = bytes.next().copied().unwrap_or(0xff);
                if byte == 0xff {
                    bytes.next(); // the stuffed zero
                }
                bits = bits << 8 | u64::from(byte);
                left += 8;
            }
            let used = u32::from(table.0[(bits >> (left - 16)) as usize & 0xffff]);
            if used == 0 {
                return false;
            }
            left -= used;
        }
    }
    true
}

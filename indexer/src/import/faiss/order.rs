//! The order in which rows of an index of FAISS are written.

use super::cursor::Result;
use super::lists::List;

/// Rows by ascending id, so that ids without gaps need no room in a shard.
pub(super) struct Order {
    /// Places in the lists laid end to end.
    rows: Vec<u64>,
    /// First place of each list, and the end.
    starts: Vec<u64>,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Order {
    /// # Errors
    /// No rows; ids that are negative or there twice.
    pub(super) fn of(lists: &[List]) -> Result<Self> {
        let mut starts = vec![0u64];
        let mut ids = Vec::new();
        for (number, list) in lists.iter().enumerate() {
            if let Some((row, id)) = list.ids.iter().enumerate().find(|&(_, &id)| id < 0) {
                return Err(format!("list {number}, row {row}: id {id}, expected 0 to 2^63 - 1"));
            }
            ids.extend(list.ids.iter().map(|&id| id as u64));
            starts.push(ids.len() as u64);
        }
        let (Some(&first), Some(&last)) = (ids.iter().min(), ids.iter().max()) else {
            return Err("the index holds no vectors".to_owned());
        };
        let twice = |a: u64, b: u64| {
            let place = |row: u64| {
                let list = starts.partition_point(|&start| start <= row) - 1;
                format!("list {list}, row {}", row - starts[list])
            };
            let (first, second) = (place(a.min(b)), place(a.max(b)));
            format!("{second}: id {} is there twice, first in {first}", ids[a as usize])
        };
        const FREE: u64 = u64::MAX;
        let rows = if last - first < ids.len() as u64 {
            // As many ids as rows: each row has its place.
            let mut rows = vec![FREE; ids.len()];
            for (row, id) in (0u64..).zip(&ids) {
                let place = &mut rows[(id - first) as usize];
                if *place != FREE {
                    return Err(twice(*place, row));
                }
                *place = row;
            }
            rows
        } else {
            let mut rows: Vec<u64> = (0..ids.len() as u64).collect();
            rows.sort_unstable_by_key(|&row| ids[row as usize]);
            let id = |row: u64| ids[row as usize];
            if let Some(pair) = rows.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
                return Err(twice(pair[0], pair[1]));
            }
            rows
        };
        Ok(Self { rows, starts, first, last })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Id, list and place in it of the rows `range`.
    pub(super) fn range<'a>(
        &'a self,
        range: std::ops::Range<usize>,
        lists: &'a [List],
    ) -> impl Iterator<Item = (u64, usize, usize)> + 'a {
        self.rows[range].iter().map(move |&row| {
            let list = self.starts.partition_point(|&start| start <= row) - 1;
            let at = (row - self.starts[list]) as usize;
            (lists[list].ids[at] as u64, list, at)
        })
    }
}

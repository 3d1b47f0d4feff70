//! Rows of parts whose ids or keys were deleted from an index.

use std::collections::HashSet;

use ocelli_index::{NameList, NameRef, Part, key_hash64};

use crate::error::carry;
use crate::sort::{NumberedRows, SortMemory, Sorter};
use crate::{Error, Result};

/// Rows whose names are read at once: keys may be long.
const NAMED_ROWS: usize = 1024;
/// Memory of a number in a set.
const SET_BYTES: u64 = 48;

/// Numbers of the rows of `parts` that bear a deleted name, ascending.
///
/// Names are sorted, rows are not. The rows that may have a name, by its hash, are sorted like the
/// names and met with them; only then are keys compared.
pub(super) fn deleted_rows(
    parts: &[Part],
    names: &NameList,
    memory: Option<&SortMemory>,
) -> Result<Vec<usize>> {
    let mut rows = Vec::new();
    if names.count() == 0 {
        return Ok(rows);
    }
    let (ids, keys) = candidates(parts, names, memory)?;
    let mut meeting = Meeting { parts, ids: Ascending::new(ids)?, keys: Ascending::new(keys)? };
    carry(|keep| names.each(|_, name| keep(meeting.meet(name, &mut rows))))?;
    rows.sort_unstable();
    rows.dedup();
    Ok(rows)
}

/// Ids, and hashes of keys, of rows that may have one of the names: those that have one by its
/// number, or, where the numbers do not fit, all.
fn candidates(
    parts: &[Part],
    names: &NameList,
    memory: Option<&SortMemory>,
) -> Result<(NumberedRows, NumberedRows)> {
    let share = memory.map(|m| SortMemory { bytes: m.bytes / 4, folder: m.folder.clone() });
    let fits = memory.is_none_or(|m| names.count() * SET_BYTES <= m.bytes as u64 / 2);
    let wanted = if fits { Some(numbers(names)?) } else { None };
    let may_have = |is_key: bool, number: u64| {
        wanted.as_ref().is_none_or(|wanted| wanted.contains(&(is_key, number)))
    };
    let (mut ids, mut keys) = (Sorter::new(share.clone()), Sorter::new(share));
    let mut first = 0;
    for part in parts {
        for start in (0..part.images()).step_by(NAMED_ROWS) {
            let images = start..(start + NAMED_ROWS).min(part.images());
            let rows = (first + start as u64)..;
            for (id, row) in part.ids_in(images.clone())?.into_iter().flatten().zip(rows.clone()) {
                if may_have(false, id) {
                    ids.push([id, row])?;
                }
            }
            for (key, row) in part.keys_in(images)?.iter().zip(rows) {
                let hash = key_hash64(key.as_bytes());
                if !key.is_empty() && may_have(true, hash) {
                    keys.push([hash, row])?;
                }
            }
        }
        first += part.images() as u64;
    }
    Ok((ids.finish()?, keys.finish()?))
}

/// The ids and the hashes of the keys of a list, each with whether it is of a key.
fn numbers(names: &NameList) -> Result<HashSet<(bool, u64)>> {
    let mut numbers = HashSet::new();
    names.each(|_, name| {
        numbers.insert(match name {
            NameRef::Id(id) => (false, id),
            NameRef::Key(key) => (true, key_hash64(key.as_bytes())),
        });
        Ok(())
    })?;
    Ok(numbers)
}

/// Rows in the order of their numbers, on their way to meet names in the same order.
struct Ascending {
    sorted: NumberedRows,
    next: Option<[u64; 2]>,
    /// The rows of the number that was asked for last.
    number: Option<u64>,
    rows: Vec<u64>,
}

impl Ascending {
    fn new(mut sorted: NumberedRows) -> Result<Self> {
        let next = sorted.next()?;
        Ok(Self { sorted, next, number: None, rows: Vec::new() })
    }

    /// The rows of a number, which is no smaller than the last one.
    fn of(&mut self, number: u64) -> Result<&[u64]> {
        if self.number != Some(number) {
            self.number = Some(number);
            self.rows.clear();
            while let Some([found, row]) = self.next.filter(|&[found, _]| found <= number) {
                if found == number {
                    self.rows.push(row);
                }
                self.next = self.sorted.next()?;
            }
        }
        Ok(&self.rows)
    }
}

struct Meeting<'a> {
    parts: &'a [Part],
    ids: Ascending,
    keys: Ascending,
}

impl Meeting<'_> {
    /// Adds the rows that have the next name.
    fn meet(&mut self, name: NameRef<'_>, rows: &mut Vec<usize>) -> Result<()> {
        match name {
            NameRef::Id(id) => rows.extend(self.ids.of(id)?.iter().map(|&row| row as usize)),
            NameRef::Key(key) => {
                for &row in self.keys.of(key_hash64(key.as_bytes()))? {
                    if key_of(self.parts, row as usize)? == key {
                        rows.push(row as usize);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The key of a row of all parts.
fn key_of(parts: &[Part], mut row: usize) -> Result<String> {
    for part in parts {
        if row < part.images() {
            return Ok(part.key(row)?);
        }
        row -= part.images();
    }
    Err(Error::Invalid(format!("row {row} past the last part")))
}

#[cfg(test)]
mod tests {
    use ocelli_index::{DescriptorSpec, Dtype, NameListBuilder, PartKind, PartWriter};

    use super::*;

    /// Against a look at each row, whatever the memory.
    #[test]
    fn rows_of_deleted_names_are_those_that_a_look_at_each_finds() {
        let folder = tempfile::tempdir().unwrap();
        let spec = DescriptorSpec::foreign("test", 2).unwrap();
        let part = |name: &str, rows: std::ops::Range<u64>, has_ids: bool| {
            let path = folder.path().join(name);
            let kind = PartKind::Descriptors;
            let mut part = PartWriter::create(&path, kind, Dtype::F32, &spec).unwrap();
            for row in rows {
                let key = if row % 5 == 0 { String::new() } else { format!("k{}", row * 7 % 1000) };
                part.push(&key, has_ids.then_some(row * 3), &[1.0, 2.0]).unwrap();
            }
            part.finish().unwrap();
            Part::open(&path).unwrap()
        };
        let parts = [part("a.part", 0..900, true), part("b.part", 900..1500, false)];
        let (ids, keys) = ([3u64, 30, 1500, 2700, 99_999], ["k7", "k14", "k21", "nobody", "k999"]);
        let mut expected = Vec::new();
        let mut row = 0;
        for part in &parts {
            for image in 0..part.images() {
                let has_id = part.id(image).unwrap().is_some_and(|id| ids.contains(&id));
                if has_id || keys.contains(&part.key(image).unwrap().as_str()) {
                    expected.push(row);
                }
                row += 1;
            }
        }
        assert!(expected.len() > 5, "{expected:?}");
        for bytes in [None, Some(900), Some(4000), Some(1 << 20)] {
            let memory = bytes.map(|bytes| SortMemory { bytes, folder: folder.path().to_owned() });
            let mut names = match bytes {
                Some(bytes) => NameListBuilder::bounded(bytes, folder.path()),
                None => NameListBuilder::new(),
            };
            ids.iter().for_each(|&id| names.push(NameRef::Id(id)).unwrap());
            keys.iter().for_each(|key| names.push(NameRef::Key(key)).unwrap());
            let names = names.finish().unwrap();
            assert_eq!(
                deleted_rows(&parts, &names, memory.as_ref()).unwrap(),
                expected,
                "{bytes:?}"
            );
        }
    }
}

//! The contents of an index directory: where bytes go, how rows lie, how it came to be.

use std::collections::BTreeMap;

use serde::Serialize;

use super::FileInfo;
use crate::attributes::{ColumnType, Schema};
use crate::base::error::Result;
use crate::generations::{IndexDir, MadeBy};
use crate::search::snapshot::Snapshot;

/// Details of an index.
#[derive(Clone, Debug, Serialize)]
pub struct IndexDetails {
    /// Bytes of each kind of section, over all shards, the largest first; and of what lies between
    /// sections and behind them.
    pub sections: Vec<SectionSize>,
    /// The balance of rows among lists.
    pub lists: ListBalance,
    /// The shards, in plan order.
    pub shards: Vec<ShardLine>,
    /// The generations that exist, the oldest first.
    pub lineage: Vec<LineageLine>,
    /// The model, in short.
    pub model: ModelLine,
    /// Columns of attributes, in the order in which shards bring them.
    pub attributes: Vec<AttributeLine>,
}

/// Bytes of a kind of section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionSize {
    /// Name of the kind; `padding and checksums` for the rest.
    pub name: String,
    /// Bytes over all shards.
    pub bytes: u64,
}

/// The lengths of lists, over all shards, deleted rows included.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ListBalance {
    /// Lists.
    pub nlist: usize,
    /// Lists without a row.
    pub empty: usize,
    /// Rows of the list in the middle, by length.
    pub median: u64,
    /// Rows of the longest list.
    pub longest: u64,
    /// nlist · Σ n² / (Σ n)² over the lengths n: 1 for lists of equal length. Rows that a search
    /// scans grow with it.
    pub imbalance: f64,
    /// Lists by length, in classes that double.
    pub histogram: Vec<LengthClass>,
}

/// Lists of about one length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LengthClass {
    /// Fewest rows.
    pub from: u64,
    /// Most rows.
    pub to: u64,
    /// Lists.
    pub lists: usize,
}

/// A shard, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardLine {
    /// File name under `shards/`.
    pub name: String,
    /// Rows, deleted ones included.
    pub rows: u64,
    /// Rows that are deleted.
    pub deleted: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// A generation, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineageLine {
    /// Number.
    pub number: u64,
    /// The generation that it was made from.
    pub parent: Option<u64>,
    /// Shards.
    pub shards: usize,
    /// Rows, deleted ones included.
    pub rows: u64,
    /// The command that made it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// The reason why the file cannot be read, where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A model, in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelLine {
    /// Hash that shards carry.
    pub hash: String,
    /// Metric.
    pub metric: String,
    /// Dimension of the vectors that go in.
    pub dim: usize,
    /// Dimension of the vectors that are coded.
    pub d: usize,
    /// Lists.
    pub nlist: usize,
    /// Sub-quantizers.
    pub m: usize,
    /// Codewords of a sub-quantizer.
    pub ksub: usize,
    /// Hash of the descriptor spec.
    pub spec_hash: String,
    /// The spec's canonical text.
    pub spec: String,
    /// Facts about the training, by name.
    pub training: BTreeMap<String, String>,
}

/// A column of attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttributeLine {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub ty: ColumnType,
    /// Rows that have a value, deleted ones included.
    pub values: u64,
}

impl IndexDetails {
    /// The details of an opened generation.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub(super) fn of(dir: &IndexDir, snapshot: &Snapshot) -> Result<Self> {
        let p = snapshot.model().parts();
        Ok(Self {
            sections: sections(snapshot),
            lists: ListBalance::of(snapshot)?,
            shards: shard_lines(snapshot),
            lineage: lineage(dir)?,
            model: ModelLine {
                hash: snapshot.model().hash().to_string(),
                metric: p.metric.to_string(),
                dim: p.dim,
                d: p.d,
                nlist: p.nlist,
                m: p.m,
                ksub: p.ksub,
                spec_hash: p.spec.hash().to_string(),
                spec: p.spec.canonical(),
                training: p.training.clone(),
            },
            attributes: attributes(snapshot)?,
        })
    }
}

fn sections(snapshot: &Snapshot) -> Vec<SectionSize> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let mut rest = 0;
    for shard in snapshot.shards() {
        let info = FileInfo::of(shard.file());
        rest += info.bytes;
        for section in info.sections {
            rest -= section.bytes;
            *sums.entry(section.name).or_default() += section.bytes;
        }
    }
    let mut sizes: Vec<SectionSize> =
        sums.into_iter().map(|(name, bytes)| SectionSize { name, bytes }).collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(size.bytes));
    sizes.push(SectionSize { name: "padding and checksums".to_owned(), bytes: rest });
    sizes
}

impl ListBalance {
    fn of(snapshot: &Snapshot) -> Result<Self> {
        let mut lengths = vec![0u64; snapshot.model().parts().nlist];
        for shard in snapshot.shards() {
            for (list, length) in (0u32..).zip(lengths.iter_mut()) {
                *length += u64::from(shard.list(list)?.len);
            }
        }
        Ok(Self::of_lengths(lengths))
    }

    /// The balance of lists of these lengths.
    fn of_lengths(mut lengths: Vec<u64>) -> Self {
        lengths.sort_unstable();
        let (nlist, sum) = (lengths.len(), lengths.iter().sum::<u64>());
        let squares: f64 = lengths.iter().map(|&n| (n as f64).powi(2)).sum();
        let mut histogram: Vec<LengthClass> = Vec::new();
        for &length in &lengths {
            match histogram.last_mut().filter(|class| length <= class.to) {
                Some(class) => class.lists += 1,
                None => {
                    let from = length.checked_ilog2().map_or(0, |log| 1 << log);
                    let to = if length == 0 { 0 } else { 2 * from - 1 };
                    histogram.push(LengthClass { from, to, lists: 1 });
                }
            }
        }
        Self {
            nlist,
            empty: lengths.iter().filter(|&&length| length == 0).count(),
            median: lengths.get(nlist / 2).copied().unwrap_or(0),
            longest: lengths.last().copied().unwrap_or(0),
            imbalance: nlist as f64 * squares / (sum.max(1) as f64).powi(2),
            histogram,
        }
    }
}

fn shard_lines(snapshot: &Snapshot) -> Vec<ShardLine> {
    let deleted = |number| snapshot.deleted(number).map_or(0, |deleted| deleted.len());
    let entries = (0u32..).zip(&snapshot.generation().shards);
    entries
        .map(|(number, entry)| ShardLine {
            name: entry.name.clone(),
            rows: entry.rows,
            deleted: deleted(number),
            bytes: entry.bytes,
        })
        .collect()
}

fn lineage(dir: &IndexDir) -> Result<Vec<LineageLine>> {
    let line = |number| match dir.generation(number) {
        Ok(generation) => LineageLine {
            number,
            parent: generation.parent,
            shards: generation.shards.len(),
            rows: generation.shards.iter().map(|shard| shard.rows).sum(),
            made_by: generation.made_by,
            error: None,
        },
        Err(error) => LineageLine {
            number,
            parent: None,
            shards: 0,
            rows: 0,
            made_by: None,
            error: Some(error.to_string()),
        },
    };
    Ok(dir.generations()?.into_iter().map(line).collect())
}

fn attributes(snapshot: &Snapshot) -> Result<Vec<AttributeLine>> {
    let mut schema = Schema::default();
    let mut values: BTreeMap<String, u64> = BTreeMap::new();
    for shard in snapshot.shards() {
        let Some(columns) = shard.columns() else { continue };
        schema.merge(columns.schema())?;
        for (number, column) in columns.schema().columns().iter().enumerate() {
            let count = values.entry(column.name.clone()).or_default();
            for block in 0..columns.blocks() {
                let found = columns.block(shard.file(), block, number)?;
                *count += (found.rows() - found.nulls()) as u64;
            }
        }
        shard.intact()?;
    }
    let line = |column: &crate::attributes::Column| AttributeLine {
        name: column.name.clone(),
        ty: column.ty,
        values: values.get(&column.name).copied().unwrap_or(0),
    };
    Ok(schema.columns().iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted_by_length() {
        let balance = ListBalance::of_lengths(vec![0, 5, 1, 8, 7, 0, 2, 3]);
        let classes: Vec<(u64, u64, usize)> =
            balance.histogram.iter().map(|c| (c.from, c.to, c.lists)).collect();
        assert_eq!(classes, [(0, 0, 2), (1, 1, 1), (2, 3, 2), (4, 7, 2), (8, 15, 1)]);
        assert_eq!((balance.empty, balance.median, balance.longest), (2, 3, 8));
        // 8 · (25 + 1 + 64 + 49 + 4 + 9) / 26²
        assert!((balance.imbalance - 8.0 * 152.0 / 676.0).abs() < 1e-12);
        let equal = ListBalance::of_lengths(vec![4; 5]);
        assert!((equal.imbalance - 1.0).abs() < 1e-12);
    }
}

//! Lines of tables and lists.

use parquet::data_type::ByteArray;
use serde::Serialize;

use super::sink::Line;
use crate::Result;
use crate::dedup::edge::{Label, ScoredBy};
use crate::dedup::quarantine::Removal;
use crate::parquet_out::{Column, Table};

/// A pair of rows that the join reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairLine {
    /// Id of the row with the smaller number.
    pub id_a: u64,
    /// Id of the other row.
    pub id_b: u64,
    /// Key of the first row, empty if it has none.
    pub key_a: String,
    /// Key of the second row, empty if it has none.
    pub key_b: String,
    /// Score of the pair.
    pub score: f32,
    /// What the score was computed from.
    pub scored_by: ScoredBy,
    /// The relation of the two.
    pub label: Label,
    /// Bits of 64 in which the perceptual hashes differ.
    pub phash_distance: Option<u8>,
    /// Share of the picture that agrees, 0 to 1.
    pub agreement: Option<f32>,
    /// The cluster that both are in.
    pub cluster: Option<u32>,
}

/// A row of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterLine {
    /// Id of the row.
    pub id: u64,
    /// Key of the row, empty if it has none.
    pub key: String,
    /// Number of the cluster, from 0.
    pub cluster: u32,
    /// Id of the representative.
    pub representative: u64,
    /// Similarity to the representative, if it is known.
    pub similarity: Option<f32>,
    /// The relation with the representative, if it is known; none for itself.
    pub label: Option<Label>,
    /// Whether the row is kept, and is no duplicate.
    pub keep: bool,
    /// Id of the kept row of which it is a duplicate.
    pub duplicate_of: Option<u64>,
    /// Whether the row was there before: it is of the other index, or of the earlier generation.
    pub old: bool,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatLine {
    /// Number of the cluster, from 0.
    pub cluster: u32,
    /// Id of the representative.
    pub representative: u64,
    /// Rows of the cluster.
    pub rows: u32,
    /// Rows that are duplicates.
    pub duplicates: u32,
    /// Least score of an edge in the cluster.
    pub weakest_edge: Option<f32>,
    /// Least similarity to the representative; none if one is not known.
    pub weakest_similarity: Option<f32>,
    /// Bytes of disk space that are free when the listed files are gone.
    pub freed_bytes: u64,
}

/// A file of a duplicate, and the file that stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileLine {
    /// The file that may go, and the one that stays. Folders are without symlinks.
    #[serde(flatten)]
    pub removal: Removal,
    /// Id of the row.
    pub id: u64,
    /// Id of the row that stays.
    pub kept_id: u64,
    /// Number of the cluster.
    pub cluster: u32,
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

fn id(id: u64) -> i64 {
    // Ids are below 2⁶³.
    id as i64
}

impl Line for PairLine {
    const SCHEMA: &'static str = "message pair {
        required int64 id_a; required int64 id_b;
        required binary key_a (UTF8); required binary key_b (UTF8);
        required float score; required binary scored_by (UTF8); required binary label (UTF8);
        optional int64 phash_distance; optional float agreement; optional int64 cluster;
    }";

    fn append(lines: &[Self], table: &mut Table) -> Result<()> {
        let ids = [|line: &Self| id(line.id_a), |line: &Self| id(line.id_b)];
        let [a, b] = ids.map(|of| lines.iter().map(of).collect::<Vec<i64>>());
        let texts = [
            |line: &Self| text(&line.key_a),
            |line: &Self| text(&line.key_b),
            |line: &Self| text(line.scored_by.name()),
            |line: &Self| text(line.label.name()),
        ];
        let [key_a, key_b, by, label] = texts.map(|of| lines.iter().map(of).collect::<Vec<_>>());
        let score: Vec<f32> = lines.iter().map(|line| line.score).collect();
        let phash: Vec<_> = lines.iter().map(|line| line.phash_distance.map(i64::from)).collect();
        let agreement: Vec<_> = lines.iter().map(|line| line.agreement).collect();
        let cluster: Vec<_> = lines.iter().map(|line| line.cluster.map(i64::from)).collect();
        table.append(&[
            Column::Long(&a),
            Column::Long(&b),
            Column::Text(&key_a),
            Column::Text(&key_b),
            Column::Float(&score),
            Column::Text(&by),
            Column::Text(&label),
            Column::Optional(&phash),
            Column::OptionalFloat(&agreement),
            Column::Optional(&cluster),
        ])
    }
}

impl Line for ClusterLine {
    const SCHEMA: &'static str = "message row {
        required int64 id; required binary key (UTF8);
        required int64 cluster; required int64 representative;
        optional float similarity; optional binary label (UTF8);
        required boolean keep; optional int64 duplicate_of; required boolean old;
    }";

    fn append(lines: &[Self], table: &mut Table) -> Result<()> {
        let numbers = [
            |line: &Self| id(line.id),
            |line: &Self| i64::from(line.cluster),
            |line: &Self| id(line.representative),
        ];
        let [ids, cluster, first] = numbers.map(|of| lines.iter().map(of).collect::<Vec<i64>>());
        let keys: Vec<_> = lines.iter().map(|line| text(&line.key)).collect();
        let similarity: Vec<_> = lines.iter().map(|line| line.similarity).collect();
        let label: Vec<_> =
            lines.iter().map(|line| line.label.map(|label| text(label.name()))).collect();
        let keep: Vec<_> = lines.iter().map(|line| line.keep).collect();
        let duplicate: Vec<_> = lines.iter().map(|line| line.duplicate_of.map(id)).collect();
        let old: Vec<_> = lines.iter().map(|line| line.old).collect();
        table.append(&[
            Column::Long(&ids),
            Column::Text(&keys),
            Column::Long(&cluster),
            Column::Long(&first),
            Column::OptionalFloat(&similarity),
            Column::OptionalText(&label),
            Column::Bool(&keep),
            Column::Optional(&duplicate),
            Column::Bool(&old),
        ])
    }
}

impl Line for StatLine {
    const SCHEMA: &'static str = "message cluster {
        required int64 cluster; required int64 representative;
        required int64 rows; required int64 duplicates;
        optional float weakest_edge; optional float weakest_similarity;
        required int64 freed_bytes;
    }";

    fn append(lines: &[Self], table: &mut Table) -> Result<()> {
        let numbers = [
            |line: &Self| i64::from(line.cluster),
            |line: &Self| id(line.representative),
            |line: &Self| i64::from(line.rows),
            |line: &Self| i64::from(line.duplicates),
            |line: &Self| line.freed_bytes as i64,
        ];
        let [cluster, first, rows, duplicates, freed] =
            numbers.map(|of| lines.iter().map(of).collect::<Vec<i64>>());
        let edge: Vec<_> = lines.iter().map(|line| line.weakest_edge).collect();
        let similarity: Vec<_> = lines.iter().map(|line| line.weakest_similarity).collect();
        table.append(&[
            Column::Long(&cluster),
            Column::Long(&first),
            Column::Long(&rows),
            Column::Long(&duplicates),
            Column::OptionalFloat(&edge),
            Column::OptionalFloat(&similarity),
            Column::Long(&freed),
        ])
    }
}

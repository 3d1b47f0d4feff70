//! The cost of a model, an index and its searches: time, memory, disk and queries a second as
//! functions of their sizes.
//!
//! The formulas count the work that the code does; what a unit of it takes was measured once
//! (`rates`). `docs/scale.md` has the formulas in words, the measurements that the rates come
//! from, and predictions beside what was measured later. A prediction is no promise: another
//! processor or disk has other rates.

mod build;
mod rates;
mod search;
mod train;

use ocelli_index::{FineCodec, Metric, Model};

pub use build::{BuildCost, BuildSize, build};
pub use search::{SearchCost, search};
pub use train::{TrainCost, train};

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Dimension of a row.
    pub dim: u64,
    /// Dimension of its code: after PCA.
    pub d: u64,
    /// Inverted lists.
    pub nlist: u64,
    /// Sub-quantizers.
    pub m: u64,
    /// Codewords of each: 256 or 16.
    pub ksub: u64,
    /// Bytes of a row's finer code.
    pub fine_bytes: u64,
    /// Whether the metric is L2, which keeps a term of each row.
    pub has_terms: bool,
    /// Whether rows are rotated, by PCA or OPQ.
    pub is_rotated: bool,
}

impl Shape {
    /// The sizes of `model`.
    pub fn of(model: &Model) -> Self {
        let p = model.parts();
        Self {
            dim: p.dim as u64,
            d: p.d as u64,
            nlist: p.nlist as u64,
            m: p.m as u64,
            ksub: p.ksub as u64,
            fine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes) as u64,
            has_terms: p.metric == Metric::L2,
            is_rotated: p.rotation.is_some(),
        }
    }

    /// Bytes of a code to scan.
    fn code_bytes(&self) -> f64 {
        if self.ksub == 16 { self.m as f64 / 2.0 } else { self.m as f64 }
    }

    /// Memory of a model that encodes, in bytes: centroids in the file and as small integers,
    /// codebooks in three orders, the rotation, the table of lists.
    fn model_bytes(&self) -> f64 {
        let [dim, d, nlist, ksub] = [self.dim, self.d, self.nlist, self.ksub].map(|n| n as f64);
        let rotation = if self.is_rotated { 8.0 * d * dim } else { 0.0 };
        14.0 * nlist * d + 100.0 * nlist + 24.0 * ksub * d + rotation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of the measured indexes: 96 dimensions, L2, no rotation.
    fn shape(nlist: u64, m: u64) -> Shape {
        Shape {
            dim: 96,
            d: 96,
            nlist,
            m,
            ksub: 256,
            fine_bytes: 0,
            has_terms: true,
            is_rotated: false,
        }
    }

    fn size(rows: u64, shards: u64) -> BuildSize {
        BuildSize {
            rows,
            shard_rows: rows.div_ceil(shards),
            shards,
            key_bytes: 0,
            attribute_bytes: 0,
            has_ids: false,
            are_codes: false,
            threads: 2,
            tasks_at_once: 1,
            memory_budget_bytes: 0,
        }
    }

    const GIB: f64 = (1u64 << 30) as f64;

    fn near(what: &str, predicted: f64, measured: f64) {
        let error = measured / predicted - 1.0;
        assert!(error.abs() < 0.15, "{what}: predicted {predicted:.3}, measured {measured:.3}");
    }

    /// Microseconds of one core to find a row's list and encode it: half a million rows each.
    #[test]
    fn rows_take_what_was_measured() {
        for (nlist, m, measured_us) in [
            (1024, 12, 1.09),
            (1024, 24, 1.35),
            (4096, 24, 2.67),
            (8192, 24, 2.73),
            (16_384, 24, 3.26),
            (65_536, 24, 5.58),
        ] {
            let cost = build(&shape(nlist, m), &size(1_000_000, 1));
            // The vectors were made where they were encoded: nothing was read.
            let read_us = 96.0 * rates::READ_NS / 1e3;
            let what = format!("a row, nlist {nlist}, m {m}");
            near(&what, cost.encode_seconds * 2.0 - read_us, measured_us);
        }
    }

    /// Core seconds of training, without reading: a million rows and, which the rates did not come
    /// from, four.
    #[test]
    fn training_takes_what_was_measured() {
        for (rows, nlist, niter, measured) in [
            (1 << 20, 4096, 1, 2.43),
            (1 << 20, 4096, 25, 12.6),
            (1 << 20, 16_384, 1, 16.2),
            (1 << 22, 65_536, 25, 470.6),
        ] {
            let cost = train(&shape(nlist, 24), rows, niter, 2);
            let read_s = rows as f64 * 96.0 * rates::READ_NS / 1e9;
            let what = format!("nlist {nlist}, {niter} iterations");
            near(&what, cost.core_seconds - read_s, measured);
        }
    }

    /// Largest memory of a training, in GiB: with each row twice for a while, and without.
    #[test]
    fn trainings_take_the_memory_that_was_measured() {
        for (rows, nlist, measured_gib) in [(1 << 20, 16_384, 0.683), (1 << 20, 4096, 0.484)] {
            let cost = train(&shape(nlist, 24), rows, 5, 2);
            near(&format!("nlist {nlist}"), cost.memory_bytes as f64 / GIB, measured_gib);
        }
    }

    /// Seconds of sorting and writing codes, and bytes of a row. The rates did not come from the
    /// hundred million.
    #[test]
    fn shards_take_what_was_measured() {
        for (rows, shards, nlist, seconds, bytes) in [
            (1_000_000, 1, 8192, 0.39, 30.87),
            (10_000_000, 1, 16_384, 2.97, 30.10),
            (100_000_000, 4, 65_536, 29.5, 30.68),
        ] {
            let cost = build(&shape(nlist, 24), &size(rows, shards));
            near(&format!("{rows} rows sorted"), cost.sort_seconds, seconds);
            near(&format!("bytes of {rows} rows"), cost.disk_bytes as f64 / rows as f64, bytes);
        }
    }

    /// Microseconds of one core. The rates did not come from the hundred million.
    #[test]
    fn queries_take_what_was_measured() {
        for (rows, shards, nlist, nprobe, measured_us) in [
            (10_000_000, 1, 16_384, 16, 50.4),
            (10_000_000, 1, 16_384, 64, 110.7),
            (10_000_000, 1, 16_384, 256, 336.3),
            (100_000_000, 4, 65_536, 16, 118.0),
            (100_000_000, 4, 65_536, 64, 303.0),
            (100_000_000, 4, 65_536, 256, 997.0),
        ] {
            let cost = search(&shape(nlist, 24), rows, shards, nprobe, 1);
            near(&format!("{rows} rows, nprobe {nprobe}"), cost.core_us, measured_us);
        }
    }

    #[test]
    fn more_costs_more() {
        let (one, two) = (shape(4096, 24), shape(8000, 24));
        let (few, many) = (size(1_000_000, 1), size(2_000_000, 1));
        assert!(build(&one, &few).core_seconds < build(&one, &many).core_seconds);
        assert!(build(&one, &few).core_seconds < build(&two, &few).core_seconds);
        let halved =
            train(&one, 1 << 20, 25, 2).seconds - train(&one, 1 << 20, 25, 4).seconds * 2.0;
        assert!(halved.abs() < 1e-9, "twice the cores take half the time");
        assert!(train(&one, 1 << 20, 5, 1).seconds < train(&one, 1 << 20, 25, 1).seconds);
        let searches = [1, 16, 64, 4096, 9999].map(|n| search(&one, 1 << 20, 1, n, 1).core_us);
        assert!(searches.is_sorted(), "{searches:?}");
        assert_eq!(searches[3].to_bits(), searches[4].to_bits(), "there are no more lists");
    }
}

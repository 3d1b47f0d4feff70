//! Gauges of the server and of its indexes.

use std::fmt;
use std::sync::Arc;

use ocelli_proto::v1::ErrorReason;
use ocelli_service::observe::collect;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::{IndexState, Searcher};

/// The state of a server and its indexes, read at each scrape.
#[derive(Debug)]
pub struct Gauges(pub Arc<Searcher>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IndexLabel {
    index: String,
}

/// Reads a number of an index.
type Number = fn(&IndexState) -> i64;

/// Name, help and number of each gauge of an index.
const INDEX_GAUGES: [(&str, &str, Number); 10] = [
    ("ocelli_index_generation", "The generation that answers", |index| int(index.generation)),
    ("ocelli_index_rows", "Vectors that are not deleted", |index| int(index.rows)),
    ("ocelli_index_shards", "Shards of the generation", |index| int(index.shards as u64)),
    ("ocelli_index_shards_failed", "Shards that fail", |index| int(index.faults.len() as u64)),
    ("ocelli_index_shards_damaged", "Those of them whose file is damaged", |index| {
        failed(index, ErrorReason::FileDamaged)
    }),
    ("ocelli_index_shards_missing", "Those of them whose file is gone", |index| {
        failed(index, ErrorReason::FileMissing)
    }),
    (
        "ocelli_index_shards_refused",
        "Those of them whose file the operating system does not give",
        |index| failed(index, ErrorReason::FileRefused),
    ),
    (
        "ocelli_index_files_kept",
        "Files that answer from an earlier mapping, as they cannot be opened again",
        |index| int(index.kept.len() as u64),
    ),
    (
        "ocelli_index_generations_retired",
        "Earlier generations that queries still run on",
        |index| int(index.retired as u64),
    ),
    ("ocelli_index_reload_failed", "1 if the current generation could not be opened", |index| {
        i64::from(!index.reload_error.is_empty())
    }),
];

/// The number of shards that fail for `reason`.
fn failed(index: &IndexState, reason: ErrorReason) -> i64 {
    int(index.faults.values().filter(|fault| fault.0 == reason).count() as u64)
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Gauges(searcher) = self;
        let mut number =
            |name, help, value: i64| collect(&mut encoder, name, help, &ConstGauge::new(value));
        number("ocelli_ready", "1 while the server wants traffic", searcher.ready().into())?;
        let help = "Queries of all kinds that run or wait for a thread";
        number("ocelli_pool_jobs", help, int(searcher.jobs() as u64))?;
        number("ocelli_pool_threads", "Threads that search", int(searcher.threads() as u64))?;
        let states = searcher.states();
        for (name, help, of) in INDEX_GAUGES {
            let family = Family::<IndexLabel, Gauge>::default();
            for state in &states {
                family.get_or_create(&IndexLabel { index: state.name.clone() }).set(of(state));
            }
            collect(&mut encoder, name, help, &family)?;
        }
        Ok(())
    }
}

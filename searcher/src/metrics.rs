//! What the server counts of its queries, and how it says how its indexes are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ocelli_index::{ScanCounts, Stage, StageTimes};
use ocelli_proto::observe::{Stages, collect};
use ocelli_proto::v1::ErrorReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::service::{Searcher, Waits};

/// Buckets for times of stages in seconds: from 5 µs to ten seconds.
const STAGE_SECONDS: [f64; 19] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1,
    0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The stages of a query, in their order.
const STAGES: [&str; 9] =
    ["encode", "queue", "resolve", "probe", "lut", "scan", "refine", "diffuse", "keys"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    index: String,
    outcome: Outcome,
}

/// How a query of an index ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's values")]
pub enum Outcome {
    /// By all shards.
    ok,
    /// Without shards that fail.
    partial,
    /// Not at all.
    failed,
}

/// Counters and times of queries.
#[derive(Debug)]
pub struct Metrics {
    stages: Stages<{ STAGES.len() }>,
    queries: Family<QueryLabels, Counter>,
    scanned: Counter,
    survived: Counter,
    slow: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            stages: Stages::new(STAGES, || Histogram::new(STAGE_SECONDS)),
            queries: Family::default(),
            scanned: Counter::default(),
            survived: Counter::default(),
            slow: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Time of a query in each stage that took part";
        self.stages.register(registry, "ocelli_query_stage", help);
        registry.register(
            "ocelli_queries",
            "Queries answered, those of batches and streams each, by index and outcome",
            self.queries.clone(),
        );
        let (scanned, survived) = (self.scanned.clone(), self.survived.clone());
        registry.register("ocelli_codes_scanned", "Codes that the kernels looked at", scanned);
        registry.register(
            "ocelli_codes_scored",
            "Codes that survived the bound and got an exact score",
            survived,
        );
        registry.register("ocelli_slow_queries", "Requests over slow_query_ms", self.slow.clone());
    }

    /// Counts the ends of `n` queries.
    pub fn ended(&self, index: &str, outcome: Outcome, n: u64) {
        if n > 0 {
            let labels = QueryLabels { index: index.to_owned(), outcome };
            self.queries.get_or_create(&labels).inc_by(n);
        }
    }

    /// Counts a request that was slow.
    pub fn slow(&self) {
        self.slow.inc();
    }

    /// Counts codes.
    pub fn codes(&self, counts: ScanCounts) {
        self.scanned.inc_by(counts.scanned);
        self.survived.inc_by(counts.survived);
    }

    /// Times of a request outside of the search. Stages that it did not have are left out.
    pub fn waited(&self, waits: &Waits) {
        let (encode, resolve) = (present(waits.encode), present(waits.resolve));
        let queue = Some(waits.queue);
        self.stages.observe([encode, queue, resolve, None, None, None, None, None, None]);
    }

    /// Times of a query in the search.
    pub fn searched(&self, times: &StageTimes, keys_time: Duration) {
        let [probe, lut, scan, refine, diffuse] =
            [Stage::Probe, Stage::Lut, Stage::Scan, Stage::Refine, Stage::Diffuse]
                .map(|s| times[s]);
        let [refine, diffuse, keys] = [refine, diffuse, keys_time].map(present);
        let [probe, lut, scan] = [probe, lut, scan].map(Some);
        self.stages.observe([None, None, None, probe, lut, scan, refine, diffuse, keys]);
    }
}

/// The time of a stage that took part.
fn present(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

/// How a server and its indexes are at the moment when somebody asks.
#[derive(Debug)]
pub struct State(pub Arc<Searcher>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IndexLabel {
    index: String,
}

/// A number of an index.
type Of = fn(&crate::service::IndexState) -> i64;

/// Name, help, and where the number is.
const INDEX_GAUGES: [(&str, &str, Of); 10] = [
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

/// Shards that fail for a reason.
fn failed(index: &crate::service::IndexState, reason: ErrorReason) -> i64 {
    int(index.faults.values().filter(|fault| fault.0 == reason).count() as u64)
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let State(searcher) = self;
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

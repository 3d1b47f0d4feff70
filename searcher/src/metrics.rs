//! What the server counts of its queries.

use std::time::Duration;

use ocelli_index::{ScanCounts, StageTimes};
use ocelli_service::observe::Stages;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::answer::Waits;

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
        let StageTimes { probe, lut, scan, refine, diffuse } = *times;
        let [refine, diffuse, keys] = [refine, diffuse, keys_time].map(present);
        let [probe, lut, scan] = [probe, lut, scan].map(Some);
        self.stages.observe([None, None, None, probe, lut, scan, refine, diffuse, keys]);
    }
}

/// The time of a stage that took part.
fn present(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

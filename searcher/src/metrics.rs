//! Metrics of queries.

use ocelli_index::{ScanCounts, Stage, StageTimes};
use ocelli_service::observe::Stages;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Buckets for times of stages in seconds: from 5 µs to ten seconds.
const STAGE_SECONDS: [f64; 19] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1,
    0.25, 0.5, 1.0, 2.5, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    index: String,
    outcome: Outcome,
}

/// How a query of an index ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's values")]
pub enum Outcome {
    /// All shards answered.
    ok,
    /// Some shards failed.
    partial,
    /// No answer.
    failed,
}

/// Counters and times of queries.
#[derive(Debug)]
pub struct Metrics {
    stages: Stages,
    queries: Family<QueryLabels, Counter>,
    scanned: Counter,
    survived: Counter,
    slow: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            stages: Stages::new(Stage::ALL.map(Stage::name), || Histogram::new(STAGE_SECONDS)),
            queries: Family::default(),
            scanned: Counter::default(),
            survived: Counter::default(),
            slow: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics.
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

    /// Counts `n` queries that ended.
    pub fn ended(&self, index: &str, outcome: Outcome, n: u64) {
        if n > 0 {
            let labels = QueryLabels { index: index.to_owned(), outcome };
            self.queries.get_or_create(&labels).inc_by(n);
        }
    }

    /// Counts a slow request.
    pub fn slow(&self) {
        self.slow.inc();
    }

    /// Counts the codes of a search.
    pub fn codes(&self, counts: ScanCounts) {
        self.scanned.inc_by(counts.scanned);
        self.survived.inc_by(counts.survived);
    }

    /// Observes the times of the stages that ran.
    pub fn times(&self, times: &StageTimes) {
        self.stages.observe(times.iter().map(|(_, time)| (!time.is_zero()).then_some(time)));
    }
}

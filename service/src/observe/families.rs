//! Parts of metrics that several programs use.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: String,
}

/// The times of stages: a histogram in seconds for each, with the label `stage`.
#[derive(Clone)]
pub struct Stages {
    family: Family<StageLabel, Histogram, fn() -> Histogram>,
    stages: Vec<Histogram>,
}

impl Stages {
    /// Stages of these names, with the buckets that `histogram` makes.
    pub fn new(
        names: impl IntoIterator<Item = impl Into<String>>,
        histogram: fn() -> Histogram,
    ) -> Stages {
        let family: Family<StageLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(histogram);
        let stage = |name| family.get_or_create(&StageLabel { stage: name }).clone();
        let stages = names.into_iter().map(|name| stage(name.into())).collect();
        Stages { family, stages }
    }

    /// Registers them as `name`, in seconds.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.family.clone());
    }

    /// The time of each stage in the order of their names; `None` for one that did not run.
    pub fn observe(&self, times: impl IntoIterator<Item = Option<Duration>>) {
        for (stage, time) in self.stages.iter().zip(times) {
            if let Some(time) = time {
                stage.observe(time.as_secs_f64());
            }
        }
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").finish_non_exhaustive()
    }
}

/// Writes a metric of a collector, whose value is read at each scrape.
///
/// # Errors
/// The text cannot be written.
pub fn collect(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

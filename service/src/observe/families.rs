//! What roles make their metrics of.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

/// Times of `N` stages, a histogram in seconds for each, told apart by the label `stage`.
#[derive(Clone)]
pub struct Stages<const N: usize> {
    family: Family<StageLabel, Histogram, fn() -> Histogram>,
    stages: [Histogram; N],
}

impl<const N: usize> Stages<N> {
    /// Stages of these names, with the buckets that `histogram` makes.
    pub fn new(names: [&'static str; N], histogram: fn() -> Histogram) -> Stages<N> {
        let family: Family<StageLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(histogram);
        let stages = names.map(|stage| family.get_or_create(&StageLabel { stage }).clone());
        Stages { family, stages }
    }

    /// Makes them known to `registry` as `name` in seconds.
    pub fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.family.clone());
    }

    /// The time of each stage in the order of their names; none for one that did not take part.
    pub fn observe(&self, times: [Option<Duration>; N]) {
        for (stage, time) in self.stages.iter().zip(times) {
            if let Some(time) = time {
                stage.observe(time.as_secs_f64());
            }
        }
    }
}

impl<const N: usize> fmt::Debug for Stages<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").finish_non_exhaustive()
    }
}

/// Writes a metric of a collector, which is made when somebody asks.
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

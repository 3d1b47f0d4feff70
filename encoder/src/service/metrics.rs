//! What the encoder service counts of its images.

use ocelli_proto::status::Code;
use ocelli_service::observe::{REQUEST_SECONDS, Stages};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Answer, ServiceError};

/// Buckets for images that passed the network together.
const BATCH_IMAGES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// The stages of an image, in their order.
const STAGES: [&str; 3] = ["queue", "decode", "compute"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// The outcome of encoding an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the label's values")]
enum Outcome {
    /// With a descriptor.
    ok,
    /// Something is wrong with the image or its request.
    refused,
    /// The queue was full.
    overloaded,
    /// The client's time was over.
    late,
    /// The fault is ours.
    failed,
}

impl Outcome {
    const ALL: [Outcome; 5] =
        [Outcome::ok, Outcome::refused, Outcome::overloaded, Outcome::late, Outcome::failed];

    fn of(result: &Result<Answer, ServiceError>) -> Outcome {
        match result {
            Ok(_) => Outcome::ok,
            Err(error) => match error.code {
                Code::InvalidArgument => Outcome::refused,
                Code::ResourceExhausted => Outcome::overloaded,
                Code::DeadlineExceeded => Outcome::late,
                _ => Outcome::failed,
            },
        }
    }
}

/// Counters and times of images, those of streams each.
#[derive(Clone, Debug)]
pub struct Metrics {
    images: Family<OutcomeLabel, Counter>,
    stages: Stages,
    batch_images: Histogram,
    queued: Gauge,
    threads: Gauge,
}

impl Metrics {
    pub(super) fn new(threads: usize) -> Metrics {
        let images = Family::<OutcomeLabel, Counter>::default();
        for outcome in Outcome::ALL {
            // So that a rate can be asked for before the first of its kind.
            drop(images.get_or_create(&OutcomeLabel { outcome }));
        }
        let metrics = Metrics {
            images,
            stages: Stages::new(STAGES, || Histogram::new(REQUEST_SECONDS)),
            batch_images: Histogram::new(BATCH_IMAGES),
            queued: Gauge::default(),
            threads: Gauge::default(),
        };
        metrics.threads.set(i64::try_from(threads).unwrap_or(i64::MAX));
        metrics
    }

    /// Makes them known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let images = self.images.clone();
        registry.register(
            "ocelli_encoder_images",
            "Images answered, those of streams each, by outcome",
            images,
        );
        let help = "Time of an encoded image in each stage; compute is that of its whole batch";
        self.stages.register(registry, "ocelli_encoder_stage", help);
        registry.register(
            "ocelli_encoder_batch_images",
            "Images that passed the network together",
            self.batch_images.clone(),
        );
        registry.register(
            "ocelli_encoder_queued",
            "Images that wait for a thread",
            self.queued.clone(),
        );
        registry.register("ocelli_encoder_threads", "Threads that encode", self.threads.clone());
    }

    pub(super) fn entered(&self) {
        self.queued.inc();
    }

    /// A thread takes `images` from the queue, of which somebody still waits for `wanted`.
    pub(super) fn taken(&self, images: usize, wanted: usize) {
        self.queued.dec_by(i64::try_from(images).unwrap_or(0));
        if wanted > 0 {
            self.batch_images.observe(wanted as f64);
        }
    }

    pub(super) fn answered(&self, result: &Result<Answer, ServiceError>) {
        self.images.get_or_create(&OutcomeLabel { outcome: Outcome::of(result) }).inc();
        if let Ok(Answer { queue_time, decode_time, compute_time, .. }) = result {
            self.stages.observe([*queue_time, *decode_time, *compute_time].map(Some));
        }
    }
}

//! Descriptors in training are those of the encoder.

mod common;

use ocelli_encoder::pipeline::{Pipeline, PipelineOptions};
use ocelli_index::Pooling;
use ocelli_network::tch;
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{Network, NetworkOptions, Trainable};
use ocelli_weights::Weights;
use ocelli_weights::seeded::SeededArch;

use common::{bottlenecks, picture, seeded, with_head};

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Compares at several shapes.
fn compare(weights: &Weights, options: &NetworkOptions, pooling: &str, name: &str) {
    let pooling: Pooling = pooling.parse().unwrap();
    let network = Network::load(weights, options).unwrap();
    let made = PipelineOptions { pooling, ..PipelineOptions::default() };
    let pipeline = Pipeline::new(network, made, None).unwrap();
    let single = TrainingPrecision::Single;
    let trained = Trainable::load(weights, options, pooling, single).unwrap();
    assert_eq!(trained.dim(), pipeline.dim());
    let mut last = Vec::new();
    for (seed, size) in [(64, 64), (97, 61), (33, 140), (224, 160), (40, 301)].iter().enumerate() {
        let image = picture(seed as u64, *size);
        let served = pipeline.descriptor(std::slice::from_ref(&image)).unwrap();
        let served: Vec<f64> = served.into_iter().map(f64::from).collect();
        let found = tch::no_grad(|| trained.descriptor(&trained.input(&image).unwrap())).unwrap();
        let found = Vec::<f64>::try_from(&found).unwrap();
        let cosine = cosine(&served, &found);
        assert!(cosine >= 0.999_99, "{name} {pooling} {size:?}: {cosine}");
        assert_ne!(found, last, "another picture has another descriptor");
        last = found;
    }
}

#[test]
fn descriptors_are_those_of_the_encoder() {
    let options = NetworkOptions::default();
    let resnet = seeded(SeededArch::Resnet18, 3);
    for pooling in ["rmac:3", "rmac:2:image-pixels", "mac", "spoc"] {
        compare(&resnet, &options, pooling, "resnet18");
    }
    let headed = with_head(&resnet, (48, 256), &[]);
    compare(&headed, &options, "rmac:3", "resnet18 and a head");
    let fc = with_head(&resnet, (48, 256), &[("ocelli.head", "fc")]);
    compare(&fc, &options, "rmac:3", "resnet18 and a head of rows as they are");
    let (weights, options) = bottlenecks();
    compare(&weights, &options, "rmac:3", "bottlenecks with batch normalisation");
    let options = NetworkOptions::default();
    compare(&seeded(SeededArch::Resnet50, 2), &options, "rmac:3", "resnet50");
    compare(&seeded(SeededArch::EfficientnetLite0, 4), &options, "rmac:3", "efficientnet");
}

/// What cannot be trained is refused by name.
#[test]
fn other_networks_and_poolings_are_refused() {
    let weights = seeded(SeededArch::Resnet18, 1);
    let load = |pooling: &str| {
        let (options, pooling) = (NetworkOptions::default(), pooling.parse().unwrap());
        Trainable::load(&weights, &options, pooling, TrainingPrecision::Single).map(drop)
    };
    load("rmac:3").unwrap();
    let error = load("gem:3").unwrap_err().to_string();
    assert!(
        error.contains("expected rmac:LEVELS, rpn:N, mac or spoc") && error.contains("gem:3"),
        "{error}"
    );
    assert!(load("rmac:9").is_err());
}

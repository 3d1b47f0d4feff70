//! Gradients of the whole path: against differences, and of two passes against one.

mod common;

use ocelli_learn::loss::{Triplet, losses, triplet_loss};
use ocelli_learn::passes::{descriptors, propagate};
use ocelli_network::tch::{self, Kind, Tensor};
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{NetworkOptions, Trainable};
use ocelli_weights::Weights;
use ocelli_weights::seeded::SeededArch;
use rand::{RngExt, SeedableRng};

use common::{bottlenecks, open, picture, seeded, with_head};

const TRIPLETS: [Triplet; 3] = [
    Triplet { query: 0, positive: 1, negative: 2 },
    Triplet { query: 2, positive: 3, negative: 0 },
    Triplet { query: 1, positive: 0, negative: 3 },
];

/// The mean loss on one graph.
fn loss(network: &Trainable, inputs: &[Tensor]) -> Tensor {
    let rows: Vec<Tensor> = inputs.iter().map(|x| network.descriptor(x).unwrap()).collect();
    losses(&Tensor::stack(&rows, 0), &TRIPLETS, 1.0).unwrap().mean(Kind::Double)
}

fn inputs(network: &Trainable) -> Vec<Tensor> {
    let sizes = [(34, 33), (33, 41), (38, 38), (32, 44)];
    let pictures = sizes.iter().zip(20..).map(|(&size, seed)| picture(seed, size));
    pictures.map(|image| network.input(&image).unwrap()).collect()
}

/// Central differences of each trained tensor along a random direction and, if that is said, along
/// its gradient's largest value.
fn check(weights: &Weights, options: &NetworkOptions, name: &str, axes: bool) {
    let network = open(weights, options, TrainingPrecision::Double);
    let inputs = inputs(&network);
    loss(&network, &inputs).backward();
    let value = || tch::no_grad(|| loss(&network, &inputs)).double_value(&[]);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    for (tensor, weight) in network.parameters() {
        let gradient = weight.grad();
        assert!(gradient.defined(), "{name} {tensor}");
        let largest = gradient.abs().argmax(None, false).int64_value(&[]);
        let axis = Tensor::zeros_like(&gradient);
        let _ = axis.view([-1]).get(largest).fill_(1.0);
        let random: Vec<f64> = (0..gradient.numel()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let random = Tensor::from_slice(&random).reshape(gradient.size());
        // A random direction is nearly orthogonal to the gradient: half of it makes up for that.
        let part = &gradient / gradient.norm() * random.norm() * 0.5;
        let mixed = random + part;
        let mixed = &mixed / mixed.norm();
        for direction in [mixed].into_iter().chain(axes.then_some(axis)) {
            let found = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
            // Units and maxima that change between the two ends bend the loss, fewer the nearer
            // they are; the nearer, the more its rounding counts. A wrong gradient fits nowhere.
            let mut apart = f64::INFINITY;
            for step in [1e-6, 1e-7, 1e-5, 1e-8] {
                let kept = weight.detach().copy();
                let put = |t: f64| {
                    tch::no_grad(|| weight.shallow_clone().copy_(&(&kept + &direction * t)));
                };
                let at = |t: f64| {
                    put(t);
                    value()
                };
                let expected = (at(step) - at(-step)) / (2.0 * step);
                put(0.0);
                assert!(found != 0.0, "{name} {tensor}");
                apart = apart.min((found - expected).abs() / found.abs());
                if apart < 1e-4 {
                    break;
                }
            }
            assert!(apart < 1e-4, "{name} {tensor}: {found}, apart {apart}");
        }
    }
}

#[test]
fn gradients_are_those_of_differences() {
    let (weights, mut options) = bottlenecks();
    check(&weights, &options, "bottlenecks", true);
    let channels = open(&weights, &options, TrainingPrecision::Double).channels();
    let more = [("ocelli.form", "v1"), ("ocelli.bn_eps", "0.001")];
    options.settings = Default::default();
    check(&with_head(&weights, (24, channels), &more), &options, "bottlenecks and a head", false);
    let resnet = seeded(SeededArch::Resnet18, 1);
    check(&with_head(&resnet, (16, 64), &[]), &options, "resnet18 and a head", false);
    check(&seeded(SeededArch::EfficientnetLite0, 2), &options, "efficientnet", false);
}

fn gradients(network: &Trainable) -> Vec<Tensor> {
    network.parameters().iter().map(|(_, weight)| weight.grad().to_kind(Kind::Double)).collect()
}

/// Two passes, one image at a time, give the gradient of one graph over all images.
#[test]
fn two_passes_are_one() {
    let weights = with_head(&seeded(SeededArch::Resnet18, 2), (32, 128), &[]);
    for (precision, most) in [(TrainingPrecision::Single, 1e-5), (TrainingPrecision::Double, 1e-12)]
    {
        let options = NetworkOptions::default();
        let (once, twice) =
            (open(&weights, &options, precision), open(&weights, &options, precision));
        let inputs = inputs(&once);
        let whole = loss(&once, &inputs);
        whole.backward();

        let mut looks = 0;
        let mut input = |at: usize| {
            looks += 1;
            Ok(Some(inputs[at].shallow_clone()))
        };
        let rows = descriptors(&twice, inputs.len(), &mut input).unwrap();
        let rows: Vec<f64> = rows.into_iter().flat_map(Option::unwrap).collect();
        let found = triplet_loss(&rows, twice.dim(), &TRIPLETS, 1.0).unwrap();
        assert!((found.value - whole.double_value(&[])).abs() < 1e-6);
        assert_eq!(found.active, 3);
        let lost = propagate(&twice, &found.gradient, twice.dim(), &mut input).unwrap();
        assert_eq!((lost, looks), (0, 8));
        for (((name, _), a), b) in
            once.parameters().iter().zip(gradients(&once)).zip(gradients(&twice))
        {
            let apart = ((&a - &b).norm() / a.norm()).double_value(&[]);
            assert!(apart < most, "{name}: {apart}");
        }
    }
}

/// An image without a gradient is not run, one that is gone is counted.
#[test]
fn images_without_a_gradient_are_not_run() {
    let network = open(
        &seeded(SeededArch::Resnet18, 1),
        &NetworkOptions::default(),
        TrainingPrecision::Single,
    );
    let mut gradient = vec![0.0; 3 * network.dim()];
    gradient[network.dim()] = 1.0;
    let mut seen = Vec::new();
    let mut gone = |at: usize| {
        seen.push(at);
        Ok(None)
    };
    assert_eq!(propagate(&network, &gradient, network.dim(), &mut gone).unwrap(), 1);
    assert_eq!(seen, [1]);
    let rows = descriptors(&network, 2, &mut |_| Ok(None)).unwrap();
    assert_eq!(rows, [None, None]);
}

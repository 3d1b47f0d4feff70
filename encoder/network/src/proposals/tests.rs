use image::RgbImage;
use ocelli_weights::Weights;
use ocelli_weights::convert::Array;
use ocelli_weights::seeded::{self, SeededArch};
use ocelli_weights::write::safetensors_bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

use super::*;
use crate::training::TrainingPrecision;
use crate::{Device as Where, Network, NetworkOptions, NetworkSeconds, Trainable};

/// Layers of random numbers behind a map of `channels`.
fn layers(channels: usize, seed: u64) -> ProposalLayers {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let anchors = Anchors::default();
    let mut made = ProposalLayers { anchors, channels, hidden: 6, layers: Default::default() };
    let shapes = made.shapes();
    for (layer, shape) in made.layers.iter_mut().zip(shapes) {
        let mut values = |count: usize| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(-0.3..0.3)).collect()
        };
        layer.weight = values(shape.iter().product());
        layer.bias = values(shape[0]);
    }
    made
}

/// An untrained ResNet-18 to its second stage, as it is and with layers that propose 20 regions.
fn networks() -> (Weights, Weights, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    seeded::write(SeededArch::Resnet18, 7, 2, &path).unwrap();
    let plain = Weights::read(&path).unwrap();
    let load = |weights: &Weights, pooling| {
        let options = NetworkOptions::default();
        Trainable::load(weights, &options, pooling, TrainingPrecision::Single).unwrap()
    };
    let mut network = load(&plain, Pooling::Mac);
    network.put_proposals(&layers(network.channels(), 1), 20).unwrap();
    let named = network.parameters().into_iter().chain(network.frozen());
    let array = |tensor: Tensor| {
        let values = Vec::<f32>::try_from(tensor.detach().contiguous().reshape([-1])).unwrap();
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Array { dtype: Dtype::F32, shape, bytes }
    };
    let tensors: Vec<_> = named.map(|(name, tensor)| (name, array(tensor))).collect();
    let bytes = safetensors_bytes(&tensors, network.metadata().iter().cloned());
    let with = Weights::parse("b.safetensors".as_ref(), &bytes).unwrap();
    (plain, with, folder)
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 + y) as u8, (x * y / 3) as u8, (x ^ (y * 5)) as u8])
    })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A layer by hand: one hidden channel that is the map, a score that is it, nothing moved. The best
/// anchor is that of the largest cell.
#[test]
fn the_best_regions_lie_where_the_scores_are_high() {
    crate::set_torch_threads(1);
    let anchors = Anchors { scales: vec![0.25], ratios: vec![1.0] };
    let mut centre = vec![0.0; 9];
    centre[4] = 1.0;
    let by_hand = ProposalLayers {
        anchors,
        channels: 1,
        hidden: 1,
        layers: [
            ProposalLayer { weight: centre, bias: vec![0.0] },
            ProposalLayer { weight: vec![1.0], bias: vec![0.0] },
            ProposalLayer { weight: vec![0.0; 4], bias: vec![0.0; 4] },
        ],
    };
    let proposer = Proposer::new(&by_hand).unwrap();
    let maps = Tensor::zeros([2, 1, 12, 16], (Kind::Float, Device::Cpu));
    let _ = maps.get(0).get(0).get(5).get(9).fill_(3.0);
    let _ = maps.get(1).get(0).get(0).get(0).fill_(3.0);
    let (scores, _) = proposer.outputs(&maps).unwrap();
    assert_eq!(scores.size(), [2, 192]);
    assert_eq!(scores.get(0).argmax(0, false).int64_value(&[]), 5 * 16 + 9);
    let regions = proposer.regions(&maps, ((192, 256), 16), 3).unwrap();
    // 64 pixels around (152, 88): 120 to 184, 56 to 120; its last pixel is that before its end.
    assert_eq!(regions[0][0], Region { x: 8, y: 4, width: 4, height: 4 });
    // That of the corner is cut: 0 to 40.
    assert_eq!(regions[1][0], Region { x: 0, y: 0, width: 3, height: 3 });

    // Of two anchors the second is moved by a quarter of its width, and the first is not.
    let mut moved = by_hand;
    moved.anchors.ratios = vec![1.0, 4.0];
    moved.layers[1] = ProposalLayer { weight: vec![1.0, 2.0], bias: vec![0.0; 2] };
    let mut bias = vec![0.0; 8];
    bias[4] = 0.25;
    moved.layers[2] = ProposalLayer { weight: vec![0.0; 8], bias };
    let proposer = Proposer::new(&moved).unwrap();
    let rects = proposer.rects(&maps, ((192, 256), 16), 2).unwrap();
    // 32 x 128 around (152, 88), eight to the right; then the square.
    assert_eq!(rects[0][0], Rect { x0: 144.0, y0: 24.0, x1: 176.0, y1: 152.0 });
    assert_eq!(rects[0][1], Rect { x0: 120.0, y0: 56.0, x1: 184.0, y1: 120.0 });
}

/// Pictures as small as they come: as many regions as the map has anchors or as were asked for,
/// all of them inside of it.
#[test]
fn regions_lie_inside_for_every_small_shape() {
    crate::set_torch_threads(1);
    let proposer = Proposer::new(&layers(4, 2)).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for (height, width) in [(1, 1), (1, 7), (3, 2), (5, 9), (12, 4)] {
        let values: Vec<f32> =
            (0..4 * height * width).map(|_| rng.random_range(-50.0..50.0)).collect();
        let maps = Tensor::from_slice(&values).reshape([1, 4, height as i64, width as i64]);
        for (pixels, count) in [(16, 300), (9, 5), (1, 60)] {
            let image = (height * pixels, width * pixels);
            let found = proposer.regions(&maps, (image, 16), count).unwrap();
            assert_eq!(found[0].len(), (count as usize).min(9 * height * width));
            for r in &found[0] {
                assert!(r.width > 0 && r.x + r.width <= width, "{r:?}");
                assert!(r.height > 0 && r.y + r.height <= height, "{r:?}");
            }
        }
    }
    // Numbers that are none: the map is refused elsewhere, nothing panics here.
    let bad = Tensor::full([1, 4, 3, 3], f64::NAN, (Kind::Float, Device::Cpu));
    assert_eq!(proposer.regions(&bad, ((48, 48), 16), 7).unwrap()[0].len(), 7);
}

/// The CPU, a device and the path with gradients pool the same regions: the maxima of the map over
/// those that are proposed.
#[test]
fn all_paths_pool_the_same_regions() {
    crate::set_torch_threads(1);
    let (_, weights, _folder) = networks();
    let pooling = Pooling::Proposals { count: 20 };
    let open = |device| {
        let options = NetworkOptions { device, ..NetworkOptions::default() };
        Network::load(&weights, &options).unwrap()
    };
    let (cpu, device) = (open(Where::Cpu), open(Where::CpuAsDevice));
    assert_eq!(cpu.pooling(), Some(pooling));
    let options = NetworkOptions::default();
    let trainable =
        Trainable::load(&weights, &options, pooling, TrainingPrecision::Single).unwrap();
    let other = |image: &RgbImage| image::imageops::rotate180(image);
    let images = [picture(70, 100), picture(100, 70), picture(9, 9)];
    for image in &images {
        let rows = |network: &Network, sum| {
            network.check_pooling(&pooling).unwrap();
            let finish = network.finish(None).unwrap();
            let mut seconds = NetworkSeconds::default();
            let mut of = |images: &[&RgbImage]| -> Vec<Vec<f32>> {
                let made = network.rows(images, &pooling, (&finish, sum), &mut seconds).unwrap();
                made.into_iter().map(|made| made.unwrap().rows).collect()
            };
            // Each image of a batch has its own regions.
            let turned = other(image);
            let (both, alone) = (of(&[&turned, image]), of(&[&turned]));
            assert!(cosine(&both[0], &alone[0]) > 0.999_999);
            both[1].clone()
        };
        let expected = rows(&cpu, true);
        assert!(cosine(&rows(&device, true), &expected) > 0.999_999);
        let input = trainable.input(image).unwrap();
        let descriptor = trainable.descriptor(&input).unwrap();
        let descriptor = Vec::<f32>::try_from(&descriptor.detach().to_kind(Kind::Float)).unwrap();
        assert!(cosine(&descriptor, &expected) > 0.999_99);
        // Row by row against the definition.
        let map = trainable.map(&input).unwrap();
        let size = (image.height() as usize, image.width() as usize);
        let proposer = trainable.proposer().unwrap();
        let regions = proposer.regions(&map, (size, trainable.stride()), 20).unwrap();
        let map = pooling::FeatureMap::from_tensor(&map.squeeze_dim(0)).unwrap();
        let channels = map.channels();
        let maxima = map.max_over(&regions[0]);
        let rows = rows(&cpu, false);
        assert_eq!(rows.len(), maxima.len());
        for (row, expected) in rows.chunks(channels).zip(maxima.chunks(channels)) {
            assert!(cosine(row, expected) > 0.999_99);
        }
    }
}

/// Gradients reach the trunk through the regions, and not the layers that propose them.
#[test]
fn proposals_are_frozen_while_the_rest_is_trained() {
    crate::set_torch_threads(1);
    let (plain, weights, _folder) = networks();
    let (pooling, options) = (Pooling::Proposals { count: 20 }, NetworkOptions::default());
    let load = |weights: &Weights, pooling| {
        Trainable::load(weights, &options, pooling, TrainingPrecision::Single)
    };
    let network = load(&weights, pooling).unwrap();
    let input = network.input(&picture(60, 40)).unwrap();
    network.descriptor(&input).unwrap().get(3).backward();
    let norm = |tensor: &Tensor| tensor.grad().norm().double_value(&[]);
    assert!(network.parameters().iter().any(|(_, tensor)| norm(tensor) > 0.0));
    assert!(network.frozen().iter().all(|(_, tensor)| !tensor.grad().defined()));
    assert_eq!(network.frozen().len(), 8);
    // Without such layers proposals are refused, wherever they are asked for.
    for error in [
        load(&plain, pooling).err().unwrap().to_string(),
        Network::load(&plain, &options).unwrap().check_pooling(&pooling).unwrap_err().to_string(),
    ] {
        assert!(error.contains("expected weights with layers that propose regions"), "{error}");
    }
    let plain_network = Network::load(&plain, &options).unwrap();
    let finish = plain_network.finish(None).unwrap();
    let image = picture(40, 40);
    let mut seconds = NetworkSeconds::default();
    assert!(plain_network.rows(&[&image], &pooling, (&finish, true), &mut seconds).is_err());
    // Those that are put must fit.
    let mut bare = load(&plain, Pooling::Mac).unwrap();
    assert!(bare.put_proposals(&layers(bare.channels() + 1, 1), 20).is_err());
    let mut short = layers(bare.channels(), 1);
    short.layers[1].bias.pop();
    assert!(bare.put_proposals(&short, 20).is_err());
    assert!(bare.put_proposals(&layers(bare.channels(), 1), 0).is_err());
}

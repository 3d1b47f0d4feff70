//! The parts by themselves, beside slow definitions.

use super::super::features;
use super::super::plane::Plane;
use super::super::transform::Pair;
use super::*;

/// The blur is the sum over all pixels within three deviations, weighted and cut at the edges.
#[test]
fn blur_is_a_sum_of_weights() {
    let plane = sketch(5, 23, 17, &Transform::IDENTITY).plane();
    for sigma in [0.4f32, 1.0, 2.3] {
        let radius = (3.0 * sigma).ceil() as i32;
        let weight = |i: i32| (-0.5 * (i as f32 / sigma).powi(2)).exp();
        let total: f32 = (-radius..=radius).map(weight).sum();
        let fast = plane.blurred(sigma);
        for y in 0..17i32 {
            for x in 0..23i32 {
                let mut sum = 0.0;
                for v in -radius..=radius {
                    for u in -radius..=radius {
                        let at = [(x + u).clamp(0, 22) as usize, (y + v).clamp(0, 16) as usize];
                        sum += weight(u) * weight(v) * plane.at(at[0], at[1]);
                    }
                }
                let slow = sum / (total * total);
                let found = fast.at(x as usize, y as usize);
                assert!((slow - found).abs() < 1e-5, "{sigma} {x} {y}: {slow}, found {found}");
            }
        }
    }
}

/// What is not there stays so, and adds nothing to what is beside it.
#[test]
fn blur_leaves_gaps_out() {
    let mut plane = Plane::of_grey(30, 20, &[51; 600]);
    plane.values[10 * 30 + 7..][..9].fill(f32::NAN);
    let blurred = plane.blurred_inside(1.5);
    for (before, after) in plane.values.iter().zip(&blurred.values) {
        assert_eq!(before.is_nan(), after.is_nan());
        assert!(after.is_nan() || (after - 0.2).abs() < 1e-4, "{after}");
    }
}

/// Between pixels lies their mean; halved planes have the same points at half the numbers.
#[test]
fn samples_lie_between_pixels() {
    let plane = Plane { width: 4, height: 2, values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] };
    assert_eq!(plane.sample(0.5, 0.5), 0.0);
    assert_eq!(plane.sample(1.0, 0.5), 0.5);
    assert_eq!(plane.sample(2.0, 1.0), 3.5);
    assert_eq!(plane.sample(-9.0, 99.0), 4.0);
    let half = plane.halved();
    assert_eq!((half.width, half.height), (2, 1));
    assert_eq!(half.values, [2.5, 4.5]);
    assert_eq!(half.sample(1.0, 0.5), plane.sample(2.0, 1.0));
}

#[test]
fn maps_are_inverted_joined_and_fitted() {
    let map = Transform { x: [0.8, -0.3, 12.0], y: [0.4, 1.1, -7.0] };
    let there = [31.0, 17.0];
    let back = map.inverse().unwrap().apply(map.apply(there));
    assert!((back[0] - 31.0).abs() < 1e-3 && (back[1] - 17.0).abs() < 1e-3, "{back:?}");
    let twice = map.then(&map).apply(there);
    let once = map.apply(map.apply(there));
    assert!((twice[0] - once[0]).abs() < 1e-3 && (twice[1] - once[1]).abs() < 1e-3);
    let [long, short] = map.stretch();
    assert!((long * short - map.determinant()).abs() < 1e-4);
    assert!(Transform { x: [1.0, 2.0, 0.0], y: [2.0, 4.0, 0.0] }.inverse().is_none());

    let points = [[0.0, 0.0], [90.0, 5.0], [20.0, 80.0], [70.0, 60.0]];
    let pair = |from: [f32; 2], map: &Transform| Pair { from, to: map.apply(from), weight: 0.7 };
    let pairs = points.map(|from| pair(from, &map));
    assert!(off(&Transform::fit(&pairs).unwrap(), &map, 100.0, 100.0) < 1e-3);
    let turn = turned(1.7, 0.6);
    let pairs = points.map(|from| pair(from, &turn));
    assert!(off(&Transform::fit_similarity(&pairs).unwrap(), &turn, 100.0, 100.0) < 1e-3);
    let line = [0.0, 1.0, 2.0].map(|i| pair([10.0 * i, 5.0 * i], &map));
    assert!(Transform::fit(&line).is_none());
    assert!(Transform::fit(&[]).is_none() && Transform::fit_similarity(&line[..1]).is_none());
}

/// The mirrored features of a picture are the features of the mirrored picture.
#[test]
fn features_are_mirrored_without_pixels() {
    let picture = original();
    let mirrored = picture.mirrored();
    let fresh = features::find(&mirrored.plane());
    let mut found = 0;
    for made in mirrored.features() {
        let near = |other: &&features::Feature| {
            let turn = (other.angle - made.angle).rem_euclid(std::f32::consts::TAU);
            (other.at[0] - made.at[0]).hypot(other.at[1] - made.at[1]) < 1.5
                && (other.scale / made.scale).log2().abs() < 0.3
                && !(0.1..6.18).contains(&turn)
        };
        let best = fresh.iter().filter(near).map(|other| {
            let differences = made.descriptor.iter().zip(&other.descriptor);
            differences.map(|(a, b)| i32::from(a.abs_diff(*b)).pow(2)).sum::<i32>()
        });
        // A descriptor has the length 512; others are some 300 away.
        found += usize::from(best.min().is_some_and(|square| square < 120 * 120));
    }
    let all = mirrored.features().len();
    assert!(all > 150 && found * 10 > all * 8, "{found} of {all}");
}

//! Pictures whose maps are known: painted, warped, matched, verified.

use image::{Rgb, RgbImage};

use crate::affine::Affine;
use crate::features::{FeatureError, FeatureOptions, Features, Keypoint, MAX_SIDE_PX};
use crate::ratio::{Match, matches};
use crate::verify::{VerifyOptions, verify};

/// Numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }
}

/// Rectangles and discs of random shades, upon each other.
fn painted(seed: u64, width: u32, height: u32) -> RgbImage {
    let mut numbers = Numbers(seed.wrapping_mul(7919).wrapping_add(1));
    let mut picture = RgbImage::from_pixel(width, height, Rgb([120; 3]));
    for shape in 0..220 {
        let x = numbers.next() * f64::from(width);
        let y = numbers.next() * f64::from(height);
        let size = 4.0 + 26.0 * numbers.next() * numbers.next();
        let aspect = 0.5 + numbers.next();
        let shade = [0; 3].map(|_: u8| (255.0 * numbers.next()) as u8);
        for row in (y - 2.0 * size).max(0.0) as u32..((y + 2.0 * size) as u32).min(height) {
            for column in (x - size).max(0.0) as u32..((x + size) as u32).min(width) {
                let (dx, dy) = (f64::from(column) - x, (f64::from(row) - y) / aspect);
                if shape % 2 == 0 && dy.abs() < size || dx * dx + dy * dy < size * size {
                    picture.put_pixel(column, row, Rgb(shade));
                }
            }
        }
    }
    picture
}

/// A picture of `size` in which `map` takes points of `picture` to their places; grey elsewhere.
fn warped(picture: &RgbImage, map: &Affine, size: (u32, u32)) -> RgbImage {
    let back = map.inverse().unwrap();
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(size.0, size.1, |column, row| {
        let centre = [f64::from(column) + 0.5, f64::from(row) + 0.5];
        let [x, y] = back.apply(centre).map(|v| v - 0.5);
        if x < 0.0 || y < 0.0 || x >= f64::from(width - 1) || y >= f64::from(height - 1) {
            return Rgb([90; 3]);
        }
        let (left, top) = (x as u32, y as u32);
        let (fx, fy) = (x.fract(), y.fract());
        Rgb(std::array::from_fn(|channel| {
            let at = |dx, dy| f64::from(picture.get_pixel(left + dx, top + dy).0[channel]);
            let upper = at(0, 0) * (1.0 - fx) + at(1, 0) * fx;
            let lower = at(0, 1) * (1.0 - fx) + at(1, 1) * fx;
            (upper * (1.0 - fy) + lower * fy) as u8
        }))
    })
}

fn features(picture: &RgbImage) -> Features {
    Features::of(picture, &FeatureOptions::default()).unwrap()
}

#[test]
fn warps_are_recovered() {
    let picture = painted(1, 360, 300);
    let from = features(&picture);
    assert!(from.len() > 150, "{} features", from.len());
    let warps = [
        Affine::IDENTITY,
        Affine::similarity(1.0, 0.5, [180.0, 150.0], [200.0, 190.0]),
        Affine::similarity(0.6, -2.8, [180.0, 150.0], [180.0, 170.0]),
        Affine::similarity(1.7, 1.5, [180.0, 150.0], [210.0, 200.0]),
        Affine { x: [1.1, 0.25, -20.0], y: [-0.1, 0.85, 40.0] },
    ];
    for map in warps {
        let to = features(&warped(&picture, &map, (400, 380)));
        let found = matches(&from, &to, 0.8);
        let verified = verify(&from, &to, &found, &VerifyOptions::default()).unwrap();
        assert!(verified.places > 30, "{} places of {}", verified.places, found.len());
        for point in [[100.0, 80.0], [250.0, 80.0], [180.0, 220.0]] {
            let ([x, y], [u, v]) = (verified.map.apply(point), map.apply(point));
            assert!((x - u).hypot(y - v) < 1.5, "{map:?}: {x} {y}, expected {u} {v}");
        }
        let again = verify(&from, &to, &matches(&from, &to, 0.8), &VerifyOptions::default());
        assert_eq!(again, Some(verified), "equal inputs, equal results");
    }
}

#[test]
fn a_mirrored_picture_is_another_one() {
    let picture = painted(1, 360, 300);
    let mirrored = features(&image::imageops::flip_horizontal(&picture));
    let from = features(&picture);
    let found = matches(&from, &mirrored, 0.8);
    assert_eq!(verify(&from, &mirrored, &found, &VerifyOptions::default()), None);
}

#[test]
fn unrelated_pictures_are_not_verified() {
    let all: Vec<Features> = (1..9).map(|seed| features(&painted(seed, 320, 260))).collect();
    for (at, a) in all.iter().enumerate() {
        for b in all.iter().skip(at + 1) {
            let found = matches(a, b, 0.85);
            assert_eq!(verify(a, b, &found, &VerifyOptions::default()), None);
        }
    }
}

#[test]
fn pictures_without_texture_have_no_features() {
    let flat = |width, height| RgbImage::from_pixel(width, height, Rgb([77; 3]));
    for (width, height) in [(0, 0), (1, 1), (3, 3), (15, 900), (16, 16), (17, 400), (300, 200)] {
        let none = features(&flat(width, height));
        assert!(none.is_empty(), "{width} x {height}");
        let some = features(&painted(3, 120, 90));
        for (a, b) in [(&none, &some), (&some, &none), (&none, &none)] {
            assert!(matches(a, b, 0.9).is_empty());
            assert_eq!(verify(a, b, &[], &VerifyOptions::default()), None);
        }
    }
    // Small, thin and loud: whatever is found, nothing fails.
    let mut numbers = Numbers(5);
    for (width, height) in [(1, 1), (2, 7), (16, 16), (16, 300), (23, 17), (31, 64), (64, 64)] {
        let mut shades = || Rgb([if numbers.next() < 0.5 { 0 } else { 255 }; 3]);
        features(&RgbImage::from_fn(width, height, |_, _| shades()));
    }
}

#[test]
fn faults_of_the_input_are_told() {
    let error = Features::of(&RgbImage::new(MAX_SIDE_PX + 1, 20), &FeatureOptions::default());
    let text = error.unwrap_err().to_string();
    assert_eq!(text, "expected sides of at most 2048 pixels, found 2049 x 20");
    for contrast in [0.0, -1.0, f32::NAN] {
        let options = FeatureOptions { contrast, ..FeatureOptions::default() };
        let error = Features::of(&RgbImage::new(64, 64), &options).unwrap_err();
        assert!(matches!(error, FeatureError::Contrast { .. }), "{error}");
    }
    let some = features(&painted(3, 120, 90));
    let beyond = vec![Match { from: 0, to: some.len() as u32, ratio: 0.5 }; 20];
    assert_eq!(verify(&some, &some, &beyond, &VerifyOptions::default()), None);
}

#[test]
fn the_strongest_features_stay() {
    let picture = painted(1, 360, 300);
    let all = features(&picture);
    let few = Features::of(&picture, &FeatureOptions { most: 40, ..FeatureOptions::default() });
    let few = few.unwrap();
    assert_eq!(few.keypoints(), &all.keypoints()[..40]);
    assert_eq!(few.descriptors(), &all.descriptors()[..40]);
    // The strongest of a part are as many, though few of them are among those of the whole.
    let is_left = |[x, _]: [f32; 2]| x < 100.0;
    let most = 40;
    let options = FeatureOptions { most, ..FeatureOptions::default() };
    let left = Features::of_part(&picture, &options, is_left).unwrap();
    let expected: Vec<Keypoint> =
        all.keypoints().iter().filter(|k| is_left(k.at)).take(most).copied().collect();
    assert!(few.keypoints().iter().filter(|k| is_left(k.at)).count() < most);
    assert_eq!((left.len(), left.descriptors().len()), (most, most));
    assert_eq!(left.keypoints(), expected);
    // Descriptors have one length, 510, but for what bytes round.
    for descriptor in all.descriptors() {
        let square: f64 = descriptor.iter().map(|&v| f64::from(v).powi(2)).sum();
        assert!((square.sqrt() - 510.0).abs() < 6.0, "{}", square.sqrt());
    }
}

/// The definition: the two nearest of each, and the nearest back.
#[test]
fn matches_are_those_of_the_definition() {
    let picture = painted(1, 360, 300);
    let turn = Affine::similarity(0.9, 0.4, [180.0, 150.0], [180.0, 160.0]);
    let (a, b) = (features(&picture), features(&warped(&picture, &turn, (350, 330))));
    let distance = |x: &[u8; 128], y: &[u8; 128]| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum::<f64>().sqrt()
    };
    let nearest = |row: &[u8; 128], of: &Features| -> [(f64, usize); 2] {
        let mut all: Vec<(f64, usize)> =
            of.descriptors().iter().map(|d| distance(row, d)).zip(0..).collect();
        all.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        [all[0], all[1]]
    };
    let mut expected = Vec::new();
    for (from, row) in a.descriptors().iter().enumerate() {
        let [first, second] = nearest(row, &b);
        let back = nearest(&b.descriptors()[first.1], &a)[0].1;
        if back == from && first.0 / second.0 <= 0.8 {
            expected.push((from as u32, first.1 as u32, first.0 / second.0));
        }
    }
    let found = matches(&a, &b, 0.8);
    assert_eq!(found.len(), expected.len());
    for (found, (from, to, ratio)) in found.iter().zip(expected) {
        assert_eq!((found.from, found.to), (from, to));
        assert!((f64::from(found.ratio) - ratio).abs() < 1e-6);
    }
    // Copies of one feature do not tell themselves apart.
    let first = a.keypoints()[0].at;
    let options = FeatureOptions::default();
    let twice = Features::of_part(&picture, &options, |at| at == first).unwrap();
    assert!(matches(&twice, &twice, 0.9).len() <= twice.len());
}

/// Features at given places that match by number, scale and direction equal.
fn at_places(places: &[[f32; 2]]) -> Features {
    let keypoints = places.iter().map(|&at| Keypoint { at, scale: 2.0, angle: 1.0 });
    Features::of_parts(keypoints.collect(), vec![[9; 128]; places.len()])
}

#[test]
fn points_that_tell_no_map_are_not_verified() {
    let by_number = |count: usize| -> Vec<Match> {
        (0..count as u32).map(|at| Match { from: at, to: at, ratio: 0.5 }).collect()
    };
    let options = VerifyOptions::default();
    let spread: Vec<[f32; 2]> =
        (0..40).map(|i| [(i % 8) as f32 * 30.0, (i / 8) as f32 * 40.0 + (i % 3) as f32]).collect();
    let sound = verify(&at_places(&spread), &at_places(&spread), &by_number(40), &options);
    assert_eq!(sound.unwrap().places, 40);
    let line: Vec<[f32; 2]> = (0..40).map(|i| [i as f32 * 9.0, i as f32 * 4.0]).collect();
    let heap = vec![[50.0, 60.0]; 40];
    // A place that has many directions counts once.
    let mut few = spread[..7].to_vec();
    few.extend([[200.0, 100.0]; 33]);
    for places in [&line, &heap, &few, &spread[..7].to_vec()] {
        let features = at_places(places);
        let found = verify(&features, &features, &by_number(places.len()), &options);
        let least = VerifyOptions { least: 9, ..options };
        let strict = verify(&features, &features, &by_number(places.len()), &least);
        assert!(found.is_none_or(|found| found.places == 8) && strict.is_none());
    }
    // Six times as large.
    let large: Vec<[f32; 2]> = spread.iter().map(|[x, y]| [6.0 * x, 6.0 * y]).collect();
    assert_eq!(verify(&at_places(&spread), &at_places(&large), &by_number(40), &options), None);
}

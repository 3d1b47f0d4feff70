//! The descriptors that jobs make: from kept regions, in batches, in bfloat16, of several sizes.

use super::*;

/// Regions first and pooled later is the same as pooled at once, with and without a whitening.
#[test]
fn kept_regions_pool_to_the_same_descriptors() {
    let (folder, input) = setup();
    let folder = folder.path();
    let regions = output(folder, "regions.part", PartKind::Regions);
    let plain = pipeline(folder, &[48], None);
    encode(&input, &plain, &view_options(&[48]), &regions, &workers_of(2)).unwrap();

    // Any matrix will do: 64 to 8 dimensions.
    let projection = (0..64 * 8).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let whitening = |learned_on: &DescriptorSpec| Whitening {
        mean: vec![0.01; 64],
        projection,
        learned_on: learned_on.clone(),
    };
    let whitening = whitening(plain.spec());
    for whitening in [None, Some(whitening.clone())] {
        let pipeline = pipeline(folder, &[48], whitening.clone());
        for kind in [PartKind::Descriptors, PartKind::Regions] {
            let direct = output(folder, "direct.part", kind);
            encode(&input, &pipeline, &view_options(&[48]), &direct, &workers_of(2)).unwrap();
            let later = output(folder, "later.part", kind);
            let summary = encode_regions(&regions.part, whitening.as_ref(), &later, None).unwrap();
            let (a, b) = (Part::open(&direct.part).unwrap(), Part::open(&later.part).unwrap());
            assert_eq!((a.spec(), a.rows()), (b.spec(), b.rows()));
            assert_eq!(a.keys().unwrap(), b.keys().unwrap());
            assert_eq!(summary.rows as usize, a.rows());
            let (x, y) = (a.read(0..a.rows()).unwrap(), b.read(0..b.rows()).unwrap());
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-5));
        }
    }

    // What does not fit is refused: descriptors, another spec, two sizes.
    let out = output(folder, "never.part", PartKind::Descriptors);
    let refused = |part: &Path, whitening: Option<&Whitening>| {
        encode_regions(part, whitening, &out, None).unwrap_err().to_string()
    };
    encode(
        &input,
        &plain,
        &view_options(&[48]),
        &output(folder, "d.part", PartKind::Descriptors),
        &workers_of(1),
    )
    .unwrap();
    assert!(refused(&folder.join("d.part"), None).contains("expected region vectors"));
    let two = output(folder, "two.part", PartKind::Regions);
    encode(
        &input,
        &pipeline(folder, &[48, 32], None),
        &view_options(&[48, 32]),
        &two,
        &workers_of(2),
    )
    .unwrap();
    assert!(refused(&two.part, None).contains("2 sizes"));
    assert!(refused(&two.part, Some(&whitening)).contains("sizes: expected"));
    assert!(!out.part.exists() && !out.rejected.exists());
}

/// Alone and in batches of equal shape, descriptors agree to the last bits of float32; nothing is
/// padded.
#[test]
fn a_batch_changes_no_descriptor() {
    let (folder, input) = setup();
    let folder = folder.path();
    // 40 of 24 photos x sizes have shapes of their own, so that batches of every length occur.
    let pipeline = pipeline(folder, &[48, 40], None);
    let vectors = |batch: usize| {
        let output = output(folder, &format!("{batch}.part"), PartKind::Descriptors);
        let options = JobOptions { batch, ..workers_of(2) };
        encode(&input, &pipeline, &view_options(&[48, 40]), &output, &options).unwrap();
        let part = Part::open(&output.part).unwrap();
        part.read(0..part.rows()).unwrap()
    };
    let alone = vectors(1);
    for batch in [2, 8] {
        for (a, b) in alone.chunks(64).zip(vectors(batch).chunks(64)) {
            let cosine: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!(cosine > 0.99999, "batch {batch}: {cosine}");
        }
    }
}

/// bfloat16 is another spec, and nearly the same descriptors.
#[test]
fn bfloat16_is_near_and_known_by_its_spec() {
    let (folder, input) = setup();
    let folder = folder.path();
    let single = pipeline(folder, &[48], None);
    let options = NetworkOptions { precision: Precision::Bf16, ..NetworkOptions::default() };
    let network = Network::open(&folder.join("weights.safetensors"), &options).unwrap();
    let half = Pipeline::new(network, single.options().clone(), None).unwrap();
    assert!(half.spec().canonical().contains("precision=bf16"));
    assert_ne!(half.spec().hash(), single.spec().hash());
    let vectors = |pipeline: &Pipeline, name: &str| {
        let output = output(folder, name, PartKind::Descriptors);
        encode(&input, pipeline, &view_options(&[48]), &output, &workers_of(2)).unwrap();
        let part = Part::open(&output.part).unwrap();
        part.read(0..part.rows()).unwrap()
    };
    let (single, half) = (vectors(&single, "single.part"), vectors(&half, "half.part"));
    assert_ne!(single, half);
    for (a, b) in single.chunks(64).zip(half.chunks(64)) {
        let cosine: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        assert!(cosine > 0.999, "{cosine}");
    }
}

/// Sizes pooled by a generalized mean: with p = 1 the direction of the sum, with another p the
/// formula.
#[test]
fn sizes_are_combined_by_sum_or_generalized_mean() {
    let (folder, _) = setup();
    let folder = folder.path();
    let both = pipeline(folder, &[48, 40], None);
    let views: Vec<RgbImage> = [photo(1), photo(2)].to_vec();
    let with = |combine| {
        let options = PipelineOptions { combine, ..both.options().clone() };
        let network = both.network().try_clone().unwrap();
        let pipeline = Pipeline::new(network, options, None).unwrap();
        assert_eq!(pipeline.spec().canonical().contains("combine="), combine != Combine::Sum);
        pipeline.descriptor(&views).unwrap()
    };
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&with(Combine::Sum), &with(Combine::Gem { p: 1.0, floor: 0.0 })));
    let each: Vec<Vec<f32>> =
        views.iter().map(|v| both.descriptor(std::slice::from_ref(v)).unwrap()).collect();
    let mut expected: Vec<f32> = each[0]
        .iter()
        .zip(&each[1])
        .map(|(a, b)| (((a * a * a) + (b * b * b)) / 2.0).cbrt())
        .collect();
    let norm = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
    expected.iter_mut().for_each(|v| *v /= norm);
    assert!(near(&with(Combine::Gem { p: 3.0, floor: 0.0 }), &expected));
}

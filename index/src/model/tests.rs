use super::*;
use ocelli_vector::l2_sq;
use rand::{RngExt, SeedableRng};

/// A small model with random centroids and codebooks; a rotation by a permutation and a mean if
/// asked for. ksub 16 keeps it small.
pub(crate) fn small(metric: Metric, transform: bool, seed: u64) -> Model {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let (dim, nlist, m, ksub) = (12, 7, 4, 16);
    let mut draw = |n: usize, scale: f32| -> Vec<f32> {
        (0..n).map(|_| rng.random_range(-scale..scale)).collect()
    };
    let rotation = transform.then(|| {
        let mut r = vec![0.0; dim * dim];
        (0..dim).for_each(|i| r[i * dim + (i * 5 + 1) % dim] = if i % 2 == 0 { 1.0 } else { -1.0 });
        r
    });
    Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", dim as u32).unwrap(),
        metric,
        mean: transform.then(|| draw(dim, 0.3)),
        rotation,
        renormalize: false,
        dim,
        d: dim,
        nlist,
        coarse: draw(nlist * dim, 1.0).into(),
        m,
        ksub,
        codebooks: draw(ksub * dim, 0.5),
        training: BTreeMap::from([("seed".into(), seed.to_string())]),
    })
    .unwrap()
}

/// A decoded row as a query is what its vector is as a query: with and without a transform, whose
/// mean belongs to inner products.
#[test]
fn a_decoded_row_is_the_query_of_its_vector() {
    for metric in Metric::ALL {
        for transform in [false, true] {
            let model = small(metric, transform, 3);
            let z = model.decode(4, &[1, 7, 15, 0]);
            let want = model.prepare(&model.restore(z.clone())).unwrap();
            let found = model.as_query(z);
            let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
            assert!(near(found.offset, want.offset), "{} {}", found.offset, want.offset);
            assert!(found.z.iter().zip(&want.z).all(|(&a, &b)| near(a, b)), "{metric:?}");
            assert_eq!(found.offset != 0.0, transform && metric == Metric::InnerProduct);
        }
    }
}

#[test]
fn file_round_trip_keeps_hash_and_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.model");
    for transform in [false, true] {
        let model = small(Metric::L2, transform, 1);
        model.write(&path).unwrap();
        let read = Model::open(&path).unwrap();
        assert_eq!(read.parts(), model.parts());
        assert_eq!(read.hash(), model.hash());
    }
    assert_ne!(small(Metric::L2, true, 1).hash(), small(Metric::InnerProduct, true, 1).hash());
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good = small(Metric::L2, true, 1).parts().clone();
    let bad: [fn(&mut ModelParts); 7] = [
        |p| p.m = 5,
        |p| p.ksub = 17,
        |p| p.coarse = vec![1.0; 3].into(),
        |p| p.codebooks[0] = f32::NAN,
        |p| p.rotation = Some(vec![1.0; 3]),
        |p| p.mean = Some(vec![1.0; 3]),
        |p| p.nlist = 0,
    ];
    for spoil in bad {
        let mut parts = good.clone();
        spoil(&mut parts);
        assert!(Model::from_parts(parts).is_err());
    }
}

/// Encoding is nearest codeword; the reconstruction undoes the transform; an inner product
/// through the model equals the one with the reconstruction.
#[test]
fn encode_reconstruct_and_scores_agree() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let model = small(metric, true, 2);
        let x: Vec<f32> = (0..12).map(|_| rng.random_range(-1.0..1.0)).collect();
        let q: Vec<f32> = (0..12).map(|_| rng.random_range(-1.0..1.0)).collect();
        let z = model.transform(&x).unwrap();
        let list = model.assign(&z);
        let mut code = [0; 4];
        model.encode(&z, list, &mut code);
        let x_hat = model.reconstruct(list, &code);
        // A permutation with signs: norms survive, so the error in x equals the error in z.
        assert!((l2_sq(&x, &x_hat) - l2_sq(&z, &model.decode(list, &code))).abs() < 1e-5);

        let query = model.prepare(&q).unwrap();
        let z_hat = model.decode(list, &code);
        let (through, direct) = (query.score(metric, &z_hat), metric.of(&q, &x_hat));
        assert!((through - direct).abs() < 1e-4, "{metric}: {through} {direct}");
    }
}

#[test]
fn probing_is_sorted_and_complete() {
    for metric in [Metric::L2, Metric::InnerProduct] {
        let model = small(metric, false, 4);
        let query = model.prepare(&[0.3; 12]).unwrap();
        let all = model.probe(&query, 1000);
        assert_eq!(all.len(), 7);
        assert_eq!(model.probe(&query, 3), all[..3]);
        let ordered = all.windows(2).all(|w| metric.reaches(w[0].1, w[1].1));
        assert!(ordered);
    }
    let model = small(Metric::L2, false, 4);
    assert!(matches!(model.prepare(&[0.0; 3]), Err(Error::Dim { expected: 12, found: 3, .. })));
    assert!(model.prepare(&[f32::INFINITY; 12]).is_err());
}

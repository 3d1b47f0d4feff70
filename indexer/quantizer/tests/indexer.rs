//! FAISS beside Ocelli's own training: OPQ inside it, and k-means against it.

use std::path::Path;

use ocelli_index::{DescriptorSpec, Dtype, Part, PartKind, PartWriter};
use ocelli_indexer::kmeans::{KmeansOptions, assign, kmeans};
use ocelli_indexer::{BoxError, OpqRows, TrainOptions, silent, train};
use ocelli_quantizer::{KmeansOptions as FaissOptions, OpqOptions, Session, opq};
use ocelli_test_support::{clustered, mixture};

fn learn_opq(rows: OpqRows<'_>) -> Result<Vec<f32>, BoxError> {
    let OpqRows { x, d, m, niter, threads } = rows;
    Ok(opq(x, d, m, threads, &OpqOptions { niter, ..OpqOptions::default() })?)
}

/// A part with all rows as the regions of one image.
fn regions(path: &Path, x: &[f32], dim: usize) -> Part {
    let spec = DescriptorSpec::foreign("test", dim as u32).unwrap();
    let mut writer = PartWriter::create(path, PartKind::Regions, Dtype::F32, &spec).unwrap();
    writer.push("image.jpg", None, x).unwrap();
    writer.finish().unwrap();
    Part::open(path).unwrap()
}

/// With OPQ, alone and behind a PCA: codes reconstruct the rows they were trained on about as well
/// as the report says, and equal options give an equal model.
#[test]
fn a_model_with_opq_reconstructs_its_data() {
    let (n, dim) = (10_000, 16);
    let tmp = tempfile::tempdir().unwrap();
    let x = clustered(n, dim, 9);
    let parts = [regions(&tmp.path().join("a.part"), &x, dim)];
    let options = TrainOptions {
        nlist: 4,
        m: 4,
        opq: Some(true),
        opq_niter: 4,
        niter: 8,
        threads: 2,
        ..TrainOptions::default()
    };
    for options in [options.clone(), TrainOptions { pca: 12, m: 6, ..options }] {
        let (model, report) = train(&parts, &options, &learn_opq, &silent).unwrap();
        if options.pca == 0 {
            let again = train(&parts, &options, &learn_opq, &silent).unwrap().0;
            assert_eq!(model.hash(), again.hash());
        }
        let (mut error, mut code) = (0.0, vec![0; options.m]);
        for row in x.chunks_exact(dim) {
            let z = model.transform(row).unwrap();
            let list = model.assign(&z);
            model.encode(&z, list, &mut code);
            error += f64::from(ocelli_vector::l2_sq(&z, &model.decode(list, &code)));
        }
        let mse = error / n as f64;
        assert!((mse - report.mse).abs() < 0.1 * report.mse, "{mse}, reported {}", report.mse);
        assert!(report.mse < 0.5 * report.mse_coarse, "{report:?}");
    }
}

/// Vectors near both ends of the range of norms: rotations are learned as for norms of one.
#[test]
fn opq_takes_large_and_small_vectors() {
    let (n, d) = (700, 16);
    let tmp = tempfile::tempdir().unwrap();
    let x = clustered(n, d, 7);
    let options = TrainOptions {
        nlist: 4,
        m: 4,
        ksub: 16,
        opq: Some(true),
        opq_niter: 2,
        niter: 6,
        threads: 2,
        ..TrainOptions::default()
    };
    let mse = |scale: f32| {
        let scaled: Vec<f32> = x.iter().map(|x| x * scale).collect();
        let parts = [regions(&tmp.path().join(format!("{scale:e}.part")), &scaled, d)];
        let report = train(&parts, &options, &learn_opq, &silent).unwrap().1;
        report.mse / f64::from(scale).powi(2)
    };
    let want = mse(1.0);
    let large = (1u64 << 46) as f32;
    for scale in [large, 1.0 / large] {
        let found = mse(scale);
        assert!((found / want - 1.0).abs() < 0.1, "{found} at {scale:e}, expected {want}");
    }
}

/// The same algorithm from other random rows: within a few percent of FAISS's error, either way.
#[test]
fn our_kmeans_is_as_good_as_faiss() {
    let (n, d, k) = (20_000, 16, 128);
    let x = mixture(n, d, 2);
    let mse = |centroids: &[f32]| {
        let found = assign(&x, d, centroids).unwrap();
        found.iter().map(|(_, distance)| f64::from(*distance)).sum::<f64>() / n as f64
    };
    let faiss = Session::run(1, |f| f.kmeans(&x, n, d, k, &FaissOptions::default())).unwrap();
    let theirs = mse(&faiss.unwrap());
    let ours = mse(&kmeans(&x, n, d, k, &KmeansOptions::default(), &|_| ()).unwrap());
    assert!(ours < 1.03 * theirs, "{ours}, FAISS {theirs}");
}

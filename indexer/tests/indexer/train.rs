//! The trainer: what it refuses, and that what it makes is a model of the data.

use std::path::Path;

use ocelli_index::{
    DescriptorSpec, Dtype, FineKind, Hash, Layer, Metric, NetworkSpec, Part, PartKind, PartWriter,
};
use ocelli_indexer::{
    BoxError, CoarseKmeans, FineChoice, FineOptions, OpqRows, TrainOptions, auto_nlist, no_opq,
    silent, train, train_fine_codec,
};
use ocelli_vector::l2_normalize;
use tempfile::tempdir;

use crate::support::{clustered, descriptors, regions, spec};

const OPTIONS: TrainOptions = TrainOptions {
    nlist: 4,
    m: 4,
    ksub: 256,
    dim: None,
    finer: false,
    pca: 0,
    renormalize: false,
    coarse: CoarseKmeans::Auto,
    metric: None,
    opq: Some(false),
    opq_niter: 4,
    niter: 8,
    seed: 1,
    threads: 2,
    max_rows: 0,
    force: false,
};

#[test]
fn refusals_have_numbers() {
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("a.part"), &clustered(300, 8, 1), 8)];
    let refuse = |options| train(&parts, &options, &no_opq, &silent).unwrap_err().to_string();
    let error = refuse(OPTIONS);
    assert!(error.contains("at least 9984 rows, found 300"), "{error}");
    let error = refuse(TrainOptions { nlist: 1000, ..OPTIONS });
    assert!(error.contains("at least 39000 rows, found 300"), "{error}");
    let error = refuse(TrainOptions { m: 3, ..OPTIONS });
    assert!(error.contains("divisor of the dimension 8 (1, 2, 4, 8), found 3"), "{error}");
    assert!(error.ends_with("with --pca 6, m = 3 would fit"), "{error}");
    let error = refuse(TrainOptions { m: 3, pca: 7, ..OPTIONS });
    assert!(error.contains("divisor of the PCA's dimension 7 (1, 7), found 3"), "{error}");
    let error = refuse(TrainOptions { m: 9, ..OPTIONS });
    assert!(error.ends_with("found 9"), "{error}");
    let error = refuse(TrainOptions { ksub: 64, ..OPTIONS });
    assert!(error.contains("256 (8 bits) or 16 (4 bits), found 64"), "{error}");
    let error = refuse(TrainOptions { pca: 9, ..OPTIONS });
    assert!(error.contains("expected 1 to 8 dimensions"), "{error}");
    let error = refuse(TrainOptions { ksub: 16, ..OPTIONS });
    assert!(error.contains("at least 624 rows, found 300"), "{error}");
    let few = [regions(&dir.path().join("few.part"), &clustered(200, 8, 1), 8)];
    let options = TrainOptions { opq: Some(true), force: true, ..OPTIONS };
    let error = train(&few, &options, &no_opq, &silent).unwrap_err().to_string();
    assert!(error.contains("(OPQ) needs at least 256 rows, found 200"), "{error}");
    assert!(error.contains("--opq false (opq = \"off\" in a configuration)"), "{error}");

    let other = regions(&dir.path().join("b.part"), &clustered(300, 4, 1), 4);
    let mixed = [regions(&dir.path().join("c.part"), &clustered(300, 8, 1), 8), other];
    let error =
        train(&mixed, &TrainOptions { force: true, ..OPTIONS }, &no_opq, &silent).unwrap_err();
    assert!(
        matches!(error, ocelli_indexer::Error::Index(ocelli_index::Error::SpecMismatch { .. })),
        "{error}"
    );
}

/// nlist 0: the rows that are trained on decide, and model and report say what they decided.
#[test]
fn the_number_of_lists_follows_the_rows() {
    let expected = [(0, 1), (999, 1), (1_999, 1), (2_000, 2), (21_904, 16), (1 << 30, 65_536)];
    for (rows, nlist) in expected {
        assert_eq!(auto_nlist(rows), nlist, "{rows} rows");
    }
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("a.part"), &clustered(9_000, 4, 3), 4)];
    for (max_rows, nlist) in [(0, 8), (4_100, 4)] {
        let options = TrainOptions { nlist: 0, max_rows, force: true, ..OPTIONS };
        let (model, report) = train(&parts, &options, &no_opq, &silent).unwrap();
        assert_eq!((model.parts().nlist, report.nlist, report.nlist_auto), (nlist, nlist, true));
    }
    assert!(
        !train(&parts, &TrainOptions { force: true, ..OPTIONS }, &no_opq, &silent)
            .unwrap()
            .1
            .nlist_auto
    );
}

/// A rotation that mixes all dimensions, in place of a learned one: the mirror at the plane whose
/// normal is (1, 2, …, d).
fn mirror(rows: OpqRows<'_>) -> Result<Vec<f32>, BoxError> {
    let d = rows.d;
    let normal: Vec<f32> = (1..=d).map(|i| i as f32).collect();
    let norm_sq: f32 = normal.iter().map(|x| x * x).sum();
    let value =
        |i: usize, j: usize| f32::from(u8::from(i == j)) - 2.0 * normal[i] * normal[j] / norm_sq;
    Ok((0..d * d).map(|at| value(at / d, at % d)).collect())
}

/// What goes wrong while a rotation is learned ends the training, and a wrong shape is no rotation.
#[test]
fn errors_of_opq_are_errors_of_the_training() {
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("a.part"), &clustered(300, 4, 1), 4)];
    let options = TrainOptions { opq: Some(true), force: true, ..OPTIONS };
    let error = train(&parts, &options, &no_opq, &silent).unwrap_err().to_string();
    assert_eq!(error, "expected a learner of the rotation of OPQ, found none");
    let error = train(&parts, &options, &|_| Ok(vec![1.0; 4]), &silent).unwrap_err().to_string();
    assert_eq!(error, "OPQ: expected a rotation of 4 x 4 values, found 4");
}

/// With and without OPQ: codes reconstruct the rows they were trained on about as well as the
/// report says, and equal options give an equal model.
#[test]
fn a_model_reconstructs_its_data() {
    let (n, dim) = (10_000, 16);
    let dir = tempdir().unwrap();
    let x = clustered(n, dim, 9);
    let parts = [regions(&dir.path().join("a.part"), &x, dim)];
    for opq in [false, true] {
        let options = TrainOptions { opq: Some(opq), ..OPTIONS };
        let (model, report) = train(&parts, &options, &mirror, &silent).unwrap();
        assert_eq!(model.hash(), train(&parts, &options, &mirror, &silent).unwrap().0.hash());
        assert_eq!(model.parts().metric, Metric::L2);

        let (mut error, mut code) = (0.0, vec![0; options.m]);
        for row in x.chunks_exact(dim) {
            let z = model.transform(row).unwrap();
            let list = model.assign(&z);
            model.encode(&z, list, &mut code);
            error += f64::from(ocelli_vector::l2_sq(row, &model.reconstruct(list, &code)));
        }
        let mse = error / n as f64;
        assert!((mse - report.mse).abs() < 0.01 * report.mse, "{mse}, reported {}", report.mse);
        assert!(report.mse < 0.5 * report.mse_coarse, "{report:?}");
    }
}

/// With few rows for each list, codebooks are learned on residuals as long as those of rows to
/// come, not as short as those of the rows that made the centroids.
#[test]
fn codebooks_expect_rows_that_made_no_centroid() {
    let (n, dim) = (2_000, 16);
    let dir = tempdir().unwrap();
    let x = clustered(2 * n, dim, 9);
    let (seen, unseen) = x.split_at(n * dim);
    let parts = [regions(&dir.path().join("a.part"), seen, dim)];
    let options = TrainOptions { nlist: 200, force: true, ..OPTIONS };
    let (model, report) = train(&parts, &options, &no_opq, &silent).unwrap();
    assert_eq!(model.parts().training["codebooks"], "cross-fitted");
    let to_centroid = |rows: &[f32]| {
        let distances = rows.chunks_exact(dim).map(|z| {
            let centroid = &model.parts().coarse[model.assign(z) as usize * dim..][..dim];
            f64::from(ocelli_vector::l2_sq(z, centroid))
        });
        distances.sum::<f64>() / n as f64
    };
    let (seen, unseen) = (to_centroid(seen), to_centroid(unseen));
    assert!(seen < 0.8 * unseen, "{seen}, {unseen}");
    assert!((report.mse_coarse / unseen - 1.0).abs() < 0.1, "{report:?}, {unseen}");

    let many = TrainOptions { nlist: 4, ..options };
    let (model, _) = train(&parts, &many, &no_opq, &silent).unwrap();
    assert!(!model.parts().training.contains_key("codebooks"));
}

/// 4-bit codes, PCA alone and with OPQ, normalising again, two levels: what was asked for is in the
/// model, a row comes back about as well as the report says, and neither threads nor their number
/// change a bit.
#[test]
fn every_option_makes_a_model_of_the_data() {
    let (n, dim) = (10_000, 16);
    let dir = tempdir().unwrap();
    let x = clustered(n, dim, 9);
    let parts = [regions(&dir.path().join("a.part"), &x, dim)];
    let four_bits = TrainOptions { ksub: 16, m: 8, ..OPTIONS };
    let two_levels = TrainOptions { nlist: 30, coarse: CoarseKmeans::TwoLevel, ..OPTIONS };
    let pca = TrainOptions { pca: 12, m: 6, ..OPTIONS };
    let cases = [
        four_bits.clone(),
        two_levels,
        pca.clone(),
        TrainOptions { opq: Some(true), ..pca.clone() },
        TrainOptions { renormalize: true, ksub: 16, ..pca },
        TrainOptions { renormalize: true, ..OPTIONS },
    ];
    for options in cases {
        let (model, report) = train(&parts, &options, &mirror, &silent).unwrap();
        let p = model.parts();
        let d = if options.pca > 0 { options.pca } else { dim };
        assert_eq!((p.d, p.m, p.ksub, p.nlist), (d, options.m, options.ksub, options.nlist));
        assert_eq!((p.mean.is_some(), p.renormalize), (options.pca > 0, options.renormalize));
        assert_eq!(report.two_level, options.coarse == CoarseKmeans::TwoLevel);
        if options.opq == Some(false) {
            let one = TrainOptions { threads: 1, ..options.clone() };
            assert_eq!(
                train(&parts, &one, &mirror, &silent).unwrap().0.hash(),
                model.hash(),
                "{options:?}"
            );
        }
        if options.pca > 0 {
            let kept = report.variance_kept.unwrap();
            assert!(kept > 0.8 && kept < 1.0, "{kept}");
        }
        let (mut error, mut code) = (0.0, vec![0; options.m]);
        for row in x.chunks_exact(dim) {
            let z = model.transform(row).unwrap();
            let list = model.assign(&z);
            model.encode(&z, list, &mut code);
            error += f64::from(ocelli_vector::l2_sq(&z, &model.decode(list, &code)));
        }
        let mse = error / n as f64;
        let near = 0.1 * report.mse;
        assert!((mse - report.mse).abs() < near, "{mse}, reported {}, {options:?}", report.mse);
        assert!(report.mse < report.mse_coarse, "{report:?}");
    }
}

/// Whitened descriptors of a photo's one region, `x` (n, dim).
fn whitened(path: &Path, x: &[f32], dim: usize) -> Part {
    let mut network = NetworkSpec::new(Hash::of(b"w"), "resnet50", Layer::Stage(3), dim as u32);
    network.whitening = Some(Hash::of(b"whitening"));
    let spec = DescriptorSpec::Network(network);
    let mut writer = PartWriter::create(path, PartKind::Regions, Dtype::F32, &spec).unwrap();
    writer.push("image.jpg", None, x).unwrap();
    writer.finish().unwrap();
    Part::open(path).unwrap()
}

/// Codes of 2 bytes get 16 of 40 dimensions: the model is that of the rows' first 16 coordinates at
/// unit length. What is asked for wins, and finer codes keep all.
#[test]
fn the_dimension_follows_the_bytes() {
    let (n, dim) = (10_000, 40);
    let dir = tempdir().unwrap();
    let x = clustered(n, dim, 9);
    let parts = [whitened(&dir.path().join("a.part"), &x, dim)];
    let options = TrainOptions { m: 2, niter: 3, ..OPTIONS };
    let (model, report) = train(&parts, &options, &no_opq, &silent).unwrap();
    assert_eq!((model.parts().dim, model.parts().d, report.d), (40, 16, 16));
    let [reason] = &report.reasons[..] else { panic!("{report:?}") };
    assert!(reason.starts_with("dimension 16: the first of 40, 8 for each byte"), "{reason}");
    assert!(report.warnings.is_empty(), "{report:?}");

    let mut first: Vec<f32> = x.chunks_exact(dim).flat_map(|row| &row[..16]).copied().collect();
    first.chunks_exact_mut(16).for_each(|row| assert!(l2_normalize(row)));
    let cut = [regions(&dir.path().join("cut.part"), &first, 16)];
    let (by_hand, _) = train(&cut, &options, &no_opq, &silent).unwrap();
    assert!(model.parts().coarse[..] == by_hand.parts().coarse[..]);
    assert!(model.parts().codebooks == by_hand.parts().codebooks);
    assert_eq!(model.transform(&x[..dim]).unwrap(), first[..16]);

    // The best rows of short codes are compared again by the cosine.
    assert_eq!(FineChoice::by_default(&model), Some(FineChoice::Cosine));
    assert_eq!(FineChoice::by_default(&by_hand), None, "vectors of others");
    let fine =
        FineOptions { choice: FineChoice::Cosine, niter: 1, seed: 1, threads: 1, force: false };
    let hash = model.hash();
    let (model, report) = train_fine_codec(&parts, model, &fine, &silent).unwrap();
    assert_eq!((model.hash(), report.code_bytes, report.mse), (hash, 0, None));
    assert_eq!(model.fine_codec().unwrap().kind(), FineKind::Cosine);
    let long = TrainOptions { m: 20, niter: 1, ..options.clone() };
    let long = train(&parts, &long, &no_opq, &silent).unwrap().0;
    assert_eq!(FineChoice::by_default(&long), None, "20 bytes");

    let d = |options: TrainOptions| {
        let (model, report) = train(&parts, &options, &no_opq, &silent).unwrap();
        (model.parts().d, report.warnings)
    };
    let (of_all, warnings) = d(TrainOptions { dim: Some(0), ..options.clone() });
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(of_all, 40);
    assert!(warning.starts_with("40 dimensions are many for codes of 2 bytes"), "{warning}");
    assert!(warning.contains("about 16 rank better; leave --dim and --pca away"), "{warning}");
    // 24 is 12 for each byte.
    assert_eq!(d(TrainOptions { dim: Some(24), ..options.clone() }), (24, vec![]));
    assert_eq!(d(TrainOptions { dim: Some(26), ..options.clone() }).1.len(), 1);
    assert_eq!(d(TrainOptions { finer: true, ..options.clone() }), (40, vec![]));
    // Half bytes: 4 dimensions each.
    assert_eq!(d(TrainOptions { m: 4, ksub: 16, ..options.clone() }), (16, vec![]));

    let both = TrainOptions { dim: Some(8), pca: 8, ..options.clone() };
    let error = train(&parts, &both, &no_opq, &silent).unwrap_err().to_string();
    assert!(error.contains("expected --dim or --pca, found both"), "{error}");
    let odd = TrainOptions { m: 3, dim: Some(0), ..options };
    let error = train(&parts, &odd, &no_opq, &silent).unwrap_err().to_string();
    assert!(error.ends_with("with --dim 39, m = 3 would fit"), "{error}");
}

/// Vectors of others are kept as they are, and told of.
#[test]
fn vectors_of_others_keep_their_dimension() {
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("a.part"), &clustered(10_000, 32, 9), 32)];
    let options = TrainOptions { m: 2, niter: 2, ..OPTIONS };
    let (model, report) = train(&parts, &options, &no_opq, &silent).unwrap();
    assert_eq!((model.parts().d, report.reasons.len()), (32, 0));
    let [warning] = &report.warnings[..] else { panic!("{report:?}") };
    assert!(warning.ends_with("try --pca 16"), "{warning}");
}

/// Copies of a few rows are as little to train on as the few rows alone.
#[test]
fn copies_do_not_count_as_rows() {
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("a.part"), &clustered(10, 4, 1).repeat(1_000), 4)];
    let error = train(&parts, &OPTIONS, &no_opq, &silent).unwrap_err().to_string();
    assert!(error.contains("at least 9984 rows, found 10 that differ"), "{error}");
    assert!(error.contains("9990 more are copies of these"), "{error}");
    let forced =
        train(&parts, &TrainOptions { force: true, ..OPTIONS }, &no_opq, &silent).unwrap().1;
    assert_eq!((forced.rows, forced.rows_distinct), (10_000, 10));
}

/// Many equal rows, rows of zeros, fewer rows than codewords: poor models, but models.
#[test]
fn degenerate_data_make_a_valid_model() {
    let dir = tempdir().unwrap();
    let same = [0.5f32, -0.5, 0.5, 0.5].repeat(400);
    let zeros = vec![0f32; 4 * 300];
    for (i, x) in [same, zeros, clustered(10, 4, 1)].iter().enumerate() {
        let parts = [regions(&dir.path().join(format!("{i}.part")), x, 4)];
        let options = TrainOptions { force: true, ..OPTIONS };
        let (model, _) = train(&parts, &options, &no_opq, &silent).unwrap();
        let z = model.transform(&x[..4]).unwrap();
        let list = model.assign(&z);
        let mut code = [0; 4];
        model.encode(&z, list, &mut code);
        let back = model.reconstruct(list, &code);
        assert!(ocelli_vector::l2_sq(&back, &x[..4]) < 0.01, "{i}: {back:?}");
    }
}

/// The sample depends on the seed alone and takes exactly as many rows as it was allowed.
#[test]
fn a_sample_is_exact_and_repeatable() {
    let dir = tempdir().unwrap();
    let x = clustered(20_000, 4, 3);
    let parts = [
        regions(&dir.path().join("a.part"), &x, 4),
        descriptors(&dir.path().join("b.part"), &spec(4), &[("k", &x[..4])]),
    ];
    let options = TrainOptions { max_rows: 9_984, ..OPTIONS };
    let (first, report) = train(&parts, &options, &no_opq, &silent).unwrap();
    assert_eq!((report.rows, report.rows_available), (9_984, 20_001));
    assert_eq!(first.hash(), train(&parts, &options, &no_opq, &silent).unwrap().0.hash());
    let other = TrainOptions { seed: 2, ..options };
    assert_ne!(first.hash(), train(&parts, &other, &no_opq, &silent).unwrap().0.hash());
}

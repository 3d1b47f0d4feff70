use std::collections::BTreeMap;
use std::path::Path;

use ocelli_index::{
    DescriptorSpec, Dtype, Metric, Model, ModelParts, Part, PartKind, PartWriter, Snapshot,
};

use super::*;
use crate::{BuildOptions, OnDuplicate, build, silent};

const DIM: usize = 8;

fn spec() -> DescriptorSpec {
    DescriptorSpec::foreign("doctor", DIM as u32).unwrap()
}

/// Rows around `centres` points, scattered by `spread`.
fn rows(n: usize, centres: u64, spread: f64) -> Vec<f32> {
    let mut draw = SplitMix64::new(7);
    let mut out = Vec::new();
    for _ in 0..n {
        let centre = draw.next() % centres;
        let mut place = SplitMix64::new(1000 + centre);
        for _ in 0..DIM {
            out.push((place.fraction() * 10.0 + (draw.fraction() - 0.5) * spread) as f32);
        }
    }
    out
}

fn write(path: &Path, x: &[f32]) -> Part {
    let mut part = PartWriter::create(path, PartKind::Descriptors, Dtype::F32, &spec()).unwrap();
    x.chunks_exact(DIM).for_each(|row| part.push("", None, row).unwrap());
    part.finish().unwrap();
    Part::open(path).unwrap()
}

/// A model with codewords at `words`, for each of the 4 sub-quantizers of 2 dimensions.
fn model(words: &[[f32; 2]; 16]) -> Model {
    let book: Vec<f32> = words.iter().flatten().copied().collect();
    Model::from_parts(ModelParts {
        spec: spec(),
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: DIM,
        d: DIM,
        nlist: 1,
        coarse: vec![5.0; DIM].into(),
        m: 4,
        ksub: 16,
        codebooks: book.repeat(4),
        training: BTreeMap::from([("pack".into(), "small".into())]),
    })
    .unwrap()
}

/// Codewords on a grid from -`reach` to `reach` on both axes.
fn grid(reach: f32) -> [[f32; 2]; 16] {
    let at = |i: usize| (i as f32 / 1.5 - 1.0) * reach;
    std::array::from_fn(|i| [at(i % 4), at(i / 4)])
}

fn options() -> DoctorOptions {
    DoctorOptions { judged: 600, queries: 200, train: 2000, ..DoctorOptions::default() }
}

/// Codewords that are all the same find nothing; those of the rows themselves find much more.
#[test]
fn a_bad_model_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let part = write(&dir.path().join("a.part"), &rows(3000, 40, 2.0));
    let bad = model(&[[0.0; 2]; 16]);
    let report = doctor(&[part], None, &bad, &options(), &silent).unwrap();
    assert_eq!(report.verdict, Verdict::TrainYourOwn);
    assert!(report.advice.starts_with("train your own"), "{}", report.advice);
    assert_eq!((report.pack.as_deref(), report.code_bytes), (Some("small"), 2));
    let c = report.comparison.unwrap();
    assert_eq!((c.judged, c.queries, c.trained_on), (600, 200, 2000));
    // Each row is decoded as (5, …, 5). The error of that is at least the variance.
    assert!(c.model.error >= 1.0 && c.own.error < 0.3, "{c:?}");
    // All codes are equal: what is found is the first rows, by chance.
    assert!(c.model.recall < 0.1 && c.own.recall > 0.3, "{c:?}");
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

/// Uniform rows: a grid is as good as what k-means finds.
#[test]
fn a_good_model_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let part = write(&dir.path().join("a.part"), &rows(3000, 1 << 40, 0.0));
    let report = doctor(&[part], None, &model(&grid(3.75)), &options(), &silent).unwrap();
    assert_eq!(report.verdict, Verdict::AsGood, "{report:?}");
    let c = report.comparison.unwrap();
    // Of a cell of width 2.5, 2.5² / 12 a dimension remains, of 10² / 12.
    assert!((c.model.error - 0.0625).abs() < 0.005, "{c:?}");
    assert!(c.gain < 2.0 * c.gain_error || c.gain < MIN_GAIN, "{c:?}");
}

#[test]
fn few_rows_give_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let part = write(&dir.path().join("a.part"), &rows(MIN_ROWS - 1, 9, 1.0));
    let report = doctor(&[part], None, &model(&grid(4.0)), &options(), &silent).unwrap();
    assert_eq!((report.verdict, report.rows), (Verdict::Unknown, MIN_ROWS - 1));
    assert!(report.comparison.is_none() && report.advice.contains("too few"), "{report:?}");
    let foreign = DescriptorSpec::foreign("other", DIM as u32).unwrap();
    let other = ModelParts { spec: foreign, ..model(&grid(4.0)).parts().clone() };
    let part = Part::open(&dir.path().join("a.part")).unwrap();
    let other = Model::from_parts(other).unwrap();
    let error = doctor(&[part], None, &other, &options(), &silent).unwrap_err().to_string();
    assert!(error.contains("a.part") && error.contains("made by"), "{error}");
}

/// An index is found with the parts that lie in its `photos/`, and its lists are counted.
#[test]
fn an_index_and_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("index");
    let part = write(&dir.path().join("a.part"), &rows(1000, 40, 2.0));
    let built = BuildOptions {
        shards: 2,
        threads: 1,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    };
    let model = model(&grid(4.0));
    build(&[part], &model, &index, &built, &silent).unwrap();
    let patient = open_patient(std::slice::from_ref(&index)).unwrap();
    assert!(patient.index.is_some() && patient.parts.is_empty());
    let look = |index: Option<&Snapshot>, parts: &[Part]| {
        doctor(parts, index, &model, &options(), &silent).unwrap()
    };
    let report = look(patient.index.as_ref(), &patient.parts);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(report.advice.contains("name the parts"), "{}", report.advice);
    let lists = report.lists.unwrap();
    assert_eq!((lists.nlist, lists.rows, lists.counted), (1, 1000, true));
    assert_eq!((lists.median, lists.longest, lists.imbalance), (1000.0, 1000.0, 1.0));

    let photos = index.join("photos/0");
    std::fs::create_dir_all(&photos).unwrap();
    std::fs::copy(dir.path().join("a.part"), photos.join("a.part")).unwrap();
    let patient = open_patient(std::slice::from_ref(&index)).unwrap();
    assert_eq!(patient.parts.len(), 1);
    assert!(look(patient.index.as_ref(), &patient.parts).comparison.is_some());
    let error = open_patient(&[index.clone(), index]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("found two"), "{error}");
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let error = open_patient(&[empty]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("found neither"), "{error}");
}

#[test]
fn lists_by_hand() {
    // 4 · (0 + 1 + 4 + 25) / 8²; a sample of 8 of 80 rows.
    let lists = Lists::of_lengths(vec![5, 0, 2, 1], 80);
    assert_eq!((lists.imbalance, lists.empty, lists.counted), (1.875, 1, false));
    assert_eq!((lists.median, lists.longest), (15.0, 50.0));
    assert_eq!(Lists::of_lengths(vec![3, 3], 6).imbalance, 1.0);
    assert_eq!(Lists::of_lengths(vec![0, 0], 0).imbalance, 0.0);
}

//! The layers that propose regions, trained on photos whose object is known.

mod common;

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use ocelli_encoder::pipeline::{Pipeline, PipelineOptions};
use ocelli_index::Pooling;
use ocelli_learn::augment::Change;
use ocelli_learn::photos::Photos;
use ocelli_learn::proposals::{ProposalStep, ProposalSummary};
use ocelli_learn::{Checkpoints, List, ProposalRecipe, train_proposals};
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{Network, NetworkOptions, Trainable};
use ocelli_weights::Weights;
use ocelli_weights::seeded::SeededArch;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use common::open;

/// Photos of `count` chequered rectangles, each somewhere on a plain ground, with their boxes. The
/// first third is of the split "val".
fn write_boxes(folder: &Path, count: u64) -> PathBuf {
    let mut lines = Vec::new();
    for number in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let (width, height) = (rng.random_range(100..160), rng.random_range(90..130));
        let (w, h) = (rng.random_range(25..60), rng.random_range(25..60));
        let (x, y) = (rng.random_range(0..width - w), rng.random_range(0..height - h));
        let inside = |px: u32, py: u32| (x..x + w).contains(&px) && (y..y + h).contains(&py);
        let image = RgbImage::from_fn(width, height, |px, py| {
            Rgb(match (inside(px, py), (px / 5 + py / 5) % 2) {
                (false, _) => [120; 3],
                (true, 0) => [250, 30, 30],
                (true, _) => [10, 240, 240],
            })
        });
        let name = format!("{number}.png");
        image.save(folder.join(&name)).unwrap();
        let split = if number < count / 3 { "val" } else { "train" };
        let bbox = format!("[{x}, {y}, {}, {}]", x + w, y + h);
        lines.push(format!(
            r#"{{"path": "{name}", "class": "{}", "box": {bbox}, "split": "{split}"}}"#,
            number % 3
        ));
    }
    let list = folder.join("boxes.jsonl");
    std::fs::write(&list, lines.join("\n")).unwrap();
    list
}

fn recipe() -> ProposalRecipe {
    ProposalRecipe {
        count: 5,
        size_px: 96,
        iterations: 40,
        photos: 4,
        anchors: 64,
        hidden: 64,
        rate: 0.05,
        ..ProposalRecipe::default()
    }
}

fn network() -> Trainable {
    let weights = common::seeded(SeededArch::Resnet18, 2);
    open(&weights, &NetworkOptions::default(), TrainingPrecision::Single)
}

/// A training, its reports and what it says of itself.
fn trained(
    list: &List,
    recipe: &ProposalRecipe,
    checkpoints: Option<&Checkpoints>,
    out: &Path,
) -> (Vec<ProposalStep>, ProposalSummary) {
    let mut steps = Vec::new();
    let mut report = |step: &ProposalStep| steps.push(step.clone());
    let summary =
        train_proposals(list, &mut network(), recipe, checkpoints, out, &mut report).unwrap();
    (steps, summary)
}

/// Few proposals find boxes that they were not trained on, more of them than untrained ones; the
/// encoder takes the file without further flags, and pools what training pools.
#[test]
fn proposals_find_what_they_were_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_boxes(folder.path(), 90)).unwrap();
    let out = folder.path().join("a.safetensors");
    let recipe = ProposalRecipe { iterations: 150, ..recipe() };
    let still = ProposalRecipe { iterations: 1, rate: 0.0, ..recipe.clone() };
    let (_, untrained) = trained(&list, &still, None, &out);
    let (steps, summary) = trained(&list, &recipe, None, &out);
    assert_eq!((summary.photos, summary.judged, summary.failed_photos), (60, 30, 0));
    let mean = |steps: &[ProposalStep], of: fn(&ProposalStep) -> f64| {
        steps.iter().map(of).sum::<f64>() / steps.len() as f64
    };
    let (first, last) = (&steps[..5], &steps[steps.len() - 5..]);
    assert!(mean(last, |s| s.scores) < 0.3 * mean(first, |s| s.scores), "{steps:?}");
    assert!(
        summary.found > 0.6 && summary.found > untrained.found + 0.2,
        "{summary:?} {untrained:?}"
    );

    let network = Network::open(&out, &NetworkOptions::default()).unwrap();
    let pooling = network.pooling().unwrap();
    assert_eq!(pooling, Pooling::Proposals { count: 5 });
    let options = PipelineOptions { pooling, ..PipelineOptions::default() };
    let pipeline = Pipeline::new(network, options, None).unwrap();
    assert!(pipeline.spec().canonical().contains("\npooling=rpn:5\n"));
    let weights = Weights::read(&out).unwrap();
    assert_eq!(weights.metadata("ocelli.learn.computed"), Some("f32 cpu"));
    let options = NetworkOptions::default();
    let trainable =
        Trainable::load(&weights, &options, pooling, TrainingPrecision::Single).unwrap();
    let mut photos = Photos::new(96);
    for entry in list.entries.iter().take(4) {
        let whole = ocelli_learn::list::Entry { bbox: None, ..entry.clone() };
        let view = photos.view(&whole, Change::default()).unwrap();
        let served = pipeline.descriptor(std::slice::from_ref(&view)).unwrap();
        let input = trainable.input(&view).unwrap();
        let own = Vec::<f64>::try_from(&trainable.descriptor(&input).unwrap().detach()).unwrap();
        let cosine: f64 = served.iter().zip(&own).map(|(&a, b)| f64::from(a) * b).sum();
        assert!(cosine > 0.999_99, "{cosine}");
    }
}

/// A training that was stopped and goes on writes the bytes of one that was left alone.
#[test]
fn a_training_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_boxes(folder.path(), 9)).unwrap();
    let recipe = ProposalRecipe { iterations: 6, ..recipe() };
    let path = |name: &str| folder.path().join(name);
    trained(&list, &recipe, None, &path("alone"));
    let checkpoints = Checkpoints { path: path("state"), every: 2 };
    // Stopped as by a kill after four iterations: the file of a shorter training is not kept.
    let mut seen = 0;
    let mut network = network();
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut report = |_: &ProposalStep| {
            seen += 1;
            assert!(seen < 6, "stopped");
        };
        let checkpoints = Some(&checkpoints);
        train_proposals(&list, &mut network, &recipe, checkpoints, &path("cut"), &mut report)
    }));
    assert!(stopped.is_err() && !path("cut").exists());
    let (steps, _) = trained(&list, &recipe, Some(&checkpoints), &path("cut"));
    assert_eq!(steps.len(), 2);
    assert_eq!(std::fs::read(path("cut")).unwrap(), std::fs::read(path("alone")).unwrap());
    // Another number of regions is no other training; another seed is.
    let fewer = ProposalRecipe { count: 3, ..recipe.clone() };
    assert_eq!(trained(&list, &fewer, Some(&checkpoints), &path("fewer")).0.len(), 0);
    let other = ProposalRecipe { seed: 2, ..recipe };
    let error = train_proposals(
        &list,
        &mut self::network(),
        &other,
        Some(&checkpoints),
        &path("other"),
        &mut |_| {},
    );
    assert!(error.unwrap_err().to_string().contains("other settings"));
}

/// Photos that are gone and boxes outside are left out and counted; a list without a box is
/// refused.
#[test]
fn bad_photos_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_boxes(folder.path(), 6);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(folder.path().join("4.png")).unwrap();
    let moved: Vec<String> = text
        .lines()
        .map(|line| match line.contains("5.png") {
            true => r#"{"path": "5.png", "class": "a", "box": [900, 900, 950, 950]}"#.to_owned(),
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(&path, moved.join("\n")).unwrap();
    let list = List::read(&path).unwrap();
    let recipe = ProposalRecipe { iterations: 2, ..recipe() };
    let out = folder.path().join("a.safetensors");
    let (steps, summary) = trained(&list, &recipe, None, &out);
    assert_eq!((summary.photos, summary.failed_photos, summary.judged), (4, 4, 2));
    assert!(steps.iter().all(|step| step.photos == 2));
    let error = |lines: &[&str], recipe: &ProposalRecipe| {
        std::fs::write(&path, lines.join("\n")).unwrap();
        let list = List::read(&path).unwrap();
        let made = train_proposals(&list, &mut network(), recipe, None, &out, &mut |_| {});
        made.unwrap_err().to_string()
    };
    let bare = error(&[r#"{"path": "1.png", "class": "a"}"#], &recipe);
    assert!(bare.contains("expected photos with a box"), "{bare}");
    let outside = r#"{"path": "1.png", "class": "a", "box": [900, 900, 950, 950]}"#;
    assert!(error(&[outside], &recipe).contains("expected some that can be used"));
    let inside = r#"{"path": "1.png", "class": "a", "box": [1, 1, 50, 50]}"#;
    for bad in [
        ProposalRecipe { hidden: usize::MAX, ..recipe.clone() },
        ProposalRecipe { size_px: u32::MAX, ..recipe.clone() },
        ProposalRecipe { count: 1001, ..recipe.clone() },
        ProposalRecipe { rate: f64::NAN, ..recipe.clone() },
    ] {
        assert!(error(&[inside], &bad).contains("expected"), "{bad:?}");
    }
}

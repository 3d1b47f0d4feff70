//! Whole trainings on generated photos.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ocelli_encoder::pipeline::{Pipeline, PipelineOptions};
use ocelli_learn::augment::{Augment, Change};
use ocelli_learn::loss::LossKind;
use ocelli_learn::mining::{Hardness, Pool};
use ocelli_learn::photos::Photos;
use ocelli_learn::train::Step;
use ocelli_learn::{Checkpoints, Error, List, Recipe, train};
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{Network, NetworkOptions, Trainable, tch};
use ocelli_weights::Weights;
use ocelli_weights::seeded::{self, SeededArch};

use common::{open, validate_on, write_set};

fn recipe() -> Recipe {
    Recipe {
        size_px: 48,
        iterations: 8,
        pool: 16,
        refresh: 4,
        triplets: 6,
        hardest: 5,
        rate: 0.02,
        head_dim: 32,
        seed: 3,
        ..Recipe::default()
    }
}

fn network() -> Trainable {
    let weights = common::seeded(SeededArch::Resnet18, 2);
    open(&weights, &NetworkOptions::default(), TrainingPrecision::Single)
}

/// Descriptors of all photos of a list, as the encoder makes them of a file of weights.
fn served(list: &List, weights: &Path) -> Vec<f32> {
    let network = Network::open(weights, &NetworkOptions::default()).unwrap();
    // The file says how it is pooled.
    let pooling = network.pooling().unwrap();
    let options = PipelineOptions { pooling, ..PipelineOptions::default() };
    let pipeline = Pipeline::new(network, options, None).unwrap();
    let mut photos = Photos::new(48);
    let mut view = |entry| photos.view(entry, Change::default()).unwrap();
    list.entries.iter().flat_map(|entry| pipeline.descriptor(&[view(entry)]).unwrap()).collect()
}

/// The mean excess of the hardest triplet of each photo that has one.
fn hardness(list: &List, descriptors: &[f32], dim: usize) -> f64 {
    let classes: Vec<u32> = list.entries.iter().map(|entry| entry.class).collect();
    let pool = Pool { descriptors, dim, classes: &classes };
    let (mut all, mut count) = (0.0, 0);
    let apart = |a: usize, b: usize| -> f64 {
        let row = |at: usize| &descriptors[at * dim..(at + 1) * dim];
        row(a).iter().zip(row(b)).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    for query in 0..pool.len() {
        let hardest =
            pool.hardest(query, Hardness { margin: 4.0, hardest: 1, semi_hard: false, nearest: 0 });
        for triplet in hardest {
            all += apart(query, triplet.positive) - apart(query, triplet.negative);
            count += 1;
        }
    }
    all / f64::from(count)
}

/// Hard triplets get easier; the written file, taken by the encoder, has the descriptors of the
/// trained network; equal trainings write equal bytes, and other seeds others.
#[test]
fn a_training_makes_hard_triplets_easier() {
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_set(folder.path(), 6, 4)).unwrap();
    let run = |recipe: &Recipe, name: &str| {
        let (mut network, mut steps) = (network(), Vec::new());
        let out = folder.path().join(name);
        let summary = train(&list, (&mut network, &mut [], 1), recipe, None, &out, &mut |s| {
            steps.push(s.clone())
        })
        .unwrap();
        (network, steps, summary, out)
    };
    let (trained, steps, summary, out) = run(&recipe(), "trained");
    assert_eq!((summary.photos, summary.single_classes, summary.failed_photos), (24, 1, 0));
    assert_eq!((steps.len(), steps[7].iteration), (8, 8));
    assert!(steps.iter().all(|s| s.terms == 6 && s.photos <= 18), "{steps:?}");

    let (_, _, _, before) = run(&Recipe { rate: 0.0, iterations: 1, ..recipe() }, "before");
    let (rows, old) = (served(&list, &out), served(&list, &before));
    let (after, before) = (hardness(&list, &rows, 32), hardness(&list, &old, 32));
    assert!(after < before - 0.05, "before {before}, after {after}");

    let mut photos = Photos::new(48);
    for (entry, row) in list.entries.iter().zip(rows.chunks(32)) {
        let image = photos.view(entry, Change::default()).unwrap();
        let found = tch::no_grad(|| trained.descriptor(&trained.input(&image).unwrap())).unwrap();
        let found = Vec::<f64>::try_from(&found).unwrap();
        let cosine: f64 = found.iter().zip(row).map(|(a, &b)| a * f64::from(b)).sum();
        assert!(cosine >= 0.999_99, "{cosine}");
    }
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    let short = Recipe { iterations: 2, ..recipe() };
    let (_, first, _, one) = run(&short, "one");
    assert_eq!(first[..], steps[..2]);
    let (_, again, _, two) = run(&short, "two");
    assert_eq!(again, first);
    assert_eq!(bytes(&one), bytes(&two));
    let (.., other) = run(&Recipe { seed: 4, ..short }, "other");
    assert_ne!(bytes(&other), bytes(&one));
    let weights = Weights::read(&out).unwrap();
    assert_eq!(weights.metadata("ocelli.learn.loss"), Some("triplet"));
    let parent = common::seeded(SeededArch::Resnet18, 2).hash().to_string();
    assert_eq!(weights.metadata("ocelli.learn.parent"), Some(parent.as_str()));
}

/// Photos on two threads give the weights of one thread, but for the order of sums.
#[test]
fn copies_of_the_network_work_together() {
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_set(folder.path(), 6, 4)).unwrap();
    let recipe = Recipe { iterations: 3, ..recipe() };
    let run = |count: usize| {
        let mut all: Vec<Trainable> = (0..count).map(|_| network()).collect();
        let (first, copies) = all.split_first_mut().unwrap();
        let (out, mut steps) = (folder.path().join(format!("{count}")), Vec::new());
        let report = &mut |step: &Step| steps.push(step.clone());
        train(&list, (first, copies, 1), &recipe, None, &out, report).unwrap();
        (served(&list, &out), steps)
    };
    let (one, steps) = run(1);
    for count in [2, 3, 40] {
        let (several, others) = run(count);
        for (a, b) in steps.iter().zip(&others) {
            assert_eq!((a.photos, a.terms, a.active), (b.photos, b.terms, b.active));
            assert!((a.loss - b.loss).abs() < 1e-4, "{a:?} {b:?}");
        }
        for (a, b) in one.chunks(32).zip(several.chunks(32)) {
            let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.9999, "{count}: {cosine}");
        }
    }
}

/// Each loss falls on the set that it is trained on, and the file says which it was.
#[test]
fn every_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_set(folder.path(), 6, 4)).unwrap();
    for (loss, rate) in
        [(LossKind::Classification, 0.002), (LossKind::Arcface, 0.00002), (LossKind::Ap, 0.001)]
    {
        let recipe = Recipe {
            loss,
            rate,
            photos: 12,
            iterations: 16,
            margin: loss.margin(),
            crop: 0.0,
            ..recipe()
        };
        let (mut network, mut steps) = (network(), Vec::new());
        let out = folder.path().join(loss.name());
        train(&list, (&mut network, &mut [], 1), &recipe, None, &out, &mut |s| steps.push(s.loss))
            .unwrap();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&steps[..4]), mean(&steps[12..]));
        assert!(last < 0.9 * first, "{loss:?}: {steps:?}");
        let weights = Weights::read(&out).unwrap();
        assert_eq!(weights.metadata("ocelli.learn.loss"), Some(loss.name()));
        // The classifier is no part of the file.
        assert!(weights.names().all(|name| !name.contains("classifier")));
    }
}

/// The weights of the best validation are written, and a training ends where there is no better
/// one; photos of the split "val" are not trained on.
#[test]
fn validations_choose_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_set(folder.path(), 6, 4);
    validate_on(&path, 2);
    let list = List::read(&path).unwrap();
    // Steps of this length ruin the network.
    let recipe = Recipe {
        rate: 3.0,
        decay_every: 0,
        iterations: 30,
        validate_every: 2,
        patience: 3,
        weight_decay: 0.05,
        ..recipe()
    };
    let (mut network, mut steps) = (network(), Vec::new());
    let out = folder.path().join("best");
    let summary = train(&list, (&mut network, &mut [], 1), &recipe, None, &out, &mut |s| {
        steps.push(s.clone())
    })
    .unwrap();
    assert_eq!(summary.photos, 16);
    let maps: Vec<(u64, f64)> =
        steps.iter().filter_map(|s| Some((s.iteration, s.validation?))).collect();
    let (best, map) = summary.best.unwrap();
    assert!(maps.iter().all(|&(_, other)| other <= map) && maps.contains(&(best, map)), "{maps:?}");
    assert_eq!(steps.len() as u64, best + 6, "{maps:?}");
    // A training that ends at the best iteration writes the same weights.
    let short = Recipe { iterations: best, ..recipe.clone() };
    let (mut again, other) = (self::network(), folder.path().join("short"));
    train(&list, (&mut again, &mut [], 1), &short, None, &other, &mut |_| {}).unwrap();
    let tensors = |path: &Path| -> Vec<f64> {
        let weights = Weights::read(path).unwrap();
        let names: Vec<&str> = weights.names().collect();
        let values = names.iter().flat_map(|name| {
            let shape = vec![None; weights.shape(name).unwrap().len()];
            weights.floats(name, &shape).unwrap().values
        });
        values.collect()
    };
    assert!(tensors(&out) == tensors(&other));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.path().extension().is_none_or(|e| e != "best")));

    let none = Recipe { patience: 0, ..recipe };
    let list = List::read(&write_set(folder.path(), 6, 4)).unwrap();
    let error =
        train(&list, (&mut again, &mut [], 1), &none, None, &other, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("photos of the split \"val\""), "{error}");
}

fn command(folder: &Path, out: &str, checkpoint: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-learn"));
    command.current_dir(folder).args(["train", "set.jsonl", "--weights", "net.safetensors"]);
    command.args(["--out", out, "--size", "48", "--iterations", "9", "--pool", "16"]);
    command.args(["--refresh", "4", "--triplets", "4", "--head-dim", "16", "--format", "json"]);
    command.args(["--log", &format!("{out}.jsonl"), "--plot", &format!("{out}.svg")]);
    command.args(["--tensorboard", &format!("{out}-board")]);
    if let Some(path) = checkpoint {
        command.args(["--checkpoint", path, "--checkpoint-every", "3"]);
    }
    command
}

/// Killed in the middle and begun again: the bytes of a training that was left alone. A checkpoint
/// of other settings is refused.
#[test]
fn a_killed_training_goes_on() {
    kill_and_go_on(&[]);
    let classes = ["--loss", "classification", "--photos", "8", "--validate-every", "2"];
    kill_and_go_on(&[&classes[..], &["--photos-at-once", "2", "--threads", "2"]].concat());
}

fn kill_and_go_on(flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    validate_on(&write_set(folder, 5, 4), 1);
    seeded::write(SeededArch::Resnet18, 1, 2, &folder.join("net.safetensors")).unwrap();
    let command = |folder: &Path, out: &str, checkpoint: Option<&str>| {
        let mut command = command(folder, out, checkpoint);
        command.args(flags);
        command
    };
    let whole = command(folder, "whole", None).output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));

    let mut child =
        command(folder, "killed", Some("state")).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The line of the fifth iteration comes after the checkpoint of the third.
    assert_eq!(lines.take(5).filter(Result::is_ok).count(), 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.join("state").exists() && !folder.join("killed").exists());
    let rest = command(folder, "killed", Some("state")).output().unwrap();
    assert!(rest.status.success(), "{}", String::from_utf8_lossy(&rest.stderr));
    let text = |output: &[u8]| String::from_utf8(output.to_vec()).unwrap();
    let (rest, whole) = (text(&rest.stdout), text(&whole.stdout));
    let steps = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("\"rate\"")).map(str::to_owned).collect()
    };
    // Where the kill came after the sixth iteration, three are left, else six.
    let (rest, whole) = (steps(&rest), steps(&whole));
    assert!(rest.len() == 6 || rest.len() == 3, "{rest:?}");
    assert_eq!(rest[..], whole[9 - rest.len()..]);
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("killed"), bytes("whole"));
    // The log has each iteration once, and the plot shows all of them.
    assert_eq!(text(&bytes("killed.jsonl")), whole.join("\n") + "\n");
    assert_eq!(bytes("killed.jsonl"), bytes("whole.jsonl"));
    assert_eq!(bytes("killed.svg"), bytes("whole.svg"));
    assert!(text(&bytes("whole.svg")).contains("validation mAP") != flags.is_empty());
    let files = |name: &str| std::fs::read_dir(folder.join(name)).unwrap().count();
    assert_eq!((files("killed-board"), files("whole-board")), (2, 1));

    let other = command(folder, "other", Some("state")).args(["--seed", "8"]).output().unwrap();
    let error = text(&other.stderr);
    assert!(!other.status.success() && error.contains("other settings"), "{error}");
    assert!(!folder.join("other").exists());
}

/// Strong changes are drawn anew in each iteration, and equal trainings draw equal ones.
#[test]
fn strong_changes_are_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_set(folder.path(), 6, 4)).unwrap();
    let run = |augment: Augment, name: &str| {
        let crop = augment.crop();
        let recipe = Recipe { augment, crop, iterations: 2, ..recipe() };
        let (mut network, mut losses) = (network(), Vec::new());
        let out = folder.path().join(name);
        let report = &mut |step: &Step| losses.push(step.loss);
        train(&list, (&mut network, &mut [], 1), &recipe, None, &out, report).unwrap();
        (losses, std::fs::read(out).unwrap())
    };
    let strong = run(Augment::Strong, "strong");
    assert!(strong == run(Augment::Strong, "again"));
    let (crops, none) = (run(Augment::Crops, "crops"), run(Augment::None, "none"));
    let first = [strong.0[0], crops.0[0], none.0[0]];
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2], "{first:?}");
}

/// Photos that vanish, a loss that is no number, sets without two classes.
#[test]
fn bad_input_ends_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_set(folder.path(), 4, 4);
    let list = List::read(&path).unwrap();
    let out = folder.path().join("out");
    let state = Checkpoints { path: folder.path().join("state"), every: 1 };
    let mut wild = Recipe { rate: 1e30, ..recipe() };
    let error = train(&list, (&mut network(), &mut [], 1), &wild, Some(&state), &out, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert!(!out.exists());
    // Without a checkpoint the next loss tells, and names the photos.
    wild.rate = 1e18;
    let error =
        train(&list, (&mut network(), &mut [], 1), &wild, None, &out, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");

    std::fs::remove_file(folder.path().join("0-1.png")).unwrap();
    std::fs::write(folder.path().join("1-1.png"), b"no photo").unwrap();
    let summary =
        train(&list, (&mut network(), &mut [], 1), &recipe(), None, &out, &mut |_| {}).unwrap();
    assert!(summary.failed_photos >= 2, "{summary:?}");
    assert!(out.exists());

    std::fs::write(&path, r#"{"path": "2-1.png", "class": "2"}"#).unwrap();
    let list = List::read(&path).unwrap();
    let error =
        train(&list, (&mut network(), &mut [], 1), &recipe(), None, &out, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("at least two classes of several photos"), "{error}");
}

/// Maps in bfloat16: descriptors are those of float32 but for their last digits, gradients point
/// the same way, weights stay in float32, and a checkpoint of the other precision is refused.
#[test]
fn maps_in_bfloat16_train_like_those_in_float32() {
    let weights = common::with_head(&common::seeded(SeededArch::Resnet18, 2), (32, 128), &[]);
    let load = |precision| open(&weights, &NetworkOptions::default(), precision);
    let (single, half) = (load(TrainingPrecision::Single), load(TrainingPrecision::Bf16));
    let cosine = |a: &tch::Tensor, b: &tch::Tensor| {
        let [a, b] = [a, b].map(|t| t.to_kind(tch::Kind::Double).reshape([-1]));
        a.dot(&b).double_value(&[]) / (a.norm() * b.norm()).double_value(&[])
    };
    let picture = common::picture(5, (60, 44));
    let along = tch::Tensor::arange(32, (tch::Kind::Double, tch::Device::Cpu)).sin();
    let descriptors = [&single, &half].map(|network| {
        let descriptor = network.descriptor(&network.input(&picture).unwrap()).unwrap();
        descriptor.dot(&along).backward();
        descriptor.detach()
    });
    let near = cosine(&descriptors[0], &descriptors[1]);
    assert!(near > 0.999 && near < 1.0 - 1e-12, "{near}");
    for ((name, a), (_, b)) in single.parameters().iter().zip(half.parameters()) {
        assert_eq!(b.kind(), tch::Kind::Float);
        let near = cosine(&a.grad(), &b.grad());
        assert!(near > 0.9, "{name}: {near}");
    }
    let folder = tempfile::tempdir().unwrap();
    let list = List::read(&write_set(folder.path(), 4, 3)).unwrap();
    let recipe = Recipe { head_dim: 0, iterations: 2, ..recipe() };
    let checkpoints = Checkpoints { path: folder.path().join("state"), every: 1 };
    let run = |mut network: Trainable| {
        let out = folder.path().join("out");
        let networks = (&mut network, &mut [][..], 1);
        train(&list, networks, &recipe, Some(&checkpoints), &out, &mut |_: &Step| {})
    };
    assert!(run(half).unwrap().last_loss.is_finite());
    let error = run(single).unwrap_err().to_string();
    assert!(error.contains("other settings"), "{error}");
}

//! Photos of a training set that are also in an evaluation set.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocelli_learn::List;
use ocelli_learn::augment::Change;
use ocelli_learn::check::overlap::{Alike, By, Overlap, overlap};
use ocelli_learn::photos::Photos;
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{NetworkOptions, Trainable, tch};
use ocelli_weights::seeded::{self, SeededArch};

use common::{open, picture, write_set};

fn network() -> Trainable {
    let weights = common::seeded(SeededArch::Resnet18, 2);
    open(&weights, &NetworkOptions::default(), TrainingPrecision::Single)
}

/// A list, and an evaluation set: a copy of 0-1.png, 1-2.png at another size, another picture, and
/// two files that are none.
fn sets(folder: &Path) -> (List, PathBuf) {
    let list = List::read(&write_set(folder, 4, 3)).unwrap();
    let judged = folder.join("judged");
    std::fs::create_dir(&judged).unwrap();
    std::fs::copy(folder.join("0-1.png"), judged.join("copy.png")).unwrap();
    let small = image::open(folder.join("1-2.png")).unwrap().thumbnail(60, 60);
    small.save(judged.join("small.png")).unwrap();
    picture(4242, (90, 70)).save(judged.join("other.png")).unwrap();
    std::fs::write(judged.join("broken.jpg"), b"no photo").unwrap();
    let half = std::fs::read(folder.join("2-1.png")).unwrap();
    std::fs::write(judged.join("half.png"), &half[..half.len() / 2]).unwrap();
    (list, judged)
}

#[test]
fn copies_are_found_by_bytes_and_by_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (list, judged) = sets(folder);
    let against = [judged.clone()];
    let by_bytes = overlap(&list, &against, None).unwrap();
    assert_eq!((by_bytes.against, by_bytes.photos, by_bytes.pairs.len()), (4, 1, 1));
    assert_eq!((by_bytes.pairs[0].by, by_bytes.pairs[0].class.as_str()), (By::Bytes, "0"));
    assert!(by_bytes.pairs[0].path.ends_with("0-1.png"));
    assert!(by_bytes.pairs[0].other.ends_with("copy.png"));
    assert_eq!(by_bytes.classes.iter().collect::<Vec<_>>(), [(&"0".to_owned(), &1)]);
    assert_eq!(by_bytes.unreadable.len(), 1);
    assert!(by_bytes.unreadable[0].path.ends_with("broken.jpg"));

    let run = |count: usize, cosine: f64| -> Overlap {
        let mut networks: Vec<Trainable> = (0..count).map(|_| network()).collect();
        let alike = Alike { networks: &mut networks, size_px: 64, cosine };
        overlap(&list, &against, Some(alike)).unwrap()
    };
    // The cosines are those of descriptors that are made one by one.
    let all = run(1, -1.0);
    assert_eq!((all.against, all.photos, all.pairs.len()), (3, 13, 39));
    let network = network();
    let mut photos = Photos::new(64);
    let mut descriptor = |path: &Path| {
        let mut entry = list.entries[0].clone();
        entry.path = path.into();
        let picture = photos.view(&entry, Change::default()).unwrap();
        let made = tch::no_grad(|| network.descriptor(&network.input(&picture).unwrap())).unwrap();
        Vec::<f64>::try_from(&made).unwrap()
    };
    let mut set: BTreeMap<PathBuf, Vec<f64>> = BTreeMap::new();
    let judged = ["copy.png", "small.png", "other.png"].map(|name| judged.join(name));
    for path in list.entries.iter().map(|entry| &entry.path).chain(&judged) {
        set.insert(path.clone(), descriptor(path));
    }
    assert_eq!(set.len(), 16);
    let mean: Vec<f64> = (0..set[&judged[0]].len())
        .map(|d| set.values().map(|row| row[d]).sum::<f64>() / 16.0)
        .collect();
    let cosine = |a: &str, b: &str| {
        let less = |path: &str| -> Vec<f64> {
            set[Path::new(path)].iter().zip(&mean).map(|(v, mean)| v - mean).collect()
        };
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let (a, b) = (less(a), less(b));
        dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
    };
    for pair in &all.pairs {
        let expected = cosine(&pair.path, &pair.other);
        match pair.cosine {
            Some(found) => assert!((f64::from(found) - expected).abs() < 1e-4, "{pair:?}"),
            None => assert!(pair.by == By::Bytes && (expected - 1.0).abs() < 1e-5, "{pair:?}"),
        }
    }
    let unreadable: Vec<&str> = all.unreadable.iter().map(|u| u.reason.as_str()).collect();
    assert_eq!(unreadable.len(), 2, "{unreadable:?}");
    let small = all.pairs.iter().find(|p| p.path.ends_with("1-2.png")).unwrap();
    assert!(small.other.ends_with("small.png"), "the nearest comes first: {small:?}");
    let least = f64::from(small.cosine.unwrap()) - 1e-4;
    let (one, three) = (run(1, least), run(3, least));
    assert_eq!(one.pairs.iter().filter(|p| p.by == By::Bytes).count(), 1);
    assert!(one.pairs.iter().any(|p| p.path.ends_with("1-2.png")), "{one:?}");
    assert!(one.pairs.len() < 12, "{one:?}");
    assert_eq!(one, three);
}

/// Photos with more than ten others; lists of files and training lists as evaluation sets.
#[test]
fn many_others_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let list = List::read(&write_set(folder, 4, 3)).unwrap();
    let mut networks = [network()];
    let alike = Alike { networks: &mut networks, size_px: 48, cosine: -1.0 };
    let found = overlap(&list, &[folder.join("set.jsonl")], Some(alike)).unwrap();
    assert_eq!((found.against, found.photos), (13, 13));
    // Itself by bytes, and nine of its ten nearest, of which it is one.
    assert_eq!((found.pairs.len(), found.left_out), (13 * 10, 13 * 3));
    assert!(found.to_string().contains("39 pairs more"), "{found}");
    std::fs::write(folder.join("files.txt"), "0-1.png\n\ngone.png\n").unwrap();
    let found = overlap(&list, &[folder.join("files.txt")], None).unwrap();
    assert_eq!((found.pairs.len(), found.against), (1, 1));
    assert!(found.unreadable[0].reason.contains("No such file"), "{found:?}");
    assert!(overlap(&list, &[folder.join("gone")], None).is_err());
}

#[test]
fn the_command_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    sets(folder);
    seeded::write(SeededArch::Resnet18, 1, 2, &folder.join("net.safetensors")).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-learn"));
        let command = command.current_dir(folder).args(["check", "set.jsonl", "--size", "48"]);
        let output = command.args(["--against", "judged"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&[]);
    assert!(text.contains("also in the evaluation set of 4: 1 photos, of 1 classes"), "{text}");
    assert!(text.contains("0-1.png (0), judged/copy.png: bytes"), "{text}");
    assert!(text.contains("that cannot be read: 1\n  judged/broken.jpg: not an image"), "{text}");
    let json = run(&["--weights", "net.safetensors", "--overlap-cosine", "1", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["photos"], 13);
    assert_eq!(json["overlap"]["pairs"][0]["by"], "bytes");
    assert_eq!(json["overlap"]["classes"]["0"], 1);
    assert_eq!(json["overlap"]["least_cosine"], 1.0);
}

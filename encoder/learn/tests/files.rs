//! Files and flags that are refused before any work.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::write_set;

/// Whether a command succeeds, and what it says.
fn run(folder: &Path, words: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-learn"));
    let output = command.current_dir(folder).args(words.split(' ')).output().unwrap();
    let all = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&all).into_owned())
}

/// The message of a command that fails.
fn failed(folder: &Path, words: &str) -> String {
    let (is_done, text) = run(folder, words);
    assert!(!is_done && !text.contains("panicked"), "{words}: {text}");
    text
}

#[test]
fn no_file_of_a_training_is_written_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("l"), "a list").unwrap();
    fs::write(folder.join("w"), "weights").unwrap();
    fs::create_dir(folder.join("d")).unwrap();
    let begin = "l --weights w --out";
    let absolute = folder.join("o").display().to_string();
    for (words, expected) in [
        (format!("train {begin} ./w"), "--out ./w: expected another file than that of --weights"),
        (format!("train {begin} o --log l"), "--log l: expected another file than the list"),
        (
            format!("train {begin} o --log g --plot d/../g"),
            "--plot d/../g: expected another file than that of --log",
        ),
        (
            format!("train {begin} o --log g --plot {absolute}"),
            "expected another file than that of --out",
        ),
        (
            format!("train {begin} o --checkpoint {absolute}"),
            "expected another file than that of --out",
        ),
        (format!("train {begin} o --log none/g"), "--log none/g: expected a file in a folder"),
        (format!("train {begin} o --log g --plot d"), "--plot d: expected a file"),
        (format!("train {begin} o --tensorboard w"), "--tensorboard w: expected a folder"),
        (format!("train {begin} d"), "--out d: expected a file, found a folder"),
        (format!("proposals {begin} l"), "--out l: expected another file than the list"),
        (
            format!("proposals {begin} o --checkpoint ./w"),
            "--checkpoint ./w: expected another file than that of --weights",
        ),
    ] {
        let error = failed(folder, &words);
        assert!(error.contains(expected), "{words}: {error}");
    }
    assert_eq!(fs::read(folder.join("l")).unwrap(), b"a list");
    assert_eq!(fs::read(folder.join("w")).unwrap(), b"weights");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
}

#[test]
fn checks_refuse_what_they_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder, 2, 2);
    for size in ["0", "65536", "100000000"] {
        let error = failed(folder, &format!("check set.jsonl --size {size}"));
        assert!(error.contains("--size: expected at"), "{error}");
    }
    for flags in ["--device cpu", "--last-stage 2", "--no-head", "--precision f32"] {
        let error = failed(folder, &format!("check set.jsonl --against set.jsonl {flags}"));
        assert!(error.contains("--weights <FILE>"), "{flags}: {error}");
    }
    // A bad line of a training list is the fault, and not the name of a photo.
    let good = fs::read_to_string(folder.join("set.jsonl")).unwrap();
    fs::write(folder.join("bad.jsonl"), format!("\n{good}\n{{\"path\": \"a\"}}\n")).unwrap();
    let error = failed(folder, "check set.jsonl --against bad.jsonl");
    assert!(error.contains("missing field `class`"), "{error}");
    fs::write(folder.join("bad.PARQUET"), "none").unwrap();
    let error = failed(folder, "check set.jsonl --against bad.PARQUET");
    assert!(error.contains("bad.PARQUET: ") && error.contains("Parquet"), "{error}");
    // A set without a photo has nothing in common, and tells nothing.
    fs::write(folder.join("gone.txt"), "gone.png\n").unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for set in ["gone.txt", "empty"] {
        let error = failed(folder, &format!("check set.jsonl --against {set}"));
        assert!(error.contains("expected photos that can be read, found none"), "{error}");
    }
    // Lists of files may be JSON objects, too.
    fs::write(folder.join("files.txt"), "{\"path\": \"0-1.png\"}\n").unwrap();
    let (is_done, text) = run(folder, "check set.jsonl --size 64 --against files.txt");
    assert!(is_done && text.contains("also in the evaluation set of 1: 1 photos"), "{text}");
}

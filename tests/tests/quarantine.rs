//! Files of a removal list are taken and put back by the command.

use std::fs;

use ocelli_index::Hash;
use ocelli_tests::succeed;
use serde_json::{Value, json};

/// Looked at first, then taken, then put back; the report is JSON.
#[test]
fn taken_and_put_back() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("photos")).unwrap();
    for name in ["kept.jpg", "copy.jpg"] {
        fs::write(at("photos").join(name), "a photo").unwrap();
    }
    let sha256 = Hash::of(b"a photo").to_string();
    let line = json!({
        "path": "copy.jpg", "sha256": sha256, "bytes": 7, "kept": "kept.jpg", "kept_sha256": sha256
    });
    fs::write(at("removals.jsonl"), format!("{line}\n")).unwrap();
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let (list, root, aside) = (path("removals.jsonl"), path("photos"), path("aside"));
    let run = |args: &[&str]| -> Value {
        let printed = succeed("ocelli", args.iter().chain(&["--format", "json"]));
        serde_json::from_str(&printed).unwrap()
    };
    let look = ["dedup", "apply", &list, "--root", &root, "--quarantine", &aside];
    let report = run(&look);
    assert_eq!((&report["applied"], &report["taken"]["files"]), (&json!(false), &json!(1)));
    assert!(at("photos/copy.jpg").exists() && !at("aside").exists());

    let report = run(&[&look[..], &["--yes"][..]].concat());
    assert_eq!((&report["applied"], &report["freed_bytes"]), (&json!(true), &json!(7)));
    assert!(!at("photos/copy.jpg").exists());

    let report = run(&["dedup", "undo", &aside]);
    assert_eq!(report["restored"], json!({"files": 1, "bytes": 7}));
    assert_eq!(fs::read(at("photos/copy.jpg")).unwrap(), b"a photo");
}

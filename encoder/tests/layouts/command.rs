//! The command itself: report, exit codes, messages.

use std::process::{Command, Output};

use super::layout;

fn weights(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"))
        .arg("weights")
        .args(arguments)
        .output()
        .unwrap()
}

/// Said once, and not of each photo.
#[test]
fn regions_of_a_whitened_image_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (input, net) = (layout("dir_fc.pt"), path("net.safetensors"));
    assert!(weights(&["convert", input.to_str().unwrap(), "--out", &net]).status.success());
    let encode = |more: &[&str]| {
        let golden = layout("").parent().unwrap().to_path_buf();
        let list = path("list");
        std::fs::write(&list, format!("{}\n", golden.join("picture.png").display())).unwrap();
        Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"))
            .args([
                "encode",
                "--list",
                &list,
                "--weights",
                &net,
                "--out",
                &path("x.part"),
                "--sizes",
                "64",
            ])
            .args(["--output", "regions"])
            .args(more)
            .output()
            .unwrap()
    };
    let refused = encode(&[]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(message.contains("error: --output regions: these weights"), "{message}");
    let made = encode(&["--no-head"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn convert_reports_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net.safetensors");
    let (input, out) = (layout("caffe_rmac.caffemodel"), out.to_str().unwrap());
    let text = weights(&["convert", input.to_str().unwrap(), "--out", out]);
    let report = String::from_utf8(text.stdout).unwrap();
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
    for line in ["ocelli.form = v1-caffe", "NOT PLACED, and not in the file: mystery[0]"] {
        assert!(report.contains(line), "{report}");
    }
    let json = weights(&["convert", input.to_str().unwrap(), "--out", out, "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&report["dim"], &report["unplaced"][0]), (&20.into(), &"mystery[0]".into()));

    let evil = layout("evil.pth");
    let refused = weights(&["convert", evil.to_str().unwrap(), "--out", out]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(message.contains("evil.pth: the pickle wants posix.system"), "{message}");

    for usage in [&["fetch", "resnet51", "--out", out][..], &["convert", "x"]] {
        assert_eq!(weights(usage).status.code(), Some(2), "{usage:?}");
    }
    let away = ["fetch", "resnet18", "--out", out, "--mirror", "http://127.0.0.1:1"];
    let message = String::from_utf8(weights(&away).stderr).unwrap();
    assert!(
        message.contains("http://127.0.0.1:1/resnet18-f37072fd.pth: cannot be reached"),
        "{message}"
    );
}

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

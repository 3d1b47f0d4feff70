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

/// Files that are something else are named as what they are, wherever weights, a whitening or a
/// model are expected.
#[test]
fn other_files_are_named_as_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (input, net) = (layout("dir_fc.pt"), path("net.safetensors"));
    assert!(weights(&["convert", input.to_str().unwrap(), "--out", &net]).status.success());
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("letter/page1.txt", stored).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    let others: [(&[u8], &str); 5] = [
        (b"<!DOCTYPE html>\n<html><title>Quota exceeded</title></html>", "an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 98\n",
            "a Git LFS pointer",
        ),
        (b"", "an empty file"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c\x4a\x06\x00", "a gzip file"),
        (&zip, "letter/page1.txt"),
    ];
    let file = path("given");
    std::fs::write(path("list"), "").unwrap();
    for (bytes, name) in others {
        std::fs::write(&file, bytes).unwrap();
        let encode = |more: &[&str]| {
            let out = path("x.part");
            let list = path("list");
            let fixed = ["encode", "--list", &list, "--sizes", "64", "--out", &out];
            let program = env!("CARGO_BIN_EXE_ocelli-encoder");
            Command::new(program).args(fixed).args(more).output().unwrap()
        };
        let outputs = [
            weights(&["convert", &file, "--out", &path("y.safetensors")]),
            encode(&["--weights", &file]),
            encode(&["--weights", &net, "--no-head", "--whitening", &file]),
            encode(&["--weights", &net, "--output", "codes", "--model", &file]),
        ];
        for (output, at) in outputs.into_iter().zip(["convert", "weights", "whitening", "model"]) {
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{at}: {message}");
            assert!(message.contains(name) && message.contains(&file), "{at}: {message}");
            assert!(!message.contains("panicked"), "{at}: {message}");
        }
    }
}

/// bfloat16 where the CPU has no kernels for it: a warning that says what they need, and the same
/// descriptors.
#[test]
fn bfloat16_without_its_instructions_is_rounded_float32() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let net = path("net.safetensors");
    let seeded = ["seeded", "--arch", "resnet18", "--last-stage", "2", "--out", &net];
    assert!(weights(&seeded).status.success());
    let list = path("list");
    let picture = layout("").parent().unwrap().join("picture.png");
    std::fs::write(&list, format!("{}\n", picture.display())).unwrap();
    let program = || Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"));
    let encode = |name: &str, precision: &str, isa: Option<&str>| {
        let part = path(name);
        let fixed = ["encode", "--list", &list, "--weights", &net, "--sizes", "96", "--out", &part];
        let mut command = program();
        command.args(fixed).args(["--device", "cpu", "--precision", precision]);
        if let Some(isa) = isa {
            command.env("ONEDNN_MAX_CPU_ISA", isa);
        }
        let output = command.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{name}: {log}");
        log
    };
    encode("f32.part", "f32", None);
    encode("native.part", "bf16", None);
    let log = encode("rounded.part", "bf16", Some("AVX2"));
    assert!(log.contains("needs a CPU with AVX-512") && log.contains("WARN"), "{log}");
    let least = |a: &str, b: &str| {
        let output = program().args(["compare", &path(a), &path(b), "--format", "json"]).output();
        let found: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        found["cosine_min"].as_f64().unwrap_or_else(|| panic!("{found}"))
    };
    assert!(least("rounded.part", "native.part") > 0.9999);
    assert!(least("rounded.part", "f32.part") > 0.999);
}

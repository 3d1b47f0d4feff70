//! What is wrong is refused in one line, and what was there before still stands.

use std::fs;
use std::process::Command;

use crate::collection::collection;
use ocelli_tests::{Server, fail, json, program, succeed};

#[test]
fn exit_codes_tell_usage_from_failure() {
    for name in ["ocelli", "ocelli-encoder", "ocelli-searcher"] {
        fail(name, 2, ["--no-such-flag"]);
        assert!(succeed(name, ["--version"]).contains(env!("CARGO_PKG_VERSION")));
        assert!(succeed(name, ["--help"]).contains("Usage"));
    }
    let message = fail("ocelli", 1, ["inspect", "/nowhere/at/all"]);
    assert!(message.contains("/nowhere/at/all"), "{message}");
}

/// Whatever little address space there is, a program ends, and says why where it cannot work.
#[cfg(target_arch = "x86_64")]
#[test]
fn without_memory_programs_end_with_an_error() {
    let run = |kib: u32, name: &str, args: &[&str]| {
        let limited = format!("ulimit -v {kib} && exec timeout 60 \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &limited]).arg(program(name)).args(args);
        let output = command.output().expect("bash");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for kib in [100_000, 150_000, 200_000, 250_000, 300_000] {
        let (code, stderr) = run(kib, "ocelli", &["--version"]);
        let told = stderr.contains("no room for OpenBLAS") && stderr.contains("ulimit -v");
        assert!(code == Some(0) || code == Some(1) && told, "{kib} KiB: {code:?} {stderr}");
        assert!(told || kib > 150_000, "{kib} KiB: less than libraries and one buffer take");
    }
    for kib in (100_000..=200_000).step_by(5_000) {
        let args = ["serve", "--index", "a=/nowhere/at/all", "--listen", "127.0.0.1:0"];
        let (code, stderr) = run(kib, "ocelli-searcher", &args);
        let told = stderr.contains("error: ") && code == Some(1);
        // Where a few bytes are too many while threads start, Rust's runtime says so and aborts.
        let aborted = stderr.contains("memory allocation of ") && code.is_none();
        let panicked = stderr.contains("panicked");
        assert!((told || aborted) && !panicked, "{kib} KiB: {code:?} {stderr}");
    }
}

/// Whichever program and room misses a file: one line that names it, and the system's reason once.
#[test]
fn the_cause_of_a_failure_is_named_once() {
    let c = collection();
    let (no, out) = ("/nowhere/at/all", c.arg("never"));
    let (net, photos, part) = (c.arg("net.safetensors"), c.arg("set/photos"), c.arg("photos.part"));
    let (net, photos, part) = (net.as_str(), photos.as_str(), part.as_str());
    let missing_folder = c.arg("missing/never");
    let cases: [(&str, &[&str]); 15] = [
        ("ocelli", &["inspect", no]),
        ("ocelli", &["whiten", no, "--out", &out]),
        ("ocelli", &["train", part, "--config", no, "--out", &out]),
        ("ocelli", &["build", part, "--model", no, "--out", &out]),
        ("ocelli", &["query", "--image", no]),
        ("ocelli", &["eval", "retrieval", no, "--descriptors", part, "--queries", part]),
        ("ocelli", &["encode", no, "--weights", net, "--out", &out]),
        ("ocelli", &["encode", "--list", no, "--weights", net, "--out", &out]),
        ("ocelli", &["encode", "--tar", no, "--weights", net, "--out", &out]),
        ("ocelli", &["encode", "--regions", no, "--out", &out]),
        ("ocelli", &["encode", photos, "--weights", no, "--out", &out]),
        ("ocelli", &["encode", photos, "--weights", net, "--whitening", no, "--out", &out]),
        ("ocelli", &["encode", photos, "--weights", net, "--network-config", no, "--out", &out]),
        (
            "ocelli-encoder",
            &[
                "weights",
                "seeded",
                "--arch",
                "resnet18",
                "--last-stage",
                "1",
                "--out",
                &missing_folder,
            ],
        ),
        ("ocelli-searcher", &["serve", "--config", no]),
    ];
    for (program, args) in cases {
        let message = fail(program, 1, args);
        assert_eq!(message.trim().lines().count(), 1, "{args:?}: {message}");
        assert_eq!(message.matches("No such file").count(), 1, "{args:?}: {message}");
        assert!(message.contains(no) || message.contains(&missing_folder), "{args:?}: {message}");
    }
    assert!(!c.path("never").exists());
}

/// A rejected photo is in rejected.jsonl with its reason, and everything else was encoded.
#[test]
fn what_is_no_photo_is_rejected_with_a_reason() {
    let c = collection();
    let text = fs::read_to_string(c.path("regions.part.rejected.jsonl")).unwrap();
    let mut rejected: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    rejected.sort_by_key(|r| r["key"].to_string());
    let keys: Vec<&str> = rejected.iter().map(|r| r["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["zz-cut.jpg", "zz-text.jpg"]);
    assert!(rejected.iter().all(|r| !r["reason"].as_str().unwrap().is_empty()));
}

#[test]
fn unsuitable_weights_are_named_and_nothing_is_written() {
    let c = collection();
    let out = c.path("never.part");
    let photos = c.arg("set/photos");
    let encode = |weights: &str| {
        fail(
            "ocelli",
            1,
            [
                "encode",
                &photos,
                "--weights",
                weights,
                "--sizes",
                "64",
                "--out",
                out.to_str().unwrap(),
            ],
        )
    };
    let message = encode(&c.arg("w.whitening"));
    assert!(message.contains("w.whitening"), "{message}");
    assert!(!out.exists());
}

/// A part of another spec, a shard of another model: refused, with both hashes.
#[test]
fn what_does_not_belong_together_is_refused() {
    let c = collection();
    let other = c.arg("other-size.part");
    succeed(
        "ocelli",
        [
            "encode",
            &c.arg("set/photos"),
            "--weights",
            &c.arg("net.safetensors"),
            "--sizes",
            "96",
            "--out",
            &other,
        ],
    );
    let index = c.arg("other-index");
    let message =
        fail("ocelli", 1, ["build", &other, "--model", &c.arg("a.model"), "--out", &index]);
    assert!(message.contains("sizes"), "names the field that differs: {message}");
    let hashes =
        message.split(|ch: char| !ch.is_ascii_hexdigit()).filter(|w| w.len() == 64).count();
    assert!(hashes >= 2, "both hashes: {message}");
    let message = fail(
        "ocelli",
        1,
        ["build", &c.arg("regions.part"), "--model", &c.arg("a.model"), "--out", &index],
    );
    assert!(message.contains("regions"), "{message}");
}

/// A build that runs out of disk half-way says so in one line; the index answers as before, and the
/// next build succeeds.
#[test]
fn a_stopped_build_leaves_the_earlier_index() {
    let c = collection();
    let index = c.path("stopped-index");
    let build = [
        "build",
        &c.arg("photos.part"),
        "--model",
        &c.arg("a.model"),
        "--shards",
        "2",
        "--out",
        index.to_str().unwrap(),
    ];
    succeed("ocelli", build);
    let before = fs::read(index.join("CURRENT")).unwrap();
    // A file size limit stands in for a full disk: the write fails once a file passes 12 KiB.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 12; exec \"$0\" \"$@\""])
        .arg(program("ocelli"))
        .args(build)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    assert!(message.contains("write"), "{message}");
    assert_eq!(fs::read(index.join("CURRENT")).unwrap(), before);
    json("ocelli", ["inspect", index.to_str().unwrap(), "--verify", "--format", "json"]);
    assert_eq!(json("ocelli", build.iter().chain(&["--format", "json"]))["generation"], 2);
}

/// Nothing can be written below a file, not even by root.
#[test]
fn a_folder_that_cannot_be_written_is_one_line() {
    let c = collection();
    let out = c.arg("a.model") + "/index";
    let message = fail(
        "ocelli",
        1,
        ["build", &c.arg("photos.part"), "--model", &c.arg("a.model"), "--out", &out],
    );
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    assert!(message.contains("a.model/index"), "{message}");
}

#[test]
fn a_damaged_shard_is_an_error_and_not_an_answer() {
    let c = collection();
    let index = c.path("damaged-index");
    succeed(
        "ocelli",
        [
            "build",
            &c.arg("photos.part"),
            "--model",
            &c.arg("a.model"),
            "--out",
            index.to_str().unwrap(),
        ],
    );
    let shard = fs::read_dir(index.join("shards")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&shard).unwrap();
    bytes[9000] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let message = fail("ocelli", 1, ["inspect", index.to_str().unwrap(), "--verify"]);
    assert!(message.contains("corrupt") && message.contains(".shard"), "{message}");
    let served = format!("x={}", index.display());
    let message = fail("ocelli", 1, ["serve", "--index", &served, "--listen", "127.0.0.1:0"]);
    assert!(message.contains("corrupt"), "{message}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let c = collection();
    let searcher: Server = c.searcher(None);
    let index = format!("demo={}", c.arg("index"));
    let message = fail("ocelli", 1, ["serve", "--index", &index, "--listen", searcher.address()]);
    let errors: Vec<&str> =
        message.lines().filter(|l| l.contains("error") && l.contains(searcher.address())).collect();
    assert_eq!(errors.len(), 1, "{message}");
    assert!(errors[0].contains("in use"), "{message}");
}

#[test]
fn unknown_configuration_keys_are_refused() {
    let c = collection();
    let config = c.path("bad.toml");
    fs::write(&config, "lisen = \"127.0.0.1:1\"\n").unwrap();
    let message = fail("ocelli-searcher", 1, ["serve", "--config", config.to_str().unwrap()]);
    assert!(message.contains("lisen") && message.contains("bad.toml"), "{message}");
}

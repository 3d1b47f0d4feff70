//! The device as the command sees it; and, if there is a CUDA device, whether it makes what the
//! CPU makes.
//!
//! What needs one runs wherever `ocelli-encoder` finds one, and says so where it does not; with
//! `OCELLI_REQUIRE_CUDA=1` not finding one is a failure.
#![allow(clippy::print_stderr, reason = "a skip is said, and what a GPU made")]

use std::path::PathBuf;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use ocelli_index::Part;
use ocelli_weights::seeded::{self, SeededArch};
use tempfile::TempDir;

/// A folder of photos, and an untrained ResNet-18 up to stage 3.
struct Case {
    folder: TempDir,
}

impl Case {
    /// Every third photo has the first shape, (width, height).
    fn new(photos: u32, shapes: [(u32, u32); 2]) -> Case {
        let folder = tempfile::tempdir().unwrap();
        seeded::write(SeededArch::Resnet18, 7, 3, &folder.path().join("weights")).unwrap();
        std::fs::create_dir(folder.path().join("photos")).unwrap();
        for seed in 0..photos {
            let shape = shapes[usize::from(seed % 3 != 0)];
            let photo = RgbImage::from_fn(shape.0, shape.1, |x, y| {
                let wave = (x * (1 + seed % 5) + y * (2 + seed % 7)) % 256;
                Rgb([wave as u8, (y * seed % 256) as u8, (x / 2 % 256) as u8])
            });
            photo.save(folder.path().join(format!("photos/{seed:02}.png"))).unwrap();
        }
        Case { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `ocelli-encoder encode` into `name`.
    fn run(&self, name: &str, flags: &str, environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"))
            .arg("encode")
            .arg(self.path("photos"))
            .arg("--weights")
            .arg(self.path("weights"))
            .args(["--sizes", "stored", "--out"])
            .arg(self.path(name))
            .args(flags.split_whitespace())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// Descriptors, one after the other, and what was logged.
    fn encode(&self, name: &str, flags: &str, environment: &[(&str, &str)]) -> (Vec<f32>, String) {
        let output = self.run(name, flags, environment);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{flags}: {log}");
        let part = Part::open(&self.path(name)).unwrap();
        (part.read(0..part.rows()).unwrap(), log)
    }

    /// Why there is no CUDA device here; None if there is one.
    fn no_cuda() -> Option<String> {
        let case = Case::new(1, [(64, 48); 2]);
        let output = case.run("probe.part", "--device cuda:0", &[]);
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log.lines().find_map(|line| line.strip_prefix("error: device "));
        let reason = reason.map(str::to_owned);
        assert_eq!(reason.is_none(), output.status.success(), "{log}");
        if let Some(reason) = &reason {
            let required = std::env::var("OCELLI_REQUIRE_CUDA").is_ok_and(|v| v == "1");
            assert!(!required, "OCELLI_REQUIRE_CUDA=1: {reason}");
        }
        reason
    }
}

fn least_cosine(a: &[f32], b: &[f32]) -> f64 {
    const CHANNELS: usize = 256;
    assert!(a.len() == b.len() && !a.is_empty());
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let pairs = a.chunks(CHANNELS).zip(b.chunks(CHANNELS));
    let cosines = pairs.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    // NaN stays.
    cosines.fold(f64::INFINITY, |least, cosine| if cosine >= least { least } else { cosine })
}

/// A device that is named and not there is an error that says what was found, and never the CPU;
/// `auto` is the CPU then.
#[test]
fn a_device_is_had_or_refused() {
    let case = Case::new(2, [(64, 48); 2]);
    // Hides every device, so that this holds on all machines.
    let hidden = [("CUDA_VISIBLE_DEVICES", "")];
    for (flags, found) in [
        ("--device cuda:0", ["could not be opened", "found no device"]),
        ("--device cuda:7", ["could not be opened", "found no device"]),
    ] {
        let output = case.run("refused.part", flags, &hidden);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(&format!("error: device {}: ", &flags[9..])), "{log}");
        assert!(found.iter().any(|found| log.contains(found)), "{log}");
        assert!(!case.path("refused.part").exists());
    }
    let misspelt = case.run("refused.part", "--device gpu", &hidden);
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&misspelt.stderr).contains("expected auto, cpu, cuda or cuda:N")
    );

    let (cpu, log) = case.encode("cpu.part", "--device cpu", &hidden);
    assert!(log.contains("device=cpu"), "{log}");
    let (auto, log) = case.encode("auto.part", "", &hidden);
    assert!(log.contains("device=cpu") && cpu == auto, "{log}");
    let output = case.run("named.part", "--device auto --format json", &hidden);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"device\":\"cpu\""));
    let server = Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"))
        .args(["serve", "--device", "cuda:0", "--listen", "127.0.0.1:0", "--weights"])
        .arg(case.path("weights"))
        .envs(hidden)
        .output()
        .unwrap();
    assert_eq!(server.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&server.stderr).contains("error: device cuda:0: "));
}

/// Cosines and shares are those of the parts, and what cannot be compared is refused with what
/// differs.
#[test]
fn parts_are_compared() {
    let case = Case::new(5, [(64, 48), (48, 64)]);
    let (single, _) = case.encode("single.part", "--device cpu", &[]);
    let (half, _) = case.encode("half.part", "--device cpu --precision bf16", &[]);
    case.encode("mac.part", "--device cpu --output regions", &[]);
    let compare = |a: &str, b: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"))
            .arg("compare")
            .args([case.path(a), case.path(b)])
            .args(["--format", "json"])
            .output()
            .unwrap();
        let found = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        found.map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let found = compare("single.part", "half.part").unwrap();
    let least = found["cosine_min"].as_f64().unwrap();
    assert!((least - least_cosine(&single, &half)).abs() < 1e-12 && least < 1.0, "{found}");
    assert!(found["cosine_mean"].as_f64().unwrap() >= least && found["images"] == 5);
    assert_eq!(found.get("bytes_differ"), None);
    let same = compare("mac.part", "mac.part").unwrap();
    assert!((same["cosine_min"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{same}");
    assert!(same["rows"].as_u64() > same["images"].as_u64());
    let error = compare("single.part", "mac.part").unwrap_err();
    assert!(error.contains("expected the same kind, found descriptors and regions"), "{error}");
    std::fs::remove_file(case.path("photos/03.png")).unwrap();
    case.encode("fewer.part", "--device cpu", &[]);
    let error = compare("single.part", "fewer.part").unwrap_err();
    assert!(error.contains("found 5 (5 rows) and 4 (4 rows)"), "{error}");
}

/// GPU against CPU, batch against single, two runs, and `auto`.
#[test]
fn a_gpu_makes_what_the_cpu_makes() {
    if let Some(reason) = Case::no_cuda() {
        eprintln!("SKIPPED, no GPU: device {reason}");
        return;
    }
    let case = Case::new(20, [(400, 300), (200, 400)]);
    let (cpu, _) = case.encode("cpu.part", "--device cpu", &[]);
    for precision in ["f32", "bf16"] {
        let encode = |name: &str, batch: usize| {
            let flags = format!("--device cuda:0 --precision {precision} --batch {batch}");
            case.encode(name, &flags, &[])
        };
        let (gpu, log) = encode("gpu.part", 8);
        assert!(log.contains("device=cuda:0"), "{log}");
        let cosine = least_cosine(&cpu, &gpu);
        eprintln!("{precision} on cuda:0: least cosine to float32 on the CPU {cosine:.7}");
        assert!(cosine >= if precision == "f32" { 0.99999 } else { 0.999 }, "{cosine}");
        let single = least_cosine(&encode("single.part", 1).0, &gpu);
        eprintln!(
            "{precision} on cuda:0: least cosine of batches of 8 to single images {single:.7}"
        );
        assert!(single >= if precision == "f32" { 0.99999 } else { 0.9999 }, "{single}");
        assert!(encode("again.part", 8).0 == gpu, "two runs differ");
    }
    let (_, log) = case.encode("auto.part", "", &[]);
    assert!(log.contains("device=cuda:0"), "{log}");
}

/// A fiftieth of the device's memory does not take 64 images of a megapixel, whose first layer's
/// maps alone are 67 MB each.
#[test]
fn a_gpu_without_memory_halves_its_batches() {
    if let Some(reason) = Case::no_cuda() {
        eprintln!("SKIPPED, no GPU: device {reason}");
        return;
    }
    let case = Case::new(64, [(1024, 1024); 2]);
    let (cpu, _) = case.encode("cpu.part", "--device cpu", &[]);
    let limit = "per_process_memory_fraction:0.02";
    let environment = [("PYTORCH_ALLOC_CONF", limit), ("PYTORCH_CUDA_ALLOC_CONF", limit)];
    let (gpu, log) = case.encode("gpu.part", "--device cuda:0 --batch 64", &environment);
    assert!(log.contains("out of memory: the batch is halved"), "{log}");
    assert!(least_cosine(&cpu, &gpu) >= 0.99999);
}

/// The rate that is printed is that of what was run, and the share is of what was given.
#[test]
fn the_network_alone_is_measured() {
    let case = Case::new(1, [(64, 48); 2]);
    let measure = |flags: &str| {
        Command::new(env!("CARGO_BIN_EXE_ocelli-encoder"))
            .args(["measure", "--device", "cpu", "--weights"])
            .arg(case.path("weights"))
            .args(flags.split_whitespace())
            .output()
            .unwrap()
    };
    let output =
        measure("--image 96x64 --seconds 1 --batch 2 --workers 2 --peak-tflops 0.5 --format json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| found[name].as_f64().unwrap();
    assert!(number("seconds") >= 1.0 && number("images") >= 2.0, "{found}");
    assert_eq!((found["arch"].as_str(), found["device"].as_str()), (Some("resnet18"), Some("cpu")));
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b;
    assert!(near(number("images_per_s"), number("images") / number("seconds")), "{found}");
    assert!(
        near(number("tflop_per_s"), number("images_per_s") * number("gflop_per_image") / 1e3),
        "{found}"
    );
    assert!(near(number("share_of_peak"), number("tflop_per_s") / 0.5), "{found}");
    let bad = measure("--image 96");
    assert_eq!(bad.status.code(), Some(2));
}

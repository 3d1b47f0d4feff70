//! Plans of every kind by one runner, by the real programs: settings that were resolved when the
//! plan was made, kills and repeats, and inputs that changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use ocelli_test_support::cases;
use ocelli_tests::{fail, json, program, succeed};
use serde_json::Value;

use crate::collection::collection;
use crate::killed::{photos, published};

/// Runs `ocelli` to its end with one variable in its environment.
fn with(variable: (&str, &str), args: &[&str]) {
    let output = Command::new(program("ocelli"))
        .args(args)
        .env(variable.0, variable.1)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The runner of docs/plans.md: it does not know what kind of plan it has.
fn run_plan(plan: &str) -> Value {
    for task in succeed("ocelli", ["plan", "show", plan, "--tasks"]).lines() {
        succeed("ocelli", ["task", "--plan", plan, "--task", task]);
    }
    json("ocelli", ["commit", "--plan", plan, "--format", "json"])
}

/// A folder of the collection for one test, and names in it as arguments.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = collection().path(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn arg(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }
}

#[test]
fn one_runner_runs_every_kind_of_plan() {
    let c = collection();
    let folder = Folder::new("one-runner");
    let arg = |name: &str| folder.arg(name);
    photos(&c.path("set/photos"), &folder.0.join("photos"), 20);
    let network = c.network();
    let network: Vec<&str> = network.iter().map(String::as_str).collect();
    let show = |plan: &str| json("ocelli", ["plan", "show", plan, "--format", "json"]);

    // What the environment says when the plan is made holds for its tasks.
    let (plan, parts, input) = (arg("encode.plan"), arg("planned"), arg("photos"));
    let mut words = vec!["plan", "encode", &input];
    words.extend(&network);
    words.extend(["--part-images", "6", "--out-parts", &parts, "--out", &plan]);
    with(("OCELLI_ENCODER_POOLING", "gem"), &words);
    let shown = show(&plan);
    assert_eq!((&shown["kind"], shown["tasks"].as_u64()), (&"encode".into(), Some(4)));
    let error = fail("ocelli", 1, ["commit", "--plan", &plan]);
    assert!(error.contains("4 of 4 tasks have not ended: 0, 1, 2, 3"), "{error}");
    let report = run_plan(&plan);
    let number = |report: &Value, name: &str| report[name].as_u64().unwrap();
    let images = number(&report, "images");
    assert_eq!((number(&report, "parts"), images + number(&report, "rejected")), (4, 20));
    assert_eq!(run_plan(&plan), report, "again");
    let mut words = vec!["encode", &input, "--pooling", "gem"];
    let whole = arg("whole");
    words.extend(&network);
    words.extend(["--part-images", "6", "--out", &whole]);
    succeed("ocelli", words);
    assert!(published(&folder.0.join("planned")) == published(&folder.0.join("whole")));

    let names = ["00000000", "00000001", "00000002", "00000003"];
    let made: Vec<String> = names.iter().map(|name| arg(&format!("planned/{name}.part"))).collect();
    let made: Vec<&str> = made.iter().map(String::as_str).collect();
    let flags = ["--nlist", "2", "--m", "4", "--bits", "4", "--dim", "32", "--force"];
    let (plan, planned, alone) = (arg("train.plan"), arg("planned.model"), arg("alone.model"));
    let mut words = vec!["plan", "train"];
    words.extend(made.iter().chain(&flags));
    words.extend(["--opq", "true", "--out-model", &planned, "--out", &plan]);
    // Too few photos for a rotation.
    fail("ocelli", 1, &words);
    words.retain(|word| !["--opq", "true"].contains(word));
    words.extend(["--opq", "false"]);
    with(("OCELLI_INDEXER_TRAIN__NITER", "3"), &words);
    run_plan(&plan);
    run_plan(&plan);
    let mut words = vec!["train"];
    words.extend(made.iter().chain(&flags));
    words.extend(["--opq", "false", "--niter", "3", "--out", &alone]);
    succeed("ocelli", words);
    assert_eq!(folder.bytes("planned.model"), folder.bytes("alone.model"));
    assert_eq!(show(&plan)["kind"], "train");

    let (plan, index) = (arg("build.plan"), arg("index"));
    let mut words = vec!["plan", "build"];
    words.extend(&made);
    words.extend(["--model", &planned, "--index", &index, "--shards", "3", "--out", &plan]);
    succeed("ocelli", words);
    let report = run_plan(&plan);
    assert_eq!((number(&report, "rows"), number(&report["built"], "rows")), (images, images));
    let plan = arg("compact.plan");
    succeed("ocelli", ["plan", "compact", "--index", &index, "--all", "--out", &plan]);
    let report = run_plan(&plan);
    assert_eq!((number(&report, "rows"), number(&report, "shards")), (images, 1));
    succeed("ocelli", ["verify", &index]);
}

/// A process that does a task.
fn task(plan: &str, number: u64) -> Command {
    let mut command = Command::new(program("ocelli"));
    command.args(["encode", "--plan", plan, "--workers", "1", "--log", "warn"]);
    command.env("SLURM_ARRAY_TASK_ID", number.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn workers_and_kills_change_no_byte_of_a_part() {
    let (count, size, kills) = cases((60, 7, 4), (400, 20, 20));
    let c = collection();
    let folder = Folder::new("planned-parts");
    photos(&c.path("set/photos"), &folder.0.join("photos"), count);
    let (input, whole) = (folder.arg("photos"), folder.arg("whole"));
    let (network, size_text) = (c.network(), size.to_string());
    let network: Vec<&str> = network.iter().map(String::as_str).collect();
    let fixed = ["--part-images", &size_text, "--batch", "2"];
    let started = Instant::now();
    let encode = ["encode", &input].into_iter().chain(network.clone()).chain(fixed);
    succeed("ocelli", encode.chain(["--out", &whole]));
    let expected = published(&folder.0.join("whole"));
    let tasks = count.div_ceil(size) as u64;
    let takes = started.elapsed() / tasks as u32;
    let plan = |name: &str| {
        let (parts, plan) = (folder.arg(name), folder.arg(&format!("{name}.plan")));
        let words = ["plan", "encode", &input].into_iter().chain(network.clone()).chain(fixed);
        succeed("ocelli", words.chain(["--out-parts", &parts, "--out", &plan]));
        plan
    };

    for workers in [1, 2, 16] {
        let name = format!("by-{workers}");
        let plan = plan(&name);
        scope(|scope| {
            for worker in 0..workers {
                let plan = &plan;
                scope.spawn(move || {
                    for i in 0..tasks {
                        let i = (i * 2 + worker) % tasks;
                        if workers < 16 || i % 4 == worker % 4 {
                            assert!(task(plan, i).status().unwrap().success(), "task {i}");
                        }
                    }
                });
            }
        });
        assert!(published(&folder.0.join(&name)) == expected, "{workers} workers");
        json("ocelli", ["commit", "--plan", &plan, "--format", "json"]);
    }

    let plan = plan("killed");
    let sound = |found: &BTreeMap<String, Vec<u8>>| {
        found.iter().all(|(name, bytes)| expected.get(name) == Some(bytes))
    };
    for kill in 0..kills {
        let (a, b) = (kill % tasks, (kill + 1) % tasks);
        let mut children = [a, b, a].map(|i| task(&plan, i).spawn().unwrap());
        // The moments depend on the machine, and so differ from run to run.
        let jitter = started.elapsed().subsec_nanos() % 100;
        sleep(takes.mul_f64(0.5 + f64::from(jitter) / 50.0) + Duration::from_millis(kill));
        for child in &mut children {
            // SIGKILL: nothing is flushed, nothing is tidied up.
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert!(sound(&published(&folder.0.join("killed"))), "after kill {kill}");
    }
    (0..tasks).rev().for_each(|i| assert!(task(&plan, i).status().unwrap().success()));
    assert!(published(&folder.0.join("killed")) == expected);
    succeed("ocelli", ["commit", "--plan", &plan]);
}

/// Changes a text in a file once.
fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn tasks_of_an_encoding_refuse_what_changed() {
    let c = collection();
    let folder = Folder::new("changed-photos");
    let arg = |name: &str| folder.arg(name);
    photos(&c.path("set/photos"), &folder.0.join("photos"), 9);
    let (input, plan, parts) = (arg("photos"), arg("a.plan"), arg("parts"));
    fs::copy(c.path("net.safetensors"), folder.0.join("net.safetensors")).unwrap();
    let weights = arg("net.safetensors");
    let network = ["--weights", &weights, "--sizes", crate::collection::SIZE];
    let words = ["plan", "encode", &input].into_iter().chain(network);
    let words = words.chain(["--part-images", "5", "--out-parts", &parts, "--out", &plan]);
    succeed("ocelli", words);
    let run = ["task", "--plan", &plan, "--task"];
    let refused = |task: &str| fail("ocelli", 1, run.into_iter().chain([task]));
    let done = |task: &str| succeed("ocelli", run.into_iter().chain([task]));
    assert!(refused("2").contains("--task 2: expected 0 to 1"));
    done("0");
    let error = fail("ocelli", 1, ["commit", "--plan", &plan]);
    assert!(error.contains("1 of 2 tasks have not ended: 1; run ocelli task"), "{error}");

    fs::write(folder.0.join("photos/more.jpg"), "no image").unwrap();
    for error in [refused("1"), fail("ocelli", 1, ["commit", "--plan", &plan])] {
        assert!(error.contains("a photo was added, removed or written"), "{error}");
    }
    fs::remove_file(folder.0.join("photos/more.jpg")).unwrap();

    // Other weights under the same name.
    let kept = folder.bytes("net.safetensors");
    let seeded = ["weights", "seeded", "--arch", "resnet18", "--last-stage", "2", "--seed", "4"];
    fs::remove_file(folder.0.join("net.safetensors")).unwrap();
    succeed("ocelli-encoder", seeded.into_iter().chain(["--out", &weights]));
    let error = refused("1");
    assert!(error.contains("changed since the plan was made: spec was"), "{error}");
    fs::write(folder.0.join("net.safetensors"), kept).unwrap();

    let version = |number| format!("\"program\": \"{number}\"");
    let ours = version(env!("CARGO_PKG_VERSION"));
    let theirs = version("0.0.1");
    replace(Path::new(&plan), &ours, &theirs);
    for error in [refused("1"), fail("ocelli", 1, ["commit", "--plan", &plan])] {
        assert!(error.contains("planned by Ocelli 0.0.1"), "{error}");
    }
    replace(Path::new(&plan), &theirs, &ours);
    replace(Path::new(&plan), "\"part_images\": 5", "\"part_images\": 6");
    assert!(refused("1").contains("it was changed"));
    replace(Path::new(&plan), "\"part_images\": 6", "\"part_images\": 5");

    done("1");
    succeed("ocelli", ["commit", "--plan", &plan]);
    let part = folder.0.join("parts/00000001.part");
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).unwrap();
    let error = fail("ocelli", 1, ["commit", "--plan", &plan]);
    assert!(error.contains("00000001.part"), "{error}");
    fs::remove_file(&part).unwrap();
    done("1");
    succeed("ocelli", ["commit", "--plan", &plan]);

    // Each kind is done by its own commands too, and the wrong one says so.
    let error = fail("ocelli-encoder", 1, ["commit", "--plan", &arg("none.plan")]);
    assert!(error.contains("none.plan"), "{error}");
    let error = fail("ocelli", 1, ["commit", "--plan", &plan, "--min-recall", "0.5"]);
    assert!(error.contains("--min-recall is for builds"), "{error}");
}

//! Builds by plan, by the real program: killed at any moment, without room, within a budget of
//! memory, and by the numbers that schedulers give.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ocelli_index::{DescriptorSpec, Dtype, Hash, PartKind, PartWriter, Snapshot};
use ocelli_test_support::cases;
use ocelli_tests::{json, peak_kib, program, succeed};
use tempfile::TempDir;

/// A part of many rows with keys, and a model of few lists.
struct Rows {
    dir: TempDir,
    rows: usize,
}

impl Rows {
    fn new(rows: usize, dim: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = DescriptorSpec::foreign("numbers", dim as u32).unwrap();
        let write = |name: &str, rows: usize| {
            let path = dir.path().join(name);
            let mut part =
                PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
            let mut state = 1u64;
            let mut x = vec![0f32; dim];
            for row in 0..rows {
                for x in &mut x {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    *x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                }
                part.push(&format!("photos/{}/{row}.jpg", row % 17), None, &x).unwrap();
            }
            part.finish().unwrap();
        };
        write("some.part", 4000);
        write("all.part", rows);
        let made = Self { dir, rows };
        let train = ["train", &made.path("some.part"), "--nlist", "16", "--m", "8", "--force"];
        succeed("ocelli", train.into_iter().chain(["--out", &made.path("a.model")]));
        made
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Plans a build into the index `name`; returns the plan.
    fn plan(&self, name: &str, shards: usize, budget: &str) -> String {
        let plan = self.path(&format!("{name}.plan"));
        let (part, model, index) = (self.path("all.part"), self.path("a.model"), self.path(name));
        let shards = shards.to_string();
        succeed(
            "ocelli",
            [
                "plan",
                "build",
                &part,
                "--model",
                &model,
                "--index",
                &index,
                "--shards",
                &shards,
                "--memory-budget",
                budget,
                "--threads",
                "2",
                "--out",
                &plan,
            ],
        );
        plan
    }

    /// The shards of an index, by name.
    fn shards(&self, name: &str) -> BTreeMap<String, Hash> {
        let entries = fs::read_dir(self.dir.path().join(name).join("shards")).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "shard"))
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, Hash::of(&fs::read(path).unwrap()))
            })
            .collect()
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn runs(index: &Path) -> usize {
    files(&index.join("work")).iter().filter(|p| p.extension().is_some_and(|e| e == "run")).count()
}

/// A budget with which the rows below take several runs.
const SMALL: &str = "72MiB";

fn task(plan: &str, task: u32) -> Command {
    let mut command = Command::new(program("ocelli"));
    command.args(["build", "--plan", plan, "--task", &task.to_string(), "--threads", "2"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_build_goes_on_and_ends_with_the_same_bytes() {
    let (rows, kills) = cases((400_000, 8), (1_000_000, 40));
    let made = Rows::new(rows, 16);
    let (part, model, whole) = (made.path("all.part"), made.path("a.model"), made.path("whole"));
    let build = ["build", &part, "--model", &model, "--out", &whole, "--shards", "2"];
    json("ocelli", build.into_iter().chain(["--format", "json"]));
    let expected = made.shards("whole");
    assert_eq!(expected.len(), 2);

    let plan = made.plan("killed", 2, SMALL);
    let index = made.dir.path().join("killed");
    let started = Instant::now();
    let timed = made.plan("timed", 2, SMALL);
    assert!(task(&timed, 0).status().unwrap().success());
    let takes = started.elapsed();
    let mut seen = Vec::new();
    for kill in 0..kills {
        // Both tasks at once, and the first one twice.
        let mut children: Vec<Child> =
            [0, 1, 0].into_iter().map(|i| task(&plan, i).spawn().unwrap()).collect();
        // The moments depend on the machine, and so differ from run to run.
        let jitter = started.elapsed().subsec_nanos() % 100;
        sleep(takes.mul_f64(0.1 + 0.9 * f64::from(jitter) / 100.0) + Duration::from_millis(kill));
        for child in &mut children {
            // SIGKILL: nothing is flushed, nothing is tidied up.
            let _ = child.kill();
            child.wait().unwrap();
        }
        for (name, bytes) in made.shards("killed") {
            assert_eq!(expected.get(&name), Some(&bytes), "{name} after kill {kill}");
        }
        seen.push((made.shards("killed").len(), runs(&index)));
    }
    // Shards that are there stay.
    assert!(seen.is_sorted_by_key(|(shards, _)| *shards), "{seen:?}");
    for i in [1, 0] {
        assert!(task(&plan, i).status().unwrap().success());
    }
    assert_eq!(made.shards("killed"), expected, "{seen:?}");
    assert_eq!(runs(&index), 0);
    succeed("ocelli", ["commit", "--plan", &plan]);
    assert!(!index.join("work").exists());
    let left: Vec<_> =
        files(&index).into_iter().filter(|p| p.extension().is_some_and(|e| e == "tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    assert_eq!(snapshot.rows(), made.rows as u64);
}

/// A limit of file sizes stands for a full disk: first not even a run fits, then no shard does.
#[test]
fn a_build_without_room_says_so_and_goes_on_later() {
    let made = Rows::new(1_000_000, 16);
    let whole = made.plan("whole", 1, "0");
    assert!(task(&whole, 0).status().unwrap().success());
    let plan = made.plan("room", 1, SMALL);
    let index = made.dir.path().join("room");
    let limited = |limit_kib: u32| {
        // Ignored, the signal becomes an error of `write`.
        let limit = "trap '' XFSZ; ulimit -f $1; shift; exec \"$@\"";
        let output = Command::new("bash")
            .args(["-c", limit, "bash", &limit_kib.to_string()])
            .arg(program("ocelli"))
            .args(["build", "--plan", &plan, "--task", "0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let message = limited(100);
    assert!(message.contains("00000.run: cannot write: File too large"), "{message}");
    assert_eq!(runs(&index), 0);
    assert!(made.shards("room").is_empty());
    let largest = |name: &str| {
        let shards = files(&made.dir.path().join(name).join("shards"));
        shards.iter().map(|path| path.metadata().unwrap().len()).max().unwrap()
    };
    let message = limited((largest("whole") * 3 / 4 / 1024) as u32);
    assert!(message.contains("cannot write"), "{message}");
    let kept = runs(&index);
    assert!(kept > 1, "{kept} runs, {message}");
    assert!(made.shards("room").is_empty());
    assert!(task(&plan, 0).status().unwrap().success());
    assert_eq!(made.shards("room"), made.shards("whole"));
    assert_eq!(runs(&index), 0);
}

#[test]
fn a_budget_of_memory_is_kept() {
    let made = Rows::new(cases(500_000, 2_000_000), 64);
    let mut shards = Vec::new();
    for budget in [72u64, 96, 160] {
        let name = format!("of-{budget}");
        let plan = made.plan(&name, 1, &format!("{budget}MiB"));
        let peak = peak_kib(task(&plan, 0).spawn().unwrap());
        assert!(peak > 10_000, "{peak} KiB: nothing was measured");
        assert!(peak * 10 <= budget * 1024 * 11, "{peak} KiB with a budget of {budget} MiB");
        shards.push(made.shards(&name));
    }
    assert!(shards.iter().all(|s| *s == shards[0]));
    // The part alone is larger than the smallest of them.
    assert!(fs::metadata(made.path("all.part")).unwrap().len() > 100 << 20);
}

#[test]
fn schedulers_give_the_number_of_a_task() {
    let made = Rows::new(3000, 16);
    let plan = made.plan("by", 3, "0");
    let by = |variable: &str, value: &str| {
        let mut command = Command::new(program("ocelli"));
        command.args(["build", "--plan", &plan, "--format", "json"]).env(variable, value);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + "\n")
    };
    let (code, text) = by("SLURM_ARRAY_TASK_ID", "2");
    assert!(code == Some(0) && text.contains("\"task\":2"), "{text}");
    let (code, text) = by("JOB_COMPLETION_INDEX", "0");
    assert!(code == Some(0) && text.contains("\"task\":0"), "{text}");
    assert_eq!(by("SLURM_ARRAY_TASK_ID", "3").0, Some(1));
    assert_eq!(by("UNRELATED", "1").0, Some(1));
    assert_eq!(made.shards("by").len(), 2);
}

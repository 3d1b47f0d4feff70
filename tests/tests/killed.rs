//! An encode job that is killed at any moment goes on where it was, and ends with the same bytes;
//! also as process 1 of a container. One for which there is no room leaves nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::collection::collection;
use ocelli_test_support::cases;
use ocelli_tests::{json, program};

/// Photos of the collection again and again, told apart by a few bytes behind their end.
pub fn photos(from: &Path, to: &Path, count: usize) {
    fs::create_dir_all(to).unwrap();
    let mut sources: Vec<_> = fs::read_dir(from).unwrap().map(|e| e.unwrap().path()).collect();
    sources.sort();
    for (i, source) in (0..count).zip(sources.iter().cycle()) {
        let mut bytes = fs::read(source).unwrap();
        bytes.extend(format!("{i}").bytes());
        fs::write(to.join(format!("{i:05}.jpg")), bytes).unwrap();
    }
}

/// Names of all files in a folder, temporary ones too.
fn names(folder: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// Waits for something that is bound to happen.
fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what}");
        sleep(Duration::from_millis(5));
    }
}

/// Every published file, by name.
pub fn published(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|e| e.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_killed_job_ends_with_the_same_bytes() {
    let (count, part, kills) = cases((60, 7, 3), (1000, 50, 5));
    let c = collection();
    let folder = c.path("killed");
    photos(&c.path("set/photos"), &folder.join("photos"), count);
    let arguments = |out: &Path| {
        let mut args = vec!["encode".to_owned(), folder.join("photos").display().to_string()];
        args.extend(c.network());
        args.extend(["--part-images".into(), part.to_string(), "--batch".into(), "2".into()]);
        args.extend(["--out".into(), out.display().to_string()]);
        args.extend(["--format".into(), "json".into(), "--log".into(), "warn".into()]);
        args
    };
    let whole = folder.join("whole");
    let started = Instant::now();
    let summary = json("ocelli-encoder", arguments(&whole));
    let takes = started.elapsed();
    assert_eq!(summary["parts"].as_u64().unwrap(), count.div_ceil(part) as u64, "{summary}");
    let expected = published(&whole);

    let out = folder.join("killed");
    let mut complete = Vec::new();
    for kill in 0..kills {
        let mut child = Command::new(program("ocelli-encoder"))
            .args(arguments(&out))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moments depend on the machine, and so differ from run to run.
        let jitter = started.elapsed().subsec_nanos() % 100;
        sleep(takes.mul_f64(0.15 + 0.2 * f64::from(jitter) / 100.0) + Duration::from_millis(kill));
        // SIGKILL: nothing is flushed, nothing is tidied up.
        child.kill().unwrap();
        child.wait().unwrap();
        let found = published(&out);
        for (name, bytes) in &found {
            assert!(expected.get(name) == Some(bytes), "{name} after kill {kill}");
        }
        complete.push(found.keys().filter(|name| name.ends_with(".part")).count());
    }
    assert!(complete.is_sorted(), "{complete:?}");
    let rest = json("ocelli-encoder", arguments(&out));
    let kept = rest["parts_kept"].as_u64().unwrap() as usize;
    assert_eq!(kept, *complete.last().unwrap(), "what was complete was not made again");
    assert!(published(&out) == expected);
}

/// A command that is process 1 of a process namespace of its own, as in a container; its first
/// argument is the program. None if the system does not allow this.
fn as_process_1() -> Option<Command> {
    let command = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let tried = command().arg("true").stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success()).then(command)
}

/// Process 1 of one container and of the next have the same number. What the first one left when it
/// was killed does not stand in the way of the second, and is gone after it.
#[test]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn process_1_starts_again_after_a_kill() {
    if as_process_1().is_none() {
        eprintln!("skipped: `unshare --user --pid` is not allowed here");
        return;
    }
    let c = collection();
    let folder = c.path("process-1");
    photos(&c.path("set/photos"), &folder.join("photos"), 40);
    let out = folder.join("out");
    let mut args = vec![program("ocelli-encoder").display().to_string(), "encode".into()];
    args.push(folder.join("photos").display().to_string());
    args.extend(c.network());
    args.extend(["--out".to_owned(), out.join("x.part").display().to_string()]);
    let killed = || {
        fs::create_dir(&out).unwrap();
        let mut first: Child =
            as_process_1().unwrap().args(&args).stderr(Stdio::null()).spawn().unwrap();
        wait_for("both temporary files", || names(&out).len() == 2);
        first.kill().unwrap();
        first.wait().unwrap();
        names(&out)
    };
    let mut left = killed();
    // A machine that was busy elsewhere at that moment may have let the job end.
    while !left.iter().all(|name| name.ends_with(".tmp")) {
        sleep(Duration::from_secs(1));
        fs::remove_dir_all(&out).unwrap();
        left = killed();
    }
    // It dies with its parent, a moment later; its locks go with it.
    wait_for("the end of the killed job", || {
        left.iter().all(|name| fs::File::open(out.join(name)).unwrap().try_lock().is_ok())
    });
    let second = as_process_1().unwrap().args(&args).stderr(Stdio::piped()).output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(names(&out), ["x.part", "x.part.rejected.jsonl"]);
}

/// Two processes write the same part at once: neither takes the other's files away.
#[test]
fn two_jobs_write_the_same_part() {
    let c = collection();
    let folder = c.path("two-jobs");
    photos(&c.path("set/photos"), &folder.join("photos"), 12);
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let start = || {
        Command::new(program("ocelli-encoder"))
            .arg("encode")
            .arg(folder.join("photos"))
            .args(c.network())
            .arg("--out")
            .arg(out.join("x.part"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    for job in [start(), start(), start()] {
        let output = job.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(names(&out), ["x.part", "x.part.rejected.jsonl"]);
}

/// A limit of file sizes stands for a full disk. The list of rejected images fits, the part does
/// not: neither is there afterwards, and what was there before still is.
#[test]
fn no_room_leaves_nothing() {
    let c = collection();
    let folder = c.path("no-room");
    photos(&c.path("set/photos"), &folder.join("photos"), 12);
    fs::write(folder.join("photos/bad.jpg"), "no image").unwrap();
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let encode = |limit_kib: &str, out: &Path| {
        // Ignored, the signal becomes an error of `write`.
        let limit = "trap '' XFSZ; ulimit -f $1; shift; exec \"$@\"";
        Command::new("bash")
            .args(["-c", limit, "bash", limit_kib])
            .arg(program("ocelli-encoder"))
            .arg("encode")
            .arg(folder.join("photos"))
            .args(c.network())
            .arg("--out")
            .arg(out)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let part = out.join("x.part");
    let stderr = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let message = stderr(encode("4", &part));
    assert!(message.contains("x.part: cannot write: File too large"), "{message}");
    assert_eq!(names(&out), [""; 0]);
    assert!(encode("unlimited", &part).status.success());
    let whole = ["x.part", "x.part.rejected.jsonl"];
    assert_eq!(names(&out), whole);
    let earlier = fs::read(&part).unwrap();
    stderr(encode("4", &part));
    assert_eq!(names(&out), whole);
    assert_eq!(fs::read(&part).unwrap(), earlier);
}

//! An encode job that is killed at any moment goes on where it was, and ends with the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::collection::collection;
use ocelli_tests::{json, program};

/// Photos of the collection again and again, told apart by a few bytes behind their end.
fn photos(from: &Path, to: &Path, count: usize) {
    fs::create_dir_all(to).unwrap();
    let mut sources: Vec<_> = fs::read_dir(from).unwrap().map(|e| e.unwrap().path()).collect();
    sources.sort();
    for (i, source) in (0..count).zip(sources.iter().cycle()) {
        let mut bytes = fs::read(source).unwrap();
        bytes.extend(format!("{i}").bytes());
        fs::write(to.join(format!("{i:05}.jpg")), bytes).unwrap();
    }
}

/// Every published file, by name.
fn published(folder: &Path) -> BTreeMap<String, Vec<u8>> {
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
    let long = std::env::var_os("OCELLI_LONG_TESTS").is_some();
    let (count, part, kills) = if long { (1000, 50, 5) } else { (60, 7, 3) };
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

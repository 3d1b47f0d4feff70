//! Whole cleanings of painted photos: noise, kills, damage, tasks, and bad input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::Value;

/// Numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }
}

/// The side of a thing in pixels of its own.
const THING: f64 = 160.0;

/// Rectangles of random shades upon each other: nothing else looks like it.
fn thing(seed: u64) -> RgbImage {
    let side = THING as u32;
    let mut numbers = Numbers(seed * 977 + 5);
    let mut picture = RgbImage::from_pixel(side, side, Rgb([128; 3]));
    for _ in 0..150 {
        let (x, y) = (THING * numbers.next(), THING * numbers.next());
        let (width, height) = (5.0 + 25.0 * numbers.next(), 5.0 + 25.0 * numbers.next());
        let shade = Rgb([0; 3].map(|_: u8| (255.0 * numbers.next()) as u8));
        for row in y as u32..((y + height) as u32).min(side) {
            for column in x as u32..((x + width) as u32).min(side) {
                picture.put_pixel(column, row, shade);
            }
        }
    }
    picture
}

/// A photo of a thing, and the box of the thing in it: turned and sized a little, on a wall whose
/// soft shades are those of no other photo.
fn photo(thing: &RgbImage, seed: u64) -> (RgbImage, [f64; 4]) {
    let mut numbers = Numbers(seed * 7919 + 3);
    let scale = 0.8 + 0.5 * numbers.next();
    let angle = 0.3 * (numbers.next() - 0.5);
    let (width, height) = (320.0, 260.0);
    let half = THING * scale / 2.0;
    let x = half + 10.0 + numbers.next() * (width - 2.0 * half - 20.0);
    let y = half + 10.0 + numbers.next() * (height - 2.0 * half - 20.0);
    let (sin, cos) = angle.sin_cos();
    let waves = [0; 4].map(|_: u8| 0.01 + 0.05 * numbers.next());
    let picture = RgbImage::from_fn(width as u32, height as u32, |column, row| {
        let (dx, dy) = (f64::from(column) - x, f64::from(row) - y);
        let u = (cos * dx + sin * dy) / scale + THING / 2.0;
        let v = (cos * dy - sin * dx) / scale + THING / 2.0;
        if u >= 0.0 && v >= 0.0 && u < THING && v < THING {
            return *thing.get_pixel(u as u32, v as u32);
        }
        let wall = (waves[0] * f64::from(column) + waves[1] * f64::from(row)).sin()
            + (waves[2] * f64::from(row) - waves[3] * f64::from(column)).sin();
        Rgb([(128.0 + 40.0 * wall) as u8; 3])
    });
    let reach = half * (sin.abs() + cos.abs());
    (picture, [x - reach, y - reach, x + reach, y + reach])
}

/// Three classes of eight photos, three of each of other things. The boxes of the right ones.
fn noisy_set(folder: &Path) -> (PathBuf, BTreeMap<String, [f64; 4]>) {
    let (mut lines, mut boxes) = (String::new(), BTreeMap::new());
    for class in 0..3u64 {
        let shown = thing(class);
        for number in 0..8u64 {
            let seed = class * 100 + number;
            let right = number % 3 != 1;
            let other = thing(1000 + seed);
            let (picture, bbox) = photo(if right { &shown } else { &other }, seed);
            let name = format!("{class}-{number}.png");
            picture.save(folder.join(&name)).unwrap();
            lines += &format!("{{\"path\": \"{name}\", \"class\": \"thing {class}\"}}\n");
            if right {
                boxes.insert(name, bbox);
            }
        }
    }
    photo(&thing(0), 77).0.save(folder.join("val.png")).unwrap();
    lines += "{\"path\": \"val.png\", \"class\": \"thing 0\", \"split\": \"val\", \
              \"box\": [1.5, 2, 100, 90]}\n";
    let list = folder.join("set.jsonl");
    fs::write(&list, lines).unwrap();
    (list, boxes)
}

fn run(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-learn"));
    command.env_remove("SLURM_ARRAY_TASK_ID").env_remove("JOB_COMPLETION_INDEX");
    command.current_dir(folder).arg("clean").args(words.split(' ')).output().unwrap()
}

/// The standard output of a command that succeeds.
fn done(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a command that fails.
fn failed(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !text.contains("panicked"), "{words}: {text}");
    text
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The classes whose records are in a work folder.
fn records(work: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path());
    let is_record = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("class-"))
    };
    let mut found: Vec<PathBuf> = names.filter(is_record).collect();
    found.sort();
    found
}

#[test]
fn wrong_photos_go_and_boxes_cover_the_thing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, boxes) = noisy_set(folder);
    let text = done(folder, "set.jsonl --out cleaned.jsonl --report page.html");
    assert!(text.contains("24 photos of 3 classes") && text.contains("split val: 1"), "{text}");
    let kept = lines(&folder.join("cleaned.jsonl"));
    let last = kept.last().unwrap();
    assert_eq!(last["box"], serde_json::json!([1.5, 2, 100, 90]), "others are copied");
    assert_eq!((last["split"].as_str(), last["path"].as_str()), (Some("val"), Some("val.png")));
    let kept = &kept[..kept.len() - 1];
    let right = kept.iter().filter(|line| boxes.contains_key(line["path"].as_str().unwrap()));
    assert_eq!(right.count(), kept.len(), "a wrong photo stayed: {kept:?}");
    assert!(kept.len() >= 13, "{} of {} right photos stayed", kept.len(), boxes.len());
    for line in kept {
        let truth = boxes[line["path"].as_str().unwrap()];
        let found: Vec<f64> =
            line["box"].as_array().unwrap().iter().map(|edge| edge.as_f64().unwrap()).collect();
        let side = |low: usize, high: usize| {
            (found[high].min(truth[high]) - found[low].max(truth[low])).max(0.0)
        };
        let area = |of: &[f64]| (of[2] - of[0]) * (of[3] - of[1]);
        let common = side(0, 2) * side(1, 3);
        let overlap = common / (area(&found) + area(&truth) - common);
        assert!(overlap > 0.5, "{line}: {overlap:.2} of {truth:?}");
    }
    let page = fs::read_to_string(folder.join("page.html")).unwrap();
    assert_eq!(page.matches("<img").count(), 24);
    assert_eq!(page.matches("class=\"in\"").count(), kept.len());
    assert!(page.ends_with("</html>\n") && !page.contains("<script"));
    // A list of another folder finds its photos.
    fs::create_dir(folder.join("below")).unwrap();
    done(folder, "set.jsonl --out below/cleaned.jsonl --work cleaned.jsonl.work");
    let below = lines(&folder.join("below/cleaned.jsonl"));
    assert_eq!(
        below[0]["path"].as_str().unwrap(),
        format!("../{}", kept[0]["path"].as_str().unwrap())
    );
    let list = ocelli_learn::List::read(&folder.join("below/cleaned.jsonl")).unwrap();
    assert!(list.entries.iter().all(|entry| entry.path.exists()));
}

/// Records that are there are used, damaged and missing ones are made again; tasks of many
/// processes and any number of threads give the same bytes.
#[test]
fn a_cleaning_goes_on_and_tasks_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    noisy_set(folder);
    done(folder, "set.jsonl --out whole.jsonl --report whole.html --threads 1");
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    let whole = records(&folder.join("whole.jsonl.work"));
    assert_eq!(whole.len(), 3);
    let made: Vec<Vec<u8>> = whole.iter().map(|path| fs::read(path).unwrap()).collect();

    // One record is missing, one has a digit changed, one stays: a look at its time tells.
    let untouched = fs::metadata(&whole[2]).unwrap().modified().unwrap();
    for damage in 0..3 {
        fs::remove_file(&whole[0]).unwrap();
        let mut changed = made[1].clone();
        match damage {
            0 => changed.truncate(changed.len() / 2),
            1 => {
                let at = changed.len() - 20;
                changed[at] ^= 1;
            }
            _ => changed.clear(),
        }
        fs::write(&whole[1], changed).unwrap();
        done(folder, "set.jsonl --out again.jsonl --work whole.jsonl.work --threads 3");
        assert_eq!(bytes("again.jsonl"), bytes("whole.jsonl"));
        for (path, made) in whole.iter().zip(&made) {
            assert_eq!(&fs::read(path).unwrap(), made);
        }
    }
    assert_eq!(fs::metadata(&whole[2]).unwrap().modified().unwrap(), untouched);

    done(folder, "plan set.jsonl --work w --tasks 2");
    let error = failed(folder, "commit --work w --out tasks.jsonl");
    assert!(error.contains("missing are those of 0, 1"), "{error}");
    assert!(done(folder, "task --work w --task 1").contains("task 1: 1 classes, 0 of them"));
    let error = failed(folder, "commit --work w --out tasks.jsonl");
    assert!(error.contains("missing are those of 0"), "{error}");
    assert!(!folder.join("tasks.jsonl").exists());
    for _ in 0..2 {
        done(folder, "task --work w --task 0");
    }
    done(folder, "commit --work w --out tasks.jsonl --report tasks.html");
    assert_eq!(bytes("tasks.jsonl"), bytes("whole.jsonl"));
    assert_eq!(bytes("tasks.html"), bytes("whole.html"));
    let error = failed(folder, "task --work w --task 2");
    assert!(error.contains("expected 0 to 1"), "{error}");
    assert!(failed(folder, "task --work w").contains("SLURM_ARRAY_TASK_ID"));
}

/// A process that is killed leaves whole records, and the next one goes on.
#[test]
fn a_killed_cleaning_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    noisy_set(folder);
    done(folder, "set.jsonl --out whole.jsonl");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ocelli-learn"))
        .current_dir(folder)
        .args(["clean", "set.jsonl", "--out", "killed.jsonl", "--threads", "1"])
        .spawn()
        .unwrap();
    let work = folder.join("killed.jsonl.work");
    while !work.is_dir() || records(&work).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "ended without a record");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    done(folder, "set.jsonl --out killed.jsonl");
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("killed.jsonl"), bytes("whole.jsonl"));
}

/// Photos that cannot be read are told, and end nothing.
#[test]
fn bad_photos_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (list, _) = noisy_set(folder);
    fs::remove_file(folder.join("0-2.png")).unwrap();
    fs::write(folder.join("1-2.png"), b"no photo").unwrap();
    RgbImage::new(3, 3).save(folder.join("2-2.png")).unwrap();
    RgbImage::new(200, 160).save(folder.join("2-3.png")).unwrap();
    let mut text = fs::read_to_string(&list).unwrap();
    // A class of one photo, one of flat ones, and one that cannot be read at all.
    for (path, class) in [
        ("1-0.png", "single"),
        ("2-3.png", "flat"),
        ("2-3.png", "flat"),
        ("2-3.png", "flat"),
        ("gone-1.png", "<gone>\\u001b[31m"),
        ("gone-2.png", "<gone>\\u001b[31m"),
    ] {
        text += &format!("{{\"path\": \"{path}\", \"class\": \"{class}\"}}\n");
    }
    fs::write(&list, text).unwrap();
    let words = "set.jsonl --out cleaned.jsonl --report page.html --format json";
    let summary: Value = serde_json::from_str(&done(folder, words)).unwrap();
    let unreadable = summary["unreadable"].as_array().unwrap();
    let reasons: BTreeMap<&str, &str> = unreadable
        .iter()
        .map(|u| (u["path"].as_str().unwrap(), u["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    assert!(reasons["0-2.png"].contains("No such file"), "{reasons:?}");
    assert!(reasons["1-2.png"].contains("not an image"), "{reasons:?}");
    assert!(reasons["2-2.png"].contains("3 x 3 pixels"), "{reasons:?}");
    assert_eq!(summary["classes"], 6);
    assert_eq!(summary["classes_left_out"], 3);
    let sum = ["kept", "alone", "other_components"].map(|key| summary[key].as_u64().unwrap());
    assert_eq!(sum.iter().sum::<u64>() + 5, summary["photos"].as_u64().unwrap());
    let page = fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.contains("&lt;gone&gt;") && !page.contains("<gone>") && !page.contains('\u{1b}'));
}

/// Copies of one photo do not agree with each other. Paths are written as the list has them.
#[test]
fn copies_are_no_agreement() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    noisy_set(folder);
    fs::copy(folder.join("1-1.png"), folder.join("copy.png")).unwrap();
    let absolute = folder.join("0-0.png").display().to_string();
    let line = |path| format!("{{\"path\": \"{path}\", \"class\": \"a\"}}\n");
    let list: String =
        ["1-1.png", "copy.png", &absolute, "1-1.png", "0-2.png"].into_iter().map(line).collect();
    fs::write(folder.join("few.jsonl"), list).unwrap();
    let words = "few.jsonl --out kept.jsonl --min-photos 2 --splits train,vall --format json";
    let output = run(folder, words);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("vall") && !told.contains("\"train\""), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["compared"], &summary["alone"]), (&3.into(), &3.into()), "{summary}");
    let kept = lines(&folder.join("kept.jsonl"));
    let paths: Vec<&str> = kept.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, [absolute.as_str(), "0-2.png"]);
}

/// A list of nothing does not replace one of something, and a plan stays in its folder.
#[test]
fn what_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    noisy_set(folder);
    let small = "--size 64 --keypoints 20";
    done(folder, &format!("plan set.jsonl --work w --tasks 3 {small}"));
    let plan = fs::read(folder.join("w/plan.json")).unwrap();
    done(folder, &format!("set.jsonl --out all.jsonl --work w {small}"));
    assert_eq!(fs::read(folder.join("w/plan.json")).unwrap(), plan);
    let gone = "{\"path\": \"gone.png\", \"class\": \"a\"}\n";
    fs::write(folder.join("gone.jsonl"), gone).unwrap();
    let before = fs::read(folder.join("all.jsonl")).unwrap();
    let error = failed(folder, "gone.jsonl --out all.jsonl --work g");
    assert!(error.contains("found none: 1 of 1 cannot be read"), "{error}");
    assert_eq!(fs::read(folder.join("all.jsonl")).unwrap(), before);
}

#[test]
fn bad_input_ends_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (list, _) = noisy_set(folder);
    let before = fs::read(&list).unwrap();
    for (words, expected) in [
        ("none.jsonl --out o", "No such file"),
        ("set.jsonl --out o --splits test", "expected photos of the splits test, found none"),
        ("set.jsonl --out o --size 8", "--size: expected 64 to 2048, found 8"),
        ("set.jsonl --out o --size 9000", "--size: expected 64 to 2048, found 9000"),
        ("set.jsonl --out o --keypoints 2", "--keypoints: expected 3 to 100000, found 2"),
        ("set.jsonl --out o --ratio NaN", "--ratio: expected above 0, at most 1, found NaN"),
        ("set.jsonl --out o --min-inliers 3", "--min-inliers: expected 4 to the 1500"),
        ("set.jsonl --out o --tolerance 0", "--tolerance: expected above 0, at most 100, found 0"),
        ("set.jsonl --out o --box-margin 3", "--box-margin: expected 0 to 2, found 3"),
        ("set.jsonl --out o --max-pairs 0", "--max-pairs: expected at least 1, found 0"),
        ("set.jsonl --out o.Parquet", "expected a name that does not end in .parquet"),
        ("set.jsonl --out o --report none/x.html", "found no folder none"),
        ("set.jsonl --out .", "--out .: expected a file"),
        ("set.jsonl --out o --report ./o", "--report ./o: expected another file than that of"),
        ("set.jsonl --out o --threads 70000", "70000 is not in"),
        ("commit --work none --out o", "No such file"),
        ("task --work none --task 0", "No such file"),
    ] {
        let error = failed(folder, words);
        assert!(error.contains(expected), "{words}: {error}");
        assert!(!folder.join("o").exists() && !folder.join("o.work").exists(), "{words}");
    }
    let small = "--size 64 --keypoints 20";
    let error = failed(folder, &format!("set.jsonl --out set.jsonl --work w {small}"));
    assert!(error.contains("expected another file than the list"), "{error}");
    let report = "set.jsonl --out o --work w --report";
    let error = failed(folder, &format!("{report} ./set.jsonl {small}"));
    assert!(error.contains("--report ./set.jsonl: expected another file"), "{error}");
    let error = failed(folder, &format!("{report} o {small}"));
    assert!(error.contains("--report o: expected another file than that of --out"), "{error}");
    assert!(!folder.join("o").exists());
    assert_eq!(fs::read(&list).unwrap(), before);
    let error = failed(folder, &format!("set.jsonl --out none/o --work w {small}"));
    assert!(error.contains("none"), "{error}");
    assert!(!folder.join("w").exists(), "refused before any work");

    // What a plan has seen must be there when its tasks run.
    done(folder, &format!("plan set.jsonl --work p {small}"));
    fs::copy(folder.join("0-0.png"), folder.join("1-0.png")).unwrap();
    let error = failed(folder, "task --work p --task 1");
    assert!(error.contains("class \"thing 1\": expected the photos that the plan"), "{error}");
    assert!(records(&folder.join("p")).is_empty());
    done(folder, "task --work p --task 0");
    let mut changed = before.clone();
    changed.extend(b"{\"path\": \"0-0.png\", \"class\": \"thing 9\"}\n");
    fs::write(&list, &changed).unwrap();
    let error = failed(folder, "task --work p --task 0");
    assert!(error.contains("expected the list with the hash"), "{error}");
    fs::write(&list, &before).unwrap();
    let plan = folder.join("p/plan.json");
    let text = fs::read_to_string(&plan).unwrap();
    for (from, to, expected) in [
        ("\"format\": 1", "\"format\": 2", "2"),
        ("\"version\": \"", "\"version\": \"9.", "plan again"),
        ("\"settings\"", "\"setting\"", "unknown field"),
        ("\"size_px\": 64", "\"size_px\": 1", "--size"),
        ("\"photos\": 8", "\"photos\": 7", "expected a plan with the 3 classes of"),
    ] {
        assert!(text.contains(from), "{text}");
        fs::write(&plan, text.replace(from, to)).unwrap();
        let error = failed(folder, "task --work p --task 0");
        assert!(error.contains(expected), "{error}");
    }
}

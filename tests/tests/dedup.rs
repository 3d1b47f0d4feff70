//! A folder of photos and its duplicates: found, looked at, taken away, and put back.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageReader, imageops};
use ocelli_tests::{fail, json, succeed};
use serde_json::Value;

use crate::collection::collection;
use crate::jobs::pack;

/// Photos of a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Eight photos, and of the first three: the same file, other bytes of the same pixels, and the
/// photo smaller and compressed again.
fn photos(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let from = collection().path("set/photos");
    let all = names(&from);
    let own: Vec<PathBuf> =
        all.iter().filter(|name| !name.contains("zz-")).take(8).map(|n| from.join(n)).collect();
    for (i, photo) in own.iter().enumerate() {
        fs::copy(photo, folder.join(format!("{i}.jpg"))).unwrap();
    }
    fs::copy(&own[0], folder.join("same-file.jpg")).unwrap();
    let mut bytes = fs::read(&own[1]).unwrap();
    bytes.extend(b"behind its end");
    fs::write(folder.join("same-pixels.jpg"), bytes).unwrap();
    let photo = ImageReader::open(&own[2]).unwrap().decode().unwrap().to_rgb8();
    let (width, height) = photo.dimensions();
    let small =
        imageops::resize(&photo, width * 3 / 4, height * 3 / 4, imageops::FilterType::Triangle);
    small.save(folder.join("smaller.jpg")).unwrap();
}

#[test]
fn a_folder_of_photos_from_its_duplicates_to_a_quarantine_and_back() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&home.path().join(name));
    photos(&home.path().join("photos"));
    let before = names(&home.path().join("photos"));
    let photos = at("photos");
    let run = |out: &str, more: &[&str]| -> Value {
        let words = ["dedup", photos.as_str(), "--threshold", "0.5", "--out", out];
        let more = more.iter().chain(&["--format", "json"]);
        json("ocelli", words.iter().chain(more))
    };
    let pack = pack();
    let report = run(&at("out"), &["--pack", &pack, "--sample", "4", "--form", "csv"]);
    assert_eq!(report["join"]["rows"], 11, "{report}");
    let labels = &report["pairs"]["by_label"];
    assert_eq!((&labels["same_file"], &labels["same_pixels"]), (&1.into(), &1.into()), "{report}");
    let csv = fs::read_to_string(home.path().join("out/clusters.csv")).unwrap();
    let line = |key: &str| {
        csv.lines().find(|line| line.contains(&format!(",{key},"))).unwrap_or_default().to_owned()
    };
    assert!(line("same-file.jpg").contains("same_file"), "{csv}");
    // The larger of the two files stays.
    assert!(line("1.jpg").contains("same_pixels"), "{csv}");
    assert!(line("smaller.jpg").contains("copy"), "{csv}");
    let page = fs::read_to_string(home.path().join("out/report.html")).unwrap();
    assert!(page.contains("smaller.jpg") && page.contains("data:image/jpeg"));

    // Again: nothing is encoded, and the bytes are the same, although the previews are gone.
    assert!(!home.path().join("out.work").exists());
    let summary = fs::read(home.path().join("out/summary.json")).unwrap();
    run(&at("out"), &["--sample", "4", "--form", "csv"]);
    assert_eq!(fs::read(home.path().join("out/summary.json")).unwrap(), summary);

    // The files that are listed go away, and come back.
    let list = at("out/remove_files.jsonl");
    let words = ["dedup", "apply", list.as_str(), "--quarantine", &at("away"), "--yes"];
    let taken = json("ocelli", words.iter().chain(&["--format", "json"]));
    let gone = taken["taken"]["files"].as_u64().unwrap();
    assert!(gone >= 3, "{taken}");
    let left = names(&home.path().join("photos"));
    assert_eq!(left.len() as u64, before.len() as u64 - gone);
    // Of each picture one is left.
    for pair in [["0.jpg", "same-file.jpg"], ["1.jpg", "same-pixels.jpg"], ["2.jpg", "smaller.jpg"]]
    {
        assert!(pair.iter().any(|name| left.contains(&(*name).to_owned())), "{pair:?}: {left:?}");
    }
    assert!(left.contains(&"2.jpg".to_owned()), "the one of most pixels stays: {left:?}");
    succeed("ocelli", ["dedup", "undo", at("away").as_str()]);
    assert_eq!(names(&home.path().join("photos")), before);

    // The index loses the rows by their ids.
    let ids = at("out/remove_ids.txt");
    let index = at("out/collection");
    let words = ["delete", index.as_str(), "--from", &ids, "--ids", "--format", "json"];
    assert_eq!(json("ocelli", words)["deleted"], gone);
}

/// What is wrong is said before a photo is encoded.
#[test]
fn flags_are_checked_before_the_work() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&home.path().join(name));
    photos(&home.path().join("photos"));
    let (photos, out) = (at("photos"), at("out"));
    for (flags, code, what) in [
        (&["--threshold", "NaN"][..], 1, "threshold"),
        (&["--nprobe", "0"], 1, "nprobe"),
        (&["--keep", "nicest"], 2, "nicest"),
        (&["--known-pairs", "/none.csv"], 1, "/none.csv"),
    ] {
        let words = ["dedup", photos.as_str(), "--out", &out];
        let error = fail("ocelli", code, words.iter().chain(flags));
        assert!(error.contains(what), "{flags:?}: {error}");
        assert!(!home.path().join("out/collection").exists());
    }
    let calibration = home.path().join("calibration.json");
    fs::write(&calibration, r#"{"points": [{"threshold": 0.5, "precision": 0.9}]}"#).unwrap();
    let flags = ["--calibration", &text(&calibration), "--precision", "0.95"];
    let words = ["dedup", photos.as_str(), "--out", &out];
    let error = fail("ocelli", 1, words.iter().chain(&flags));
    assert!(error.contains("whose best is 0.9000"), "{error}");
}

//! The generated set: same bytes by seed, ground truth that holds, folders that are whole or
//! absent, and a task that colour does not solve.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ocelli_bench_data::{
    Error, GroundTruth, LandmarkOptions, generate, generate_with, render_view,
};

fn small() -> LandmarkOptions {
    LandmarkOptions {
        landmarks: 4,
        views_per_landmark: 6,
        distractors: 10,
        queries_per_landmark: 2,
        seed: 7,
        longest_side: 200,
        threads: 2,
    }
}

/// Every file of a folder by its relative path.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for folder in ["", "photos", "groundtruth"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    out
}

#[test]
fn bytes_depend_on_the_seed_and_not_on_threads() {
    let home = tempfile::tempdir().unwrap();
    let set = |name: &str, options: &LandmarkOptions| {
        generate(&home.path().join(name), options).unwrap();
        files(&home.path().join(name))
    };
    let two = set("two", &small());
    let one = set("one", &LandmarkOptions { threads: 1, ..small() });
    assert_eq!(two.len(), 4 * 6 + 10 + 4 * 2 * 4 + 2);
    assert!(one == two, "one thread and two gave different bytes");
    let other = set("other", &LandmarkOptions { seed: 8, ..small() });
    for (name, bytes) in other.iter().filter(|(name, _)| name.starts_with("photos/")) {
        assert_ne!(two.get(name), Some(bytes), "{name} is the same for another seed");
    }
    // A photo does not depend on how many others there are.
    let fewer = set("fewer", &LandmarkOptions { landmarks: 2, distractors: 3, ..small() });
    for (name, bytes) in fewer.iter().filter(|(name, _)| name.starts_with("photos/")) {
        assert_eq!(two.get(name), Some(bytes), "{name} changed with the size of the set");
    }
}

/// A checksum of pixels that was computed once: another machine, compiler or library version that
/// renders otherwise shows up here, and then GENERATOR_VERSION has to rise.
#[test]
fn pixels_are_the_pinned_ones() {
    let mut sum = 0xCBF2_9CE4_8422_2325u64;
    for landmark in 0..3 {
        for byte in render_view(1, landmark, 4).as_raw() {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    assert_eq!(sum, PINNED, "found {sum:#018x}");
}

const PINNED: u64 = 0x6e1b_5f64_3fc9_fa81;

#[test]
fn ground_truth_holds() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let summary =
        generate(&root, &LandmarkOptions { landmarks: 6, views_per_landmark: 10, ..small() })
            .unwrap();
    let truth: GroundTruth =
        serde_json::from_slice(&fs::read(root.join("groundtruth.json")).unwrap()).unwrap();
    let photos: BTreeSet<String> = fs::read_dir(root.join("photos"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(truth.images.iter().eq(photos.iter()), "images and files differ");
    assert_eq!(truth.queries.len(), 12);
    assert_eq!(summary.counts.queries, 12);
    assert_eq!(summary.counts.good + summary.counts.ok + summary.counts.junk, 60);
    assert!(summary.counts.ok > 0 && summary.counts.junk > 0, "{summary:?}");

    let mut asked = BTreeMap::new();
    for query in &truth.queries {
        let label = &truth.folder_label[&query.name];
        let number: &mut u32 = asked.entry(label.clone()).or_default();
        *number += 1;
        assert!(query.ok.contains(&query.name));
        assert!(query.ok.len() > 2, "{label}: nothing to find");
        assert_eq!(query.ok.len() + query.junk.len(), 10);
        assert!(query.ok.iter().all(|name| !query.junk.contains(name)));
        for name in query.ok.iter().chain(&query.junk) {
            assert!(photos.contains(name) && &truth.folder_label[name] == label, "{name}");
        }
        let (width, height) =
            image::image_dimensions(root.join(format!("photos/{}.jpg", query.name))).unwrap();
        let [x0, y0, x1, y1] = query.bbox;
        assert!(0.0 <= x0 && x0 + 10.0 < x1 && x1 <= f64::from(width), "{query:?} in {width}");
        assert!(0.0 <= y0 && y0 + 10.0 < y1 && y1 <= f64::from(height), "{query:?} in {height}");

        // The text files say the same.
        let read = |kind: &str| {
            fs::read_to_string(root.join(format!("groundtruth/{label}_{number}_{kind}.txt")))
                .unwrap()
        };
        assert_eq!(read("query").trim_end(), format!("{} {x0} {y0} {x1} {y1}", query.name));
        let merged = read("good") + &read("ok");
        assert!(merged.lines().eq(query.ok.iter()));
        assert!(read("junk").lines().eq(query.junk.iter()));
        assert!(
            read("good").lines().any(|name| name == query.name),
            "{} is not a clear view",
            query.name
        );
    }
}

#[test]
fn a_folder_is_whole_or_absent() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let options = LandmarkOptions {
        landmarks: 1,
        views_per_landmark: 2,
        distractors: 1,
        queries_per_landmark: 1,
        ..small()
    };
    assert!(!generate(&root, &options).unwrap().reused);
    let before = files(&root);
    let again = generate(&root, &LandmarkOptions { threads: 1, ..options.clone() }).unwrap();
    assert!(again.reused);
    assert_eq!(again.counts.photos, 3);

    // Other options, a folder of somebody else's, a file: errors, and all stays as it was.
    let error = generate(&root, &LandmarkOptions { seed: 9, ..options.clone() }).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(error.to_string().contains("seed 7, not 9"), "{error}");
    assert!(files(&root) == before);
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("mine.txt"), "mine").unwrap();
    assert!(matches!(generate(&foreign, &options), Err(Error::Exists { .. })));
    let file = home.path().join("file");
    fs::write(&file, "a file").unwrap();
    assert!(matches!(generate(&file, &options), Err(Error::Exists { .. })));
    assert!(matches!(
        generate(
            &home.path().join("bad"),
            &LandmarkOptions { views_per_landmark: 1, ..options.clone() }
        ),
        Err(Error::Invalid { .. })
    ));

    // A set that lost a photo is not passed off as whole.
    let lost = root.join("photos/distractor_000000.jpg");
    let photo = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    let again = generate(&root, &options);
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    fs::write(&lost, photo).unwrap();

    // What an interrupted run left beside it is in nobody's way; an empty folder is as good as
    // none.
    fs::create_dir(home.path().join(".empty.tmp-1-0")).unwrap();
    fs::create_dir(home.path().join("empty")).unwrap();
    generate(&home.path().join("empty"), &options).unwrap();
    assert!(files(&home.path().join("empty")) == before);
    let mut left: Vec<String> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".empty.tmp-1-0", "empty", "file", "foreign", "set"]);
}

/// A run that dies half-way leaves no target, and the next one is not disturbed.
#[test]
fn an_interrupted_run_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let options = LandmarkOptions { landmarks: 1, ..small() };
    let died = std::panic::catch_unwind(|| {
        generate_with(&root, &options, &|done| assert!(done < 5, "pulled the plug"))
    });
    assert!(died.is_err());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    assert!(!generate(&root, &options).unwrap().reused);
}

/// Ranks whole photos by distance of mean colour: a set whose landmarks differ in hue only would
/// give this a high mAP.
#[test]
fn mean_colour_does_not_solve_it() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    generate(
        &root,
        &LandmarkOptions { landmarks: 9, views_per_landmark: 10, distractors: 90, ..small() },
    )
    .unwrap();
    let truth: GroundTruth =
        serde_json::from_slice(&fs::read(root.join("groundtruth.json")).unwrap()).unwrap();
    let means: BTreeMap<&String, [f64; 3]> = truth
        .images
        .iter()
        .map(|name| {
            let image = image::open(root.join(format!("photos/{name}.jpg"))).unwrap().into_rgb8();
            let mut sum = [0.0; 3];
            for pixel in image.pixels() {
                for channel in 0..3 {
                    sum[channel] +=
                        f64::from(pixel[channel]) / f64::from(image.width() * image.height());
                }
            }
            (name, sum)
        })
        .collect();
    let mut total = 0.0;
    for query in &truth.queries {
        let asked = means[&query.name];
        let far =
            |name: &String| -> f64 { (0..3).map(|c| (means[name][c] - asked[c]).powi(2)).sum() };
        let mut ranked: Vec<&String> = truth
            .images
            .iter()
            .filter(|name| **name != query.name && !query.junk.contains(name))
            .collect();
        ranked.sort_by(|a, b| far(a).total_cmp(&far(b)));
        let (mut hits, mut precision) = (0.0, 0.0);
        for (rank, name) in ranked.iter().enumerate() {
            if query.ok.contains(name) {
                hits += 1.0;
                precision += hits / (rank + 1) as f64;
            }
        }
        total += precision / (query.ok.len() - 1) as f64;
    }
    let map = total / truth.queries.len() as f64;
    assert!(map < 0.25, "mean colour reaches mAP {map:.3} without the query itself");
}

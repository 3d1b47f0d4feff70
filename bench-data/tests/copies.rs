//! Copies: deterministic, complete, and what their ground truth says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use ocelli_bench_data::{
    CopyOptions, Error, HashOptions, KINDS, SheetOptions, copy_photos, rank_by_hash, write_sheet,
};
use serde_json::{Value, json};

/// Six photos, no two alike; `b/5` is too small to be copied.
fn photos(folder: &Path) -> PathBuf {
    let folder = folder.join("photos");
    for (number, name) in ["a/0", "a/1", "a/2", "b/3", "b/4", "b/5"].into_iter().enumerate() {
        let side = if number == 5 { 64 } else { 160 };
        let photo = RgbImage::from_fn(side, side - 40, |x, y| {
            let wave = |k: u32| ((x * (k + number as u32) / 3 + y * k) % 256) as u8;
            Rgb([wave(1), wave(3), (number as u32 * 40) as u8])
        });
        let path = folder.join(format!("{name}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        photo.save(path).unwrap();
    }
    folder
}

fn options(photos: &Path) -> CopyOptions {
    CopyOptions {
        photos: vec![photos.to_owned()],
        same: None,
        originals: 3,
        kinds: KINDS[..10].to_vec(),
        each: 0,
        smallest: 100,
        longest_side: 128,
        seed: 1,
        threads: 1,
    }
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder.join("photos"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect()
}

fn truth(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("groundtruth.json")).unwrap()).unwrap()
}

#[test]
fn the_same_for_any_number_of_threads() {
    let home = tempfile::tempdir().unwrap();
    let photos = photos(home.path());
    let make = |name: &str, options: &CopyOptions| {
        let folder = home.path().join(name);
        let summary = copy_photos(&folder, options, &|_, _| {}).unwrap();
        assert!(!summary.reused);
        assert_eq!((summary.counts.originals, summary.counts.copies), (3, 30));
        assert_eq!((summary.counts.photos, summary.counts.queries), (36, 3));
        contents(&folder)
    };
    let one = make("one", &options(&photos));
    assert_eq!(one.len(), 36);
    assert!(one == make("four", &CopyOptions { threads: 4, ..options(&photos) }));
    let other = make("other", &CopyOptions { seed: 2, ..options(&photos) });
    assert!(one != other);
    // Every copy differs from its photo and from the others.
    let mut bytes: Vec<&Vec<u8>> = one.values().collect();
    bytes.sort();
    bytes.dedup();
    assert_eq!(bytes.len(), 36);
}

#[test]
fn truth_names_the_copies_of_each_photo() {
    let home = tempfile::tempdir().unwrap();
    let photos = photos(home.path());
    let folder = home.path().join("set");
    copy_photos(&folder, &options(&photos), &|_, _| {}).unwrap();
    let (truth, files) = (truth(&folder), contents(&folder));
    let images: Vec<&str> =
        truth["images"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(images.is_sorted() && images == files.keys().collect::<Vec<_>>());
    assert_eq!(truth["own"], "hidden");
    for query in truth["queries"].as_array().unwrap() {
        let name = query["name"].as_str().unwrap();
        assert!(name != "b_5", "too small to be copied");
        let ok = query["ok"].as_array().unwrap();
        assert_eq!(ok.len(), 10);
        for (kind, copy) in KINDS.iter().zip(sorted_by_kind(ok)) {
            let grade = copy.strip_prefix(&format!("{name}-{}", kind.name())).unwrap();
            assert!(["1", "2", "3"].contains(&grade), "{copy}");
            assert_eq!(truth["folder_label"][&copy], name);
        }
        assert_eq!(truth["folder_label"][name], name);
    }
    assert_eq!(truth["folder_label"].as_object().unwrap().len(), 33);
}

/// All kinds in turn: over three rounds every kind has every grade, and the file says so.
#[test]
fn kinds_take_turns() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("photos");
    for number in 0..9u32 {
        let photo = RgbImage::from_fn(120, 100, |x, y| {
            Rgb([(x * number) as u8, (y * 3 + number * 9) as u8, (x + y) as u8])
        });
        fs::create_dir_all(&folder).unwrap();
        photo.save(folder.join(format!("{number}.png"))).unwrap();
    }
    let same = home.path().join("same.json");
    fs::write(&same, json!([["1", "2"]]).to_string()).unwrap();
    let wide = CopyOptions {
        kinds: KINDS.to_vec(),
        each: 5,
        originals: 9,
        same: Some(same),
        ..options(&folder)
    };
    let set = home.path().join("set");
    let summary = copy_photos(&set, &wide, &|_, _| {}).unwrap();
    assert_eq!((summary.counts.originals, summary.counts.copies), (9, 45));
    let read = fs::read(set.join("copies.json")).unwrap();
    let truth: Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(truth["same"], json!([["1", "2"]]));
    let mut grades: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for copied in truth["copies"].as_array().unwrap() {
        let text = |field: &str| copied[field].as_str().unwrap().to_owned();
        let grade = copied["strength"].as_u64().unwrap();
        assert_eq!(text("copy"), format!("{}-{}{grade}", text("original"), text("kind")));
        assert!(set.join("photos").join(text("copy") + ".jpg").exists());
        grades.entry(text("kind")).or_default().push(grade);
    }
    assert_eq!(grades.len(), KINDS.len());
    for (kind, grades) in &mut grades {
        grades.sort_unstable();
        assert_eq!(grades, &[1, 2, 3], "{kind}");
    }
    for wrong in [
        CopyOptions { kinds: Vec::new(), ..wide.clone() },
        CopyOptions { kinds: vec![KINDS[0], KINDS[0]], ..wide.clone() },
        CopyOptions { each: 16, ..wide.clone() },
    ] {
        let refused = copy_photos(&home.path().join("wrong"), &wrong, &|_, _| {});
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{wrong:?}");
    }
}

/// Names of copies in the order of [`KINDS`].
fn sorted_by_kind(names: &[Value]) -> Vec<String> {
    let place = |name: &str| {
        KINDS.iter().position(|kind| name.contains(&format!("-{}", kind.name()))).unwrap()
    };
    let mut names: Vec<String> =
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort_by_key(|name| place(name));
    names
}

#[test]
fn photos_of_one_thing_ask_for_each_other() {
    let home = tempfile::tempdir().unwrap();
    let photos = photos(home.path());
    let same = home.path().join("same.json");
    fs::write(&same, json!([["a/0", "b/5"]]).to_string()).unwrap();
    let folder = home.path().join("set");
    let options = CopyOptions { same: Some(same.clone()), originals: 0, ..options(&photos) };
    let summary = copy_photos(&folder, &options, &|_, _| {}).unwrap();
    assert_eq!((summary.counts.photos, summary.counts.queries), (6, 2));
    let truth = truth(&folder);
    assert_eq!(truth["queries"][0], json!({"name": "a_0", "ok": ["b_5"]}));
    assert_eq!(truth["queries"][1], json!({"name": "b_5", "ok": ["a_0"]}));
    assert_eq!(truth["folder_label"], json!({"a_0": "a_0", "b_5": "a_0"}));
    for wrong in [json!([["a/0", "a/9"]]), json!([["a/0", "a/1"], ["a/0", "a/2"]]), json!(["a/0"])]
    {
        fs::write(&same, wrong.to_string()).unwrap();
        let again = copy_photos(&home.path().join("wrong"), &options, &|_, _| {});
        assert!(matches!(again, Err(Error::Invalid { .. })), "{wrong}");
    }
}

#[test]
fn a_set_of_other_photos_is_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let photos = photos(home.path());
    let folder = home.path().join("set");
    copy_photos(&folder, &options(&photos), &|_, _| {}).unwrap();
    assert!(copy_photos(&folder, &options(&photos), &|_, _| {}).unwrap().reused);
    let other = CopyOptions { originals: 2, ..options(&photos) };
    let refused = copy_photos(&folder, &other, &|_, _| {}).unwrap_err().to_string();
    assert!(refused.contains("originals 3, not 2"), "{refused}");
    // A photo that cannot be decoded is counted; and the set is another.
    fs::write(photos.join("a/9.jpg"), "no photo").unwrap();
    let refused = copy_photos(&folder, &options(&photos), &|_, _| {}).unwrap_err().to_string();
    assert!(refused.contains("other photos"), "{refused}");
    let summary = copy_photos(&home.path().join("new"), &options(&photos), &|_, _| {}).unwrap();
    assert_eq!(summary.counts.photos, 36);
    assert_eq!(summary.counts.unreadable.keys().collect::<Vec<_>>(), ["a_9"]);
}

/// A hash finds a photo's own copy, and the sheet shows what was found.
#[test]
fn hashes_rank_and_a_sheet_shows() {
    let home = tempfile::tempdir().unwrap();
    let photos = photos(home.path());
    let folder = home.path().join("set");
    copy_photos(&folder, &options(&photos), &|_, _| {}).unwrap();
    let line = |name: &str, area: Option<[u32; 4]>| {
        let mut line = json!({"path": format!("set/photos/{name}.jpg"), "key": name});
        if let Some(area) = area {
            line["box"] = json!(area);
        }
        format!("{line}\n")
    };
    let names: Vec<String> = contents(&folder).into_keys().collect();
    let [list, queries] = ["list.jsonl", "queries.jsonl"].map(|name| home.path().join(name));
    fs::write(&list, names.iter().map(|name| line(name, None)).collect::<String>()).unwrap();
    let asked = line("a_0", None) + &line("a_1", Some([0, 0, 128, 96]));
    fs::write(&queries, asked).unwrap();
    let out = home.path().join("phash.csv");
    let hash = HashOptions { list: vec![list.clone()], queries: queries.clone(), threads: 1 };
    let summary = rank_by_hash(&out, &hash).unwrap();
    assert_eq!((summary.photos, summary.queries, summary.bits), (36, 2, 256));
    let text = fs::read_to_string(&out).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 1 + 2 * 36);
    assert_eq!((rows[0], rows[1]), ("query,image,score", "a_0,a_0,0"));
    assert!(rows[37].starts_with("a_1,a_1,"), "{}", rows[37]);

    let rankings = home.path().join("rankings.csv");
    let judged = "query,rank,image,score,judgement\na_0,1,a_0,1.0,junk\na_0,2,a_1,0.5,negative\n";
    fs::write(&rankings, judged).unwrap();
    let sheet = home.path().join("sheet.png");
    let options = |show: &str| SheetOptions {
        rankings: rankings.clone(),
        list: vec![list.clone()],
        queries: queries.clone(),
        show: vec![show.to_owned()],
        hits: 2,
    };
    let summary = write_sheet(&sheet, &options("a_0")).unwrap();
    assert_eq!((summary.queries, summary.hits), (1, 2));
    let drawn = image::open(&sheet).unwrap().into_rgb8();
    // One row of three pictures; the last frame is that of a wrong hit.
    assert!(drawn.width() > 2 * drawn.height());
    assert_eq!(
        drawn.pixels().filter(|pixel| pixel.0 == [210, 50, 40]).count(),
        178 * 178 - 168 * 168
    );
    let refused = write_sheet(&sheet, &options("a_1")).unwrap_err().to_string();
    assert!(refused.contains("expected the query a_1"), "{refused}");
}

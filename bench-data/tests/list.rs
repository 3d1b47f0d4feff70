//! Lists: deterministic, nested by number, in the encoder's list format.

use std::fs;
use std::path::Path;

use ocelli_bench_data::{Error, ListOptions, write_list};

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}

fn keys(list: &Path) -> Vec<String> {
    fs::read_to_string(list)
        .unwrap()
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["key"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn choice_is_by_seed_and_nested() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("data");
    for i in 0..40 {
        touch(&root.join(format!("a/{i:02}.jpg")));
        touch(&root.join(format!("b/deep/{i:02}.PNG")));
    }
    touch(&root.join("a/readme.txt"));
    touch(&root.join("c/not-asked-for.jpg"));
    let list = |name: &str, take: Option<u64>, seed: u64, photos: &[&str]| {
        let out = home.path().join(name);
        let photos = photos.iter().map(|folder| root.join(folder)).collect();
        let summary =
            write_list(&out, &ListOptions { photos, root: root.clone(), take, seed }).unwrap();
        assert_eq!(summary.found, 80);
        keys(&out)
    };
    let all = list("all", None, 1, &["a", "b"]);
    assert_eq!(all.len(), 80);
    assert!(all.is_sorted() && all[0] == "a/00.jpg" && all[79] == "b/deep/39.PNG");
    let some = list("some", Some(20), 1, &["a", "b"]);
    assert_eq!(some.len(), 20);
    assert_eq!(some, list("again", Some(20), 1, &["b", "a", "a"]));
    assert_ne!(some, list("other", Some(20), 2, &["a", "b"]));
    let fewer = list("fewer", Some(5), 1, &["a", "b"]);
    assert!(fewer.iter().all(|key| some.contains(key)));
    assert_eq!(list("more", Some(1000), 3, &["a", "b"]), all);
}

/// Paths resolve from the list file's folder, wherever that is.
#[test]
fn paths_lead_to_the_photos() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("data");
    touch(&root.join("a/été \"1\".jpg"));
    for (out, expected) in [
        (home.path().join("list.jsonl"), "data/a/été \"1\".jpg".to_owned()),
        (
            home.path().join("lists/list.jsonl"),
            root.join("a/été \"1\".jpg").to_str().unwrap().to_owned(),
        ),
    ] {
        write_list(
            &out,
            &ListOptions { photos: vec![root.clone()], root: root.clone(), take: None, seed: 1 },
        )
        .unwrap();
        let line: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(line["path"], expected);
        assert_eq!(line["key"], "a/été \"1\".jpg");
        assert!(out.parent().unwrap().join(expected).is_file());
    }
}

#[test]
fn refuses_what_has_no_key() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("data");
    touch(&root.join("a/1.jpg"));
    fs::create_dir(home.path().join("empty")).unwrap();
    let attempt = |photos: &str, root: &Path| {
        let options = ListOptions {
            photos: vec![home.path().join(photos)],
            root: root.to_owned(),
            take: None,
            seed: 1,
        };
        write_list(&home.path().join("list.jsonl"), &options)
    };
    assert!(
        matches!(attempt("data", &root.join("a")), Err(Error::Invalid { .. })),
        "outside the root"
    );
    assert!(matches!(attempt("empty", home.path()), Err(Error::Invalid { .. })), "no photos");
    assert!(matches!(attempt("missing", home.path()), Err(Error::Io { .. })), "no folder");
    assert!(!home.path().join("list.jsonl").exists());
}

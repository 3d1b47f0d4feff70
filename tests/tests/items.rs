//! Single items that will not do, and names that nobody checked, from the command line to the
//! answer.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::collection::collection;
use ocelli_tests::{Server, fail, json, succeed};

/// Some photos of the collection.
fn some_photos(count: usize) -> Vec<String> {
    let folder = collection().path("set/photos");
    let mut photos: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path().display().to_string()).collect();
    photos.sort();
    photos.truncate(count);
    photos
}

fn encode(list: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let c = collection();
    let mut args = vec!["encode".to_owned(), "--list".into(), list.display().to_string()];
    args.extend(c.network());
    args.extend(["--whitening".into(), c.arg("w.whitening")]);
    args.extend(["--out".into(), out.display().to_string()]);
    args.extend(["--format".into(), "json".into()]);
    args.extend(more.iter().map(|&flag| flag.to_owned()));
    args
}

/// Keys with line breaks, tabs and escape codes: a row of the table each and nothing that commands
/// a terminal; JSON has them as they are.
#[test]
fn keys_do_not_break_a_table() {
    let c = collection();
    let folder = c.path("strange-keys");
    fs::create_dir(&folder).unwrap();
    let keys = ["a\n   1    1.000000           0  forged", "\u{1b}[2J\u{7}b\tc", "d\r\u{202e}e"];
    let lines: Vec<String> = some_photos(keys.len())
        .iter()
        .zip(keys)
        .map(|(path, key)| format!("{}\n", serde_json::json!({ "path": path, "key": key })))
        .collect();
    let (list, part) = (folder.join("list.jsonl"), folder.join("x.part"));
    fs::write(&list, lines.concat()).unwrap();
    json("ocelli-encoder", encode(&list, &part, &[]));
    let part = part.display().to_string();
    let index = folder.join("index").display().to_string();
    succeed("ocelli", ["build", &part, "--model", &c.arg("a.model"), "--out", &index]);

    let server = Server::start("ocelli", ["serve", "--index", &format!("strange={index}")]);
    let ask = ["query", "--id", "0", "--nprobe", "4", "--server", &server.url];
    let found = json("ocelli", ask.iter().chain(&["--format", "json"]));
    let mut raw: Vec<&str> =
        found["hits"].as_array().unwrap().iter().map(|hit| hit["key"].as_str().unwrap()).collect();
    raw.sort_unstable();
    let mut expected = keys.to_vec();
    expected.sort_unstable();
    assert_eq!(raw, expected);

    let table = succeed("ocelli", ask);
    let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!table.contains(acts), "{table:?}");
    // The head, a hit each, the sum, the times.
    assert_eq!(table.lines().count(), 1 + keys.len() + 2, "{table}");
    assert!(table.contains(r"\u{1b}[2J\u{7}b\tc"), "{table}");
    // A missing key, and a tar of a strange name.
    let missing = ["query", "--key", "x\u{1b}[31m\ny", "--server", &server.url];
    let message = fail("ocelli", 1, missing);
    assert!(!message.trim_end().contains(|c: char| c.is_control()), "{message:?}");
    let tar = folder.join("a\u{1b}[31m.tar").display().to_string();
    fs::write(&tar, [7; 1024]).unwrap();
    let mut args = vec!["encode".to_owned(), "--tar".into(), tar];
    args.extend(c.network());
    args.extend(["--out".into(), folder.join("never.part").display().to_string()]);
    let message = fail("ocelli-encoder", 1, args);
    assert!(message.contains("damaged tar"), "{message}");
    assert!(!message.trim_end().contains(|c: char| c.is_control()), "{message:?}");
}

/// A key that two parts share ends a build before it begins, or costs the second row; the ids that
/// a build gives are told.
#[test]
fn a_key_in_two_parts() {
    let c = collection();
    let folder = c.path("twice");
    fs::create_dir(&folder).unwrap();
    let photos = some_photos(5);
    let parts: Vec<String> = [&photos[..3], &photos[2..]]
        .iter()
        .enumerate()
        .map(|(n, photos)| {
            let (list, part) = (folder.join(format!("{n}.list")), folder.join(format!("{n}.part")));
            fs::write(&list, photos.join("\n")).unwrap();
            json("ocelli-encoder", encode(&list, &part, &[]));
            part.display().to_string()
        })
        .collect();
    let index = folder.join("index").display().to_string();
    let build = |parts: &[&str], more: &[&str]| {
        let model = c.arg("a.model");
        let fixed = ["--model", &model, "--out", &index, "--format", "json"];
        ["build"].iter().chain(parts).chain(&fixed).chain(more).map(|&a| a.to_owned()).collect()
    };
    let both = [parts[0].as_str(), parts[1].as_str()];
    let args: Vec<String> = build(&both, &[]);
    let message = fail("ocelli", 1, args);
    assert!(message.contains("0.part (image 2) and"), "{message}");
    assert!(message.contains("--on-duplicate reject"), "{message}");
    assert!(!Path::new(&index).join("CURRENT").exists());

    let args: Vec<String> = build(&both, &["--on-duplicate", "reject"]);
    let report: Value = json("ocelli", args);
    assert_eq!((&report["rows"], &report["rejected"]), (&5.into(), &1.into()), "{report}");
    assert!(report["rejected_first"][0].as_str().unwrap().contains("1.part (image 0)"), "{report}");
    // Row numbers of the parts, in order: the one that is left out leaves a gap.
    assert_eq!((&report["ids"], &report["ids_given"]), (&serde_json::json!([0, 5]), &true.into()));
    let args: Vec<String> = build(&both[..1], &[]);
    assert_eq!(json("ocelli", args)["ids"], serde_json::json!([6, 8]), "ids are never used again");
}

/// A list with a key that occurs twice is encoded without the second one; `--strict` stops there.
#[test]
fn one_bad_line_ends_a_job_where_it_is_asked_to() {
    let c = collection();
    let folder = c.path("bad-line");
    fs::create_dir(&folder).unwrap();
    let photos = some_photos(3);
    let (list, part) = (folder.join("list"), folder.join("x.part"));
    fs::write(&list, [photos.join("\n"), photos[1].clone(), "notes.txt".into()].join("\n"))
        .unwrap();
    let summary = json("ocelli-encoder", encode(&list, &part, &[]));
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((count("images"), count("rejected"), count("skipped")), (3, 1, 1), "{summary}");
    let rejected = fs::read_to_string(folder.join("x.part.rejected.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&rejected).unwrap();
    assert_eq!((&line["row"], &line["key"]), (&4.into(), &photos[1].as_str().into()), "{line}");
    assert_eq!(line["reason"], "its key occurs a second time");

    let out = folder.join("never.part");
    let message = fail("ocelli-encoder", 1, encode(&list, &out, &["--strict"]));
    assert!(message.contains("list line 4: its key occurs a second time"), "{message}");
    assert!(!out.exists());
}

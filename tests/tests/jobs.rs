//! One command per job: `ocelli index`, `ocelli find`, `ocelli up`, by a pack of the collection's
//! network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ocelli_index::Snapshot;
use ocelli_tests::{fail, json, program, succeed};
use serde_json::Value;
use tempfile::TempDir;

use crate::collection::collection;

/// Photos, and the indexes of them, in a folder of one test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Copies photos of the collection, each told apart by a few bytes behind its end.
    fn copy(&self, folder: &str, numbers: std::ops::Range<usize>) {
        fs::create_dir_all(self.path(folder)).unwrap();
        let from = collection().path("set/photos");
        let mut photos: Vec<PathBuf> =
            fs::read_dir(from).unwrap().map(|e| e.unwrap().path()).collect();
        photos.retain(|path| !path.to_str().unwrap().contains("zz-"));
        photos.sort();
        for number in numbers {
            let mut bytes = fs::read(&photos[number % photos.len()]).unwrap();
            bytes.extend(format!("{number}").bytes());
            fs::write(self.path(folder).join(format!("{number:04}.jpg")), bytes).unwrap();
        }
    }

    /// Runs `ocelli index` on `photos` into `x`, with further flags.
    fn index(&self, photos: &[&str], more: &[&str]) -> Value {
        json("ocelli", self.words(photos, more))
    }

    fn words(&self, photos: &[&str], more: &[&str]) -> Vec<String> {
        let mut words = vec!["index".to_owned()];
        words.extend(photos.iter().map(|name| self.arg(name)));
        words.extend(["--out".into(), self.arg("x"), "--format".into(), "json".into()]);
        // Once made, an index knows its pack.
        if !self.path("x/photos/collection.json").exists() {
            words.extend(["--pack".into(), pack()]);
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Keys and ids of the index.
    fn ids(&self) -> BTreeMap<String, u64> {
        let snapshot = Snapshot::open(&self.path("x"), None).unwrap();
        let mut ids = BTreeMap::new();
        for (shard, entry) in (0..).zip(&snapshot.generation().shards) {
            for ordinal in 0..entry.rows as u32 {
                let row = ocelli_index::Row { shard, ordinal };
                ids.insert(snapshot.key(row).unwrap(), snapshot.id(row).unwrap());
            }
        }
        assert_eq!(ids.values().collect::<BTreeSet<_>>().len(), ids.len());
        ids
    }

    fn find(&self, query: &str, more: &[&str]) -> Value {
        let x = self.arg("x");
        json("ocelli", ["find", &x, query, "--format", "json"].iter().chain(more))
    }
}

/// A pack with two sizes of codes, with the weights beside it.
pub fn pack() -> String {
    static PACK: OnceLock<TempDir> = OnceLock::new();
    let folder = PACK.get_or_init(|| {
        let (c, folder) = (collection(), tempfile::tempdir().unwrap());
        let weights = folder.path().join("net.safetensors");
        fs::copy(c.path("net.safetensors"), &weights).unwrap();
        let out = folder.path().join("small.pack");
        let words = ["pack", "create", "--weights", weights.to_str().unwrap(), "--whitening"];
        let (whitening, model) = (c.arg("w.whitening"), c.arg("a.model"));
        let words = words.into_iter().chain([whitening.as_str(), "--model", &model, "--out"]);
        succeed("ocelli", words.chain([out.to_str().unwrap()]));
        folder
    });
    folder.path().join("small.pack").to_str().unwrap().to_owned()
}

fn counts(report: &Value) -> [u64; 5] {
    ["rows", "added", "changed", "gone", "unchanged"].map(|field| report[field].as_u64().unwrap())
}

fn keys(found: &Value) -> Vec<&str> {
    found["hits"].as_array().unwrap().iter().map(|hit| hit["key"].as_str().unwrap()).collect()
}

/// One photo is an index without any training; nothing to do is nothing done.
#[test]
fn an_index_of_one_photo() {
    let p = Place::new();
    p.copy("one", 3..4);
    let dry = p.index(&["one"], &["--dry-run"]);
    assert_eq!((counts(&dry), dry["built"].as_bool()), ([1, 1, 0, 0, 0], Some(false)));
    assert!(!p.path("x").exists(), "a dry run makes nothing");
    let made = p.index(&["one"], &[]);
    assert_eq!((counts(&made), made["generation"].as_u64()), ([1, 1, 0, 0, 0], Some(1)));
    assert_eq!((&made["built"], &made["encoded"]), (&true.into(), &1.into()));
    // The pack's files are in it: another machine needs nothing else.
    assert!(p.path("x/collection.pack").is_file() && p.path("x/net.safetensors").is_file());
    let again = p.index(&[], &[]);
    assert_eq!((counts(&again), again["built"].as_bool()), ([1, 0, 0, 0, 1], Some(false)));
    assert_eq!(again["generation"], 1);
    let text = succeed("ocelli", ["index", "--out", &p.arg("x")]);
    assert!(text.contains("nothing has changed") && text.contains("next: ocelli find"), "{text}");
    // Its copy is found by another photo of the same landmark; it does not find itself.
    p.copy("other", 4..5);
    assert_eq!(keys(&p.find(&p.arg("other/0004.jpg"), &[])), ["0003.jpg"]);
    assert_eq!(keys(&p.find("0003.jpg", &[])), [""; 0]);
}

/// Photos come, change, break and go. What stays keeps its id, and is not encoded again.
#[test]
fn photos_change() {
    let p = Place::new();
    p.copy("photos", 0..12);
    fs::write(p.path("photos/broken.jpg"), "no photo").unwrap();
    let made = p.index(&["photos"], &["--shards", "2"]);
    assert_eq!((counts(&made), &made["rejected"]), ([12, 13, 0, 0, 0], &1.into()));
    assert!(made["rejected_first"][0].as_str().unwrap().contains("broken.jpg"), "{made}");
    let rejected = fs::read_to_string(p.path("x/photos/rejected.jsonl")).unwrap();
    assert!(rejected.contains("not an image"), "{rejected}");
    let before = p.ids();

    fs::remove_file(p.path("photos/0002.jpg")).unwrap();
    fs::copy(p.path("photos/0009.jpg"), p.path("photos/0001.jpg")).unwrap();
    fs::write(p.path("photos/0005.jpg"), "broken now").unwrap();
    p.copy("photos", 20..23);
    let dry = p.index(&[], &["--dry-run"]);
    assert_eq!((counts(&dry), &dry["rejected"]), ([14, 3, 2, 1, 9], &1.into()));
    assert_eq!(p.ids(), before);
    let changed = p.index(&[], &[]);
    // Four of the five could be encoded; the broken one of before is not tried again.
    assert_eq!((counts(&changed), &changed["encoded"]), ([13, 3, 2, 1, 9], &5.into()));
    assert_eq!((&changed["rejected"], &changed["generation"]), (&2.into(), &2.into()));
    let after = p.ids();
    assert_eq!(after.len(), 13);
    let gone: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    assert_eq!(gone, ["0002.jpg", "0005.jpg"]);
    for (key, id) in &before {
        assert!(after.get(key).is_none_or(|now| now == id), "{key}");
    }
    // The changed photo is now a copy of another one.
    assert_eq!(keys(&p.find("0001.jpg", &["-k", "1"])), ["0009.jpg"]);

    // A broken photo is tried again once it has changed.
    p.copy("photos", 5..6);
    let mended = p.index(&[], &[]);
    assert_eq!((counts(&mended), &mended["rejected"]), ([14, 0, 1, 0, 13], &1.into()));
    assert_eq!(p.ids()["0005.jpg"], before["0005.jpg"]);
    // Only as many descriptors are kept as there are photos, but for parts in use.
    let batches = fs::read_dir(p.path("x/photos"))
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().join("plan.jsonl").exists()));
    assert_eq!(batches.count(), 3);
    succeed("ocelli", ["inspect", &p.arg("x"), "--verify"]);
}

/// Folders, lists and single photos; a folder that joins has its name before its keys.
#[test]
fn several_places() {
    let p = Place::new();
    p.copy("a", 0..3);
    p.copy("b/in", 3..5);
    p.copy("c", 5..7);
    p.index(&["a"], &[]);
    fs::write(p.path("c/list.jsonl"), "{\"path\": \"0005.jpg\", \"box\": [0, 0, 80, 80]}\n")
        .unwrap();
    let more = p.index(&["b", "c/list.jsonl", "c/0006.jpg"], &[]);
    assert_eq!(counts(&more), [7, 4, 0, 0, 3]);
    let expected = [
        "0000.jpg",
        "0001.jpg",
        "0002.jpg",
        "0006.jpg",
        "b/in/0003.jpg",
        "b/in/0004.jpg",
        "list/0005.jpg",
    ];
    assert_eq!(p.ids().into_keys().collect::<Vec<_>>(), expected);
    // A folder that is gone does not silently empty the index.
    fs::rename(p.path("b"), p.path("elsewhere")).unwrap();
    let error = fail("ocelli", 1, p.words(&[], &[]));
    assert!(error.contains("--only"), "{error}");
    let only = p.index(&["a"], &["--only"]);
    assert_eq!(counts(&only), [3, 0, 0, 4, 3]);
    // The index in a folder of photos is none of them.
    let inside = p.arg("a/index");
    let pack = pack();
    let words = ["index", &p.arg("a"), "--out", &inside, "--pack", &pack, "--format", "json"];
    assert_eq!(json("ocelli", words)["rejected"], 0);
    assert_eq!(counts(&json("ocelli", ["index", "--out", &inside, "--format", "json"]))[0], 3);
}

/// What cannot be done is said, and nothing is lost.
#[test]
fn refusals_say_what_to_do() {
    let p = Place::new();
    fs::create_dir(p.path("empty")).unwrap();
    let error = fail("ocelli", 1, p.words(&["empty"], &[]));
    assert!(error.contains("expected photos, found none"), "{error}");
    fs::create_dir(p.path("bad")).unwrap();
    fs::write(p.path("bad/a.jpg"), "no photo").unwrap();
    let error = fail("ocelli", 1, p.words(&["bad"], &["--only"]));
    assert!(error.contains("none that can be encoded") && error.contains("a.jpg"), "{error}");
    let error = fail("ocelli", 1, p.words(&["nowhere"], &[]));
    assert!(error.contains("nowhere"), "{error}");

    p.copy("photos", 0..3);
    p.index(&["photos"], &["--only"]);
    let error = fail("ocelli", 1, p.words(&[], &["--code-bytes", "5"]));
    assert!(error.contains("8"), "{error}");
    let folder = p.arg("photos");
    let into = ["index", folder.as_str(), "--out", folder.as_str(), "--pack"];
    let error = fail("ocelli", 1, into.into_iter().chain([pack().as_str()]));
    assert!(error.contains("expected a new directory"), "{error}");
    // All photos gone: the index stays as it was.
    for number in 0..3 {
        fs::remove_file(p.path(&format!("photos/{number:04}.jpg"))).unwrap();
    }
    fail("ocelli", 1, p.words(&[], &[]));
    assert_eq!(p.ids().len(), 3);
    // Another run is at work.
    let lock = fs::File::options().append(true).open(p.path("x/photos/lock")).unwrap();
    lock.lock().unwrap();
    let error = fail("ocelli", 1, p.words(&[], &[]));
    assert!(error.contains("another `ocelli index` is at work there"), "{error}");
    let error = fail("ocelli", 1, ["find", &folder, "a.jpg"]);
    assert!(error.contains("expected a directory that `ocelli index"), "{error}");
}

/// Numbers of the processes that `parent` has started and that still run.
fn children(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if stat(pid).is_some_and(|(_, of)| of == parent) {
            children.push(pid);
        }
    }
    children
}

/// State and parent of a process; none if it has ended.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?)).filter(|(state, _)| *state != 'Z')
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(5));
    }
}

/// A run that is killed ends its encoder too. The next run keeps what was complete, also if the
/// photos have changed meanwhile.
#[test]
fn a_killed_run_is_continued() {
    let p = Place::new();
    p.copy("photos", 0..150);
    let mut killed = Command::new(program("ocelli"))
        .args(p.words(&["photos"], &["--workers", "1"]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = p.path("x/photos/00000000/parts/00000000.part");
    wait_for("the first part", || part.exists() || killed.try_wait().unwrap().is_some());
    let encoders = children(killed.id());
    killed.kill().unwrap();
    killed.wait().unwrap();
    wait_for("the end of the encoder", || encoders.iter().all(|&pid| stat(pid).is_none()));
    assert!(!p.path("x/CURRENT").exists(), "it was killed in the middle");
    fs::remove_file(p.path("photos/0000.jpg")).unwrap();
    p.copy("photos", 150..160);
    let found = p.index(&[], &[]);
    let continued = found["continued"].as_u64().unwrap();
    assert!(continued >= 32, "{found}");
    assert_eq!(found["rows"], 159);
    assert_eq!(found["encoded"].as_u64().unwrap() + continued, 160, "{found}");
    assert_eq!(p.ids().len(), 159);
    // The state can be made again from the parts.
    let ids = p.ids();
    fs::remove_file(p.path("x/photos/state.jsonl")).unwrap();
    let again = p.index(&[], &[]);
    assert_eq!((&again["encoded"], counts(&again)[4]), (&0.into(), 159), "{again}");
    assert_eq!(p.ids(), ids);
}

/// Images, keys, boxes and pages, without a server.
#[test]
fn finding() {
    let p = Place::new();
    p.copy("photos", 0..20);
    p.index(&["photos"], &[]);
    let by_key = p.find("0007.jpg", &["-k", "5"]);
    assert_eq!(by_key["hits"].as_array().unwrap().len(), 5);
    assert!(!keys(&by_key).contains(&"0007.jpg"));
    assert_eq!(by_key["hits"][0]["path"], p.arg(&format!("photos/{}", keys(&by_key)[0])));
    // The photo itself is known by its file, and another copy of it is encoded.
    let file = p.find(&p.arg("photos/0007.jpg"), &["-k", "5"]);
    assert_eq!((&file["hits"], &file["encode_seconds"]), (&by_key["hits"], &0.0.into()));
    fs::copy(p.path("photos/0007.jpg"), p.path("copy.jpg")).unwrap();
    let copy = p.find(&p.arg("copy.jpg"), &["-k", "6"]);
    assert_eq!(keys(&copy)[0], "0007.jpg");
    assert_eq!(keys(&copy)[1..], keys(&by_key)[..]);
    assert!(copy["encode_seconds"].as_f64().unwrap() > 0.0);
    let whole = p.find(&p.arg("photos/0007.jpg"), &["-k", "1", "--box", "0,0,9999,9999"]);
    assert_eq!(keys(&whole), ["0007.jpg"]);

    let html = p.arg("found.html");
    let x = p.arg("x");
    let text = succeed("ocelli", ["find", &x, "0007.jpg", "-k", "3", "--html", &html]);
    assert!(text.contains(keys(&by_key)[0]) && text.contains("page: "), "{text}");
    let page = fs::read_to_string(&html).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 4);

    let error = fail("ocelli", 1, ["find", &x, "photos/007.jpg"]);
    assert!(error.contains("did you mean") && error.contains("0007.jpg"), "{error}");
    let error = fail("ocelli", 1, ["find", &x, "0007.jpg", "--box", "0,0,5,5"]);
    assert!(error.contains("a box needs an image file"), "{error}");
    fs::write(p.path("text.jpg"), "no photo").unwrap();
    let error = fail("ocelli", 1, ["find", &x, &p.arg("text.jpg")]);
    assert!(error.contains("not an image"), "{error}");
}

/// `ocelli up`, and what it says once it runs.
struct Up {
    child: Child,
    running: Value,
}

impl Up {
    fn start(p: &Place) -> Self {
        let mut child = Command::new(program("ocelli"))
            .args(["up", &p.arg("x"), "--format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let running = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Up { child, running }
    }

    /// Sends a request to the page. Returns the status line with the headers, and the body.
    fn ask(&self, method: &str, path: &str, host: &str, body: &[u8]) -> (String, Vec<u8>) {
        let page = self.running["page"].as_str().unwrap();
        let address = page.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\
             Content-Type: text/plain\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> (String, String) {
        let (head, body) = self.ask("GET", path, "localhost", b"");
        (head, String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The page shows photos, their like, and what an image or a key finds; strangers get nothing. The
/// end of the command is that of its servers, however it ends.
#[test]
fn up_serves_a_page_and_ends_everything() {
    let p = Place::new();
    p.copy("photos", 0..15);
    p.index(&["photos"], &[]);
    let ids = p.ids();
    let mut up = Up::start(&p);
    let (head, body) = up.get("/c/0");
    assert!(head.contains("200 OK") && body.contains("15 photos"), "{head} {body}");
    assert_eq!(body.matches("<img").count(), 15);
    let (_, like) = up.get(&format!("/c/0/like/{}", ids["0003.jpg"]));
    assert!(like.contains("1 0.0000") || like.contains("1 1.0000"), "{like}");
    let (head, jpeg) = up.ask("GET", &format!("/c/0/photo/{}", ids["0003.jpg"]), "127.0.0.1", b"");
    assert!(head.contains("image/jpeg") && jpeg.starts_with(&[0xff, 0xd8]), "{head}");
    let image = fs::read(p.path("photos/0003.jpg")).unwrap();
    let (head, found) = up.ask("POST", "/c/0/image", "localhost:80", &image);
    let found = String::from_utf8(found).unwrap();
    assert!(head.contains("200 OK") && found.contains("0003.jpg"), "{head} {found}");
    let (head, found) = up.ask("POST", "/c/0/image", "localhost", b"no photo");
    assert!(head.contains("400"), "{head} {}", String::from_utf8_lossy(&found));
    let (head, found) = up.ask("POST", "/c/0/key", "localhost", b"003.jpg");
    assert!(head.contains("404"), "{head}");
    assert!(String::from_utf8_lossy(&found).contains("did you mean"));
    assert!(up.ask("GET", "/c/0", "photos.example", b"").0.contains("403"));
    // Other programs ask the searcher.
    let searcher = up.running["searcher"].as_str().unwrap();
    let query = ["query", "--server", searcher, "--key", "0003.jpg", "--format", "json"];
    assert_eq!(json("ocelli", query)["hits"][0]["key"], "0003.jpg");
    // Photos that join while it runs are found.
    p.copy("photos", 30..31);
    p.index(&[], &[]);
    wait_for("the new photo", || up.get("/c/0").1.contains("16 photos"));

    let servers = children(up.child.id());
    assert_eq!(servers.len(), 2);
    let pid = up.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(up.child.wait().unwrap().code(), Some(0));
    assert!(servers.iter().all(|&pid| stat(pid).is_none()));

    let mut up = Up::start(&p);
    let servers = children(up.child.id());
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    wait_for("the end of the servers", || servers.iter().all(|&pid| stat(pid).is_none()));

    let mut up = Up::start(&p);
    let encoder = children(up.child.id())[0].to_string();
    assert!(Command::new("kill").args(["-9", &encoder]).status().unwrap().success());
    assert_eq!(up.child.wait().unwrap().code(), Some(1));
}

/// One encoder serves one pack.
#[test]
fn up_of_two_packs_is_refused() {
    let p = Place::new();
    p.copy("photos", 0..2);
    p.index(&["photos"], &[]);
    let settings = |name: &str| p.path(name).join("photos/collection.json");
    let copied = Command::new("cp").arg("-r").args([p.path("x"), p.path("y")]).status();
    assert!(copied.unwrap().success());
    let text = fs::read_to_string(settings("y")).unwrap();
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["pack_hash"] = "another".into();
    fs::write(settings("y"), other.to_string()).unwrap();
    let error = fail("ocelli", 1, ["up", &p.arg("x"), &p.arg("y")]);
    assert!(error.contains("one encoder serves indexes of one pack"), "{error}");
}

/// An index holds its pack and its weights.
#[test]
fn an_index_that_has_moved_still_answers() {
    let p = Place::new();
    p.copy("photos", 0..6);
    p.index(&["photos"], &[]);
    fs::create_dir(p.path("moved")).unwrap();
    fs::rename(p.path("x"), p.path("moved/x")).unwrap();
    let x = p.arg("moved/x");
    fs::copy(p.path("photos/0002.jpg"), p.path("copy.jpg")).unwrap();
    let found = json("ocelli", ["find", &x, &p.arg("copy.jpg"), "-k", "1", "--format", "json"]);
    assert_eq!(keys(&found), ["0002.jpg"]);
    assert!(Path::new(&x).join("collection.pack").is_file());
}

/// Photos that have moved are known again. A file that has changed or gone is told of, no file but
/// a page is written over, and a photo and its folder are not taken both.
#[test]
fn what_lies_elsewhere_now() {
    let p = Place::new();
    p.copy("first", 0..4);
    p.index(&["first"], &[]);
    fs::rename(p.path("first"), p.path("second")).unwrap();
    let moved = p.index(&["second"], &["--only"]);
    assert_eq!((counts(&moved), moved["built"].as_bool()), ([4, 0, 0, 0, 4], Some(false)));
    let found = p.find(&p.arg("second/0001.jpg"), &["-k", "4"]);
    assert_eq!((found["encode_seconds"].as_f64(), keys(&found).len()), (Some(0.0), 3));
    let path = found["hits"][0]["path"].as_str().unwrap();
    assert!(Path::new(path).is_file() && path.contains("second"), "{path}");

    assert!(p.find("0002.jpg", &[])["note"].is_null());
    fs::copy(p.path("second/0003.jpg"), p.path("second/0002.jpg")).unwrap();
    fs::write(p.path("second/0002.jpg"), b"another").unwrap();
    let note = p.find("0002.jpg", &[])["note"].to_string();
    assert!(note.contains("has changed since") && note.contains("ocelli index --out"), "{note}");
    fs::remove_file(p.path("second/0002.jpg")).unwrap();
    let note = p.find("0002.jpg", &[])["note"].to_string();
    assert!(note.contains("cannot be read any more"), "{note}");

    let photo = p.arg("second/0001.jpg");
    let before = fs::read(&photo).unwrap();
    let refused = fail("ocelli", 1, ["find", &p.arg("x"), "0000.jpg", "--html", &photo]);
    assert!(refused.contains("expected a page or no file"), "{refused}");
    assert_eq!(fs::read(&photo).unwrap(), before);
    for _ in 0..2 {
        p.find("0000.jpg", &["--html", &p.arg("page.html")]);
    }

    let words = ["index", &photo, "--out", &p.arg("y"), "--pack", &pack()];
    succeed("ocelli", words);
    let refused = fail("ocelli", 1, ["index", &p.arg("second"), "--out", &p.arg("y")]);
    assert!(refused.contains("name only one of them"), "{refused}");
}

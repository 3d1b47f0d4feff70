//! Whole preparations with an encoder that is none: vectors of the bytes of files.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use ocelli_index::{
    DescriptorSpec, Dtype, Part, PartKind, PartWriter, Rejected, RejectedWriter, Snapshot,
    Whitening,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::evaluate::dataset::{At, BoundingBox, Database, Form, NameRule, Named, Place, Query};
use crate::{WhitenCovariance, no_opq, silent};

/// Dimension of the vectors before a whitening.
const DIM: usize = 8;
/// Region vectors of a photo.
const REGIONS: usize = 6;

/// A folder with photos, weights and a place to work in.
struct Bench {
    folder: TempDir,
    calls: RefCell<Vec<Vec<String>>>,
    /// Calls from this one on fail after they have written their part.
    fails_at: RefCell<usize>,
}

impl Bench {
    /// Photos `set/00.jpg` to `set/05.jpg`, `other/00.jpg` to `other/19.jpg`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("set", 6), ("other", 20)] {
            fs::create_dir(folder.path().join(name)).unwrap();
            for i in 0..count {
                let path = folder.path().join(format!("{name}/{i:02}.jpg"));
                fs::write(path, format!("{name} {i:02}")).unwrap();
            }
        }
        fs::write(folder.path().join("net.safetensors"), "weights").unwrap();
        Bench { folder, calls: RefCell::default(), fails_at: RefCell::new(usize::MAX) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn work(&self, name: &str) -> String {
        // As the working folder is resolved.
        fs::canonicalize(self.path("work")).unwrap().join(name).display().to_string()
    }

    fn options(&self) -> PrepareOptions {
        let encoder_flags =
            vec!["--weights".into(), self.path("net.safetensors").into(), "--sizes=448".into()];
        PrepareOptions { work: self.path("work"), encoder_flags, ..PrepareOptions::default() }
    }

    /// Runs a preparation. Returns the calls of the encoder with the result.
    fn run(&self, set: &Dataset, options: &PrepareOptions) -> (Vec<Vec<String>>, Result<Prepared>) {
        self.calls.borrow_mut().clear();
        let encode = |args: &[OsString]| self.encode(args);
        let prepared = prepare(set, options, &encode, &no_opq, &silent);
        (self.calls.borrow().clone(), prepared)
    }

    fn error(&self, set: &Dataset, options: &PrepareOptions) -> String {
        let (calls, prepared) = self.run(set, options);
        assert!(calls.is_empty(), "{calls:?}");
        prepared.unwrap_err().to_string()
    }

    /// The encoder. Files that begin with `bad` are rejected.
    fn encode(&self, args: &[OsString]) -> std::result::Result<(), BoxError> {
        let args: Vec<String> = args.iter().map(|a| a.to_str().unwrap().to_owned()).collect();
        self.calls.borrow_mut().push(args.iter().map(|arg| complete(arg)).collect());
        let value =
            |flag: &str| args.iter().position(|a| a == flag).map(|at| PathBuf::from(&args[at + 1]));
        let whitening = value("--whitening").map(|path| Whitening::open(&path).unwrap());
        let is_regions = value("--output").is_some();
        let kind = if is_regions { PartKind::Regions } else { PartKind::Descriptors };
        let images: Vec<(String, std::result::Result<Vec<f32>, String>)> = match value("--regions")
        {
            Some(part) => {
                let part = Part::open(&part).unwrap();
                let image = |i| (part.key(i).unwrap(), Ok(part.read(part.rows_of(i)).unwrap()));
                (0..part.images()).map(image).collect()
            }
            None => lines(&value("--list").unwrap()).into_iter().map(encoded).collect(),
        };
        let (dim, name) = match &whitening {
            Some(whitening) => (whitening.dim_out(), "whitened"),
            None => (DIM, "plain"),
        };
        let spec = DescriptorSpec::foreign(name, dim as u32).unwrap();
        let out = value("--out").unwrap();
        let mut part = PartWriter::create(&out, kind, Dtype::F32, &spec).unwrap();
        let mut rejected = RejectedWriter::create(&RejectedWriter::path_for(&out)).unwrap();
        for (key, rows) in images {
            let rows = match rows {
                Ok(rows) => rows,
                Err(reason) => {
                    let key = Some(key.as_str());
                    let line = Rejected { key, file: None, row: None, reason: &reason };
                    rejected.push(&line).unwrap();
                    continue;
                }
            };
            let rows = if is_regions { &rows[..] } else { &rows[..DIM] };
            let rows: Vec<f32> = match &whitening {
                None => rows.to_vec(),
                Some(whitening) => {
                    rows.chunks(DIM).flat_map(|row| whitening.apply(row).unwrap()).collect()
                }
            };
            part.push(&key, None, &rows).unwrap();
        }
        rejected.finish().unwrap();
        part.finish().unwrap();
        match self.calls.borrow().len() > *self.fails_at.borrow() {
            true => Err("ocelli-encoder encode: ended with exit code 1".into()),
            false => Ok(()),
        }
    }

    /// Writes a file again, a minute later than before.
    fn touch(&self, name: &str) {
        let later = SystemTime::now() + Duration::from_secs(60);
        File::options().write(true).open(self.path(name)).unwrap().set_modified(later).unwrap();
    }
}

/// An argument with the name that a file has when it is complete, in place of that in the folder
/// of what is not.
fn complete(arg: &str) -> String {
    let Some((work, new)) = arg.split_once("/.new-") else { return arg.to_owned() };
    format!("{work}/{}", new.split_once('/').unwrap().1)
}

/// The list's lines.
fn lines(list: &Path) -> Vec<Value> {
    let text = fs::read_to_string(list).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Vectors that depend on the file's bytes.
fn encoded(line: Value) -> (String, std::result::Result<Vec<f32>, String>) {
    let bytes = fs::read(line["path"].as_str().unwrap()).unwrap();
    let key = line["key"].as_str().unwrap().to_owned();
    if bytes.starts_with(b"bad") {
        return (key, Err("not an image".to_owned()));
    }
    let seed = bytes.iter().fold(7_u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (key, Ok((0..REGIONS * DIM).map(|_| rng.random_range(-1.0..1.0)).collect()))
}

fn named(name: &str) -> Named {
    let place = Place { file: Arc::from(Path::new("gt/list.txt")), at: At::Line(3) };
    Named::new(name, place)
}

/// A data set of the photos below `set`; the first is a query as a whole, the second by a box.
fn set(bench: &Bench, boxed: Option<BoundingBox>) -> Dataset {
    let query = |name: &str, photo: &str, bounding_box| Query {
        name: name.to_owned(),
        photo: named(photo),
        bounding_box,
    };
    Dataset {
        name: "tiny".to_owned(),
        form: Form::Holidays,
        why: "it is made up".to_owned(),
        photos: vec![bench.path("set")],
        name_rule: NameRule::PathEnd,
        database: Database::Listed((0..6).map(|i| named(&format!("{i:02}"))).collect()),
        damaged: Vec::new(),
        queries: vec![query("whole", "00", None), query("boxed", "01", boxed)],
        setups: Vec::new(),
        rotations: BTreeMap::from([("01".to_owned(), 90), ("04".to_owned(), 270)]),
        mentioned: Vec::new(),
    }
}

const BOX: BoundingBox = [1.0, 2.0, 30.0, 40.5];

fn small_codes() -> TrainOptions {
    TrainOptions { nlist: 1, m: 2, ksub: 16, force: true, ..TrainOptions::default() }
}

/// Names and whether each was kept.
fn steps(prepared: &Prepared) -> Vec<(&str, bool)> {
    prepared.steps.iter().map(|step| (step.what.as_str(), step.kept)).collect()
}

#[test]
fn lists_say_keys_boxes_and_turns() {
    let bench = Bench::new();
    let (calls, prepared) = bench.run(&set(&bench, Some(BOX)), &bench.options());
    let prepared = prepared.unwrap();
    let call = |name: &str| {
        let list = bench.work(&format!("{name}.jsonl"));
        let weights = bench.arg("net.safetensors");
        let out = bench.work(&format!("{name}.part"));
        ["--list", &list, "--include", "*", "--weights", &weights, "--sizes=448", "--out", &out]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(calls, [call("photos"), call("queries")]);
    let path = |i: usize| bench.arg(&format!("set/{i:02}.jpg"));
    let photos = [
        json!({"path": path(0), "key": "00.jpg"}),
        json!({"path": path(1), "key": "01.jpg", "rotate": 90}),
        json!({"path": path(2), "key": "02.jpg"}),
        json!({"path": path(3), "key": "03.jpg"}),
        json!({"path": path(4), "key": "04.jpg", "rotate": 270}),
        json!({"path": path(5), "key": "05.jpg"}),
    ];
    let listed = lines(&bench.path("work/photos.jsonl"));
    assert_eq!(listed, photos);
    let queries =
        [json!({"path": path(1), "key": "boxed", "box": [1.0, 2.0, 30.0, 40.5], "rotate": 90})];
    assert_eq!(lines(&bench.path("work/queries.jsonl")), queries);
    assert_eq!(prepared.descriptors, [PathBuf::from(bench.work("photos.part"))]);
    assert_eq!(prepared.queries, Some(PathBuf::from(bench.work("queries.part"))));
    assert_eq!((prepared.whitening, prepared.index, prepared.learn.len()), (None, None, 0));
    assert_eq!(Part::open(&prepared.descriptors[0]).unwrap().images(), 6);
    drop(prepared.lock);

    // Without a box, the database has the descriptors of both queries.
    let (calls, prepared) = bench.run(&set(&bench, None), &bench.options());
    assert_eq!((calls.len(), prepared.unwrap().queries), (0, None));
}

#[test]
fn what_did_not_change_is_kept() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, Some(BOX)), bench.options());
    let photos = "descriptors of 6 photos (photos)";
    let queries = "descriptors of 1 photos (queries)";
    let (_, first) = bench.run(&data, &options);
    assert_eq!(steps(&first.unwrap()), [(photos, false), (queries, false)]);
    let (calls, again) = bench.run(&data, &options);
    assert_eq!(calls.len(), 0);
    assert_eq!(steps(&again.unwrap()), [(photos, true), (queries, true)]);

    bench.touch("set/03.jpg");
    let (_, touched) = bench.run(&data, &options);
    assert_eq!(steps(&touched.unwrap()), [(photos, false), (queries, true)]);

    let (_, boxed) = bench.run(&set(&bench, Some([0.0, 0.0, 9.0, 9.0])), &options);
    assert_eq!(steps(&boxed.unwrap()), [(photos, true), (queries, false)]);

    let mut flags = options.clone();
    flags.encoder_flags.push("--no-upscale".into());
    let (calls, _) = bench.run(&data, &flags);
    assert_eq!(calls.len(), 2);
    // The network itself, by the file that a flag names.
    bench.touch("net.safetensors");
    assert_eq!(bench.run(&data, &flags).0.len(), 2);
    assert_eq!(bench.run(&data, &flags).0.len(), 0);

    fs::remove_file(bench.path("work/queries.part")).unwrap();
    let (calls, _) = bench.run(&data, &flags);
    assert_eq!(calls.len(), 1);
}

/// A part that appeared just before the run was cut is made again, even under the flags of the run
/// before it.
#[test]
fn a_cut_run_is_made_again() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    bench.run(&data, &options).1.unwrap();
    let mut other = options.clone();
    other.encoder_flags.push("--no-exif".into());
    *bench.fails_at.borrow_mut() = 0;
    let error = bench.run(&data, &other).1.unwrap_err().to_string();
    assert!(error.contains("exit code 1"), "{error}");
    *bench.fails_at.borrow_mut() = usize::MAX;
    assert_eq!(bench.run(&data, &options).0.len(), 1);
}

#[test]
fn a_whitening_and_codes_are_learned_from_other_photos() {
    let bench = Bench::new();
    let data = set(&bench, Some(BOX));
    let options = PrepareOptions {
        learn_from: vec![bench.path("other")],
        train: Some(small_codes()),
        ..bench.options()
    };
    let (calls, prepared) = bench.run(&data, &options);
    let prepared = prepared.unwrap();
    let weights = bench.arg("net.safetensors");
    let [list, whitening, regions, whitened] =
        ["learn-1.jsonl", "learned.whitening", "learn-1.regions.part", "learn-1.whitened.part"]
            .map(|name| bench.work(name));
    let flags = ["--weights", &weights, "--sizes=448"];
    let mut expected = [
        [&["--list", &list, "--include", "*"][..], &flags, &["--output", "regions"]].concat(),
        vec!["--regions", &regions, "--output", "regions", "--whitening", &whitening],
    ];
    expected[0].extend(["--out", &regions]);
    expected[1].extend(["--out", &whitened]);
    assert_eq!(calls[..2], expected[..]);
    assert_eq!(calls.len(), 4);
    for (call, name) in calls[2..].iter().zip(["photos", "queries"]) {
        let (list, out) = (bench.work(&format!("{name}.jsonl")), format!("{name}.part"));
        let more = ["--whitening", &whitening, "--out", &bench.work(&out)];
        assert_eq!(*call, [&["--list", &list, "--include", "*"][..], &flags, &more].concat());
    }
    let keys: Vec<Value> =
        lines(Path::new(&list)).into_iter().map(|line| line["key"].clone()).collect();
    assert_eq!((keys.len(), &keys[0]), (20, &json!("other/00.jpg")));
    assert_eq!(prepared.whitening, Some(PathBuf::from(&whitening)));
    assert_eq!(prepared.learn, [PathBuf::from(&regions)]);
    let index = prepared.index.clone().unwrap();
    assert_eq!(Snapshot::open(&index, None).unwrap().rows(), 6);
    let all = [
        "photos to learn from against judged ones",
        "region vectors of 20 photos (learn-1)",
        "whitening",
        "whitened region vectors (learn-1)",
        "model",
        "descriptors of 6 photos (photos)",
        "descriptors of 1 photos (queries)",
        "index",
    ];
    assert_eq!(steps(&prepared), all.map(|what| (what, false)));
    let part = prepared.descriptors[0].clone();
    drop(prepared);

    let (_, again) = bench.run(&data, &options);
    assert_eq!(steps(&again.unwrap()), all.map(|what| (what, true)));
    // Other codes of the same descriptors.
    let longer = TrainOptions { m: 4, ..small_codes() };
    let (calls, other) =
        bench.run(&data, &PrepareOptions { train: Some(longer), ..options.clone() });
    let changed = ["model", "index"];
    assert_eq!(calls.len(), 0);
    assert_eq!(steps(&other.unwrap()), all.map(|what| (what, !changed.contains(&what))));
    // Another whitening changes everything but the region vectors.
    let whiten = WhitenOptions { dim: Some(4), covariance: WhitenCovariance::All, power: None };
    let fewer = PrepareOptions { whiten: Whiten::With(whiten), ..options.clone() };
    let (_, other) = bench.run(&data, &fewer);
    assert_eq!(steps(&other.unwrap()), all.map(|what| (what, all[..2].contains(&what))));
    assert_eq!(Part::open(&part).unwrap().dim(), 4);
    assert_eq!(Snapshot::open(&index, None).unwrap().rows(), 6);
}

/// Distractors that are learned from pass the network once.
#[test]
fn distractors_may_be_learned_from() {
    let bench = Bench::new();
    let options = PrepareOptions {
        distractors: vec![bench.path("other")],
        learn_from: vec![bench.path("set/../other")],
        ..bench.options()
    };
    let (calls, prepared) = bench.run(&set(&bench, None), &options);
    let prepared = prepared.unwrap();
    let inputs: Vec<[&str; 2]> = calls.iter().map(|c| [c[0].as_str(), c[1].as_str()]).collect();
    let work = |name: &str| bench.work(name);
    assert_eq!(
        inputs,
        [
            ["--list", &work("more-1.jsonl")],
            ["--list", &work("photos.jsonl")],
            ["--regions", &work("more-1.regions.part")]
        ]
    );
    let parts: Vec<Part> = prepared.descriptors.iter().map(|p| Part::open(p).unwrap()).collect();
    assert_eq!((parts[0].images(), parts[1].images()), (6, 20));
    assert_eq!(parts[1].key(3).unwrap(), "other/03.jpg");
}

#[test]
fn judged_photos_are_not_learned_from() {
    let bench = Bench::new();
    let data = set(&bench, Some(BOX));
    let options = PrepareOptions { learn_from: vec![bench.path("other")], ..bench.options() };
    let forced = |o: &PrepareOptions| PrepareOptions { force: true, ..o.clone() };

    // Equal in size to others, equal in content to one.
    fs::copy(bench.path("set/02.jpg"), bench.path("other/zz-copy.jpg")).unwrap();
    let error = bench.error(&data, &options);
    let (copy, judged) = (bench.arg("other/zz-copy.jpg"), bench.arg("set/02.jpg"));
    let expected = format!("{copy}: a photo to learn from that is judged too: the same content as");
    assert!(error.contains(&expected) && error.contains(&judged), "{error}");
    assert!(error.contains("1 of 21 photos") && error.contains("--force"), "{error}");
    bench.run(&data, &forced(&options)).1.unwrap();

    // Files without bytes are equal, and no photos.
    for name in ["set/05.jpg", "other/zz-copy.jpg"] {
        fs::write(bench.path(name), "").unwrap();
    }
    bench.run(&data, &options).1.unwrap();
    fs::write(bench.path("set/05.jpg"), "set 05").unwrap();

    // The photo of a query that the database lacks, by a link.
    fs::remove_file(bench.path("other/zz-copy.jpg")).unwrap();
    let mut outside = data.clone();
    outside.database = Database::Listed((2..6).map(|i| named(&format!("{i:02}"))).collect());
    symlink(bench.path("set/00.jpg"), bench.path("other/link.jpg")).unwrap();
    let error = bench.error(&outside, &options);
    assert!(error.contains("link.jpg") && error.contains("the same file as"), "{error}");
    assert!(error.contains(&bench.arg("set/00.jpg")), "{error}");
    fs::remove_file(bench.path("other/link.jpg")).unwrap();
    bench.run(&outside, &options).1.unwrap();

    // No other photos at all: the judged ones, if forced.
    let codes = PrepareOptions { train: Some(small_codes()), ..bench.options() };
    let error = bench.error(&data, &codes);
    assert!(error.contains("--learn-from") && error.contains("--force"), "{error}");
    let (calls, prepared) = bench.run(&data, &forced(&codes));
    assert!(prepared.unwrap().index.is_some());
    assert_eq!(calls[0][1], bench.work("photos.jsonl"));
    let network: Vec<&str> =
        calls.iter().filter(|c| c[0] == "--list").map(|c| c[1].as_str()).collect();
    assert_eq!(network, [bench.work("photos.jsonl"), bench.work("queries.jsonl")]);
}

#[test]
fn rejected_photos_are_named() {
    let bench = Bench::new();
    for name in ["set/03.jpg", "other/07.jpg"] {
        fs::write(bench.path(name), format!("bad {name}")).unwrap();
    }
    let options = PrepareOptions {
        distractors: vec![bench.path("other")],
        learn_from: vec![bench.path("other")],
        ..bench.options()
    };
    let expected = [("photos", "03.jpg", "set/03.jpg"), ("more-1", "other/07.jpg", "other/07.jpg")];
    // From the encoder, and from what was kept.
    for _ in 0..2 {
        let prepared = bench.run(&set(&bench, None), &options).1.unwrap();
        let found: HashMap<&str, &RejectedPhoto> =
            prepared.rejected.iter().map(|photo| (photo.list.as_str(), photo)).collect();
        assert_eq!(prepared.rejected.len(), 2, "{found:?}");
        for (list, key, path) in expected {
            let photo = found[list];
            assert_eq!(photo.key.as_deref(), Some(key));
            let real = |path: &Path| fs::canonicalize(path).unwrap();
            assert_eq!(real(photo.path.as_ref().unwrap()), real(&bench.path(path)));
            assert_eq!(photo.reason, "not an image");
        }
    }
}

#[test]
fn list_files_are_taken_as_the_encoder_takes_them() {
    let bench = Bench::new();
    let list = bench.path("more.jsonl");
    let line =
        r#"{"path": "other/02.jpg", "key": "two", "id": 7, "box": [0, 0, 5, 5], "rotate": 180}"#;
    fs::write(&list, format!("./other/01.jpg\n\n{line}\n")).unwrap();
    let options = PrepareOptions { distractors: vec![list.clone()], ..bench.options() };
    let data = set(&bench, None);
    bench.run(&data, &options).1.unwrap();
    let listed = lines(&bench.path("work/more-1.jsonl"));
    assert_eq!(listed[0]["key"], "other/01.jpg");
    assert_eq!(listed[1]["box"], json!([0.0, 0.0, 5.0, 5.0]));
    assert_eq!((&listed[1]["key"], &listed[1]["rotate"]), (&json!("two"), &json!(180)));
    assert_eq!(listed[1].get("id"), None);
    for (text, expected) in [
        ("{\"path\": 3}", "line 1: invalid type"),
        ("ok.jpg\n{\"way\": \"a\"}", "line 2: unknown field `way`"),
        ("\n", "expected photos, found none"),
        // The database has a photo of this key.
        ("{\"path\": \"other/01.jpg\", \"key\": \"03.jpg\"}", "key \"03.jpg\" is twice"),
    ] {
        fs::write(&list, text).unwrap();
        let error = bench.error(&data, &options);
        assert!(error.contains(expected), "{error}");
    }
    fs::write(&list, b"\xff\xfe").unwrap();
    let error = bench.error(&data, &options);
    assert!(error.contains("more.jsonl") && error.contains("a list of them"), "{error}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let bench = Bench::new();
    let data = set(&bench, None);
    let options = bench.options();
    let with_flag = |flag: &str| {
        let mut options = options.clone();
        options.encoder_flags.push(flag.into());
        options
    };
    let learn_from = vec![bench.path("other")];
    let whiten = Whiten::With(WhitenOptions::default());
    for (options, expected) in [
        (with_flag("--out=x"), "--out=x: expected flags that say which network"),
        (with_flag("--part-images"), "--part-images: expected flags"),
        (PrepareOptions { whiten, ..with_flag("--whitening=w") }, "name a whitening"),
        (PrepareOptions { whiten, ..options.clone() }, "found none (--learn-from"),
        (PrepareOptions { learn_from, whiten: Whiten::No, ..options.clone() }, "nothing to learn"),
        (PrepareOptions { dba: 5, ..options.clone() }, "expected code bytes"),
        (PrepareOptions { learn_from: vec![bench.path("none")], ..options.clone() }, "none"),
        (PrepareOptions { work: bench.path("set"), ..options.clone() }, "found one with 0"),
    ] {
        let error = bench.error(&data, &options);
        assert!(error.contains(expected), "{error}");
    }
    let mut unknown = data.clone();
    unknown.queries[1].photo = named("99");
    let error = bench.error(&unknown, &options);
    assert!(error.contains("gt/list.txt:3") && error.contains("\"99\""), "{error}");
}

/// With a part of the photos, what is missing is named: 02 and 03 of the database, and the photo of
/// the query with a box, which is no photo of the database.
#[test]
fn missing_photos_are_named_and_left_out() {
    let bench = Bench::new();
    let mut data = set(&bench, Some(BOX));
    data.queries[1].photo = named("99");
    for photo in ["set/02.jpg", "set/03.jpg"] {
        fs::remove_file(bench.path(photo)).unwrap();
    }
    let options = bench.options();
    let error = bench.error(&data, &options);
    assert!(error.contains("2 of 6 photos are missing: \"02\" (gt/list.txt:3)"), "{error}");
    assert!(error.contains("--missing count"), "{error}");
    let options = PrepareOptions { missing: Missing::Count, ..options };
    let prepared = bench.run(&data, &options).1.unwrap();
    assert_eq!(
        (prepared.missing, prepared.missing_queries),
        (vec!["02".to_owned(), "03".to_owned()], vec!["boxed".to_owned()],)
    );
    assert_eq!((prepared.queries, prepared.rejected), (None, Vec::new()));
    let part = Part::open(&prepared.descriptors[0]).unwrap();
    assert_eq!(part.keys().unwrap(), ["00.jpg", "01.jpg", "04.jpg", "05.jpg"]);
}

/// Databases that are folders, less what is published as damaged.
#[test]
fn a_folder_is_a_database() {
    let bench = Bench::new();
    let mut data = set(&bench, None);
    data.photos = vec![bench.folder.path().to_owned()];
    data.queries.truncate(1);
    data.queries[0].photo = named("set/00.jpg");
    data.rotations.clear();
    data.database = Database::Below("set/".to_owned());
    data.damaged = vec!["set/02".to_owned()];
    bench.run(&data, &bench.options()).1.unwrap();
    let keys: Vec<Value> =
        lines(&bench.path("work/photos.jsonl")).into_iter().map(|l| l["key"].clone()).collect();
    assert_eq!(keys, ["set/00.jpg", "set/01.jpg", "set/03.jpg", "set/04.jpg", "set/05.jpg"]);
}

/// What a run prepared is its own until it has read it, and while it still encodes.
#[test]
fn a_second_run_is_refused() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    let work = fs::canonicalize(bench.folder.path()).unwrap().join("work");
    let expected =
        format!("{}: expected a folder that no other run works in, found one", work.display());
    let refused = || {
        let unused = |_: &[OsString]| -> std::result::Result<(), BoxError> { unreachable!() };
        let error = prepare(&data, &options, &unused, &no_opq, &silent).unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{error}");
    };
    let encode = |args: &[OsString]| {
        refused();
        bench.encode(args)
    };
    let prepared = prepare(&data, &options, &encode, &no_opq, &silent).unwrap();
    refused();
    drop(prepared);
    bench.run(&data, &options).1.unwrap();
}

/// A part of another run under a stamp, and one that was cut, are made again.
#[test]
fn a_stamp_holds_for_one_content() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    let part = bench.path("work/photos.part");
    bench.run(&data, &options).1.unwrap();
    let other = fs::read(&part).unwrap();
    fs::write(bench.path("set/03.jpg"), "a longer photo").unwrap();
    bench.run(&data, &options).1.unwrap();
    let own = fs::read(&part).unwrap();
    assert_eq!((own.len(), own == other), (other.len(), false));
    for swapped in [&other[..], &own[..own.len() / 2], b""] {
        fs::write(&part, swapped).unwrap();
        assert_eq!(bench.run(&data, &options).0.len(), 1);
        assert!(fs::read(&part).unwrap() == own);
    }
    // So is a list of other rejected photos beside it.
    fs::write(bench.path("work/photos.part.rejected.jsonl"), "").unwrap();
    assert_eq!(bench.run(&data, &options).0.len(), 0, "it was empty before");
    fs::remove_file(bench.path("work/photos.part.rejected.jsonl")).unwrap();
    fs::write(bench.path("work/photos.part.rejected.jsonl"), "{}").unwrap();
    assert_eq!(bench.run(&data, &options).0.len(), 1);
}

/// An encoder whose run was killed goes on to write. The next run removes its folder, so that it
/// replaces nothing.
#[test]
fn an_encoder_that_outlives_its_run_replaces_nothing() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    bench.run(&data, &options).1.unwrap();
    let part = bench.path("work/photos.part");
    let made = fs::read(&part).unwrap();
    let orphan = bench.path("work/.new-killed");
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("photos.part"), "incomplete").unwrap();

    bench.touch("set/03.jpg");
    let encode = |args: &[OsString]| {
        assert!(!orphan.exists());
        fs::write(orphan.join("photos.part"), "late").unwrap_err();
        bench.encode(args)?;
        // The encoder's end is not yet that of the step: the old part has its name.
        let out = Path::new(args.last().unwrap());
        assert_ne!(out.parent(), fs::canonicalize(&part).unwrap().parent());
        fs::write(&part, "old").unwrap();
        assert!(out.exists());
        Ok(())
    };
    prepare(&data, &options, &encode, &no_opq, &silent).unwrap();
    assert!(fs::read(&part).unwrap() == made);
    let mut names: Vec<String> = fs::read_dir(bench.path("work"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        ".ocelli-work",
        "photos.jsonl",
        "photos.part",
        "photos.part.rejected.jsonl",
        "photos.part.stamp",
    ];
    assert_eq!(names, expected);
}

#[test]
fn distractors_are_not_judged() {
    let bench = Bench::new();
    let mut data = set(&bench, Some(BOX));
    // The photo of the query with a box is in the database no more.
    data.database = Database::Listed([0, 2, 3, 4, 5].map(|i| named(&format!("{i:02}"))).into());
    data.rotations.clear();
    let distractors = vec![bench.path("other")];
    let options = PrepareOptions { distractors, force: true, ..bench.options() };
    fs::copy(bench.path("set/01.jpg"), bench.path("other/zz.jpg")).unwrap();
    symlink(bench.path("set/02.jpg"), bench.path("other/a-link.jpg")).unwrap();
    for (met, judged, how, numbers) in [
        ("other/a-link.jpg", "set/02.jpg", "the same file", "2 of 22 distractors"),
        ("other/zz.jpg", "set/01.jpg", "the same content", "1 of 21 distractors"),
    ] {
        let error = bench.error(&data, &options);
        let [path, of] = [met, judged].map(|name| bench.arg(name));
        let expected = format!("{path}: a distractor that is a photo of the data set: {how} as");
        assert!(error.contains(&expected) && error.contains(&of), "{error}");
        assert!(error.contains(numbers) && !error.contains("--force"), "{error}");
        fs::remove_file(bench.path(met)).unwrap();
    }
    bench.run(&data, &options).1.unwrap();

    // A listed file that is not there is the encoder's to reject.
    let list = bench.path("more.txt");
    fs::write(&list, "other/01.jpg\nother/none.jpg\n").unwrap();
    let unused = |_: &[OsString]| Err("the encoder was asked".into());
    let options = PrepareOptions { distractors: vec![list], ..bench.options() };
    let other = PrepareOptions { work: bench.path("other-work"), ..options };
    let error = prepare(&data, &other, &unused, &no_opq, &silent).unwrap_err().to_string();
    assert_eq!(error, "the encoder was asked");
}

/// Runs that start at once in an empty folder: each gets it, or is told that it is taken.
#[test]
fn an_empty_folder_is_taken_by_one_run() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = dir.path().join(round.to_string());
        let holders = AtomicUsize::new(0);
        let open = || match folder::Folder::open(&path) {
            Ok(_folder) => {
                let alone = holders.fetch_add(1, Ordering::SeqCst) == 0;
                thread::yield_now();
                holders.fetch_sub(1, Ordering::SeqCst);
                alone
            }
            Err(e) => e.to_string().contains("another run has locked"),
        };
        thread::scope(|scope| {
            let others = [(); 3].map(|()| scope.spawn(open));
            assert!(open() && others.into_iter().all(|other| other.join().unwrap()));
        });
    }
    // What a run that was killed at its start may have left.
    let path = dir.path().join("killed");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("..ocelli-work.ocelli-00000000-0000000000000000.tmp"), "").unwrap();
    folder::Folder::open(&path).unwrap();
    let mark = fs::read_to_string(path.join(".ocelli-work")).unwrap();
    assert!(mark.ends_with("It may be removed.\n"), "{mark}");
}

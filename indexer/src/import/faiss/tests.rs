//! Golden files that faiss-cpu 1.12.0, 1.13.2, 1.14.3 and 1.15.1 wrote
//! (`golden/faiss/make_golden.py`), whole and damaged.

use std::fs;
use std::path::PathBuf;

use ocelli_index::{SearchParams, Snapshot};
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use super::*;
use crate::silent;

#[derive(Deserialize)]
struct Golden {
    metric: String,
    rows: u64,
    nlist: usize,
    queries: Vec<Vec<f32>>,
    searches: Vec<Search>,
}

#[derive(Deserialize)]
struct Search {
    nprobe: usize,
    /// −1 where the probed lists hold fewer than k.
    ids: Vec<Vec<i64>>,
    scores: Vec<Vec<f32>>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/faiss").join(name)
}

/// Names of the golden files in a folder, without their endings.
fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(golden(folder))
        .unwrap()
        .filter_map(|entry| {
            Some(entry.unwrap().file_name().to_str()?.strip_suffix(".faiss")?.into())
        })
        .collect();
    names.sort();
    names
}

fn options(shards: usize) -> ImportOptions {
    ImportOptions { name: "golden".into(), shards }
}

/// Same ids in the same order wherever scores differ by more than 1e-5 relative, and the same
/// scores.
fn assert_same(
    name: &str,
    snapshot: &Snapshot,
    query: &[f32],
    nprobe: usize,
    ids: &[i64],
    scores: &[f32],
) {
    const SLACK: f32 = 1e-5;
    // More than FAISS was asked for: ties across the end are then seen, and short codes have many.
    let params = SearchParams {
        k: 1000,
        nprobe,
        refine_candidates: 0,
        allow_partial: false,
        ..SearchParams::default()
    };
    let hits = snapshot.search(query, &params).unwrap().hits;
    let found = ids.iter().filter(|&&id| id >= 0).count();
    assert!(hits.len() >= found && (found == ids.len() || hits.len() == found), "{name}: {nprobe}");
    let scale = scores[..found].iter().fold(0f32, |a, s| a.max(s.abs()));
    let close = |a: f32, b: f32| (a - b).abs() <= SLACK * scale;
    for (rank, ((&id, &score), hit)) in ids.iter().zip(scores).zip(&hits).take(found).enumerate() {
        assert!(close(score, hit.score), "{name} nprobe {nprobe} rank {rank}: {score} {hit:?}");
        let tied = |h: &&ocelli_index::Hit| close(h.score, score);
        assert!(
            hit.id == id as u64 || hits.iter().filter(tied).any(|h| h.id == id as u64),
            "{name} nprobe {nprobe} rank {rank}: FAISS has id {id}, score {score}; found {hit:?}"
        );
    }
}

#[test]
fn an_imported_index_answers_as_faiss_does() {
    let names = names(".");
    assert_eq!(names.len(), 25, "{names:?}");
    for name in names {
        let text = fs::read_to_string(golden(&format!("{name}.json"))).unwrap();
        let want: Golden = serde_json::from_str(&text).unwrap();
        let tmp = tempfile::tempdir().unwrap();
        let path = golden(&format!("{name}.faiss"));
        let report = import_faiss(&path, tmp.path(), &options(3), &silent)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((report.rows, report.nlist), (want.rows, want.nlist), "{name}");
        assert_eq!(report.metric.to_string(), want.metric, "{name}");
        let snapshot = Snapshot::open(tmp.path(), None).unwrap();
        snapshot.verify().unwrap();
        for search in &want.searches {
            let expected = search.ids.iter().zip(&search.scores);
            for (query, (ids, scores)) in want.queries.iter().zip(expected) {
                assert_same(&name, &snapshot, query, search.nprobe, ids, scores);
            }
        }
    }
}

/// The files cover what they claim to cover.
#[test]
fn golden_files_differ_in_what_matters() {
    let read = |name: &str| {
        let tmp = tempfile::tempdir().unwrap();
        import_faiss(&golden(&format!("{name}.faiss")), tmp.path(), &options(1), &silent).unwrap()
    };
    let flags = |r: &ImportReport| (r.rotated, r.centred, r.normalized);
    assert_eq!(flags(&read("l2")), (false, false, false));
    assert_eq!(flags(&read("ip-opq-reduce")), (true, false, false));
    assert_eq!(flags(&read("l2-pca-opq")), (true, true, false));
    assert_eq!(flags(&read("ip-pca-norm")), (true, true, true));
    let rotation = read("l2-rotation");
    assert_eq!((rotation.dim, rotation.d), (12, 16));
    let odd = read("l2-4bit-odd");
    assert_eq!((odd.m, odd.ksub, odd.ids), (5, 16, (0, 399)));
    assert!(read("l2-sparse").ids.1 > u64::from(u32::MAX));
    let full = fs::read(golden("l2.faiss")).unwrap();
    let sparse = fs::read(golden("l2-sparse.faiss")).unwrap();
    let fast = read("ip-fastscan-odd");
    assert_eq!((fast.m, fast.ksub, fast.rows), (5, 16, 400));
    for (name, class) in [
        ("ip-fastscan-odd", b"IwPf"),
        ("l2-fastscan", b"IwPf"),
        ("l2-hnsw-coarse", b"IHNf"),
        ("l2-idmap", b"IxMp"),
        ("ip-idmap2-opq", b"IxM2"),
        ("l2-opq-idmap", b"IxMp"),
    ] {
        find(&fs::read(golden(&format!("{name}.faiss"))).unwrap(), class);
    }
    let bytes = |name: &str| fs::read(golden(&format!("{name}.faiss"))).unwrap();
    let (outside, inside) = (bytes("ip-idmap2-opq"), bytes("l2-opq-idmap"));
    assert!(find(&outside, b"IxM2") < find(&outside, b"IxPT"));
    assert!(find(&inside, b"IxPT") < find(&inside, b"IxMp"));
    assert_eq!(read("l2-idmap").ids, (42, (1 << 63) - 1));
    assert!(full.windows(8).any(|w| &w[4..] == b"full"));
    assert!(sparse.windows(4).any(|w| w == b"sprs"));
}

#[test]
fn what_cannot_be_answered_alike_is_refused_with_the_reason() {
    let reasons = [
        ("ip-pca", "inner product"),
        ("l2-6bit", "6 bits"),
        ("l2-empty", "no vectors"),
        ("l2-fastscan", "by_residual"),
        ("l2-hnsw-codes", "an HNSW graph over codes"),
        ("l2-ivfflat", "without product quantization"),
        ("l2-no-residual", "by_residual"),
        ("l2-norm-pca", "normalizes last"),
        ("l2-padded", "padding"),
        ("l2-pca-whitening", "whitening"),
        ("l2-pq", "without lists"),
    ];
    assert_eq!(names("refused"), reasons.map(|(name, _)| name));
    for (name, reason) in reasons {
        let tmp = tempfile::tempdir().unwrap();
        let path = golden(&format!("refused/{name}.faiss"));
        let out = tmp.path().join("index");
        let error = import_faiss(&path, &out, &options(1), &silent).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{name}: {error}");
        assert!(!out.exists(), "{name}: a refused file leaves an index directory");
    }
}

fn parse_bytes(bytes: &[u8]) -> cursor::Result<IvfPq> {
    IvfPq::parse(bytes, bytes.len() as u64, &|_| {})
}

/// As far as an import goes without writing files.
fn parse_fully(bytes: &[u8]) -> std::result::Result<(), String> {
    let index = parse_bytes(bytes)?;
    Order::of(&index.lists)?;
    model_of(&index, Path::new("x"), &options(1)).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    for name in [
        "l2-sparse",
        "l2-pca-opq",
        "ip-pca-norm",
        "l2-hnsw-coarse",
        "l2-fastscan",
        "ip-fastscan-odd",
    ] {
        let bytes = fs::read(golden(&format!("{name}.faiss"))).unwrap();
        parse_fully(&bytes).unwrap();
        for len in 0..bytes.len() {
            let error = parse_bytes(&bytes[..len]).unwrap_err();
            // The length was believed, the bytes end earlier: a file that shrinks while it is read.
            assert!(IvfPq::parse(&bytes[..len], bytes.len() as u64, &|_| {}).is_err());
            assert!(error.contains("offset"), "{name} cut to {len}: {error}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(parse_bytes(&longer).unwrap_err().contains("end expected"));
    }
}

/// Offset of a class's four characters.
fn find(bytes: &[u8], class: &[u8]) -> usize {
    bytes.windows(class.len()).position(|w| w == class).unwrap()
}

#[test]
fn wrong_classes_sizes_and_ids_are_errors() {
    let bytes = fs::read(golden("l2.faiss")).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>), why: &str| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let error = parse_fully(&bytes).unwrap_err();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    };
    let (coarse, lists) = (find(&bytes, b"IxF2"), find(&bytes, b"ilar"));
    for class in [0, coarse, lists, lists + 20] {
        refused(&|b| b[class + 1] ^= 0x20, "expected");
    }
    // Behind the class: dimension, rows, 2 × 8 unused, trained, metric, nlist.
    refused(&|b| b[4] = 0, "no size");
    refused(&|b| b[7] = 0x80, "no size");
    refused(&|b| b[8] ^= 1, "rows");
    refused(&|b| b[32] = 0, "not trained");
    refused(&|b| b[32] = 7, "0 or 1");
    refused(&|b| b[33] = 0, "by ip expected");
    refused(&|b| b[33] = 4, "metric");
    refused(&|b| b[37] ^= 1, "centroids");
    // Count of the coarse centroids' numbers.
    refused(&|b| b[coarse + 37 + 7] = 1, "numbers expected");
    // nlist, code size, kind, number of sizes, size of list 0.
    refused(&|b| b[lists + 4] ^= 1, "inverted lists");
    refused(&|b| b[lists + 12] ^= 1, "inverted lists");
    refused(&|b| b[lists + 24 + 6] = 1, "sizes of the lists");
    refused(&|b| b[lists + 32 + 7] = 0xff, "list 0");
    refused(&|b| b[lists + 32] ^= 1, "list");
    // The last id.
    refused(&|b| *b.last_mut().unwrap() = 0x80, "expected 0 to 2^63 - 1");
    refused(
        &|b| {
            (1..=8).for_each(|i| {
                let n = b.len();
                b[n - i] = b[n - i - 8];
            })
        },
        "twice",
    );
    refused(
        &|b| {
            let end = b.len() - 8;
            b[end..].copy_from_slice(&(-5i64).to_le_bytes());
        },
        "list 7, row",
    );
    // The first centroid's first number.
    refused(
        &|b| b[coarse + 45..coarse + 49].copy_from_slice(&f32::NAN.to_le_bytes()),
        "not finite",
    );
}

/// Ids of a map are at the file's end, after their number.
#[test]
fn wrong_ids_of_a_map_are_named() {
    let bytes = fs::read(golden("l2-idmap.faiss")).unwrap();
    let rows = 400;
    let ids = bytes.len() - 8 * rows;
    let refused = |at: usize, value: i64, why: &str| {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let error = parse_fully(&bytes).unwrap_err();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    };
    refused(ids + 8 * 5, -1, "id map, row 5: id -1, expected 0 to 2^63 - 1");
    refused(ids + 8 * 5, i64::MIN, "id map, row 5: id -9223372036854775808");
    refused(ids + 8 * 5, i64::MAX, "id 9223372036854775807 is there twice, first in list");
    refused(ids - 8, rows as i64 - 1, "an id map of 400 rows expected, found 399");
    // A vector's number that the map does not have: the last id of the last list is before the
    // map.
    refused(ids - 16, 400, "row 400 of an id map of 400 rows");
    // Maps in maps in maps: the header of a map and the map, round and round.
    let mut nested = bytes.clone();
    for _ in 0..10 {
        nested = [&bytes[..37], &nested, &bytes[ids - 8..]].concat();
    }
    assert!(parse_fully(&nested).unwrap_err().contains("more than 8 indexes within each other"));
    // Two: numbers go through both, so a map of places within a map works.
    let places: Vec<u8> = (0..rows as i64).rev().flat_map(i64::to_le_bytes).collect();
    let mut inner = bytes.clone();
    inner[ids..].copy_from_slice(&places);
    let twice = [&bytes[..37], &inner, &bytes[ids - 8..]].concat();
    let id = |bytes: &[u8]| parse_bytes(bytes).unwrap().lists[0].ids[0];
    let at =
        |place: usize| i64::from_le_bytes(*bytes[ids + 8 * place..].first_chunk::<8>().unwrap());
    let number = id(&inner) as usize;
    assert_eq!(id(&twice), at(number));
}

/// Random damage, most of it to sizes and classes: an answer or an error, never a panic, and no
/// memory that the file does not justify (a wrong size would otherwise end this test).
#[test]
fn random_damage_never_panics() {
    let files: Vec<Vec<u8>> = names(".")
        .iter()
        .chain(&names("refused").iter().map(|name| format!("refused/{name}")).collect::<Vec<_>>())
        .map(|name| fs::read(golden(&format!("{name}.faiss"))).unwrap())
        .filter(|bytes| bytes.len() < 10_000)
        .collect();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut refused = 0;
    for case in 0..2_000 {
        let mut bytes = files[rng.random_range(0..files.len())].clone();
        for _ in 0..rng.random_range(1..4) {
            // Half of the damage goes where the structure is, near the beginning and the classes.
            let near = match rng.random_range(0..4) {
                0 => rng.random_range(0..120),
                1 => {
                    bytes.windows(4).position(|w| w == b"ilar").unwrap_or(0)
                        + rng.random_range(0..64)
                }
                _ => rng.random_range(0..bytes.len()),
            };
            let at = near.min(bytes.len() - 1);
            match rng.random_range(0..5) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes[at] = rng.random_range(0..=255),
                2 => bytes[at..].iter_mut().take(8).for_each(|b| *b = 0xff),
                3 => {
                    bytes.drain(at..(at + rng.random_range(1..20)).min(bytes.len() - 1).max(at));
                }
                _ => {
                    let byte = bytes[at];
                    bytes.splice(at..at, std::iter::repeat_n(byte, rng.random_range(1..20)));
                }
            }
        }
        let outcome = std::panic::catch_unwind(|| parse_fully(&bytes));
        match outcome {
            Ok(result) => refused += usize::from(result.is_err()),
            Err(_) => panic!("case {case} panicked"),
        }
    }
    assert!(refused > 1_000, "only {refused} of 2000 damaged files were refused");
}

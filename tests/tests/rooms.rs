//! The dependency table of docs/architecture.md, held against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What links neither libtorch nor FAISS, and serves nobody.
const NO_NETWORK: &[&str] = &["tch", "faiss-sys", "tokio", "tonic"];

/// Foreign libraries that one crate of the project links; all others use that crate.
const LINKED_ONCE: &[(&str, &str)] =
    &[("tch", "ocelli-network"), ("faiss-sys", "ocelli-quantizer")];

/// Crate, the crates of the project that it may use, and outside crates that it must never reach,
/// not even through others.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    // Has no code; what it names, every build has.
    ("ocelli-features", &[], &["tch", "faiss-sys"]),
    ("ocelli-text", &[], &["serde", "tokio", "tonic"]),
    ("ocelli-vector", &[], &["serde", "tokio", "tonic", "memmap2", "rayon"]),
    ("ocelli-proto", &["ocelli-text"], &["tch", "faiss-sys", "config", "tonic-health"]),
    ("ocelli-service", &["ocelli-text", "ocelli-proto"], &["tch", "faiss-sys"]),
    (
        "ocelli-index",
        &["ocelli-text", "ocelli-vector"],
        &["tokio", "tonic", "prost", "faiss-sys", "tch"],
    ),
    ("ocelli-packs", &["ocelli-index"], NO_NETWORK),
    ("ocelli-pictures", &["ocelli-text", "ocelli-vector", "ocelli-index"], NO_NETWORK),
    ("ocelli-weights", &["ocelli-text", "ocelli-vector", "ocelli-index"], NO_NETWORK),
    ("ocelli-matching", &["ocelli-text"], NO_NETWORK),
    (
        "ocelli-network",
        &["ocelli-text", "ocelli-vector", "ocelli-index", "ocelli-weights"],
        &["faiss-sys", "tokio", "tonic"],
    ),
    (
        "ocelli-encoder",
        &[
            "ocelli-text",
            "ocelli-index",
            "ocelli-packs",
            "ocelli-pictures",
            "ocelli-weights",
            "ocelli-network",
            "ocelli-proto",
            "ocelli-service",
        ],
        &["faiss-sys"],
    ),
    // Trains what the encoder runs; the encoder never learns of it.
    (
        "ocelli-learn",
        &[
            "ocelli-text",
            "ocelli-index",
            "ocelli-pictures",
            "ocelli-weights",
            "ocelli-matching",
            "ocelli-network",
            "ocelli-service",
        ],
        &["faiss-sys"],
    ),
    (
        "ocelli-indexer",
        &["ocelli-text", "ocelli-vector", "ocelli-index", "ocelli-pictures"],
        &["faiss-sys", "tch", "tokio", "tonic"],
    ),
    // The only crate that links FAISS.
    ("ocelli-quantizer", &[], &["tch", "tokio", "tonic"]),
    (
        "ocelli-searcher",
        &["ocelli-text", "ocelli-vector", "ocelli-index", "ocelli-proto", "ocelli-service"],
        &["faiss-sys", "tch"],
    ),
    ("ocelli-bench-data", &[], &["faiss-sys", "tch"]),
    (
        "ocelli",
        &[
            "ocelli-text",
            "ocelli-indexer",
            "ocelli-quantizer",
            "ocelli-index",
            "ocelli-packs",
            "ocelli-proto",
            "ocelli-service",
            "ocelli-weights",
        ],
        &["tch"],
    ),
    ("ocelli-test-support", &[], &["tokio", "tonic"]),
    ("ocelli-tests", &["ocelli-bench-data", "ocelli-index", "ocelli-proto"], &["faiss-sys", "tch"]),
];

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    // A build has fetched the crates of this platform only, and offline there are no others.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(ocelli_tests::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    // Normal and build dependencies; what only tests use binds nobody.
    let edges: BTreeMap<&str, BTreeSet<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let uses = node["deps"].as_array().unwrap().iter().filter(|dep| {
                dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"] != "dev")
            });
            let uses = uses.map(|dep| names[dep["pkg"].as_str().unwrap()]);
            (names[node["id"].as_str().unwrap()], uses.collect())
        })
        .collect();
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| names[id.as_str().unwrap()])
        .collect();
    assert_eq!(members, TABLE.iter().map(|row| row.0).collect(), "every crate has its row");

    for (linked, by) in LINKED_ONCE {
        // Tests count, too: they would need the library to build.
        let packages = metadata["packages"].as_array().unwrap().iter();
        let users: Vec<&str> = packages
            .filter(|p| members.contains(p["name"].as_str().unwrap()))
            .filter(|p| p["dependencies"].as_array().unwrap().iter().any(|d| d["name"] == *linked))
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        assert_eq!(users, [*by], "{linked} is linked by one crate");
    }
    for (name, allowed, never) in TABLE {
        let direct = edges[name].intersection(&members).copied();
        // A crate without code: the one feature set of all builds.
        let direct: BTreeSet<&str> = direct.filter(|used| *used != "ocelli-features").collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(direct.is_subset(&allowed), "{name} uses {direct:?}, allowed are {allowed:?}");
        let mut reached = BTreeSet::new();
        let mut next = vec![*name];
        while let Some(at) = next.pop() {
            for used in edges.get(at).into_iter().flatten() {
                if reached.insert(*used) {
                    next.push(used);
                }
            }
        }
        for bad in *never {
            assert!(!reached.contains(bad), "{name} reaches {bad}");
        }
    }
}

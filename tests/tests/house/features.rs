//! One set of features of outside crates for every build, which the crate `ocelli-features` keeps.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// What `cargo` with the arguments prints.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .args(["--locked", "--offline"])
        // A setting of unstable cargo that does the same as `ocelli-features`, and would hide gaps.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .current_dir(ocelli_tests::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The outside crates that a build compiles, each with version and features. A crate that is
/// compiled with several sets of features is in it several times.
fn compiled(packages: &[&str], kinds: &str) -> BTreeSet<String> {
    let mut args = vec!["tree", "--prefix", "none", "--format", "{p} {f}", "--edges", kinds];
    // With a target named, a crate of a build script stays apart from the same of a program.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    args.extend(["--target", &target]);
    args.extend(packages);
    cargo(&args)
        .lines()
        .filter(|line| !line.is_empty() && !line.contains("(/"))
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn every_build_compiles_the_same_outside_crates() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let has_program = |package: &Value| {
        package["targets"].as_array().unwrap().iter().any(|target| target["kind"][0] == "bin")
    };
    let (programs, tests) = ("normal,build", "normal,build,dev");
    let all = compiled(&["--workspace"], programs);
    let all_tests = compiled(&["--workspace"], tests);
    assert!(all.len() > 300, "found only {} crates", all.len());

    let mut again = Vec::new();
    let mut check = |build: String, part: BTreeSet<String>, whole: &BTreeSet<String>| {
        again.extend(part.difference(whole).map(|compiled| format!("{build}: {compiled}")));
    };
    check("test --workspace".to_owned(), all.clone(), &all_tests);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if has_program(package) {
            check(format!("build -p {name}"), compiled(&["-p", name], programs), &all);
        }
        check(format!("test -p {name}"), compiled(&["-p", name], tests), &all_tests);
    }
    assert!(
        again.is_empty(),
        "crates with other features than in a build of all; give features/Cargo.toml a line with \
         the features that `cargo tree --workspace --format '{{p}} {{f}}'` shows:\n{}",
        again.join("\n")
    );
}

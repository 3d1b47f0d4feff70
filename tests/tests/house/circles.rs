//! Modules of a crate use each other in one direction only.
//!
//! The rule holds in every folder: the modules of a folder, each with all that lies below it, form
//! a graph without circles. [`modules`](super::modules) says what a use is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::modules::{circles, uses};

/// One line for each circle of the crate at `root`, and below it the uses that tie it.
fn report(name: &str, root: &Path) -> String {
    let uses = uses(root);
    let mut report = String::new();
    for circle in circles(&uses) {
        let names: Vec<&str> = circle.iter().copied().collect();
        report += &format!("circle in {name}: {}\n", names.join(" "));
        for (from, to, ties) in circle
            .iter()
            .flat_map(|from| uses[*from].iter().map(move |(to, ties)| (from, to, ties)))
            .filter(|(_, to, _)| circle.contains(to.as_str()))
        {
            report += &format!("  {from} -> {to}\n");
            report.extend(ties.iter().map(|tie| format!("    {tie}\n")));
        }
    }
    report
}

/// The roots of all crates of the workspace: libraries, and programs that are no more than a file.
fn roots() -> Vec<(String, PathBuf)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"])
        .current_dir(ocelli_tests::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().unwrap());
    targets
        .filter(|target| {
            let kinds = target["kind"].as_array().unwrap();
            kinds.iter().any(|kind| matches!(kind.as_str(), Some("lib" | "bin" | "test" | "bench")))
        })
        .map(|target| {
            let root = PathBuf::from(target["src_path"].as_str().unwrap());
            (format!("{} {}", target["kind"][0], target["name"]).replace('"', ""), root)
        })
        .collect()
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    let roots = roots();
    assert!(roots.len() > 10, "found only {roots:?}");
    let found: String = roots.iter().map(|(name, root)| report(name, root)).collect();
    assert!(found.is_empty(), "modules must use each other in one direction:\n{found}");
}

/// Writes a crate of the given files and reports its circles.
fn report_of(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let file = folder.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    report("made", &folder.path().join("lib.rs"))
}

#[test]
fn a_circle_is_named_with_what_ties_it() {
    let report = report_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; fn f() { crate::c::run(); }"),
        ("c.rs", "pub fn run() { println!(\"{}\", super::a::A::NUMBER) }"),
    ]);
    let expected = "circle in made: crate::a crate::b crate::c
  crate::a -> crate::b
    a.rs uses B of b.rs
  crate::b -> crate::c
    b.rs uses run of c.rs
  crate::c -> crate::a
    c.rs uses NUMBER of a.rs
";
    assert_eq!(report, expected);
}

#[test]
fn a_circle_hides_behind_no_door() {
    // By a re-export of a folder's head, by a glob, by the name of a module, by a `use` in a
    // function, and between folders whose files alone form no circle.
    let doors: [&[(&str, &str)]; 5] = [
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod inner; pub use inner::A;"),
            ("a/inner.rs", "pub struct A; use crate::b::B;"),
            ("b.rs", "use crate::a::A; pub struct B(A);"),
        ],
        &[
            ("lib.rs", "mod a; mod b; pub use a::*;"),
            ("a.rs", "pub struct A(crate::b::B);"),
            ("b.rs", "pub struct B; type C = crate::A;"),
        ],
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b; pub struct A(b::B);"),
            ("b.rs", "use super::a::A as Other; pub struct B(Other);"),
        ],
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A; impl A { fn f() { use crate::b::B; B; } }"),
            ("b.rs", "pub struct B; fn f() -> Vec<crate::a::A> { loop {} }"),
        ],
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "pub mod one; pub mod two;"),
            ("a/one.rs", "use crate::b::one::B;"),
            ("a/two.rs", "pub struct A;"),
            ("b/mod.rs", "pub mod one; pub mod two;"),
            ("b/one.rs", "pub struct B;"),
            ("b/two.rs", "use crate::a::two::A;"),
        ],
    ];
    for files in doors {
        assert!(report_of(files).starts_with("circle in made: crate::a crate::b\n"), "{files:?}");
    }
}

#[test]
fn a_circle_hides_in_no_disguise() {
    // Each `a.rs` uses `b.rs`, which names `A`.
    let disguises = [
        // A re-export that the file itself uses.
        "pub(crate) use crate::b::B; pub struct A(B);",
        "use crate::b::*; pub struct A(B);",
        "use crate::b::*; pub struct A; fn f() { run() }",
        "use crate::b::{self as other}; pub struct A(other::B);",
        "use {crate::{b::{B as C}}}; pub struct A(C);",
        "pub struct A(me::b::B);",
        "pub struct A; mod inner { use super::super::b::B; }",
        "pub struct A; mod inner { fn f() -> super::super::b::B { loop {} } }",
        "pub struct A; impl From<super::b::B> for A {}",
        "pub struct A<T: crate::b::T>(T);",
        "pub struct A; fn f() { g::<crate::b::B>() }",
        "pub struct A; fn f() { vec![crate::b::B; 3] }",
        "pub struct A; fn f() { info!(x = %crate::b::run(), \"read\") }",
        "pub struct A; macro_rules! m { () => { $crate::b::run() } }",
        "pub struct A; fn f() { crate::b::made_by_a_macro() }",
        "pub struct A { #[arg(value_parser = super::b::run)] y: u8 }",
        "pub struct A { #[serde(default = \"crate::b::run\")] x: f32 }",
    ];
    for a in disguises {
        let report = report_of(&[
            ("lib.rs", "extern crate self as me; mod a; mod b;"),
            ("a.rs", a),
            ("b.rs", "pub struct B(super::a::A); pub trait T {} pub fn run() {} made! { x }"),
        ]);
        assert!(report.starts_with("circle in made: crate::a crate::b\n"), "{a}");
    }
}

#[test]
fn families_doors_and_tests_are_no_circles() {
    let report = report_of(&[
        ("lib.rs", "pub mod a; mod b; pub use b::B; pub struct Root;"),
        // A folder's head dispatches to its children, which implement its trait.
        ("a/mod.rs", "mod child; pub trait T {} pub fn f() { child::run(); }"),
        ("a/child.rs", "use super::T; use crate::Root; pub fn run() {}"),
        ("b.rs", "use crate::a::T; pub struct B; #[cfg(test)] mod tests { use crate::c::C; }"),
    ]);
    assert_eq!(report, "");
}

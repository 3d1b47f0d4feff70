//! The text of the project: columns, lengths of functions, and doc comments that name their
//! subject.

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Columns that a line may have.
const MAX_COLUMNS: usize = 100;
/// Lines that a function's body may have, braces included. Tests may be longer.
const MAX_FUNCTION_LINES: usize = 70;
/// Endings of the files that people write and read.
const ENDINGS: &[&str] = &["rs", "md", "toml", "proto", "py", "sh", "cpp", "yml", "yaml"];
/// Scripts without an ending.
const SCRIPTS: &[&str] = &["run", "check", "demo", "test", "setup", "bench", "commands"];
/// Folders that hold no text of ours: what is built, fetched, generated or data.
const SKIPPED: &[&str] =
    &["target", "bench-out", "demo-out", "_generated", "build", "seeds", "corpus"];

/// All files of the project that people write, sorted.
fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().expect("UTF-8");
            let ours = !name.starts_with('.') || [".ci", ".cargo", ".github"].contains(&name);
            if path.is_dir() {
                if ours && !SKIPPED.contains(&name) {
                    walk(&path, found);
                }
            } else if match path.extension() {
                Some(ending) => ENDINGS.contains(&ending.to_str().expect("UTF-8")),
                None => SCRIPTS.contains(&name),
            } {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&ocelli_tests::root().canonicalize().unwrap(), &mut found);
    found.sort();
    assert!(found.len() > 300, "found only {} files", found.len());
    found
}

/// Applies a check to the texts of all files with the ending, or all if it is empty. The check
/// returns what is wrong and the line, counted from 1.
///
/// # Panics
/// If anything is wrong, with all of it.
fn hold(ending: &str, check: impl Fn(&str) -> Vec<(usize, String)>) {
    let root = ocelli_tests::root().canonicalize().unwrap();
    let mut wrong = Vec::new();
    for file in files() {
        if !ending.is_empty() && file.extension().is_none_or(|found| found != ending) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let is_test = ["tests.rs", "/tests/", "_tests.rs"].iter().any(|part| name.contains(part));
        let found = check(&text).into_iter();
        wrong.extend(
            found
                .filter(|(_, what)| !(is_test && what.starts_with("function")))
                .map(|(line, what)| format!("{name}:{line}: {what}")),
        );
    }
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

/// Lines with too many columns. What cannot be broken may be longer: a link, and in Markdown a row
/// of a table.
fn long_lines(text: &str) -> Vec<(usize, String)> {
    let numbered = text.lines().enumerate();
    numbered
        .filter(|(_, line)| line.chars().count() > MAX_COLUMNS)
        .filter(|(_, line)| {
            let unbroken = line.trim_start_matches([' ', '/', '!', '#', '-', '|']);
            !line.starts_with('|') && unbroken.trim().contains(' ')
        })
        .map(|(at, line)| (at + 1, format!("{} columns", line.chars().count())))
        .collect()
}

/// Functions with too many lines, outside of tests.
fn long_functions(text: &str) -> Vec<(usize, String)> {
    struct Functions(Vec<(usize, String)>);

    impl Functions {
        fn look(&mut self, name: &syn::Ident, body: &syn::Block) {
            let span = body.span();
            let lines = span.end().line - span.start().line + 1;
            if lines > MAX_FUNCTION_LINES {
                self.0.push((span.start().line, format!("function {name} has {lines} lines")));
            }
        }
    }

    fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
        attributes.iter().any(|attribute| {
            let path = attribute.path();
            let cfg = || attribute.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test"));
            path.is_ident("test") || path.is_ident("cfg") && cfg()
        })
    }

    impl<'ast> Visit<'ast> for Functions {
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            if !is_for_tests(&item.attrs) {
                self.look(&item.sig.ident, &item.block);
                visit::visit_item_fn(self, item);
            }
        }

        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            self.look(&item.sig.ident, &item.block);
            visit::visit_impl_item_fn(self, item);
        }

        /// A method that a trait gives.
        fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
            if let Some(body) = &item.default {
                self.look(&item.sig.ident, body);
            }
            visit::visit_trait_item_fn(self, item);
        }

        fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
            if !is_for_tests(&item.attrs) {
                visit::visit_item_mod(self, item);
            }
        }
    }

    let mut functions = Functions(Vec::new());
    functions.visit_file(&syn::parse_file(text).unwrap());
    functions.0
}

/// The doc comments of a Rust source: the line where each starts, and its text.
fn doc_comments(text: &str) -> Vec<(usize, String)> {
    let mut comments: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let doc = line.trim_start().strip_prefix("///").filter(|rest| !rest.starts_with('/'));
        match doc {
            Some(rest) if open => {
                let comment = &mut comments.last_mut().unwrap().1;
                comment.push(' ');
                comment.push_str(rest.trim());
            }
            Some(rest) => comments.push((at + 1, rest.trim().to_owned())),
            None => {}
        }
        open = doc.is_some();
    }
    comments
}

/// Doc comments that name no subject: they are a pronoun ("That time."), a short question
/// ("Where it stands."), or send the reader to an introduction without a link.
fn nameless_docs(text: &str) -> Vec<(usize, String)> {
    const PRONOUNS: &[&str] =
        &["That", "It", "They", "Them", "Those", "These", "Its", "Their", "Of", "Whose"];
    const QUESTIONS: &[&str] =
        &["What", "Where", "Who", "Whom", "Which", "How", "When", "Why", "Whether"];
    let nameless = |text: &str| {
        let sentence = text.split(". ").next().unwrap_or_default();
        let words: Vec<&str> = sentence.split_whitespace().collect();
        let first = words.first().map_or("", |word| word.trim_end_matches([',', '.', ':']));
        PRONOUNS.contains(&first) && words.len() < 9
            || QUESTIONS.contains(&first) && words.len() <= 4
            || text.contains("module's introduction") && !text.contains("](")
    };
    let comments = doc_comments(text).into_iter();
    comments
        .filter(|(_, text)| nameless(text))
        .map(|(line, text)| (line, format!("doc comment without a subject: {text}")))
        .collect()
}

#[test]
fn lines_fit() {
    hold("", long_lines);
}

#[test]
fn functions_are_short() {
    hold("rs", long_functions);
}

#[test]
fn doc_comments_name_their_subject() {
    hold("rs", nameless_docs);
}

#[test]
fn the_checks_find_what_they_look_for() {
    let lines = format!("{}\n{} b\n| {} b |\n", "a".repeat(101), "a".repeat(99), "a".repeat(101));
    assert_eq!(long_lines(&lines), [(2, "101 columns".to_owned())]);

    let long = |name: &str| format!("fn {name}() {{\n{}}}\n", "    f();\n".repeat(69));
    let [f, g, h, i] = ["f", "g", "h", "i"].map(long);
    let text = format!("{f}#[test]\n{g}impl S {{ {h} }} trait T {{ {i} }}");
    let found: Vec<String> = long_functions(&text).into_iter().map(|(_, what)| what).collect();
    assert_eq!(found, ["f", "h", "i"].map(|name| format!("function {name} has 71 lines")));

    let text = [
        "/// That time.",
        "x",
        "/// Of each row.",
        "x",
        "/// Where it",
        "/// stands.",
        "/// See the module's introduction.",
        "x",
        "/// Whether the first vector of the part is whitened.",
        "//// That.",
    ]
    .join("\n");
    let lines: Vec<usize> = nameless_docs(&text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 3, 5]);
}

/// Unit tests of a module lie beside it, in `tests.rs` or by topic in the folder `tests/`.
#[test]
fn test_files_are_called_tests() {
    let named = |file: &PathBuf| file.to_str().is_some_and(|name| name.ends_with("_tests.rs"));
    let wrong: Vec<PathBuf> = files().into_iter().filter(named).collect();
    assert!(wrong.is_empty(), "expected tests.rs or tests/TOPIC.rs: {wrong:?}");
}

/// A variable is read where it is explained.
#[test]
fn the_environment_of_tests_is_read_in_one_place() {
    let variables = ["OCELLI_LONG_TESTS", "OCELLI_REQUIRE_DATA"];
    let mut readers = Vec::new();
    for file in files().into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(&file).unwrap();
        if variables.iter().any(|name| text.contains(&format!("(\"{name}\")"))) {
            readers.push(file);
        }
    }
    let only = ocelli_tests::root().canonicalize().unwrap().join("tests/support/src/lib.rs");
    assert_eq!(readers, [only]);
}

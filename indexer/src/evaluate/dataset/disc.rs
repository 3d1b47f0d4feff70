//! DISC21 (Douze et al., *The 2021 Image Similarity Dataset and Challenge*, arXiv 2106.09672):
//! pairs of query and reference in CSV, in the syntax that the challenge's program reads
//! (github.com/facebookresearch/isc2021, `isc/io.py`).
//!
//! A row has a query's id and that of its reference, or no reference where the query has no match.
//! Such a query counts all the same: what is found for it is wrong. The measure is µAP.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocelli_text::{counted, quoted};

use super::table::{Kind, Queries, Source, check_once, file_name, file_of};
use super::{Database, Dataset, Form, NameRule, Named};
use crate::Result;
use crate::evaluate::measures::{ApForm, Measure, Rules};

/// Ends of files of pairs: of the challenge, and of the published data set.
const PAIRS: [&str; 2] = ["ground_truth.csv", "groundtruth.csv"];
/// The file of pairs that is taken where there are several: that of the development set.
const PUBLIC: [&str; 3] =
    ["public_ground_truth.csv", "dev_ground_truth.csv", "dev_queries_groundtruth.csv"];
/// The list of the database's ids, or the folder of its photos.
const REFERENCES: &str = "references";
/// Folders of queries.
const QUERIES: [&str; 2] = ["queries", "dev_queries"];

/// Whether a file of this name has pairs.
pub(super) fn is_pairs(name: &str) -> bool {
    PAIRS.iter().any(|end| name.ends_with(end))
}

/// Whether a file of this name has the pairs of the development set.
pub(super) fn is_public(name: &str) -> bool {
    PUBLIC.contains(&name)
}

/// Reads the pairs at `path`, or those in the directory.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let public = |found: &[PathBuf]| found.iter().find(|file| is_public(&file_name(file))).cloned();
    let (file, dir) = file_of(path, "a file *ground_truth.csv", is_pairs, public)?;
    let queries = pairs(&Source::new(&file))?;
    let (database, photos) = database(&file, &dir)?;
    let (queries, asked) = queries.finish();
    let rules = Rules { precision: ApForm::AtPositives { k: None }, headline: Measure::MicroAp };
    Ok(Dataset {
        why: format!("{} has pairs of query and reference", file_name(&file)),
        photos,
        name_rule: NameRule::Stem,
        database,
        ..Dataset::official(Form::Disc21, queries, asked, rules)
    })
}

/// The queries of a file, and their references.
fn pairs(source: &Source) -> Result<Queries> {
    let table = source.rows(b',', |first| first == ["query_id", "reference_id"])?;
    let mut queries = Queries::default();
    // Lines in which a query has no reference.
    let mut without = BTreeSet::new();
    for row in &table.rows {
        if row.len() != 2 {
            let what = format!(
                "expected \"query_id,reference_id\", found {}",
                counted(row.len() as u64, "cell")
            );
            return Err(source.refuse(row.line, what));
        }
        let (query, reference) = (row.cell(0), row.cell(1));
        if query.is_empty() {
            return Err(source.refuse(row.line, "expected a query's id, found nothing"));
        }
        let place = source.line(row.line);
        let query = Named::new(query, place.clone());
        if reference.is_empty() {
            without.insert(queries.add(query, None)?);
            continue;
        }
        let number = queries.number(query, None);
        if without.contains(&number) {
            let what = format!("a reference of {}, which has none above", quoted(row.cell(0)));
            return Err(source.refuse(row.line, what));
        }
        queries.list(number, Named::new(reference, place), Kind::Positive)?;
    }
    if queries.is_empty() {
        return Err(source.refuse_whole("expected pairs of query and reference, found none"));
    }
    Ok(queries)
}

/// The photos that are searched: those of the list beside the file, of the folder, or all. And the
/// directories of photos.
fn database(file: &Path, dir: &Path) -> Result<(Database, Vec<PathBuf>)> {
    let has_photos = [REFERENCES].iter().chain(&QUERIES).any(|name| dir.join(name).is_dir());
    let photos = if has_photos { vec![dir.to_owned()] } else { Vec::new() };
    // The list of a subset begins as its pairs do.
    let name = file_name(file);
    let prefix = PAIRS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or_default();
    let lists = [format!("{prefix}{REFERENCES}"), REFERENCES.to_owned()];
    if let Some(list) = lists.iter().map(|name| dir.join(name)).find(|path| path.is_file()) {
        let source = Source::new(&list);
        let names = source.names()?;
        if names.is_empty() {
            return Err(source.refuse_whole("expected ids of references, found none"));
        }
        check_once(&names, "reference")?;
        return Ok((Database::Listed(names), photos));
    }
    let below = if dir.join(REFERENCES).is_dir() { REFERENCES } else { "" };
    Ok((Database::Below(below.to_owned()), photos))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_text(text: &str) -> Result<Dataset> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("pairs.csv");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn pairs_are_read() {
        let tmp = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(tmp.path().join(name), text).unwrap();
        let text = "query_id,reference_id\nQ00000,\nQ00001,R000007\nQ00002,\nQ00001,R000003\n";
        write("public_ground_truth.csv", text);
        write("subset_1_ground_truth.csv", "Q00001,R000007\n");
        write("references", "R000003\nR000007\n\nR000009\n");
        write("subset_1_references", "R000007\n");
        let set = read(tmp.path()).unwrap();
        assert_eq!((set.name.as_str(), set.form, set.photos.len()), ("disc21", Form::Disc21, 0));
        assert_eq!(set.why, "public_ground_truth.csv has pairs of query and reference");
        let [setup] = set.setups.as_slice() else { panic!() };
        assert_eq!(setup.rules.headline, Measure::MicroAp);
        let found: Vec<(&str, Vec<&str>)> = setup
            .asked
            .iter()
            .map(|asked| {
                let positives = asked.positives.iter().map(|positive| &*positive.name);
                (set.queries[asked.query].name.as_str(), positives.collect())
            })
            .collect();
        let expected =
            [("Q00000", vec![]), ("Q00001", vec!["R000007", "R000003"]), ("Q00002", vec![])];
        assert_eq!(found, expected);
        let Database::Listed(list) = &set.database else { panic!() };
        let list: Vec<(&str, String)> =
            list.iter().map(|named| (&*named.name, format!("{:?}", named.place.at))).collect();
        assert_eq!(list[2], ("R000009", "Line(4)".to_owned()));

        // A subset has its own list; without a header too.
        let subset = read(&tmp.path().join("subset_1_ground_truth.csv")).unwrap();
        assert!(matches!(&subset.database, Database::Listed(list) if list.len() == 1));
        assert_eq!(subset.queries.len(), 1);
        // Folders of photos.
        fs::remove_file(tmp.path().join("references")).unwrap();
        fs::create_dir(tmp.path().join("references")).unwrap();
        let photos = read(tmp.path()).unwrap();
        assert!(matches!(&photos.database, Database::Below(folder) if folder == "references"));
        assert_eq!(photos.photos, [tmp.path()]);
    }

    #[test]
    fn errors_name_their_line() {
        for (text, expected) in [
            ("", "expected pairs of query and reference, found none"),
            ("query_id,reference_id\n", "expected pairs of query and reference, found none"),
            ("Q1\n", ":1: expected \"query_id,reference_id\", found 1 cell"),
            ("Q1,R1,0.5\n", "found 3 cells"),
            ("Q1,R1\nQ2,\"R2\nQ3,R3\n", ":2: a quoted cell goes over the line's end"),
            ("Q1,R1\n,R2\n", ":2: expected a query's id"),
            ("Q1,R1\nQ1,R1\n", ":2: of query \"Q1\": photo \"R1\" is there twice"),
            ("Q1,\nQ1,R1\n", ":2: a reference of \"Q1\", which has none above"),
            ("Q1,R1\nQ1,\n", ":2: query \"Q1\" is there twice"),
        ] {
            let message = read_text(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let tmp = tempfile::tempdir().unwrap();
        for name in ["a_ground_truth.csv", "b_ground_truth.csv"] {
            fs::write(tmp.path().join(name), "Q1,R1\n").unwrap();
        }
        let message = read(tmp.path()).unwrap_err().to_string();
        assert!(message.contains("found a_ground_truth.csv, b_ground_truth.csv: name the"));
        fs::write(tmp.path().join("references"), "R1\nR1\n").unwrap();
        let message = read(&tmp.path().join("a_ground_truth.csv")).unwrap_err().to_string();
        assert!(message.contains("references:2: reference \"R1\" is there twice"));
    }
}

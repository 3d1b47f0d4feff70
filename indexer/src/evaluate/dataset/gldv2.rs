//! Google Landmarks v2, retrieval (Weyand et al., *Google Landmarks Dataset v2*, CVPR 2020): a
//! solution in CSV, `retrieval_solution_v2.1.csv`, as published at
//! github.com/cvdfoundation/google-landmark.
//!
//! A row has the query's id, the ids of its positives with blanks between them, and its part of
//! the competition: `Public`, `Private` or `Ignored`. The measure is mAP@100.

use std::path::Path;

use super::table::{Kind, Queries, Row, Source, Table, file_name, file_of};
use super::{Absent, Database, Dataset, Form, NameRule, Named, OwnPhoto, Setup};
use crate::Result;
use crate::evaluate::measures::{ApForm, Measure, Rules};

/// Folder of the photos that are searched.
const INDEX: &str = "index";
/// Images of a ranking that count.
const DEPTH: usize = 100;
/// What the published file has in place of positives where a query is ignored.
const NO_IMAGES: &str = "None";

/// Reads the solution at `path`, or the last by name of those in the directory.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let fits = |name: &str| name.ends_with(".csv") && name.contains("solution");
    let (file, dir) =
        file_of(path, "a file retrieval_solution*.csv", fits, |found| found.last().cloned())?;
    let source = Source::new(&file);
    let table = source.rows(b',', |_| true)?;
    let columns = Columns::of(&source, &table)?;
    table.check_widths(&source)?;
    let mut queries = Queries::default();
    let mut parts = Vec::new();
    for row in &table.rows {
        if let Some(part) = columns.read(&source, row, &mut queries)? {
            parts.push(part);
        }
    }
    if queries.is_empty() {
        return Err(source.refuse_whole("expected queries, found none"));
    }
    let (queries, asked) = queries.finish();
    let mut setups = Vec::new();
    for part in [Part::Public, Part::Private, Part::All] {
        let fits = |query: usize| part == Part::All || parts.get(query) == Some(&part);
        let asked: Vec<_> = asked.iter().filter(|asked| fits(asked.query)).cloned().collect();
        if !asked.is_empty() {
            setups.push(Setup {
                name: part.name().to_owned(),
                rules: Rules {
                    precision: ApForm::AtPositives { k: Some(DEPTH) },
                    headline: Measure::Map,
                },
                own: OwnPhoto::Ranked,
                absent: Absent::NotFound,
                asked,
            });
        }
    }
    let has_photos = dir.join(INDEX).is_dir();
    Ok(Dataset {
        name: "gldv2".to_owned(),
        form: Form::Gldv2,
        why: format!("{} has the columns id and images", file_name(&file)),
        photos: if has_photos { vec![dir] } else { Vec::new() },
        name_rule: NameRule::Stem,
        database: Database::Below(if has_photos { INDEX.to_owned() } else { String::new() }),
        damaged: Vec::new(),
        queries,
        setups,
        rotations: Default::default(),
        mentioned: Vec::new(),
    })
}

/// The part of the competition that a query is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Public,
    Private,
    /// No part is named.
    All,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::All => "all",
        }
    }
}

/// Places of the columns; others are of no use here.
struct Columns {
    id: usize,
    images: usize,
    usage: Option<usize>,
}

impl Columns {
    fn of(source: &Source, table: &Table) -> Result<Self> {
        let column = |name: &str| {
            table.column(source, &[name])?.ok_or_else(|| {
                let found = table.columns.join(", ");
                source.refuse(1, format!("expected the columns id and images, found {found}"))
            })
        };
        Ok(Self {
            id: column("id")?,
            images: column("images")?,
            usage: table.column(source, &["Usage"])?,
        })
    }

    /// Adds the query of a row, and says its part; None for one that is ignored.
    fn read(&self, source: &Source, row: &Row, queries: &mut Queries) -> Result<Option<Part>> {
        let part = match self.usage.map(|usage| row.cell(usage)) {
            None => Part::All,
            Some("Public") => Part::Public,
            Some("Private") => Part::Private,
            Some("Ignored") => return Ok(None),
            Some(other) => {
                let what = format!("expected Public, Private or Ignored, found {other:?}");
                return Err(source.refuse(row.line, what));
            }
        };
        let id = row.cell(self.id);
        if id.is_empty() {
            return Err(source.refuse(row.line, "expected a query's id, found nothing"));
        }
        let place = source.line(row.line);
        let query = queries.add(Named::new(id, place.clone()), None)?;
        let images = row.cell(self.images);
        for image in images.split_whitespace().filter(|_| images != NO_IMAGES) {
            queries.list(query, Named::new(image, place.clone()), Kind::Positive)?;
        }
        Ok(Some(part))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As published, with quotes and a column more.
    const SOLUTION: &str = "id,images,Usage,Note\n\
        000088da12d664db,8370c4748b6e8d2d c5c06dcb54d5f1b2,Private,a\n\
        0001623c6d808702,None,Ignored,\n\
        0001bbb682d45002,\"0029c7b1f6b0a8bb  8370c4748b6e8d2d\",Public,\"b, c\"\n\
        0002c1bb36d2d0a9,,Public,\n";

    fn read_text(text: &str) -> Result<Dataset> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("retrieval_solution_v2.1.csv");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_solution_is_read() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("index")).unwrap();
        fs::write(tmp.path().join("retrieval_solution_v2.0.csv"), "broken").unwrap();
        fs::write(tmp.path().join("retrieval_solution_v2.1.csv"), SOLUTION).unwrap();
        let set = read(tmp.path()).unwrap();
        assert_eq!((set.name.as_str(), set.form, set.photos.len()), ("gldv2", Form::Gldv2, 1));
        assert!(matches!(&set.database, Database::Below(folder) if folder == "index"));
        assert_eq!(set.why, "retrieval_solution_v2.1.csv has the columns id and images");
        let names: Vec<&str> = set.queries.iter().map(|query| query.name.as_str()).collect();
        assert_eq!(names, ["000088da12d664db", "0001bbb682d45002", "0002c1bb36d2d0a9"]);
        let asked: Vec<(&str, Vec<usize>)> = set
            .setups
            .iter()
            .map(|setup| (&*setup.name, setup.asked.iter().map(|asked| asked.query).collect()))
            .collect();
        assert_eq!(asked, [("public", vec![1, 2]), ("private", vec![0]), ("all", vec![0, 1, 2])]);
        let [public, ..] = set.setups.as_slice() else { panic!() };
        assert_eq!(public.rules.precision, ApForm::AtPositives { k: Some(100) });
        let positives: Vec<&str> = public.asked[0].positives.iter().map(|p| &*p.name).collect();
        assert_eq!(positives, ["0029c7b1f6b0a8bb", "8370c4748b6e8d2d"]);
        assert!(public.asked[0].positives[0].place.to_string().ends_with("v2.1.csv:4"));
        assert!(public.asked[1].positives.is_empty(), "a query without positives stays");
    }

    #[test]
    fn a_solution_without_parts_has_one_setup() {
        let set = read_text("id,images\nq,a b\n").unwrap();
        let names: Vec<&str> = set.setups.iter().map(|setup| setup.name.as_str()).collect();
        assert_eq!((names, set.photos.len()), (vec!["all"], 0));
    }

    #[test]
    fn errors_name_their_line() {
        for (text, expected) in [
            ("id,Usage\nq,Public\n", ":1: expected the columns id and images, found id, Usage"),
            ("", ":1: expected the columns id and images, found "),
            ("id,images\n", "expected queries, found none"),
            ("id,images,Usage\nq,,Ignored\n", "expected queries, found none"),
            ("id,images\nq,a\nq,b\n", ":3: query \"q\" is there twice, first at"),
            ("id,images\nq,a b a\n", ":2: of query \"q\": photo \"a\" is there twice"),
            ("id,images\n,a\n", ":2: expected a query's id"),
            ("id,images\nq,a,b\n", ":2: expected 2 cells, found 3"),
            ("id,images,Usage\nq,a,Public\nr,a\n", ":3: expected 3 cells, found 2"),
            (
                "id,images,Images\nq,a,b\n",
                ":1: the columns \"images\" and \"Images\" mean the same",
            ),
            ("id,images\nq,\"a b\nr,c\n", ":2: a quoted cell goes over the line's end"),
            ("id,images,Usage\nq,a,public\n", ":2: expected Public, Private or Ignored"),
        ] {
            let message = read_text(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let tmp = tempfile::tempdir().unwrap();
        assert!(read(tmp.path()).unwrap_err().to_string().contains("retrieval_solution*.csv"));
    }
}

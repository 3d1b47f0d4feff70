//! A user's own list of matches.
//!
//! As CSV, or TSV, with names of columns in the first row:
//!
//! | column | meaning |
//! |---|---|
//! | `query` | the photo that is asked |
//! | `image`, `positive`, `match`, `reference` or `relevant` | another photo; empty: none |
//! | `relevance` | 1: it should be found; 0: it should not; -1: it is junk. Without the column: 1 |
//! | `x0`, `y0`, `x1`, `y1` | the object in the query's photo, in pixels |
//!
//! Or as JSON lines: `{"query": "a.jpg", "positives": ["b.jpg"], "junk": [], "box": [x0, y0, x1,
//! y1]}`, of which `junk` and `box` may be left out.
//!
//! The query's own photo is taken out of the ranking.

use std::path::Path;

use serde::Deserialize;

use ocelli_text::quoted;

use super::table::{Kind, Queries, Row, Source, Table, check_box, file_name, file_of};
use super::text::refuse;
use super::{
    Absent, BoundingBox, Database, Dataset, Form, NameRule, Named, OwnPhoto, Place, Setup,
};
use crate::evaluate::measures::{ApForm, Measure, Rules};
use crate::{Error, Result};

/// The name of a list in a directory, without its ending.
const NAME: &str = "matches";
/// Endings of lists.
const ENDINGS: [&str; 4] = [".csv", ".tsv", ".jsonl", ".ndjson"];
/// Names of the column of photos.
const IMAGES: [&str; 5] = ["image", "positive", "match", "reference", "relevant"];
/// Names of the columns of the box.
const SIDES: [&str; 4] = ["x0", "y0", "x1", "y1"];

/// Reads the list at `path`, or `matches.csv`, `.tsv`, `.jsonl` or `.ndjson` of the directory.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let fits = |name: &str| name.strip_prefix(NAME).is_some_and(|ending| ENDINGS.contains(&ending));
    let (file, dir) = file_of(path, "a file matches.csv, .tsv or .jsonl", fits, |_| None)?;
    let source = Source::new(&file);
    let mut irrelevant = Vec::new();
    let (queries, what) = match source.text()?.trim_start().starts_with('{') {
        true => (json_lines(&source)?, "has JSON lines with the key \"query\"".to_owned()),
        false => table(&source, &mut irrelevant)?,
    };
    if queries.is_empty() {
        return Err(source.refuse_whole("expected queries, found none"));
    }
    let (queries, asked) = queries.finish();
    let rules = Rules { precision: ApForm::AtPositives { k: None }, headline: Measure::Map };
    let named = if path.is_dir() { &dir } else { &file };
    Ok(Dataset {
        name: named.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        form: Form::Matches,
        why: format!("{} {what}", file_name(&file)),
        photos: if path.is_dir() { vec![dir] } else { Vec::new() },
        name_rule: NameRule::Path,
        database: Database::Below(String::new()),
        damaged: Vec::new(),
        queries,
        setups: vec![Setup {
            name: "matches".to_owned(),
            rules,
            own: OwnPhoto::Hidden,
            absent: Absent::NotFound,
            asked,
        }],
        rotations: Default::default(),
        mentioned: irrelevant,
    })
}

/// The error of a match that is the photo of its query.
pub(super) fn own_match(photo: &Named, query: &str) -> Error {
    let spelled = match *photo.name == *query {
        true => String::new(),
        false => format!(", which is query {} in another spelling,", quoted(query)),
    };
    let what = format!(
        "{}{spelled} is its own match, and a query's photo is taken out of its ranking",
        quoted(&photo.name)
    );
    refuse(&photo.place, what)
}

/// Adds a photo to a query's lists.
fn add(queries: &mut Queries, number: usize, photo: Named, kind: Kind) -> Result<()> {
    if queries.get(number).is_some_and(|query| query.photo.name == photo.name) {
        return Err(own_match(&photo, &photo.name));
    }
    queries.list(number, photo, kind)
}

/// Reads a table, and the photos that it calls not relevant. The phrase says what it has.
fn table(source: &Source, irrelevant: &mut Vec<Named>) -> Result<(Queries, String)> {
    let text = source.text()?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let delimiter = [b'\t', b',', b';'].into_iter().find(|&d| first.contains(char::from(d)));
    let table = source.rows(delimiter.unwrap_or(b','), |_| true)?;
    let columns = Columns::of(source, &table)?;
    table.check_widths(source)?;
    let mut queries = Queries::default();
    for row in &table.rows {
        irrelevant.extend(columns.read(source, row, &mut queries)?);
    }
    let image = table.columns.get(columns.image).map_or("", String::as_str);
    Ok((queries, format!("has the columns query and {image}")))
}

/// Places of the columns. Others are of no use here.
struct Columns {
    query: usize,
    image: usize,
    relevance: Option<usize>,
    sides: Option<[usize; 4]>,
}

impl Columns {
    fn of(source: &Source, table: &Table) -> Result<Self> {
        let (query, image) = (table.column(source, &["query"])?, table.column(source, &IMAGES)?);
        let (Some(query), Some(image)) = (query, image) else {
            let (images, found) = (IMAGES.join(", "), table.columns.join(", "));
            let what = format!(
                "expected the column query and one of {images} in the first row, found {}",
                quoted(&found)
            );
            return Err(source.refuse(1, what));
        };
        let [x0, y0, x1, y1] = SIDES.map(|side| table.column(source, &[side]));
        let sides = match [x0?, y0?, x1?, y1?] {
            [Some(x0), Some(y0), Some(x1), Some(y1)] => Some([x0, y0, x1, y1]),
            [None, None, None, None] => None,
            _ => {
                let what = "expected the columns x0, y0, x1 and y1 of a box, or none of them";
                return Err(source.refuse(1, what));
            }
        };
        let relevance = table.column(source, &["relevance"])?;
        Ok(Self { query, image, relevance, sides })
    }

    /// Adds what a row says. The photo is one that is not relevant.
    fn read(&self, source: &Source, row: &Row, queries: &mut Queries) -> Result<Option<Named>> {
        let place = source.line(row.line);
        let query = row.cell(self.query);
        if query.is_empty() {
            return Err(refuse(&place, "expected a query, found nothing"));
        }
        let bounding_box = self.bounding_box(row, &place)?;
        let number = queries.number(Named::new(query, place.clone()), bounding_box);
        if let Some(known) = queries.get(number)
            && known.bounding_box != bounding_box
        {
            let what =
                format!("another box of query {} than at {}", quoted(query), known.photo.place);
            return Err(refuse(&place, what));
        }
        let kind = match self.relevance.map(|column| row.cell(column)) {
            None | Some("1") => Kind::Positive,
            Some("-1") => Kind::Junk,
            // It is a photo like others, which the ranking should not have before positives.
            Some("0") => Kind::Irrelevant,
            Some("") if row.cell(self.image).is_empty() => return Ok(None),
            Some(other) => {
                return Err(refuse(
                    &place,
                    format!("expected relevance 1, 0 or -1, not {}", quoted(other)),
                ));
            }
        };
        match row.cell(self.image) {
            "" => Ok(None),
            image if kind == Kind::Irrelevant => {
                let photo = Named::new(image, place);
                queries.list(number, photo.clone(), kind)?;
                Ok(Some(photo))
            }
            image => add(queries, number, Named::new(image, place), kind).map(|()| None),
        }
    }

    fn bounding_box(&self, row: &Row, place: &Place) -> Result<Option<BoundingBox>> {
        let Some(sides) = self.sides else { return Ok(None) };
        let cells = sides.map(|side| row.cell(side));
        if cells == [""; 4] {
            return Ok(None);
        }
        let mut found = [0.0; 4];
        for (number, cell) in found.iter_mut().zip(cells) {
            *number = cell.parse().map_err(|_| {
                refuse(place, format!("expected a number of pixels, not {}", quoted(cell)))
            })?;
        }
        check_box(place, found).map(Some)
    }
}

/// A line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    query: String,
    positives: Vec<String>,
    #[serde(default)]
    junk: Vec<String>,
    #[serde(rename = "box")]
    bounding_box: Option<BoundingBox>,
}

/// Reads lines of JSON.
fn json_lines(source: &Source) -> Result<Queries> {
    let mut queries = Queries::default();
    for Named { name: text, place } in source.names()? {
        let line: Line =
            serde_json::from_str(&text).map_err(|error| refuse(&place, error.to_string()))?;
        if line.query.is_empty() {
            return Err(refuse(&place, "expected a query, found nothing"));
        }
        let bounding_box = line.bounding_box.map(|found| check_box(&place, found)).transpose()?;
        let number = queries.add(Named::new(line.query, place.clone()), bounding_box)?;
        for (images, kind) in [(line.positives, Kind::Positive), (line.junk, Kind::Junk)] {
            for image in images {
                if image.is_empty() {
                    return Err(refuse(&place, "expected a photo's name, found nothing"));
                }
                add(&mut queries, number, Named::new(image, place.clone()), kind)?;
            }
        }
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Dataset> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path)
    }

    /// Name, box, positives and junk of a query.
    type Lists<'a> = (&'a str, Option<BoundingBox>, Vec<&'a str>, Vec<&'a str>);

    fn lists(set: &Dataset) -> Vec<Lists<'_>> {
        let [setup] = set.setups.as_slice() else { panic!() };
        setup
            .asked
            .iter()
            .map(|asked| {
                let query = &set.queries[asked.query];
                let positives = asked.positives.iter().map(|named| &*named.name).collect();
                let junk = asked.junk.iter().map(|named| &*named.name).collect();
                (query.name.as_str(), query.bounding_box, positives, junk)
            })
            .collect()
    }

    #[test]
    fn tables_and_json_lines_say_the_same() {
        let csv = "query,image,relevance,x0,y0,x1,y1\n\
            a.jpg,d/b.jpg,1,1,2,3,4.5\na.jpg,c.jpg,-1,1,2,3,4.5\na.jpg,e.jpg,0,1,2,3,4.5\n\
            f.jpg,\"g, h.jpg\",1,,,,\ni.jpg,,,,,,\n";
        let json = "{\"query\": \"a.jpg\", \"positives\": [\"d/b.jpg\"], \"junk\": [\"c.jpg\"], \
            \"box\": [1, 2, 3, 4.5]}\n\n{\"query\": \"f.jpg\", \"positives\": [\"g, h.jpg\"]}\n\
            {\"query\": \"i.jpg\", \"positives\": []}\n";
        let tsv = csv.replace("\"g, h.jpg\"", "g; h.jpg").replace(',', "\t").replace(';', ",");
        let expected = [
            ("a.jpg", Some([1.0, 2.0, 3.0, 4.5]), vec!["d/b.jpg"], vec!["c.jpg"]),
            ("f.jpg", None, vec!["g, h.jpg"], vec![]),
            ("i.jpg", None, vec![], vec![]),
        ];
        for (name, text) in [("mine.csv", csv), ("mine.jsonl", json), ("mine.tsv", &tsv)] {
            let set = read_text(name, text).unwrap();
            assert_eq!(lists(&set), expected, "{name}");
            assert_eq!((set.name.as_str(), set.form), ("mine", Form::Matches));
            let [setup] = set.setups.as_slice() else { panic!() };
            assert_eq!(setup.own, OwnPhoto::Hidden);
            assert_eq!(setup.rules.precision, ApForm::AtPositives { k: None });
            assert_eq!(set.name_rule, NameRule::Path);
        }
        assert_eq!(
            read_text("mine.csv", csv).unwrap().why,
            "mine.csv has the columns query and image"
        );
    }

    #[test]
    fn columns_have_other_names_and_a_directory_has_one_list() {
        for (column, delimiter) in [("Positive", ','), ("match", ';'), ("reference", '\t')] {
            let text = format!("{column}{delimiter}query\nb{delimiter}a\n");
            let set = read_text("x.txt", &text).unwrap();
            assert_eq!(lists(&set), [("a", None, vec!["b"], vec![])]);
        }
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("holiday");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("matches.csv"), "query,image\na,b\n").unwrap();
        let set = read(&dir).unwrap();
        assert_eq!((set.name.as_str(), set.photos.as_slice()), ("holiday", &[dir.clone()][..]));
        fs::write(dir.join("matches.tsv"), "").unwrap();
        let message = read(&dir).unwrap_err().to_string();
        assert!(message.contains("found matches.csv, matches.tsv: name the file"), "{message}");
    }

    #[test]
    fn errors_name_their_line() {
        for (text, expected) in [
            ("", ":1: expected the column query and one of image, positive"),
            ("a,b\nc,d\n", "in the first row, found \"a, b\""),
            ("query,image\n", "expected queries, found none"),
            ("query,image\n,b\n", ":2: expected a query"),
            ("query,image\na,b\na,b\n", ":3: of query \"a\": photo \"b\" is there twice"),
            ("query,image\na,a\n", ":2: \"a\" is its own match"),
            ("query,image,relevance\na,b,2\n", ":2: expected relevance 1, 0 or -1, not \"2\""),
            ("query,image,relevance\na,b,1\na,b,-1\n", ":3: photo \"b\" is both positive"),
            ("query,image\na,b,c\n", ":2: expected 2 cells, found 3"),
            ("query,image\na,b\nc\n", ":3: expected 2 cells, found 1"),
            ("query,match,image\na,b,c\n", ":1: the columns \"match\" and \"image\" mean the same"),
            ("query,match,match\na,b,c\n", ":1: the columns \"match\" and \"match\" mean the same"),
            (
                "query,image,relevance\np0,p1,0\np0,p1,1\n",
                "x.csv:3: photo \"p1\" is both positive and not relevant of query \"p0\", see ",
            ),
            ("query,image,relevance\na,b,0\na,b,-1\n", ":3: photo \"b\" is both junk and not rel"),
            ("query,image\na,b\nc,\"d\ne,f\ng,h\n", ":3: a quoted cell goes over the line's end"),
            ("query,image\na,b\nc,\"d", ":3: a quoted cell goes over the line's end"),
            ("query,image\n\na,\"b\nc\"\n", ":3: a quoted cell goes over the line's end"),
            ("query,image,x0\na,b,1\n", ":1: expected the columns x0, y0, x1 and y1"),
            ("query,image,x0,y0,x1,y1\na,b,1,2,3,z\n", ":2: expected a number of pixels"),
            ("query,image,x0,y0,x1,y1\na,b,1,2,1,3\n", ":2: expected a box x0 < x1"),
            ("query,image,x0,y0,x1,y1\na,b,1,2,3,4\na,c,,,,\n", ":3: another box of query"),
            ("{\"query\": \"a\"}\n", ":1: missing field `positives`"),
            ("{\"query\": \"a\", \"positives\": [], \"bx\": 1}\n", ":1: unknown field `bx`"),
            (
                "{\"query\": \"a\", \"positives\": []}\n{\"query\": \"a\", \"positives\": []}\n",
                ":2: query \"a\" is there twice, first at",
            ),
            ("{\"query\": \"\", \"positives\": []}\n", ":1: expected a query"),
            ("{\"query\": \"a\", \"positives\": [\"\"]}\n", ":1: expected a photo's name"),
        ] {
            let message = read_text("x.csv", text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

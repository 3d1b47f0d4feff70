//! Lines and tables of ground truth, and queries that are gathered from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_text::{counted, quoted};

use super::text::{self, refuse};
use super::{Asked, At, BoundingBox, Named, Place, Query};
use crate::{Error, Result};

/// A file of ground truth that is read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    file: Arc<Path>,
}

impl Source {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: Arc::from(file) }
    }

    /// The text of the file, without a mark of UTF-8.
    pub(super) fn text(&self) -> Result<String> {
        Ok(text::read(&self.file)?.0)
    }

    /// A line, from 1.
    pub(super) fn line(&self, line: usize) -> Place {
        Place { file: self.file.clone(), at: At::Line(u32::try_from(line).unwrap_or(u32::MAX)) }
    }

    /// An entry of a query's list.
    pub(super) fn entry(&self, list: &'static str, query: usize, entry: usize) -> Place {
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), at: At::Entry(list, number(query), number(entry)) }
    }

    /// An error at a line, from 1.
    pub(super) fn refuse(&self, line: usize, what: impl std::fmt::Display) -> Error {
        refuse(&self.line(line), what)
    }

    /// An error of the whole file.
    pub(super) fn refuse_whole(&self, what: impl Into<String>) -> Error {
        Error::GroundTruth { path: self.file.to_path_buf(), what: what.into() }
    }

    /// Its lines with their numbers, without blanks around them; empty ones are left out.
    pub(super) fn names(&self) -> Result<Vec<Named>> {
        text::names(&self.file)
    }

    /// The rows of the file. `header` says from the first row whether it is one of names of
    /// columns.
    pub(super) fn rows(
        &self,
        delimiter: u8,
        header: impl FnOnce(&[&str]) -> bool,
    ) -> Result<Table> {
        let mut text = self.text()?;
        // So that a quoted cell that is not closed has a line's end in it, even in the last line.
        text.push('\n');
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut rows = Vec::new();
        let mut lines = LineCount { text: &text, at: 0, line: 1 };
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error.position().map_or(1, csv::Position::line);
                self.refuse(line as usize, error.to_string())
            })?;
            let line = lines.of(record.position().map_or(0, csv::Position::byte) as usize);
            if record.iter().any(|cell| cell.contains(['\n', '\r'])) {
                let what = "a quoted cell goes over the line's end; is a quotation mark missing?";
                return Err(self.refuse(line, what));
            }
            let cells: Vec<String> = record.iter().map(|cell| cell.trim().to_owned()).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                rows.push(Row { line, cells });
            }
        }
        let first: Vec<&str> = rows.first().iter().flat_map(|row| row.cells()).collect();
        let has_header = !first.is_empty() && header(&first);
        let header = has_header.then(|| rows.remove(0));
        let (line, columns) = header.map_or((1, Vec::new()), |row| (row.line, row.cells));
        Ok(Table { line, columns, rows })
    }
}

/// Counts lines. The place that the crate gives for a record may be the end of the line before.
struct LineCount<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl LineCount<'_> {
    /// The line of the first byte at `at` or after it that is no end of a line.
    fn of(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let ends = bytes.iter().skip(at).take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let at = at + ends.count();
        let between = bytes.get(self.at..at).unwrap_or_default();
        self.line += between.iter().filter(|&&byte| byte == b'\n').count();
        self.at = at;
        self.line
    }
}

/// A table of text.
#[derive(Debug)]
pub(super) struct Table {
    /// The line of the names of the columns, from 1.
    line: usize,
    /// Names of the columns; none if the table has no such row.
    pub(super) columns: Vec<String>,
    /// The rows that are not empty.
    pub(super) rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug)]
pub(super) struct Row {
    /// The row's line, from 1.
    pub(super) line: usize,
    cells: Vec<String>,
}

impl Table {
    /// The place of the column that has one of these names, in any case.
    ///
    /// # Errors
    /// Two such columns.
    pub(super) fn column(&self, source: &Source, names: &[&str]) -> Result<Option<usize>> {
        let fits = |column: &str| names.iter().any(|name| column.eq_ignore_ascii_case(name));
        let mut fitting = (0..).zip(&self.columns).filter(|(_, column)| fits(column));
        match (fitting.next(), fitting.next()) {
            (Some((_, first)), Some((_, second))) => {
                let (first, second) = (quoted(first), quoted(second));
                let what = format!("the columns {first} and {second} mean the same: keep one");
                Err(source.refuse(self.line, what))
            }
            (first, _) => Ok(first.map(|(place, _)| place)),
        }
    }

    /// Checks that every row has as many cells as there are names of columns.
    pub(super) fn check_widths(&self, source: &Source) -> Result<()> {
        let expected = self.columns.len();
        let Some(row) = self.rows.iter().find(|row| row.len() != expected) else { return Ok(()) };
        let (cells, found) = (counted(expected as u64, "cell"), row.len());
        Err(source.refuse(row.line, format!("expected {cells}, found {found}")))
    }
}

impl Row {
    /// A cell; empty if the row ends before it.
    pub(super) fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }

    fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().map(String::as_str)
    }

    /// Number of cells.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }
}

/// Queries in the order in which they are named first, and what each should find.
#[derive(Debug, Default)]
pub(super) struct Queries {
    numbers: BTreeMap<Arc<str>, usize>,
    queries: Vec<Query>,
    lists: Vec<Lists>,
}

/// What a list says of a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The photo should be found.
    Positive,
    /// The photo is taken out of the ranking.
    Junk,
    /// The photo should not be found.
    Irrelevant,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Junk => "junk",
            Self::Irrelevant => "not relevant",
        }
    }
}

/// What a query should find, and what not.
#[derive(Debug, Default)]
struct Lists {
    positives: Vec<Named>,
    junk: Vec<Named>,
    /// Names of both, and of irrelevant photos.
    names: BTreeMap<Arc<str>, (Kind, Place)>,
}

impl Queries {
    /// The number of a query, which is added if it is new.
    pub(super) fn number(&mut self, photo: Named, bounding_box: Option<BoundingBox>) -> usize {
        if let Some(&number) = self.numbers.get(&photo.name) {
            return number;
        }
        let number = self.queries.len();
        self.numbers.insert(photo.name.clone(), number);
        self.queries.push(Query { name: photo.name.to_string(), photo, bounding_box });
        self.lists.push(Lists::default());
        number
    }

    /// The number of a query that must be new.
    pub(super) fn add(&mut self, photo: Named, bounding_box: Option<BoundingBox>) -> Result<usize> {
        if let Some(&number) = self.numbers.get(&photo.name) {
            let first = self.queries.get(number).map(|query| &query.photo.place);
            return Err(twice(&photo, "query", first));
        }
        Ok(self.number(photo, bounding_box))
    }

    /// A query by its number.
    pub(super) fn get(&self, number: usize) -> Option<&Query> {
        self.queries.get(number)
    }

    /// Notes what a query's list says of a photo.
    ///
    /// # Errors
    /// A photo that is there before.
    pub(super) fn list(&mut self, number: usize, photo: Named, kind: Kind) -> Result<()> {
        let (Some(query), Some(lists)) = (self.queries.get(number), self.lists.get_mut(number))
        else {
            return Ok(());
        };
        if let Some((before, first)) = lists.names.get(&photo.name) {
            if *before == kind {
                return Err(twice(
                    &photo,
                    &format!("of query {}: photo", quoted(&query.name)),
                    Some(first),
                ));
            }
            let what = format!(
                "photo {} is both {} and {} of query {}, see {first}",
                quoted(&photo.name),
                kind.min(*before).name(),
                kind.max(*before).name(),
                quoted(&query.name)
            );
            return Err(refuse(&photo.place, what));
        }
        lists.names.insert(photo.name.clone(), (kind, photo.place.clone()));
        match kind {
            Kind::Positive => lists.positives.push(photo),
            Kind::Junk => lists.junk.push(photo),
            Kind::Irrelevant => {}
        }
        Ok(())
    }

    /// Whether there is no query.
    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// The queries, and what each should find.
    pub(super) fn finish(self) -> (Vec<Query>, Vec<Asked>) {
        let asked = self.lists.into_iter().enumerate().map(|(query, lists)| Asked {
            query,
            positives: lists.positives,
            junk: lists.junk,
        });
        let asked = asked.collect();
        (self.queries, asked)
    }
}

/// The error of a name that is there before.
fn twice(photo: &Named, what: &str, first: Option<&Place>) -> Error {
    let first = first.map(|first| format!(", first at {first}")).unwrap_or_default();
    refuse(&photo.place, format!("{what} {} is there twice{first}", quoted(&photo.name)))
}

/// Checks that no name of a list is there twice.
pub(super) fn check_once(names: &[Named], what: &str) -> Result<()> {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for named in names {
        if let Some(first) = seen.insert(&named.name, &named.place) {
            return Err(twice(named, what, Some(first)));
        }
    }
    Ok(())
}

/// Checks that a box has a width and a height.
pub(super) fn check_box(place: &Place, [x0, y0, x1, y1]: BoundingBox) -> Result<BoundingBox> {
    // Written so that a NaN is refused too.
    if x0 < x1 && y0 < y1 && [x0, y0, x1, y1].iter().all(|x| x.is_finite()) {
        return Ok([x0, y0, x1, y1]);
    }
    Err(refuse(place, format!("expected a box x0 < x1, y0 < y1, found {x0} {y0} {x1} {y1}")))
}

/// Files of a directory whose names fit, in the order of their names.
pub(super) fn files(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        if path.is_file() && path.file_name().and_then(|name| name.to_str()).is_some_and(&fits) {
            names.insert(path);
        }
    }
    Ok(names.into_iter().collect())
}

/// `path` itself if it is a file, and with it the directory that it is in; or the one file of the
/// directory whose name fits. `what` names it for the error.
pub(super) fn file_of(
    path: &Path,
    what: &str,
    fits: impl Fn(&str) -> bool,
    choose: impl Fn(&[PathBuf]) -> Option<PathBuf>,
) -> Result<(PathBuf, PathBuf)> {
    if !path.is_dir() {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        return Ok((path.to_owned(), dir.unwrap_or(Path::new(".")).to_owned()));
    }
    let found = files(path, fits)?;
    let refuse = |what: String| Err(Error::GroundTruth { path: path.to_owned(), what });
    match found.as_slice() {
        [] => refuse(format!("expected {what}, found none")),
        [one] => Ok((one.clone(), path.to_owned())),
        several => match choose(several) {
            Some(one) => Ok((one, path.to_owned())),
            None => {
                let names: Vec<_> = several.iter().map(|p| file_name(p)).collect();
                refuse(format!("expected one {what}, found {}: name the file", names.join(", ")))
            }
        },
    }
}

/// The last part of a path, for texts.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &[u8]) -> (tempfile::TempDir, Source) {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.csv");
        fs::write(&path, text).unwrap();
        (tmp, Source::new(&path))
    }

    #[test]
    fn rows_have_their_lines() {
        let text = "\u{feff}a,b\r\n1, two\r\n\r\n\"x, \"\"y\"\" z\",3\n4\n";
        let (_tmp, source) = source(text.as_bytes());
        let table = source.rows(b',', |first| first == ["a", "b"]).unwrap();
        assert_eq!(table.columns, ["a", "b"]);
        assert_eq!(
            (table.column(&source, &["z", "B"]).unwrap(), table.column(&source, &["c"]).unwrap()),
            (Some(1), None)
        );
        let rows: Vec<(usize, &str, &str, usize)> =
            table.rows.iter().map(|row| (row.line, row.cell(0), row.cell(1), row.len())).collect();
        let expected = [(2, "1", "two", 2), (4, "x, \"y\" z", "3", 2), (5, "4", "", 1)];
        assert_eq!(rows, expected);
        assert!(source.rows(b',', |_| false).unwrap().columns.is_empty());
    }

    #[test]
    fn bytes_that_are_no_text_name_their_line() {
        let (_tmp, source) = source(b"a\nb\n\xff\n");
        let message = source.names().unwrap_err().to_string();
        assert!(message.ends_with("a.csv:3: expected UTF-8"), "{message}");
    }

    #[test]
    fn names_that_are_there_twice_are_errors() {
        let source = Source::new(Path::new("a.csv"));
        let named = |name: &str, line| Named::new(name, source.line(line));
        let mut queries = Queries::default();
        let q = queries.add(named("q", 1), None).unwrap();
        queries.list(q, named("p", 1), Kind::Positive).unwrap();
        queries.list(q, named("j", 2), Kind::Junk).unwrap();
        for (error, expected) in [
            (queries.add(named("q", 3), None).err(), ":3: query \"q\" is there twice, first at"),
            (
                queries.list(q, named("p", 4), Kind::Positive).err(),
                "photo \"p\" is there twice, first at a.csv:1",
            ),
            (
                queries.list(q, named("j", 5), Kind::Positive).err(),
                ":5: photo \"j\" is both positive and",
            ),
        ] {
            let message = error.unwrap().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let (queries, asked) = queries.finish();
        assert_eq!((queries.len(), asked[0].positives.len(), asked[0].junk.len()), (1, 1, 1));
        assert!(check_once(&[named("a", 1), named("b", 2)], "photo").is_ok());
        assert!(check_once(&[named("a", 1), named("a", 2)], "photo").is_err());
        for bad in [[1.0, 0.0, 1.0, 2.0], [0.0, 0.0, f64::NAN, 2.0], [0.0, 0.0, f64::INFINITY, 2.0]]
        {
            assert!(check_box(&source.line(1), bad).is_err());
        }
    }
}

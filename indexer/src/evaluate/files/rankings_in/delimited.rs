//! Rankings as CSV.

use std::fs::File;
use std::io::Read;

use csv::{ByteRecord, ReaderBuilder, Terminator};
use ocelli_text::quoted;

use super::collect::Collector;
use super::{Fault, Outcome, RankingSource};

/// Records with the lines in which they begin.
struct Records<R> {
    reader: csv::Reader<R>,
    record: ByteRecord,
}

/// Places of the columns of [`RankingSource::Long`].
struct Columns {
    query: usize,
    image: usize,
    rank: Option<usize>,
    score: Option<usize>,
}

/// Reads CSV of `form` with a delimiter. Its first line names the columns if `header`.
pub(super) fn read(
    file: File,
    form: RankingSource,
    delimiter: u8,
    header: bool,
) -> Outcome<Collector> {
    // The last line counts like the others, whether or not it is ended.
    let mut records = Records::new(file.chain(&b"\n"[..]), delimiter);
    let mut columns = match form {
        RankingSource::Gldv2 => Columns { query: 0, image: 1, rank: None, score: None },
        _ => Columns { query: 0, image: 1, rank: None, score: Some(2) },
    };
    let mut width = if form == RankingSource::Gldv2 { 2 } else { 3 };
    if header && let Some((_, fields)) = records.next()? {
        width = fields.len();
        if form == RankingSource::Long {
            columns = Columns::of(&fields)?;
        }
    }
    let mut all = Collector::new(columns.rank.is_some(), "line");
    while let Some((line, fields)) = records.next()? {
        if fields.len() != width {
            let found = fields.len();
            return Err(Fault { line, what: format!("expected {width} columns, found {found}") });
        }
        if form == RankingSource::Gldv2 {
            let query = all.new_query(fields[0], line)?;
            for image in fields[1].split_whitespace() {
                all.push(query, image, 0, None, line)?;
            }
            continue;
        }
        let query = all.query(fields[columns.query], line)?;
        let rank = columns.rank.map(|rank| number(fields[rank], "rank", line)).transpose()?;
        let score = columns.score.map(|score| number(fields[score], "score", line)).transpose()?;
        all.push(query, fields[columns.image], rank.unwrap_or(0), score, line)?;
    }
    Ok(all)
}

impl Columns {
    fn of(names: &[&str]) -> Outcome<Self> {
        let place = |wanted: &str| {
            let mut fitting =
                (0..names.len()).filter(|&at| names[at].trim().eq_ignore_ascii_case(wanted));
            match (fitting.next(), fitting.next()) {
                (_, Some(_)) => {
                    Err(Fault { line: 1, what: format!("column {wanted} is there twice") })
                }
                (first, None) => Ok(first),
            }
        };
        let missing = |name| Fault { line: 1, what: format!("expected a column {name}") };
        Ok(Self {
            query: place("query")?.ok_or_else(|| missing("query"))?,
            image: place("image")?.ok_or_else(|| missing("image"))?,
            rank: place("rank")?,
            score: place("score")?,
        })
    }
}

/// A field as a number.
fn number<T: std::str::FromStr>(field: &str, what: &str, line: u32) -> Outcome<T> {
    field.trim().parse().map_err(|_| {
        let what = format!("expected a {what}, found {}", quoted(field));
        Fault { line, what }
    })
}

impl<R: Read> Records<R> {
    fn new(from: R, delimiter: u8) -> Self {
        // With "\r\n" as an end the crate would count a line too few behind it.
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(from);
        Self { reader, record: ByteRecord::new() }
    }

    /// The next record and the line where it begins.
    fn next(&mut self) -> Outcome<Option<(u32, Vec<&str>)>> {
        loop {
            let read = self.reader.read_byte_record(&mut self.record);
            let behind = self.reader.position().line();
            let line_at = |inside: u64| {
                let line = behind.saturating_sub(1 + inside);
                u32::try_from(line).unwrap_or(u32::MAX)
            };
            match read {
                Ok(false) => return Ok(None),
                Ok(true) if self.record.len() == 1 && matches!(&self.record[0], b"" | b"\r") => {}
                Ok(true) => {
                    let breaks = self.record.as_slice().iter().filter(|&&b| b == b'\n').count();
                    let line = line_at(breaks as u64);
                    if self.record.iter().next_back().is_some_and(|cell| cell.ends_with(b"\n")) {
                        // A cell that is not closed goes to the file's end, and no line's end is
                        // behind it.
                        let closed =
                            matches!(self.reader.read_byte_record(&mut self.record), Ok(true));
                        let what =
                            "a quoted cell ends in a line's end; is a quotation mark missing?";
                        let line = line.saturating_add(u32::from(!closed));
                        return Err(Fault { line, what: what.to_owned() });
                    }
                    return fields(&self.record, line).map(|fields| Some((line, fields)));
                }
                Err(e) => return Err(Fault { line: line_at(0), what: e.to_string() }),
            }
        }
    }
}

/// The fields of a record as text, without the `\r` of the line's end.
fn fields(record: &ByteRecord, line: u32) -> Outcome<Vec<&str>> {
    let texts = record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
    let Ok(mut fields) = texts else {
        return Err(Fault { line, what: "expected UTF-8, found other bytes".to_owned() });
    };
    if let Some(last) = fields.last_mut() {
        *last = last.strip_suffix('\r').unwrap_or(last);
    }
    if line == 1
        && let Some(first) = fields.first_mut()
    {
        *first = first.trim_start_matches('\u{feff}');
    }
    Ok(fields)
}

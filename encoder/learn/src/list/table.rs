//! A list in a Parquet file: one photo a row. Columns that have no meaning here are left alone.

use std::fs::File;

use ocelli_index::foreign::{self, ParquetColumn, ParquetKind};
use ocelli_pictures::PixelBox;
use parquet::basic::LogicalType;
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::Line;

#[cfg(test)]
mod tests;

/// Rows that are read at once.
const BLOCK: usize = 1 << 14;
/// Columns of a box, if it has one for each edge.
const EDGES: [&str; 4] = ["x0", "y0", "x1", "y1"];

/// A fault, in one line without the file's name.
type Outcome<T> = Result<T, String>;
/// Leaf columns of a file, by their numbers.
type Leaf = (usize, ParquetKind);

/// The columns that are read.
struct Columns {
    path: Leaf,
    class: Leaf,
    split: Option<Leaf>,
    bbox: BoxColumns<Leaf>,
}

/// The form in which boxes are stored.
enum BoxColumns<T> {
    /// There are none.
    None,
    /// In a column of lists of four numbers.
    List(T),
    /// In four columns of one number each.
    Edges([T; 4]),
}

/// Reads all rows of the file and their boxes.
///
/// # Errors
/// The fault, and the row from 0 if it is that of one.
pub(super) fn read(file: File) -> Outcome<Vec<(Line, Option<PixelBox>)>> {
    let file = foreign::guard("Parquet", || SerializedFileReader::new(file))?;
    let columns = Columns::find(&file)?;
    let mut all = Vec::new();
    for group in 0..file.num_row_groups() {
        let rows = file.metadata().row_group(group).num_rows();
        let mut left = usize::try_from(rows)
            .map_err(|_| format!("damaged: row group {group} has {rows} rows"))?;
        let mut readers = columns.open(&file, group)?;
        while left > 0 {
            let n = left.min(BLOCK);
            readers.read(n, &mut all)?;
            left -= n;
        }
    }
    Ok(all)
}

impl Columns {
    fn find(file: &SerializedFileReader<File>) -> Outcome<Columns> {
        let leaves = file.metadata().file_metadata().schema_descr().columns();
        let paths: Vec<String> = leaves.iter().map(|leaf| leaf.path().string()).collect();
        let place = |fits: &dyn Fn(&str) -> bool, name: &str, what: &str, kinds: &[ParquetKind]| {
            let Some((at, leaf)) =
                paths.iter().zip(leaves).enumerate().find_map(|(at, (path, leaf))| {
                    // A column of nulls that has no type is none.
                    (fits(path) && !is_untyped(leaf)).then_some((at, leaf))
                })
            else {
                return Ok(None);
            };
            match ParquetKind::of(leaf).filter(|kind| kinds.contains(kind)) {
                Some(kind) => Ok(Some((at, kind))),
                None => Err(format!("column {name}: expected {what}, found another type")),
            }
        };
        let named = |name: &str, what: &str, kinds: &[ParquetKind]| {
            place(&|path| path == name, name, what, kinds)
        };
        let missing = |name: &str| {
            format!("expected a column {name}, found {}", ocelli_text::quoted(&paths.join(", ")))
        };
        let words = [ParquetKind::Text, ParquetKind::Bytes];
        let labels = [ParquetKind::Text, ParquetKind::Bytes, ParquetKind::Integers];
        let numbers = [ParquetKind::Float, ParquetKind::Integers];
        let path = named("path", "text", &words)?.ok_or_else(|| missing("path"))?;
        let class = named("class", "text or integers", &labels)?.ok_or_else(|| missing("class"))?;
        let in_box = |path: &str| path == "box" || path.starts_with("box.");
        let list = place(&in_box, "box", "a list of floats", &[ParquetKind::Floats])?;
        let mut edges = Vec::new();
        for name in EDGES {
            edges.extend(named(name, "numbers", &numbers)?);
        }
        let bbox = match (list, <[Leaf; 4]>::try_from(edges)) {
            (None, Err(found)) if found.is_empty() => BoxColumns::None,
            (None, Ok(edges)) => BoxColumns::Edges(edges),
            (Some(list), Err(found)) if found.is_empty() => BoxColumns::List(list),
            (None, Err(_)) => return Err("columns x0, y0, x1, y1: expected all or none".to_owned()),
            (Some(_), _) => {
                return Err("expected the column box or x0, y0, x1 and y1, found both".to_owned());
            }
        };
        Ok(Columns { path, class, split: named("split", "text", &words)?, bbox })
    }

    fn open(&self, file: &SerializedFileReader<File>, group: usize) -> Outcome<Readers> {
        let open = |(leaf, kind): Leaf| -> Outcome<Column> {
            Ok((ParquetColumn::open(file, group, leaf)?, kind))
        };
        let bbox = match self.bbox {
            BoxColumns::None => BoxColumns::None,
            BoxColumns::List(leaf) => BoxColumns::List(open(leaf)?),
            BoxColumns::Edges([x0, y0, x1, y1]) => {
                BoxColumns::Edges([open(x0)?, open(y0)?, open(x1)?, open(y1)?])
            }
        };
        let (path, class) = (open(self.path)?, open(self.class)?);
        Ok(Readers { path, class, split: self.split.map(open).transpose()?, bbox })
    }
}

/// Says whether a column has the type of nulls and nothing else, as pyarrow writes it.
fn is_untyped(leaf: &ColumnDescriptor) -> bool {
    matches!(leaf.logical_type_ref(), Some(LogicalType::Unknown))
}

/// An open column.
type Column = (ParquetColumn, ParquetKind);

/// The columns of a row group, all at the same row.
struct Readers {
    path: Column,
    class: Column,
    split: Option<Column>,
    bbox: BoxColumns<Column>,
}

impl Readers {
    /// Appends the next `n` rows.
    fn read(&mut self, n: usize, all: &mut Vec<(Line, Option<PixelBox>)>) -> Outcome<()> {
        let paths = texts(&mut self.path, n)?;
        let classes = texts(&mut self.class, n)?;
        let splits = match &mut self.split {
            Some(split) => texts(split, n)?,
            None => vec![Ok(None); n],
        };
        let boxes = boxes(&mut self.bbox, n)?;
        let rows = paths.into_iter().zip(classes).zip(splits).zip(boxes);
        for (((path, class), split), bbox) in rows {
            let row = || {
                let required = |value: Option<String>, name: &str| {
                    value.ok_or_else(|| format!("expected a {name}, found null"))
                };
                let (path, class) = (required(path?, "path")?, required(class?, "class")?);
                let line = Line { path, class, bbox: bbox?, split: split? };
                let bbox = line.checked()?;
                Ok((line, bbox))
            };
            let row = row().map_err(|what: String| format!("row {}: {what}", all.len()))?;
            all.push(row);
        }
        Ok(())
    }
}

/// The next `n` texts, or why one is refused.
fn texts((column, kind): &mut Column, n: usize) -> Outcome<Vec<Outcome<Option<String>>>> {
    if *kind == ParquetKind::Integers {
        let number = |number: Outcome<Option<i64>>| Ok(number?.map(|number| number.to_string()));
        return Ok(column.integers(n)?.into_iter().map(number).collect());
    }
    let text = |value: Option<ByteArray>| match value.as_ref().map(ByteArray::as_utf8) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => Err("expected UTF-8, found other bytes".to_owned()),
    };
    Ok(column.bytes(n)?.into_iter().map(text).collect())
}

/// The next `n` boxes, or why one is refused.
fn boxes(columns: &mut BoxColumns<Column>, n: usize) -> Outcome<Vec<Outcome<Option<[f64; 4]>>>> {
    match columns {
        BoxColumns::None => Ok(vec![Ok(None); n]),
        BoxColumns::List((column, _)) => {
            let of = |row: Option<&[f32]>| match row {
                None => Ok(None),
                Some(&[x0, y0, x1, y1]) => Ok(Some([x0, y0, x1, y1].map(f64::from))),
                Some(row) => Err(format!("box: expected 4 numbers, found {}", row.len())),
            };
            let lists = column.lists(n)?;
            match lists.len() {
                found if found == n => Ok(lists.rows().map(of).collect()),
                found => Err(format!("column box: expected {n} values, found {found}")),
            }
        }
        BoxColumns::Edges(columns) => {
            let mut all = vec![[None; 4]; n];
            for (at, column) in columns.iter_mut().enumerate() {
                for (row, value) in all.iter_mut().zip(numbers(column, n)?) {
                    row.get_mut(at).into_iter().for_each(|to| *to = value);
                }
            }
            Ok(all.into_iter().map(whole_box).collect())
        }
    }
}

/// The next `n` numbers.
fn numbers((column, kind): &mut Column, n: usize) -> Outcome<Vec<Option<f64>>> {
    if *kind != ParquetKind::Integers {
        return column.floats(n);
    }
    let float = |number: Outcome<Option<i64>>| Ok(number?.map(|number| number as f64));
    column.integers(n)?.into_iter().map(float).collect()
}

/// A box of which all edges are there, or none is.
fn whole_box(edges: [Option<f64>; 4]) -> Outcome<Option<[f64; 4]>> {
    match edges {
        [None, None, None, None] => Ok(None),
        [Some(x0), Some(y0), Some(x1), Some(y1)] => Ok(Some([x0, y0, x1, y1])),
        _ => Err("expected all of x0, y0, x1 and y1 or none, found some".to_owned()),
    }
}

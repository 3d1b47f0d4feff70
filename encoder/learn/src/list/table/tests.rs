use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::list::List;

type Group<'a> = SerializedRowGroupWriter<'a, File>;

/// Writes a file of the schema, one row group for each number that `fill` takes.
fn write(path: &Path, schema: &str, groups: usize, fill: impl Fn(usize, &mut Group<'_>)) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    for number in 0..groups {
        let mut group = writer.next_row_group().unwrap();
        fill(number, &mut group);
        group.close().unwrap();
    }
    writer.close().unwrap();
}

macro_rules! column {
    ($group:expr, $type:ty, $values:expr, $def:expr, $rep:expr) => {{
        let mut column = $group.next_column().unwrap().unwrap();
        column.typed::<$type>().write_batch($values, $def, $rep).unwrap();
        column.close().unwrap();
    }};
}

fn words(words: &[&str]) -> Vec<ByteArray> {
    words.iter().map(|&word| word.into()).collect()
}

#[test]
fn a_table_says_what_lines_say() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("set.parquet");
    let schema = "message m { required binary path (UTF8); required int32 other; \
                  required binary class (UTF8); optional group box (LIST) { \
                  repeated group list { optional float element; } } \
                  optional binary split (UTF8); }";
    write(&place, schema, 2, |number, group| {
        let paths = [["a/1.jpg", "a/2.jpg"], ["b/1.jpg", "b/2.jpg"]];
        column!(group, ByteArrayType, &words(&paths[number]), None, None);
        column!(group, parquet::data_type::Int32Type, &[1, 2], None, None);
        let classes = [["a", "a"], ["b", "b"]];
        column!(group, ByteArrayType, &words(&classes[number]), None, None);
        // [1, 2, 3.5, 4], null.
        let def = [3, 3, 3, 3, 0];
        let rep = [0, 1, 1, 1, 0];
        column!(group, FloatType, &[1.0, 2.0, 3.5, 4.0], Some(&def), Some(&rep));
        column!(group, ByteArrayType, &words(&["val"]), Some(&[0, 1]), None);
    });
    let list = List::read(&place).unwrap();
    let lines = folder.path().join("set.jsonl");
    let text = concat!(
        r#"{"path": "a/1.jpg", "class": "a", "box": [1, 2, 3.5, 4]}"#,
        "\n",
        r#"{"path": "a/2.jpg", "class": "a", "split": "val"}"#,
        "\n",
        r#"{"path": "b/1.jpg", "class": "b", "box": [1, 2, 3.5, 4]}"#,
        "\n",
        r#"{"path": "b/2.jpg", "class": "b", "split": "val"}"#,
    );
    std::fs::write(&lines, text).unwrap();
    let expected = List::read(&lines).unwrap();
    assert_eq!((list.entries, list.classes), (expected.entries, expected.classes));
    let bytes = std::fs::read(&place).unwrap();
    assert_eq!(list.hash, ocelli_index::Hash::of(&bytes));
    std::fs::write(&place, &bytes[..bytes.len() / 2]).unwrap();
    let error = List::read(&place).unwrap_err().to_string();
    assert!(error.contains("set.parquet: ") && error.contains("Parquet"), "{error}");
}

/// Integers as classes, edges in four columns; every fault has its row.
#[test]
fn edges_and_numbers_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("set.parquet");
    let schema = "message m { optional binary path (UTF8); required int64 class; \
                  optional double x0; optional int64 y0; required double x1; optional double y1; }";
    type Row = (Option<&'static str>, i64, Option<f64>, Option<i64>, f64, Option<f64>);
    let read = |rows: &[Row]| {
        write(&place, schema, rows.len(), |number, group| {
            let (path, class, x0, y0, x1, y1) = rows[number];
            let (x0, y0): (Vec<f64>, Vec<i64>) =
                (x0.into_iter().collect(), y0.into_iter().collect());
            let (path, y1): (Vec<&str>, Vec<f64>) =
                (path.into_iter().collect(), y1.into_iter().collect());
            let def = |n: usize| Some([n as i16]);
            column!(
                group,
                ByteArrayType,
                &words(&path),
                def(path.len()).as_ref().map(|d| &d[..]),
                None
            );
            column!(group, Int64Type, &[class], None, None);
            column!(group, DoubleType, &x0, def(x0.len()).as_ref().map(|d| &d[..]), None);
            column!(group, Int64Type, &y0, def(y0.len()).as_ref().map(|d| &d[..]), None);
            column!(group, DoubleType, &[x1], None, None);
            column!(group, DoubleType, &y1, def(y1.len()).as_ref().map(|d| &d[..]), None);
        });
        List::read(&place)
    };
    let good = (Some("a.jpg"), 7, Some(1.25), Some(2), 300.1, Some(4.0));
    let list = read(&[good, (Some("b.jpg"), -3, Some(0.0), Some(0), 2.0, Some(1.0))]).unwrap();
    assert_eq!(list.classes, ["-3", "7"]);
    let bbox = PixelBox { x0: 1.25, y0: 2.0, x1: 300.1, y1: 4.0 };
    assert_eq!((list.entries[0].bbox, list.entries[0].class), (Some(bbox), 1));
    for (bad, expected) in [
        ((None, 1, Some(0.0), Some(0), 2.0, Some(1.0)), "expected a path, found null"),
        ((Some(""), 1, Some(0.0), Some(0), 2.0, Some(1.0)), "found an empty one"),
        ((Some("a"), 1, None, Some(0), 2.0, Some(1.0)), "expected all of x0, y0, x1 and y1"),
        ((Some("a"), 1, Some(5.0), Some(0), 2.0, Some(1.0)), "expected x0 < x1"),
    ] {
        let error = read(&[good, bad]).unwrap_err().to_string();
        assert!(error.contains("set.parquet: row 1: ") && error.contains(expected), "{error}");
    }
}

/// Columns of nulls without a type, as pyarrow makes them of None alone, are none; names end in
/// capital letters, too.
#[test]
fn columns_without_a_type_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("set.PARQUET");
    let schema = "message m { required binary path (UTF8); required int64 class; \
                  optional int32 split (UNKNOWN); optional int32 box (UNKNOWN); }";
    write(&place, schema, 1, |_, group| {
        column!(group, ByteArrayType, &words(&["a.jpg"]), None, None);
        column!(group, Int64Type, &[3], None, None);
        column!(group, parquet::data_type::Int32Type, &[], Some(&[0]), None);
        column!(group, parquet::data_type::Int32Type, &[], Some(&[0]), None);
    });
    let list = List::read(&place).unwrap();
    assert_eq!((list.entries[0].bbox, list.entries[0].split.as_deref()), (None, None));
    let schema = "message m { required binary path (UTF8); optional int32 class (UNKNOWN); }";
    write(&place, schema, 0, |_, _| ());
    let error = List::read(&place).unwrap_err().to_string();
    assert!(error.contains("expected a column class"), "{error}");
}

#[test]
fn columns_are_asked_for_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("set.parquet");
    for (columns, expected) in [
        ("required binary class (UTF8);", "expected a column path, found \"class\""),
        ("required int64 path; required int64 class;", "column path: expected text"),
        (
            "required binary path (UTF8); required int64 class; required double x0;",
            "expected all or none",
        ),
        (
            "required binary path (UTF8); required int64 class; required double box;",
            "column box: expected a list of floats",
        ),
    ] {
        write(&place, &format!("message m {{ {columns} }}"), 0, |_, _| ());
        let error = List::read(&place).unwrap_err().to_string();
        assert!(error.contains("set.parquet: ") && error.contains(expected), "{error}");
    }
}

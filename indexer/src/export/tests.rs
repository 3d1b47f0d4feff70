use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use ::parquet::basic::{LogicalType, TimeUnit, Type};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row};
use ocelli_index::attributes::Value;
use ocelli_index::attributes::record::{Fields, encode};
use ocelli_index::{Hash, IndexDir, ShardBuilder, Snapshot};
use tempfile::tempdir;

use super::*;
use crate::lifecycle::fixture::{commit, model};
use crate::silent;

fn vector(id: u64) -> Vec<f32> {
    (0..4).map(|j| ((id * 5 + j) as f32 * 0.37).cos()).collect()
}

fn fields(id: u64) -> Fields {
    let mut fields = Fields::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("id", Value::Int(-(id as i64)));
    add("score", Value::Float(id as f64 / 4.0));
    if !id.is_multiple_of(3) {
        add("place", Value::Text(format!("Kraków {}", id % 4)));
        add("indoors", Value::Bool(id.is_multiple_of(2)));
    }
    add("modified_ms", Value::Int(1_556_668_800_000 + id as i64));
    if id.is_multiple_of(2) {
        // Before 1970 too.
        add("captured_ms", Value::Int(id as i64 * 1000 - 5000));
    }
    add("taken_ms", Value::Int(id as i64));
    add("phash", Value::Bytes8([id as u8; 8]));
    add("sha256", Value::Bytes32([id as u8; 32]));
    fields
}

/// Twenty rows with attributes and keys, ten without either; one of each is deleted.
fn index(root: &Path) {
    let dir = IndexDir::create(root).unwrap();
    let model = model(0);
    dir.put_model(&model).unwrap();
    let shards = [0..20u64, 100..110].map(|ids| {
        let mut b = ShardBuilder::new(&model);
        let first = ids.start;
        for id in ids {
            let key = if id < 100 { format!("photo {id}") } else { String::new() };
            b.push(id, &key, &vector(id)).unwrap();
            if id < 100 {
                b.set_record(&encode(&fields(id)).unwrap()).unwrap();
            }
        }
        dir.put_shard(b, Hash::of(b"plan"), first as u32).unwrap()
    });
    commit(&dir, shards.to_vec(), &[7], 110);
}

/// The rows of a file by id, each with its columns by name.
fn read(path: &Path) -> BTreeMap<i64, BTreeMap<String, Field>> {
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let row = |row: Row| {
        let columns: BTreeMap<String, Field> =
            row.get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect();
        match columns["id"] {
            Field::Long(id) => (id, columns),
            ref other => panic!("{other:?}"),
        }
    };
    file.get_row_iter(None).unwrap().map(|found| row(found.unwrap())).collect()
}

#[test]
fn rows_come_out_with_their_attributes() {
    let tmp = tempdir().unwrap();
    let out = tmp.path().join("rows.parquet");
    index(&tmp.path().join("index"));
    let root = tmp.path().join("index");
    let report = export_parquet(&root, None, &out, ParquetRows::Names, &silent).unwrap();
    assert_eq!((report.rows, report.groups), (29, 1));
    let rows = read(&out);
    let ids: Vec<i64> = (0..20).filter(|id| *id != 7).chain(100..110).collect();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), ids);
    for (&id, row) in &rows {
        assert_eq!(row.len(), report.columns.len());
        let text = |name: &str| match &row[name] {
            Field::Str(text) => Some(text.clone()),
            Field::Null => None,
            other => panic!("{other:?}"),
        };
        if id >= 100 {
            assert!(row.iter().all(|(name, field)| name == "id" || *field == Field::Null));
            continue;
        }
        let own = fields(id as u64);
        assert_eq!(text("key"), Some(format!("photo {id}")));
        assert_eq!(row["attribute_id"], Field::Long(-id));
        assert_eq!(row["score"], Field::Double(id as f64 / 4.0));
        assert_eq!(text("place"), own.get("place").map(ToString::to_string));
        let indoors = own.get("indoors").map_or(Field::Null, |_| Field::Bool(id % 2 == 0));
        assert_eq!(row["indoors"], indoors);
        assert_eq!(row["modified_ms"], Field::TimestampMillis(1_556_668_800_000 + id));
        let captured = Field::TimestampMillis(id * 1000 - 5000);
        assert_eq!(row["captured_ms"], if id % 2 == 0 { captured } else { Field::Null });
        assert_eq!(row["taken_ms"], Field::Long(id));
        for (name, len) in [("phash", 8), ("sha256", 32)] {
            match &row[name] {
                Field::Bytes(bytes) => assert_eq!(bytes.data(), vec![id as u8; len]),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Programs that read the schema take them for moments in UTC.
#[test]
fn times_of_ocelli_are_timestamps() {
    let tmp = tempdir().unwrap();
    let (root, out) = (tmp.path().join("index"), tmp.path().join("rows.parquet"));
    index(&root);
    export_parquet(&root, None, &out, ParquetRows::Names, &silent).unwrap();
    let file = SerializedFileReader::new(File::open(&out).unwrap()).unwrap();
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let type_of = |name: &str| {
        let column = schema.columns().iter().find(|column| column.name() == name).unwrap();
        (column.physical_type(), column.logical_type_ref().cloned())
    };
    let moment = Some(LogicalType::timestamp(true, TimeUnit::MILLIS));
    assert_eq!(type_of("captured_ms"), (Type::INT64, moment.clone()));
    assert_eq!(type_of("modified_ms"), (Type::INT64, moment));
    assert_eq!(type_of("taken_ms"), (Type::INT64, None));
}

#[test]
fn codes_and_vectors_are_those_of_the_index() {
    let tmp = tempdir().unwrap();
    let root = tmp.path().join("index");
    index(&root);
    let snapshot = Snapshot::open(&root, None).unwrap();
    let (codes, vectors) = (tmp.path().join("codes.parquet"), tmp.path().join("x.parquet"));
    export_parquet(&root, None, &codes, ParquetRows::Codes, &silent).unwrap();
    let report = export_parquet(&root, None, &vectors, ParquetRows::Vectors, &silent).unwrap();
    assert_eq!(report.columns.last().unwrap(), "vector");
    let (codes, vectors) = (read(&codes), read(&vectors));
    assert_eq!((codes.len(), vectors.len()), (29, 29));
    for (id, row) in codes {
        // By the model's own arithmetic, from the vector that went in.
        let model = snapshot.model();
        let z = model.transform(&vector(id as u64)).unwrap();
        let list = model.assign(&z);
        let mut code = vec![0; model.parts().m];
        model.encode(&z, list, &mut code);
        assert_eq!(row["list"], Field::Int(list as i32));
        match &row["code"] {
            Field::Bytes(bytes) => assert_eq!(bytes.data(), code),
            other => panic!("{other:?}"),
        }
        let Field::ListInternal(found) = &vectors[&id]["vector"] else { panic!("{vectors:?}") };
        let expected = model.reconstruct(list, &code);
        let expected: Vec<Field> = expected.into_iter().map(Field::Float).collect();
        assert_eq!(found.elements(), expected);
    }
}

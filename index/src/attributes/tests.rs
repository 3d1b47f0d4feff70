use std::path::Path;

use proptest::prelude::*;

use super::record::{self, Fields};
use super::*;
use crate::Hash;
use crate::base::error::Error;
use crate::files::container::{FileKind, Reader, SectionKind, Writer};
use crate::model::Metric;
use crate::model::tests::small;
use crate::shard::{Shard, ShardBuilder};
use ocelli_test_support::{cases, step};

/// A value of each type; whole numbers and floats of several widths.
pub(crate) fn value(ty: ColumnType) -> BoxedStrategy<Value> {
    match ty {
        ColumnType::Int64 => prop_oneof![
            any::<i64>().prop_map(Value::Int),
            (-5i64..5).prop_map(Value::Int),
            (1_500_000_000_000i64..1_600_000_000_000).prop_map(Value::Int),
        ]
        .boxed(),
        ColumnType::Float64 => prop_oneof![
            (-4i32..4).prop_map(|v| Value::Float(f64::from(v) / 2.0)),
            any::<f64>().prop_filter("NaN", |v| !v.is_nan()).prop_map(Value::Float),
        ]
        .boxed(),
        ColumnType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ColumnType::String => {
            prop_oneof!["[ab]{0,2}".prop_map(Value::Text), "\\PC{0,12}".prop_map(Value::Text),]
                .boxed()
        }
        ColumnType::Bytes8 => any::<[u8; 8]>().prop_map(Value::Bytes8).boxed(),
        ColumnType::Bytes32 => any::<[u8; 32]>().prop_map(Value::Bytes32).boxed(),
    }
}

/// A column of each type, and one that only few rows have.
pub(crate) const COLUMNS: [(&str, ColumnType); 8] = [
    ("width", ColumnType::Int64),
    ("rare", ColumnType::Int64),
    ("weight", ColumnType::Float64),
    ("public", ColumnType::Bool),
    ("camera", ColumnType::String),
    ("phash", ColumnType::Bytes8),
    ("sha256", ColumnType::Bytes32),
    ("Same", ColumnType::String),
];

/// Attributes of a row, each column null as often as not.
pub(crate) fn row() -> impl Strategy<Value = Fields> {
    let columns = COLUMNS.map(|(name, ty)| {
        let weight = if name == "rare" { 1 } else { 8 };
        let value = if name == "Same" { Just(Value::Text("x".into())).boxed() } else { value(ty) };
        prop::option::weighted(f64::from(weight) / 16.0, value.prop_map(move |v| (name, v)))
    });
    columns.to_vec().prop_map(|row| {
        row.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

/// A row as columns hold it: floats have one zero.
fn stored(fields: &Fields) -> Fields {
    let one = |v: &Value| match v {
        Value::Float(v) => Value::Float(v + 0.0),
        other => other.clone(),
    };
    fields.iter().map(|(name, v)| (name.clone(), one(v))).collect()
}

/// Writes a file with only a section of these records.
fn write(path: &Path, records: &[Vec<u8>]) -> crate::base::error::Result<()> {
    let mut file = Writer::create(path, FileKind::Shard)?;
    file.begin(SectionKind::Attributes, false)?;
    let mut section = SectionWriter::new(Schema::default());
    for record in records {
        section.push(&mut file, record)?;
    }
    section.finish(&mut file)?;
    file.finish().map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64, 2000) as u32))]

    #[test]
    fn records_come_back_and_have_one_form(fields in row()) {
        let record = record::encode(&fields).unwrap();
        prop_assert_eq!(record::decode(&record).unwrap(), stored(&fields));
        prop_assert_eq!(record::encode(&record::decode(&record).unwrap()).unwrap(), record.clone());
        prop_assert_eq!(record.is_empty(), fields.is_empty());
    }

    /// Whatever bytes are read as a record: an error, or a record of these very bytes.
    #[test]
    fn other_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(fields) = record::decode(&bytes) {
            prop_assert_eq!(record::encode(&fields).unwrap(), bytes);
        }
    }

    #[test]
    fn shards_give_each_row_its_record(
        rows in prop::collection::vec(row(), 1..150),
        lists in prop::collection::vec(0u32..7, 150),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let model = small(Metric::L2, false, 3);
        let mut builder = ShardBuilder::new(&model);
        for (id, (fields, list)) in (0..).zip(rows.iter().zip(&lists)) {
            builder.push_code(id, "", *list, &[1; 4]).unwrap();
            builder.set_record(&record::encode(fields).unwrap()).unwrap();
        }
        let entry = builder.write(dir.path(), Hash::of(b"plan"), 0).unwrap();
        let shard = Shard::open(&dir.path().join(&entry.name), &model).unwrap();
        shard.verify().unwrap();
        for (ordinal, fields) in (0..).zip(&rows) {
            let found = shard.record(ordinal).unwrap();
            prop_assert_eq!(record::decode(&found).unwrap(), stored(fields));
        }
        prop_assert_eq!(shard.columns().is_some(), rows.iter().any(|fields| !fields.is_empty()));
        prop_assert!(shard.record(rows.len() as u32).is_err());
    }

    #[test]
    fn names_that_pass_are_plain(name in "\\PC{0,70}") {
        let plain = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        prop_assert!(plain || check_name(&name).is_err());
    }
}

/// Several blocks, a column that begins in the second and one that is missing in the last.
#[test]
fn blocks_hold_columns_that_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let n = 2 * BLOCK_SLOTS + 100;
    let fields = |i: usize| -> Fields {
        let mut fields = Fields::from([("n".to_owned(), Value::Int(i as i64 * 3 - 7))]);
        if i >= BLOCK_SLOTS + 5 {
            fields.insert("late".into(), Value::Text(format!("text {}", i % 1000)));
        }
        if i < 2 * BLOCK_SLOTS && i.is_multiple_of(3) {
            fields.insert("early".into(), Value::Float(i as f64 / 3.0 + 0.1));
        }
        fields
    };
    let records: Vec<Vec<u8>> = (0..n).map(|i| record::encode(&fields(i)).unwrap()).collect();
    write(&path, &records).unwrap();
    let file = Reader::open(&path, FileKind::Shard).unwrap();
    let columns = Columns::open(&file, n as u32).unwrap().unwrap();
    columns.verify(&file).unwrap();
    assert_eq!(columns.schema().describe(), "early (float64), late (string), n (int64)");
    assert_eq!((columns.blocks(), columns.block_rows(2)), (3, 100));
    for (i, record) in records.iter().enumerate().step_by(37) {
        assert_eq!(&columns.record(&file, i as u32).unwrap(), record, "row {i}");
    }
    assert_eq!(columns.block(&file, 0, 1).unwrap().nulls(), BLOCK_SLOTS);
    assert_eq!(columns.block(&file, 2, 0).unwrap().nulls(), 100);
    assert_eq!(columns.block(&file, 1, 2).unwrap().whole_range(), Some((49_145, 98_294)));
    assert!(columns.block(&file, 3, 0).is_err() && columns.block(&file, 0, 3).is_err());
    assert!(Columns::open(&file, n as u32 - 1).is_err());
}

#[test]
fn a_column_has_one_type() {
    let dir = tempfile::tempdir().unwrap();
    let one = |v| record::encode(&Fields::from([("a".to_owned(), v)])).unwrap();
    let records = [one(Value::Int(1)), one(Value::Bool(true))];
    let error = write(&dir.path().join("a"), &records).unwrap_err().to_string();
    assert!(error.contains("\"a\" is int64 in one place and bool in another"), "{error}");
    for bad in ["", "1a", "a b", "Null", "between", "\u{e9}"] {
        let fields = Fields::from([(bad.to_owned(), Value::Int(1))]);
        assert!(record::encode(&fields).is_err(), "{bad:?}");
    }
    for bad in [Value::Float(f64::NAN), Value::Text("x".repeat(MAX_TEXT_BYTES + 1))] {
        assert!(record::encode(&Fields::from([("a".to_owned(), bad)])).is_err());
    }
}

/// Bytes that pass the checksums and are wrong nevertheless: an error or other values, no panic.
#[test]
fn a_section_of_wrong_bytes_is_refused_or_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let n = 70;
    let fields = |i: usize| {
        let mut fields = Fields::from([
            ("a".to_owned(), Value::Int(i as i64)),
            ("f".to_owned(), Value::Float(i as f64 + 0.1)),
            ("t".to_owned(), Value::Text(format!("{}", i % 5))),
            ("sha256".to_owned(), Value::Bytes32([i as u8; 32])),
        ]);
        if i > 3 {
            fields.insert("b".to_owned(), Value::Bool(i.is_multiple_of(2)));
        }
        fields
    };
    let records: Vec<Vec<u8>> = (0..n).map(|i| record::encode(&fields(i)).unwrap()).collect();
    write(&path, &records).unwrap();
    let good = Reader::open(&path, FileKind::Shard).unwrap();
    let good = good.read_all(SectionKind::Attributes).unwrap().to_vec();
    let mut refused = 0;
    let mut judge = |bytes: &[u8]| {
        let mut file = Writer::create(&path, FileKind::Shard).unwrap();
        file.section(SectionKind::Attributes, false, bytes).unwrap();
        file.finish().unwrap();
        let file = Reader::open(&path, FileKind::Shard).unwrap();
        let all = |columns: Option<Columns>| {
            let columns = columns.unwrap();
            let verified = columns.verify(&file);
            let read = (0..n).try_for_each(|i| columns.record(&file, i as u32).map(drop));
            // What was verified can be read.
            assert!(verified.is_err() || read.is_ok());
            verified
        };
        if let Err(error) = Columns::open(&file, n as u32).and_then(all) {
            let known = matches!(error, Error::Corrupt { .. } | Error::NewerVersion { .. });
            assert!(known, "{error}");
            refused += 1;
        }
    };
    for at in (0..good.len()).step_by(step(13)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        judge(&bad);
        bad[at] = 0xff;
        judge(&bad);
    }
    for len in (0..good.len()).step_by(step(29)) {
        judge(&good[..len]);
        judge(&good[good.len() - len..]);
    }
    assert!(refused > 50, "{refused}");
}

/// The bytes a row that `docs/attributes.md` states: of photos, and of columns of the user's own.
#[test]
fn attributes_take_the_bytes_that_are_stated() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let dir = tempfile::tempdir().unwrap();
    let n = 4 * BLOCK_SLOTS;
    let mut photos = || {
        let (width, height) = (rng.random_range(640..6000), rng.random_range(480..4000));
        Fields::from([
            (names::SHA256.to_owned(), Value::Bytes32(rng.random())),
            (names::WIDTH.to_owned(), Value::Int(width)),
            (names::HEIGHT.to_owned(), Value::Int(height)),
            (names::BYTES.to_owned(), Value::Int(rng.random_range(50_000..8_000_000))),
            // Ten years.
            (names::MODIFIED_MS.to_owned(), Value::Int(rng.random_range(0..315_360_000_000))),
        ])
    };
    let rows: Vec<Fields> = (0..n).map(|_| photos()).collect();
    let bytes = |of: &dyn Fn(&Fields) -> Fields| {
        let path = dir.path().join("a");
        let records: Vec<Vec<u8>> =
            rows.iter().map(|row| record::encode(&of(row)).unwrap()).collect();
        write(&path, &records).unwrap();
        let file = Reader::open(&path, FileKind::Shard).unwrap();
        let columns = Columns::open(&file, n as u32).unwrap().unwrap();
        columns.bytes() as f64 / n as f64
    };
    let near = |found: f64, want: f64| assert!((found - want).abs() < 0.05, "{found}, not {want}");
    near(bytes(&|row| row.clone()), 42.9);
    let without = |row: &Fields| {
        let mut row = row.clone();
        row.remove(names::SHA256);
        row
    };
    near(bytes(&without), 10.9);
    let own = |row: &Fields| {
        let Value::Int(bytes) = row[names::BYTES] else { panic!("a number") };
        Fields::from([
            ("camera".to_owned(), Value::Text(format!("Camera {}", bytes % 20))),
            ("public".to_owned(), Value::Bool(bytes.rem_euclid(2) == 0)),
            ("weight".to_owned(), Value::Float(bytes as f64 / 4.0)),
            ("taken_by".to_owned(), Value::Int(bytes % 1000)),
        ])
    };
    near(bytes(&own), 6.0);
}

/// A record of more values than a row may have is none: it could not be written again.
#[test]
fn a_record_has_no_more_values_than_a_row() {
    let record = |n: usize| -> Vec<u8> {
        (0..n)
            .flat_map(|i| [&[0, 4][..], format!("c{i:03}").as_bytes(), &[3, 1]].concat())
            .collect()
    };
    assert_eq!(record::decode(&record(MAX_COLUMNS)).unwrap().len(), MAX_COLUMNS);
    let error = record::decode(&record(MAX_COLUMNS + 1)).unwrap_err().to_string();
    assert!(error.contains("more values"), "{error}");
}

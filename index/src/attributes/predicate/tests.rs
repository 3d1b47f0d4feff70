use proptest::prelude::*;

use super::*;
use crate::attributes::record::{self, Fields};
use crate::attributes::tests::{COLUMNS, row, value};
use crate::attributes::{Column, ColumnType, Columns, Schema, SectionWriter, Value};
use crate::files::container::{FileKind, Reader, SectionKind, Writer};
use ocelli_test_support::cases;

fn schema() -> Schema {
    let columns = COLUMNS.map(|(name, ty)| Column { name: name.to_owned(), ty });
    Schema::try_from(columns.to_vec()).unwrap()
}

fn literal(ty: ColumnType) -> BoxedStrategy<Literal> {
    let of = value(ty).prop_filter("finite", |v| !matches!(v, Value::Float(v) if !v.is_finite()));
    let plain = of.prop_map(|v| match v {
        Value::Int(v) => Literal::Int(v),
        Value::Float(v) => Literal::Float(v + 0.0),
        Value::Bool(v) => Literal::Bool(v),
        Value::Text(v) => Literal::Text(v),
        other => Literal::Text(other.to_string()),
    });
    match ty {
        ColumnType::Int64 => prop_oneof![
            4 => plain,
            1 => (-10i32..10).prop_map(|v| Literal::Float(f64::from(v) / 4.0)),
            1 => (0..1_700_000_000_000i64).prop_map(Literal::Time),
        ]
        .boxed(),
        ColumnType::Float64 => {
            prop_oneof![4 => plain, 1 => (-5i64..5).prop_map(Literal::Int)].boxed()
        }
        _ => plain.boxed(),
    }
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::*;
    prop::sample::select(vec![Eq, Ne, Lt, Le, Gt, Ge])
}

fn leaf() -> impl Strategy<Value = Predicate> {
    prop::sample::select(COLUMNS.to_vec()).prop_flat_map(|(name, ty)| {
        let column = name.to_owned();
        let bytes = matches!(ty, ColumnType::Bytes8 | ColumnType::Bytes32);
        let op = if bytes {
            prop::sample::select(vec![Comparison::Eq, Comparison::Ne]).boxed()
        } else {
            comparison().boxed()
        };
        let c = column.clone();
        let compare = (op, literal(ty)).prop_map(move |(op, value)| Predicate::Compare {
            column: c.clone(),
            op,
            value,
        });
        let c = column.clone();
        let within = prop::collection::vec(literal(ty), 1..4)
            .prop_map(move |values| Predicate::In { column: c.clone(), values });
        let null = Just(Predicate::IsNull { column: column.clone() });
        if bytes {
            return prop_oneof![compare, within, null].boxed();
        }
        let between = (literal(ty), literal(ty)).prop_map(move |(low, high)| Predicate::Between {
            column: column.clone(),
            low,
            high,
        });
        prop_oneof![3 => compare, 1 => within, 1 => between, 1 => null].boxed()
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Predicate::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Predicate::Or),
            inner.prop_map(|p| Predicate::Not(Box::new(p))),
        ]
    })
}

/// A value compared with a literal, by numbers of their own: no ranges, no keys.
fn order(value: &Value, literal: &Literal) -> std::cmp::Ordering {
    match (value, literal) {
        (Value::Int(a), Literal::Int(b) | Literal::Time(b)) => a.cmp(b),
        (Value::Int(a), Literal::Float(b)) => {
            // Quarters: exact in whole numbers.
            (i128::from(*a) * 4).cmp(&((b * 4.0) as i128))
        }
        (Value::Float(a), Literal::Float(b)) => a.partial_cmp(b).unwrap(),
        (Value::Float(a), Literal::Int(b)) => a.partial_cmp(&(*b as f64)).unwrap(),
        (Value::Bool(a), Literal::Bool(b)) => a.cmp(b),
        (Value::Text(a), Literal::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (a, Literal::Text(b)) => a.to_string().cmp(b),
        (a, b) => panic!("{a:?} and {b:?}"),
    }
}

/// Three-valued logic, row by row.
fn naive(predicate: &Predicate, row: &Fields) -> Option<bool> {
    match predicate {
        Predicate::Compare { column, op, value } => {
            let found = order(row.get(column)?, value);
            Some(match op {
                Comparison::Eq => found.is_eq(),
                Comparison::Ne => found.is_ne(),
                Comparison::Lt => found.is_lt(),
                Comparison::Le => found.is_le(),
                Comparison::Gt => found.is_gt(),
                Comparison::Ge => found.is_ge(),
            })
        }
        Predicate::In { column, values } => {
            let found = row.get(column)?;
            Some(values.iter().any(|value| order(found, value).is_eq()))
        }
        Predicate::Between { column, low, high } => {
            let found = row.get(column)?;
            Some(order(found, low).is_ge() && order(found, high).is_le())
        }
        Predicate::IsNull { column } => Some(!row.contains_key(column)),
        Predicate::And(of) => {
            let of: Vec<_> = of.iter().map(|p| naive(p, row)).collect();
            if of.contains(&Some(false)) {
                return Some(false);
            }
            (!of.contains(&None)).then_some(true)
        }
        Predicate::Or(of) => {
            let of: Vec<_> = of.iter().map(|p| naive(p, row)).collect();
            if of.contains(&Some(true)) {
                return Some(true);
            }
            (!of.contains(&None)).then_some(false)
        }
        Predicate::Not(of) => naive(of, row).map(|v| !v),
    }
}

/// The slots that a predicate lets through in a section of these rows.
fn slots(predicate: &Predicate, rows: &[Fields]) -> Vec<u32> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut file = Writer::create(&path, FileKind::Shard).unwrap();
    file.begin(SectionKind::Attributes, false).unwrap();
    let mut section = SectionWriter::new(Schema::default());
    for row in rows {
        section.push(&mut file, &record::encode(row).unwrap()).unwrap();
    }
    section.finish(&mut file).unwrap();
    file.finish().unwrap();
    let file = Reader::open(&path, FileKind::Shard).unwrap();
    let columns = Columns::open(&file, rows.len() as u32).unwrap().unwrap();
    let bound = predicate.bind(&schema()).unwrap();
    bound.slots(&file, &columns).unwrap().iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(400, 20_000) as u32))]

    #[test]
    fn evaluation_is_that_of_each_row_by_itself(
        predicate in predicate(),
        rows in prop::collection::vec(row(), 1..140),
    ) {
        let want: Vec<u32> = (0u32..)
            .zip(&rows)
            .filter(|(_, row)| naive(&predicate, row) == Some(true))
            .map(|(slot, _)| slot)
            .collect();
        prop_assert_eq!(slots(&predicate, &rows), want, "{}", predicate);
        let null = predicate.bind(&schema()).unwrap().holds_for_nulls();
        prop_assert_eq!(null, naive(&predicate, &Fields::new()) == Some(true));
    }

    #[test]
    fn texts_are_read_as_what_they_display(predicate in predicate()) {
        let text = predicate.to_string();
        let found: Predicate = text.parse().unwrap();
        prop_assert_eq!(found.to_string(), text);
        prop_assert_eq!(found, predicate);
    }

    #[test]
    fn other_texts_are_refused_without_a_panic(text in "[a-c0-9 ()<>=!,.\"\\-notridu]{0,60}") {
        let _ = text.parse::<Predicate>();
    }
}

/// Blocks that their bounds decide, and blocks between.
#[test]
fn blocks_are_skipped_by_their_bounds() {
    use crate::attributes::BLOCK_SLOTS;
    let rows: Vec<Fields> = (0..2 * BLOCK_SLOTS + 77)
        .map(|i| {
            let mut row = Fields::from([("width".to_owned(), Value::Int(i as i64))]);
            if i > BLOCK_SLOTS {
                row.insert("weight".to_owned(), Value::Float(i as f64));
            }
            row
        })
        .collect();
    for text in [
        "width < 5",
        "width < 16384",
        "width >= 32768 or width in (3, 9)",
        "not (width between 100 and 32800)",
        "weight > 20000.5 and width != 30000",
        "weight is null and width > 3",
        "not (weight > 5)",
    ] {
        let predicate: Predicate = text.parse().unwrap();
        let want: Vec<u32> = (0..rows.len() as u32)
            .filter(|&i| naive(&predicate, &rows[i as usize]) == Some(true))
            .collect();
        assert!(slots(&predicate, &rows) == want, "{text}");
    }
}

#[test]
fn texts_mean_what_people_mean() {
    let parsed = |text: &str| text.parse::<Predicate>().unwrap().to_string();
    for (text, want) in [
        (
            "width >= 640 and not (camera in ('a', \"b\"))",
            "width >= 640 and not (camera in (\"a\", \"b\"))",
        ),
        ("a=1 or b<>2 and c==3", "a = 1 or (b != 2 and c = 3)"),
        ("captured > 2019-05-01", "captured > 2019-05-01T00:00:00.000Z"),
        ("t <= 2019-05-01T12:30+02:00", "t <= 2019-05-01T10:30:00.000Z"),
        ("t = 1969-12-31T23:59:59.999Z", "t = 1969-12-31T23:59:59.999Z"),
        ("PUBLIC AND NOT hidden", "PUBLIC = true and not (hidden = true)"),
        ("a is not null", "not (a is null)"),
        ("a not between -1 and 2.5e3", "not (a between -1 and 2500.0)"),
        ("a not in (true, FALSE)", "not (a in (true, false))"),
        ("((a < -9223372036854775808))", "a < -9223372036854775808"),
        (r#"a = "q\" \\ é""#, r#"a = "q\" \\ é""#),
    ] {
        assert_eq!(parsed(text), want);
    }
    for (text, place, word) in [
        ("", "character 1:", "the name of a column"),
        ("a >", "character 4:", "found the end"),
        ("a = b", "character 5:", "text in quotes, found `b`"),
        ("a = 1 2", "character 7:", "`and`, `or` or the end, found `2`"),
        ("(a = 1", "character 7:", "`)`"),
        ("a in ()", "character 7:", "a number"),
        ("a in (1, 2", "character 11:", "`,` or `)`"),
        ("a between 1", "character 12:", "`and`"),
        ("é = 1", "character 1:", "the name of a column"),
        ("a = 'x", "character 5:", "ends the text"),
        ("a = 2019-13-01", "character 5:", "a date"),
        ("a = 2019-01-01T00:00Z05:00", "character 5:", "a date"),
        ("a like 'x'", "character 3:", "`is null`"),
        ("a = 1 and ; b", "character 11:", "found `;`"),
        ("null = 1", "character 1:", "the name of a column"),
        ("a = 1e999", "character 5:", "a number"),
        ("a = \"\\n\"", "character 6:", "after the"),
    ] {
        let error = text.parse::<Predicate>().unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(word), "{text}: {error}");
    }
}

/// However deep it is, a predicate reads what it displays.
#[test]
fn the_deepest_predicates_read_what_they_display() {
    for text in [
        format!("{}a", "not ".repeat(MAX_DEPTH - 1)),
        format!("{}a{}", "not (b or ".repeat(31), ")".repeat(31)),
        format!("{}a{}", "b and (c or ".repeat(31), ")".repeat(31)),
    ] {
        let predicate: Predicate = text.parse().unwrap();
        let shown = predicate.to_string();
        assert_eq!(shown.parse::<Predicate>().unwrap(), predicate, "{shown}");
    }
}

#[test]
fn large_predicates_are_refused() {
    let deep = |n| format!("{}a = 1{}", "(".repeat(n), ")".repeat(n));
    assert!(deep(MAX_DEPTH - 1).parse::<Predicate>().is_ok());
    for text in [
        deep(MAX_DEPTH),
        deep(100_000),
        format!("{} a", "not ".repeat(50_000)),
        vec!["a = 1"; MAX_NODES].join(" or "),
        format!("a in ({})", vec!["1"; MAX_SET_VALUES + 1].join(",")),
        "x".repeat(MAX_PREDICATE_BYTES + 1),
    ] {
        let error = text.parse::<Predicate>().unwrap_err().to_string();
        assert!(error.contains("the filter"), "{error}");
    }
    for predicate in [
        Predicate::And(vec![]),
        Predicate::In { column: "a".into(), values: vec![] },
        Predicate::IsNull { column: "a b".into() },
        Predicate::Compare {
            column: "a".into(),
            op: Comparison::Lt,
            value: Literal::Float(f64::NAN),
        },
    ] {
        assert!(predicate.check().is_err(), "{predicate}");
    }
}

/// Without a shard, a column that no other has is null; types of known columns still count.
#[test]
fn columns_of_a_missing_shard_are_null() {
    for (text, nulls) in [
        ("height > 5", false),
        ("not (height > 5)", false),
        ("height is null", true),
        ("height in ('a', 'b') or width is null", true),
        ("height between 1 and 2 and width is null", false),
    ] {
        let predicate: Predicate = text.parse().unwrap();
        assert!(predicate.bind(&schema()).is_err());
        assert_eq!(predicate.bind_without(&schema()).unwrap().holds_for_nulls(), nulls, "{text}");
    }
    let wrong: Predicate = "height = 1 and camera = 5".parse().unwrap();
    assert!(wrong.bind_without(&schema()).is_err());
}

#[test]
fn columns_and_types_that_do_not_fit_are_named() {
    for (text, word) in [
        ("height > 5", "no column \"height\"; expected one of: width (int64), rare (int64)"),
        ("width > 'a'", "\"width\" is int64, expected a number or a date, found \"a\""),
        ("camera = 5", "\"camera\" is string, expected text in quotes, found 5"),
        ("public = 1", "expected true or false"),
        ("weight = 'x'", "expected a number"),
        ("weight = 9007199254740993", "up to 2^53"),
        ("sha256 = 'ab'", "64 hexadecimal digits"),
        ("phash > '0011223344556677'", "which has no order"),
    ] {
        let error = text.parse::<Predicate>().unwrap().bind(&schema()).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!("captured > 2019-05-01".parse::<Predicate>().unwrap().bind(&schema()).is_err());
    // Bytes fit columns of so many bytes, and no text, whatever its digits.
    for (column, bytes, word) in [
        ("sha256", vec![0xab; 32], ""),
        ("phash", vec![0xab; 8], ""),
        ("sha256", vec![0xab; 8], "expected 32 bytes, found bytes (8)"),
        ("phash", vec![], "expected 8 bytes"),
        ("camera", vec![0xab], "\"camera\" is string, expected text in quotes, found bytes (1)"),
        ("width", vec![0; 8], "expected a number or a date"),
    ] {
        let value = Literal::Bytes(bytes);
        let (column, op) = (column.to_owned(), Comparison::Eq);
        let bound = Predicate::Compare { column, op, value }.bind(&schema());
        match bound {
            Ok(_) => assert_eq!(word, ""),
            Err(error) => {
                let error = error.to_string();
                assert!(!word.is_empty() && error.contains(word), "{error}");
            }
        }
    }
    let schema =
        Schema::try_from(vec![Column { name: "captured_ms".into(), ty: ColumnType::Int64 }]);
    let captured: Predicate = "captured > 2019-05-01".parse().unwrap();
    assert!(captured.bind(&schema.unwrap()).is_ok());
}

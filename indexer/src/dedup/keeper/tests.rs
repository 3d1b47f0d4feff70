use std::path::PathBuf;

use ocelli_index::{Column, ColumnType, Schema, Value};
use proptest::prelude::*;

use super::*;
use crate::dedup::fixture::Table;
use crate::dedup::rows::{Facts, Rows};
use crate::sort::SortMemory;

fn policy(rules: &[&str]) -> Policy {
    Policy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect()).unwrap()
}

/// Ids of the rows, in the order of the policy.
fn ids(table: &Table, rules: &[&str]) -> Vec<u64> {
    let numbers = (0..table.rows()).collect();
    let order = order(table, numbers, &policy(rules), None).unwrap();
    (0..table.facts.len() as u32).map(|rank| table.facts[order.row(rank) as usize].id).collect()
}

fn photo(id: u64, key: &str, width: u32, bytes: u64) -> Facts {
    Facts {
        id,
        key: key.to_owned(),
        width: Some(width),
        height: Some(100),
        bytes: Some(bytes),
        ..Facts::default()
    }
}

fn schema(columns: &[(&str, ColumnType)]) -> Schema {
    let column = |&(name, ty): &(&str, ColumnType)| Column { name: name.to_owned(), ty };
    Schema::try_from(columns.iter().map(column).collect::<Vec<_>>()).unwrap()
}

#[test]
fn each_rule_by_hand() {
    let mut table = Table {
        facts: vec![
            photo(10, "b/small", 100, 9_000),
            photo(11, "a/large", 900, 8_000),
            photo(12, "c", 300, 100),
            Facts { id: 9, ..Facts::default() },
        ],
        ..Table::default()
    };
    table.facts[0].captured_ms = Some(-5);
    table.facts[1].captured_ms = Some(7);
    table.facts[2].modified_ms = Some(3);
    table.facts[2].path = Some(PathBuf::from("photos/best/c.jpg"));
    // Of equal rows, and of those of which nothing is known, the first id.
    assert_eq!(ids(&table, &["most-pixels"]), [11, 12, 10, 9]);
    assert_eq!(ids(&table, &["largest-file"]), [10, 11, 12, 9]);
    // 0.9, 0.0889 and 0.0033 bytes for each pixel.
    assert_eq!(ids(&table, &["least-compressed"]), [10, 11, 12, 9]);
    assert_eq!(ids(&table, &["oldest"]), [10, 12, 11, 9]);
    assert_eq!(ids(&table, &["first-key"]), [11, 10, 12, 9]);
    assert_eq!(ids(&table, &["folder=a", "largest-file"]), [11, 10, 12, 9]);
    assert_eq!(ids(&table, &["folder=photos/best/"]), [12, 9, 10, 11]);
    // A folder is a whole name, and a file is in no folder of its own name.
    assert_eq!(ids(&table, &["folder=b/sma"]), [9, 10, 11, 12]);
    assert_eq!(ids(&table, &["folder=photos/best/c.jpg"]), [9, 10, 11, 12]);
    // Old rows before all others.
    table.old = 1;
    assert_eq!(ids(&table, &["most-pixels"]), [10, 11, 12, 9]);
}

#[test]
fn columns_of_the_user_by_hand() {
    let mut table = Table {
        schema: schema(&[
            ("stars", ColumnType::Int64),
            ("title", ColumnType::String),
            ("weight", ColumnType::Float64),
        ]),
        ..Table::default()
    };
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let rows = [
        (Some(Value::Int(-3)), text("ab"), Some(Value::Float(-0.0))),
        (Some(Value::Int(5)), text("a"), Some(Value::Float(-7.5))),
        (None, text(""), None),
        (Some(Value::Int(4)), text("a\0"), Some(Value::Float(0.0))),
    ];
    for (id, (stars, title, weight)) in (0..).zip(rows) {
        let columns = vec![stars, title, weight];
        table.facts.push(Facts { id, columns, ..Facts::default() });
    }
    assert_eq!(ids(&table, &["column=stars"]), [0, 3, 1, 2]);
    assert_eq!(ids(&table, &["column=stars:desc"]), [1, 3, 0, 2]);
    assert_eq!(ids(&table, &["column=title:asc"]), [2, 1, 3, 0]);
    assert_eq!(ids(&table, &["column=title:desc"]), [0, 3, 1, 2]);
    // Both zeros are one, so the next rule decides.
    assert_eq!(ids(&table, &["column=weight", "column=stars:desc"]), [1, 3, 0, 2]);
}

#[test]
fn rules_are_read_and_refused() {
    for text in ["most-pixels", "oldest", "folder=a/b", "column=stars:desc", "column=stars:asc"] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    assert_eq!("column=stars".parse::<Rule>().unwrap().to_string(), "column=stars:asc");
    for (text, expected) in [
        ("most-pixel", "did you mean most-pixels?"),
        ("", "expected most-pixels, largest-file"),
        ("folder=", "expected the name of a folder"),
        ("folder=/", "expected the name of a folder"),
        ("column=", "expected a name"),
        ("column=stars:up", "expected `asc` or `desc`"),
        ("column=a b", "expected a name"),
    ] {
        let refused = text.parse::<Rule>().unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(refused.starts_with("keep \""), "{refused}");
    }
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(Policy::new(Vec::new()).unwrap(), Policy::default());
    for again in [["oldest", "oldest"], ["column=a:asc", "column=a:desc"]] {
        let refused = Policy::new(rules(&again)).unwrap_err().to_string();
        assert!(refused.contains("would never act"), "{refused}");
    }
    assert!(Policy::new(rules(&["folder=a", "folder=b"])).is_ok());
    let many: Vec<String> = (0..17).map(|i| format!("folder={i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(Policy::new(rules(&many)).is_err());
}

/// A column that is not there is an error with those that are.
#[test]
fn columns_are_looked_for() {
    let schema = schema(&[("stars", ColumnType::Int64), ("seen_ms", ColumnType::Int64)]);
    assert_eq!(policy(&["column=seen:desc", "oldest"]).columns(&schema).unwrap(), ["seen_ms"]);
    let refused = policy(&["column=star"]).columns(&schema).unwrap_err().to_string();
    let expected = "keep \"column=star:asc\": the index has no such column; its columns: \
                    stars (int64), seen_ms (int64)";
    assert_eq!(refused, expected);
}

#[test]
fn known_pairs_are_read() {
    let keys = [(1, "a"), (2, "b,c"), (3, "d"), (7, "")];
    let facts = keys.map(|(id, key)| Facts { id, key: key.to_owned(), ..Facts::default() });
    let table = Table { facts: facts.to_vec(), ..Table::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.csv");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read_known_pairs(&path, &table)
    };
    let known = read("\"b,c\",a\nd,x\na,\"b,c\"\n").unwrap();
    assert_eq!(known.distinct.len(), 1);
    assert!(known.distinct.has(0, 1) && known.distinct.has(1, 0) && !known.distinct.has(0, 2));
    assert_eq!((known.counts.pairs, known.counts.unknown), (3, 1));
    assert_eq!(known.counts.unknown_first, ["x"]);
    // Of judged pairs, those that are wrong.
    let judged = "id_a,id_b,key_a,key_b,verdict\n1,2,a,d,wrong\n1,3,a,\"b,c\",right\n";
    let known = read(judged).unwrap();
    assert!(known.distinct.has(0, 2) && known.distinct.len() == 1);
    // Rows without a key have ids; a band takes nothing out.
    let judged = "id_a,id_b,key_a,key_b,verdict,band,band_pairs\n\
                  0,0,a,d,wrong,,\n0,7,a,,wrong,0.9,12\n";
    let known = read(judged).unwrap();
    assert!(known.distinct.has(0, 2) && known.distinct.has(0, 3));
    for (text, expected) in [
        ("a\n", "line 1: expected two keys, found 1 fields"),
        ("a,d\na,d,x\n", "line 2: expected two keys, found 3 fields"),
        ("a,d\n,a\n", "line 2: expected two different keys, found \"\" and \"a\""),
        ("a,a\n", "expected two different keys"),
        ("key_a,key_b,verdict\na,,wrong\n", "line 2: expected key_a and key_b"),
    ] {
        let refused = read(text).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(read_known_pairs(&folder.path().join("none"), &table).is_err());
    std::fs::write(&path, b"a,\xff\n").unwrap();
    assert!(read_known_pairs(&path, &table).is_err());
}

/// Two indexes have a row of one key each: a file of labels tells which one it means.
#[test]
fn rows_of_two_indexes_are_told_apart() {
    let facts = ["a", "b", "a", "b"].map(|key| Facts { key: key.to_owned(), ..Facts::default() });
    let table = Table { facts: facts.to_vec(), old: 2, ..Table::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.csv");
    let text = "key_a,key_b,old_a,old_b,verdict\na,a,false,true,wrong\nb,a,,,wrong\n";
    std::fs::write(&path, text).unwrap();
    let known = read_known_pairs(&path, &table).unwrap().distinct;
    assert!(known.has(0, 2) && known.has(2, 3) && known.len() == 2);
    let alone = Table { facts: facts[..2].to_vec(), old: 2, ..Table::default() };
    let known = read_known_pairs(&path, &alone).unwrap();
    assert_eq!((known.distinct.len(), known.counts.unknown), (1, 1), "no new row has the key");
}

/// What a row has, in all forms.
fn facts() -> impl Strategy<Value = Facts> {
    let few = || prop::option::of(0..4u64);
    let value = prop::option::of(prop_oneof![
        prop::collection::vec(0..3u8, 0..3)
            .prop_map(|bytes| { Value::Text(String::from_utf8(bytes).unwrap()) })
    ]);
    (few(), few(), prop::option::of(-2..3i64), 0..3u64, "[ab]{0,2}", value).prop_map(
        |(width, bytes, time, id, key, value)| Facts {
            id,
            key,
            width: width.map(|width| width as u32),
            height: Some(2),
            bytes,
            captured_ms: time,
            columns: vec![value],
            ..Facts::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ocelli_test_support::cases(200, 2_000)))]

    /// The order by bytes is that of comparing rule by rule, in any memory.
    #[test]
    fn order_is_that_of_the_rules(facts in prop::collection::vec(facts(), 0..40), old in 0..9u64) {
        let old = old.min(facts.len() as u64);
        let schema = schema(&[("title", ColumnType::String)]);
        let table = Table { facts, old, schema };
        let rules = ["column=title:desc", "least-compressed", "oldest", "first-key", "most-pixels"];
        for turn in 0..rules.len() {
            let mut rules = rules;
            rules.rotate_left(turn);
            let mut expected: Vec<u64> = (0..table.rows()).collect();
            expected.sort_by(|&a, &b| {
                slowly(&table, &rules, a, b)
            });
            for bytes in [0, 512] {
                let folder = std::env::temp_dir();
                let memory = (bytes > 0).then_some(SortMemory { bytes, folder });
                let numbers = (0..table.rows()).collect();
                let order = order(&table, numbers, &policy(&rules), memory.as_ref()).unwrap();
                let found: Vec<u64> = (0..order.len() as u32).map(|r| order.row(r)).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}

/// Compares two rows, rule by rule.
fn slowly(table: &Table, rules: &[&str], a: u64, b: u64) -> std::cmp::Ordering {
    let (x, y) = (&table.facts[a as usize], &table.facts[b as usize]);
    fn last<T: PartialOrd>(a: Option<T>, b: Option<T>) -> std::cmp::Ordering {
        match (a, b) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap(),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
    let share = |f: &Facts| Some(-(f.bytes? as f64) / f.pixels().filter(|&p| p > 0)? as f64);
    let key = |f: &Facts| Some(f.key.clone()).filter(|key| !key.is_empty());
    let mut order = table.is_old(b).cmp(&table.is_old(a));
    for rule in rules {
        order = order.then(match *rule {
            "least-compressed" => last(share(x), share(y)),
            "oldest" => last(x.captured_ms, y.captured_ms),
            "first-key" => last(key(x), key(y)),
            "most-pixels" => last(x.pixels().map(|p| -(p as i64)), y.pixels().map(|p| -(p as i64))),
            _ => match (&x.columns[0], &y.columns[0]) {
                (Some(Value::Text(x)), Some(Value::Text(y))) => y.cmp(x),
                (x, y) => y.is_some().cmp(&x.is_some()),
            },
        });
    }
    order.then(x.id.cmp(&y.id)).then(a.cmp(&b))
}

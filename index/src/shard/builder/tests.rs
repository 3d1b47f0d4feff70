//! Equal rows give equal bytes, whatever the memory, and whatever was there before.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::attributes::Value;
use crate::attributes::record::{Fields, encode};
use crate::model::Metric;
use crate::model::tests::small;
use crate::shard::Shard;

#[derive(Clone, Debug)]
struct TestRow {
    id: u64,
    key: String,
    x: Vec<f32>,
    record: Vec<u8>,
}

fn rows(n: usize, ids: u8, keyed: u8) -> Vec<TestRow> {
    let number = |i: usize, salt: u64| {
        (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (salt << 7)) >> 40
    };
    (0..n)
        .map(|i| TestRow {
            id: match ids {
                0 => 100 + i as u64,
                1 => 3 * (n - i) as u64,
                _ => (i as u64 * 31 % n as u64) << 50 | i as u64,
            },
            key: match (keyed, i % 3) {
                (0, _) | (1, 0) => String::new(),
                _ => format!("photos/{}/{i}.jpg", number(i, 3) % 7),
            },
            x: (0..12).map(|j| number(i, j) as f32 / (1 << 22) as f32 - 2.0).collect(),
            record: record(i, keyed),
        })
        .collect()
}

/// Attributes of some rows.
fn record(i: usize, keyed: u8) -> Vec<u8> {
    if keyed == 1 || i % 5 < 2 {
        return Vec::new();
    }
    let fields = [("year".to_owned(), Value::Int(1990 + i as i64 % 30))];
    encode(&Fields::from(fields)).unwrap()
}

fn push_all(builder: &mut ShardBuilder<'_>, rows: &[TestRow], every: usize) -> Result<()> {
    let from = builder.position() as usize;
    for (i, row) in rows.iter().enumerate().skip(from) {
        builder.push(row.id, &row.key, &row.x)?;
        builder.set_record(&row.record)?;
        if (i + 1).is_multiple_of(every) {
            builder.checkpoint(i as u64 + 1)?;
            // A real chunk is megabytes large.
            if builder.spill.is_some() {
                builder.seal()?;
            }
        }
    }
    builder.checkpoint(rows.len() as u64)
}

fn spill(folder: &Path) -> Spill {
    let (folder, name) = (folder.to_owned(), "test".to_owned());
    Spill { folder, name, budget_bytes: 1 << 30, beside_bytes: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// In memory, in runs, and in runs of which an earlier attempt left some: the same bytes; and
    /// what is read again is what was pushed.
    #[test]
    fn the_same_bytes_whatever_the_memory(
        n in 1usize..300,
        ids in 0u8..3,
        keyed in 0u8..3,
        every in 25usize..150,
        left in 0usize..300,
        other_every in 25usize..150,
        folded in 2usize..12,
        l2: bool,
    ) {
        let model = small(if l2 { Metric::L2 } else { Metric::InnerProduct }, true, 3);
        let rows = rows(n, ids, keyed);
        let plan = Hash::of(b"plan");
        let out = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        let mut whole = ShardBuilder::new(&model);
        push_all(&mut whole, &rows, every).unwrap();
        let whole = whole.write(out.path(), plan, 7).unwrap();


        // An attempt that stops somewhere.
        let mut first = ShardBuilder::bounded(&model, spill(work.path())).unwrap();
        push_all(&mut first, &rows[..left.min(n)], other_every).unwrap();
        first.join().unwrap();
        drop(first);
        let mut again = ShardBuilder::bounded(&model, spill(work.path())).unwrap();
        let sealed = left.min(n) / other_every * other_every;
        prop_assert_eq!(again.position() as usize, sealed);
        prop_assert_eq!(again.rows(), sealed);
        push_all(&mut again, &rows, every).unwrap();
        prop_assert_eq!(again.rows(), n);
        again.join().unwrap();
        again.fold(folded).unwrap();
        prop_assert!(again.runs.len() <= folded);
        // Whoever stopped here would go on behind what was folded.
        let found = ShardBuilder::bounded(&model, spill(work.path())).unwrap();
        prop_assert_eq!(found.rows(), sealed.max(n / every * every));
        prop_assert_eq!(found.runs.len(), again.runs.len());
        drop(found);
        let bounded = again.write(work.path(), plan, 7).unwrap();
        prop_assert_eq!(&bounded, &whole);
        let bytes = |folder: &Path| fs::read(folder.join(&whole.name)).unwrap();
        prop_assert!(bytes(out.path()) == bytes(work.path()));

        let shard = Shard::open(&work.path().join(&whole.name), &model).unwrap();
        shard.verify().unwrap();
        for (ordinal, row) in (0u32..).zip(&rows) {
            prop_assert_eq!(shard.id(ordinal).unwrap(), row.id);
            prop_assert_eq!(&shard.key(ordinal).unwrap(), &row.key);
            prop_assert_eq!(&shard.record(ordinal).unwrap(), &row.record);
        }
    }
}

#[test]
fn an_id_or_key_of_two_runs_is_found() {
    let model = small(Metric::L2, false, 1);
    let work = tempfile::tempdir().unwrap();
    let error = |change: &dyn Fn(&mut Vec<TestRow>)| {
        let mut rows = rows(100, 1, 2);
        change(&mut rows);
        let folder = tempfile::tempdir_in(work.path()).unwrap();
        let mut builder = ShardBuilder::bounded(&model, spill(folder.path())).unwrap();
        push_all(&mut builder, &rows, 30).unwrap();
        builder.write(folder.path(), Hash::of(b"p"), 0).unwrap_err().to_string()
    };
    let message = error(&|rows| rows[90].key = rows[5].key.clone());
    assert!(message.contains("5.jpg\" occurs twice in one shard"), "{message}");
    let message = error(&|rows| rows[90].id = rows[5].id);
    assert!(message.contains("id 285 occurs twice in one shard"), "{message}");
}

/// A run that was cut, or whose bytes changed, or that belongs to another shard, is made again.
#[test]
fn runs_that_are_not_sound_are_not_used() {
    let model = small(Metric::L2, false, 1);
    let rows = rows(120, 0, 2);
    let work = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let spill = Spill { name: name.to_owned(), ..spill(work.path()) };
        ShardBuilder::bounded(&model, spill).unwrap()
    };
    let mut builder = begin("test");
    push_all(&mut builder, &rows, 40).unwrap();
    builder.join().unwrap();
    drop(builder);
    assert_eq!(begin("test").position(), 120);
    assert_eq!(begin("another").position(), 0);
    let second = work.path().join("00040.run");
    let mut bytes = fs::read(&second).unwrap();
    bytes[5000] ^= 1;
    fs::write(&second, &bytes).unwrap();
    assert_eq!(begin("test").position(), 40);
    fs::write(&second, &bytes[..6000]).unwrap();
    assert_eq!(begin("test").position(), 40);
}

#[test]
fn a_budget_that_is_too_small_names_the_smallest() {
    let model = small(Metric::L2, false, 1);
    let work = tempfile::tempdir().unwrap();
    let spill = Spill { budget_bytes: 1 << 20, beside_bytes: 5 << 20, ..spill(work.path()) };
    let error = ShardBuilder::bounded(&model, spill).err().unwrap().to_string();
    assert!(error.contains("the smallest budget that works is 14 MiB"), "{error}");
}

/// Two attempts at one task, which fold each in its own time; and one that stops between the fold
/// and the removal of what was folded.
#[test]
fn attempts_that_fold_do_not_disturb_each_other() {
    let model = small(Metric::L2, false, 1);
    let rows = rows(160, 2, 2);
    let (plan, out) = (Hash::of(b"plan"), tempfile::tempdir().unwrap());
    let mut whole = ShardBuilder::new(&model);
    push_all(&mut whole, &rows, 30).unwrap();
    let whole = whole.write(out.path(), plan, 7).unwrap();
    // The second one has runs of the same rows, or of others under the same names.
    for every in [30, 40] {
        let work = tempfile::tempdir().unwrap();
        let begin = || ShardBuilder::bounded(&model, spill(work.path())).unwrap();
        let (mut one, mut other) = (begin(), begin());
        for (builder, every) in [(&mut one, 30), (&mut other, every)] {
            push_all(builder, &rows, every).unwrap();
            builder.join().unwrap();
        }
        let runs = || -> Vec<PathBuf> {
            let entries = fs::read_dir(work.path()).unwrap();
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
        };
        let before: Vec<(PathBuf, Vec<u8>)> =
            runs().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        one.fold(2).unwrap();
        if every == 30 {
            let folded = runs();
            let gone = || before.iter().filter(|(path, _)| !folded.contains(path));
            gone().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
            assert_eq!(begin().position(), 150);
            gone().for_each(|(path, _)| fs::remove_file(path).unwrap());
        }
        other.fold(2).unwrap();
        for builder in [one, other] {
            assert_eq!(builder.write(work.path(), plan, 7).unwrap(), whole, "{every}");
        }
    }
}

/// Runs of other rows than were pushed end in an error, not in a shard.
#[test]
fn a_shard_of_other_rows_is_not_written() {
    let model = small(Metric::L2, false, 1);
    let work = tempfile::tempdir().unwrap();
    let mut builder = ShardBuilder::bounded(&model, spill(work.path())).unwrap();
    push_all(&mut builder, &rows(120, 0, 0), 40).unwrap();
    builder.sealed.rows += 40;
    let error = builder.write(work.path(), Hash::of(b"plan"), 0).unwrap_err().to_string();
    assert!(error.contains("120 rows in their lists, expected 160"), "{error}");
}

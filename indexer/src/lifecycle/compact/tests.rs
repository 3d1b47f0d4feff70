//! Which shards are merged, and what a budget refuses.

use super::*;
use crate::lifecycle::fixture::{commit, index, model, tree};
use crate::silent;

/// A budget that is too small for the second group leaves the first one as it was.
#[test]
fn what_does_not_fit_is_refused_before_any_group_is_merged() {
    let (tmp, dir) = index();
    let (model, small) = (model(0), dir.current().unwrap().unwrap().shards[0].clone());
    // A list of 300,000 rows, of which a third is deleted.
    let mut large = ShardBuilder::new(&model);
    (1000..301_000u64).for_each(|id| large.push_code(id * id, "", 0, &[1, 2]).unwrap());
    let large = dir.put_shard(large, Hash::of(b"plan"), 9).unwrap();
    let dead: Vec<u32> = (0..30).collect();
    commit(&dir, vec![small.clone(), large.clone()], &dead, 1 << 62);
    let current = dir.current().unwrap().unwrap();
    let mut of_large = current.tombstones.clone();
    let hash = dir.put_tombstones(&(0..100_000).collect()).unwrap();
    of_large.insert(large.name.clone(), hash);
    let new = ocelli_index::NewGeneration {
        model: model.hash(),
        shards: vec![small, large],
        tombstones: of_large,
        deletes: None,
        next_id: 1 << 62,
    };
    let current = dir.commit(Some(current.number), new).unwrap();
    assert_eq!(groups(&dir, &current, &CompactOptions::default()).unwrap(), [vec![0], vec![1]]);
    let with = |memory_budget_bytes| {
        let options = CompactOptions { all: false, memory_budget_bytes };
        compact(tmp.path(), &options, &silent)
    };
    let smallest = |error: Error| -> usize {
        let text = error.to_string();
        let (_, rest) = text.split_once("works is ").expect(&text);
        rest.split(' ').next().unwrap().parse::<usize>().unwrap() << 20
    };
    let before = tree(tmp.path());
    let first = smallest(with(1 << 20).unwrap_err());
    let second = smallest(with(first).unwrap_err());
    assert!(first < second, "{first} is enough");
    assert!(tree(tmp.path()) == before, "a group was merged");
    assert_eq!(with(second).unwrap().merged, 2);
}

fn sizes(alive: &[u64]) -> Vec<Size> {
    alive.iter().map(|&alive| Size { alive, rows: alive }).collect()
}

#[test]
fn few_small_shards_stay_and_the_smallest_of_many_are_merged() {
    assert!(choose(&sizes(&[1000, 10, 10, 10, 10])).is_empty());
    assert!(choose(&sizes(&[1000, 1000, 900, 600, 10])).is_empty());
    assert_eq!(choose(&sizes(&[1000, 10, 60, 50, 10, 25])), [vec![1, 4]]);
    assert_eq!(choose(&sizes(&[1000, 10, 60, 50, 10, 15])), [vec![1, 4, 5]]);
    // Daily additions, and a compaction after each: at most four small ones, and a row is
    // copied as often as its shard doubles.
    let (mut shards, mut copied) = (vec![10_000u64], 0);
    for _ in 0..300 {
        shards.push(10);
        for group in choose(&sizes(&shards)) {
            let sum: u64 = group.iter().map(|&i| shards[i]).sum();
            copied += sum;
            let mut number = 0;
            shards.retain(|_| {
                number += 1;
                !group.contains(&(number - 1))
            });
            shards.push(sum);
        }
        let small = shards.iter().filter(|&&alive| alive * 2 < 10_000).count();
        assert!(small <= SMALL_SHARDS, "{shards:?}");
    }
    assert_eq!(shards.iter().sum::<u64>(), 13_000);
    assert!(copied < 10 * 3_000, "{copied}");
}

#[test]
fn shards_with_many_deleted_rows_are_written_again() {
    let size = |alive, rows| Size { alive, rows };
    let sizes = [size(900, 1000), size(700, 1000), size(0, 50), size(100, 101)];
    assert_eq!(choose(&sizes), [vec![1], vec![2]]);
}

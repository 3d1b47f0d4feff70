//! Changes of an index, made by chance.

use proptest::prelude::*;

/// Keys that rows have, so that they meet.
pub const KEYS: u8 = 12;

/// A row on its way into the index.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// Key `k<number>`; none where it is 0.
    pub key: u8,
    /// The id that the part gives, if parts give ids.
    pub id: u64,
    /// The number of the row's vector.
    pub vector: u8,
}

/// A change.
#[derive(Clone, Debug)]
pub enum Op {
    Add {
        rows: Vec<NewRow>,
        ids: bool,
    },
    Upsert {
        rows: Vec<NewRow>,
        ids: bool,
    },
    Delete {
        ids: Vec<u64>,
        keys: Vec<u8>,
        erase: bool,
    },
    Compact {
        all: bool,
    },
    /// A compaction that was begun before rows were deleted, and ends after it.
    CompactMeanwhile {
        all: bool,
        ids: Vec<u64>,
        keys: Vec<u8>,
    },
    /// Under the other model, of the index's own vectors.
    Rebuild,
    /// Under the other model, of all rows that ever were given a key.
    RebuildOfParts {
        rows: Vec<NewRow>,
        forget: bool,
    },
    /// So many generations back by number.
    Rollback {
        back: u64,
        undo: bool,
    },
    Gc {
        keep: usize,
    },
    /// A backup; the life goes on in the directory that is restored of it.
    Restore,
}

fn rows() -> impl Strategy<Value = Vec<NewRow>> {
    let row = (0..KEYS, 0..24u64, any::<u8>());
    prop::collection::vec(row, 1..6).prop_map(|rows| {
        rows.into_iter().map(|(key, id, vector)| NewRow { key, id, vector }).collect()
    })
}

pub fn op() -> impl Strategy<Value = Op> {
    let few = || prop::collection::vec(0..30u64, 0..3);
    let keys = || prop::collection::vec(1..KEYS, 0..3);
    prop_oneof![
        6 => (rows(), any::<bool>()).prop_map(|(rows, ids)| Op::Add { rows, ids }),
        5 => (rows(), any::<bool>()).prop_map(|(rows, ids)| Op::Upsert { rows, ids }),
        6 => (few(), keys(), prop::bool::weighted(0.2))
            .prop_map(|(ids, keys, erase)| Op::Delete { ids, keys, erase }),
        3 => prop::bool::weighted(0.3).prop_map(|all| Op::Compact { all }),
        2 => (any::<bool>(), few(), keys())
            .prop_map(|(all, ids, keys)| Op::CompactMeanwhile { all, ids, keys }),
        1 => Just(Op::Rebuild),
        2 => (rows(), prop::bool::weighted(0.3))
            .prop_map(|(rows, forget)| Op::RebuildOfParts { rows, forget }),
        2 => (1..5u64, prop::bool::weighted(0.3))
            .prop_map(|(back, undo)| Op::Rollback { back, undo }),
        2 => (0..3usize).prop_map(|keep| Op::Gc { keep }),
        1 => Just(Op::Restore),
    ]
}

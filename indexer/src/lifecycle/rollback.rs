//! The way back to an earlier generation.

use std::path::{Path, PathBuf};

use ocelli_index::{Change, IndexDir, LostCurrent, WayBack};
use serde::Serialize;

use super::change::{commit_by, open_current};
use super::remains::Remains;
use crate::{Error, Result};

/// The result of [`rollback`].
#[derive(Clone, Debug, Serialize)]
pub struct RollbackReport {
    /// The index directory.
    pub index: PathBuf,
    /// The generation that was current; none where CURRENT was lost with its number.
    pub from: Option<u64>,
    /// The generation whose rows are the index again.
    pub to: u64,
    /// The generation that is current now: `to`, or a new one where rows stay deleted, or where a
    /// lost generation gave a number or ids that are not to be given again.
    pub generation: u64,
    /// Rows of `to` that stay deleted, since they were deleted after it.
    pub kept_deleted: u64,
}

/// Goes back to the generation `to`, or to the one that the current one was made from. Rows that
/// were deleted since stay deleted, unless `undo_deletes`; then the delete log need not be whole.
///
/// Where the current generation, or CURRENT, is lost, `to` must be given: it is not known what was
/// before. Rows stay deleted that a generation has deleted whose file can be read; what the lost
/// one did is lost.
///
/// # Errors
/// No such generation; one that holds erased rows, or whose files are damaged; another change that
/// came first; the current generation is lost and there is no `to`; files of a later version of
/// Ocelli, or that the operating system does not give. The index is then as it was.
pub fn rollback(dir: &Path, to: Option<u64>, undo_deletes: bool) -> Result<RollbackReport> {
    let index = IndexDir::open(dir)?;
    if let Some(lost) = index.lost_current()? {
        return over_lost(&index, &lost, to, undo_deletes);
    }
    let (index, current) = open_current(dir)?;
    let from = current.number;
    let to = to.or(current.parent).ok_or_else(|| {
        Error::Invalid(format!(
            "{}: generation {from} was made from no other; say which by --to",
            dir.display()
        ))
    })?;
    let change = Change::Rollback { expected: from, to, undo_deletes };
    let committed =
        index.commit_change(&change, &commit_by("rollback", &[("to", to.to_string())]))?;
    Ok(RollbackReport {
        index: dir.to_owned(),
        from: Some(from),
        to,
        generation: committed.generation.number,
        kept_deleted: committed.rows.carried,
    })
}

/// Goes back where the current generation is lost.
fn over_lost(
    index: &IndexDir,
    lost: &LostCurrent,
    to: Option<u64>,
    undo_deletes: bool,
) -> Result<RollbackReport> {
    let remains = Remains::read(index)?;
    let Some(to) = to else { return Err(no_goal(index, &remains, lost)?) };
    let from = remains.stand_in(lost).map_or(to, |found| found.number);
    let (above, next_id) = remains.given(Some(lost))?;
    let way = WayBack { from, to, undo_deletes, above, next_id };
    let committed = index.go_back(&way, &commit_by("rollback", &[("to", to.to_string())]))?;
    Ok(RollbackReport {
        index: index.root().to_owned(),
        from: lost.number,
        to,
        generation: committed.generation.number,
        kept_deleted: committed.rows.carried,
    })
}

/// The error of a way back without a goal where the current generation is lost: with it, or with
/// CURRENT, it is lost what was before.
fn no_goal(index: &IndexDir, remains: &Remains, lost: &LostCurrent) -> Result<Error> {
    let what = match lost.number {
        Some(number) => {
            format!("generation {number} is lost, so it is not known what it was made from")
        }
        None => "CURRENT is lost, so it is not known which generation was current".to_owned(),
    };
    let most = lost.number.unwrap_or(u64::MAX);
    let goal = match (remains.newest_sound(most)?, remains.newest_sound(u64::MAX)?) {
        (Some(newest), _) => format!(
            "say where to go: {newest} is the newest that can be used (--to {newest}), unless it \
             was rolled back from, or never became current"
        ),
        (None, Some(later)) => format!(
            "no generation before it can be used: restore a backup by `ocelli restore`; generation \
             {later} was rolled back from, or never became current: --to {later} makes it current \
             all the same"
        ),
        (None, None) => {
            "no generation can be used: restore a backup by `ocelli restore`, or build \
                         the index again"
                .to_owned()
        }
    };
    Ok(Error::Invalid(format!("{}: {what}; {goal}", index.root().display())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use ocelli_index::{Erasure, Hash, Names, object_names};

    use super::*;
    use crate::lifecycle::fixture::{bury, index, living, model, shard, shard_with, tree, upsert};

    fn lose(dir: &IndexDir, number: u64) {
        fs::remove_file(dir.root().join(format!("generations/{number}.json"))).unwrap();
    }

    fn current(dir: &IndexDir) -> u64 {
        dir.current().unwrap().unwrap().number
    }

    /// A bad build, a way back from it, and then the loss of the generation that was gone back to.
    #[test]
    fn a_generation_that_was_rolled_back_from_does_not_come_back() {
        let (tmp, dir) = index();
        let bad = shard(&dir, &model(0), 7, 500, 9);
        upsert(&dir, bad, 509);
        rollback(tmp.path(), None, false).unwrap();
        assert_eq!(current(&dir), 3);
        lose(&dir, 3);
        let error = rollback(tmp.path(), None, false).unwrap_err().to_string();
        assert!(error.contains("generation 3 is lost") && error.contains("(--to 2)"), "{error}");
        let report = rollback(tmp.path(), Some(2), false).unwrap();
        assert_eq!((report.from, report.to), (Some(3), 2));
        assert_eq!(living(tmp.path()), (0..120).collect());
        // Nor where nothing else is left, unless somebody says so.
        for number in dir.generations().unwrap().into_iter().filter(|&number| number != 4) {
            lose(&dir, number);
        }
        let line = fs::read_to_string(tmp.path().join("CURRENT")).unwrap();
        let (_, checksum) = line.split_once(' ').unwrap();
        fs::write(tmp.path().join("CURRENT"), format!("3 {checksum}")).unwrap();
        let before = tree(tmp.path());
        let error = rollback(tmp.path(), None, false).unwrap_err().to_string();
        assert!(error.contains("generation 4 was rolled back from, or never became"), "{error}");
        assert_eq!(tree(tmp.path()), before);
        rollback(tmp.path(), Some(4), false).unwrap();
        assert!(living(tmp.path()).contains(&508));
    }

    /// A change that was killed between its generation and CURRENT, and then a lost generation.
    #[test]
    fn a_generation_that_never_became_current_does_not_become_it() {
        let (tmp, dir) = index();
        let line = fs::read(tmp.path().join("CURRENT")).unwrap();
        bury(&dir, &[10]);
        fs::write(tmp.path().join("CURRENT"), line).unwrap();
        lose(&dir, 3);
        let error = rollback(tmp.path(), None, false).unwrap_err().to_string();
        assert!(error.contains("(--to 2)"), "{error}");
        rollback(tmp.path(), Some(2), false).unwrap();
        assert_eq!(living(tmp.path()), (0..120).collect());
    }

    #[test]
    fn where_current_is_lost_the_user_says_which() {
        let (tmp, dir) = index();
        for text in [None, Some("?"), Some("3")] {
            match text {
                Some(text) => fs::write(tmp.path().join("CURRENT"), text).unwrap(),
                None => fs::remove_file(tmp.path().join("CURRENT")).unwrap(),
            }
            let before = tree(tmp.path());
            let error = rollback(tmp.path(), None, false).unwrap_err().to_string();
            assert!(error.contains("not known which") && error.contains("--to 3"), "{error}");
            assert_eq!(tree(tmp.path()), before);
            let report = rollback(tmp.path(), Some(3), false).unwrap();
            assert_eq!((report.from, report.generation), (None, 3));
            assert_eq!(current(&dir), 3);
        }
    }

    /// Neither the number nor the ids of a lost generation are given again.
    #[test]
    fn what_a_lost_generation_gave_is_not_given_again() {
        for lose_current in [false, true] {
            let (tmp, dir) = index();
            let more = shard(&dir, &model(0), 7, 500, 9);
            upsert(&dir, more, 509);
            bury(&dir, &[505]);
            lose(&dir, 4);
            lose(&dir, 5);
            if lose_current {
                fs::remove_file(tmp.path().join("CURRENT")).unwrap();
            }
            let report = rollback(tmp.path(), Some(3), false).unwrap();
            // The delete log tells of number 5.
            assert_eq!((report.to, report.generation), (3, 6));
            let now = dir.current().unwrap().unwrap();
            assert_eq!((now.number, now.next_id, now.parent), (6, 509, Some(2)));
            assert_eq!(living(tmp.path()).len(), 118);
        }
    }

    /// Ids at the very end: the largest that a row may have, and one that no row can have.
    #[test]
    fn the_largest_ids_are_no_panic() {
        let (tmp, dir) = index();
        let line = r#"{"id":18446744073709551615,"generation":2,"cause":"delete"}"#;
        let bytes = format!("{{\"format\":1,\"before\":null,\"rows\":1}}\n{line}\n");
        let hash = Hash::of(bytes.as_bytes());
        fs::write(tmp.path().join(object_names::deletes(&hash)), bytes).unwrap();
        lose(&dir, 3);
        rollback(tmp.path(), Some(2), false).unwrap();
        let next = || dir.next_id(dir.current().unwrap().as_ref()).unwrap();
        assert_eq!(next(), 120);
        shard_with(&dir, 7, &[((1 << 63) - 1, "last")]);
        lose(&dir, 4);
        rollback(tmp.path(), Some(2), false).unwrap();
        assert_eq!(next(), 1 << 63);
    }

    /// Rows that a generation deleted stay deleted if its file can be read; others come back.
    #[test]
    fn deletes_of_generations_that_can_be_read_stay_in_force() {
        for undo in [false, true] {
            let (tmp, dir) = index();
            bury(&dir, &[10]);
            bury(&dir, &[11]);
            lose(&dir, 5);
            let report = rollback(tmp.path(), Some(2), undo).unwrap();
            assert_eq!(report.kept_deleted, u64::from(!undo));
            let living = living(tmp.path());
            assert_eq!((living.contains(&10), living.contains(&11)), (undo, true));
            assert_eq!((report.from, current(&dir) > 5), (Some(5), true));
        }
    }

    /// The goal is looked at before anything is changed.
    #[test]
    fn a_goal_that_cannot_be_used_changes_nothing() {
        type Damage = fn(&IndexDir);
        let erase: Damage = |dir| {
            let mut erasure = dir.find_erased(&Names::default(), 0).unwrap();
            erasure.shards.insert(dir.generation(1).unwrap().shards[0].name.clone());
            dir.put_erasure(&erasure).unwrap();
        };
        let cases: [(&str, Damage); 3] = [
            ("no generation 1", |dir| lose(dir, 1)),
            ("erased", erase),
            ("cannot", |dir| {
                let name = &dir.generation(1).unwrap().shards[0].name;
                fs::remove_file(dir.shard_path(name).unwrap()).unwrap();
            }),
        ];
        for (what, damage) in cases {
            for is_lost in [true, false] {
                let (tmp, dir) = index();
                damage(&dir);
                if is_lost {
                    lose(&dir, 3);
                }
                let before = tree(tmp.path());
                let error = rollback(tmp.path(), Some(1), false).unwrap_err().to_string();
                assert!(error.contains(what), "{error}");
                assert_eq!(tree(tmp.path()), before);
            }
        }
    }

    /// Of several generations, the newest is taken that holds no erased rows.
    #[test]
    fn a_generation_with_erased_rows_is_passed_over() {
        let (tmp, dir) = index();
        let second = dir.generation(2).unwrap().shards[1].name.clone();
        let erasure = Erasure {
            format: 1,
            ids: [70].into(),
            keys: Default::default(),
            shards: [second].into(),
            time_ms: 0,
        };
        dir.put_erasure(&erasure).unwrap();
        lose(&dir, 3);
        let error = rollback(tmp.path(), None, false).unwrap_err().to_string();
        assert!(error.contains("(--to 1)"), "{error}");
        assert_eq!(rollback(tmp.path(), Some(1), false).unwrap().to, 1);
    }

    /// A later version's files, and a disk that fails, are no reason to go back.
    #[test]
    fn what_cannot_be_read_for_other_reasons_is_not_lost() {
        let newer: fn(&Path) = |path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
        };
        // The operating system does not follow a link to itself.
        let refused: fn(&Path) = |path| {
            fs::remove_file(path).unwrap();
            symlink(path.file_name().unwrap(), path).unwrap();
        };
        for (damage, what) in [(newer, "newer than"), (refused, "cannot read")] {
            for number in [2, 3] {
                let (tmp, dir) = index();
                if number == 2 {
                    lose(&dir, 3);
                }
                damage(&tmp.path().join(format!("generations/{number}.json")));
                let before = fs::read(tmp.path().join("CURRENT")).unwrap();
                let error = rollback(tmp.path(), None, false).unwrap_err().to_string();
                assert!(error.contains(what), "{error}");
                assert_eq!(fs::read(tmp.path().join("CURRENT")).unwrap(), before);
            }
        }
    }
}

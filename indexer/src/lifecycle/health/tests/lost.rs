//! What is left where no backup has what is lost, and what each way back loses.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use ocelli_index::{Cause, Change, CommitOptions, Hash, NameListBuilder, Names};

use super::*;
use crate::lifecycle::delete;
use crate::lifecycle::fixture::{bury, living, shard_with, upsert};

/// Three generations as in [`index`], and one that `made` made.
fn fourth(made: fn(&IndexDir)) -> (tempfile::TempDir, IndexDir) {
    let (tmp, dir) = index();
    made(&dir);
    assert_eq!(number(&dir), 4);
    (tmp, dir)
}

fn number(dir: &IndexDir) -> u64 {
    dir.current().unwrap().unwrap().number
}

pub(super) fn first_remedies(root: &Path) -> Vec<Remedy> {
    let report = whole(root);
    assert!(!report.is_usable(), "{report:#?}");
    report.findings[0].mend.clone()
}

pub(super) fn commands(remedies: &[Remedy]) -> Vec<&str> {
    remedies.iter().map(|remedy| remedy.command.as_str()).collect()
}

pub(super) fn lose(dir: &IndexDir, number: u64) {
    fs::remove_file(dir.root().join(format!("generations/{number}.json"))).unwrap();
}

/// A way back over a lost generation: to the newest sound one before it, and nothing else.
#[test]
fn a_lost_generation_is_gone_back_over_and_what_it_did_is_told() {
    let add: fn(&IndexDir) = |dir| {
        let more = shard(dir, &model(0), 7, 500, 9);
        upsert(dir, more, 509);
    };
    let delete: fn(&IndexDir) = |dir| bury(dir, &[10, 11]);
    // Row 300 takes the place of row 5, and row 301 is new.
    let replace: fn(&IndexDir) = |dir| {
        let more = shard_with(dir, 7, &[(300, "photo 5"), (301, "photo 301")]);
        upsert(dir, more, 302);
    };
    let merge: fn(&IndexDir) = |dir| {
        let options = CompactOptions { all: true, ..CompactOptions::default() };
        compact(dir.root(), &options, &silent).unwrap();
    };
    let cases = [
        ("add", add, "(9 rows)"),
        ("delete", delete, "rows that generation 4 deleted come back"),
        ("upsert", replace, "(2 rows)"),
        ("compact", merge, "(118 rows)"),
    ];
    for (name, made, loses) in cases {
        for damage in [|path: &Path| fs::remove_file(path).unwrap(), flip] {
            let (tmp, dir) = index();
            let expected = living(tmp.path());
            made(&dir);
            let next_id = dir.current().unwrap().unwrap().next_id;
            damage(&tmp.path().join("generations/4.json"));
            let remedies = first_remedies(tmp.path());
            assert!(remedies[0].command.contains("rollback") && remedies.len() == 1, "{name}");
            assert!(remedies[0].command.contains("--to 3"), "{name}: {remedies:#?}");
            let lost = remedies[0].loses.as_ref().unwrap();
            assert!(lost.contains("generation 4 (its file"), "{name}: {lost}");
            assert!(lost.contains(loses), "{name}: {lost}");
            assert_eq!(lost.contains("unused"), name != "delete", "{name}: {lost}");
            carry_out(&remedies[0].command);
            assert_eq!(living(tmp.path()), expected, "{name}");
            // The lost number is given to no other one, and neither are its ids.
            let now = dir.current().unwrap().unwrap();
            assert_eq!((now.number, now.next_id), (5, next_id), "{name}");
            assert!(whole(tmp.path()).is_usable());
        }
    }
}

/// A bad rebuild, a way back from it, and then damage of what was gone back to.
#[test]
fn no_way_leads_to_what_was_rolled_back_from_but_as_the_last() {
    let bad = || {
        let (tmp, dir) = fourth(|dir| {
            let other = shard(dir, &model(0), 7, 500, 9);
            commit(dir, vec![other], &[], 2000);
        });
        rollback(tmp.path(), None, false).unwrap();
        assert_eq!(number(&dir), 3);
        (tmp, dir)
    };
    let (tmp, _dir) = bad();
    flip(&shard_of(tmp.path(), 1));
    let report = whole(tmp.path());
    assert_eq!(report.sound, [1, 4]);
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[0].contains("recover") && all[1].contains("--to 1"), "{all:?}");
    assert!(all.iter().all(|command| !command.contains("--to 4")), "{all:?}");
    // Where nothing else is left, it is offered for what it is.
    flip(&shard_of(tmp.path(), 0));
    let remedies = first_remedies(tmp.path());
    let last = remedies.last().unwrap();
    assert!(last.command.contains("--to 4"), "{remedies:#?}");
    assert!(last.loses.as_ref().unwrap().contains("rolled back from, or never"), "{last:?}");

    let (tmp, dir) = bad();
    lose(&dir, 3);
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[0].contains("--to 2") && all.len() == 1, "{all:?}");
    assert!(remedies[0].loses.is_some());
    carry_out(all[0]);
    assert_eq!(living(tmp.path()), (0..120).collect());
}

/// What the current one was made from is gone back to, and not what has the number before it.
#[test]
fn a_way_back_follows_what_a_generation_was_made_from() {
    let (tmp, dir) = fourth(|dir| {
        let other = shard(dir, &model(0), 7, 500, 9);
        commit(dir, vec![other], &[], 2000);
    });
    rollback(tmp.path(), None, false).unwrap();
    let more = shard(&dir, &model(0), 8, 2000, 9);
    upsert(&dir, more, 2009);
    let now = dir.current().unwrap().unwrap();
    assert_eq!((now.number, now.parent), (5, Some(3)));
    flip(&dir.shard_path(&now.shards[2].name).unwrap());
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[1].contains("--to 3") && all.len() == 2, "{all:?}");
    // With its file lost, that is not known any more, and the loss says so.
    lose(&dir, 5);
    let remedies = first_remedies(tmp.path());
    assert!(remedies[0].command.contains("--to 4"), "{remedies:#?}");
    let loses = remedies[0].loses.as_ref().unwrap();
    assert!(loses.contains("if generation 4 was rolled back from"), "{loses}");
    assert!(loses.contains("1, 2, 3 can be used"), "{loses}");
}

/// A deletion that was killed before CURRENT was written.
#[test]
fn no_way_leads_to_what_never_became_current() {
    let (tmp, dir) = index();
    let line = fs::read(tmp.path().join("CURRENT")).unwrap();
    bury(&dir, &[10]);
    fs::write(tmp.path().join("CURRENT"), line).unwrap();
    lose(&dir, 3);
    let remedies = first_remedies(tmp.path());
    assert!(remedies[0].command.contains("--to 2") && remedies.len() == 1, "{remedies:#?}");
}

/// Damage of a later generation: its file is never removed by hand, since it alone tells which ids
/// it gave.
#[test]
fn a_damaged_later_generation_is_not_removed_and_its_ids_are_kept() {
    let (tmp, dir) = fourth(|dir| {
        let more = shard(dir, &model(0), 7, 500, 9);
        upsert(dir, more, 509);
    });
    rollback(tmp.path(), None, false).unwrap();
    let expected = living(tmp.path());
    // A shard of it alone does no harm.
    let fourth = dir.generation(4).unwrap();
    let path = dir.shard_path(&fourth.shards[2].name).unwrap();
    let good = fs::read(&path).unwrap();
    flip(&path);
    let report = whole(tmp.path());
    assert!(report.is_usable() && !report.findings.is_empty(), "{report:#?}");
    for finding in &report.findings {
        assert!(finding.what.contains("never became current, and `ocelli gc`"), "{finding:#?}");
        assert_eq!((&finding.path, finding.mend.len()), (&path, 0));
    }
    replace(&path, &good);
    // Its own file keeps every change from the index.
    flip(&tmp.path().join("generations/4.json"));
    let names = || Names { ids: vec![7], keys: Vec::new() };
    let change = || Change::Delete { names: names(), cause: Cause::Delete };
    dir.commit_change(&change(), &CommitOptions::default()).unwrap_err();
    let report = whole(tmp.path());
    let finding = &report.findings[0];
    assert_eq!((finding.part, finding.severity), (Part::Generation, Severity::Damage));
    assert!(finding.what.contains("no change of the index works"), "{finding:#?}");
    assert!(finding.mend.iter().all(|remedy| !remedy.command.starts_with("rm")), "{finding:#?}");
    assert!(finding.mend[0].command.contains("recover"), "{finding:#?}");
    carry_out(&finding.mend[0].command);
    let now = dir.current().unwrap().unwrap();
    assert_eq!((now.number, now.next_id, now.shards.len()), (5, 509, 2));
    assert_eq!(living(tmp.path()), expected);
    dir.commit_change(&change(), &CommitOptions::default()).unwrap();
    // It is an earlier one now.
    let report = whole(tmp.path());
    assert!(report.is_usable());
    assert!(report.findings[0].mend[0].command.starts_with("rm"), "{report:#?}");
    carry_out(&report.findings[0].mend[0].command);
    assert_eq!(whole(tmp.path()).findings, []);
}

/// What a backup has comes before what loses something, and nothing is lost by it.
#[test]
fn a_backup_of_the_lost_generation_comes_first() {
    let (tmp, dir) = fourth(|dir| bury(dir, &[10, 11]));
    let chain = tempfile::tempdir().unwrap();
    backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap();
    let expected = living(tmp.path());
    lose(&dir, 4);
    let remedies = first_remedies(tmp.path());
    assert!(remedies[0].command.contains("restore") && remedies[0].loses.is_none());
    carry_out(&remedies[0].command);
    assert_eq!((living(tmp.path()), whole(tmp.path()).findings), (expected.clone(), Vec::new()));
    assert_eq!(number(&dir), 4);
    // A backup that is no newer than what lies there comes last, and says what it loses.
    bury(&dir, &[12]);
    lose(&dir, 5);
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[0].contains("--to 4") && all[1].contains("restore") && all.len() == 2, "{all:?}");
    assert!(remedies[1].loses.as_ref().unwrap().contains("after generation 4"), "{remedies:#?}");
    // One that is newer comes first.
    flip(&shard_of(tmp.path(), 1));
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[0].contains("restore") && all[1].contains("--to 1"), "{all:?}");
    carry_out(all[0]);
    assert_eq!((living(tmp.path()), number(&dir)), (expected, 4));
}

/// A backup of a generation that was rolled back from is no way to the one that is lost.
#[test]
fn a_backup_of_what_was_rolled_back_from_is_the_last_way() {
    let (tmp, dir) = fourth(|dir| {
        let other = shard(dir, &model(0), 7, 500, 9);
        commit(dir, vec![other], &[], 2000);
    });
    // The chain has no generation but the bad one.
    let options = GcOptions { keep_generations: 0, remove: true, ..GcOptions::default() };
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in tree(tmp.path()) {
        fs::create_dir_all(copy.path().join(&name).parent().unwrap()).unwrap();
        fs::write(copy.path().join(&name), bytes).unwrap();
    }
    gc(copy.path(), &options).unwrap();
    let chain = tempfile::tempdir().unwrap();
    backup(copy.path(), chain.path(), 0, 1, &silent).unwrap();
    fs::copy(copy.path().join("backups.json"), tmp.path().join("backups.json")).unwrap();
    rollback(tmp.path(), None, false).unwrap();
    lose(&dir, 3);
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[0].contains("--to 2") && all[1].contains("restore") && all.len() == 2, "{all:?}");
    assert!(remedies[1].loses.as_ref().unwrap().contains("was rolled back from"), "{remedies:#?}");
}

/// Tombstones and the delete log say the same: each is made again from the other.
#[test]
fn tombstones_and_delete_log_mend_each_other() {
    for folder in ["tombstones", "deletes"] {
        for damage in [|path: &Path| fs::remove_file(path).unwrap(), flip, cut] {
            let (tmp, dir) = index();
            // The first shard's tombstones of the third generation are in no log.
            bury(&dir, &[70, 71]);
            bury(&dir, &[80, 20]);
            // Shards of changes that were killed, or refused, lie there: they are not taken.
            shard(&dir, &model(0), 7, 500, 9);
            shard_with(&dir, 8, &[(600, "photo 30"), (70, "photo 70")]);
            let (expected, mut before) = (living(tmp.path()), files_of(&dir.root().join(folder)));
            let now: BTreeSet<String> =
                dir.current().unwrap().unwrap().tombstones.values().map(Hash::to_string).collect();
            // Tombstones of earlier generations are of no account.
            before.retain(|path, _| {
                folder == "deletes" || now.contains(&*path.file_stem().unwrap().to_string_lossy())
            });
            assert_eq!(before.len(), 2);
            for (path, bytes) in &before {
                damage(path);
                let remedies = first_remedies(tmp.path());
                assert!(remedies[0].command.contains("recover"), "{remedies:#?}");
                assert!(remedies[0].steps[0].contains("proves"), "{remedies:#?}");
                assert_eq!(remedies[0].loses, None);
                carry_out(&remedies[0].command);
                assert_eq!(&fs::read(path).unwrap(), bytes);
                assert_eq!(whole(tmp.path()).findings, []);
                assert_eq!(number(&dir), 5);
                assert_eq!(living(tmp.path()), expected);
            }
        }
    }
}

fn files_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Rows that were deleted and added again under their own ids stay where a shard is lost.
#[test]
fn rows_that_were_added_again_are_kept() {
    let (tmp, dir) = index();
    bury(&dir, &[10, 70]);
    let again = shard_with(&dir, 8, &[(10, "photo 10"), (70, "photo 70")]);
    upsert(&dir, again, 120);
    fs::remove_file(shard_of(tmp.path(), 1)).unwrap();
    let report = recover(tmp.path(), true).unwrap();
    assert!(report.applied && report.rows_lost == 59, "{report:#?}");
    let expected: BTreeSet<u64> = (0..60).filter(|id| ![3, 4].contains(id)).chain([70]).collect();
    assert_eq!(living(tmp.path()), expected);
    assert!(recover(tmp.path(), true).unwrap().steps.is_empty());
}

/// A delete log that nothing proves is begun anew: no row of the index changes.
#[test]
fn a_delete_log_that_is_lost_is_begun_anew() {
    let (tmp, dir) = index();
    let more = shard_with(&dir, 7, &[(300, "photo 5")]);
    upsert(&dir, more, 301);
    bury(&dir, &[70, 71]);
    let lost = dir.current().unwrap().unwrap().deletes.unwrap();
    bury(&dir, &[80]);
    // The generation that wrote the lost file is gone, with the one before.
    let options = GcOptions { keep_generations: 0, remove: true, ..GcOptions::default() };
    gc(tmp.path(), &options).unwrap();
    let expected = living(tmp.path());
    fs::remove_file(tmp.path().join(format!("deletes/{lost}"))).unwrap();
    let remedies = first_remedies(tmp.path());
    assert_eq!(remedies.len(), 1, "{remedies:#?}");
    assert!(remedies[0].loses.as_ref().unwrap().contains("compaction"));
    carry_out(&remedies[0].command);
    assert_eq!(living(tmp.path()), expected);
    assert!(whole(tmp.path()).is_usable());
    let current = dir.current().unwrap().unwrap();
    let names = dir.deleted_names(&current, NameListBuilder::new()).unwrap();
    // Rows 3 and 4 were deleted by no log.
    assert_eq!(names.to_names().unwrap().ids, [3, 4, 70, 71, 80]);
    // Row 5 was replaced, and nobody asked for its deletion.
    let log = dir.delete_log(current.deletes).flat_map(|file| file.unwrap().1.rows);
    let asked: BTreeSet<u64> = log.filter(|row| row.is_asked_for()).map(|row| row.id).collect();
    assert_eq!(asked, [3, 4, 70, 71, 80].into());
}

/// With the log damaged, a way back must do without, and says so.
#[test]
fn a_way_back_with_a_damaged_log_says_that_rows_come_back() {
    let (tmp, dir) = index();
    bury(&dir, &[70, 71]);
    bury(&dir, &[80]);
    for file in files_of(&dir.root().join("deletes")).keys() {
        flip(file);
    }
    let remedies = first_remedies(tmp.path());
    let back = remedies.iter().find(|remedy| remedy.command.contains("rollback")).unwrap();
    assert!(back.command.contains("--to 3 --undo-deletes"), "{back:?}");
    let loses = back.loses.as_ref().unwrap();
    assert!(loses.contains("deleted since come back") && loses.contains("generation 5"), "{loses}");
    carry_out(&back.command);
    assert!(whole(tmp.path()).is_usable());
    assert!(living(tmp.path()).contains(&80));
}

/// Where nothing else is left, the index is built beside the damaged one.
#[test]
fn a_lone_generation_that_is_lost_is_built_anew() {
    let (tmp, dir) = index();
    let options = GcOptions { keep_generations: 0, remove: true, ..GcOptions::default() };
    gc(tmp.path(), &options).unwrap();
    for damage in [|path: &Path| flip(path), |path: &Path| fs::remove_file(path).unwrap()] {
        damage(&dir.root().join("generations/3.json"));
        let remedies = first_remedies(tmp.path());
        let all = commands(&remedies);
        assert!(all[0].contains("restore BACKUPS") && all.len() == 2, "{all:?}");
        assert!(remedies.iter().all(|remedy| remedy.loses.is_some()));
        carry_out(all[1]);
        let beside = format!("{}.anew", tmp.path().canonicalize().unwrap().display());
        let beside = PathBuf::from(beside);
        assert_eq!(living(&beside).len() as u64, ROWS);
        fs::remove_dir_all(beside).unwrap();
    }
}

/// No way leads to a generation with erased rows, so none is advised.
#[test]
fn no_way_back_to_erased_rows_is_advised() {
    let (tmp, dir) = index();
    let names = Names { ids: vec![10], keys: Vec::new() };
    let report = delete(tmp.path(), names, true, &silent).unwrap();
    flip(&dir.root().join(format!("generations/{}.json", report.generation)));
    let report = whole(tmp.path());
    assert_eq!(report.sound, [0; 0]);
    let commands = report.findings.iter().flat_map(|finding| &finding.mend);
    assert!(commands.into_iter().all(|remedy| !remedy.command.contains("rollback")));
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

/// What a later version wrote, and what the operating system does not give, is not lost.
#[test]
fn only_what_is_missing_or_damaged_counts_as_lost() {
    let newer: fn(&Path) = |path| {
        let mut bytes = fs::read(path).unwrap();
        let n = bytes.len();
        let body_len = u32::from_le_bytes(bytes[n - 16..n - 12].try_into().unwrap()) as usize;
        let at = n - 16 - body_len;
        bytes[at] = 2;
        let crc = crc32c(&bytes[at..n - 12]);
        bytes[n - 12..n - 8].copy_from_slice(&crc.to_le_bytes());
        replace(path, &bytes);
    };
    let newer_json: fn(&Path) = |path| {
        let text = fs::read_to_string(path).unwrap();
        replace(path, text.replacen("\"format\": 1", "\"format\": 2", 1).as_bytes());
    };
    // The operating system does not follow a link to itself.
    let refused: fn(&Path) = |path| {
        fs::remove_file(path).unwrap();
        symlink(path.file_name().unwrap(), path).unwrap();
    };
    let shard: fn(&Path) -> PathBuf = |root| shard_of(root, 1);
    let current: fn(&Path) -> PathBuf = |root| root.join("generations/3.json");
    let update = "update ocelli";
    for (damage, file, command) in [
        (newer, shard, update),
        (newer_json, current, update),
        (refused, shard, "look after the disk"),
        (refused, current, "look after the disk"),
    ] {
        let (tmp, _) = index();
        damage(&file(tmp.path()));
        let line = fs::read(tmp.path().join("CURRENT")).unwrap();
        recover(tmp.path(), true).unwrap_err();
        assert_eq!(fs::read(tmp.path().join("CURRENT")).unwrap(), line);
        let remedies = first_remedies(tmp.path());
        assert!(remedies[0].command.starts_with(command), "{remedies:#?}");
        let lossy = |remedy: &Remedy| remedy.command.contains("recover");
        assert!(!remedies.iter().any(lossy), "{remedies:#?}");
    }
}

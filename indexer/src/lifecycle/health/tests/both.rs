//! Several faults at once, and advice that must not be given.

use ocelli_index::{Change, CommitOptions, Names, NewGeneration, Snapshot};

use super::lost::{commands, first_remedies, lose};
use super::*;
use crate::lifecycle::fixture::{bury, living, upsert};
use crate::lifecycle::verify::{Which, verify};
use crate::lifecycle::{add, delete};

/// Three generations of an index with a fine codec, and the file of the codec.
fn fine() -> (tempfile::TempDir, IndexDir, PathBuf) {
    let (tmp, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let part = part_of(&parts.path().join("a.part"), ROWS);
    let options = crate::FineOptions {
        choice: crate::FineChoice::F16,
        niter: 1,
        seed: 1,
        threads: 1,
        force: true,
    };
    let parts = [part];
    let (model, _) = crate::train_fine_codec(&parts, model(0), &options, &silent).unwrap();
    crate::build(&parts, &model, tmp.path(), &build_options(), &silent).unwrap();
    let dir = IndexDir::open(tmp.path()).unwrap();
    let codec = model.fine_codec().unwrap().hash();
    let path = dir.fine_model_path(&model.hash(), &codec).unwrap();
    bury(&dir, &[0]);
    bury(&dir, &[1]);
    (tmp, dir, path)
}

/// No generation is sound without the fine codec of its shards, and no way leads to one.
#[test]
fn a_lost_fine_codec_is_damage_of_each_generation() {
    let (tmp, dir, path) = fine();
    let report = whole(tmp.path());
    assert_eq!((report.findings, report.sound), (Vec::new(), vec![1, 2, 3]));
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), flip, cut] {
        let good = fs::read(&path).unwrap();
        damage(&path);
        let before = tree(tmp.path());
        let report = whole(tmp.path());
        assert_eq!((report.sound.len(), report.is_usable()), (0, false), "{report:#?}");
        let hit = report.findings.iter().find(|finding| finding.path == path).unwrap();
        assert_eq!((hit.part, hit.severity), (Part::Model, Severity::Damage));
        for remedy in report.findings.iter().flat_map(|finding| &finding.mend) {
            let first = remedy.command.split(' ').take(2).collect::<Vec<_>>();
            let good = matches!(first[..], ["ocelli", "restore" | "build"]);
            assert!(good, "{remedy:?}");
        }
        rollback(tmp.path(), None, false).unwrap_err();
        rollback(tmp.path(), Some(1), true).unwrap_err();
        recover(tmp.path(), true).unwrap_err();
        assert!(tree(tmp.path()) == before);
        // Another file of that name, as mappings of the damaged one may be open.
        fs::write(path.with_extension("good"), &good).unwrap();
        fs::rename(path.with_extension("good"), &path).unwrap();
    }
    assert_eq!(whole(tmp.path()).findings, []);
    rollback(tmp.path(), None, false).unwrap();
    assert!(Snapshot::open_in(&dir, None).is_ok());
}

/// Where CURRENT is lost, no command takes the index for a new one.
#[test]
fn no_command_goes_on_without_current_where_generations_are() {
    let (tmp, dir) = index();
    fs::remove_file(tmp.path().join("CURRENT")).unwrap();
    let before = tree(tmp.path());
    let parts_dir = tempfile::tempdir().unwrap();
    let parts = [part_of(&parts_dir.path().join("a.part"), 9)];
    let names = || Names { ids: vec![7], keys: Vec::new() };
    let change = || Change::Delete { names: names(), cause: ocelli_index::Cause::Delete };
    let new = || {
        let last = dir.generation(3).unwrap();
        NewGeneration {
            model: last.model,
            shards: last.shards,
            tombstones: last.tombstones,
            deletes: None,
            next_id: last.next_id,
        }
    };
    let errors = [
        crate::build(&parts, &model(0), tmp.path(), &build_options(), &silent)
            .err()
            .unwrap()
            .to_string(),
        add(&parts, tmp.path(), &build_options(), false, &silent).err().unwrap().to_string(),
        delete(tmp.path(), names(), false, &silent).err().unwrap().to_string(),
        compact(tmp.path(), &CompactOptions::default(), &silent).err().unwrap().to_string(),
        verify(tmp.path(), Which::Current, 1, &silent).err().unwrap().to_string(),
        dir.commit_change(&change(), &CommitOptions::default()).err().unwrap().to_string(),
        dir.commit(None, new()).err().unwrap().to_string(),
        Snapshot::open(tmp.path(), None).err().unwrap().to_string(),
    ];
    for error in errors {
        assert!(
            error.contains("generations up to 3") && error.contains("ocelli doctor"),
            "{error}"
        );
    }
    assert!(tree(tmp.path()) == before);
    carry_out(&first_remedies(tmp.path())[0].command);
    add(&parts, tmp.path(), &build_options(), false, &silent).unwrap();
}

/// CURRENT and the newest generation are written last, and may be lost together.
#[test]
fn traces_of_a_generation_above_all_files_are_told() {
    type Made = (fn(&IndexDir), &'static str);
    let cases: [Made; 2] = [
        (|dir| bury(dir, &[10]), "tells of generation 4"),
        (|dir| upsert(dir, shard(dir, &model(0), 7, 500, 9), 509), "ids up to 508"),
    ];
    for (made, trace) in cases {
        let (tmp, dir) = index();
        made(&dir);
        fs::remove_file(tmp.path().join("CURRENT")).unwrap();
        let both = |root: &Path| first_remedies(root)[0].loses.clone().unwrap();
        assert!(both(tmp.path()).contains("nothing if generation 4 was current"));
        lose(&dir, 4);
        let remedies = first_remedies(tmp.path());
        assert!(remedies[0].command.contains("--to 3"), "{remedies:#?}");
        let loses = both(tmp.path());
        assert!(
            loses.contains(trace) && loses.contains("rows that it deleted come back"),
            "{loses}"
        );
        assert!(!loses.contains("nothing"), "{loses}");
    }
}

/// A backup of a generation that the current one was not made from stands behind the way back.
#[test]
fn a_backup_of_another_line_is_not_the_first_way() {
    let (tmp, dir) = index();
    let chain = tempfile::tempdir().unwrap();
    let other = shard(&dir, &model(0), 7, 500, 9);
    commit(&dir, vec![other], &[], 2000);
    backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap();
    rollback(tmp.path(), None, false).unwrap();
    upsert(&dir, shard(&dir, &model(0), 8, 2000, 9), 2009);
    let now = dir.current().unwrap().unwrap();
    assert_eq!((now.number, now.parent), (5, Some(3)));
    lose(&dir, 4);
    lose(&dir, 5);
    let remedies = first_remedies(tmp.path());
    let all = commands(&remedies);
    assert!(all[0].contains("--to 3") && all[1].contains("restore") && all.len() == 2, "{all:?}");
    let loses = remedies[1].loses.as_ref().unwrap();
    assert!(loses.contains("may have been rolled back from"), "{loses}");
}

/// No advice names a backup that `ocelli restore` refuses.
#[test]
fn a_backup_with_erased_rows_is_not_advised() {
    let (tmp, dir) = index();
    let chain = tempfile::tempdir().unwrap();
    backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap();
    let names = Names { ids: vec![10], keys: Vec::new() };
    delete(tmp.path(), names, true, &silent).unwrap();
    let expected = living(tmp.path());
    let kept = shard_of(tmp.path(), 1);
    let now = dir.current().unwrap().unwrap();
    assert!(now.shards.iter().any(|shard| kept.ends_with(&shard.name)));
    let good = fs::read(&kept).unwrap();
    flip(&kept);
    let remedies = first_remedies(tmp.path());
    let of_chain = chain.path().display().to_string();
    assert!(remedies.iter().all(|remedy| !remedy.command.contains(&of_chain)), "{remedies:#?}");
    replace(&kept, &good);
    // One from after the erasure is.
    backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap();
    flip(&kept);
    let remedies = first_remedies(tmp.path());
    assert!(remedies[0].command.contains("--backup 2"), "{remedies:#?}");
    carry_out(&remedies[0].command);
    assert_eq!(living(tmp.path()), expected);
}

/// A quick look does not promise what only a full one knows.
#[test]
fn a_quick_look_says_that_a_full_one_may_find_more() {
    let (tmp, dir) = index();
    bury(&dir, &[70]);
    let now = dir.current().unwrap().unwrap();
    let lost = now.tombstones[&now.shards[1].name];
    let name = ocelli_index::object_names::tombstones(&lost);
    fs::remove_file(tmp.path().join(name)).unwrap();
    let find = |report: HealthReport| {
        let mut remedies = report.findings.into_iter().flat_map(|finding| finding.mend);
        remedies.find(|remedy| remedy.command.contains("recover")).unwrap().loses
    };
    assert_eq!(find(whole(tmp.path())), None);
    let loses = find(quick(tmp.path())).unwrap();
    assert!(loses.starts_with("nothing") && loses.contains("a full look may find more"), "{loses}");
}

/// Ids that were given between the plan of a replacement and its commit are not given again, also
/// where they were rolled back from.
#[test]
fn the_next_id_never_falls() {
    let (tmp, dir) = index();
    let base = dir.current().unwrap().unwrap();
    upsert(&dir, shard(&dir, &model(0), 7, 500, 9), 509);
    rollback(tmp.path(), None, false).unwrap();
    let new = NewGeneration {
        model: base.model,
        shards: base.shards,
        tombstones: base.tombstones,
        deletes: base.deletes,
        next_id: base.next_id,
    };
    let change = Change::Replace { parent: Some(3), new, dba: None };
    let made = dir.commit_change(&change, &CommitOptions::default()).unwrap().generation;
    assert_eq!((made.number, made.next_id), (5, 509));
}

/// Where unused shards are told, so is what `gc` does to them.
#[test]
fn unused_shards_are_told_with_what_removes_them() {
    let (tmp, dir) = index();
    upsert(&dir, shard(&dir, &model(0), 7, 500, 9), 509);
    lose(&dir, 4);
    let loses = first_remedies(tmp.path())[0].loses.clone().unwrap();
    assert!(loses.contains("unused") && loses.contains("gc --yes` removes it"), "{loses}");
}

/// Where no generation is sound, the doctor says how much of the newest one is whole.
#[test]
fn what_is_whole_is_told_where_nothing_is_sound() {
    let (tmp, dir) = index();
    fs::remove_file(tmp.path().join("CURRENT")).unwrap();
    assert!(!whole(tmp.path()).findings[0].what.contains("have no fault"));
    let first = dir.generation(1).unwrap().shards[0].name.clone();
    flip(&dir.shard_path(&first).unwrap());
    let report = whole(tmp.path());
    assert_eq!(report.sound, [0; 0]);
    let what = &report.findings.iter().find(|finding| finding.part == Part::Current).unwrap().what;
    assert!(
        what.contains("of generation 3, 1 of 2 shards have no fault, with 60 of 120 rows"),
        "{what}"
    );
}

/// A record of an erasure that is damaged is found, and hides no other; erased anew, the same rows
/// are written again.
#[test]
fn a_damaged_record_of_an_erasure_is_found() {
    let (tmp, dir) = index();
    for id in [10, 30] {
        let names = Names { ids: vec![id], keys: Vec::new() };
        delete(tmp.path(), names, true, &silent).unwrap();
    }
    assert_eq!(whole(tmp.path()).sound, [dir.current().unwrap().unwrap().number]);
    let records: Vec<PathBuf> =
        fs::read_dir(tmp.path().join("erased")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(records.len(), 2);
    for record in &records {
        let good = fs::read(record).unwrap();
        fs::write(record, &good[..good.len() / 2]).unwrap();
        let report = whole(tmp.path());
        let hit = report.findings.iter().find(|finding| finding.path == *record).unwrap();
        assert_eq!((hit.part, hit.severity), (Part::Erasure, Severity::Warning), "{report:#?}");
        let remedy = &hit.mend[0];
        let rm = format!("rm {} && ocelli delete", record.display());
        assert!(remedy.command.starts_with(&rm) && remedy.command.ends_with("--erase"));
        assert!(remedy.loses.is_some());
        rollback(tmp.path(), Some(1), true).unwrap_err();
        fs::remove_file(record).unwrap();
        assert!(!whole(tmp.path()).findings.iter().any(|found| found.part == Part::Erasure));
        for id in [10, 30] {
            let names = Names { ids: vec![id], keys: Vec::new() };
            delete(tmp.path(), names, true, &silent).unwrap();
        }
        let known = dir.erasures().unwrap().into_iter().flat_map(|erasure| erasure.ids);
        assert_eq!(known.collect::<BTreeSet<u64>>(), BTreeSet::from([10, 30]));
    }
}

mod both;
mod lost;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ocelli_index::container::AtomicFile;

use super::*;
use crate::lifecycle::backup::{RestoreOptions, backup, restore};
use crate::lifecycle::fixture::{ROWS, commit, index, model, shard, tree};
use crate::lifecycle::{CompactOptions, GcOptions, compact, gc, recover, rollback};
use crate::silent;

fn quick(root: &Path) -> HealthReport {
    examine(root, &HealthOptions { quick: true, threads: 2 }, &silent).unwrap()
}

fn whole(root: &Path) -> HealthReport {
    examine(root, &HealthOptions { quick: false, threads: 2 }, &silent).unwrap()
}

#[test]
fn nothing_is_wrong_with_a_sound_index() {
    let (tmp, _) = index();
    for report in [quick(tmp.path()), whole(tmp.path())] {
        assert_eq!(report.findings, []);
        assert_eq!((report.generation, report.sound), (Some(3), vec![1, 2, 3]));
    }
}

/// The file of a kind, the only one or the last by name.
fn file_in(root: &Path, folder: &str) -> PathBuf {
    let mut files: Vec<_> =
        fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.pop().unwrap()
}

fn shard_of(root: &Path, number: usize) -> PathBuf {
    let current = IndexDir::open(root).unwrap().generation(3).unwrap();
    root.join("shards").join(&current.shards[number].name)
}

fn replace(path: &Path, bytes: &[u8]) {
    // Another file of that name, as mappings of the good one may be open.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    replace(path, &bytes);
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    replace(path, &bytes[..bytes.len() / 2]);
}

type Damage = (&'static str, fn(&Path), Part, &'static str);

/// Each kind of damage, the part that is to be named, and the command that mends it here.
const DAMAGES: &[Damage] = &[
    ("no CURRENT", |r| fs::remove_file(r.join("CURRENT")).unwrap(), Part::Current, "--to 3"),
    ("CURRENT is garbage", |r| fs::write(r.join("CURRENT"), "?").unwrap(), Part::Current, "--to 3"),
    (
        "CURRENT names a generation that is not there",
        |r| {
            let text = fs::read_to_string(r.join("CURRENT")).unwrap();
            fs::write(r.join("CURRENT"), text.replace("3 ", "9 ")).unwrap();
        },
        Part::Current,
        "--to 3",
    ),
    (
        "CURRENT has another checksum",
        |r| {
            let text = fs::read_to_string(r.join("CURRENT")).unwrap();
            fs::write(r.join("CURRENT"), text.replace("3 ", "2 ")).unwrap();
        },
        Part::Current,
        "--to 3",
    ),
    (
        "the generation is damaged",
        |r| flip(&r.join("generations/3.json")),
        Part::Generation,
        "--to 2",
    ),
    (
        "the generation is of a later version",
        |r| {
            let path = r.join("generations/3.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
        },
        Part::NewerGeneration,
        "update ocelli",
    ),
    (
        "the model is lost",
        |r| fs::remove_file(file_in(r, "models")).unwrap(),
        Part::Model,
        "restore",
    ),
    ("the model is cut", |r| cut(&file_in(r, "models")), Part::Model, "restore"),
    ("the model is damaged", |r| flip(&file_in(r, "models")), Part::Model, "restore"),
    ("a shard is lost", |r| fs::remove_file(shard_of(r, 1)).unwrap(), Part::Shard, "recover"),
    ("a shard is cut", |r| cut(&shard_of(r, 1)), Part::Shard, "recover"),
    ("a byte of a shard is another", |r| flip(&shard_of(r, 1)), Part::Shard, "recover"),
    (
        "a shard is another one",
        |r| replace(&shard_of(r, 1), &fs::read(shard_of(r, 0)).unwrap()),
        Part::Shard,
        "recover",
    ),
    (
        "tombstones are lost",
        |r| fs::remove_file(file_in(r, "tombstones")).unwrap(),
        Part::Tombstones,
        "--to 2",
    ),
    ("tombstones are damaged", |r| flip(&file_in(r, "tombstones")), Part::Tombstones, "--to 2"),
    (
        "a shard may not be read",
        |r| fs::set_permissions(shard_of(r, 0), fs::Permissions::from_mode(0o000)).unwrap(),
        Part::Permissions,
        "chmod u+rX",
    ),
];

#[test]
fn each_kind_of_damage_is_named_with_what_mends_it() {
    for (name, damage, part, command) in DAMAGES {
        let (tmp, _) = index();
        damage(tmp.path());
        let report = whole(tmp.path());
        assert!(!report.is_usable(), "{name}: {report:?}");
        let finding = report.findings.iter().find(|finding| finding.part == *part);
        let finding = finding.unwrap_or_else(|| panic!("{name}: {report:#?}"));
        assert_eq!(finding.severity, Severity::Damage, "{name}");
        assert!(finding.mend[0].command.contains(command), "{name}: {finding:#?}");
        // A way back says what it loses.
        let back = finding.mend.iter().filter(|remedy| remedy.command.contains("rollback"));
        for remedy in back.filter(|remedy| !remedy.command.contains("--to 3")) {
            let loses = remedy.loses.as_ref().unwrap();
            assert!(loses.contains("generation 3 (") && loses.contains("row"), "{name}: {loses}");
        }
    }
}

/// Damage that only an earlier generation suffers from is a warning.
#[test]
fn an_earlier_generation_is_less_important() {
    let (tmp, _) = index();
    flip(&tmp.path().join("generations/1.json"));
    let report = whole(tmp.path());
    assert!(report.is_usable());
    assert_eq!(report.sound, [2, 3]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].severity, Severity::Warning);
    carry_out(&report.findings[0].mend[0].command);
    let after = whole(tmp.path());
    assert_eq!((after.findings, after.sound), (Vec::new(), vec![2, 3]));
}

#[test]
fn what_lies_around_is_noted() {
    let (tmp, dir) = index();
    let spare = shard(&dir, &model(0), 7, 1000, 5);
    let plan = tmp.path().join("work").join("0123".repeat(16));
    let work = plan.join("task-00001");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("run"), "x").unwrap();
    // Nothing of it is left over yet.
    assert_eq!(whole(tmp.path()).findings, []);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600);
    for path in [dir.shard_path(&spare.name).unwrap(), work.join("run"), work, plan] {
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    // A writer that lives, and what one leaves that was killed.
    let shards = tmp.path().join("shards");
    let living = AtomicFile::create(&shards.join("x")).unwrap();
    let hidden = |e: &fs::DirEntry| e.file_name().to_string_lossy().ends_with(".tmp");
    let mut entries = fs::read_dir(&shards).unwrap().map(|entry| entry.unwrap());
    let name = entries.find(hidden).unwrap().path();
    let other = name.to_string_lossy().replace(".x.ocelli", ".y.ocelli");
    fs::write(other, [0; 100]).unwrap();
    let report = whole(tmp.path());
    assert!(report.is_usable());
    let parts: Vec<Part> = report.findings.iter().map(|finding| finding.part).collect();
    assert_eq!(parts, [Part::Temporary, Part::Plan, Part::Unreferenced]);
    report.findings.iter().for_each(|finding| carry_out(&finding.mend[0].command));
    let after = whole(tmp.path());
    assert_eq!((after.findings, after.sound), (Vec::new(), vec![1, 2, 3]));
    drop(living);
}

#[test]
fn small_shards_and_deleted_rows_ask_for_compaction() {
    let (tmp, dir) = index();
    let model = model(0);
    let current = dir.current().unwrap().unwrap();
    let mut shards = current.shards;
    shards.extend((0..5).map(|i| shard(&dir, &model, 10 + i, 1000 + 5 * u64::from(i), 5)));
    let dead: Vec<u32> = (0..40).collect();
    commit(&dir, shards, &dead, 2000);
    let report = whole(tmp.path());
    let parts: Vec<Part> = report.findings.iter().map(|finding| finding.part).collect();
    assert_eq!(parts, [Part::SmallShards, Part::DeletedRows]);
    carry_out(&report.findings[0].mend[0].command);
    assert_eq!(whole(tmp.path()).findings, []);
}

#[test]
fn a_folder_without_a_generation_says_so() {
    let tmp = tempfile::tempdir().unwrap();
    IndexDir::create(tmp.path()).unwrap();
    assert!(looks_like_index(tmp.path()));
    let report = whole(tmp.path());
    assert_eq!(report.findings[0].part, Part::Directory);
    assert!(examine(&tmp.path().join("nowhere"), &HealthOptions::default(), &silent).is_err());
}

/// Runs a command that the doctor gave, as its words stand there.
fn carry_out(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let value = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let has = |flag: &str| words.contains(&flag);
    match words[..2] {
        ["ocelli", "restore"] => {
            let options = RestoreOptions {
                backup: value("--backup"),
                force: has("--force"),
                keep_current: has("--keep-current"),
                leave_out_damaged: has("--leave-out-damaged"),
                threads: 1,
            };
            restore(Path::new(words[2]), Path::new(words[3]), &options, &silent).unwrap();
        }
        ["chmod", "u+rX"] => {
            let mode = fs::metadata(words[2]).unwrap().permissions().mode();
            fs::set_permissions(words[2], fs::Permissions::from_mode(mode | 0o400)).unwrap();
        }
        ["ocelli", "rollback"] => {
            rollback(Path::new(words[2]), value("--to"), has("--undo-deletes")).unwrap();
        }
        ["ocelli", "recover"] => {
            assert!(recover(Path::new(words[2]), has("--yes")).unwrap().applied);
        }
        ["ocelli", "build"] => {
            assert_eq!(words[2..5], ["PARTS", "--model", "MODEL"]);
            build_anew(Path::new(words[6]));
        }
        ["ocelli", "gc"] => {
            let keep_generations = value("--keep-generations").unwrap() as usize;
            let options = GcOptions { keep_generations, remove: true, ..GcOptions::default() };
            gc(Path::new(words[2]), &options).unwrap();
        }
        ["ocelli", "compact"] => {
            compact(Path::new(words[2]), &CompactOptions::default(), &silent).unwrap();
        }
        ["rm", _] => words[1..].iter().for_each(|path| fs::remove_file(path).unwrap()),
        _ => panic!("{command}"),
    }
}

/// Each command that the doctor gives for a damage makes it content.
#[test]
fn each_command_mends_what_it_is_given_for() {
    for (name, damage, _, _) in DAMAGES {
        let mut number = 0;
        loop {
            let (tmp, _) = index();
            let chain = tempfile::tempdir().unwrap();
            backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap();
            damage(tmp.path());
            let before = whole(tmp.path());
            let finding = before.findings.iter().find(|f| f.severity == Severity::Damage).unwrap();
            let Some(Remedy { command, .. }) = finding.mend.get(number) else { break };
            number += 1;
            if command.starts_with("update") {
                continue;
            }
            carry_out(command);
            let after = whole(tmp.path());
            assert!(after.is_usable(), "{name}: {command}: {after:#?}");
            if command.starts_with("ocelli restore") {
                assert_eq!(after.generation, Some(3), "{name}: {command}");
            }
        }
        assert!(number > 0, "{name}");
    }
}

/// The delete log is a chain: each of its files is needed.
#[test]
fn a_broken_delete_log_is_named() {
    let (tmp, dir) = index();
    for id in [10, 11] {
        let names = ocelli_index::Names { ids: [id].into(), ..Default::default() };
        let change = ocelli_index::Change::Delete { names, cause: ocelli_index::Cause::Delete };
        dir.commit_change(&change, &ocelli_index::CommitOptions::default()).unwrap();
    }
    assert_eq!(whole(tmp.path()).findings, []);
    let chain = tempfile::tempdir().unwrap();
    backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap();
    let files: Vec<_> =
        fs::read_dir(tmp.path().join("deletes")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), flip, cut] {
        for file in &files {
            damage(file);
            let report = whole(tmp.path());
            assert!(!report.is_usable());
            let finding = &report.findings[0];
            assert_eq!((finding.part, finding.severity), (Part::DeleteLog, Severity::Damage));
            carry_out(&finding.mend[0].command);
            assert_eq!(whole(tmp.path()).findings, []);
        }
    }
}

/// A part of this many rows.
fn part_of(path: &Path, rows: u64) -> ocelli_index::Part {
    let model = model(0);
    let (kind, dtype) = (ocelli_index::PartKind::Descriptors, ocelli_index::Dtype::F32);
    let spec = &model.parts().spec;
    let mut writer = ocelli_index::PartWriter::create(path, kind, dtype, spec).unwrap();
    for id in 0..rows {
        writer.push(&format!("image {id}"), None, &[id as f32, 1.0, 2.0, 3.0]).unwrap();
    }
    writer.finish().unwrap();
    ocelli_index::Part::open(path).unwrap()
}

fn build_options() -> crate::BuildOptions {
    crate::BuildOptions {
        shards: 1,
        threads: 1,
        dba: 0,
        on_duplicate: crate::OnDuplicate::Stop,
        memory_budget_bytes: 0,
    }
}

/// Builds an index of parts.
fn build_anew(out: &Path) {
    let tmp = tempfile::tempdir().unwrap();
    let parts = [part_of(&tmp.path().join("a.part"), ROWS)];
    crate::build(&parts, &model(0), out, &build_options(), &silent).unwrap();
}

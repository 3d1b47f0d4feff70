//! A run that is stopped at each of its steps, as a crash would.

use std::cell::Cell;
use std::io;

use super::apply::apply_in;
use super::undo::undo_in;
use super::*;

/// Steps of which the one of this number fails.
fn stopping<T>(at: usize, run: impl FnOnce(&Steps<'_>) -> Result<T>) -> Result<T> {
    let count = Cell::new(0);
    let step = |_: &str| {
        count.set(count.get() + 1);
        if count.get() > at { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    };
    run(&Steps(&step))
}

/// Every photo is there: in its place, or in the quarantine.
fn nothing_is_lost(world: &World, quarantine: &Path, before: &BTreeMap<PathBuf, Seen>) {
    let mut contents: Vec<Vec<u8>> = world.seen().into_values().map(|seen| seen.0).collect();
    let files = quarantine.join(FILES);
    if files.exists() {
        let entries = fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path());
        contents.extend(entries.map(|path| fs::read(path).unwrap()));
    }
    for (path, seen) in before {
        assert!(contents.contains(&seen.0), "{} is lost", path.display());
    }
}

/// Stops an apply, and then an undo of it, at each step; then goes on.
fn stop_everywhere(action: Action, quarantine: impl Fn(&World) -> PathBuf) {
    let mut ended = false;
    for at in 0..200 {
        let world = World::of(2);
        let before = world.seen();
        let options = ApplyOptions { quarantine: quarantine(&world), ..world.options(action) };
        let list = world.list();
        let stopped = stopping(at, |steps| apply_in(&list, &options, steps));
        nothing_is_lost(&world, &options.quarantine, &before);
        if at % 2 == 0 {
            // Goes on, then all is put back; the undo is stopped at each step too.
            let report = apply(&list, &options).unwrap();
            assert_eq!(report.taken.files + report.already, 2, "{at}: {report:?}");
            for again in 0..20 {
                let undone = stopping(again, |steps| undo_in(&options.quarantine, steps));
                nothing_is_lost(&world, &options.quarantine, &before);
                if undone.is_ok() {
                    break;
                }
            }
        }
        if options.quarantine.join("journal.jsonl").exists() {
            let undone = undo(&options.quarantine).unwrap();
            assert_eq!(
                (undone.failed, undone.lost, undone.occupied),
                (0, 0, 0),
                "{at}: {undone:?}"
            );
        }
        assert_eq!(world.seen(), before, "{action:?}, stopped at step {at}");
        fs::remove_dir_all(&options.quarantine).ok();
        if stopped.is_ok() {
            ended = true;
            break;
        }
    }
    assert!(ended, "expected the last run not to be stopped");
}

#[test]
fn a_move_stops_anywhere() {
    stop_everywhere(Action::Move, |world| world.home.path().join("aside"));
}

#[test]
fn a_link_stops_anywhere() {
    stop_everywhere(Action::HardLink, |world| world.home.path().join("aside"));
}

#[test]
fn a_copy_to_another_file_system_stops_anywhere() {
    let Some(other) = elsewhere() else { return };
    for action in [Action::Move, Action::HardLink] {
        stop_everywhere(action, |_| other.path().join("aside"));
    }
}

/// A record that was cut off by a crash is no record; what follows it is written in its place.
#[test]
fn a_journal_is_cut_anywhere() {
    let world = World::of(2);
    let before = world.seen();
    let options = world.options(Action::Move);
    let journal = options.quarantine.join("journal.jsonl");
    for cut in 0.. {
        world.apply(Action::Move);
        let whole = fs::read(&journal).unwrap();
        // The mark at the end is not on disk before the next step: it may be lost.
        let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        if last + cut >= whole.len() {
            break;
        }
        fs::write(&journal, &whole[..last + cut]).unwrap();
        let report = apply(&world.list(), &options).unwrap();
        assert_eq!((report.already, report.taken.files), (2, 0), "cut at {cut}");
        assert_eq!(undo(&options.quarantine).unwrap().restored.files, 2, "cut at {cut}");
        assert_eq!(world.seen(), before);
        fs::remove_dir_all(&options.quarantine).unwrap();
    }
}

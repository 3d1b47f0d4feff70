//! Files that are not what the list says, and lists that are none.

use std::os::unix::fs::symlink;

use super::*;

/// What is not as listed is counted and left alone.
#[test]
fn what_is_not_as_listed_stays() {
    let mut world = World::of(8);
    let at = |name: &str| world.photos().join(name);
    fs::remove_file(at("0/copy.jpg")).unwrap();
    fs::write(at("1/kept.jpg"), "another").unwrap();
    fs::write(at("2/copy.jpg"), "another").unwrap();
    let same_size = "y".repeat(fs::read(at("3/copy.jpg")).unwrap().len());
    fs::write(at("3/copy.jpg"), same_size).unwrap();
    fs::rename(at("4/copy.jpg"), at("4/real.jpg")).unwrap();
    symlink("real.jpg", at("4/copy.jpg")).unwrap();
    fs::remove_file(at("5/copy.jpg")).unwrap();
    fs::create_dir(at("5/copy.jpg")).unwrap();
    fs::remove_file(at("6/kept.jpg")).unwrap();
    let mut twice = world.lines[7].clone();
    twice.path = "7/../7/copy.jpg".into();
    world.lines.push(twice);
    let before = world.seen();
    let report = world.apply(Action::Move);
    let counts = (report.missing, report.changed, report.not_regular, report.kept_missing);
    assert_eq!(counts, (1, 2, 2, 2), "{report:?}");
    assert_eq!((report.taken.files, report.already, report.problems.all().len()), (1, 1, 7));
    let mut after = world.seen();
    assert_eq!(after.len(), before.len() - 1);
    after.insert(
        world.photos().join("7/copy.jpg"),
        before[&world.photos().join("7/copy.jpg")].clone(),
    );
    assert_eq!(after, before);
    world.undo();
    assert_eq!(world.seen(), before);
}

/// A folder that is a symlink to elsewhere leads out of the root: nothing there is touched.
#[test]
fn symlinks_lead_nowhere() {
    let mut world = World::of(1);
    let outside = world.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious.jpg"), "photo 0 ").unwrap();
    symlink(&outside, world.photos().join("link")).unwrap();
    let mut line = world.lines[0].clone();
    line.path = "link/precious.jpg".into();
    let mut absolute = line.clone();
    absolute.path = outside.join("precious.jpg");
    let mut up = line.clone();
    up.path = "../outside/precious.jpg".into();
    world.lines.extend([line, absolute, up]);
    let report = world.apply(Action::Move);
    assert_eq!((report.taken.files, report.outside), (1, 3), "{report:?}");
    assert!(outside.join("precious.jpg").exists());
}

/// The kept file by another path is never taken; one that the list removes is refused before
/// anything is touched.
#[test]
fn the_kept_file_stays() {
    let mut world = World::of(2);
    symlink("0", world.photos().join("same")).unwrap();
    let mut line = world.lines[0].clone();
    line.path = "same/kept.jpg".into();
    world.lines.push(line);
    let report = world.apply(Action::Move);
    assert_eq!((report.taken.files, report.kept_itself), (2, 1), "{report:?}");
    world.undo();

    let before = world.seen();
    world.remove("0/kept.jpg", "1/kept.jpg");
    let refused = apply(&world.list(), &world.options(Action::Move)).unwrap_err().to_string();
    assert!(refused.contains("0/kept.jpg"), "{refused}");
    assert_eq!(world.seen(), before);
}

/// Undo overwrites nothing, and brings back what it can.
#[test]
fn places_that_others_have_are_left() {
    let world = World::of(4);
    let before = world.seen();
    world.apply(Action::Move);
    let (other, gone) = (world.photos().join("0/copy.jpg"), world.photos().join("3"));
    fs::write(&other, "somebody's new photo").unwrap();
    fs::remove_dir_all(&gone).unwrap();
    fs::write(world.home.path().join("aside/files/2"), "damaged").unwrap();
    let report = world.undo();
    assert_eq!((report.restored.files, report.occupied, report.failed), (2, 1, 1), "{report:?}");
    assert_eq!(fs::read(&other).unwrap(), b"somebody's new photo");
    assert_eq!(world.seen()[&gone.join("copy.jpg")], before[&gone.join("copy.jpg")]);
    // Out of the way, it comes back too.
    fs::remove_file(&other).unwrap();
    assert_eq!(world.undo().restored.files, 1);
    assert_eq!(world.seen()[&other], before[&other]);
    fs::remove_file(world.home.path().join("aside/files/2")).unwrap();
    assert_eq!(world.undo().lost, 1);
}

#[test]
fn lists_and_quarantines_that_are_none() {
    let world = World::of(1);
    let list = world.list();
    let good = fs::read_to_string(&list).unwrap();
    let options = world.options(Action::Move);
    for wrong in [
        "no json\n".to_owned(),
        good.replace("\"bytes\"", "\"size\""),
        good.replace("0/copy.jpg", ""),
        good.replace("0/copy.jpg", "0/\\u0000"),
        format!("{good}{}", "[".repeat(70_000)),
        good.replace("\"0/copy.jpg\"", "{\"base64\":\"!\"}"),
    ] {
        fs::write(&list, &wrong).unwrap();
        let refused = apply(&list, &options).unwrap_err().to_string();
        assert!(refused.contains("line ") && refused.contains("expected"), "{refused}");
    }
    fs::write(&list, format!("\n{good}\n  \n")).unwrap();
    let photos = ApplyOptions { quarantine: world.photos(), ..options.clone() };
    assert!(apply(&list, &photos).unwrap_err().to_string().contains("expected a quarantine"));
    assert!(undo(&world.photos()).is_err());
    assert!(apply(&world.home.path().join("none"), &options).is_err());
    let rootless = ApplyOptions { root: world.home.path().join("none"), ..options.clone() };
    assert!(apply(&list, &rootless).is_err());
    assert_eq!(apply(&list, &options).unwrap().taken.files, 1);
    // A journal that was tampered with is refused; nothing is moved by it.
    let journal = options.quarantine.join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("copy.jpg", "c0py.jpg", 1)).unwrap();
    assert!(undo(&options.quarantine).unwrap_err().to_string().contains("journal.jsonl"));
    fs::write(&journal, text).unwrap();
    assert_eq!(undo(&options.quarantine).unwrap().restored.files, 1);
}

/// Two processes do not work on one quarantine.
#[test]
fn a_quarantine_has_one_owner() {
    let world = World::of(1);
    world.apply(Action::Move);
    let folder = world.home.path().join("aside");
    let held = journal::Journal::open(&folder, false).unwrap();
    let refused = undo(&folder).unwrap_err().to_string();
    assert!(refused.contains("other process"), "{refused}");
    drop(held);
    assert_eq!(world.undo().restored.files, 1);
}

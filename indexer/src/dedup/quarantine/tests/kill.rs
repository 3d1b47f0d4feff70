//! Processes that are killed in the middle.

use std::process::{Child, Command};
use std::thread::sleep;

use super::*;

/// Tells a child of this test what to do: `apply` or `undo`, and the folder.
const WHAT: &str = "OCELLI_TEST_QUARANTINE";

/// Not a test by itself: what the children run.
#[test]
fn child() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let (what, home) = what.split_once(' ').unwrap();
    let home = Path::new(home);
    let quarantine = home.join("aside");
    let action = if what == "link" { Action::HardLink } else { Action::Move };
    match what {
        "undo" => drop(undo(&quarantine).unwrap()),
        _ => {
            let options =
                ApplyOptions { root: home.join("photos"), quarantine, action, touch: true };
            apply(&home.join("removals.jsonl"), &options).unwrap();
        }
    }
}

fn start(what: &str, world: &World) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dedup::quarantine::tests::kill::child", "--nocapture"])
        .env(WHAT, format!("{what} {}", world.home.path().display()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a child when it has moved about so many files, or lets it end.
fn kill_at(mut child: Child, files: usize, count: impl Fn() -> usize) {
    for _ in 0..100_000 {
        if count() >= files || child.try_wait().unwrap().is_some() {
            break;
        }
        sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Apply and undo are killed over and over; in the end everything is as it was.
#[test]
fn kills_lose_nothing() {
    for action in ["move", "link"] {
        let world = World::of(40);
        let before = world.seen();
        world.list();
        let files = world.home.path().join("aside").join(FILES);
        let in_quarantine = || fs::read_dir(&files).map_or(0, Iterator::count);
        for goal in [1, 7, 20, 39] {
            kill_at(start(action, &world), goal, in_quarantine);
        }
        let taken = in_quarantine();
        assert!(taken >= 20, "{action}: expected the kills to leave some work done, found {taken}");
        for left in [35, 20, 5] {
            kill_at(start("undo", &world), 40 - left, || 40 - in_quarantine());
        }
        let report = world.undo();
        assert_eq!(
            (report.lost, report.failed, report.occupied),
            (0, 0, 0),
            "{action}: {report:?}"
        );
        assert_eq!(world.seen(), before, "{action}");
    }
}

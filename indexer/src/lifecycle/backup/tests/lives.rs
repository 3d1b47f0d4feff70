//! Random lives of two copies of an index with two chains, whose files are damaged meanwhile: each
//! backup that is whole gives back its state, and of every other one it is said why it does not.

use ocelli_test_support::cases;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::lifecycle::fixture::upsert;

#[derive(Clone, Debug)]
enum Op {
    /// Deletes rows of a copy.
    Bury {
        copy: usize,
        id: u64,
    },
    /// Adds rows to a copy.
    Add {
        copy: usize,
    },
    /// Removes the oldest generation of a copy, as `gc` does.
    Forget {
        copy: usize,
    },
    BackUp {
        copy: usize,
        chain: usize,
    },
    /// Restores a backup into a new directory in place of a copy, or over it.
    Restore {
        copy: usize,
        chain: usize,
        pick: usize,
        over: bool,
    },
    /// The other copy becomes one of this.
    Copy {
        copy: usize,
    },
    Damage {
        chain: usize,
        pick: usize,
        how: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let two = || 0..2usize;
    prop_oneof![
        4 => (two(), 0..120u64).prop_map(|(copy, id)| Op::Bury { copy, id }),
        2 => two().prop_map(|copy| Op::Add { copy }),
        2 => two().prop_map(|copy| Op::Forget { copy }),
        8 => (two(), two()).prop_map(|(copy, chain)| Op::BackUp { copy, chain }),
        3 => (two(), two(), any::<usize>(), any::<bool>())
            .prop_map(|(copy, chain, pick, over)| Op::Restore { copy, chain, pick, over }),
        1 => two().prop_map(|copy| Op::Copy { copy }),
        3 => (two(), any::<usize>(), 0..3u8)
            .prop_map(|(chain, pick, how)| Op::Damage { chain, pick, how }),
    ]
}

type Tree = BTreeMap<String, Vec<u8>>;

/// The backups that a copy made or came from: chain, number, and line; none if that could not be
/// read.
type Knows = BTreeSet<(usize, u64, Option<String>)>;
/// The lines of the generations that a copy came by.
type Lines = BTreeSet<String>;

struct World {
    copies: [TempDir; 2],
    knows: [Knows; 2],
    lines: [Lines; 2],
    chains: [TempDir; 2],
    /// The state of each backup by its number.
    made: [BTreeMap<u64, Tree>; 2],
    /// How the copy had come to that.
    came: [BTreeMap<u64, Lines>; 2],
    /// The files of each chain as they were written.
    good: [Tree; 2],
    next_id: u64,
}

fn line(state: &Tree) -> String {
    String::from_utf8(state["CURRENT"].clone()).unwrap().trim_end().to_owned()
}

fn list(number: u64) -> String {
    format!("backups/{number}.json.gz")
}

impl World {
    fn new() -> Self {
        let (tmp, _) = index();
        let mut world = Self {
            copies: [tmp, tempdir().unwrap()],
            knows: Default::default(),
            lines: Default::default(),
            came: Default::default(),
            chains: [tempdir().unwrap(), tempdir().unwrap()],
            made: Default::default(),
            good: Default::default(),
            next_id: 1000,
        };
        let generations = world.dir(0).generations().unwrap();
        for number in generations {
            let json = fs::read(world.copies[0].path().join(format!("generations/{number}.json")));
            let json: serde_json::Value = serde_json::from_slice(&json.unwrap()).unwrap();
            let checksum = json["checksum"].as_str().unwrap().to_owned();
            world.lines[0].insert(format!("{number} {checksum}"));
        }
        world.back_up(0, 0);
        world.apply(&Op::Copy { copy: 0 });
        world
    }

    fn dir(&self, copy: usize) -> IndexDir {
        IndexDir::open(self.copies[copy].path()).unwrap()
    }

    /// Numbers of the lists that are there, ascending.
    fn numbers(&self, chain: usize) -> Vec<u64> {
        let files = tree(self.chains[chain].path());
        let numbers = self.made[chain].keys().copied();
        numbers.filter(|number| files.contains_key(&list(*number))).collect()
    }

    fn is_good(&self, chain: usize, files: &Tree, name: &str) -> bool {
        files.contains_key(name) && files.get(name) == self.good[chain].get(name)
    }

    /// The backups that are whole: their lists are as they were written, and so is a file for each
    /// of theirs.
    fn whole(&self, chain: usize) -> Vec<u64> {
        let files = tree(self.chains[chain].path());
        let good: Vec<&str> = files
            .keys()
            .map(String::as_str)
            .filter(|name| self.is_good(chain, &files, name))
            .collect();
        let has = |(name, bytes): (&String, &Vec<u8>)| {
            let hash = Hash::of(bytes).to_string();
            name == "CURRENT" || good.iter().any(|name| name.contains(&hash))
        };
        let whole = |number: &u64| {
            good.contains(&list(*number).as_str()) && self.made[chain][number].iter().all(has)
        };
        self.made[chain].keys().copied().filter(whole).collect()
    }

    /// Whether a copy may back up to a chain.
    fn goes_on(&self, copy: usize, chain: usize) -> bool {
        let Some(number) = self.numbers(chain).pop() else { return true };
        let (state, files) = (tree(self.copies[copy].path()), tree(self.chains[chain].path()));
        let newest = &self.made[chain][&number];
        let line = line(newest);
        let mut knows = self.knows[copy].iter();
        if !self.is_good(chain, &files, &list(number)) {
            return knows.any(|(of, known, _)| *of == chain && *known == number);
        }
        let is_it = |(_, n, known): &(usize, u64, Option<String>)| {
            *n == number && known.as_ref() == Some(&line)
        };
        let generation = format!("generations/{}.json", line.split(' ').next().unwrap());
        let has = state.contains_key(&generation) && state[&generation] == newest[&generation];
        knows.any(is_it) || (has && self.lines[copy].contains(&line))
    }

    fn back_up(&mut self, copy: usize, chain: usize) {
        let (root, target) = (self.copies[copy].path(), self.chains[chain].path());
        let state = tree(root);
        let newest = self.numbers(chain).pop();
        if !self.goes_on(copy, chain) {
            let before = tree(target);
            let error = refused(root, target);
            assert!(error.contains("an empty folder of backups of its own"), "{error}");
            assert!(tree(target) == before);
            return;
        }
        let report = back_up(root, target);
        let files = tree(target);
        let number = report.backup;
        // The list of one that the copy made may be lost.
        let known = self.knows[copy].iter().filter(|(of, ..)| *of == chain);
        let known = known.map(|(_, number, _)| *number).max();
        let next = if report.new { newest.max(known).unwrap_or(0) + 1 } else { newest.unwrap() };
        assert_eq!(number, next, "{report:?}");
        if report.new {
            self.good[chain].remove(&list(number));
            self.made[chain].insert(number, state.clone());
            self.came[chain].insert(number, self.lines[copy].clone());
            let (written, new) = (report.written_bytes as f64, report.new_bytes as f64);
            // Where little is new the list is most.
            assert!(written <= 1.1 * new + 600.0, "{report:?}");
        }
        assert!(self.made[chain][&number] == state);
        for (name, bytes) in files {
            self.good[chain].entry(name).or_insert(bytes);
        }
        self.knows[copy].insert((chain, number, Some(line(&state))));
        // What the index has is whole, whatever it was before.
        assert!(self.whole(chain).contains(&number), "{report:?}");
    }

    fn restore(&mut self, copy: usize, chain: usize, pick: usize, over: bool) {
        let whole = self.whole(chain);
        if whole.is_empty() {
            return;
        }
        let number = whole[pick % whole.len()];
        if !over {
            self.copies[copy] = tempdir().unwrap();
            self.knows[copy].clear();
        }
        bring_back(self.chains[chain].path(), self.copies[copy].path(), Some(number), over);
        let state = tree(self.copies[copy].path());
        assert!(self.made[chain][&number].iter().all(|(name, bytes)| state[name] == *bytes));
        self.lines[copy] = self.came[chain][&number].clone();
        // Of generations that were replaced, files are left that nothing names.
        sweep(self.copies[copy].path());
        let files = tree(self.chains[chain].path());
        let newest = self.numbers(chain).pop().unwrap();
        let is_good = self.is_good(chain, &files, &list(newest));
        let line = is_good.then(|| line(&self.made[chain][&newest]));
        self.knows[copy].insert((chain, newest, line));
    }

    fn damage(&mut self, chain: usize, pick: usize, how: u8) {
        let root = self.chains[chain].path();
        let names: Vec<String> = tree(root).into_keys().filter(|n| n != "backup.json").collect();
        if names.is_empty() {
            return;
        }
        let path = root.join(&names[pick % names.len()]);
        match how {
            0 => flip(&path),
            1 => {
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }
            _ => fs::remove_file(&path).unwrap(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Bury { copy, id } => bury(&self.dir(copy), &[id]),
            Op::Add { copy } => {
                let dir = self.dir(copy);
                let (first, rows) = (self.next_id, 5);
                self.next_id += rows;
                let new = shard(&dir, &model(0), first as u32, first, rows);
                upsert(&dir, new, self.next_id);
            }
            Op::Forget { copy } => {
                let dir = self.dir(copy);
                let numbers = dir.generations().unwrap();
                let current = dir.current().unwrap().unwrap().number;
                if numbers[0] != current {
                    let path = dir.root().join(format!("generations/{}.json", numbers[0]));
                    fs::remove_file(path).unwrap();
                    sweep(dir.root());
                }
            }
            Op::BackUp { copy, chain } => self.back_up(copy, chain),
            Op::Restore { copy, chain, pick, over } => self.restore(copy, chain, pick, over),
            Op::Copy { copy } => {
                self.copies[1 - copy] = copy_of(self.copies[copy].path());
                self.knows[1 - copy] = self.knows[copy].clone();
                self.lines[1 - copy] = self.lines[copy].clone();
            }
            Op::Damage { chain, pick, how } => self.damage(chain, pick, how),
        }
        if let Op::Bury { copy, .. } | Op::Add { copy } = *op {
            let line = line(&tree(self.copies[copy].path()));
            self.lines[copy].insert(line);
        }
    }

    fn check(&self) {
        for chain in 0..2 {
            let root = self.chains[chain].path();
            if self.made[chain].is_empty() {
                continue;
            }
            let whole = self.whole(chain);
            let report = check(root, 2, &silent).unwrap();
            assert_eq!(report.whole, whole);
            assert_eq!(report.faults.is_empty(), whole == self.numbers(chain), "{report:?}");
            let listed = list_backups(root).unwrap();
            let numbers: Vec<u64> = listed.iter().map(|line| line.backup).collect();
            assert_eq!(numbers, self.numbers(chain));
            for line in listed {
                assert_eq!(line.whole, line.faults.is_empty());
                assert!(line.whole || !whole.contains(&line.backup), "{line:?}");
            }
            for (&number, state) in &self.made[chain] {
                if whole.contains(&number) {
                    let new = tempdir().unwrap();
                    bring_back(root, new.path(), Some(number), false);
                    assert!(tree(new.path()) == *state, "backup {number}");
                } else {
                    let error = no_way_back(root, Some(number));
                    assert!(error.contains(&format!("backup {number}")), "{error}");
                    if let Some(whole) = whole.last()
                        && self.numbers(chain).contains(&number)
                    {
                        assert!(error.contains(&format!("--backup {whole}")), "{error}");
                    }
                    self.check_what_is_left(chain, number);
                }
            }
            // Without a number it is the newest or none.
            if let Some(newest) = self.numbers(chain).pop()
                && !whole.contains(&newest)
            {
                no_way_back(root, None);
            }
        }
    }

    /// Without its damaged generations a backup gives back only what was there.
    fn check_what_is_left(&self, chain: usize, number: u64) {
        let new = tempdir().unwrap();
        let options = RestoreOptions {
            backup: Some(number),
            leave_out_damaged: true,
            ..RestoreOptions::default()
        };
        let root = self.chains[chain].path();
        if let Ok(report) = restore(root, new.path(), &options, &silent) {
            assert!(!report.left_out.is_empty());
            let state = &self.made[chain][&number];
            let left = tree(new.path());
            assert!(left.iter().all(|(name, bytes)| state[name] == *bytes));
            assert_eq!(line(&left), line(state));
            Snapshot::open(new.path(), None).unwrap().verify().unwrap();
        }
    }
}

#[test]
fn every_whole_backup_gives_back_its_state() {
    let config = Config {
        cases: cases(25, 1000),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let ops = prop::collection::vec(op(), 1..16);
    let outcome = TestRunner::new(config).run(&ops, |ops| {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.check();
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
}

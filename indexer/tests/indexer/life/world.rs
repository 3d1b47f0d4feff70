//! The world that an index should hold: a map of ids to keys and vectors, and the same changes made
//! on it by the plainest means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_index::{
    Dtype, IndexDir, Model, Part, PartKind, PartWriter, PlanFile, SearchParams, Snapshot,
};
use ocelli_indexer::lifecycle::backup::{RestoreOptions, backup, restore};
use ocelli_indexer::lifecycle::change::Names;
use ocelli_indexer::lifecycle::plan::{Commit, TaskOptions, commit, plan_compact, run_task};
use ocelli_indexer::lifecycle::{
    CompactOptions, GcOptions, add, compact, delete, gc, rebuild, rollback,
};
use ocelli_indexer::{BuildOptions, OnDuplicate, TrainOptions, build, no_opq, silent, train};

use super::op::{KEYS, NewRow, Op};
use crate::support::{clustered, regions, spec};

pub const DIM: usize = 4;

/// A row of the index.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: String,
    /// The vector as its code stands for it.
    pub decoded: Vec<f32>,
}

/// A deleted row: id, key, whether somebody asked for it.
type Gone = (u64, String, bool);

/// The rows of a generation.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub rows: BTreeMap<u64, Row>,
    /// The delete log, oldest first.
    log: Vec<Gone>,
    /// The model, 0 or 1.
    model: usize,
    /// Smallest id that was not given out when it was made.
    next_id: u64,
    /// Whether a file of it may hold rows that were erased: then no way leads back.
    closed: bool,
}

impl State {
    fn id_of(&self, key: &str) -> Option<u64> {
        self.rows.iter().find(|(_, row)| !key.is_empty() && row.key == key).map(|(&id, _)| id)
    }

    fn bury(&mut self, id: u64, asked: bool) {
        if let Some(row) = self.rows.remove(&id) {
            self.log.push((id, row.key, asked));
        }
    }

    /// Keys and ids of `log` that no row has.
    fn gone(&self, log: &[Gone]) -> (BTreeSet<u64>, BTreeSet<String>) {
        let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (id, key, _) in log {
            if self.id_of(key).is_none() {
                if !self.rows.contains_key(id) {
                    ids.insert(*id);
                }
                if !key.is_empty() {
                    keys.insert(key.clone());
                }
            }
        }
        (ids, keys)
    }
}

/// An index on disk, and what it should hold.
pub struct World {
    pub dir: PathBuf,
    models: Arc<Vec<Model>>,
    work: tempfile::TempDir,
    parts: usize,
    pub state: State,
    /// Every generation that there is a file of, as it should be.
    pub history: BTreeMap<u64, State>,
    pub current: u64,
    next_id: u64,
}

/// Two models of one spec.
pub fn models(folder: &Path) -> Arc<Vec<Model>> {
    let models = (0..2)
        .map(|seed| {
            let x = clustered(600, DIM, 1 + seed);
            let part = regions(&folder.join(format!("train{seed}.part")), &x, DIM);
            let options = TrainOptions {
                nlist: 3,
                m: 2,
                ksub: 16,
                niter: 3,
                seed: 7,
                force: true,
                threads: 1,
                ..TrainOptions::default()
            };
            train(&[part], &options, &no_opq, &silent).unwrap().0
        })
        .collect();
    Arc::new(models)
}

fn vector(number: u8) -> Vec<f32> {
    (0..DIM).map(|i| ((usize::from(number) * 37 + i * 101) % 97) as f32 / 50.0 - 1.0).collect()
}

fn key_name(key: u8) -> String {
    if key == 0 { String::new() } else { format!("k{key}") }
}

fn options(shards: usize) -> BuildOptions {
    BuildOptions {
        shards,
        threads: 1,
        dba: 0,
        on_duplicate: OnDuplicate::Reject,
        memory_budget_bytes: 0,
    }
}

/// The vector that a row's code stands for.
fn coded(model: &Model, x: &[f32]) -> Vec<f32> {
    let z = model.transform(x).unwrap();
    let list = model.assign(&z);
    let mut code = vec![0; model.parts().m];
    model.encode(&z, list, &mut code);
    model.decode(list, &code)
}

impl World {
    pub fn new(dir: &Path, models: Arc<Vec<Model>>) -> Self {
        let work = tempfile::tempdir().unwrap();
        let mut world = Self {
            dir: dir.to_owned(),
            models,
            work,
            parts: 0,
            state: State::default(),
            history: BTreeMap::new(),
            current: 1,
            next_id: 0,
        };
        let rows: Vec<NewRow> = (0..8).map(|i| NewRow { key: i, id: 0, vector: 20 * i }).collect();
        let part = world.part(&rows, false);
        build(&[part], &world.models[0], dir, &options(2), &silent).unwrap();
        world.take(&rows, false);
        world.committed(1);
        world
    }

    /// A part of rows.
    fn part(&mut self, rows: &[NewRow], ids: bool) -> Part {
        self.parts += 1;
        let path = self.work.path().join(format!("{}.part", self.parts));
        let kind = PartKind::Descriptors;
        let mut writer = PartWriter::create(&path, kind, Dtype::F32, &spec(DIM)).unwrap();
        for row in rows {
            let key = key_name(row.key);
            writer.push(&key, ids.then_some(row.id), &vector(row.vector)).unwrap();
        }
        writer.finish().unwrap();
        Part::open(&path).unwrap()
    }

    /// Rows of a part whose key and id no earlier one has, with their ids.
    fn distinct(&self, rows: &[NewRow], ids: bool) -> Vec<(u64, NewRow)> {
        let (mut seen, mut keys) = (BTreeSet::new(), BTreeSet::new());
        let mut kept = Vec::new();
        for (i, row) in (0..).zip(rows) {
            let id = if ids { row.id } else { self.next_id + i };
            if (row.key > 0 && keys.contains(&row.key)) || seen.contains(&id) {
                continue;
            }
            keys.insert(row.key);
            seen.insert(id);
            kept.push((id, row.clone()));
        }
        kept
    }

    /// Puts the rows of a part among those that there are.
    fn take(&mut self, rows: &[NewRow], ids: bool) {
        for (id, row) in self.distinct(rows, ids) {
            let decoded = coded(&self.models[self.state.model], &vector(row.vector));
            self.state.rows.insert(id, Row { key: key_name(row.key), decoded });
        }
        self.gave(rows, ids);
    }

    fn gave(&mut self, rows: &[NewRow], ids: bool) {
        let last = match ids {
            true => rows.iter().map(|row| row.id + 1).max().unwrap_or(0),
            false => self.next_id + rows.len() as u64,
        };
        self.next_id = self.next_id.max(last);
    }

    /// Whether a row of the part has the id or key of one that there is.
    fn meets(&self, rows: &[NewRow], ids: bool) -> Vec<u64> {
        let mut met = BTreeSet::new();
        for (id, row) in self.distinct(rows, ids) {
            met.extend(self.state.rows.contains_key(&id).then_some(id));
            met.extend(self.state.id_of(&key_name(row.key)));
        }
        met.into_iter().collect()
    }

    /// Makes a change on the index and on the map.
    pub fn apply(&mut self, op: &Op) {
        let dir = self.dir.clone();
        match op {
            Op::Add { rows, ids } | Op::Upsert { rows, ids } => {
                let upsert = matches!(op, Op::Upsert { .. });
                let part = self.part(rows, *ids);
                let met = self.meets(rows, *ids);
                let done = add(&[part], &dir, &options(1), upsert, &silent);
                if !upsert && !met.is_empty() {
                    let text = done.unwrap_err().to_string();
                    assert!(text.contains("is twice in the generation"), "{text}");
                    return;
                }
                let report = done.unwrap();
                assert_eq!(report.superseded, met.len() as u64);
                met.into_iter().for_each(|id| self.state.bury(id, false));
                self.take(rows, *ids);
                self.committed(report.build.generation);
            }
            Op::Delete { ids, keys, erase } => self.delete(ids, keys, *erase),
            Op::Compact { all } => {
                let options = CompactOptions { all: *all, memory_budget_bytes: 0 };
                let report = compact(&dir, &options, &silent).unwrap();
                self.committed(report.generation);
            }
            Op::CompactMeanwhile { all, ids, keys } => self.compact_meanwhile(*all, ids, keys),
            Op::Rebuild => {
                let model = 1 - self.state.model;
                let done = rebuild(&[], &self.models[model], &dir, &options(1), false, &silent);
                if self.state.rows.is_empty() {
                    assert!(done.unwrap_err().to_string().contains("at least one row"));
                    return;
                }
                self.state.model = model;
                for row in self.state.rows.values_mut() {
                    row.decoded = coded(&self.models[model], &row.decoded);
                }
                self.committed(done.unwrap().build.generation);
            }
            Op::RebuildOfParts { rows, forget } => self.rebuild(rows, *forget),
            Op::Rollback { back, undo } => self.roll_back(*back, *undo),
            Op::Restore => self.restore(),
            Op::Gc { keep } => {
                let options = GcOptions {
                    keep_generations: *keep,
                    min_age_s: 0,
                    remove: true,
                    ..GcOptions::default()
                };
                let report = gc(&dir, &options).unwrap();
                // Ids that only generations that go know of must not be given out again.
                if self.state.next_id < self.next_id {
                    let last = self.history.keys().next_back().copied().unwrap_or(0);
                    self.committed(last + 1);
                }
                let mut newest: Vec<u64> = self.history.keys().copied().rev().collect();
                // The last one stays, so that its number is not given again.
                let last = newest[0];
                let mut stay = BTreeSet::from([self.current]);
                stay.extend(Some(last).filter(|last| !self.history[last].closed));
                newest.retain(|n| !stay.contains(n) && !self.history[n].closed);
                stay.extend(newest.into_iter().take(*keep));
                let newest: Vec<u64> = stay.into_iter().collect();
                assert_eq!(report.kept, newest);
                self.history.retain(|number, _| newest.contains(number));
            }
        }
    }

    fn compact_meanwhile(&mut self, all: bool, ids: &[u64], keys: &[u8]) {
        self.parts += 1;
        let plan = self.work.path().join(format!("{}.plan", self.parts));
        let options = CompactOptions { all, memory_budget_bytes: 0 };
        let planned = plan_compact(&self.dir, &options, &plan);
        if let Err(error) = planned {
            assert!(error.to_string().contains("nothing to compact"), "{error}");
            return;
        }
        for task in 0..PlanFile::read(&plan).unwrap().plan.tasks() {
            run_task(&plan, task, &TaskOptions::default(), &no_opq, &silent).unwrap();
        }
        self.delete(ids, keys, false);
        let Commit::Generation(report) = commit(&plan, None, &silent).unwrap() else {
            panic!("a model")
        };
        self.committed(report.generation);
    }

    fn restore(&mut self) {
        let chain = self.work.path().join("chain");
        backup(&self.dir, &chain, 0, 1, &silent).unwrap();
        self.parts += 1;
        let place = self.work.path().join(format!("restored{}", self.parts));
        restore(&chain, &place, &RestoreOptions::default(), &silent).unwrap();
        self.dir = place;
        // Generations with erased rows get into no backup.
        self.history.retain(|_, state| !state.closed);
    }

    fn delete(&mut self, ids: &[u64], keys: &[u8], erase: bool) {
        let keys: Vec<String> = keys.iter().map(|&key| key_name(key)).collect();
        let mut go: BTreeSet<u64> = ids.iter().copied().collect();
        go.retain(|id| self.state.rows.contains_key(id));
        go.extend(keys.iter().filter_map(|key| self.state.id_of(key)));
        let names = Names { ids: ids.to_vec(), keys };
        let report = delete(&self.dir, names.clone(), erase, &silent).unwrap();
        assert_eq!(report.deleted, go.len() as u64);
        for &id in &go {
            self.state.bury(id, true);
        }
        if erase {
            // Earlier generations with such rows are closed. That of the deletion itself is too:
            // its shards still have them.
            let dir = IndexDir::open(&self.dir).unwrap();
            for number in &report.erased.as_ref().unwrap().generations {
                if let Some(state) = self.history.get_mut(number) {
                    state.closed = true;
                }
            }
            let closed = &report.erased.as_ref().unwrap().generations;
            for number in dir.generations().unwrap() {
                if number < report.generation && !self.history.contains_key(&number) {
                    let closed = closed.contains(&number);
                    let next_id = self.next_id;
                    let state = State { closed, next_id, ..self.state.clone() };
                    self.history.insert(number, state);
                }
            }
        }
        self.committed(report.generation);
    }

    fn rebuild(&mut self, rows: &[NewRow], forget: bool) {
        let part = self.part(rows, true);
        let model = 1 - self.state.model;
        let (ids, keys) = match forget {
            true => Default::default(),
            false => self.state.gone(&self.state.log),
        };
        let left: Vec<NewRow> = rows
            .iter()
            .filter(|row| !ids.contains(&row.id) && !keys.contains(&key_name(row.key)))
            .cloned()
            .collect();
        let done = rebuild(&[part], &self.models[model], &self.dir, &options(1), forget, &silent);
        if left.is_empty() {
            assert!(done.unwrap_err().to_string().contains("were deleted"));
            return;
        }
        let report = done.unwrap();
        assert_eq!(report.left_out_deleted, (rows.len() - left.len()) as u64);
        let log = if forget { Vec::new() } else { self.state.log.clone() };
        self.state = State { model, log, ..State::default() };
        self.take(&left, true);
        self.gave(rows, true);
        self.committed(report.build.generation);
    }

    fn roll_back(&mut self, back: u64, undo: bool) {
        let to = self.current.saturating_sub(back);
        let done = rollback(&self.dir, Some(to), undo);
        let Some(target) = self.history.get(&to).cloned() else {
            assert!(done.is_err());
            return;
        };
        if target.closed {
            assert!(done.unwrap_err().to_string().contains("erased"));
            return;
        }
        let report = done.unwrap();
        let common = target.log.iter().zip(&self.state.log).take_while(|(a, b)| a == b).count();
        let since: Vec<Gone> =
            self.state.log[common..].iter().filter(|row| row.2).cloned().collect();
        if undo || since.is_empty() {
            assert_eq!(report.generation, to);
            (self.state, self.current) = (target, to);
            return;
        }
        let ids: BTreeSet<u64> = since.iter().map(|row| row.0).collect();
        let keys: BTreeSet<&String> =
            since.iter().map(|row| &row.1).filter(|key| !key.is_empty()).collect();
        let mut state = target.clone();
        state.rows.retain(|id, row| !ids.contains(id) && !keys.contains(&row.key));
        state.log = [self.state.log.as_slice(), &target.log[common..]].concat();
        assert_eq!(report.kept_deleted, (target.rows.len() - state.rows.len()) as u64);
        self.state = state;
        self.committed(report.generation);
    }

    /// Takes note of a generation.
    fn committed(&mut self, number: u64) {
        if number != self.current || self.history.is_empty() {
            self.state.next_id = self.next_id;
        }
        // Compactions may have left some on the way: their rows are the same.
        let dir = IndexDir::open(&self.dir).unwrap();
        for number in dir.generations().unwrap() {
            self.history.entry(number).or_insert_with(|| self.state.clone());
        }
        self.current = number;
    }

    /// Compares the index with the map.
    pub fn check(&self) {
        let snapshot = Snapshot::open(&self.dir, None).unwrap();
        assert_eq!(snapshot.generation().number, self.current);
        snapshot.verify().unwrap();
        same(&snapshot, &self.state);
        let dir = IndexDir::open(&self.dir).unwrap();
        let current = dir.current().unwrap();
        assert_eq!(dir.next_id(current.as_ref()).unwrap(), self.next_id);
        let known: Vec<u64> = self.history.keys().copied().collect();
        assert_eq!(dir.generations().unwrap(), known);
        for (&number, state) in self.history.iter().filter(|(number, _)| **number != self.current) {
            same(&Snapshot::open(&self.dir, Some(number)).unwrap(), state);
        }
        let mut log: Vec<Gone> = dir
            .delete_log(current.unwrap().deletes)
            .flat_map(|file| file.unwrap().1.rows)
            .map(|row| (row.id, row.key.clone(), row.is_asked_for()))
            .collect();
        let mut expected = self.state.log.clone();
        log.sort();
        expected.sort();
        assert_eq!(log, expected);
    }
}

/// Whether a snapshot answers as the map does: rows by id, by key, and all of them by distance.
pub fn same(snapshot: &Snapshot, state: &State) {
    assert_eq!(snapshot.rows(), state.rows.len() as u64);
    for key in 1..KEYS {
        let key = key_name(key);
        let row = snapshot.find_key(&key).unwrap();
        let id = row.map(|row| snapshot.id(row).unwrap());
        assert_eq!(id, state.id_of(&key), "{key}");
    }
    for query in [3, 111] {
        let x = vector(query);
        let params = SearchParams { k: 500, nprobe: 3, ..SearchParams::default() };
        let hits = snapshot.search(&x, &params).unwrap().hits;
        let far =
            |row: &Row| -> f32 { x.iter().zip(&row.decoded).map(|(a, b)| (a - b) * (a - b)).sum() };
        let found: BTreeSet<u64> = hits.iter().map(|hit| hit.id).collect();
        assert_eq!(found, state.rows.keys().copied().collect());
        assert_eq!(hits.len(), state.rows.len());
        let mut expected: Vec<f32> = state.rows.values().map(far).collect();
        expected.sort_by(f32::total_cmp);
        for (hit, expected) in hits.iter().zip(expected) {
            let naive = far(&state.rows[&hit.id]);
            assert!((naive - expected).abs() < 1e-3, "{hit:?}: {naive}, expected {expected}");
            assert_eq!(snapshot.key(hit.row).unwrap(), state.rows[&hit.id].key);
        }
    }
}

//! Makes the plan of a deduplication: finds equal rows and the places of vectors, and measures the
//! margin of codes. Equal input gives an equal plan.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ocelli_index::container::{AtomicFile, write_atomically};
use ocelli_index::{
    DedupJob, Estimate, Hash, IndexDir, Job, JobSettings, JoinPlan, Plan, PlanFile, PlanInput,
    Scratch, Snapshot, WorkArea,
};
use tempfile::TempDir;

use super::budget::{Shares, divide};
use super::edge_file;
use super::groups::Grouping;
use super::label::Labels;
use super::margin::{Margin, check_resolution, check_threshold, measure};
use super::opinion::SecondOpinion;
use super::options::{DedupOptions, Settings};
use super::row_set::RowSet;
use super::score::Scorer;
use super::session::{AGAINST, GROUPS, INDEX, LEFT_OUT, PLACES, left_out_bytes};
use super::vectors::{VectorCounts, Vectors, open_sources, write_places};
use crate::build::OpenSource;
use crate::dedup::edge::ScoredBy;
use crate::sort::SortMemory;
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

/// How the names of folders begin in which plans are made.
const PLANNING: &str = ".planning-";
/// The file in such a folder that its planner has locked.
const LOCK: &str = "lock";
/// Pairs of rows whose codes one thread compares in a second, about: for the estimate.
const PAIRS_PER_SECOND: u64 = 3_000_000_000;

/// The folder beside `out` that holds everything of its plans.
pub(in crate::dedup) fn work_folder(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".work");
    PathBuf::from(name)
}

/// A folder for what is made before the plan has a hash. Those of planners that were killed are
/// removed.
struct Planning {
    folder: TempDir,
    _lock: File,
}

impl Planning {
    fn begin(out: &Path) -> Result<Self> {
        let all = work_folder(out);
        fs::create_dir_all(&all).map_err(Error::io("create", &all))?;
        for entry in fs::read_dir(&all).map_err(Error::io("read", &all))?.flatten() {
            let is_planning = entry.file_name().to_string_lossy().starts_with(PLANNING);
            let lock = File::open(entry.path().join(LOCK)).ok();
            if is_planning && lock.is_some_and(|lock| lock.try_lock().is_ok()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = tempfile::Builder::new().prefix(PLANNING).tempdir_in(&all);
        let folder = folder.map_err(Error::io("create a folder in", &all))?;
        let path = folder.path().join(LOCK);
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        // Without locks on this file system nothing is swept either.
        let _ = lock.try_lock();
        Ok(Self { folder, _lock: lock })
    }
}

/// The planner's inputs, opened.
struct Planner<'a> {
    options: &'a DedupOptions,
    rows: RowSet,
    nprobe: usize,
    pool: rayon::ThreadPool,
    shares: Shares,
    folder: PathBuf,
    progress: ProgressFn<'a>,
}

/// Plans a deduplication. The plan is not written; what it has prepared lies in the place of its
/// work.
///
/// # Errors
/// Options that cannot be satisfied; those of opening; a threshold that codes cannot tell; a full
/// disk.
pub(super) fn make(
    options: &DedupOptions,
    opinion: Option<&dyn SecondOpinion>,
    progress: ProgressFn<'_>,
) -> Result<PlanFile> {
    options.check()?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("look at", path));
    let index = IndexDir::open(&options.index)?;
    let other = options.against.as_deref().map(IndexDir::open).transpose()?;
    let against = other.as_ref().map(|dir| (dir, None));
    let rows = RowSet::open((&index, None), against, options.since)?;
    check_threshold(&rows, options.threshold)?;
    let nprobe = options.nprobe_for(rows.count(), rows.model().parts().nlist);
    let shares = divide(&rows, nprobe, options.threads, options.memory_budget_bytes)?;
    let sources = open_sources(&options.vectors, rows.model())?;
    let vectors: Vec<PlanInput> =
        sources.iter().map(|source| source.source().input()).collect::<Result<_>>()?;
    let planning = Planning::begin(&options.out)?;
    let planner = Planner {
        options,
        rows,
        nprobe,
        pool: pool(options.threads)?,
        shares,
        folder: planning.folder.path().to_owned(),
        progress,
    };
    let prepared = planner.prepare(sources, opinion)?;
    let (own, against) = planner.rows.sources();
    let mut places = BTreeMap::from([(INDEX.to_owned(), absolute(&options.index)?)]);
    if let Some(other) = &options.against {
        places.insert(AGAINST.to_owned(), absolute(other)?);
    }
    let job = DedupJob {
        index: own,
        against,
        vectors,
        nlist: planner.rows.model().parts().nlist as u32,
        lists: prepared.lists,
        prepared: prepared.files.clone(),
        settings: JobSettings::of(&prepared.settings)?,
    };
    let inputs = options.vectors.iter().map(|path| absolute(path)).collect::<Result<_>>()?;
    let plan = Plan::new(Job::Dedup(job));
    let mut file = PlanFile::new(plan, inputs, &absolute(&options.out)?)?;
    file.places = places;
    file.memory_budget_bytes = options.memory_budget_bytes as u64;
    let lens = prepared.files.keys().map(|name| fs::metadata(planner.folder.join(name)));
    let work_bytes = lens.flatten().map(|file| file.len()).sum();
    file.estimate = Estimate {
        // Pairs are not known before they are found.
        disk_bytes: 0,
        work_bytes,
        memory_bytes: options.memory_budget_bytes as u64,
        seconds: (prepared.pairs / PAIRS_PER_SECOND).max(1),
    };
    mark(&file, &planner.rows);
    let work = WorkArea::beside(&file.out, file.hash);
    work.begin(&file)?;
    for name in prepared.files.keys() {
        let (from, to) = (planner.folder.join(name), work.folder().join(name));
        fs::rename(&from, &to).map_err(Error::io("rename", &from))?;
    }
    Ok(file)
}

/// Leaves a mark of the plan in the indexes, so that `gc` keeps what it reads. An index that cannot
/// be written to is left as it is.
fn mark(file: &PlanFile, rows: &RowSet) {
    for (name, index) in [INDEX, AGAINST].into_iter().zip(rows.indexes()) {
        let Some(place) = file.places.get(name) else { continue };
        let mut of_index = file.clone();
        of_index.parent = Some(index.generation().number);
        let _ = WorkArea::new(place, file.hash).begin(&of_index);
    }
}

/// What a plan has prepared.
struct Prepared {
    lists: Vec<Range<u32>>,
    files: BTreeMap<String, Hash>,
    settings: Settings,
    /// Pairs of rows to compare.
    pairs: u64,
}

impl Planner<'_> {
    fn tell(&self, stage: &'static str) {
        (self.progress)(Progress { stage, done: 0, total: 0 });
    }

    fn sort_memory(&self) -> Option<SortMemory> {
        let folder = self.folder.clone();
        self.shares.sort_bytes.map(|bytes| SortMemory { bytes, folder })
    }

    fn prepare(
        &self,
        sources: Vec<OpenSource>,
        opinion: Option<&dyn SecondOpinion>,
    ) -> Result<Prepared> {
        let (rows, options) = (&self.rows, self.options);
        let mut files = BTreeMap::new();
        let (mut vectors, mut vector_counts) = (None, VectorCounts::default());
        if !sources.is_empty() {
            self.tell("find vectors");
            let path = self.folder.join(PLACES);
            let out = AtomicFile::create(&path)?;
            let (hash, counts) = write_places(rows, &sources, self.sort_memory(), out)?;
            if counts.found == 0 {
                return Err(Error::Invalid(format!(
                    "--vectors: expected vectors of rows of the index, found none: {} are of \
                     images that have changed since, the others are not in the index",
                    counts.stale
                )));
            }
            files.insert(PLACES.to_owned(), hash);
            vectors = Some(Vectors::open(rows, sources, &path, &hash, self.shares.table_bytes)?);
            vector_counts = counts;
        }
        let scorer = Scorer { rows, vectors: vectors.as_ref() };
        self.tell("measure codes");
        let plan = rows.all().join_plan(self.nprobe, None, &mut Scratch::default())?;
        let all_known = vectors.is_some() && vector_counts.found == rows.all().rows();
        let look = |joined: &Snapshot| {
            measure(joined, &scorer, options.threshold, (&plan, all_known), &self.pool)
        };
        // What codes cannot tell is said before the long work.
        if vectors.is_none() && rows.all().fine_codec().is_none() {
            check_resolution(rows, &look(rows.all())?, options.threshold)?;
        }
        self.tell("find equal rows");
        let labels = Labels::new(rows, options.phash_bits)?;
        let grouping = Grouping::new(&scorer, &labels, options.threshold, self.sort_memory());
        let groups = self.pool.install(|| grouping.find())?;
        let facts = edge_file::write_sorted(&self.folder.join(GROUPS), groups.edges)?;
        files.insert(GROUPS.to_owned(), facts.sha256);
        let left_out = left_out_bytes(&groups.left_out)?;
        files.insert(LEFT_OUT.to_owned(), Hash::of(&left_out));
        write_atomically(&self.folder.join(LEFT_OUT), &left_out)?;
        drop(left_out);
        self.tell("measure codes");
        let joined = rows.all().beside(None, &groups.left_out)?;
        let margin = look(&joined)?;
        check_resolution(rows, &margin, options.threshold)?;
        if vectors.is_some() && vector_counts.found < rows.all().rows() {
            // Pairs of rows without a vector are scored by what all rows have.
            let scored_by = match rows.all().fine_codec() {
                Some(_) => ScoredBy::FineCodes,
                None => ScoredBy::Codes,
            };
            let rest = Margin { scored_by, ..margin.clone() };
            check_resolution(rows, &rest, options.threshold).map_err(|error| {
                let (found, all) = (vector_counts.found, rows.all().rows());
                Error::Invalid(format!("--vectors has {found} of {all} rows; of the rest, {error}"))
            })?;
        }
        let counts = (vector_counts, groups.counts);
        let opinion = opinion.map(SecondOpinion::name);
        let settings = Settings::new(options, self.nprobe, opinion, &margin, counts);
        let (lists, pairs) = self.share_out(&joined, &plan)?;
        Ok(Prepared { lists, files, settings, pairs })
    }

    /// Ranges of lists that take about equally long, and the pairs of rows of all of them.
    fn share_out(&self, joined: &Snapshot, plan: &JoinPlan) -> Result<(Vec<Range<u32>>, u64)> {
        let nlist = self.rows.model().parts().nlist as u32;
        let mut lens = vec![0u64; nlist as usize];
        for shard in joined.shards() {
            for (list, len) in (0u32..).zip(&mut lens) {
                *len += u64::from(shard.list(list)?.len);
            }
            shard.intact()?;
        }
        let work = |list: u32| -> u64 {
            let others: u64 = plan.with(list).iter().map(|&other| lens[other as usize]).sum();
            lens[list as usize].saturating_mul(others)
        };
        let all: Vec<u64> = (0..nlist).map(work).collect();
        let total = all.iter().fold(0u64, |sum, &pairs| sum.saturating_add(pairs));
        let tasks = self.options.tasks_for(self.rows.count(), nlist) as u64;
        let (mut lists, mut start, mut sum) = (Vec::new(), 0, 0u64);
        for (list, &pairs) in (0u32..).zip(&all) {
            sum = sum.saturating_add(pairs);
            let made = lists.len() as u64 + 1;
            let left = u64::from(nlist - list - 1);
            // Each task has a list, and no fewer tasks come of lists without rows.
            let is_full =
                u128::from(sum) * u128::from(tasks) >= u128::from(total) * u128::from(made);
            if made < tasks && (is_full || left <= tasks - made) && left >= tasks - made {
                lists.push(start..list + 1);
                start = list + 1;
            }
        }
        lists.push(start..nlist);
        Ok((lists, total))
    }
}

//! Bringing a collection up to date.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::container::write_atomically;
use ocelli_index::{Hasher, IndexDir, Part};
use ocelli_text::quoted;
use serde::Serialize;

use super::batch;
use super::folder::Folder;
use super::maker::{EncodeFn, Maker};
use super::plan::Plan;
use super::settings::{Settings, Source};
use super::sources::{self, Scan};
use super::state::{Built, LineWriter, Place, State};
use crate::{
    BuildOptions, BuildReport, Error, OnDuplicate, Progress, ProgressFn, Result, build_without,
};

/// Photos without a descriptor whose reasons are in the report.
const REASONS: usize = 3;

/// Options of [`update`].
#[derive(Clone, Debug, Default)]
pub struct UpdateOptions {
    /// Folders, lists and photos. Those that the collection has already stay in it.
    pub photos: Vec<PathBuf>,
    /// The collection has the photos of [`Self::photos`] only; others leave it.
    pub only: bool,
    /// The directory of the collection.
    pub out: PathBuf,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Files of the index; None: as many as before, 1 in a new collection.
    pub shards: Option<usize>,
    /// Flags of `ocelli-encoder encode` that say how it runs.
    pub encoder_flags: Vec<OsString>,
}

/// Report of [`update`]: what it did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UpdateReport {
    /// The directory.
    pub index: PathBuf,
    /// Whether this is what would be done.
    pub dry_run: bool,
    /// Folders, lists and files of the photos.
    pub photos: Vec<PathBuf>,
    /// Photos that are in the index, or would be if all could be encoded.
    pub rows: u64,
    /// Photos that were not there before.
    pub added: u64,
    /// Photos whose file changed.
    pub changed: u64,
    /// Photos that are gone.
    pub gone: u64,
    /// Photos that are as they were.
    pub unchanged: u64,
    /// Photos that a run which did not end had encoded.
    pub continued: u64,
    /// Photos that this run encoded, or would encode.
    pub encoded: u64,
    /// Files without a descriptor: they are no photos, or damaged.
    pub rejected: u64,
    /// The first of them, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_first: Vec<String>,
    /// The list of them all.
    pub rejected_path: PathBuf,
    /// Files that were left out by their names.
    pub skipped: u64,
    /// Whether an index was built.
    pub built: bool,
    /// Number of the generation that is now current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Bytes of its shards.
    pub bytes: u64,
    /// Bytes of the model, which all shards share.
    pub model_bytes: u64,
    /// Bytes of one code.
    pub code_bytes: usize,
    /// Dimension of a descriptor.
    pub dim: usize,
    /// Name of the pack.
    pub pack: String,
    /// Wall time of encoding, of building, and of everything.
    pub encode_seconds: f64,
    /// Wall time of building.
    pub build_seconds: f64,
    /// Wall time of everything.
    pub seconds: f64,
}

/// Brings the collection at [`UpdateOptions::out`] up to date: encodes the photos that are new or
/// changed, and builds its index anew from them and from those that are as they were. If nothing
/// has changed, nothing is built. The directory is made if it is missing.
///
/// Until the last step the index stays what it was. What is encoded when a run ends early is kept
/// for the next one.
///
/// # Errors
/// A directory of other files, one that another run changes, one that was made with another network
/// or other codes; photos that are not there; no photo at all, or none that can be encoded; the
/// encoder's; those of a build.
pub fn update(
    options: &UpdateOptions,
    maker: &Maker<'_>,
    encode: EncodeFn<'_>,
    progress: ProgressFn<'_>,
) -> Result<UpdateReport> {
    let start = Instant::now();
    let folder = Folder::at(&options.out)?;
    let _lock = match options.dry_run {
        true => folder.refuse_other_files().map(|()| None)?,
        false => Some(folder.lock()?),
    };
    // Its path is canonical once it is there.
    let folder = Folder::at(&options.out)?;
    let known = Settings::read_from(&folder)?;
    let settings = settings(&folder, known.as_ref(), options, maker)?;
    let mut state = State::read(&folder)?;
    if !options.dry_run {
        batch::remove_unfinished(&folder)?;
    }
    let continued = recover(&folder, &mut state)?;
    let scan = sources::scan(&settings.sources, &folder.root)?;
    require_photos(&scan, &settings.sources)?;
    let plan = Plan::new(&mut state, &scan.photos);
    let mut report = report(options, &folder, &settings, &scan, &plan, maker);
    report.continued = continued;
    if options.dry_run {
        report.seconds = start.elapsed().as_secs_f64();
        return Ok(report);
    }
    if known.as_ref() != Some(&settings) {
        keep_pack(&folder, maker)?;
        settings.write(&folder)?;
    }
    let mut flags = settings.encoder_flags(&folder.root)?;
    flags.extend(options.encoder_flags.iter().cloned());
    encode_photos(&folder, &mut state, &plan, &flags, encode, progress, &mut report)?;
    plan.gone.iter().for_each(|key| drop(state.photos.remove(key)));
    let is_new = continued > 0 || plan.moved || !plan.photos.is_empty() || !plan.gone.is_empty();
    if is_new {
        state.write(&folder)?;
        batch::clean(&folder, &state)?;
    }
    tell_rejected(&folder, &state, &scan, &mut report)?;
    build_index(&folder, &mut state, &settings, maker, progress, &mut report)?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// The settings of a run: those of the collection, with the sources that are named now.
fn settings(
    folder: &Folder,
    known: Option<&Settings>,
    options: &UpdateOptions,
    maker: &Maker<'_>,
) -> Result<Settings> {
    let mut settings = match known {
        Some(known) => {
            known.require(folder, maker)?;
            known.clone()
        }
        None => Settings::new(maker),
    };
    if options.only {
        let real: Vec<PathBuf> =
            options.photos.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        settings.sources.retain(|source| real.contains(&source.path));
    }
    sources::add(&mut settings.sources, &options.photos)?;
    if settings.sources.is_empty() {
        return Err(Error::Invalid(format!(
            "{}: a new collection: expected folders of photos, lists or photos",
            folder.root.display()
        )));
    }
    settings.shards = options.shards.unwrap_or(settings.shards).max(1);
    Ok(settings)
}

/// Takes over what runs that did not end have encoded. Returns the number of photos.
fn recover(folder: &Folder, state: &mut State) -> Result<u64> {
    let batches = folder.batches()?;
    state.batches.retain(|number| batches.contains(number));
    let mut continued = 0;
    for number in batches {
        if !state.batches.contains(&number) {
            continued += batch::adopt(folder, number, state)?;
        }
    }
    Ok(continued)
}

fn require_photos(scan: &Scan, sources: &[Source]) -> Result<()> {
    if !scan.photos.is_empty() {
        return Ok(());
    }
    let places: Vec<String> =
        sources.iter().map(|source| source.path.display().to_string()).collect();
    let mut what = format!("{}: expected photos, found none", places.join(", "));
    if let Some((key, reason)) = scan.refused.first() {
        what += &format!("; {} cannot be taken, the first: {key}: {reason}", scan.refused.len());
    }
    if scan.skipped > 0 {
        what += &format!("; {} left out by their names", scan.skipped);
    }
    what += "; nothing was changed. If the photos are gone for good, make a new collection";
    Err(Error::Invalid(what))
}

/// The report as it is known before anything is done.
fn report(
    options: &UpdateOptions,
    folder: &Folder,
    settings: &Settings,
    scan: &Scan,
    plan: &Plan,
    maker: &Maker<'_>,
) -> UpdateReport {
    UpdateReport {
        index: options.out.clone(),
        dry_run: options.dry_run,
        photos: settings.sources.iter().map(|source| source.path.clone()).collect(),
        rows: plan.kept + plan.photos.len() as u64,
        added: plan.added,
        changed: plan.changed,
        gone: plan.gone.len() as u64,
        unchanged: plan.kept,
        encoded: plan.photos.len() as u64,
        rejected: plan.kept_rejected + scan.refused.len() as u64,
        rejected_path: folder.rejected(),
        skipped: scan.skipped,
        code_bytes: maker.code_bytes,
        dim: maker.model.parts().dim,
        pack: maker.name().to_owned(),
        ..UpdateReport::default()
    }
}

/// Keeps a copy of the pack, and of weights beside it, so that the collection needs nothing else.
fn keep_pack(folder: &Folder, maker: &Maker<'_>) -> Result<()> {
    let target = folder.pack();
    if target.exists() {
        return Ok(());
    }
    let copy = |from: &Path, to: &Path| -> Result<()> {
        let bytes = fs::read(from).map_err(Error::io("read", from))?;
        Ok(write_atomically(to, &bytes)?)
    };
    match maker.built_in {
        Some(bytes) => write_atomically(&target, bytes)?,
        None => {
            let weights = maker.weights_beside();
            if !maker.pack.has_weights() && weights.is_file() {
                copy(&weights, &target.with_file_name(maker.weights_name()))?;
            }
            copy(maker.pack.path(), &target)?;
        }
    }
    Ok(())
}

/// Encodes what is planned, and takes it into the state.
fn encode_photos(
    folder: &Folder,
    state: &mut State,
    plan: &Plan,
    flags: &[OsString],
    encode: EncodeFn<'_>,
    progress: ProgressFn<'_>,
    report: &mut UpdateReport,
) -> Result<()> {
    if plan.photos.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    let last = Cell::new(None);
    let tell = |done, total| {
        if last.replace(Some(done)) != Some(done) {
            progress(Progress { stage: "encoding photos", done, total });
        }
    };
    tell(0, plan.photos.len() as u64);
    let number = state.next_batch;
    batch::encode(folder, number, &plan.photos, flags, encode, &tell)?;
    report.encoded = batch::adopt(folder, number, state)?;
    report.encode_seconds = start.elapsed().as_secs_f64();
    Ok(())
}

/// Writes the list of the files without a descriptor, and reports the first of them.
fn tell_rejected(
    folder: &Folder,
    state: &State,
    scan: &Scan,
    report: &mut UpdateReport,
) -> Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        key: &'a str,
        reason: &'a str,
    }
    let refused = scan.refused.iter().map(|(key, reason)| (key.as_str(), reason.as_str()));
    let mut out = LineWriter::create(&folder.rejected())?;
    (report.rejected, report.rejected_first) = (0, Vec::new());
    for (key, reason) in state.rejected().chain(refused) {
        report.rejected += 1;
        if report.rejected_first.len() < REASONS {
            report.rejected_first.push(format!("{}: {reason}", quoted(key)));
        }
        out.push(&Line { key, reason })?;
    }
    out.finish()
}

/// Builds the index of all rows of the state, unless it is built of them.
fn build_index(
    folder: &Folder,
    state: &mut State,
    settings: &Settings,
    maker: &Maker<'_>,
    progress: ProgressFn<'_>,
    report: &mut UpdateReport,
) -> Result<()> {
    let rows = Rows::of(folder, state)?;
    report.rows = rows.count as u64;
    if rows.count == 0 {
        return Err(Error::Invalid(format!(
            "{}: expected photos, found none that can be encoded: {}{}",
            folder.root.display(),
            report.rejected_first.join("; "),
            if state.built.is_some() { "; the index stays as it was" } else { "" }
        )));
    }
    let shards = settings.shards.min(rows.count);
    let hash = rows.hash(maker, shards);
    let index = IndexDir::create(&folder.root)?;
    let current = index.current()?;
    if let (Some(current), Some(built)) = (&current, &state.built)
        && current.number == built.generation
        && built.rows == hash
    {
        report.generation = Some(current.number);
        report.bytes = current.shards.iter().map(|shard| shard.bytes).sum();
        let model = index.model_path(&maker.model.hash())?;
        report.model_bytes = model.metadata().map_err(Error::io("read", &model))?.len();
        return Ok(());
    }
    let start = Instant::now();
    let options = BuildOptions {
        shards,
        threads: 0,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    };
    let built: BuildReport = build_without(
        &rows.parts,
        maker.model,
        &folder.root,
        &options,
        &rows.left_out,
        &|Progress { done, total, .. }| {
            progress(Progress { stage: "building the index", done, total });
        },
    )?;
    state.built = Some(Built { generation: built.generation, rows: hash });
    state.write(folder)?;
    report.built = true;
    report.generation = Some(built.generation);
    report.bytes = built.bytes;
    report.model_bytes = built.model_bytes;
    report.build_seconds = start.elapsed().as_secs_f64();
    Ok(())
}

/// The rows of an index: parts, and which of their rows are of no photo any more.
struct Rows {
    parts: Vec<Part>,
    /// Row numbers in the order of the parts, ascending.
    left_out: Vec<usize>,
    /// The other rows.
    count: usize,
}

impl Rows {
    fn of(folder: &Folder, state: &State) -> Result<Self> {
        let mut places: Vec<Place> = state.rows().map(|(_, _, place)| place).collect();
        places.sort_unstable();
        let mut rows = Rows { parts: Vec::new(), left_out: Vec::new(), count: places.len() };
        let mut first = 0;
        for wanted in places.chunk_by(|a, b| (a.batch, a.part) == (b.batch, b.part)) {
            let part = Part::open(&batch::part_file(folder, wanted[0]))?;
            let mut next = 0;
            for place in wanted {
                let row = place.row as usize;
                rows.left_out.extend(first + next..first + row);
                next = row + 1;
            }
            rows.left_out.extend(first + next..first + part.rows());
            first += part.rows();
            rows.parts.push(part);
        }
        Ok(rows)
    }

    /// A hash of the rows and of how they are built.
    fn hash(&self, maker: &Maker<'_>, shards: usize) -> String {
        let mut hasher = Hasher::new();
        hasher.update(format!("model {}\nshards {shards}\n", maker.model.hash()).as_bytes());
        for part in &self.parts {
            hasher.update(format!("part {}\n", part.file().checksum()).as_bytes());
        }
        hasher.update(format!("left out {:?}\n", self.left_out).as_bytes());
        hasher.finish().to_string()
    }
}

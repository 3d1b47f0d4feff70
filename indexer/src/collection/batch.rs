//! Batches: photos that one run of the encoder gets, and what it made of them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{Part, RejectedWriter};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::maker::EncodeFn;
use super::state::{self, Entry, LineWriter, Outcome, Place, Planned, Seen, State};
use crate::{Error, Result};

/// Photos of a part: at least and at most so many, and a part in so many of a batch in between. A
/// run that is killed loses the part that it was encoding.
const PART_PHOTOS: (usize, usize) = (32, 4096);
const PARTS: usize = 64;

/// A line of the list that the encoder reads.
#[derive(Serialize)]
struct ListLine<'a> {
    path: &'a Path,
    key: &'a str,
    id: u64,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    bounding_box: Option<[f64; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotate: Option<u16>,
}

/// A line of a list of rejected images.
#[derive(Deserialize)]
struct RejectedLine {
    key: Option<String>,
    reason: String,
}

/// Writes the list of `photos`, and has them encoded into the folder of the batch `number`. What
/// the encoder completes is there, also if it fails.
///
/// # Errors
/// A full disk; the encoder's.
pub(super) fn encode(
    folder: &Folder,
    number: u32,
    photos: &[(String, Planned)],
    flags: &[OsString],
    run: EncodeFn<'_>,
    progress: &dyn Fn(u64, u64),
) -> Result<()> {
    let batch = folder.batch(number);
    fs::create_dir_all(&batch).map_err(Error::io("create", &batch))?;
    let list = batch.join("list.jsonl");
    let mut out = LineWriter::create(&list)?;
    for (key, Planned { seen: Seen { path, bounding_box, rotate, .. }, id }) in photos {
        let (bounding_box, rotate) = (*bounding_box, *rotate);
        out.push(&ListLine { path, key, id: *id, bounding_box, rotate })?;
    }
    out.finish()?;
    // Last: a batch with a plan was begun.
    state::write_plan(&plan_file(&batch), photos)?;
    let part_photos = (photos.len() / PARTS).clamp(PART_PHOTOS.0, PART_PHOTOS.1);
    let mut args: Vec<OsString> = vec!["encode".into(), "--list".into(), list.into()];
    args.extend(["--include".into(), "*".into(), "--part-images".into()]);
    args.extend([part_photos.to_string().into(), "--out".into(), parts_folder(&batch).into()]);
    args.extend(flags.iter().cloned());
    run(&args, progress).map_err(Error::Encode)
}

/// Takes what the encoder completed of the batch `number` into `state`. Returns how many photos
/// that were.
///
/// # Errors
/// A part or a list that cannot be read.
pub(super) fn adopt(folder: &Folder, number: u32, state: &mut State) -> Result<u64> {
    let batch = folder.batch(number);
    state.next_batch = state.next_batch.max(number + 1);
    state.batches.insert(number);
    let Some(plan) = state::read_plan(&plan_file(&batch))? else { return Ok(0) };
    let after = plan.iter().map(|(_, planned)| planned.id + 1).max();
    state.next_id = state.next_id.max(after.unwrap_or(0));
    let planned: HashMap<&str, &Planned> =
        plan.iter().map(|(key, planned)| (key.as_str(), planned)).collect();
    let mut taken = 0;
    for (part, path) in parts(&batch)? {
        let place = |row: usize| Place { batch: number, part, row: row as u32 };
        let opened = Part::open(&path)?;
        for (row, key) in opened.keys()?.into_iter().enumerate() {
            let Some(planned) = planned.get(key.as_str()) else { continue };
            let mut seen = planned.seen.clone();
            // As the photo was when it was read, which is what a later look is compared with.
            if let Some(read) = opened.attributes(row)? {
                (seen.bytes, seen.modified_ms) = (read.bytes, read.modified_ms);
            }
            let outcome = Outcome::At(place(row));
            state.photos.insert(key, Entry { seen, id: planned.id, outcome });
            taken += 1;
        }
    }
    for RejectedLine { key, reason } in rejected(&batch)? {
        let Some(key) = key else { continue };
        let Some(planned) = planned.get(key.as_str()) else { continue };
        let entry = Entry {
            seen: planned.seen.clone(),
            id: planned.id,
            outcome: Outcome::Rejected(reason),
        };
        state.photos.insert(key, entry);
        taken += 1;
    }
    Ok(taken)
}

/// Removes the files of batches that no photo needs any more, and the batches without any.
pub(super) fn clean(folder: &Folder, state: &State) -> Result<()> {
    let mut used: HashSet<(u32, u32)> = HashSet::new();
    used.extend(state.rows().map(|(_, _, place)| (place.batch, place.part)));
    for number in folder.batches()? {
        let batch = folder.batch(number);
        let mut is_used = false;
        for (part, path) in parts(&batch)? {
            if used.contains(&(number, part)) {
                is_used = true;
                continue;
            }
            // What cannot be removed takes room and does no harm.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(RejectedWriter::path_for(&path));
        }
        if !is_used {
            let _ = fs::remove_dir_all(&batch);
        }
    }
    Ok(())
}

/// Removes the files that a run which was killed had begun to write.
pub(super) fn remove_unfinished(folder: &Folder) -> Result<()> {
    for number in folder.batches()? {
        for path in files(&parts_folder(&folder.batch(number)))? {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(b".") && name.ends_with(b".tmp") {
                // What cannot be removed takes room and does no harm.
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

/// The file of a part.
pub(super) fn part_file(folder: &Folder, place: Place) -> PathBuf {
    parts_folder(&folder.batch(place.batch)).join(format!("{:08}.part", place.part))
}

fn plan_file(batch: &Path) -> PathBuf {
    batch.join("plan.jsonl")
}

fn parts_folder(batch: &Path) -> PathBuf {
    batch.join("parts")
}

/// The complete parts of a batch, by number.
fn parts(batch: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut parts = Vec::new();
    for path in files(&parts_folder(batch))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_suffix(".part").and_then(|number| number.parse().ok());
        parts.extend(number.map(|number| (number, path.clone())));
    }
    parts.sort_unstable();
    Ok(parts)
}

/// The lines of all lists of rejected images of a batch.
fn rejected(batch: &Path) -> Result<Vec<RejectedLine>> {
    let mut lines = Vec::new();
    for path in files(&parts_folder(batch))? {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b".") || !name.ends_with(b".rejected.jsonl") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        for line in text.lines() {
            let line = serde_json::from_str(line);
            lines.push(line.map_err(|e| Error::File { path: path.clone(), what: e.to_string() })?);
        }
    }
    Ok(lines)
}

/// The files of a folder, none if it is missing.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", folder))?,
    };
    let path = |entry: std::io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.path()).map_err(Error::io("read", folder))
    };
    entries.map(path).collect()
}

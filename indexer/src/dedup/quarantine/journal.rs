//! The journal of a quarantine: what is about to be done, on disk before it is done.
//!
//! A line is the xxh3 of its record (16 hex digits), a space, and the record as JSON. The last line
//! may be cut off by a crash: nothing was done for it yet, and the next writer removes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli_index::Hash;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::facts::Facts;
use super::{Action, Steps};
use crate::{Error, Result};

/// Name of the journal in its quarantine.
pub(super) const JOURNAL: &str = "journal.jsonl";
/// Version of the journal's form.
const VERSION: u32 = 1;
/// Hex digits of the sum, and the space.
const SUM_BYTES: usize = 17;

/// A line of the journal. Entries are numbered from 0, in the order of their `take`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
enum Record {
    /// The first line: the form of the others.
    Journal { version: u32 },
    /// A file is about to be taken.
    Take(Box<Take>),
    /// The file is in quarantine, and what takes its place is there.
    Taken { number: usize },
    /// The file is back, or was never taken.
    Back { number: usize },
}

/// A file that is about to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Take {
    pub file: Facts,
    pub sha256: Hash,
    pub action: Action,
    /// The file that stays.
    pub kept: Facts,
}

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Begun; the files tell how far it came.
    Open,
    Taken,
    Back,
}

/// How often a lock is tried, and how long it waits in between: a process that was just killed may
/// not be gone yet.
const TRIES: usize = 20;
const WAIT: Duration = Duration::from_millis(25);

fn lock(file: &File) -> std::result::Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(WAIT),
            outcome => return outcome,
        }
    }
    file.try_lock()
}

/// The line of a record: its sum, and JSON.
fn line_of(record: &Record) -> Result<String> {
    let json = serde_json::to_string(record)
        .map_err(|error| Error::Invalid(format!("a record cannot be written: {error}")))?;
    Ok(format!("{:016x} {json}\n", xxh3_64(json.as_bytes())))
}

/// The journal of a quarantine, locked. Takes 16 bytes of memory for each entry.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of the whole lines.
    end: u64,
    /// Where the record of an entry begins, and where the entry stands.
    entries: Vec<(u64, State)>,
}

impl Journal {
    /// Opens the journal of a quarantine, or begins it if `create` says so.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged journal, one of a later version and one that another process
    /// writes to; [`Error::Index`] where the system refuses.
    pub fn open(quarantine: &Path, create: bool) -> Result<Self> {
        let path = quarantine.join(JOURNAL);
        let file = OpenOptions::new().read(true).append(true).create(create).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        let damaged = |what: String| Error::File { path: path.clone(), what };
        lock(&file).map_err(|error| {
            damaged(format!("expected no other process that works on this quarantine: {error}"))
        })?;
        let mut journal = Self { path: path.clone(), file, end: 0, entries: Vec::new() };
        let whole = journal.read()?;
        if !whole {
            journal.refuse_other_file()?;
            journal.file.set_len(journal.end).map_err(Error::io("shorten", &path))?;
        }
        if journal.end == 0 && create {
            journal.append(&Record::Journal { version: VERSION })?;
            journal.sync()?;
            super::place::sync_folder(quarantine).map_err(Error::io("fsync", quarantine))?;
        }
        Ok(journal)
    }

    /// Reads all lines. False if the last is cut off.
    fn read(&mut self) -> Result<bool> {
        let mut file = self.file.try_clone().map_err(Error::io("open", &self.path))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::io("read", &self.path))?;
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(Error::io("read", &self.path))?;
            if read == 0 {
                return Ok(true);
            }
            if line.last() != Some(&b'\n') {
                return Ok(false);
            }
            match self.parse(&line) {
                Some(record) => self.note(&record)?,
                // What was not yet on disk when the power went may be zeros.
                None if self.is_last(&mut lines)? => return Ok(false),
                None => return Err(self.damaged("expected a record and its sum")),
            }
            self.end += read as u64;
        }
    }

    /// Refuses a file without a whole line that is no beginning of a journal: it is somebody's own.
    fn refuse_other_file(&self) -> Result<()> {
        let header = line_of(&Record::Journal { version: VERSION })?;
        let mut found = vec![0; header.len() + 1];
        let read = self.file.read_at(&mut found, 0).map_err(Error::io("read", &self.path))?;
        let found = &found[..read];
        let is_ours = header.as_bytes().starts_with(found) || found.iter().all(|&byte| byte == 0);
        match self.end > 0 || is_ours {
            true => Ok(()),
            false => Err(self.damaged("expected the first line of a journal")),
        }
    }

    fn is_last(&self, lines: &mut BufReader<File>) -> Result<bool> {
        let mut next = [0];
        Ok(lines.read(&mut next).map_err(Error::io("read", &self.path))? == 0)
    }

    fn damaged(&self, what: &str) -> Error {
        let what = format!("{what} at byte {}, found something else", self.end);
        Error::File { path: self.path.clone(), what }
    }

    fn parse(&self, line: &[u8]) -> Option<Record> {
        let (sum, json) = line.trim_ascii_end().split_at_checked(SUM_BYTES)?;
        let sum = u64::from_str_radix(std::str::from_utf8(&sum[..SUM_BYTES - 1]).ok()?, 16).ok()?;
        if sum != xxh3_64(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    fn note(&mut self, record: &Record) -> Result<()> {
        let (number, state) = match record {
            Record::Journal { version } => {
                return if *version == VERSION && self.end == 0 {
                    Ok(())
                } else {
                    Err(self.damaged(&format!("expected version {VERSION} in the first line")))
                };
            }
            Record::Take(_) => {
                self.entries.push((self.end, State::Open));
                return Ok(());
            }
            Record::Taken { number } => (*number, State::Taken),
            Record::Back { number } => (*number, State::Back),
        };
        match self.entries.get_mut(number) {
            Some(entry) => entry.1 = state,
            None => return Err(self.damaged("expected the number of an entry")),
        }
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        let line = line_of(record)?;
        self.file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))?;
        self.note(record)?;
        self.end += line.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("fsync", &self.path))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The state of an entry.
    pub fn state(&self, number: usize) -> State {
        self.entries.get(number).map_or(State::Back, |entry| entry.1)
    }

    /// The record of an entry, read again.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn entry(&self, number: usize) -> Result<Take> {
        let wrong = || self.damaged(&format!("expected entry {number}"));
        let from = self.entries.get(number).ok_or_else(wrong)?.0;
        let mut line = Vec::new();
        let mut chunk = [0; 1024];
        while !line.contains(&b'\n') {
            let at = from + line.len() as u64;
            let read = self.file.read_at(&mut chunk, at).map_err(Error::io("read", &self.path))?;
            if read == 0 {
                return Err(wrong());
            }
            line.extend_from_slice(&chunk[..read]);
        }
        line.truncate(line.iter().position(|&byte| byte == b'\n').unwrap_or(0));
        match self.parse(&line) {
            Some(Record::Take(take)) => Ok(*take),
            _ => Err(wrong()),
        }
    }

    /// Writes down that a file is about to be taken, and gives its number. On disk when it returns.
    ///
    /// # Errors
    /// [`Error::Index`] where the system refuses: nothing may be touched then.
    pub fn take(&mut self, take: &Take, steps: &Steps<'_>) -> Result<usize> {
        let number = self.entries.len();
        steps.at("before the record")?;
        self.append(&Record::Take(Box::new(take.clone())))?;
        steps.at("before the fsync of the record")?;
        self.sync()?;
        steps.at("after the record")?;
        Ok(number)
    }

    /// Writes down where an entry stands now. On disk with the next record; until then the files
    /// tell.
    ///
    /// # Errors
    /// [`Error::Index`] where the system refuses.
    pub fn mark(&mut self, number: usize, state: State) -> Result<()> {
        match state {
            State::Open => Ok(()),
            State::Taken => self.append(&Record::Taken { number }),
            State::Back => self.append(&Record::Back { number }),
        }
    }

    /// Brings all records to disk.
    ///
    /// # Errors
    /// [`Error::Index`] where the system refuses.
    pub fn finish(&self) -> Result<()> {
        self.sync()
    }
}

//! The mark of a plan, which is there from when it is made; records of tasks, a small one each; and
//! the sorted runs of tasks that have not ended.
//!
//! ```text
//! work/<plan hash>/plan.json          the mark of the plan
//! work/<plan hash>/task-00003.json    the record of a task that has ended
//! work/<plan hash>/task-00003/        runs of one that has not
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::file::PlanFile;
use super::job::PROGRAM;
use crate::base::error::{Error, Result};
use crate::base::folder::{create_folder, while_missing};
use crate::base::hash::Hash;
use crate::base::times::BuildSeconds;
use crate::files::container::write_atomically;
use crate::generations::IndexDir;
use crate::shard::ShardEntry;

/// The field of a stored record that has the version of the program that wrote it.
const WRITTEN_BY: &str = "program";

/// The result of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    /// The plan.
    pub plan: Hash,
    /// The task's number.
    pub task: u32,
    /// The shard, if the task has rows.
    pub shard: Option<ShardEntry>,
    /// Smallest and largest id of its rows.
    pub ids: Option<(u64, u64)>,
    /// The model, if the task makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<MadeModel>,
    /// The pairs of near rows, if the task looks for such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<MadePairs>,
    /// Processor time of the attempt that ended the task, by stage. Of no other file's content.
    #[serde(default, skip_serializing_if = "BuildSeconds::is_empty")]
    pub stage_seconds: BuildSeconds,
}

impl TaskRecord {
    /// Reads `bytes`, the record in the file `path`. One that names no version is older than that
    /// field.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both versions if another version of Ocelli wrote it;
    /// [`Error::Corrupt`] if it is no record.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let corrupt = |e: serde_json::Error| {
            Error::corrupt(path, format!("no record of a task that Ocelli {PROGRAM} reads: {e}"))
        };
        let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(corrupt)?;
        match fields.remove(WRITTEN_BY) {
            Some(by) if by != PROGRAM => Err(Error::invalid(format!(
                "{}: written by Ocelli {}, and this is Ocelli {PROGRAM}: use that version, or plan \
                 again",
                path.display(),
                by.as_str().unwrap_or("of an unknown version")
            ))),
            _ => serde_json::from_value(fields.into()).map_err(corrupt),
        }
    }

    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut stored = serde_json::to_value(self)?;
        if let Some(fields) = stored.as_object_mut() {
            fields.insert(WRITTEN_BY.to_owned(), PROGRAM.into());
        }
        serde_json::to_vec_pretty(&stored)
    }
}

/// The model that a task has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeModel {
    /// Name of its file in the place of the plan's work, by its content.
    pub name: String,
    /// Hash of the model.
    pub hash: Hash,
    /// SHA-256 of its file, finer codes and notes included.
    pub sha256: Hash,
    /// Size of its file.
    pub bytes: u64,
}

/// The pairs of near rows that a task has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadePairs {
    /// Name of their file in the place of the plan's work.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Hash,
    /// Pairs in it.
    pub pairs: u64,
    /// Pairs that were near enough by their codes to be scored.
    pub candidates: u64,
    /// Pairs of rows whose codes were compared.
    pub compared: u64,
}

/// The facts of a plan that has not been committed, in the place of its work. So others know of it
/// before its first task begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanMark {
    /// The plan.
    pub plan: Hash,
    /// Kind of the plan.
    pub kind: String,
    /// Number of its tasks.
    pub tasks: u32,
    /// Version of the program that planned.
    pub program: String,
    /// Generation that the plan was made on, whose shards and deleted rows its tasks may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
}

/// The place where tasks of a plan leave their records and runs.
#[derive(Clone, Debug)]
pub struct WorkArea {
    folder: PathBuf,
    plan: Hash,
}

impl WorkArea {
    /// The place of a plan in an index directory.
    pub fn new(root: &Path, plan: Hash) -> Self {
        Self { folder: root.join("work").join(plan.to_string()), plan }
    }

    /// The place of a plan whose result is the file `out`: beside it, in `<out>.work/`.
    pub fn beside(out: &Path, plan: Hash) -> Self {
        let mut all = out.as_os_str().to_owned();
        all.push(".work");
        Self { folder: PathBuf::from(all).join(plan.to_string()), plan }
    }

    /// The folder, which need not exist.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(&self) -> Result<()> {
        create_folder(&self.folder)
    }

    /// Leaves the mark of a plan.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&self, file: &PlanFile) -> Result<()> {
        let mark = PlanMark {
            plan: self.plan,
            kind: file.plan.kind().to_owned(),
            tasks: file.plan.tasks(),
            program: file.plan.program.clone(),
            parent: file.parent,
        };
        self.write("plan.json", &mark)
    }

    /// The mark of the plan, if there is one that this program understands.
    pub fn mark(&self) -> Option<PlanMark> {
        let bytes = fs::read(self.folder.join("plan.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The folder of a task's runs.
    pub fn runs(&self, task: u32) -> PathBuf {
        self.folder.join(format!("task-{task:05}"))
    }

    fn record_name(task: u32) -> String {
        format!("task-{task:05}.json")
    }

    /// The record of a task, if it has ended.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if the file is no record of this plan and task; those of
    /// [`TaskRecord::read`].
    pub fn record(&self, task: u32) -> Result<Option<TaskRecord>> {
        let path = self.folder.join(Self::record_name(task));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, "read", e)),
        };
        let record = TaskRecord::read(&path, &bytes)?;
        if (record.plan, record.task) != (self.plan, task) {
            return Err(Error::corrupt(
                &path,
                format!(
                    "of plan {} task {}, expected {} {task}",
                    record.plan, record.task, self.plan
                ),
            ));
        }
        Ok(Some(record))
    }

    /// The record of a task whose shard the index still has, if the task made one.
    ///
    /// # Errors
    /// Those of [`Self::record`]; those of looking at the shard.
    pub fn ended(&self, task: u32, index: &IndexDir) -> Result<Option<TaskRecord>> {
        let Some(record) = self.record(task)? else { return Ok(None) };
        let is_there = match &record.shard {
            Some(shard) => index.shard_version(&shard.name)?.is_some(),
            None => true,
        };
        Ok(is_there.then_some(record))
    }

    /// Writes the record of a task, and removes its runs.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end_task(&self, record: &TaskRecord) -> Result<()> {
        let json = record
            .to_json()
            .map_err(|e| Error::invalid(format!("a record cannot be written: {e}")))?;
        self.write_bytes(&Self::record_name(record.task), &json)?;
        self.remove_runs(record.task)
    }

    fn write(&self, name: &str, facts: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec_pretty(facts)
            .map_err(|e| Error::invalid(format!("{name} cannot be written: {e}")))?;
        self.write_bytes(name, &json)
    }

    /// Writes a file of the folder, which is made. Who has done the same plan removes it.
    fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        while_missing(|| {
            self.create()?;
            write_atomically(&self.folder.join(name), bytes)
        })
    }

    /// Removes the runs of a task.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_runs(&self, task: u32) -> Result<()> {
        remove(&self.runs(task))
    }

    /// Removes everything of the plan, and the folder of all plans if it is empty then.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self) -> Result<()> {
        remove(&self.folder)?;
        // Other plans may be there.
        if let Some(all) = self.folder.parent() {
            let _ = fs::remove_dir(all);
        }
        Ok(())
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(folder, "remove", e)),
        _ => Ok(()),
    }
}

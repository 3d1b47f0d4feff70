//! A plan and what stands beside it, in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::job::{Plan, check_maker};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::write_atomically;

/// Disk, memory and time that a plan is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Bytes of the result.
    pub disk_bytes: u64,
    /// Bytes that one task writes and removes again.
    pub work_bytes: u64,
    /// Largest memory of a task.
    pub memory_bytes: u64,
    /// Time of all tasks one after the other, in seconds.
    pub seconds: u64,
}

/// Missing tasks that are named.
const MAX_MISSING: usize = 8;

/// A plan, where its inputs lie, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Hash of the plan.
    pub hash: Hash,
    /// The plan.
    pub plan: Plan,
    /// The files of its inputs, in the plan's order.
    pub inputs: Vec<PathBuf>,
    /// Other files that its tasks read, by what they are: the weights of a network, a model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, PathBuf>,
    /// The index directory, or the file or folder that the job makes.
    pub out: PathBuf,
    /// Generation that was current; the commit replaces it and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// Memory that a task may take, in bytes; 0: as much as it needs.
    #[serde(default)]
    pub memory_budget_bytes: u64,
    /// Disk, memory and time that the plan is expected to take.
    #[serde(default)]
    pub estimate: Estimate,
}

impl PlanFile {
    /// A plan with nothing beside it yet.
    ///
    /// # Errors
    /// Those of [`Plan::hash`].
    pub fn new(plan: Plan, inputs: Vec<PathBuf>, out: &Path) -> Result<Self> {
        Ok(Self {
            hash: plan.hash()?,
            plan,
            inputs,
            places: BTreeMap::new(),
            out: out.to_owned(),
            parent: None,
            memory_budget_bytes: 0,
            estimate: Estimate::default(),
        })
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if the file is no plan or its hash is wrong;
    /// [`Error::Invalid`] if another version of Ocelli made it.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        #[derive(Deserialize)]
        struct Maker {
            plan: MakerPlan,
        }
        #[derive(Deserialize)]
        struct MakerPlan {
            format: u32,
            program: String,
        }
        // Another version may have other fields.
        let maker: Maker = serde_json::from_slice(&bytes)
            .map_err(|e| Error::corrupt(path, format!("not a plan: {e}")))?;
        check_maker(maker.plan.format, &maker.plan.program)
            .map_err(|what| Error::invalid(format!("{}: {what}", path.display())))?;
        let file: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::corrupt(path, format!("not a plan: {e}")))?;
        let found = file.plan.hash()?;
        if found != file.hash {
            return Err(Error::corrupt(
                path,
                format!("the plan's hash is {found}, expected {}: it was changed", file.hash),
            ));
        }
        Ok(file)
    }

    /// The error of a commit that finds tasks that have not ended, of which some are named. `path`
    /// is the plan's.
    pub fn missing(&self, path: &Path, missing: &[u32]) -> Error {
        let named: Vec<String> = missing.iter().take(MAX_MISSING).map(u32::to_string).collect();
        let more = missing.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Error::invalid(format!(
            "{} of {} tasks have not ended: {}{more}; run ocelli task --plan {} --task {}",
            missing.len(),
            self.plan.tasks(),
            named.join(", "),
            path.display(),
            missing.first().unwrap_or(&0)
        ))
    }

    /// Writes the plan, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::invalid(format!("a plan cannot be written: {e}")))?;
        json.push(b'\n');
        write_atomically(path, &json)
    }
}

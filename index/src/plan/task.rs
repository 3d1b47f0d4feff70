//! The number of a task, from the command line or from a scheduler.

use crate::base::error::{Error, Result};

/// Variable in which Slurm gives a process of a job array its number.
pub const SLURM_ARRAY_TASK_ID: &str = "SLURM_ARRAY_TASK_ID";
/// Variable in which Kubernetes gives a pod of an Indexed Job its number.
pub const JOB_COMPLETION_INDEX: &str = "JOB_COMPLETION_INDEX";

/// The number of the task that a process is to do, below `tasks`: the one given to it, or that of
/// its scheduler. `variable` gives the value of a variable of the environment.
///
/// # Errors
/// [`Error::Invalid`] if no number is given, or one that is no number, or one beyond the last task.
pub fn task_number(
    given: Option<u32>,
    variable: impl Fn(&str) -> Option<String>,
    tasks: u32,
) -> Result<u32> {
    let by_scheduler = || {
        [SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX]
            .into_iter()
            .find_map(|name| variable(name).map(|value| (name, value)))
    };
    let (from, number) = match given {
        Some(number) => ("--task", number),
        None => {
            let (name, value) = by_scheduler().ok_or_else(|| {
                Error::invalid(format!(
                    "expected the number of a task, 0 to {}: --task, {SLURM_ARRAY_TASK_ID} or \
                     {JOB_COMPLETION_INDEX}",
                    tasks.saturating_sub(1)
                ))
            })?;
            let number = value.trim().parse().map_err(|_| {
                Error::invalid(format!("{name}: expected the number of a task, found {value:?}"))
            })?;
            (name, number)
        }
    };
    if number >= tasks {
        return Err(Error::invalid(format!(
            "{from} {number}: expected 0 to {}, the tasks of the plan",
            tasks.saturating_sub(1)
        )));
    }
    Ok(number)
}

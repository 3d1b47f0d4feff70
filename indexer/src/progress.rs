//! Progress of long work, told to whoever asked for the work. The library draws nothing itself.

/// One report. Reports of one stage come with a growing `done`; a stage ends when the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Name of the stage for people: "coarse k-means", "encode".
    pub stage: &'static str,
    /// Units finished, at most `total`.
    pub done: u64,
    /// Units of the stage; 0 where FAISS gives no way to know.
    pub total: u64,
}

/// Receiver of reports; called from the working thread (at most some hundred times a stage).
pub type ProgressFn<'a> = &'a (dyn Fn(Progress) + Sync);

/// Ignores all reports.
pub fn silent(_: Progress) {}

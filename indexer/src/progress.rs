//! Reports of progress, by a callback. The library draws nothing itself.

/// One report. Reports of one stage come with a growing `done`; a stage ends when the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Name of the stage for people: "coarse k-means", "encode".
    pub stage: &'static str,
    /// Units finished, at most `total`.
    pub done: u64,
    /// Units of the stage; 0 if the number is not known.
    pub total: u64,
}

/// Callback for reports; called from the working thread (at most some hundred times a stage).
pub type ProgressFn<'a> = &'a (dyn Fn(Progress) + Sync);

/// Ignores all reports.
pub fn silent(_: Progress) {}

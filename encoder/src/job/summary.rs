//! The summary of a job: its results, and where the time went.

use std::fmt;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use ocelli_text::{counted, thousands};
use serde::Serialize;

use super::Output;

/// Seconds in each stage, added over all threads: with several workers more than the wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StageSeconds {
    /// Reading files.
    pub read: f64,
    /// Decoding to pixels.
    pub decode: f64,
    /// Hashing pixels.
    pub hash: f64,
    /// Resizing, cropping, rotating.
    pub resize: f64,
    /// Pixels into the network's input and maps out of it.
    pub copy: f64,
    /// The network.
    pub network: f64,
    /// Pooling, whitening, summing; codes, if they are made.
    pub pool: f64,
    /// Writing the part and the list of rejected images.
    pub write: f64,
}

impl AddAssign for StageSeconds {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.decode += more.decode;
        self.hash += more.hash;
        self.resize += more.resize;
        self.copy += more.copy;
        self.network += more.network;
        self.pool += more.pool;
        self.write += more.write;
    }
}

/// A summary of the files that a job wrote. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct JobSummary {
    /// The part, or the folder of parts.
    pub part: PathBuf,
    /// Parts that this run wrote.
    pub parts: u64,
    /// Parts that an earlier run had completed. All other fields leave them out.
    pub parts_kept: u64,
    /// Parts that this run looked at and in which every image was rejected: a list each.
    pub parts_rejected: u64,
    /// Whether this task of a job in parts has no part at all.
    pub is_without_parts: bool,
    /// Images in what was written.
    pub images: u64,
    /// Rows: as many as images for descriptors.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Images that were rejected.
    pub rejected: u64,
    /// Items of the input that were left out by their names.
    pub skipped: u64,
    /// The list of them with reasons; in a folder each part has its own, and this is a pattern of
    /// their names.
    pub rejected_path: PathBuf,
    /// The first reasons, where parts were made and every image was rejected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_first: Vec<String>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Images, rejected ones too, per second of wall time.
    pub images_per_s: f64,
    /// The device on which the network computed: "cpu" or "cuda:0". None where no network ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Seconds in each stage, added over all threads.
    pub stage_seconds: StageSeconds,
}

impl StageSeconds {
    /// All stages by name, in the order of the work.
    fn stages(&self) -> [(&'static str, f64); 8] {
        [
            ("read", self.read),
            ("decode", self.decode),
            ("hash", self.hash),
            ("resize", self.resize),
            ("copy", self.copy),
            ("network", self.network),
            ("pool", self.pool),
            ("write", self.write),
        ]
    }
}

impl JobSummary {
    /// Nothing done yet.
    pub(super) fn new(output: &Output) -> Self {
        JobSummary {
            part: output.part.clone(),
            parts: 0,
            parts_kept: 0,
            parts_rejected: 0,
            is_without_parts: false,
            images: 0,
            rows: 0,
            bytes: 0,
            rejected: 0,
            skipped: 0,
            rejected_path: output.rejected.clone(),
            rejected_first: Vec::new(),
            seconds: 0.0,
            images_per_s: 0.0,
            device: None,
            stage_seconds: StageSeconds::default(),
        }
    }

    pub(super) fn timed(mut self, elapsed: Duration) -> Self {
        self.seconds = elapsed.as_secs_f64();
        self.images_per_s = (self.images + self.rejected) as f64 / self.seconds.max(1e-9);
        self
    }
}

impl fmt::Display for JobSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {}, {}, {}; {} rejected ({})",
            self.part.display(),
            counted(self.images, "image"),
            counted(self.rows, "row"),
            counted(self.bytes, "byte"),
            thousands(self.rejected),
            self.rejected_path.display()
        )?;
        if self.skipped > 0 {
            writeln!(f, "{} left out by their names", thousands(self.skipped))?;
        }
        if self.parts_kept > 0 || self.parts > 1 {
            let (parts, kept) = (counted(self.parts, "part"), thousands(self.parts_kept));
            writeln!(f, "{parts} written, {kept} already there")?;
        }
        if self.is_without_parts {
            writeln!(f, "no part of this task: the input has fewer parts than there are tasks")?;
        }
        if self.parts_rejected > 0 {
            let parts = counted(self.parts_rejected, "part");
            write!(f, "{parts} in which every image was rejected")?;
            match self.rejected_first.as_slice() {
                [] => writeln!(f)?,
                first => writeln!(f, "; the first: {}", first.join("; "))?,
            }
        }
        write!(f, "{:.1} s, {:.1} images/s", self.seconds, self.images_per_s)?;
        if let Some(device) = &self.device {
            write!(f, " on {device}")?;
        }
        if self.images + self.rejected == 0 {
            return Ok(());
        }
        writeln!(f)?;
        let stages = self.stage_seconds.stages();
        let all: f64 = stages.iter().map(|(_, s)| s).sum();
        let list: Vec<String> = stages.iter().map(|(name, s)| format!("{name} {s:.1}")).collect();
        write!(f, "seconds in all threads: {}", list.join(", "))?;
        match stages.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((name, s)) if all > 0.0 => {
                write!(f, "; {name} takes {:.0} % of them", 100.0 * s / all)
            }
            _ => Ok(()),
        }
    }
}

//! What a job did and where the time went.

use std::fmt;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use ocelli_index::PartSummary;
use ocelli_proto::role::thousands;
use serde::Serialize;

use super::Output;

/// Seconds in each stage, added over all threads: with several workers more than the wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StageSeconds {
    /// Reading files.
    pub read: f64,
    /// Decoding to pixels.
    pub decode: f64,
    /// Resizing, cropping, rotating.
    pub resize: f64,
    /// Network, pooling, whitening.
    pub network: f64,
    /// Writing the part and the list of rejected images.
    pub write: f64,
}

impl AddAssign for StageSeconds {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.decode += more.decode;
        self.resize += more.resize;
        self.network += more.network;
        self.write += more.write;
    }
}

/// What a job wrote. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct JobSummary {
    /// The part.
    pub part: PathBuf,
    /// Images in it.
    pub images: u64,
    /// Rows in it: as many as images for descriptors.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Images that are not in it.
    pub rejected: u64,
    /// The list of them with reasons.
    pub rejected_path: PathBuf,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Images, rejected ones too, per second of wall time.
    pub images_per_s: f64,
    /// Seconds in each stage, added over all threads.
    pub stage_seconds: StageSeconds,
}

impl JobSummary {
    pub(super) fn new(
        output: &Output,
        part: PartSummary,
        rejected: u64,
        elapsed: Duration,
        stage_seconds: StageSeconds,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        JobSummary {
            part: part.path,
            images: part.images,
            rows: part.rows,
            bytes: part.bytes,
            rejected,
            rejected_path: output.rejected.clone(),
            seconds,
            images_per_s: (part.images + rejected) as f64 / seconds.max(1e-9),
            stage_seconds,
        }
    }
}

impl fmt::Display for JobSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} images, {} rows, {} bytes; {} rejected ({})",
            self.part.display(),
            thousands(self.images),
            thousands(self.rows),
            thousands(self.bytes),
            thousands(self.rejected),
            self.rejected_path.display()
        )?;
        writeln!(f, "{:.1} s, {:.1} images/s", self.seconds, self.images_per_s)?;
        let s = &self.stage_seconds;
        write!(
            f,
            "seconds in all threads: read {:.1}, decode {:.1}, resize {:.1}, network {:.1}, write {:.1}",
            s.read, s.decode, s.resize, s.network, s.write
        )
    }
}

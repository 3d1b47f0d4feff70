//! Makes photos with ground truth, and lists of photos, for tests, demo and benchmarks.
//!
//! [`generate`] makes a set of procedural landmark photos with ground truth in the Oxford format;
//! [`copy_photos`] makes graded copies of photos that exist; [`write_list`] chooses photos of
//! existing folders. All depend on their arguments alone: the same seed gives the same bytes, for
//! any number of threads and on every machine (pixels come from IEEE 754's exact operations only).
//! [`regional`] makes vectors for benchmarks. [`rank_by_hash`] ranks photos by a perceptual hash,
//! for comparison, and [`write_sheet`] draws what queries found. What the sets are and may be used
//! for is in `README.md` beside this crate.
//!
//! ```
//! use ocelli_bench_data::{LandmarkOptions, generate};
//!
//! let folder = tempfile::tempdir()?;
//! let options = LandmarkOptions {
//!     landmarks: 1,
//!     views_per_landmark: 2,
//!     distractors: 1,
//!     queries_per_landmark: 1,
//!     seed: 1,
//!     longest_side: 64,
//!     threads: 1,
//! };
//! let set = generate(&folder.path().join("set"), &options)?;
//! assert_eq!((set.counts.photos, set.counts.queries), (3, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod canvas;
mod copies;
mod draw;
mod error;
mod facade;
mod groundtruth;
mod landmarks;
mod letters;
mod list;
mod listed;
mod math;
mod mosaic;
mod ornament;
mod phash;
mod photo;
pub mod regional;
mod roof;
mod scene;
mod set;
mod sheet;
mod source;
mod tower;
mod view;
mod wall;
mod window;

pub use copies::{CopyCounts, CopyOptions, CopySummary, KINDS, Kind, copy_photos};
pub use error::{Error, Result};
pub use groundtruth::{Grade, GroundTruth, Query};
pub use landmarks::{Counts, LandmarkOptions, Summary, generate, generate_with, render_view};
pub use list::{ListOptions, ListSummary, write_list};
pub use phash::{HashOptions, HashSummary, rank_by_hash};
pub use sheet::{SheetOptions, SheetSummary, write_sheet};

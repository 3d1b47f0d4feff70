//! Makes photos with ground truth, and lists of photos, for tests, demo and benchmarks.
//!
//! [`generate`] makes a set of procedural landmark photos with ground truth in the Oxford format;
//! [`write_list`] chooses photos of existing folders. Both depend on their arguments alone: the
//! same seed gives the same bytes, for any number of threads and on every machine (pixels come from
//! IEEE 754's exact operations only). What the sets are and may be used for is in `README.md`
//! beside this crate.
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
mod draw;
mod error;
mod facade;
mod groundtruth;
mod landmarks;
mod list;
mod math;
mod mosaic;
mod ornament;
mod photo;
mod roof;
mod scene;
mod tower;
mod view;
mod wall;
mod window;

pub use error::{Error, Result};
pub use groundtruth::{Grade, GroundTruth, Query};
pub use landmarks::{Counts, LandmarkOptions, Summary, generate, generate_with, render_view};
pub use list::{ListOptions, ListSummary, write_list};

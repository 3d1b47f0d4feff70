//! Cleaning of a noisy training set, and boxes from it.
//!
//! The cleaning of Gordo, Almazán, Revaud, Larlus: "End-to-end learning of deep visual
//! representations for image retrieval" (IJCV 2017). Photos of a class are matched with each other
//! by local features and an affine map ([`ocelli_matching`]). Verified pairs are the edges of a
//! graph; its largest connected component stays. The bounding boxes of the matched points, carried
//! along the edges until they settle, say where the thing is.
//!
//! One class is one piece of work, and its result a file: [`plan`] says what is to be done, a task
//! makes the [`record`]s of its classes, a [`commit`](mod@commit) writes the list and the report.
//!
//! | module | what it does |
//! |---|---|
//! | [`settings`] | everything that decides a result |
//! | [`source`] | a list and the names in it |
//! | [`pairs`] | which photos of a class are compared |
//! | [`parallel`] | one function on several threads |
//! | [`record`] | the result of a class, and its file |
//! | [`mod@class`] | photos of a class to its record |
//! | [`graph`] | connected components |
//! | [`median`] | the geometric median of boxes |
//! | [`diffusion`] | boxes carried along edges |
//! | [`verdict`] | which photos of a class stay, with which boxes |
//! | [`plan`] | the plan of a cleaning, and its tasks |
//! | [`summary`] | what a cleaning found, in numbers |
//! | [`list_out`] | the list that is written |
//! | [`report`] | a page with pictures |
//! | [`commit`](mod@commit) | records to a list and a report |
//! | [`args`] | the command line |

pub mod args;
pub mod class;
pub mod commit;
pub mod diffusion;
pub mod graph;
pub mod list_out;
pub mod median;
pub mod pairs;
pub mod parallel;
pub mod plan;
pub mod record;
pub mod report;
pub mod settings;
pub mod source;
pub mod summary;
pub mod verdict;

#[cfg(test)]
mod tests;

pub use args::CleanArgs;
pub use commit::commit;
pub use plan::Plan;
pub use settings::{Components, KeepSettings, MatchSettings};
pub use summary::Summary;

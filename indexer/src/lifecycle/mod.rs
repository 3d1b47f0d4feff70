//! The life of an index: how it changes, and how it is kept, proven and brought back.

mod add;
pub mod backup;
pub mod change;
mod compact;
pub mod cost;
mod delete;
mod deleted;
mod fit;
#[cfg(test)]
pub(crate) mod fixture;
mod gc;
pub mod health;
pub mod plan;
mod rebuild;
pub mod recall;
mod recover;
mod remains;
mod rollback;
mod stored;
pub mod verify;

pub use add::{AddReport, add};
pub use compact::{CompactOptions, CompactReport, compact};
pub use delete::{DeleteReport, EraseReport, check_erasure, delete, delete_listed};
pub use fit::Fit;
pub use gc::{GcFile, GcOptions, GcPlan, GcReport, gc};
pub use rebuild::{RebuildReport, rebuild, rebuild_gated};
pub use recover::{RecoverReport, recover};
pub use rollback::{RollbackReport, rollback};

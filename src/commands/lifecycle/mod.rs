//! Commands for the life of an index, one module each.

pub mod add;
pub mod backup;
pub mod commit;
pub mod compact;
pub mod delete;
pub mod estimate;
pub mod gc;
pub mod plan;
pub mod rebuild;
pub mod recall;
pub mod recover;
pub mod restore;
pub mod rollback;
pub mod task;
pub mod tune;
pub mod verify;

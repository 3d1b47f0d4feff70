//! Commands for the life of an index, one module each.

pub mod commit;
pub mod plan;
pub mod verify;

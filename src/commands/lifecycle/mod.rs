//! Commands for the life of an index, one module each.

pub mod add;
pub mod compact;
pub mod delete;
pub mod gc;
pub mod rebuild;
pub mod rollback;
pub mod verify;

//! Commands for the life of an index, one module each.

pub mod add;
pub mod backup;
pub mod compact;
pub mod delete;
pub mod gc;
pub mod rebuild;
pub mod recall;
pub mod restore;
pub mod rollback;
pub mod verify;

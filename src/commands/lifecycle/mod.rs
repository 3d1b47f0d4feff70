//! Commands for the life of an index, one module each.

pub mod verify;

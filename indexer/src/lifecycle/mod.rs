//! The life of an index: how it changes, and how it is kept, proven and brought back.

pub mod backup;
pub mod change;
#[cfg(test)]
pub(crate) mod fixture;
pub mod health;
pub mod recall;
pub mod verify;

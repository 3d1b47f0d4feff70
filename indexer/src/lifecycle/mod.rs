//! The life of an index: how it changes, and how it is kept, proven and brought back.

pub mod backup;
pub mod change;
#[cfg(test)]
mod fixture;
pub mod health;
pub mod verify;

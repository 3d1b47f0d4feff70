//! The life of an index: how it changes, and how it is kept, proven and brought back.

pub mod change;
pub mod cost;
pub mod health;
pub mod plan;
pub mod verify;

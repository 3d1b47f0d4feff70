//! One command per job: `ocelli index`, `ocelli find` and `ocelli up`.

pub mod child;
pub mod find;
pub mod index;
pub mod pack;
pub mod up;

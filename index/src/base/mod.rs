//! What every other module builds on: errors, hashes, the rules for names and vectors, the
//! instruction level of this process, and the clock of builds.

pub mod error;
pub(crate) mod folder;
pub mod hash;
pub mod level;
pub mod named;
pub mod names;
pub mod range;
pub mod times;
pub mod versioned;

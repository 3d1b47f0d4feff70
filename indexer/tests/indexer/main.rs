//! The crate from outside: real files in a temporary directory.

mod build;
mod evaluate;
mod range;
mod refine;
mod support;
mod train;
mod whiten;

//! The crate from outside: real files in a temporary directory.

mod build;
mod evaluate;
mod fine;
mod judge;
mod range;
mod support;
mod train;
mod whiten;

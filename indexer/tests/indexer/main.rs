//! The crate from outside: real files in a temporary directory.

mod build;
mod dedup;
mod fine;
mod judge;
mod life;
mod plan;
mod plan_train;
mod range;
mod support;
mod train;
mod whiten;

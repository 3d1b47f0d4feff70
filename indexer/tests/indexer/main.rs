//! The room from outside: real files in a temporary directory, real FAISS.

mod build;
mod evaluate;
mod faiss;
mod range;
mod refine;
mod support;
mod train;
mod whiten;

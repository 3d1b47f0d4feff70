//! The searcher from outside: in this process on a free port, and as a process of its own.

// Figures of the tests with processes are read in the output.
#![allow(clippy::print_stdout)]

mod admin;
mod api;
mod attributes;
mod broken;
mod life;
mod limits;
mod malformed;
mod observe;
mod overload;
mod process;
mod query;
mod raw;
mod security;
mod stages;
mod support;

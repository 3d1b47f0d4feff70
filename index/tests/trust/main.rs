//! Damaged files and files that vanish: the answer is right or an error, and the process lives.
//!
//! A test binary of its own, since part of it is about the process's signals. `./test --long` flips
//! every bit and cuts at every length.

mod chain;
mod cut;
mod damage;
mod support;

//! Tests of decoding, of views and of what both cost, on files that are made here and on those of
//! `tests-data/`.

mod decoding;
mod layouts;
mod memory;

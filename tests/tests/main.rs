//! End-to-end tests: one binary, a module a theme.

mod bad_input;
mod collection;
mod killed;
mod path;
mod rooms;
mod servers;

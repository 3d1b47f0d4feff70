//! End-to-end tests: one binary, a module a theme.

mod bad_input;
mod budgets;
mod builds;
mod collection;
mod dedup;
mod encoder;
mod house;
mod items;
mod jobs;
mod judging;
mod killed;
mod packs;
mod path;
mod plans;
mod quarantine;
mod rooms;
mod served;
mod servers;

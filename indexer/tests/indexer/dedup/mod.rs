//! Deduplication of real index directories.

mod equal;
mod killed;
mod looks;
mod recall;
mod refused;
mod sides;
mod split;
mod world;

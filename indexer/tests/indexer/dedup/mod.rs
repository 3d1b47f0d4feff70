//! Deduplication of real index directories.

mod equal;
mod killed;
mod recall;
mod refused;
mod sides;
mod split;
mod world;

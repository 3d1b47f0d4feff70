//! Which row of a cluster stays: an order of all rows by the user's rules.
//!
//! A [`Policy`] is a list of [`Rule`]s; the first that tells two rows apart decides. Old rows come
//! before all others, whatever the rules say. Rows that no rule tells apart are in the order of
//! their ids, then of their numbers. A row of which a rule knows nothing comes after those of which
//! it knows something.

mod known;
mod rank;
mod rule;
#[cfg(test)]
mod tests;

pub use known::{KnownCounts, KnownPairs, read_known_pairs};
pub use rank::order;
pub use rule::{Policy, Rule};

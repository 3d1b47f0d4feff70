//! Changes of an index. Each becomes a generation by compare-and-swap.

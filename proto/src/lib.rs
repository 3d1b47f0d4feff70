//! The wire contract ocelli.v1, and what every Ocelli role does the same way.

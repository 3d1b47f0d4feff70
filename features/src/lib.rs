//! One set of features of outside crates for every build. The crate has no code: its dependencies
//! say what `cargo build -p` of one package compiles, so that all builds share it.

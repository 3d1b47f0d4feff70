//! Generators and inputs for tests, demo and benchmarks.

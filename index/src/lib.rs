//! Model, descriptor spec, parts, shards, manifest and search.

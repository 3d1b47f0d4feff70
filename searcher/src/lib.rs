//! The gRPC search server.

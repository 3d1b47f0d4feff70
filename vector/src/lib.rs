//! Dense math and scan kernels: no I/O, no threads, no async.

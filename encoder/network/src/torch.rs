//! What all of libtorch's users here share.

/// What libtorch answers; [`Error::torch`](crate::Error) names the operation where it leaves this
/// crate.
pub(crate) type Torch<T> = Result<T, tch::TchError>;

/// Threads that libtorch uses for operations called from this thread (its setting is per thread).
/// Values below 1 count as 1.
pub fn set_torch_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}

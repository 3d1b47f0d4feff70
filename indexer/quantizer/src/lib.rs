//! The rotation of OPQ, by FAISS: safe functions over its C API.
//!
//! This is the only crate that links FAISS. The `ocelli` command hands [`opq`] to the trainer
//! (`ocelli_indexer::train`), which knows nothing of FAISS: import, export, evaluation, building
//! and all of training but OPQ compile and run without it. FAISS's k-means is here too
//! ([`Session::kmeans`]); tests compare Ocelli's own k-means with it.
//!
//! # Example
//!
//! A rotation for vectors of 8 dimensions that 4 sub-quantizers will code:
//!
//! ```
//! use ocelli_quantizer::{OpqOptions, opq};
//!
//! let (n, d, m) = (300, 8, 4);
//! let x: Vec<f32> = (0..n * d).map(|i| (i as f32 * 0.7).sin()).collect();
//! let options = OpqOptions { niter: 2, ..OpqOptions::default() };
//! let rotation = opq(&x, d, m, 1, &options)?;
//! assert_eq!(rotation.len(), d * d);
//! # Ok::<(), ocelli_quantizer::Error>(())
//! ```
//!
//! # Threads
//!
//! FAISS and OpenBLAS use OpenMP, and every thread that calls them gets an OpenMP pool of its own.
//! Calls from rayon's or tokio's workers would multiply these pools, which then fight for cores. So
//! a [`Session`] owns one dedicated thread that makes all calls of a training, and only one session
//! lives at a time. The number of OpenMP threads is a property of the calling thread; the session
//! sets it when it starts.
//!
//! Debian's OpenBLAS takes recent AMD processors for Haswell. `OPENBLAS_CORETYPE=SkylakeX`, set
//! before the process starts and only on hosts with AVX-512, makes OPQ up to three times faster.
//! OpenBLAS reads it when it is loaded, so the program cannot set it itself. On shared cores
//! `OMP_WAIT_POLICY=PASSIVE` keeps idle OpenMP threads from spinning.

mod address_space;
mod error;
mod kmeans;
mod opq;

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_int;

use parking_lot::Mutex;

pub use error::{Error, Result};
pub use kmeans::{Assignment, KmeansOptions};
pub use opq::{MIN_OPQ_ROWS, OpqOptions, opq};

// `faiss-sys` links them both but declares neither.
unsafe extern "C" {
    fn omp_set_num_threads(threads: c_int);
}

/// Held for the whole of a session: OpenBLAS keeps process-wide buffers and thread counts.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Proof of running on the thread dedicated to FAISS; it cannot be sent to another.
pub struct Session {
    not_send: PhantomData<*const ()>,
}

impl Session {
    /// Runs `work` on a thread of its own with `threads` OpenMP threads (0: one per available core)
    /// and waits for its end. A second caller waits until the first session is over.
    ///
    /// A panic of `work` continues in the caller.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn run<R: Send>(threads: usize, work: impl FnOnce(&Session) -> R + Send) -> Result<R> {
        let _guard = ONE_AT_A_TIME.lock();
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        std::thread::scope(|scope| {
            let handle = std::thread::Builder::new()
                .name("faiss".to_owned())
                .spawn_scoped(scope, move || {
                    // SAFETY: plain setter of libgomp, which is linked with FAISS; takes any
                    // positive number and touches only this thread's OpenMP settings.
                    unsafe { omp_set_num_threads(c_int::try_from(threads).unwrap_or(c_int::MAX)) };
                    work(&Session { not_send: PhantomData })
                })
                .map_err(|source| {
                    Error::Invalid(format!("cannot start the FAISS thread: {source}"))
                })?;
            match handle.join() {
                Ok(result) => Ok(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Turns a return code of the C API into a `Result` with FAISS's message.
fn check(op: &'static str, code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: returns null or a C string owned by this thread's last exception, which lives until
    // the next failing call on this thread; it is copied at once.
    let message = unsafe { faiss_sys::faiss_get_last_error() };
    let message = if message.is_null() {
        format!("code {code} without a message")
    } else {
        // SAFETY: not null, and NUL-terminated as `std::exception::what` promises.
        let text = unsafe { CStr::from_ptr(message) };
        text.to_string_lossy().lines().collect::<Vec<_>>().join(" ")
    };
    Err(Error::Faiss { op, message })
}

/// A size as the C API takes it.
fn to_c_int(what: &str, value: usize) -> Result<c_int> {
    c_int::try_from(value).map_err(|_| {
        Error::Invalid(format!("{what} is {value}, FAISS takes at most {}", c_int::MAX))
    })
}

/// The caller's `x` must be `n` rows of `d` finite values.
fn check_rows(op: &'static str, x: &[f32], n: usize, d: usize) -> Result<()> {
    if d == 0 || n == 0 || n.checked_mul(d) != Some(x.len()) {
        return Err(Error::Invalid(format!("{op}: expected {n} x {d} values, found {}", x.len())));
    }
    match x.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(Error::Invalid(format!("{op}: row {} holds {}", at / d, x[at]))),
        None => Ok(()),
    }
}

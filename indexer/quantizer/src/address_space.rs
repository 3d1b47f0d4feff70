//! A check, before `main`, that OpenBLAS can start.
//!
//! FAISS brings OpenBLAS, which takes a buffer for each of its threads when the program is loaded,
//! before `main`. If the limit of address space (`ulimit -v`) leaves no room for a buffer, version
//! 0.3.21 tries again without end. So this program tries first, still earlier, and ends with an
//! error.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{size_of, zeroed};
use std::ptr::null_mut;

/// Bytes of one of OpenBLAS's buffers, as version 0.3.21 for x86-64 maps them.
const BUFFER_BYTES: usize = 128 << 20;

/// More buffers than this are not tried.
const MAX_BUFFERS: usize = 128;

const MESSAGE: &[u8] =
    b"error: the limit of address space (ulimit -v) leaves no room for OpenBLAS, \
    which takes 128 MiB for each of its threads; expected a larger limit, or fewer threads \
    (OMP_NUM_THREADS=1)\n";

/// The loader calls the functions of this section before any library is initialised.
#[used]
#[unsafe(link_section = ".preinit_array")]
static CHECK: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = check;

extern "C" fn check(_argc: c_int, _argv: *const *const c_char, environment: *const *const c_char) {
    // SAFETY: the loader hands over the environment, which ends with a null pointer. Only calls of
    // the system are made, which need nothing that is initialised later; what is mapped is
    // unmapped.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        let known = libc::getrlimit(libc::RLIMIT_AS, &mut limit) == 0;
        if !known || limit.rlim_cur == libc::RLIM_INFINITY {
            return;
        }
        if !fits(threads(environment).clamp(1, MAX_BUFFERS)) {
            libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
            libc::_exit(1);
        }
    }
}

/// Whether so many buffers can be had at a time.
///
/// # Safety
/// None beyond that of the calls of the system, whose results go nowhere.
unsafe fn fits(buffers: usize) -> bool {
    let mut taken = [null_mut::<c_void>(); MAX_BUFFERS];
    let mut all = true;
    for place in taken.iter_mut().take(buffers) {
        // SAFETY: a mapping of nothing, at an address that the system chooses.
        let mapped = unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(null_mut(), BUFFER_BYTES, protection, flags, -1, 0)
        };
        if mapped == libc::MAP_FAILED {
            all = false;
            break;
        }
        *place = mapped;
    }
    for mapped in taken.iter().filter(|mapped| !mapped.is_null()) {
        // SAFETY: mapped above with this length, and not used.
        unsafe { libc::munmap(*mapped, BUFFER_BYTES) };
    }
    all
}

/// The threads that OpenBLAS will have: one for each core that this process may use, or fewer if
/// OMP_NUM_THREADS is less.
///
/// # Safety
/// `environment` is an array of strings that ends with a null pointer.
unsafe fn threads(mut environment: *const *const c_char) -> usize {
    // SAFETY: a set of no cores, which the call fills; it is as large as the call is told.
    let cores = unsafe {
        let mut cores: libc::cpu_set_t = zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cores) {
            0 => libc::CPU_COUNT(&cores) as usize,
            _ => 1,
        }
    };
    let mut wanted = None;
    // SAFETY: by the caller, each entry up to the null pointer is a string.
    unsafe {
        while !(*environment).is_null() {
            let variable = CStr::from_ptr(*environment).to_bytes();
            wanted = wanted.or_else(|| number(variable.strip_prefix(b"OMP_NUM_THREADS=")?));
            environment = environment.add(1);
        }
    }
    wanted.map_or(cores, |wanted: usize| wanted.min(cores))
}

/// The number that a text begins with.
fn number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).take(6);
    let number = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    (number > 0).then_some(number)
}

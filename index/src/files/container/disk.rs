//! Whether a thread reads from the disk.

use std::mem::MaybeUninit;

/// What a thread has read from disks, looked at from time to time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskReads {
    /// As of the last look, if there was one.
    blocks: Option<i64>,
}

impl DiskReads {
    /// Whether this thread has had anything read from a disk since the last look, by touching a
    /// page of a mapped file or by asking for one. One system call, of some 100 ns. The first
    /// answer is no, and so is every one where the system does not count.
    pub fn since_last_look(&mut self) -> bool {
        let blocks = blocks_read();
        self.blocks.replace(blocks).is_some_and(|before| before != blocks)
    }
}

/// Blocks that were read from disks for this thread.
fn blocks_read() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has room for the answer.
    if unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: zeros are a rusage, and the call has filled it.
    unsafe { usage.assume_init() }.ru_inblock
}

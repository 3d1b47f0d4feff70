//! Maps files, and survives pages of them that cannot be read any more.
//!
//! A thread that touches such a page (the file was cut, the disk failed) is sent SIGBUS, which ends
//! the process. The handler here puts a page of zeros in its place, marks the mapping and returns:
//! the thread goes on over zeros, and the code that used the bytes checks the mark before it trusts
//! the result ([`Mapped::fault`]). No computation is left in the middle, so no
//! lock stays locked. A SIGBUS that is not ours goes where it went before.
//!
//! The handler may interrupt anything. So it takes no lock and no memory: it walks a registry of
//! mappings that only grows and consists of atomics.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use memmap2::{Advice, Mmap, MmapMut, UncheckedAdvice};
use parking_lot::Mutex;

/// One mapping of the registry.
#[derive(Debug)]
#[repr(align(64))] // A line of its own: each read of a file asks for its mark.
struct Slot {
    /// Even while the slot describes a mapping, odd while it is free.
    version: AtomicUsize,
    /// Addresses `start..end`.
    start: AtomicUsize,
    end: AtomicUsize,
    /// 1 + offset of the first byte that could not be read; 0 if there was none.
    fault: AtomicU64,
}

/// Slots of one allocation.
const SLOTS: usize = 64;

/// A piece of the registry: never freed, so that the handler may walk it at any time.
struct Chunk {
    slots: [Slot; SLOTS],
    next: OnceLock<Box<Chunk>>,
}

impl Chunk {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; SLOTS], next: OnceLock::new() }
    }
}

static REGISTRY: Chunk = Chunk::new();
/// Held while a slot is taken or freed; never by the handler.
static CHANGE: Mutex<()> = Mutex::new(());

impl Slot {
    /// A free one.
    const fn new() -> Self {
        Self {
            version: AtomicUsize::new(1),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            fault: AtomicU64::new(0),
        }
    }

    /// A free slot, made the description of `start..end`.
    fn take(start: usize, end: usize) -> &'static Self {
        let _change = CHANGE.lock();
        let mut chunk = &REGISTRY;
        loop {
            let free = |s: &&Self| !s.version.load(Ordering::Relaxed).is_multiple_of(2);
            if let Some(slot) = chunk.slots.iter().find(free) {
                // Release, so that a handler that reads one of these also sees that the version
                // moved on.
                slot.start.store(start, Ordering::Release);
                slot.end.store(end, Ordering::Release);
                slot.fault.store(0, Ordering::Release);
                slot.version.fetch_add(1, Ordering::Release);
                return slot;
            }
            chunk = chunk.next.get_or_init(|| Box::new(Chunk::new()));
        }
    }

    fn free(&self) {
        let _change = CHANGE.lock();
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Whether the slot describes a mapping that holds `address`, and where that begins. A slot
    /// that changes meanwhile belongs to another mapping than the one that the caller just touched,
    /// since that one is in use.
    fn start_if_holds(&self, address: usize) -> Option<usize> {
        let before = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        let sound = before.is_multiple_of(2) && before == after && (start..end).contains(&address);
        sound.then_some(start)
    }

    fn mark(&self, offset: u64) {
        // The first one stays.
        let _ = self.fault.compare_exchange(0, 1 + offset, Ordering::SeqCst, Ordering::Relaxed);
    }
}

/// A read-only mapped file that outlives its pages.
#[derive(Debug)]
pub(super) struct Mapped {
    map: Mmap,
    slot: &'static Slot,
    /// Whether the bytes are those of a file, from which pages can be read again.
    is_file: bool,
    /// Whether the system reads single pages of it.
    reads_pages: AtomicBool,
}

impl Mapped {
    /// Maps a whole file.
    pub fn new(file: &File) -> io::Result<Self> {
        install()?;
        // SAFETY: the mapping is read-only, and Ocelli's own writers never change a published file:
        // they write to a temporary name and rename. If another program cuts it, bytes turn
        // into zeros under the reader. A length, index or text from the mapping is either copied
        // before it is checked, or harmless if it becomes zero; results are checked by `fault` and
        // `last` afterwards.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self::registered(map, true))
    }

    /// A copy of bytes in pages of memory, so that they are aligned as a file's are.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        install()?;
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self::registered(map.make_read_only()?, false))
    }

    fn registered(map: Mmap, is_file: bool) -> Self {
        let start = map.as_ptr() as usize;
        let slot = Slot::take(start, (start + map.len()).next_multiple_of(page_bytes()));
        Self { map, slot, is_file, reads_pages: AtomicBool::new(false) }
    }

    /// The file's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Offset of the first byte that could not be read, if there was one.
    #[inline]
    pub fn fault(&self) -> Option<u64> {
        self.slot.fault.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Gives the memory of all pages back. They are read from the file again when they are touched
    /// again.
    pub fn release(&self) {
        if !self.is_file || self.map.is_empty() {
            return;
        }
        // SAFETY: the pages are read-only and those of a file, so that each of them comes back with
        // the bytes that it had; a page of zeros that the handler put there stays marked.
        // A refusal costs memory and nothing else.
        let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
    }

    /// Asks the system to read a range of the file, which will be touched soon, and does not wait.
    /// What is in memory already is not read again. From now on, a page that is touched without
    /// having been asked for is read by itself: systems read up to 8 MiB around it otherwise.
    pub fn will_need(&self, range: Range<usize>) {
        /// Bytes of one request. Linux cuts a longer one to what it reads ahead of a file.
        const REQUEST: usize = 128 * 1024;
        if !self.is_file {
            return;
        }
        // A refusal of either costs time and nothing else.
        if !self.reads_pages.swap(true, Ordering::Relaxed) {
            let _ = self.map.advise(Advice::Random);
        }
        for start in range.clone().step_by(REQUEST) {
            let len = REQUEST.min(range.end - start);
            let _ = self.map.advise_range(Advice::WillNeed, start, len);
        }
    }

    /// Whether the system reads single pages of the file, unless they are asked for: whether
    /// [`Self::will_need`] was ever called.
    #[inline]
    pub fn reads_pages(&self) -> bool {
        self.reads_pages.load(Ordering::Relaxed)
    }

    /// Marks the mapping as the handler does.
    pub fn mark(&self, offset: u64) {
        self.slot.mark(offset);
    }

    /// The last `N` bytes as they are now, after everything that this thread has read before.
    ///
    /// # Panics
    /// If the file has fewer.
    #[inline]
    pub fn last<const N: usize>(&self) -> [u8; N] {
        fence(Ordering::Acquire);
        let last = &self.map[self.map.len() - N..];
        // SAFETY: `last` has N bytes, and an array of bytes has no alignment. Volatile, since a
        // file that is cut changes them, which no reference would admit.
        unsafe { ptr::read_volatile(last.as_ptr().cast::<[u8; N]>()) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Before the addresses are given back and may become another mapping.
        self.slot.free();
    }
}

fn page_bytes() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: asks for a number and touches no memory.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    })
}

/// The action of SIGBUS before ours.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once in the life of the process.
fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock();
    if *installed {
        return Ok(());
    }
    page_bytes(); // So that the handler finds it.
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null action only asks; `action` has room for the answer.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and has filled it.
    PREVIOUS.get_or_init(|| unsafe { action.assume_init() });
    // SAFETY: a sigaction of zeros is one: no handler, empty mask, no flags.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    ours.sa_sigaction = handler as usize;
    // On the alternative stack where a thread has one, as the standard library wants it.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `ours` is complete, and `on_sigbus` is async-signal-safe as its comments argue.
    if unsafe { libc::sigaction(libc::SIGBUS, &ours, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *installed = true;
    Ok(())
}

/// The handler. Everything in it is async-signal-safe: atomic loads, and system calls that take no
/// lock.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: this thread's own, always there; restored below, since the code that was interrupted
    // may be about to read it.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    // SAFETY: the kernel hands a SA_SIGINFO handler a filled siginfo.
    let code = unsafe { (*info).si_code };
    // Raised by this thread's access, in contrast to one that was sent, or memory that failed
    // elsewhere.
    let ours = matches!(code, libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR)
        // SAFETY: for these codes the kernel fills in the address.
        && replace(unsafe { (*info).si_addr() } as usize);
    if !ours {
        chain(signal, info, context, code);
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Puts zeros in the place of the page that holds `address`, if a registered mapping does.
fn replace(address: usize) -> bool {
    let mut chunk = Some(&REGISTRY);
    while let Some(c) = chunk {
        for slot in &c.slots {
            if let Some(start) = slot.start_if_holds(address) {
                // The mark first: a thread that sees the zeros sees it.
                slot.mark((address - start) as u64);
                let page = page_bytes();
                let all = slot.end.load(Ordering::Relaxed) - start;
                // The whole mapping where one page cannot be had: the process has too many mappings
                // already, which this makes fewer, or the file lies in huge pages.
                return zeros(address - address % page, page) || zeros(start, all);
            }
        }
        chunk = c.next.get().map(|next| &**next);
    }
    false
}

/// Maps zeros over whole pages of a registered mapping.
fn zeros(start: usize, len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the pages belong to a read-only mapping of ours, which is in use: the thread that was
    // interrupted is reading it. Unmapping it later covers them too. The call itself is the bare
    // system call.
    let got = unsafe { libc::mmap(start as *mut _, len, libc::PROT_READ, flags, -1, 0) };
    got != libc::MAP_FAILED
}

/// Runs the action that SIGBUS had before ours.
fn chain(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    code: libc::c_int,
) {
    // Those that were sent by a process have no positive code.
    let sent = code <= 0;
    let previous = PREVIOUS.get();
    match previous.map_or(libc::SIG_DFL, |p| p.sa_sigaction) {
        libc::SIG_IGN if sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: a sigaction of zeros is the default action.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: complete, and async-signal-safe by POSIX; so is raising.
            unsafe { libc::sigaction(signal, &default, ptr::null_mut()) };
            if sent {
                // Delivered when the handler returns. An access is simply made again.
                // SAFETY: as above.
                unsafe { libc::raise(signal) };
            }
        }
        handler if previous.is_some_and(|p| p.sa_flags & libc::SA_SIGINFO != 0) => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: it was installed with SA_SIGINFO, so this is its type.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: it was installed without SA_SIGINFO, so this is its type.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

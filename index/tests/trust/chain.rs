//! A SIGBUS that is none of ours does what it did before. Each case runs in a process of its own:
//! this test binary again, with a variable that says which.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use memmap2::Mmap;
use ocelli_index::Model;

use crate::support::{cut, model};

const CASE: &str = "OCELLI_TEST_SIGBUS_CASE";

/// Runs `name` of this module again, as the child that dies.
fn child(name: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("chain::{name}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(CASE, name)
        .status()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CASE).is_some()
}

/// Opens a file of ours, so that our handler stands.
fn install() -> tempfile::TempDir {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.model");
    model().write(&path).unwrap();
    Model::open(&path).unwrap();
    tmp
}

/// Reads a page that is gone from a file that is not ours.
fn touch_a_strange_file(tmp: &tempfile::TempDir) -> u8 {
    let path = tmp.path().join("strange");
    std::fs::write(&path, vec![7; 20_000]).unwrap();
    // SAFETY: nobody else knows the file; that it is cut is what this is about, and the process is
    // to die of it.
    let map = unsafe { Mmap::map(&std::fs::File::open(&path).unwrap()) }.unwrap();
    cut(&path, 0);
    map[10_000]
}

#[test]
fn a_strange_file_still_kills() {
    if is_child() {
        let tmp = install();
        panic!("read {}", touch_a_strange_file(&tmp));
    }
    assert_eq!(child("a_strange_file_still_kills").signal(), Some(libc::SIGBUS));
}

#[test]
fn a_signal_that_was_sent_still_kills() {
    if is_child() {
        // The standard library's own handler passes over the first one that was sent.
        set(libc::SIG_DFL);
        let _tmp = install();
        // SAFETY: sends a signal to this thread and touches no memory.
        unsafe { libc::raise(libc::SIGBUS) };
        panic!("still alive");
    }
    assert_eq!(child("a_signal_that_was_sent_still_kills").signal(), Some(libc::SIGBUS));
}

fn set(handler: libc::sighandler_t) {
    // SAFETY: a sigaction of zeros is one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: `action` is complete.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) }, 0);
}

extern "C" fn leave(_signal: libc::c_int) {
    // SAFETY: `_exit` is async-signal-safe and does not return.
    unsafe { libc::_exit(43) }
}

#[test]
fn an_earlier_handler_is_called() {
    if is_child() {
        let handler: extern "C" fn(libc::c_int) = leave;
        set(handler as libc::sighandler_t);
        let tmp = install();
        panic!("read {}", touch_a_strange_file(&tmp));
    }
    assert_eq!(child("an_earlier_handler_is_called").code(), Some(43));
}

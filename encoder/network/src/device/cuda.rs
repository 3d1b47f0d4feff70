//! Opening libtorch's CUDA half at run time, so that one binary serves machines with and without
//! it.
//!
//! Nothing here is linked against CUDA. libtorch finds its CUDA functions through registries that
//! `libtorch_cuda.so` fills when it is loaded; what is asked before that is answered "no CUDA" for
//! the rest of the process.
#![allow(unsafe_code, reason = "opening a shared library is a foreign call")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const LIBRARY: &str = "libtorch_cuda.so";

/// Number of CUDA devices that libtorch finds; the reason where its CUDA half cannot be opened,
/// which is tried once a process.
pub(super) fn devices() -> Result<usize, &'static str> {
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let torch = loaded(&maps, "libtorch_cpu.so").and_then(Path::parent).map(Path::to_owned);
        open_first(&candidates(torch.as_deref()))
    });
    match opened {
        Err(reason) => Err(reason),
        Ok(()) => Ok(usize::try_from(tch::Cuda::device_count()).unwrap_or(0)),
    }
}

/// File of a library that is loaded, from the lines of /proc/self/maps.
fn loaded<'m>(maps: &'m str, name: &str) -> Option<&'m Path> {
    let path = |line: &'m str| line.find('/').and_then(|at| line.get(at..)).map(Path::new);
    maps.lines().filter_map(path).find(|path| path.file_name().is_some_and(|file| file == name))
}

/// Where the library may lie: beside the CPU half, where a whole PyTorch is installed; where
/// `./setup --cuda` puts it, apart from the CPU half, since the torch bindings would link it if
/// they saw it; wherever the loader looks.
fn candidates(torch: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(torch) = torch {
        found.push(torch.join(LIBRARY));
        if let Some(root) = torch.ancestors().nth(2) {
            found.push(root.join("cuda/torch/lib").join(LIBRARY));
        }
    }
    found.push(PathBuf::from(LIBRARY));
    found
}

/// Opens the first that can be opened; else what the loader says of each, but of files that are not
/// there only their names.
fn open_first(paths: &[PathBuf]) -> Result<(), String> {
    let mut reasons = Vec::new();
    for path in paths {
        if path.is_absolute() && !path.exists() {
            reasons.push(format!("{}: there is no such file", path.display()));
            continue;
        }
        match open(path) {
            Ok(()) => {
                tracing::debug!(library = %path.display(), "opened");
                return Ok(());
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join("; "))
}

fn open(path: &Path) -> Result<(), String> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| format!("{}: a zero byte in the path", path.display()))?;
    let flags = libc::RTLD_NOW | libc::RTLD_GLOBAL;
    // SAFETY: `name` ends with a zero byte and lives beyond the call. Loading runs the library's
    // initialisers: it is the CUDA half of the libtorch that this process is linked to, which
    // registers its functions there. Symbols of another version would be missing, and RTLD_NOW
    // makes that an error here. It is never closed, so that nothing registered dangles.
    let handle: *mut c_void = unsafe { libc::dlopen(name.as_ptr(), flags) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: no precondition; the text belongs to this thread until its next call of a dl
    // function.
    let text: *const c_char = unsafe { libc::dlerror() };
    if text.is_null() {
        return Err(format!("{}: the loader gives no reason", path.display()));
    }
    // SAFETY: dlerror returned it just now, not null, so it ends with a zero byte; it is copied
    // before any other dl function is called on this thread.
    Err(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The CPU half is loaded in this very process, and found; both trees are looked into, then the
    /// loader's.
    #[test]
    fn the_cuda_half_is_looked_for_beside_the_cpu_half() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 42   /x y/torch/lib/libtorch_cpu.so\n\
                    7f02-7f03 r--p 00000000 00:00 0\n7f04-7f05 r-xp 0 08:01 43  /lib/libc.so.6\n";
        let torch = loaded(maps, "libtorch_cpu.so").and_then(Path::parent).unwrap();
        let expected =
            ["/x y/torch/lib/libtorch_cuda.so", "/x y/cuda/torch/lib/libtorch_cuda.so", LIBRARY];
        assert_eq!(candidates(Some(torch)), expected.map(PathBuf::from));
        assert_eq!(candidates(None), [PathBuf::from(LIBRARY)]);
        assert!(loaded(maps, "libtorch_cuda.so").is_none());

        let own = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(loaded(&own, "libtorch_cpu.so").is_some_and(Path::exists));
    }

    /// The loader's own words come through, for each place.
    #[test]
    fn what_cannot_be_opened_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, broken) = (folder.path().join("missing.so"), folder.path().join("broken.so"));
        fs::write(&broken, "no library").unwrap();
        let error = open_first(&[missing, broken]).unwrap_err();
        assert!(error.contains("missing.so: there is no such file"), "{error}");
        assert!(error.contains("broken.so: ") && error.contains("too short"), "{error}");
        assert!(open_first(&[PathBuf::from("libc.so.6")]).is_ok());
    }
}

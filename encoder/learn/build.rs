//! Tells the linker where libtorch lies at run time, as the build script of `ocelli-network` found
//! out: link arguments do not pass from a library to the binaries that use it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let run_paths = env::var("DEP_OCELLI_TORCH_SHIM_RUN_PATHS").unwrap_or_default();
    for path in run_paths.split(':').filter(|path| !path.is_empty()) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
}

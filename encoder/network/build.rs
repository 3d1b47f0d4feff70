//! Compiles the shim that calls what the torch bindings lack, and tells the linker where the
//! libraries of libtorch lie at run time.
//!
//! The torch bindings find libtorch while linking, but leave no trace of it in binaries of other
//! packages. So do link arguments of this script: they reach the tests of this package alone.
//! Therefore the run paths are also metadata, which the build script of a package that has binaries
//! gets as `DEP_OCELLI_TORCH_SHIM_RUN_PATHS`, with colons between them.
//!
//! Two run paths are written: one relative to the executable, so that the repository may
//! move together with its `target` directory, and the absolute one, for a `LIBTORCH` outside it.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        return; // the torch bindings report what is missing
    };
    let lib = libtorch.join("lib");
    let mut run_paths = Vec::new();
    if let Some(inside) =
        workspace_root().and_then(|root| lib.strip_prefix(root).ok().map(Path::to_path_buf))
    {
        // target/release/BINARY and target/release/deps/TEST
        for up in ["../..", "../../.."] {
            run_paths.push(format!("$ORIGIN/{up}/{}", inside.display()));
        }
    }
    run_paths.push(lib.display().to_string());
    for path in &run_paths {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
    println!("cargo::metadata=run_paths={}", run_paths.join(":"));

    println!("cargo::rerun-if-changed=src/device/shim.cpp");
    // As the torch bindings compile theirs.
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        // As system headers: their warnings are not ours.
        .flag("-isystem")
        .flag(libtorch.join("include"))
        .file("src/device/shim.cpp")
        .compile("ocelli_torch_shim");
}

fn workspace_root() -> Option<PathBuf> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    package.ancestors().nth(2).map(Path::to_path_buf)
}

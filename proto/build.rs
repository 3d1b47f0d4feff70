//! Generates the Rust side of `proto/ocelli/v1/*.proto` without an installed `protoc`: protox
//! parses the files, tonic-prost-build writes the code. The descriptor set is kept for reflection.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The root that import paths inside the files are relative to.
const ROOT: &str = "proto";

/// The public files, relative to `ROOT`.
const FILES: [&str; 8] = [
    "ocelli/v1/admin.proto",
    "ocelli/v1/attributes.proto",
    "ocelli/v1/common.proto",
    "ocelli/v1/diffusion.proto",
    "ocelli/v1/encoder.proto",
    "ocelli/v1/expansion.proto",
    "ocelli/v1/predicate.proto",
    "ocelli/v1/search.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut compiler = protox::Compiler::new([Path::new(ROOT)])?;
    // Comments of the .proto files become the documentation of the generated types.
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(FILES)?;
    fs::write(out_dir.join("ocelli.v1.bin"), compiler.encode_file_descriptor_set())?;
    let mut config = tonic_prost_build::Config::new();
    // The codec tells requests from answers by their names.
    config.enable_type_names();
    tonic_prost_build::configure()
        .out_dir(&out_dir)
        .codec_path("crate::codec::Codec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}

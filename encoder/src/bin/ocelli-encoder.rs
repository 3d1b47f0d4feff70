//! Images to descriptors, as a job or as a service: see `ocelli-encoder --help`.

fn main() -> std::process::ExitCode {
    ocelli_encoder::cli::main()
}

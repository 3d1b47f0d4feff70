//! Trains the networks that the encoder runs: see `ocelli-learn --help`.

fn main() -> std::process::ExitCode {
    ocelli_learn::cli::main()
}

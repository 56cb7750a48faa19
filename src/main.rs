//! The `tallyd` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole process; with none chosen, or two, rustls panics at run time.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nothing runs before main");
    }
    tallyd::cli::run(std::env::args_os())
}
